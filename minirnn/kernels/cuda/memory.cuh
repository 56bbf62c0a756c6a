// Loads and stores of single words that blocks pass to each other while they run. Relaxed: each word arrives whole and
// some time, but nothing is said of the order in which several arrive. They go past the first-level cache, of which
// every multiprocessor has one of its own. A word has 32 bits, or 64.
#ifdef __CUDACC__  // elsewhere whoever imitates a device brings them
__device__ __forceinline__ unsigned load_relaxed(const unsigned *word) {
    unsigned bits;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(bits) : "l"(word) : "memory");
    return bits;
}

__device__ __forceinline__ void store_relaxed(unsigned *word, unsigned bits) {
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" : : "l"(word), "r"(bits) : "memory");
}

__device__ __forceinline__ unsigned long long load_relaxed(const unsigned long long *word) {
    unsigned long long bits;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(bits) : "l"(word) : "memory");
    return bits;
}

__device__ __forceinline__ void store_relaxed(unsigned long long *word, unsigned long long bits) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" : : "l"(word), "l"(bits) : "memory");
}
#endif

#ifndef PATIENCE
#define PATIENCE (1 << 22)  // looks at a word that does not come, some seconds
#endif
#define NOT_A_NUMBER 0x7FC00000u
