// What a warp asks of its tensor cores, and how teams of warps wait for each other.
//
// An mma multiplies 16 rows with 8 columns: sums += A B. Each lane brings four words of A and two of B, and owns four
// sums. With group = lane / 4 and member = lane % 4 (PTX ISA, "Matrix Fragments for mma"):
//
//     sums    row group, for the last two group + 8      column 2 member, for every second one 2 member + 1
//     A       row group, for every second word group + 8
//     B       column group
//
// along which product, k, a word of tf32 is number ``member`` of the four in word 0 or 1 of A and word 0 of B, and of the
// next four in the others. A word of bf16 holds numbers 2 member and 2 member + 1, of eight.
#ifdef __CUDACC__  // elsewhere whoever imitates a device brings them
// To 11 significant bits, ties away from zero. What stands behind them is said to be undefined: here it is zero.
__device__ __forceinline__ unsigned tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits & 0xFFFFE000u;
}

// To 8 significant bits, ties to even; two in a word.
__device__ __forceinline__ unsigned bf16_pair(float low, float high) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

__device__ __forceinline__ void mma_tf32(float (&sums)[4], uint4 a, uint2 b) {  // 8 products for each sum
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}

__device__ __forceinline__ void mma_bf16(float (&sums)[4], uint4 a, uint2 b) {  // 16 products for each sum
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}

// Waits until so many threads of the block have come to barrier 1 to 15, whole warps; what they wrote before is seen.
__device__ __forceinline__ void meet(int barrier, int threads) {
    asm volatile("bar.sync %0, %1;" : : "r"(barrier), "r"(threads) : "memory");
}
#endif
