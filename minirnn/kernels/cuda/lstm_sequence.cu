// The LSTM over a sequence in one launch: equations (1) to (4) of rules/lstm.py, without peepholes and projection.
// Who owns what, what travels, and why nobody waits for ever stands in sequence.cuh.
#include "sequence.cuh"

// Forward. The four rows that a warp takes are those of one unit, i f g o, and what travels is h. So lane 8 * gate + b
// finds the pre-activation of its gate for column b and activates it. The lanes of the first row are given the other
// three gates and make the new state; c stays with them.
extern "C" __global__ void __launch_bounds__(512, 1) lstm_sequence(
    const float *a_xs,  // (T, 4H, B)
    const float *W_hh,  // (4H, H)
    float *hs,          // (T + 1, H, B), the mailbox: hs[0] is h_0, all else EMPTY
    float *cs,          // (T + 1, H, B), or without gates (1, H, B); cs[0] is c_0
    float *gates,       // (T, 4H, B) receives i f g o, or null
    unsigned *stalled,  // (1,)
    int T,
    int H,
    int B,
    int quads)
{
    extern __shared__ float4 shared[];
    float4 *weights = shared, *tile = shared + quads * H;
    const int lane = threadIdx.x, gate = lane / TILE, b = lane % TILE;
    const long long matrix = (long long)H * H, step = (long long)H * B;
    for (int q = threadIdx.y; q < quads; q += blockDim.y) {
        const int unit = blockIdx.x * quads + q;
        for (int k = lane; k < H; k += 32) {
            const float *w = W_hh + (long long)unit * H + k;
            weights[q * H + k] = unit < H ? make_float4(w[0], w[matrix], w[2 * matrix], w[3 * matrix]) : float4{};
        }
    }
    for (int t = 0; t < T; ++t)
        for (int first = blockIdx.y * TILE; first < B; first += gridDim.y * TILE) {
            receive(tile, hs + t * step, H, B, first, t > 0, stalled);
            __syncthreads();  // sync: weights and columns are there
            for (int q = threadIdx.y; q < quads; q += blockDim.y) {
                const int unit = blockIdx.x * quads + q;
                const bool is_ours = unit < H && first + b < B;
                const long long here = (long long)unit * B + first + b, at = (t * 4 + gate) * step + here;
                const float a_x = is_ours ? a_xs[at] : 0;
                const float a = a_x + product(weights + q * H, tile, H);    // (1)
                const float activated = gate == 2 ? tanhf(a) : sigmoid(a);  // (2)
                const float f = __shfl_sync(~0u, activated, 8 + b), g = __shfl_sync(~0u, activated, 16 + b);
                const float o = __shfl_sync(~0u, activated, 24 + b);
                if (is_ours && gates) gates[at] = activated;
                if (is_ours && gate == 0) {
                    float *c = cs + (gates ? t * step : 0) + here, *c_next = gates ? c + step : c;
                    *c_next = f * *c + activated * g;         // (3)
                    send(hs + (t + 1) * step + here, o * tanhf(*c_next));  // (4)
                }
            }
            __syncthreads();  // sync: the columns have been read
        }
}
