// Columns that travel through the shared memory of a cluster: ``each_step`` for kernels whose blocks are clusters.
//
// Who owns what. A tile of columns belongs to one cluster, the blocks (g, p) of one g. Each of them has room for two tiles,
// which take turns: step s multiplies the tile s % 2.
//
// What travels. Whatever a step makes is written into the other tile of every block, at once and from lane to place, and
// into the output besides, where nobody reads it before the kernel has ended.
//
// Why nobody waits for ever. Blocks of a cluster start together, all their threads meet once in each step, and nobody
// outside of it is waited for: clusters may run one after the other. One meeting is enough. Before it, all that was to come
// into the tile of step s was written, and all that was to be read from the other tile was read. The first of them finds
// all blocks begun; after the last nothing is sent, so that no block is written to when it has ended.
#include "cluster.cuh"

#define BLOCKS_ARE_SPREAD __cluster_dims__(1, CLUSTER, 1)

template <class Out, class Finish>
__device__ void each_step(int steps, const float4 *weights, float4 *tile, int quads, int K, int B, unsigned *,
                          const float *start, Out out, Finish finish) {
    const int rank = threadIdx.y * 32 + threadIdx.x, threads = blockDim.y * 32, b = threadIdx.x % TILE;
    const int column = blockIdx.x * TILE + b, deep = rows_of_tile(K), size = deep * TILE;
    float *tiles = reinterpret_cast<float *>(tile), *parts = tiles + 2 * size;
    for (int k = rank / TILE; k < 2 * deep; k += threads / TILE) {  // what nobody will send is zero
        const bool is_given = start && k < K && column < B;
        tiles[k / deep * size + place(K, k % deep, b)] = is_given ? start[(long long)k * B + column] : 0;
    }
    for (int s = 0; s < steps; ++s) {
        float *now = tiles + s % 2 * size, *next = tiles + (s + 1) % 2 * size;
        meet_cluster();  // sync: all have begun, this tile is there, and the other one has been read
        for (int q = threadIdx.y; q < quads; q += blockDim.y) {
            const auto sum = [=] { return product_of(q, weights, reinterpret_cast<float4 *>(now), parts, K); };
            const auto row = [=](int k) { return now[place(K, k, b)]; };
            const auto send = [=](int k, float x) {
                out(s)[(long long)k * B + column] = x;
                if (k >= K) return;
                if (s + 1 == steps) return;  // sync: nobody is written to who may have ended
#pragma unroll
                for (int block = 0; block < CLUSTER; ++block) store_in_cluster(next + place(K, k, b), block, x);
            };
            finish(s, blockIdx.y * quads + q, column, sum, send, row);
        }
    }
}
