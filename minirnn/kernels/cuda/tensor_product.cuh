// What product.cuh does, by tensor cores: the same rows and columns, and the same lane is told the same sum.
//
// Who owns what. Four quads stand together, sixteen rows, and so do four warps, a team. Each warp multiplies all sixteen
// rows, but along k it takes every fourth block only: what it finds is a part of each sum. It lays the parts down at
// ``parts``, and the warp that has quad q of the team picks up the four parts of its own quad and adds them, always in the
// same order. So all warps have the same to do, before the sum and after it.
//
// Why nobody waits for ever. A warp waits for the other three of its team only, and they come to the same sums: quads and
// warps of a block are multiples of four, and all of a block's threads ask for a sum or none of them.
//
// How precise it is. Products of tf32 or bf16 are exact, and their sums are float32, if coarsely rounded. TF32: operands
// keep 11 bits. BF16: 8. THREE_TF32: x = great + small, where both are tf32 and 22 bits are kept, and of their products
// only small times small is left out (Markidis et al. 2018; Ootomo and Yokota 2022). An infinite x has no such parts: it
// makes NaN.
#include "tensor_cores.cuh"

#define TILE 8  // columns
#define TEAM 4  // warps, and quads
#if PRECISION == BF16
#define DEPTH 16  // products of a sum by one instruction: a block of k
#else
#define DEPTH 8
#endif

__device__ __forceinline__ int blocks_of(int K) { return (K + DEPTH - 1) / DEPTH; }
__device__ __forceinline__ int rows_of_tile(int K) { return blocks_of(K) * DEPTH; }  // those from K on are zeros
__device__ __forceinline__ int place(int, int k, int b) { return k * TILE + b; }
__device__ __forceinline__ float4 *behind(float4 *weights, int quads, int K) {
    return weights + quads / TEAM * blocks_of(K) * 32;
}

// What a word of A or B holds, of the numbers along k: number k of a block, in bf16 number k + 4 as well. Which number is
// called which is free as long as A and B agree. So called, lanes read the tile from 32 different banks.
template <class Number> __device__ __forceinline__ unsigned word_of(Number number, int k) {
#if PRECISION == BF16
    return bf16_pair(number(k), number(k + 4));
#elif PRECISION == TF32
    return tf32(number(k));
#else
    return __float_as_uint(number(k));  // to be split
#endif
}

// Puts the weights of this block's quads where ``product_of`` finds them: for each block of k what the lanes bring as A.
template <class Weight> __device__ void keep(float4 *weights, int quads, int K, Weight weight) {
    const int lane = threadIdx.x, blocks = blocks_of(K);
    for (int i = threadIdx.y; i < quads / TEAM * blocks; i += blockDim.y) {
        const auto word = [=](int j) {
            const int row = lane / 4 + j % 2 * 8, quad = blockIdx.y * quads + i / blocks * TEAM + row / 4;
            const auto number = [=](int k) { return k < K ? weight(quad, row % 4, k) : 0.0f; };
            return word_of(number, i % blocks * DEPTH + lane % 4 + j / 2 * (DEPTH / 2));
        };
        reinterpret_cast<uint4 *>(weights)[i * 32 + lane] = make_uint4(word(0), word(1), word(2), word(3));
    }
}

#if PRECISION == THREE_TF32
__device__ __forceinline__ void split(unsigned x, unsigned &great, unsigned &small) {
    great = tf32(__uint_as_float(x));
    small = tf32(__uint_as_float(x) - __uint_as_float(great));
}
#endif

// Quad q of the block times the tile: lane l returns the sum of row l / 8 and column l % 8. For each team there is room for
// four parts of its sums behind ``parts``.
__device__ float product_of(int q, const float4 *weights, const float4 *tile, float *parts, int K) {
    const int lane = threadIdx.x, blocks = blocks_of(K), team = q / TEAM, member = q % TEAM;
    const uint4 *mine = reinterpret_cast<const uint4 *>(weights) + team * blocks * 32 + lane;
    const float *x = reinterpret_cast<const float *>(tile);
    parts += team * TEAM * 16 * TILE;
    float sums[4] = {};
#if PRECISION == THREE_TF32
    float corrections[4] = {};  // added among themselves, before they could vanish beside the sums
#endif
    for (int block = member; block < blocks; block += TEAM) {
        const auto number = [=](int k) { return x[(block * DEPTH + k) * TILE + lane / 4]; };
        const uint4 a = mine[block * 32];
        const uint2 b = make_uint2(word_of(number, lane % 4), word_of(number, lane % 4 + DEPTH / 2));
#if PRECISION == BF16
        mma_bf16(sums, a, b);
#elif PRECISION == TF32
        mma_tf32(sums, a, b);
#else
        uint4 great_a, small_a;
        uint2 great_b, small_b;
        split(a.x, great_a.x, small_a.x), split(a.y, great_a.y, small_a.y);
        split(a.z, great_a.z, small_a.z), split(a.w, great_a.w, small_a.w);
        split(b.x, great_b.x, small_b.x), split(b.y, great_b.y, small_b.y);
        mma_tf32(corrections, great_a, small_b);
        mma_tf32(corrections, small_a, great_b);
        mma_tf32(sums, great_a, great_b);
#endif
    }
#if PRECISION == THREE_TF32
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[j] += corrections[j];
#endif
    float2 *laid = reinterpret_cast<float2 *>(parts + member * 16 * TILE) + lane;  // row lane / 4, columns lane % 4 * 2 and + 1
    laid[0] = make_float2(sums[0], sums[1]);
    laid[32] = make_float2(sums[2], sums[3]);  // eight rows on
    meet(1 + threadIdx.y / TEAM, TEAM * 32);  // sync: all parts of the team's sums have been laid down
    float sum = 0;
#pragma unroll
    for (int part = 0; part < TEAM; ++part) sum += parts[(part * 16 + member * 4) * TILE + lane];
    return sum;
}
