// The GRU in its two forms, a thread for each unit and column; the twins in array operations stand in kernels/gru.py.
// With reset_after the rows of the gates are r z s n and those of their cotangents s r z n, else they are r z n.
#include "elementwise.cuh"
#include "gru.cuh"

extern "C" __global__ void gru_gates(
    const REAL *a,       // (3H, B) the input's part of the pre-activations
    const REAL *b,       // (H, B) b_hn in every column, or null
    const REAL *h_prev,  // (H, B)
    REAL *gates,         // (4H, B) r z s n: holds W_hh h_prev in the first three, and all gates afterwards
    REAL *h,             // (H, B) receives h_t
    int H,
    int B)
{
    long long k = this_number(), HB = (long long)H * B;
    if (k >= HB) return;
    REAL s = gates[k + 2 * HB];
    if (b) gates[k + 2 * HB] = s += b[k];                        // (1)
    REAL r = sigmoid(a[k] + gates[k]);                           // (2)
    REAL z = sigmoid(a[k + HB] + gates[k + HB]);                 // (2)
    REAL n = gru_unit_n(a[k + 2 * HB], r, s);                    // (3)
    gates[k] = r;
    gates[k + HB] = z;
    gates[k + 3 * HB] = n;
    h[k] = gru_unit(z, n, h_prev[k]);                            // (4)
}

extern "C" __global__ void gru_reset(
    const REAL *a,       // (3H, B)
    const REAL *h_prev,  // (H, B)
    REAL *gates,         // (3H, B) r z n: holds s_r, s_z, and r, z afterwards
    REAL *kept,          // (H, B) receives what is kept of the state
    int H,
    int B)
{
    long long k = this_number(), HB = (long long)H * B;
    if (k >= HB) return;
    REAL r = sigmoid(a[k] + gates[k]);                  // (2)
    gates[k] = r;
    gates[k + HB] = sigmoid(a[k + HB] + gates[k + HB]);  // (2)
    kept[k] = r * h_prev[k];                            // (3a)
}

extern "C" __global__ void gru_candidate(
    const REAL *a,       // (3H, B)
    const REAL *h_prev,  // (H, B)
    REAL *gates,         // (3H, B) r z n: the rows n hold s_n, and n afterwards
    REAL *h,             // (H, B) receives h_t
    int H,
    int B)
{
    long long k = this_number(), HB = (long long)H * B;
    if (k >= HB) return;
    REAL n = tanh(a[k + 2 * HB] + gates[k + 2 * HB]);  // (3c)
    gates[k + 2 * HB] = n;
    h[k] = gru_unit(gates[k + HB], n, h_prev[k]);      // (4)
}

extern "C" __global__ void gru_slopes(
    const REAL *gates,   // (steps, 4H or 3H, B)
    const REAL *h_prev,  // (steps, H, B)
    REAL *slopes,        // (steps, 4H or 3H, B)
    bool reset_after,
    int H,
    int B,
    int steps)
{
    long long k = this_number(), HB = (long long)H * B, rows = reset_after ? 4 : 3;
    if (k >= steps * HB) return;
    const REAL *gate = gates + k / HB * rows * HB + k % HB;
    REAL *slope = slopes + k / HB * rows * HB + k % HB;
    REAL r = gate[0], z = gate[HB], n = gate[(rows - 1) * HB], of_n = gru_slope_n(z, n);
    slope[(rows - 1) * HB] = of_n;
    slope[(rows - 2) * HB] = gru_slope_z(z, n, h_prev[k]);
    if (reset_after) {
        slope[0] = of_n * r;                                    // (3) that of s_n
        slope[HB] = of_n * r * gate[2 * HB] * (1 - r);          // (3, 2) that of a_r
    } else
        slope[0] = r * (1 - r) * h_prev[k];                     // (2, 3a) that of k in a_r
}

extern "C" __global__ void gru_gates_back(
    const REAL *dh_t,   // (H, B) what is asked of h_t by all but the next step, or null: nothing
    REAL *dh,           // (H, B) what the next step asks of it; becomes what h_prev gets through z
    const REAL *gates,  // (4H, B) r z s n
    REAL *dgates,       // (4H, B) s r z n: holds the slopes, and the cotangents afterwards
    int H,
    int B)
{
    long long k = this_number(), HB = (long long)H * B;
    if (k >= HB) return;
    REAL asked = dh_t ? dh[k] + dh_t[k] : dh[k];
    for (int row = 0; row < 4; ++row) dgates[k + row * HB] *= asked;  // (4, 3, 2)
    dh[k] = asked * gates[k + HB];                                    // (4)
}

extern "C" __global__ void gru_candidate_back(
    const REAL *dh_t,   // (H, B) what is asked of h_t by all but the next step, or null: nothing
    REAL *dh,           // (H, B) what the next step asks of it; becomes what h_prev gets through z
    const REAL *gates,  // (3H, B) r z n
    REAL *dgates,       // (3H, B) r z n: holds the slopes, and in the rows z and n the cotangents afterwards
    int H,
    int B)
{
    long long k = this_number(), HB = (long long)H * B;
    if (k >= HB) return;
    REAL asked = dh_t ? dh[k] + dh_t[k] : dh[k];
    dgates[k + HB] *= asked;        // (4, 2)
    dgates[k + 2 * HB] *= asked;    // (4, 3c)
    dh[k] = asked * gates[k + HB];  // (4)
}

extern "C" __global__ void gru_reset_back(
    const REAL *dk,     // (H, B) cotangent of k
    REAL *dh,           // (H, B) grows by what h_prev gets through k
    const REAL *gates,  // (3H, B) r z n
    REAL *dgates,       // (3H, B) r z n: the rows r hold the slope of k, and da_r afterwards
    int H,
    int B)
{
    long long k = this_number();
    if (k >= (long long)H * B) return;
    dgates[k] *= dk[k];         // (3a, 2)
    dh[k] += dk[k] * gates[k];  // (3a)
}
