// A block's rows of a matrix times a tile of columns: how both lie in shared memory, and which lane is told which sum.
//
// The rows are dealt out in fours, the quads, and a warp takes a quad times the eight columns of a tile: 32 sums, one for
// each of its lanes in the end. Rows that the matrix lacks are zeros.
#define TILE 8  // columns

// How many rows of a tile stand in shared memory: those from K on, if any, are zeros.
__device__ __forceinline__ int rows_of_tile(int K) { return K; }

// Where the tile stands: behind the weights.
__device__ __forceinline__ float4 *behind(float4 *weights, int quads, int K) { return weights + quads * K; }

// Where row k, column b of a tile stands in it: four columns of a row together, the rows one after another.
__device__ __forceinline__ int place(int K, int k, int b) { return (b / 4 * K + k) * 4 + b % 4; }

// Puts the weights of this block's quads where ``product`` finds them; weight(quad, row, k) tells each.
template <class Weight> __device__ void keep(float4 *weights, int quads, int K, Weight weight) {
    for (int q = threadIdx.y; q < quads; q += blockDim.y)
        for (int k = threadIdx.x; k < K; k += 32) {
            const int quad = blockIdx.y * quads + q;
            weights[q * K + k] =
                make_float4(weight(quad, 0, k), weight(quad, 1, k), weight(quad, 2, k), weight(quad, 3, k));
        }
}

// Four rows of K weights times the tile: lane l returns the sum of row l / 8 and column l % 8. The order of the sums is
// that of the lanes, and always the same.
__device__ float product(const float4 *weights, const float4 *tile, int K) {
    const int lane = threadIdx.x;
    float sums[32] = {};
    for (int k = lane; k < K; k += 32) {  // each lane has every 32nd k
        const float4 w = weights[k], x = tile[k], y = tile[K + k];
        const float rows[4] = {w.x, w.y, w.z, w.w}, columns[TILE] = {x.x, x.y, x.z, x.w, y.x, y.y, y.z, y.w};
#pragma unroll
        for (int r = 0; r < 4; ++r)
#pragma unroll
            for (int b = 0; b < TILE; ++b) sums[r * TILE + b] += rows[r] * columns[b];
    }
#pragma unroll
    for (int level = 0; level < 5; ++level) {  // of the sums it has left a lane gives away one half, and is given the other
        const int half = 16 >> level;
        const bool upper = lane & half;
#pragma unroll
        for (int j = 0; j < 16; ++j)
            if (j < half) {  // not the bound of the loop: only so are all five unrolled, and the sums stay in registers
                const float kept = upper ? sums[j + half] : sums[j], given = upper ? sums[j] : sums[j + half];
                sums[j] = kept + __shfl_xor_sync(~0u, given, half);
            }
    }
    return sums[0];
}

// Quad q of the block times the tile.
__device__ __forceinline__ float product_of(int q, const float4 *weights, const float4 *tile, float *, int K) {
    return product(weights + q * K, tile, K);
}
