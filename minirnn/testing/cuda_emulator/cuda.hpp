// CUDA C++ for g++: what a kernel finds here instead of a device. Every CUDA thread is a fiber with a stack of its own,
// all of them share one thread of the system, and at every point where threads can notice each other a seeded
// generator says who goes on, and when a block begins. The same seed gives the same run, another one another order of
// events.
//
// What is imitated: grids and blocks, __syncthreads, __syncwarp, warp shuffles and votes, dynamic shared memory (poisoned
// with NaN, with a strip behind it that nobody may write to), and relaxed loads and stores. A relaxed store reaches memory
// late, and two stores to different words may arrive in either order, as they may on a device. Only a relaxed load finds
// what one has brought; a plain load finds what was there before the launch, which a cache may have kept. Threads of a
// warp do not run in lockstep; no device since 2017 promises that they do.
//
// So are tensor cores: operands lie with the lanes as the PTX ISA says, and are rounded to tf32 and bf16 bit for bit. How
// coarsely a device rounds sums it does not say. Here they are as coarse as any was found to be, those of a V100: all that
// is to be added is cut off, not rounded, behind the 24th bit of the largest (Fasi, Higham, Mikaitis and Pranesh 2021).
//
// So are clusters: with -DCLUSTER=n they are n blocks next to each other along y, as __cluster_dims__(1, CLUSTER, 1) asks.
// What a thread writes into the shared memory of one of them arrives late, but before the thread comes to where the
// cluster meets. To write to a block that has not begun, or has ended, is an error.
//
// What is not: a plain store arrives at once, loads are never early, and nothing is known of time or of registers.
#pragma once

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <math.h>
#include <memory>
#include <ucontext.h>
#include <unordered_map>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define PATIENCE 30000  // how often a kernel looks for what others should have sent, before it gives up

using std::max;
using std::min;

