// The LSTM over a sequence, there and back, each in one launch: equations (1) to (4) of rules/lstm.py, without peepholes
// and projection. Who owns what, what travels, and why nobody waits for ever stands in sequence.cuh.
#include "lstm_lanes.cuh"
#include "sequence.cuh"

// Forward. A quad is one unit, its rows i f g o, and what travels is h. What a lane does stands in lstm_lanes.cuh.
extern "C" __global__ void BLOCKS_ARE_SPREAD __launch_bounds__(512, 1) lstm_sequence(
    float *hs,          // (T, H, B), the mailbox
    const float *W_hh,  // (4H, H)
    const float *a_xs,  // (T, 4H, B)
    const float *h_0,   // (H, B)
    float *cs,          // (T + 1, H, B), or without gates (1, H, B); cs[0] is c_0
    float *gates,       // (T, 4H, B) receives i f g o, or null
    unsigned *stalled,  // (1,)
    int T,
    int H,
    int B,
    int quads)
{
    extern __shared__ float4 shared[];
    float4 *weights = shared, *tile = behind(weights, quads, H);
    const long long step = (long long)H * B;
    keep(weights, quads, H, [=](int unit, int row, int k) {
        return unit < H ? W_hh[((long long)row * H + unit) * H + k] : 0.0f;
    });
    const auto out = [=](int t) { return hs + t * step; };
    const auto finish = [=](int t, int unit, int column, auto sum, auto send, auto) {
        lstm_lanes(a_xs, cs, gates, t, unit, column, H, B, sum, send);
    };
    each_step(T, weights, tile, quads, H, B, stalled, h_0, out, finish);
}

// Backward. A quad is four units, its rows are columns of W_hh, and what travels is da: a step back needs all 4H rows of
// it. A lane has one unit and one column: it undoes (4), (3) and (2) there, and the sum over the da of this step is what
// the step asks of h_prev. Step s goes back through t = T - 1 - s; the last one only finishes dh of h_0.
extern "C" __global__ void BLOCKS_ARE_SPREAD __launch_bounds__(512, 1) lstm_sequence_back(
    float *da,           // (T, 4H, B), the mailbox
    const float *W_hh,   // (4H, H)
    const float *dhs,    // (T, H, B)
    const float *gates,  // (T, 4H, B)
    const float *cs,     // (T + 1, H, B)
    float *dh,           // (H, B) that of h_T, becomes that of h_0
    float *dc,           // (H, B) that of c_T, becomes that of c_0
    unsigned *stalled,   // (1,)
    int T,
    int H,
    int B,
    int quads)
{
    extern __shared__ float4 shared[];
    float4 *weights = shared, *tile = behind(weights, quads, 4 * H);
    const long long step = (long long)H * B;
    keep(weights, quads, 4 * H, [=](int quad, int row, int k) {
        return 4 * quad + row < H ? W_hh[(long long)k * H + 4 * quad + row] : 0.0f;
    });
    const auto out = [=](int s) { return da + (T - 1 - s) * 4 * step; };
    const auto finish = [=](int s, int quad, int column, auto sum, auto send, auto) {
        const int unit = 4 * quad + threadIdx.x / TILE, t = max(T - 1 - s, 0);
        const bool is_ours = unit < H && column < B;
        const long long here = is_ours ? (long long)unit * B + column : 0, now = t * step + here;
        const float dh_loss = dhs[now];
        const LstmLane lane(gates, cs, dc, t, here, step);
        const float dh_next = s ? sum() : dh[here];  // (1)
        if (is_ours && s == T) dh[here] = dh_next;
        if (is_ours && s < T)  // h_t is read twice
            lane.back(dh_next + dh_loss, dc + here, [=](int block, float x) { send(block * H + unit, x); });
    };
    each_step(T + 1, weights, tile, quads, 4 * H, B, stalled, nullptr, out, finish);
}
