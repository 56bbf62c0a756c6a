// The LSTM, a thread for each unit and column; the twins in array operations stand in kernels/lstm.py.
#include "elementwise.cuh"
#include "lstm.cuh"

extern "C" __global__ void lstm_gates(
    const REAL *a,          // (4H, B) the input's part of the pre-activations
    REAL *gates,            // (4H, B) holds W_hh h_prev, and the gates afterwards
    const REAL *c_prev,     // (H, B)
    REAL *m,                // (H, B) receives m_t
    REAL *c,                // (H, B) receives c_t; may be c_prev itself
    const REAL *peepholes,  // (3, H) or null
    int H,
    int B)
{
    long long k = this_number(), HB = (long long)H * B;
    if (k >= HB) return;
    int unit = k / B;
    REAL p_i = peepholes ? peepholes[unit] : 0;
    REAL p_f = peepholes ? peepholes[unit + H] : 0;
    REAL p_o = peepholes ? peepholes[unit + 2 * H] : 0;
    REAL i = a[k] + gates[k], f = a[k + HB] + gates[k + HB];                              // (1)
    REAL g = a[k + 2 * HB] + gates[k + 2 * HB], o = a[k + 3 * HB] + gates[k + 3 * HB];    // (1)
    lstm_unit(i, f, g, o, p_i, p_f, p_o, c_prev[k], c[k], m[k]);                          // (1a) to (4)
    gates[k] = i;
    gates[k + HB] = f;
    gates[k + 2 * HB] = g;
    gates[k + 3 * HB] = o;
}

extern "C" __global__ void lstm_slopes(
    const REAL *gates,      // (steps, 4H, B)
    const REAL *c_prev,     // (steps, H, B)
    const REAL *c,          // (steps, H, B)
    REAL *da_slope,         // (steps, 4H, B) receives d(c_t)/d(a) in the rows i f g, d(m_t)/d(a) in the rows o
    REAL *dc_slope,         // (steps, H, B) receives d(m_t)/d(c_t)
    REAL *carry,            // (steps, H, B) receives d(c_t)/d(c_prev), or null: then it is the forget gate
    const REAL *peepholes,  // (3, H) or null
    int H,
    int B,
    int steps)
{
    long long k = this_number(), HB = (long long)H * B, n = k / HB * 4 * HB + k % HB;  // n: in the rows i
    if (k >= steps * HB) return;
    int unit = k % HB / B;
    REAL p_i = peepholes ? peepholes[unit] : 0;
    REAL p_f = peepholes ? peepholes[unit + H] : 0;
    REAL p_o = peepholes ? peepholes[unit + 2 * H] : 0;
    REAL carried;
    lstm_unit_slopes(gates[n], gates[n + HB], gates[n + 2 * HB], gates[n + 3 * HB], p_i, p_f, p_o, c_prev[k], c[k],
                     da_slope[n], da_slope[n + HB], da_slope[n + 2 * HB], da_slope[n + 3 * HB], dc_slope[k], carried);
    if (carry) carry[k] = carried;
}

extern "C" __global__ void lstm_gates_back(
    const REAL *dm_t,      // (H, B) what is asked of m_t by all but the next step, or null: nothing
    REAL *dm,              // (H, B) what the next step asks of it; becomes the sum
    REAL *dc,              // (H, B) cotangent of c_t as the future left it; becomes all that is asked of c_t
    REAL *da,              // (4H, B) holds the slopes, and the cotangent of the pre-activations afterwards
    const REAL *dc_slope,  // (H, B)
    const REAL *carry,     // (H, B)
    REAL *dc_prev,         // (H, B) receives the cotangent of c_prev
    int H,
    int B)
{
    long long k = this_number(), HB = (long long)H * B;
    if (k >= HB) return;
    REAL m_asked = dm[k];
    if (dm_t) dm[k] = m_asked += dm_t[k];
    REAL c_asked = dc[k] + m_asked * dc_slope[k];  // (4, 3a)
    dc[k] = c_asked;
    da[k] *= c_asked;                              // (3, 2)
    da[k + HB] *= c_asked;                         // (3, 2)
    da[k + 2 * HB] *= c_asked;                     // (3, 2)
    da[k + 3 * HB] *= m_asked;                     // (4, 2)
    dc_prev[k] = c_asked * carry[k];               // (3, 1a)
}