struct dim3 {
    unsigned x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
struct alignas(8) float2 {
    float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
struct alignas(8) uint2 {
    unsigned x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return static_cast<unsigned __int128>(x) * y >> 64;
}
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

inline dim3 threadIdx, blockIdx, blockDim, gridDim;  // the first two are set whenever another fiber goes on

namespace emulator {

constexpr unsigned LANES = 32;
constexpr size_t STACK = 1 << 15, STRIP = 256;  // bytes
constexpr unsigned char POISON = 0xFF;          // four of them are a NaN
constexpr unsigned BARRIERS = 16;               // of a block, by number
#ifdef CLUSTER
constexpr unsigned TOGETHER = CLUSTER;          // blocks of a cluster
#else
constexpr unsigned TOGETHER = 1;
#endif

struct Fiber;

struct Barrier {
    size_t members = 0;
    std::vector<Fiber *> waiting;
};

struct Slot {
    unsigned words[6];
};

struct Warp {
    Barrier barrier;
    Slot slots[2][LANES];      // what lanes show each other, in turns: one shuffle may begin before all have left another
    double pace;               // how likely a lane is to go on when its lot is drawn
};

struct Block {
    Barrier barrier, numbered[BARRIERS];
    std::vector<unsigned char> shared;
    bool has_begun;
    Block *const *cluster;  // its blocks, by rank
    Barrier *meeting;       // of the cluster
};

struct Fiber {
    jmp_buf place;     // where it goes on
    ucontext_t start;  // where it begins
    bool started;
    dim3 thread, block;
    unsigned lane, shuffles;
    Warp *warp;
    Block *home;
};

struct Store {  // on its way to memory
    Fiber *from;
    void *word;
    uint64_t bits;
    size_t size;  // of the word, in bytes
    Block *to;    // whose shared memory it goes to, if not to global memory
};

inline std::vector<Fiber> fibers;
inline std::vector<Fiber *> ready;
inline std::vector<Warp> warps;
inline std::vector<Block> blocks;
inline std::vector<unsigned> later;  // blocks that have not begun
inline std::vector<Store> stores;
inline std::unordered_map<const void *, Store> arrived;  // where only relaxed loads look, until the kernel ends
inline Fiber *current;
inline jmp_buf outside;
inline const char *failure;
inline uint64_t state;
inline double haste;  // how likely a store is to arrive before the next thread goes on
inline double eager;  // likewise how likely a block is to begin
inline size_t living;
inline long switches, most_switches;
inline int left_out;  // number of the marked statement that is skipped, if any
inline void (*body)(void **);
inline void **arguments;

inline uint64_t draw() {  // xorshift64*: Vigna 2016
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 0x2545F4914F6CDD1DULL;
}
inline unsigned below(size_t n) { return (draw() >> 32) * n >> 32; }
inline double uniform() { return (draw() >> 11) * 0x1p-53; }

[[noreturn]] inline void leave(const char *why) {
    failure = why;
    _longjmp(outside, 1);
}

inline const char *deliver(size_t k) {  // or says why not
    for (size_t first = 0; first < k; ++first)
        if (stores[first].word == stores[k].word) k = first;  // stores to one word keep their order
    if (const Block *to = stores[k].to) {
        if (!to->has_begun) return "a block wrote to another one's shared memory before that had begun";
        if (!to->barrier.members) return "a block wrote to another one's shared memory after that had ended";
    }
    if (stores[k].to)
        memcpy(stores[k].word, &stores[k].bits, stores[k].size);  // of a little-endian machine
    else
        arrived[stores[k].word] = stores[k];
    stores.erase(stores.begin() + k);
    return nullptr;
}

inline void deliver_or_leave(size_t k) {
    if (const char *why = deliver(k)) leave(why);
}

inline void begin_a_block() {
    const unsigned k = below(later.size()), threads = fibers.size() / blocks.size();
    for (unsigned rank = 0; rank < threads; ++rank) ready.push_back(&fibers[later[k] * threads + rank]);
    later.erase(later.begin() + k);
}

[[noreturn]] inline void go_on() {
    if (!later.empty() && (ready.empty() || uniform() < eager)) begin_a_block();
    if (ready.empty()) leave("deadlock: every thread waits at a barrier");
    if (++switches > most_switches) leave("the threads were switched too often: some of them wait for ever");
    if (switches % 4096 == 1) {  // now these warps are quick, now those; and so is memory
        for (Warp &warp : warps) warp.pace = draw() & 1 ? 1 : 0.02;
        haste = draw() & 1 ? 0.5 : 0.05;
    }
    if (!stores.empty() && uniform() < haste) deliver_or_leave(below(stores.size()));
    unsigned k;
    do k = below(ready.size());
    while (uniform() > ready[k]->warp->pace);
    current = ready[k];
    ready[k] = ready.back();
    ready.pop_back();
    threadIdx = current->thread, blockIdx = current->block;
    if (current->started) _longjmp(current->place, 1);
    current->started = true;
    setcontext(&current->start);
    __builtin_unreachable();
}

[[gnu::noinline]] inline void wait() {  // not inline: the registers of a thread are its own, setjmp keeps them
    if (!_setjmp(current->place)) go_on();
}

inline void let_others() {
    ready.push_back(current);
    wait();
}

inline void release(Barrier &barrier) {
    ready.insert(ready.end(), barrier.waiting.begin(), barrier.waiting.end());
    barrier.waiting.clear();
}

inline void arrive(Barrier &barrier) {
    barrier.waiting.push_back(current);
    if (barrier.waiting.size() == barrier.members) release(barrier);
    wait();
}

inline void depart(Barrier &barrier) {  // nobody waits for a thread that has ended
    if (--barrier.members && barrier.waiting.size() == barrier.members) release(barrier);
}

inline void run_thread() {
    current->home->has_begun = true;
    body(arguments);
    depart(current->warp->barrier);
    depart(current->home->barrier);
    depart(*current->home->meeting);
    if (--living == 0) leave(nullptr);
    go_on();
}

inline unsigned char *shared_memory() { return current->home->shared.data(); }

namespace {  // of this library alone, and not of others that the process has loaded
std::vector<int> &marked() {  // the statements that can be left out, if they are compiled: without templates nobody asks for
    static std::vector<int> statements;
    return statements;
}
template <int statement> struct Marked {
    static inline const bool is_listed = (marked().push_back(statement), true);
};
template <int statement> bool holds() { return Marked<statement>::is_listed && statement != left_out; }
}  // namespace

template <class T> const Slot *show(const T &value) {  // to the lanes of the warp; returns what all of them show
    static_assert(sizeof(T) <= sizeof(Slot));
    Slot *slots = current->warp->slots[current->shuffles++ % 2];
    memcpy(&slots[current->lane], &value, sizeof value);
    arrive(current->warp->barrier);
    return slots;
}

template <class T> T shuffle(unsigned mask, T value, unsigned from) {
    if (mask != ~0u) leave("only shuffles of whole warps are imitated");
    T other;
    memcpy(&other, &show(value)[from % LANES], sizeof other);
    return other;
}

inline unsigned ballot(unsigned mask, bool vote) {
    if (mask != ~0u) leave("only votes of whole warps are imitated");
    const Slot *slots = show(vote);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < LANES; ++lane) {
        bool its;
        memcpy(&its, &slots[lane], sizeof its);
        votes |= unsigned(its) << lane;
    }
    return votes;
}

inline float cut_off(double x) {  // towards zero
    const float near = static_cast<float>(x);
    return fabs(near) > fabs(x) ? nextafterf(near, 0) : near;
}

inline float coarse_sum(const double *addends, int count) {
    double largest = 0, sum = 0;
    for (int j = 0; j < count; ++j) largest = max(largest, fabs(addends[j])), sum += addends[j];
    if (largest == 0 || !std::isfinite(sum)) return static_cast<float>(sum);
    const double unit = ldexp(1, ilogb(largest) - 23);  // in whole units, sums are exact
    sum = 0;
    for (int j = 0; j < count; ++j) sum += trunc(addends[j] / unit);
    return cut_off(sum * unit);
}

// Multiplies 16 rows with 8 columns, where each word holds ``held`` numbers along k, and there are 8 times as many in all.
template <int held, class Number> void mma(float (&sums)[4], uint4 a, uint2 b, Number number) {
    const unsigned words[6] = {a.x, a.y, a.z, a.w, b.x, b.y}, lane = current->lane;
    const Slot *slots = show(words);
    for (unsigned j = 0; j < 4; ++j) {
        const unsigned row = lane / 4 + j / 2 * 8, column = lane % 4 * 2 + j % 2;
        double addends[8 * held + 1] = {sums[j]};
        for (unsigned k = 0; k < 8 * held; ++k) {
            const unsigned member = k % (4 * held) / held, later = k / (4 * held), part = k % held;
            const unsigned of_a = slots[row % 8 * 4 + member].words[row / 8 + 2 * later];
            const unsigned of_b = slots[column * 4 + member].words[4 + later];
            addends[1 + k] = static_cast<double>(number(of_a, part)) * number(of_b, part);
        }
        sums[j] = coarse_sum(addends, 8 * held + 1);
    }
}

inline const char *launch(void (*kernel)(void **), void **given, dim3 grid, dim3 block, size_t shared, uint64_t seed,
                          int without, long limit) {
    const unsigned size = block.x * block.y * block.z, per_block = (size + LANES - 1) / LANES;
    const unsigned count = grid.x * grid.y * grid.z;
    if (grid.y % TOGETHER) return "the blocks of the grid along y make no whole clusters";
    body = kernel, arguments = given, gridDim = grid, blockDim = block;
    state = (seed + 1) * 0x9E3779B97F4A7C15ULL, switches = 0, most_switches = limit, left_out = without;
    fibers.assign(count * size, Fiber{});
    warps.assign(count * per_block, Warp{});
    blocks.assign(count, Block{});
    std::vector<Barrier> meetings(count / TOGETHER);
    std::vector<Block *> clusters(count);
    const std::unique_ptr<char[]> stacks(new char[fibers.size() * STACK]);  // not filled: little of it is ever used
    living = fibers.size(), ready.clear(), later.clear(), stores.clear(), arrived.clear();
    for (unsigned k = 0; k < fibers.size(); ++k) {
        Fiber &fiber = fibers[k];
        const unsigned in_block = k % size, b = k / size;
        fiber.thread = {in_block % block.x, in_block / block.x % block.y, in_block / (block.x * block.y)};
        fiber.block = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        fiber.lane = in_block % LANES;
        fiber.warp = &warps[b * per_block + in_block / LANES];
        fiber.home = &blocks[b];
        const unsigned rank = fiber.block.y % TOGETHER;
        const unsigned cluster = (fiber.block.z * (grid.y / TOGETHER) + fiber.block.y / TOGETHER) * grid.x + fiber.block.x;
        clusters[cluster * TOGETHER + rank] = fiber.home;
        fiber.home->cluster = &clusters[cluster * TOGETHER], fiber.home->meeting = &meetings[cluster];
        ++fiber.warp->barrier.members, ++fiber.home->barrier.members, ++fiber.home->meeting->members;
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = &stacks[k * STACK];
        fiber.start.uc_stack.ss_size = STACK;
        makecontext(&fiber.start, run_thread, 0);
    }
    for (Block &b : blocks) b.shared.assign(shared + STRIP, POISON);
    for (unsigned k = count; k--;) later.push_back(k);
    eager = draw() & 1 ? 0.3 : 0.002;
    if (!_setjmp(outside)) go_on();
    while (!stores.empty() && !failure) failure = deliver(0);
    for (const auto &[word, store] : arrived) memcpy(store.word, &store.bits, store.size);
    for (Block &b : blocks)
        for (size_t k = shared; k < b.shared.size(); ++k)
            if (b.shared[k] != POISON) return "a block wrote past the end of its shared memory";
    return failure;
}

template <class... Types, size_t... Places>
void call(void (*kernel)(Types...), void **given, std::index_sequence<Places...>) {
    kernel(*static_cast<Types *>(given[Places])...);
}
template <auto kernel, class... Types> void unpack(void (*)(Types...), void **given) {
    call(kernel, given, std::index_sequence_for<Types...>{});
}
template <auto kernel> void entry(void **given) { unpack<kernel>(kernel, given); }

}  // namespace emulator

inline void __syncthreads() { emulator::arrive(emulator::current->home->barrier); }
inline void __syncwarp() { emulator::arrive(emulator::current->warp->barrier); }
template <class T> T __shfl_sync(unsigned mask, T value, int from) { return emulator::shuffle(mask, value, from); }
template <class T> T __shfl_xor_sync(unsigned mask, T value, int flip) {
    return emulator::shuffle(mask, value, emulator::current->lane ^ flip);
}

inline unsigned __ballot_sync(unsigned mask, bool vote) { return emulator::ballot(mask, vote); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

inline void meet(int barrier, int threads) {
    emulator::Barrier &numbered = emulator::current->home->numbered[barrier];
    numbered.members = threads;
    emulator::arrive(numbered);
}

inline void meet_cluster() {
    for (size_t k = emulator::stores.size(); k--;)
        if (emulator::stores[k].from == emulator::current) emulator::deliver_or_leave(k);
    emulator::arrive(*emulator::current->home->meeting);
}
inline void store_in_cluster(float *word, int block, float x) {
    if (block < 0 || block >= int(emulator::TOGETHER)) emulator::leave("there is no such block in the cluster");
    emulator::Block *home = emulator::current->home, *to = home->cluster[block];
    const size_t place = reinterpret_cast<unsigned char *>(word) - home->shared.data();
    emulator::stores.push_back({emulator::current, to->shared.data() + place, __float_as_uint(x), sizeof x, to});
    emulator::let_others();
}

inline unsigned tf32(float x) { return x != x ? 0x7FFFFFFFu & ~0x1FFFu : (__float_as_uint(x) + 0x1000) & ~0x1FFFu; }
inline unsigned bf16_pair(float low, float high) {
    const auto rounded = [](float x) {
        const unsigned bits = __float_as_uint(x);
        return x != x ? 0x7FFFu : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    };
    return rounded(high) << 16 | rounded(low);
}
inline void mma_tf32(float (&sums)[4], uint4 a, uint2 b) {
    emulator::mma<1>(sums, a, b, [](unsigned word, unsigned) {
        if (word & 0x1FFF) emulator::leave("mma_tf32 was given a number that is not rounded to tf32");
        return __uint_as_float(word);
    });
}
inline void mma_bf16(float (&sums)[4], uint4 a, uint2 b) {
    emulator::mma<2>(sums, a, b, [](unsigned word, unsigned part) {
        return __uint_as_float(part ? word & 0xFFFF0000u : word << 16);
    });
}

template <class Word> Word load_relaxed(const Word *word) {
    emulator::let_others();
    for (size_t k = emulator::stores.size(); k--;)
        if (emulator::stores[k].from == emulator::current && emulator::stores[k].word == word)
            return emulator::stores[k].bits;  // a thread sees its own stores
    const auto found = emulator::arrived.find(word);
    return found == emulator::arrived.end() ? *word : Word(found->second.bits);
}
template <class Word> void store_relaxed(Word *word, decltype(Word{}) bits) {
    emulator::stores.push_back({emulator::current, word, bits, sizeof bits, nullptr});
    emulator::let_others();
}

extern "C" [[gnu::used]] inline int marked_statement(int k) {
    return k < int(emulator::marked().size()) ? emulator::marked()[k] : -1;
}

#define EMULATED(kernel)                                                                                           \
    extern "C" const char *emulated_##kernel(void **given, dim3 grid, dim3 block, size_t shared, uint64_t seed,    \
                                             int without, long limit) {                                            \
        return emulator::launch(emulator::entry<kernel>, given, grid, block, shared, seed, without, limit);        \
    }
