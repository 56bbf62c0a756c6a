// Loads and stores of single words that blocks pass to each other while they run. Relaxed: each word arrives whole and
// some time, but nothing is said of the order in which several arrive. They go past the first-level cache, of which
// every multiprocessor has one of its own.
#ifdef __CUDACC__  // elsewhere whoever imitates a device brings them
__device__ __forceinline__ unsigned load_relaxed(const unsigned *word) {
    unsigned bits;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(bits) : "l"(word) : "memory");
    return bits;
}

__device__ __forceinline__ void store_relaxed(unsigned *word, unsigned bits) {
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" : : "l"(word), "r"(bits) : "memory");
}
#endif
