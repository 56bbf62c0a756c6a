// The tanh RNN over a sequence, there and back, each in one launch: equations (1) and (2) of rules/rnn.py. Who owns what,
// what travels, and why nobody waits for ever stands in sequence.cuh.
#include "sequence.cuh"

// Forward. A quad is four units, and what travels is h.
extern "C" __global__ void BLOCKS_ARE_SPREAD __launch_bounds__(512, 1) rnn_sequence(
    float *hs,          // (T, H, B), the mailbox
    const float *W_hh,  // (H, H)
    const float *a_xs,  // (T, H, B)
    const float *h_0,   // (H, B)
    unsigned *stalled,  // (1,)
    int T,
    int H,
    int B,
    int quads)
{
    extern __shared__ float4 shared[];
    float4 *weights = shared, *tile = behind(weights, quads, H);
    const long long step = (long long)H * B;
    keep(weights, quads, H, [=](int quad, int row, int k) {
        return 4 * quad + row < H ? W_hh[(4LL * quad + row) * H + k] : 0.0f;
    });
    const auto out = [=](int t) { return hs + t * step; };
    const auto finish = [=](int t, int quad, int column, auto sum, auto send, auto) {
        const int unit = 4 * quad + threadIdx.x / TILE;
        const bool is_ours = unit < H && column < B;
        const long long now = t * step + (is_ours ? (long long)unit * B + column : 0);
        const float a_x = a_xs[now];
        const float a = a_x + sum();           // (1)
        if (is_ours) send(unit, tanhf(a));  // (2)
    };
    each_step(T, weights, tile, quads, H, B, stalled, h_0, out, finish);
}

// Backward. A quad is four units, its rows are columns of W_hh, and what travels is da. Step s goes back through
// t = T - 1 - s; the last one only finishes dh of h_0.
extern "C" __global__ void BLOCKS_ARE_SPREAD __launch_bounds__(512, 1) rnn_sequence_back(
    float *da,          // (T, H, B), the mailbox
    const float *W_hh,  // (H, H)
    const float *dhs,   // (T, H, B)
    const float *hs,    // (T, H, B)
    float *dh,          // (H, B) that of h_T, becomes that of h_0
    unsigned *stalled,  // (1,)
    int T,
    int H,
    int B,
    int quads)
{
    extern __shared__ float4 shared[];
    float4 *weights = shared, *tile = behind(weights, quads, H);
    const long long step = (long long)H * B;
    keep(weights, quads, H, [=](int quad, int row, int k) {
        return 4 * quad + row < H ? W_hh[(long long)k * H + 4 * quad + row] : 0.0f;
    });
    const auto out = [=](int s) { return da + (T - 1 - s) * step; };
    const auto finish = [=](int s, int quad, int column, auto sum, auto send, auto) {
        const int unit = 4 * quad + threadIdx.x / TILE, t = max(T - 1 - s, 0);
        const bool is_ours = unit < H && column < B;
        const long long here = is_ours ? (long long)unit * B + column : 0, now = t * step + here;
        const float h = hs[now], dh_loss = dhs[now];
        const float dh_next = s ? sum() : dh[here];  // (1)
        if (is_ours && s == T) dh[here] = dh_next;
        if (is_ours && s < T) send(unit, (dh_next + dh_loss) * (1 - h * h));  // (2)
    };
    each_step(T + 1, weights, tile, quads, H, B, stalled, nullptr, out, finish);
}
