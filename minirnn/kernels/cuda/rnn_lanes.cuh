// What a lane does in a step of a tanh RNN over a whole sequence: equations (1) and (2) of rules/rnn.py, there and back.
#include "elementwise.cuh"
#include "lanes.cuh"
#include "rnn.cuh"

struct Rnn {
    static constexpr int UNITS = 4, BLOCKS = 1, OF_STATE = 1;

    __device__ static long long row_of(int quad, int row, bool, int H) { return 4 * quad + row < H ? 4 * quad + row : NONE; }

    __device__ static long long row_of_cotangent(int k, bool, int) { return k; }

    // A lane has one unit and one column.
    template <class Sum, class Send, class Row>
    __device__ static void there(const There &x, int t, int quad, int column, Sum sum, Send send, Row) {
        const int unit = 4 * quad + threadIdx.x / TILE;
        const bool is_ours = unit < x.H && column < x.B;
        const long long here = is_ours ? (long long)unit * x.B + column : 0;
        const float a_x = x.a_xs[(long long)t * x.H * x.B + here];
        const float h = rnn_unit(a_x + sum(), false);  // (1, 2)
        if (is_ours) send(unit, h);
    }

    const float slope;

    __device__ Rnn(const float *, const float *states, float *, int t, long long here, long long step)
        : slope(rnn_slope(states[(t + 1) * step + here], false)) {}

    template <class Send> __device__ float back(float dh_t, Send send) const {
        send(0, dh_t * slope);  // (2)
        return 0;
    }
};
