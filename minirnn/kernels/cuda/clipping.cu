// How long a gradient is, and what becomes of it; the twin in array operations is in kernels/clipping.py.
// In float32 alone: its squares cannot grow out of a double.
#include "elementwise.cuh"

// What all threads of a block have, summed up in the same order each time; thread 0 is told.
__device__ inline double over_the_block(double mine, double *shared)
{
    shared[threadIdx.x] = mine;
    for (unsigned half = blockDim.x / 2; half; half /= 2) {
        __syncthreads();  // sync: both halves are there
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    return shared[0];
}

// Each block sums up the squares of every gridDim.x-th stretch of numbers; blockDim.x is a power of two.
extern "C" __global__ void squares(
    const float *g,  // (n,)
    double *sums,    // (blocks,)
    long long n)
{
    extern __shared__ double shared[];  // one for each thread
    double sum = 0;
    for (long long k = this_number(); k < n; k += (long long)gridDim.x * blockDim.x) sum += (double)g[k] * g[k];
    sum = over_the_block(sum, shared);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block. Of a sum that is not finite both results are NaN.
extern "C" __global__ void verdict(
    const double *sums,  // (n,)
    const float *loss,   // (1,) or null
    float *norm,         // (1,)
    float *factor,       // (1,) what the gradient is to be multiplied with
    double max_norm,
    int n)
{
    extern __shared__ double shared[];  // one for each thread
    double sum = 0;
    for (int k = threadIdx.x; k < n; k += blockDim.x) sum += sums[k];
    sum = over_the_block(sum, shared);
    if (threadIdx.x) return;
    double length = sqrt(sum) + (sum - sum);  // infinity less infinity is NaN, and so is what is added to it
    norm[0] = (float)length;                  // may grow out of a float where the factor does not
    factor[0] = (float)(length > max_norm ? max_norm / length : 1) + (float)(length - length) + (loss ? *loss - *loss : 0);
}
