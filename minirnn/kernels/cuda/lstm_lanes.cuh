// What a lane does in a step of an LSTM over a whole sequence: equations (1) to (4) of rules/lstm.py, there and back.
#include "elementwise.cuh"
#include "lstm.cuh"

// Forward. The four lanes 8 * gate + b of a warp have one unit and one column. Each finds the pre-activation of its gate
// and activates it; the lane of the first row is given the other three gates and makes the new state. c does not travel:
// whoever wrote it reads it. sum and send are those of sequence.cuh.
template <class Sum, class Send>
__device__ void lstm_lanes(
    const float *a_xs,  // (T, 4H, B)
    float *cs,          // (T + 1, H, B), or without gates (1, H, B)
    float *gates,       // (T, 4H, B) receives i f g o, or null
    int t, int unit, int column, int H, int B, Sum sum, Send send)
{
    const long long step = (long long)H * B;
    const int gate = threadIdx.x / 8, b = threadIdx.x % 8;
    const bool is_ours = unit < H && column < B;
    const long long here = is_ours ? (long long)unit * B + column : 0, row = (t * 4 + gate) * step + here;
    float *c = cs + (gates ? t * step : 0) + here;
    const float a_x = a_xs[row], c_prev = *c;
    const float a = a_x + sum();                                // (1)
    const float activated = gate == 2 ? tanhf(a) : sigmoid(a);  // (2)
    const float f = __shfl_sync(~0u, activated, 8 + b), g = __shfl_sync(~0u, activated, 16 + b);
    const float o = __shfl_sync(~0u, activated, 24 + b);
    if (is_ours && gates) gates[row] = activated;
    if (is_ours && gate == 0) {
        const float c_next = f * c_prev + activated * g;  // (3)
        c[gates ? step : 0] = c_next;
        send(unit, o * tanhf(c_next));  // (4)
    }
}

// Backward. A lane has one unit and one column. The slopes wait for nobody: they are made before, and then h_t is asked.
struct LstmLane {
    float s_i, s_f, s_g, s_o, dc_slope, carry, dc_next;

    __device__ LstmLane(
        const float *gates,  // (T, 4H, B)
        const float *cs,     // (T + 1, H, B)
        const float *dc,     // (H, B)
        int t, long long here, long long step)
        : dc_next(dc[here])
    {
        const float *gate = gates + t * 4 * step + here, *c = cs + t * step + here;
        lstm_unit_slopes(gate[0], gate[step], gate[2 * step], gate[3 * step], 0, 0, 0, c[0], c[step],
                         s_i, s_f, s_g, s_o, dc_slope, carry);
    }

    // dc where the lane has its number; send(block, x) makes x the lane's number in that block of da
    template <class Send> __device__ void back(float dh_t, float *dc, Send send) const {
        const float dc_t = dc_next + dh_t * dc_slope;  // (4)
        *dc = dc_t * carry;                            // (3)
        send(0, dc_t * s_i);                           // (3, 2)
        send(1, dc_t * s_f);                           // (3, 2)
        send(2, dc_t * s_g);                           // (3, 2)
        send(3, dh_t * s_o);                           // (4, 2)
    }
};
