// Columns that travel through global memory: ``each_step`` for kernels whose blocks are all of the grid.
//
// Who owns what. Block (g, p) of the grid sees to the tiles g, g + gridDim.x and so on, one after the other in each step.
//
// What travels. What a step makes has to be written anyway, into the output. There all blocks of the same columns find it:
// the output is the mailbox. Why nobody waits for ever stands in mailbox.cuh: all words of a step depend on those of the
// step before only.
#include "mailbox.cuh"

#define BLOCKS_ARE_SPREAD

// Fetches K rows of the tile's columns, or, without tensor cores, of a part of a tile that has ``height`` rows. The last
// step's are awaited, an initial state is there already.
__device__ void receive(
    float4 *tile, int height, const float *rows, int K, int B, int first, bool await, unsigned *stalled) {
    float *x = reinterpret_cast<float *>(tile);
    rows += first;
    const int columns = min(TILE, B - first), deep = rows_of_tile(K);
    const auto load = [=](int i) {
        return i / TILE < K && i % TILE < columns ? load_relaxed(rows + (long long)(i / TILE) * B + i % TILE) : 0;
    };
    each_word(deep * TILE, load, [=](int i, unsigned bits) {
        const int k = i / TILE, b = i % TILE;
        if (await) bits = received(bits, rows + (long long)k * B + b, stalled);  // sync: the word has come
        if (k < deep) x[place(height, k, b)] = __uint_as_float(bits);
    });
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

template <class Out, class Finish>
__device__ void each_step(int steps, const float4 *weights, float4 *tile, int quads, int K, int B, unsigned *stalled,
                          const float *start, Out out, Finish finish) {
    float *parts = reinterpret_cast<float *>(tile) + rows_of_tile(K) * TILE;
    const auto row = [=](int k) { return reinterpret_cast<const float *>(tile)[place(K, k, threadIdx.x % TILE)]; };
    for (int s = 0; s < steps; ++s) {
        const float *columns = s ? out(s - 1) : start;
        const auto fetch = [=](int first) {
            if (columns) receive(tile, K, columns, K, B, first, s > 0, stalled);
        };
        each_tile(quads, B, fetch, [=](int q, int column) {
            const auto sum = [=] { return product_of(q, weights, tile, parts, K); };
            const auto to_all = [=](int k, float x) { send(out(s) + (long long)k * B + column, x); };
            finish(s, blockIdx.y * quads + q, column, sum, to_all, row);
        });
    }
}
