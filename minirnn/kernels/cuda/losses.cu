// The softmax of the losses: the twins in array operations are in kernels/losses.py.
//
// An array of scores is (outer, V, inner), whatever axes these are made of. A block works on blockDim.x positions that
// are neighbours in memory, with blockDim.y threads for each, which share out its V classes.
#include "elementwise.cuh"

// The result, in every thread of a position, of combining what its threads have; always in the same order.
template <typename Combine>
__device__ inline REAL over_the_classes(REAL mine, REAL *shared, Combine combine)
{
    __syncthreads();  // sync: nobody still reads what the last call left
    shared[threadIdx.y * blockDim.x + threadIdx.x] = mine;
    __syncthreads();  // sync: all have written
    REAL all = shared[threadIdx.x];
    for (unsigned y = 1; y < blockDim.y; y++) all = combine(all, shared[y * blockDim.x + threadIdx.x]);
    return all;
}

extern "C" __global__ void softmax(
    const REAL *logits,        // (outer, V, inner)
    const long long *targets,  // (outer, inner)
    REAL *p,                   // (outer, V, inner) receives softmax(logits)
    REAL *log_p,               // (outer, inner) receives the logarithm of it at the targets
    int V,
    int inner)
{
    extern __shared__ REAL shared[];  // one for each thread
    int column = blockIdx.y * blockDim.x + threadIdx.x;
    bool here = column < inner;  // who is beyond the end waits with the others
    long long begin = (long long)blockIdx.x * V * inner + column;
    REAL largest = here ? logits[begin] : 0, sum = 0;
    if (here)
        for (int v = threadIdx.y; v < V; v += blockDim.y) largest = max(largest, logits[begin + (long long)v * inner]);
    largest = over_the_classes(largest, shared, [](REAL a, REAL b) { return max(a, b); });
    if (here)
        for (int v = threadIdx.y; v < V; v += blockDim.y) {
            long long k = begin + (long long)v * inner;
            p[k] = exp(logits[k] - largest);
            sum += p[k];
        }
    sum = over_the_classes(sum, shared, [](REAL a, REAL b) { return a + b; });
    if (!here) return;
    for (int v = threadIdx.y; v < V; v += blockDim.y) p[begin + (long long)v * inner] /= sum;
    if (threadIdx.y == 0) {
        long long position = (long long)blockIdx.x * inner + column;
        log_p[position] = logits[begin + targets[position] * inner] - largest - log(sum);
    }
}

extern "C" __global__ void softmax_back(
    const REAL *p,             // (outer, V, inner)
    const long long *targets,  // (outer, inner)
    const REAL *step,          // (outer, inner) what a position counts, or one number for all
    REAL *dlogits,             // (outer, V, inner) receives step * (p - onehot(target))
    bool one_step,
    int V,
    int inner,
    long long n)
{
    long long k = this_number();
    if (k >= n) return;
    long long position = k / inner / V * inner + k % inner;
    REAL by = step[one_step ? 0 : position], d = p[k] * by;
    dlogits[k] = k / inner % V == targets[position] ? d - by : d;
}
