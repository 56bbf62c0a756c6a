// What the kernels for whole sequences share. Each runs all T steps in one launch, and each step is a product of one
// and the same matrix with B columns, those of the state or of its cotangent, and some arithmetic.
//
// Who owns what. Block (p, q) of the grid keeps ``quads`` times four rows of the matrix in shared memory from the first
// step to the last, those of quad p * quads and the following, and sees to tiles q, q + gridDim.y, ... of eight columns
// each. A warp takes four rows times eight columns: 32 sums, one for each of its lanes in the end. Rows that the matrix
// lacks are zeros, and so are columns that the batch lacks: both are computed, and not written.
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
    for (int half = 16; half; half /= 2) {  // of the sums it still has a lane gives one half and is given to the other
        const bool upper = lane & half;
#pragma unroll
        for (int s = 0; s < half; ++s) {
            const float kept = upper ? sums[s + half] : sums[s], given = upper ? sums[s] : sums[s + half];
            sums[s] = kept + __shfl_xor_sync(~0u, given, half);
        }
    }
    return sums[0];
}

// sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: nothing overflows
__device__ __forceinline__ float sigmoid(float x) { return 0.5f * tanhf(0.5f * x) + 0.5f; }
