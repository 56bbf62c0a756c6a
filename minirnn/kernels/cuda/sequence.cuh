// What the kernels for whole sequences share. Each runs all T steps in one launch, and each step is a product of one
// and the same matrix with B columns, those of the state or of its cotangent, and some arithmetic.
//
// Who owns what. The rows of the matrix are dealt out in fours, the quads, and the columns in tiles of eight. Block
// (g, p) of the grid keeps ``quads`` quads, from p * quads on, in shared memory from the first step to the last, and sees
// to the tiles g, g + gridDim.x and so on. A warp takes a quad times a tile: 32 sums, one for each of its lanes in the
// end. Rows that the matrix lacks are zeros, and so are columns that the batch lacks: both are computed, not written.
//
// What travels. A step needs what all blocks of its columns made of the step before. They find it where it has to be
// written anyway, in the output: the host fills it with EMPTY, a NaN that no arithmetic makes, and whoever reads a word
// that is still EMPTY reads again. The datum is the flag: no order between words is asked of the memory.
//
// Why nobody waits for ever. All blocks run at once (a cooperative launch), all words of a step depend on those of the
// step before only, and a real NaN is written in another form than EMPTY. Should a word never come all the same, the
// reader gives up after PATIENCE looks, takes NaN for it, and says so in ``stalled``, where all others see it too.
#include "memory.cuh"

#ifndef PATIENCE
#define PATIENCE (1 << 22)  // looks, some seconds
#endif
#define EMPTY 0xFFFFFFFFu
#define NOT_A_NUMBER 0x7FC00000u
#define TILE 8   // columns
#define AHEAD 8  // words that a thread asks for before it looks at the first

// One word of the mailbox: what is there by now, or what comes.
__device__ unsigned received(unsigned bits, const unsigned *word, unsigned *stalled) {
    for (int looks = 0; bits == EMPTY; ++looks) {
        if (looks == PATIENCE) store_relaxed(stalled, 1);
        if (looks == PATIENCE || load_relaxed(stalled)) return NOT_A_NUMBER;
        bits = load_relaxed(word);
    }
    return bits;
}

__device__ __forceinline__ void send(float *word, float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) bits = NOT_A_NUMBER;  // sync: a NaN must not look like a word that has not come
    store_relaxed(reinterpret_cast<unsigned *>(word), bits);
}

// Where row k, column b of a tile stands in shared memory: four columns of a row together, the rows one after another.
__device__ __forceinline__ int place(int K, int k, int b) { return (b / 4 * K + k) * 4 + b % 4; }

// Fetches K rows of the tile's columns. The last step's are awaited, an initial state is there already.
__device__ void receive(float4 *tile, const float *rows, int K, int B, int first, bool await, unsigned *stalled) {
    float *x = reinterpret_cast<float *>(tile);
    const int rank = threadIdx.y * 32 + threadIdx.x, threads = blockDim.y * 32;
    const unsigned *words = reinterpret_cast<const unsigned *>(rows) + first;
    const int columns = min(TILE, B - first);
    for (int start = rank; start < K * TILE; start += threads * AHEAD) {
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
            if (k < K) x[place(K, k, b)] = __uint_as_float(bits[j]);
        }
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

// Puts the weights of this block's quads where ``product`` finds them; weight(quad, row, k) tells each.
template <class Weight> __device__ void keep(float4 *weights, int quads, int K, Weight weight) {
    for (int q = threadIdx.y; q < quads; q += blockDim.y)
        for (int k = threadIdx.x; k < K; k += 32) {
            const int quad = blockIdx.y * quads + q;
            weights[q * K + k] =
                make_float4(weight(quad, 0, k), weight(quad, 1, k), weight(quad, 2, k), weight(quad, 3, k));
        }
}

// The loop over steps. rows(s) says where the columns stand that step s multiplies; those of step 0 are there from the
// start, or there are none and it answers null. finish(s, quad, column, sum) does the rest of the step for one lane,
// which must call sum() for its row of the product in all lanes of a warp or in none.
template <class Rows, class Finish>
__device__ void each_step(
    int steps, const float4 *weights, float4 *tile, int quads, int K, int B, unsigned *stalled, Rows rows, Finish finish) {
    for (int s = 0; s < steps; ++s)
        for (int first = blockIdx.x * TILE; first < B; first += gridDim.x * TILE) {
            const float *columns = rows(s);
            if (columns) receive(tile, columns, K, B, first, s > 0, stalled);
            __syncthreads();  // sync: weights and columns are there
            for (int q = threadIdx.y; q < quads; q += blockDim.y)
                finish(s, blockIdx.y * quads + q, first + threadIdx.x % TILE, [=] { return product(weights + q * K, tile, K); });
            __syncthreads();  // sync: the columns have been read, and others may come
        }
}
