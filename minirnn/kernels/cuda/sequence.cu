// A cell over a sequence, there and back, each in one launch. Which cell the compiler is told (lanes.cuh). Who owns what,
// what travels, and why nobody waits for ever stands in sequence.cuh.
#include "sequence.cuh"
#include "gru_lanes.cuh"
#include "lstm_lanes.cuh"
#include "rnn_lanes.cuh"

// Forward. What travels is h. G is 4, of a GRU 3, of an RNN 1.
extern "C" __global__ void BLOCKS_ARE_SPREAD __launch_bounds__(512, 1) sequence(
    float *hs,          // (T, H, B), the mailbox
    const float *W_hh,  // (G H, H)
    const float *a_xs,  // (T, G H, B)
    const float *h_0,   // (H, B)
    const float *b_hn,  // (H,) of a GRU, or null
    float *cs,          // (T + 1, H, B) of an LSTM, or without gates (1, H, B); cs[0] is c_0; of others or null
    float *gates,       // (T, 4H, B) receives what is to be kept, or null
    unsigned *stalled,  // (1,)
    int T,
    int H,
    int B,
    int quads)
{
    extern __shared__ float4 shared[];
    float4 *weights = shared, *tile = behind(weights, quads, H);
    keep(weights, quads, H, [=](int quad, int row, int k) {
        const long long there = CELL::row_of(quad, row, false, H);
        return there == NONE ? 0 : W_hh[there * H + k];
    });
    const There x = {a_xs, b_hn, cs, gates, H, B};
    const auto out = [=](int t) { return hs + (long long)t * H * B; };
    const auto finish = [=](int t, int quad, int column, auto sum, auto send, auto row) {
        CELL::there(x, t, quad, column, sum, send, row);
    };
    each_step(T, weights, tile, quads, H, B, stalled, h_0, out, finish);
}

// Backward. A quad is four units, its rows are columns of W_hh, and what travels is as many blocks of cotangents as ask
// something of h_prev. In dh a lane finds what it left there. Step s goes back through t = T - 1 - s; the last one only
// finishes dh of h_0.
extern "C" __global__ void BLOCKS_ARE_SPREAD __launch_bounds__(512, 1) sequence_back(
    float *das,           // (T, BLOCKS H, B) cotangents of the sums, the mailbox
    const float *W_hh,    // (G H, H)
    const float *dhs,     // (T, H, B)
    float *dh,            // (H, B) that of h_T, becomes that of h_0
    const float *gates,   // (T, 4H, B), or null of an RNN
    const float *states,  // (T + 1, H, B) c_0 to c_T of an LSTM; of others h_0 to h_T
    float *dc,            // (H, B) of an LSTM that of c_T, becomes that of c_0; of others or null
    unsigned *stalled,    // (1,)
    int T,
    int H,
    int B,
    int quads)
{
    extern __shared__ float4 shared[];
    const int K = CELL::OF_STATE * H;
    float4 *weights = shared, *tile = behind(weights, quads, K);
    const long long step = (long long)H * B;
    keep(weights, quads, K, [=](int quad, int row, int k) {
        const int unit = 4 * quad + row;
        return unit < H ? W_hh[CELL::row_of_cotangent(k, false, H) * H + unit] : 0;
    });
    const auto out = [=](int s) { return das + (T - 1 - s) * CELL::BLOCKS * step; };
    const auto finish = [=](int s, int quad, int column, auto sum, auto send, auto) {
        const int unit = 4 * quad + threadIdx.x / TILE, t = max(T - 1 - s, 0);
        const bool is_ours = unit < H && column < B;
        const long long here = is_ours ? (long long)unit * B + column : 0;
        const CELL lane(gates, states, dc, t, here, step);
        const float dh_loss = dhs[t * step + here], kept = dh[here];
        const float dh_next = s ? kept + sum() : kept;  // (1)
        if (!is_ours) return;
        // h_t is read twice
        dh[here] = s == T ? dh_next : lane.back(dh_next + dh_loss, [=](int block, float x) { send(block * H + unit, x); });
    };
    each_step(T + 1, weights, tile, quads, K, B, stalled, nullptr, out, finish);
}
