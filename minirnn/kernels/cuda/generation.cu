// A character model writes whole texts in one launch: look-up, stacked cells, scores, the draw, and the next look-up.
// What a cell's step is stands in rnn.cuh, lstm_lanes.cuh and gru_lanes.cuh, the draw in sampling.cuh.
//
// A step reads one token of every text. It has a phase for each layer and one for the scores, and each phase multiplies
// rows of weights with the states that the phase before it made, or its own a step ago, or both. These products are the
// *parts*: part 2 l is W_hh of layer l, part 2 l - 1 is W_ih of layer l, and the last is the matrix of the scores. So
// part p multiplies state p / 2. What W_ih of layer 0 and its bias make of each token stands in a table.
//
// Who owns what. Rows are dealt out in quads, and columns, one for each text, in tiles of eight (product.cuh). Block
// (g, p) has ``quads`` quads of every layer and ``out_quads`` of the scores, and the tiles g, g + gridDim.x and so on,
// each from the first step to the last. It keeps its rows in shared memory if those of all blocks fit there; else each
// product reads them anew, from the second-level cache as far as that can hold them.
//
// What travels. A new state goes to all blocks of its columns, and so do the scores: then each of them chooses the next
// token itself, by the same arithmetic from the same numbers, and nobody has to be told. Why nobody waits for ever, and
// why nothing is overwritten too early, stands in numbered.cuh. A score that is not finite stops nothing: the text says
// -1 there.
#include "product.cuh"
#include "gru_lanes.cuh"
#include "lstm_lanes.cuh"
#include "numbered.cuh"
#include "rnn.cuh"
#include "sampling.cuh"

enum Cell { TANH, RELU, LSTM, GRU };

// Fetches K rows of the tile's columns, which others send in step ``number`` or have sent already.
__device__ void receive(
    float *tile, const numbered *words, int K, int B, int columns, unsigned number, unsigned *stalled) {
    const auto load = [=](int i) {
        const bool is_sent = i / TILE < K && i % TILE < columns;
        return is_sent ? load_relaxed(words + (long long)(i / TILE) * B + i % TILE) : (numbered)number << 32;
    };
    each_word(K * TILE, load, [=](int i, numbered found) {
        const int k = i / TILE, b = i % TILE;
        float x = __uint_as_float((unsigned)found);
        x = received(found, words + (long long)k * B + b, number, stalled);  // sync: the word has come
        if (k < K) tile[place(K, k, b)] = x;
    });
}

// A quad of pre-activations becomes new states h: without gates of four units, with gates of one, and then the lanes of
// one row are told it. c is the LSTM's own, if it is_ours.
__device__ float activate(int cell, float a, float h_prev, float *c, bool is_ours) {
    float kept, c_t = is_ours && cell == LSTM ? *c : 0;
    if (cell == GRU) return Gru::unit(a, h_prev, kept);
    if (cell != LSTM) return rnn_unit(a, cell == RELU);
    const float h = Lstm::unit(a, kept, c_t);
    if (is_ours) *c = c_t;
    return h;
}

