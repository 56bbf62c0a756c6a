// What every kernel that works number by number begins with.

// The number that this thread works on; the last block may reach beyond the end.
__device__ inline long long this_number() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
