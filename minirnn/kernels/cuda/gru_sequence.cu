// The GRU with reset_after over a sequence, there and back, each in one launch: the first equations (1) to (4) of
// rules/gru.py. Who owns what, what travels, and why nobody waits for ever stands in sequence.cuh.
#include "elementwise.cuh"
#include "gru.cuh"
#include "sequence.cuh"

// Forward. A quad is one unit, its rows those of r, z, s_n and one of zeros, and what travels is h. Lane 8 * row + b has
// r, z or s_n for column b; the lanes of the last row are given all three and make candidate and new state.
extern "C" __global__ void __launch_bounds__(512, 1) gru_sequence(
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
    const int row = threadIdx.x / TILE, b = threadIdx.x % TILE;
    keep(weights, quads, H, [=](int unit, int row, int k) {
        return unit < H && row < 3 ? W_hh[((long long)row * H + unit) * H + k] : 0.0f;
    });
    const auto rows = [=](int t) { return t ? hs + (t - 1) * step : h_0; };
    each_step(T, weights, tile, quads, H, B, stalled, rows, [=](int t, int unit, int column, auto sum) {
        const bool is_ours = unit < H && column < B;
        const long long here = is_ours ? (long long)unit * B + column : 0;
        const float a_x = a_xs[(t * 3 + min(row, 2)) * step + here], bias = b_hn ? b_hn[here / B] : 0;
        const float h_prev = reinterpret_cast<const float *>(tile)[place(H, here / B, b)];
        const float s = sum();                                     // (1)
        const float lane_has = row < 2 ? sigmoid(a_x + s) : s + bias;  // (2)
        const float r = __shfl_sync(~0u, lane_has, b), z = __shfl_sync(~0u, lane_has, 8 + b);
        const float n = tanhf(a_x + r * __shfl_sync(~0u, lane_has, 16 + b));  // (3), in the last row
        if (is_ours && gates) gates[(t * 4 + row) * step + here] = row < 3 ? lane_has : n;
        if (is_ours && row == 3) send(hs + t * step + here, gru_unit(z, n, h_prev));  // (4)
    });
}

// Backward. A quad is four units, its rows are columns of W_hh, and what travels is the cotangent of s: the first three
// blocks of dgates. A lane has one unit and one column; in dh it keeps what h_prev gets through z, and the sum over the
// ds of this step is added to it. Step s goes back through t = T - 1 - s; the last one only finishes dh of h_0.
extern "C" __global__ void __launch_bounds__(512, 1) gru_sequence_back(
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
    const auto rows = [=](int s) { return s ? dgates + (T - s) * 4 * step : nullptr; };
    each_step(T + 1, weights, tile, quads, 3 * H, B, stalled, rows, [=](int s, int quad, int column, auto sum) {
        const int unit = 4 * quad + threadIdx.x / TILE, t = max(T - 1 - s, 0);
        const bool is_ours = unit < H && column < B;
        const long long here = is_ours ? (long long)unit * B + column : 0, now = t * step + here;
        const float *gate = gates + t * 4 * step + here;
        const float r = gate[0], z = gate[step], s_n = gate[2 * step], n = gate[3 * step];
        const float slope_n = gru_slope_n(z, n), slope_z = gru_slope_z(z, n, hs[now]);
        const float dh_loss = dhs[now], kept = dh[here];
        const float dh_next = s ? kept + sum() : kept;  // (4, 1)
        if (is_ours && s == T) dh[here] = dh_next;
        if (is_ours && s < T) {
            const float dh_t = dh_next + dh_loss;  // h_t is read twice
            const float da_n = dh_t * slope_n;    // (4, 3)
            dh[here] = dh_t * z;                  // (4)
            float *sent = dgates + t * 4 * step + here;
            send(sent, da_n * r);                         // (3)
            send(sent + step, da_n * s_n * r * (1 - r));  // (3, 2)
            send(sent + 2 * step, dh_t * slope_z);        // (4, 2)
            sent[3 * step] = da_n;
        }
    });
}
