// The plain recurrent network, one thread for each number: the twin in array operations is kernels/rnn.py.
#include "elementwise.cuh"
#include "rnn.cuh"

extern "C" __global__ void rnn_activate(
    const REAL *a,  // (H, B) the input's part of the pre-activations
    REAL *h,        // (H, B) holds W_hh h_prev, and h_t afterwards
    bool relu,
    int numbers)
{
    long long k = this_number();
    if (k >= numbers) return;
    h[k] = rnn_unit(a[k] + h[k], relu);  // (1, 2)
}

extern "C" __global__ void rnn_slopes(
    const REAL *h,  // (..., H, B)
    REAL *slopes,   // (..., H, B) receives d(h_t)/d(a_t)
    bool relu,
    long long numbers)
{
    long long k = this_number();
    if (k >= numbers) return;
    slopes[k] = rnn_slope(h[k], relu);  // (2)
}

extern "C" __global__ void rnn_back(
    const REAL *dh_t,  // (H, B) what is asked of h_t by all but the next step
    REAL *dh,          // (H, B) what the next step asks of it; becomes the sum
    REAL *da,          // (H, B) holds the slopes, and the cotangent of the pre-activations afterwards
    int numbers)
{
    long long k = this_number();
    if (k >= numbers) return;
    REAL asked = dh[k] + dh_t[k];
    dh[k] = asked;
    da[k] *= asked;  // (2)
}
