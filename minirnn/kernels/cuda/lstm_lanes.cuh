// What a lane does in a step of an LSTM over a whole sequence: equations (1) to (4) of rules/lstm.py, there and back.
#include "elementwise.cuh"
#include "lanes.cuh"
#include "lstm.cuh"

struct Lstm {
    static constexpr int UNITS = 1, BLOCKS = 4, OF_STATE = 4;  // the four are i f g o

    __device__ static long long row_of(int unit, int gate, bool, int H) { return unit < H ? (long long)gate * H + unit : NONE; }

    __device__ static long long row_of_cotangent(int k, bool, int) { return k; }

    // The four lanes of a column have the pre-activations of one unit. Each learns its gate, and that of the first row c_t,
    // where it had c_prev, and h_t.
    __device__ static float unit(float a, float &gate, float &c) {
        const int row = threadIdx.x / TILE, b = threadIdx.x % TILE;
        gate = row == 2 ? tanhf(a) : sigmoid(a);  // (2)
        const float f = __shfl_sync(~0u, gate, TILE + b), g = __shfl_sync(~0u, gate, 2 * TILE + b);
        const float o = __shfl_sync(~0u, gate, 3 * TILE + b);
        c = lstm_state(gate, f, g, c);  // (3)
        return lstm_output(o, c);       // (4)
    }

    // gates receive i f g o. c does not travel: whoever wrote it reads it.
    template <class Sum, class Send, class Row>
    __device__ static void there(const There &x, int t, int quad, int column, Sum sum, Send send, Row) {
        const long long step = (long long)x.H * x.B;
        const int row = threadIdx.x / TILE;
        const bool is_ours = quad < x.H && column < x.B;
        const long long here = is_ours ? (long long)quad * x.B + column : 0, of_gate = (t * 4 + row) * step + here;
        float *c_prev = x.cs + (x.gates ? t * step : 0) + here;
        float c = *c_prev, gate;
        const float a_x = x.a_xs[of_gate];
        const float h = unit(a_x + sum(), gate, c);  // (1)
        if (is_ours && x.gates) x.gates[of_gate] = gate;
        if (is_ours && row == 0) {
            c_prev[x.gates ? step : 0] = c;
            send(quad, h);
        }
    }

    float s_i, s_f, s_g, s_o, dc_slope, carry;
    float *const dc;
    const float dc_next;

    __device__ Lstm(const float *gates, const float *states, float *dc, int t, long long here, long long step)
        : dc(dc + here), dc_next(dc[here])
    {
        const float *gate = gates + t * 4 * step + here, *c = states + t * step + here;
        lstm_unit_slopes(gate[0], gate[step], gate[2 * step], gate[3 * step], 0, 0, 0, c[0], c[step],
                         s_i, s_f, s_g, s_o, dc_slope, carry);
    }

    template <class Send> __device__ float back(float dh_t, Send send) const {
        const float dc_t = dc_next + dh_t * dc_slope;  // (4)
        *dc = dc_t * carry;                            // (3)
        send(0, dc_t * s_i);                           // (3, 2)
        send(1, dc_t * s_f);                           // (3, 2)
        send(2, dc_t * s_g);                           // (3, 2)
        send(3, dh_t * s_o);                           // (4, 2)
        return 0;
    }
};
