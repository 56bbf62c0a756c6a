// Gradients of look-ups: the twin of add_rows is in kernels/numpy.py.

// A warp has a row of the table, and a lane one of its numbers. The warp goes through all ids in order, 32 at once: each
// lane looks at one of them, and then all know which are those of the row. So nothing has to be added up atomically, and the
// same sum has the same bits at every call.
//
// Nobody waits for ever: lanes wait for those of their warp alone, and all of these see the same ids.
extern "C" __global__ void add_rows(
    const long long *ids,  // (N,)
    const REAL *rows,      // (N, E)
    REAL *total,           // (size, E) receives in row v the sum of the rows with id v
    int N,
    int E,
    int size)
{
    const int v = blockIdx.x * blockDim.y + threadIdx.y, e = blockIdx.y * 32 + threadIdx.x;
    if (v >= size) return;  // as a whole warp
    REAL sum = 0;
    for (int begin = 0; begin < N; begin += 32) {
        const int n = begin + threadIdx.x;
        for (unsigned ours = __ballot_sync(~0u, n < N && ids[n] == v); ours; ours &= ours - 1)  // the first one is done
            if (e < E) sum += rows[(long long)(begin + __ffs(ours) - 1) * E + e];
    }
    if (e < E) total[(long long)v * E + e] = sum;
}
