// Products of matrices, many at once: c = a b, or c + a b. kernels/products.py says when they are wanted.
//
// A block owns one tile of c at a time, SIDE * EACH rows and as many columns, and each of its SIDE x SIDE threads owns
// EACH x EACH numbers of it, SIDE apart. What travels are slabs: DEPTH columns of a and DEPTH rows of b, through shared
// memory. All threads of a block bring a slab, wait for each other, multiply, wait again, and bring the next.
//
// Nobody waits for ever: threads wait for those of their block alone, and all of these take the same number of turns,
// for what lies beyond an edge is not left out but zero.
//
// Each number is summed up by one thread, in the order of K: of the same matrices it always has the same bits.
#define SIDE 16   // threads of a block, in both directions
#define DEPTH 16  // of a slab
#define TILE (SIDE * EACH)
#define PITCH (TILE + 1)  // of a row in shared memory: neighbours in a column lie in different banks

// Brings a slab of ``deep`` columns of a matrix, from ``begin`` on, of ``wide`` rows: number (w, k) to slab[k][w].
__device__ inline void bring(REAL *slab, const REAL *matrix, bool along_k, long long begin, int deep, long long first,
                             long long wide, long long K)
{
    int thread = threadIdx.y * SIDE + threadIdx.x;
#pragma unroll 2  // all at once would take more registers than there are
    for (int n = thread; n < TILE * DEPTH; n += SIDE * SIDE) {  // neighbours read neighbours
        int k = along_k ? n % DEPTH : n / TILE, w = along_k ? n / DEPTH : n % TILE;
        bool inside = k < deep && first + w < wide;
        long long at = along_k ? (first + w) * K + begin + k : (begin + k) * wide + first + w;
        slab[k * PITCH + w] = inside ? matrix[at] : 0;
    }
}

extern "C" __global__ void __launch_bounds__(256) matmul(
    const REAL *a,  // (many or 1, M, K); turned (many or 1, K, M)
    const REAL *b,  // (many or 1, K, N); turned (many or 1, N, K)
    REAL *c,        // (many, M, N) receives a b, or c + a b
    bool a_turned,
    bool b_turned,
    bool a_many,
    bool b_many,
    bool add,
    long long many,
    long long M,
    long long N,
    long long K)
{
    extern __shared__ REAL shared[];  // (2, DEPTH, PITCH)
    REAL *rows = shared, *columns = shared + DEPTH * PITCH;
    long long across = (N + TILE - 1) / TILE, row = blockIdx.x / across * TILE, column = blockIdx.x % across * TILE;
    for (long long z = blockIdx.y; z < many; z += gridDim.y) {
        REAL sums[EACH][EACH] = {};
        for (long long begin = 0; begin < K; begin += DEPTH) {
            int deep = K - begin < DEPTH ? K - begin : DEPTH;
            bring(rows, a + (a_many ? z * M * K : 0), !a_turned, begin, deep, row, M, K);
            bring(columns, b + (b_many ? z * K * N : 0), b_turned, begin, deep, column, N, K);
            __syncthreads();  // sync: the slab is there
#pragma unroll
            for (int k = 0; k < DEPTH; k++)
#pragma unroll
                for (int i = 0; i < EACH; i++)
#pragma unroll
                    for (int j = 0; j < EACH; j++)
                        sums[i][j] +=
                            rows[k * PITCH + threadIdx.y + i * SIDE] * columns[k * PITCH + threadIdx.x + j * SIDE];
            __syncthreads();  // sync: nobody reads it any more
        }
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                long long m = row + threadIdx.y + i * SIDE, n = column + threadIdx.x + j * SIDE;
                long long at = (z * M + m) * N + n;
                if (m < M && n < N) c[at] = add ? c[at] + sums[i][j] : sums[i][j];
            }
    }
}
