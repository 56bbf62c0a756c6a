// What the kernels for whole sequences share. Each runs all T steps in one launch, and each step is a product of one
// and the same matrix with B columns, those of the state or of its cotangent, and some arithmetic.
//
// Who owns what. The rows of the matrix are dealt out in fours, the quads, and the columns in tiles of eight. Block
// (g, p) of the grid keeps ``quads`` quads, from p * quads on, in shared memory from the first step to the last, and sees
// to the tiles g, g + gridDim.x and so on; a lane of a warp has one row and one column (product.cuh). Rows that the
// matrix lacks are zeros, and so are columns that the batch lacks: both are computed, not written.
//
// What travels. A step needs what all blocks of its columns made of the step before. They find it where it has to be
// written anyway, in the output, which is the mailbox. Why nobody waits for ever stands in mailbox.cuh: all words of a
// step depend on those of the step before only.
//
// How precise the product is the compiler is told: PRECISION is one of four. All but FLOAT32 ask for tensor cores.
#include "mailbox.cuh"

#define FLOAT32 0
#define THREE_TF32 1
#define TF32 2
#define BF16 3
#ifndef PRECISION
#define PRECISION FLOAT32
#endif
#if PRECISION == FLOAT32
#include "product.cuh"
#else
#include "tensor_product.cuh"
#endif

#define AHEAD 8  // words that a thread asks for before it looks at the first

// Fetches K rows of the tile's columns, or, without tensor cores, of a part of a tile that has ``height`` rows. The last
// step's are awaited, an initial state is there already.
__device__ void receive(
    float4 *tile, int height, const float *rows, int K, int B, int first, bool await, unsigned *stalled) {
    float *x = reinterpret_cast<float *>(tile);
    const int rank = threadIdx.y * 32 + threadIdx.x, threads = blockDim.y * 32;
    const unsigned *words = reinterpret_cast<const unsigned *>(rows) + first;
    const int columns = min(TILE, B - first), deep = rows_of_tile(K);
    for (int start = rank; start < deep * TILE; start += threads * AHEAD) {
        unsigned bits[AHEAD];
#pragma unroll
        for (int j = 0; j < AHEAD; ++j) {
            const int k = (start + j * threads) / TILE, b = (start + j * threads) % TILE;
            bits[j] = k < K && b < columns ? load_relaxed(words + (long long)k * B + b) : 0;
        }
#pragma unroll
        for (int j = 0; j < AHEAD; ++j) {
            const int k = (start + j * threads) / TILE, b = (start + j * threads) % TILE;
            if (await) bits[j] = received(bits[j], words + (long long)k * B + b, stalled);  // sync: the word has come
            if (k < deep) x[place(height, k, b)] = __uint_as_float(bits[j]);
        }
    }
}

// The tiles of this block, one after the other: fetch(first) brings the columns from ``first`` on, and the warps share out
// the quads. finish(q, column) does for one lane what is to be done.
template <class Fetch, class Finish> __device__ void each_tile(int quads, int B, Fetch fetch, Finish finish) {
    for (int first = blockIdx.x * TILE; first < B; first += gridDim.x * TILE) {
        fetch(first);
        __syncthreads();  // sync: weights and columns are there
        for (int q = threadIdx.y; q < quads; q += blockDim.y) finish(q, first + threadIdx.x % TILE);
        __syncthreads();  // sync: the columns have been read, and others may come
    }
}

// The loop over steps. rows(s) says where the columns stand that step s multiplies; those of step 0 are there from the
// start, or there are none and it answers null. finish(s, quad, column, sum) does the rest of the step for one lane,
// which must call sum() for its row of the product in all threads or in none.
template <class Rows, class Finish>
__device__ void each_step(
    int steps, const float4 *weights, float4 *tile, int quads, int K, int B, unsigned *stalled, Rows rows, Finish finish) {
    for (int s = 0; s < steps; ++s) {
        const float *columns = rows(s);
        const auto fetch = [=](int first) {
            if (columns) receive(tile, K, columns, K, B, first, s > 0, stalled);
        };
        each_tile(quads, B, fetch, [=](int q, int column) {
            finish(s, blockIdx.y * quads + q, column, [=] { return product_of(q, weights, tile, K); });
        });
    }
}
