// The GRU with reset_after over a sequence, there and back, each in one launch: the first equations (1) to (4) of
// rules/gru.py. Who owns what, what travels, and why nobody waits for ever stands in sequence.cuh.
#include "gru_lanes.cuh"
#include "sequence.cuh"

// Forward. A quad is one unit, its rows those of r, z, s_n and one of zeros, and what travels is h. What a lane does
// stands in gru_lanes.cuh.
extern "C" __global__ void BLOCKS_ARE_SPREAD __launch_bounds__(512, 1) gru_sequence(
    float *hs,          // (T, H, B), the mailbox
    const float *W_hh,  // (3H, H)
    const float *a_xs,  // (T, 3H, B)
    const float *b_hn,  // (H,) or null
    const float *h_0,   // (H, B)
    float *gates,       // (T, 4H, B) receives r z s_n n, or null
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
        return unit < H && row < 3 ? W_hh[((long long)row * H + unit) * H + k] : 0.0f;
    });
    const auto out = [=](int t) { return hs + t * step; };
    const auto finish = [=](int t, int unit, int column, auto sum, auto send, auto row) {
        gru_lanes(a_xs, b_hn, gates, row(min(unit, H - 1)), t, unit, column, H, B, sum, send);
    };
    each_step(T, weights, tile, quads, H, B, stalled, h_0, out, finish);
}

// Backward. A quad is four units, its rows are columns of W_hh, and what travels is the cotangent of s: the first three
// blocks of dgates. A lane has one unit and one column; in dh it keeps what h_prev gets through z, and the sum over the
// ds of this step is added to it. Step s goes back through t = T - 1 - s; the last one only finishes dh of h_0.
extern "C" __global__ void BLOCKS_ARE_SPREAD __launch_bounds__(512, 1) gru_sequence_back(
    float *dgates,       // (T, 4H, B) s r z n, the mailbox
    const float *W_hh,   // (3H, H)
    const float *dhs,    // (T, H, B)
    const float *gates,  // (T, 4H, B)
    const float *hs,     // (T, H, B) the state that enters each step
    float *dh,           // (H, B) that of h_T, becomes that of h_0
    unsigned *stalled,   // (1,)
    int T,
    int H,
    int B,
    int quads)
{
    extern __shared__ float4 shared[];
    float4 *weights = shared, *tile = behind(weights, quads, 3 * H);
    const long long step = (long long)H * B;
    keep(weights, quads, 3 * H, [=](int quad, int row, int k) {  // the blocks of W_hh are r z n, those of ds are n r z
        return 4 * quad + row < H ? W_hh[(k + 2LL * H) % (3 * H) * H + 4 * quad + row] : 0.0f;
    });
    const auto out = [=](int s) { return dgates + (T - 1 - s) * 4 * step; };
    const auto finish = [=](int s, int quad, int column, auto sum, auto send, auto) {
        const int unit = 4 * quad + threadIdx.x / TILE, t = max(T - 1 - s, 0);
        const bool is_ours = unit < H && column < B;
        const long long here = is_ours ? (long long)unit * B + column : 0, now = t * step + here;
        const float dh_loss = dhs[now], kept = dh[here];
        const GruLane lane(gates, hs[now], t, here, step);
        const float dh_next = s ? kept + sum() : kept;  // (4, 1)
        if (is_ours && s == T) dh[here] = dh_next;
        if (is_ours && s < T)  // h_t is read twice
            lane.back(dh_next + dh_loss, dh + here, [=](int block, float x) { send(block * H + unit, x); });
    };
    each_step(T + 1, weights, tile, quads, 3 * H, B, stalled, nullptr, out, finish);
}
