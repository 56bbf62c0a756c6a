// What kernels share that work number by number, a thread for each.

__device__ inline long long this_number() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline REAL sigmoid(REAL x) { return 1 / (1 + exp(-x)); }  // exp may overflow: 1 / inf is what is meant
