// Words that blocks pass to each other in the same memory step after step: each bears the number of the step that sent
// it, and both halves travel in one store. Steps count from 1, and the memory is zeros at first.
//
// Everything that is sent has two words, for odd steps and for even ones, so that none is overwritten that somebody
// still waits for. Proof: a block sends its words of step n + 1 in the place of those of step n - 1 when it has received
// what all blocks sent in step n, and each of these sent that only when it had received all of step n - 1.
//
// Why nobody waits for ever: as in mailbox.cuh. But a NaN needs no form of its own here, for the number tells that it
// has come.
#include "memory.cuh"

typedef unsigned long long numbered;

__device__ __forceinline__ void send(numbered *word, unsigned number, float x) {
    store_relaxed(word, (numbered)number << 32 | __float_as_uint(x));
}

// What was sent with that number: it is there by now, or it comes.
__device__ float received(numbered found, const numbered *word, unsigned number, unsigned *stalled) {
    const auto has_come = [=](numbered found) { return found >> 32 == number; };
    return __uint_as_float(comes(found, word, stalled, has_come) ? (unsigned)found : NOT_A_NUMBER);
}
