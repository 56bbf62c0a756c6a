// Which numbers dropout keeps, drawn on the device: the bits are those that NumPy's Philox draws on the host.
//
// Philox4x64-10 (Salmon et al. 2011) makes 256 random bits of a key and a counter, by ten rounds of products whose halves
// change places. A thread owns one value of the counter, and so the eight numbers that NumPy makes of it: of each of
// four words first the lower half, then the upper, and of each half the upper 24 bits. Nothing travels between threads,
// and nobody waits.
#include "elementwise.cuh"

extern "C" __global__ void kept(
    bool *keep,              // (n,) receives whether number begin + k of the stream is at least p
    const long long *clock,  // (1,) or null: is added to step
    float p,
    unsigned long long seed,
    unsigned long long stream,
    unsigned long long step,
    long long begin,
    long long n)
{
    long long block = begin / 8 + this_number();
    if (8 * block >= begin + n) return;
    unsigned long long at = clock ? step + *clock : step;
    unsigned long long w0 = block + 1, w1 = 0, w2 = at, w3 = 0;  // NumPy counts before it draws
    for (int round = 0; round < 10; round++) {
        const unsigned long long a = 0xD2E7470EE14C6C93, b = 0xCA5A826395121157;
        unsigned long long x = __umul64hi(b, w2) ^ w1 ^ seed, y = __umul64hi(a, w0) ^ w3 ^ stream;
        w1 = b * w2;
        w3 = a * w0;
        w0 = x;
        w2 = y;
        seed += 0x9E3779B97F4A7C15;  // the golden ratio, and the square root of 3 less 1, in 64 bits
        stream += 0xBB67AE8584CAA73B;
    }
    const unsigned long long words[4] = {w0, w1, w2, w3};
#pragma unroll
    for (int k = 0; k < 8; k++) {
        long long number = 8 * block + k - begin;
        unsigned half = k % 2 ? words[k / 2] >> 32 : words[k / 2];
        if (number >= 0 && number < n) keep[number] = (half >> 8) * (1.0f / 16777216) >= p;
    }
}
