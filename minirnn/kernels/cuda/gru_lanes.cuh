// What a lane does in a step of a GRU with reset_after over a whole sequence: the first equations (1) to (4) of
// rules/gru.py, there and back.
#include "elementwise.cuh"
#include "gru.cuh"

// Forward. The four lanes 8 * row + b of a warp have one unit and one column, and the sums of r, z, s_n and of what is
// added to a_n, if anything is. The lane of the last row is given r, z and s_n and makes candidate and new state. sum
// and send are those of sequence.cuh.
template <class Sum, class Send>
__device__ void gru_lanes(
    const float *a_xs,  // (T, 3H, B)
    const float *b_hn,  // (H,) or null
    float *gates,       // (T, 4H, B) receives r z s_n n, or null
    float h_prev, int t, int unit, int column, int H, int B, Sum sum, Send send)
{
    const long long step = (long long)H * B;
    const int row = threadIdx.x / 8, b = threadIdx.x % 8;
    const bool is_ours = unit < H && column < B;
    const long long here = is_ours ? (long long)unit * B + column : 0;
    const float a_x = a_xs[(t * 3 + min(row, 2)) * step + here], bias = b_hn ? b_hn[here / B] : 0;
    const float s = sum();                                         // (1)
    const float lane_has = row < 2 ? sigmoid(a_x + s) : s + bias;  // (2)
    const float r = __shfl_sync(~0u, lane_has, b), z = __shfl_sync(~0u, lane_has, 8 + b);
    const float n = tanhf(a_x + s + r * __shfl_sync(~0u, lane_has, 16 + b));  // (3), in the last row
    if (is_ours && gates) gates[(t * 4 + row) * step + here] = row < 3 ? lane_has : n;
    if (is_ours && row == 3) send(unit, gru_unit(z, n, h_prev));  // (4)
}

// Backward. A lane has one unit and one column. The slopes wait for nobody: they are made before, and then h_t is asked.
struct GruLane {
    float r, z, s_n, slope_n, slope_z;

    __device__ GruLane(
        const float *gates,  // (T, 4H, B)
        float h_prev, int t, long long here, long long step)
    {
        const float *gate = gates + t * 4 * step + here;
        const float n = gate[3 * step];
        r = gate[0], z = gate[step], s_n = gate[2 * step];
        slope_n = gru_slope_n(z, n), slope_z = gru_slope_z(z, n, h_prev);
    }

    // dh is left what h_prev gets through z; send(block, x) makes x the lane's number in that block of the cotangents of
    // s_n and of the pre-activations r z n.
    template <class Send> __device__ void back(float dh_t, float *dh, Send send) const {
        const float da_n = dh_t * slope_n;                   // (4, 3)
        *dh = dh_t * z;                                      // (4)
        send(0, da_n * r);                                   // (3)
        send(1, da_n * s_n * r * (1 - r));                   // (3, 2)
        send(2, dh_t * slope_z);                             // (4, 2)
        send(3, da_n);                                       // (3)
    }
};
