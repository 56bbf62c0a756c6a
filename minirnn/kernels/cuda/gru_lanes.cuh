// What a lane does in a step of a GRU with reset_after over a whole sequence: the first equations (1) to (4) of
// rules/gru.py, there and back.
#include "elementwise.cuh"
#include "gru.cuh"
#include "lanes.cuh"

struct Gru {
    static constexpr int UNITS = 1, BLOCKS = 4, OF_STATE = 3;  // the four are s_n r z a_n

    // A quad is r, z, s_n, a_n: n has its two parts apart, for r comes between them.
    __device__ static long long row_of(int unit, int row, bool fed, int H) {
        return unit < H && row != (fed ? 2 : 3) ? (long long)min(row, 2) * H + unit : NONE;
    }

    __device__ static long long row_of_cotangent(int k, bool fed, int H) {
        if (k / H == (fed ? 0 : 3)) return NONE;
        return k < H ? k + 2LL * H : k - H;  // s_n stands in the third block of rows, as a_n does
    }

    // The four lanes of a column have those of one unit, r and z before they are activated. Each learns what is to be kept of
    // its row, and that of the last row h_t.
    __device__ static float unit(float a, float h_prev, float &kept) {
        const int row = threadIdx.x / TILE, b = threadIdx.x % TILE;
        kept = row < 2 ? sigmoid(a) : a;  // (2)
        const float r = __shfl_sync(~0u, kept, b), z = __shfl_sync(~0u, kept, TILE + b);
        const float n = gru_unit_n(a, r, __shfl_sync(~0u, kept, 2 * TILE + b));  // (3)
        if (row == 3) kept = n;
        return gru_unit(z, n, h_prev);  // (4)
    }

    // gates receive r z s_n n.
    template <class Sum, class Send, class Row>
    __device__ static void there(const There &x, int t, int quad, int column, Sum sum, Send send, Row of_state) {
        const long long step = (long long)x.H * x.B;
        const int row = threadIdx.x / TILE;
        const bool is_ours = quad < x.H && column < x.B;
        const long long here = is_ours ? (long long)quad * x.B + column : 0;
        const float a_x = x.a_xs[(t * 3 + min(row, 2)) * step + here], bias = x.b_hn ? x.b_hn[here / x.B] : 0;
        float kept;
        const float h = unit((row == 2 ? bias : a_x) + sum(), of_state(min(quad, x.H - 1)), kept);  // (1)
        if (is_ours && x.gates) x.gates[(t * 4 + row) * step + here] = kept;
        if (is_ours && row == 3) send(quad, h);
    }

    float r, z, s_n, slope_n, slope_z;

    __device__ Gru(const float *gates, const float *states, float *, int t, long long here, long long step) {
        const float *gate = gates + t * 4 * step + here;
        const float n = gate[3 * step];
        r = gate[0], z = gate[step], s_n = gate[2 * step];
        slope_n = gru_slope_n(z, n), slope_z = gru_slope_z(z, n, states[t * step + here]);
    }

    template <class Send> __device__ float back(float dh_t, Send send) const {
        const float da_n = dh_t * slope_n;      // (4, 3)
        send(0, da_n * r);                      // (3)
        send(1, da_n * s_n * r * (1 - r));      // (3, 2)
        send(2, dh_t * slope_z);                // (4, 2)
        send(3, da_n);                          // (3)
        return dh_t * z;                        // (4)
    }
};