extern "C" __global__ void __launch_bounds__(512, 1) write_texts(
    int *texts,                   // (N, B) receives ids
    unsigned long long *mailbox,  // (2, L H + V, B) zeros
    const float *weights,         // (quads of all parts, H, 4)
    const float *biases,          // (quads of all parts, 4)
    const float *table,           // (V, quads of a layer, 4)
    const float *h_0,             // (L, H, B)
    float *cs,                    // (L, H, B) c_0 at first, or null
    const int *prompts,           // (longest, B)
    const int *lengths,           // (B,) of the prompts
    const double *draws,          // (N, B) in [0, 1), or null
    unsigned *stalled,            // (1,)
    double temperature,
    int top_k,
    double top_p,
    int cell,
    int L,
    int H,
    int V,
    int B,
    int N,       // how many tokens each text gets
    int steps,   // until the last has them
    int silent,  // steps in which none gets one
    bool keeps,  // the weights in shared memory
    int quads,
    int out_quads)
{
    extern __shared__ float4 shared[];
    const int states = L * H, parts = 2 * L - 1, row = threadIdx.x / TILE, b = threadIdx.x % TILE;
    const int rank = threadIdx.y * 32 + threadIdx.x, threads = blockDim.y * 32;
    float4 *tiles = shared;                                                  // the L states, then the scores
    double *chances = reinterpret_cast<double *>(tiles + 2 * (states + V));  // 2 V of each column
    int *ids = reinterpret_cast<int *>(chances + TILE * 2 * V);              // what each column reads
    float4 *slice = reinterpret_cast<float4 *>(ids + TILE);                  // weights, if they are kept
    const auto tile = [=](int l) { return reinterpret_cast<float *>(tiles + 2 * l * H); };

    const bool gated = cell == LSTM || cell == GRU;
    const int maker = cell == GRU ? 3 : 0;  // the row whose lanes make the state, where there are gates
    const int in_layer = gated ? H : (H + 3) / 4, first_quad = blockIdx.y * quads, first_out = blockIdx.y * out_quads;
    const int ours = min(quads, in_layer - first_quad), ours_out = min(out_quads, (V + 3) / 4 - first_out);
    const float4 *W = reinterpret_cast<const float4 *>(weights) + (long long)first_quad * H;
    const float4 *W_out = reinterpret_cast<const float4 *>(weights) + ((long long)parts * in_layer + first_out) * H;
    long long apart = (long long)in_layer * H;
    if (keeps) {
        for (int p = 0; p < parts; ++p)
            for (int k = rank; k < ours * H; k += threads) slice[p * quads * H + k] = W[p * apart + k];
        for (int k = rank; k < ours_out * H; k += threads) slice[parts * quads * H + k] = W_out[k];
        W = slice, W_out = slice + parts * quads * H, apart = quads * H;
    }

    for (int first = blockIdx.x * TILE; first < B; first += gridDim.x * TILE) {
        const int columns = min(TILE, B - first);
        for (int l = 0; l < L; ++l)
            for (int k = rank; k < H * TILE; k += threads) {
                const long long there = ((long long)l * H + k / TILE) * B + first + k % TILE;
                tile(l)[place(H, k / TILE, k % TILE)] = k % TILE < columns ? h_0[there] : 0;
            }

        // What the columns read in step s: of its prompt, or what it chooses by the scores of step s - 1. A warp has a
        // column, and a column that has written all reads anything.
        const auto turn_to = [=](int s) {
            const float *scores = tile(L);
            for (int column = threadIdx.y; column < columns; column += blockDim.y) {
                const int n = s - lengths[first + column];  // how many tokens it has written
                const long long here = (long long)(n < 0 ? s : n) * B + first + column;
                int id = n < 0 ? prompts[here] : 0;
                if (n >= 0 && n < N) {
                    const auto score = [=](int v) { return scores[place(V, v, column)]; };
                    id = choose(score, chances + column * 2 * V, V, temperature, top_k, top_p, draws ? draws[here] : 0);
                    if (threadIdx.x == 0 && blockIdx.y == 0) texts[here] = id;
                }
                if (threadIdx.x == 0) ids[column] = max(id, 0);
            }
        };

        turn_to(0);
        for (int s = 0; s < steps; ++s) {
            int slot = 0;
            slot = s % 2;  // sync: nothing is overwritten that others still wait for
            numbered *words = mailbox + (long long)slot * (states + V) * B + first;
            for (int l = 0; l < L + (s >= silent); ++l, words += (long long)H * B) {
                const bool scores = l == L;
                const int from = scores ? first_out : first_quad, count = scores ? ours_out : ours, K = scores ? V : H;
                __syncthreads();  // sync: what was received or chosen is there
                for (int q = threadIdx.y; q < count; q += blockDim.y) {
                    const int quad = from + q, unit = gated && !scores ? quad : 4 * quad + row;
                    const bool is_ours = unit < K && b < columns && (!gated || scores || row == maker);
                    float a = l || b >= columns ? 0 : table[((long long)ids[b] * in_layer + quad) * 4 + row];
                    for (int p = max(2 * l - 1, 0); p <= min(2 * l, parts); ++p)
                        a += product((p < parts ? W + p * apart : W_out) + q * H, tiles + p / 2 * 2 * H, H) +
                             biases[((long long)p * in_layer + quad) * 4 + row];  // (1)
                    float *c = cs + ((long long)l * H + unit) * B + first + b;
                    const float h_prev = cell == GRU && !scores ? tile(l)[place(H, unit, b)] : 0;
                    const float made = scores ? a : activate(cell, a, h_prev, c, is_ours);
                    if (is_ours) send(words + (long long)unit * B + b, s + 1, made);
                }
                __syncthreads();  // sync: the states have been read, and others may come
                receive(tile(l), words, K, B, columns, s + 1, stalled);
            }
            __syncthreads();  // sync: the scores are there
            turn_to(s + 1);
        }
    }
}
