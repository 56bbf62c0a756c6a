// The steps of the optimizers, one thread for each weight: the twins in array operations are in kernels/optimizers.py.
// Numbers come as double: 1 - 0.999 in single precision would be wrong in its fifth digit. Those that change from step
// to step, the ``rates``, lie in the memory of the device, so that a recorded step can read others each time. Where there
// is an ``allowed`` and it is not finite, nothing changes: a step that the host would have refused, had it looked.
#include "elementwise.cuh"

__device__ inline bool is_refused(const REAL *allowed) { return allowed && *allowed - *allowed != 0; }

extern "C" __global__ void sgd(
    REAL *w,            // (n,)
    const REAL *g,      // (n,)
    REAL *m,            // (n,) or null
    const REAL *rates,  // (1,) the learning rate
    double momentum,
    const REAL *allowed,  // (1,) or null
    long long n)
{
    long long k = this_number();
    if (k >= n || is_refused(allowed)) return;
    REAL step = g[k];
    if (m) step = m[k] = (REAL)momentum * m[k] + step;
    w[k] -= rates[0] * step;
}

extern "C" __global__ void rmsprop(
    REAL *w,            // (n,)
    const REAL *g,      // (n,)
    REAL *v,            // (n,)
    const REAL *rates,  // (1,) the learning rate
    double alpha,
    double eps,
    const REAL *allowed,  // (1,) or null
    long long n)
{
    long long k = this_number();
    if (k >= n || is_refused(allowed)) return;
    REAL g_k = g[k];
    REAL v_k = v[k] = (REAL)alpha * v[k] + (REAL)(1 - alpha) * g_k * g_k;
    w[k] -= rates[0] * g_k / (sqrt(v_k) + (REAL)eps);
}

extern "C" __global__ void adam(
    REAL *w,            // (n,)
    const REAL *g,      // (n,)
    REAL *m,            // (n,)
    REAL *v,            // (n,)
    const REAL *rates,  // (3,) the learning rate, a factor of the root of v, and what is kept of the weight
    double beta1,
    double beta2,
    double eps,
    const REAL *allowed,  // (1,) or null
    long long n)
{
    long long k = this_number();
    if (k >= n || is_refused(allowed)) return;
    REAL g_k = g[k];
    REAL m_k = m[k] = (REAL)beta1 * m[k] + (REAL)(1 - beta1) * g_k;
    REAL v_k = v[k] = (REAL)beta2 * v[k] + (REAL)(1 - beta2) * (g_k * g_k);
    REAL lr = rates[0], growth = rates[1], kept = rates[2];
    w[k] = kept * w[k] - lr * (m_k / (sqrt(v_k) * growth + (REAL)eps));
}
