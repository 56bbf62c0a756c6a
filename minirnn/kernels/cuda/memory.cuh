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
#define SELDOM 64  // looks for one at ``stalled``: if all threads asked for this one word each time, they would wait for it
#define NOT_A_NUMBER 0x7FC00000u
#define AHEAD 8  // words that a thread asks for before it looks at the first

// Looks at a word until has_come(bits), and says whether it did. Should it never do, the first to lose its patience tells
// all others by ``stalled``.
template <class Word, class HasCome>
__device__ bool comes(Word &bits, const Word *word, unsigned *stalled, HasCome has_come) {
    for (int looks = 1; !has_come(bits); ++looks) {
        if (looks == PATIENCE) store_relaxed(stalled, 1);
        if (looks % SELDOM == 0 && load_relaxed(stalled)) return false;
        bits = load_relaxed(word);
    }
    return true;
}

// The threads of a block share out n words: load(i) asks for one of them, take(i, word) is given it.
template <class Load, class Take> __device__ void each_word(int n, Load load, Take take) {
    const int rank = threadIdx.y * 32 + threadIdx.x, threads = blockDim.y * 32;
    for (int start = rank; start < n; start += threads * AHEAD) {
        decltype(load(0)) words[AHEAD];
#pragma unroll
        for (int j = 0; j < AHEAD; ++j) words[j] = load(start + j * threads);
#pragma unroll
        for (int j = 0; j < AHEAD; ++j) take(start + j * threads, words[j]);
    }
}
