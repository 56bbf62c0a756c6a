// Words that blocks pass to each other while they run: the datum is the flag. The host fills the mailbox with EMPTY, a NaN
// that no arithmetic makes, and whoever reads a word that is still EMPTY reads again. No order between words is asked of
// the memory.
//
// Why nobody waits for ever. All blocks run at once (a cooperative launch), no word depends on one that depends on it,
// and a real NaN is written in another form than EMPTY. Should a word never come all the same, the reader gives up after
// PATIENCE looks, takes NaN for it, and says so in ``stalled``, where all others see it sooner or later.
#include "memory.cuh"

#define EMPTY 0xFFFFFFFFu

// What a word of the mailbox has by now.
__device__ __forceinline__ unsigned load_relaxed(const float *word) {
    return load_relaxed(reinterpret_cast<const unsigned *>(word));
}

// That, or what comes.
__device__ unsigned received(unsigned bits, const float *word, unsigned *stalled) {
    const auto has_come = [](unsigned bits) { return bits != EMPTY; };
    return comes(bits, reinterpret_cast<const unsigned *>(word), stalled, has_come) ? bits : NOT_A_NUMBER;
}

__device__ __forceinline__ void send(float *word, float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) bits = NOT_A_NUMBER;  // sync: a NaN must not look like a word that has not come
    store_relaxed(reinterpret_cast<unsigned *>(word), bits);
}
