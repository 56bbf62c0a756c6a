// The decoder that attends, over a sequence, there and back, each in one launch: equations (1) to (7) of
// rules/combinators/attending.py. Which cell is within it the compiler is told (lanes.cuh).
//
// Who owns what. Columns and rows are dealt out as in sequence.cuh: block (g, p) has the tiles g, g + gridDim.x and so on,
// and the p-th share of the rows of every matrix, which stay in shared memory. Of the columns of all these tiles it has
// number p, p + gridDim.y and so on to look for: scores, weights and the context of a column are made by one block.
// What idles. Where a group has fewer columns than blocks, some do while others look. At H = K = F = A = 512, S = 50 and
// B = 8 these are 124 of 132, in each step for 1.7 us: so long it takes to bring the keys and values of a column, 200 KB,
// into one multiprocessor at 64 bytes a clock. To share out a column would take a round more, for its softmax needs the
// scores of all its blocks, and a round is 0.8 us by itself. All this is counted, not measured.
// What travels. There are up to four rounds in a step, each over all tiles of the block: the cell makes h_t of h_{t-1} and
// fed_{t-1} (1, 2), the query is made of h_t, unless it is h_t (3), the look makes c_t of it (4, 5, 6), and the output makes
// fed_t of c_t and h_t, unless c_t is what is fed (7). Each finds what it reads in a mailbox. The way back has the same
// rounds from the last to the first, and the cell's comes in two: first what the step after asks of fed_t and h_t, in the
// end what this one asks of its pre-activations. What the weights gather over time is not made here.
// Why nobody waits for ever stands in mailbox.cuh: all blocks take the rounds in one order, and the words of a round depend
// on those of rounds before only.
#include "sequence.cuh"
#include "gru_lanes.cuh"
#include "lstm_lanes.cuh"
#include "rnn_lanes.cuh"
#include "warp.cuh"

// How many of so many quads a block has, if all have as many.
__device__ int share(int quads) { return (quads + gridDim.y - 1) / gridDim.y; }

__device__ int quads_of(int rows) { return (rows + 3) / 4; }

// As ``keep``: at(row, k) tells number k of a row. Of rows that the matrix lacks it is not asked.
template <class At> __device__ void keep_rows(float4 *weights, int quads, int rows, int K, At at) {
    keep(weights, quads, K, [=](int quad, int row, int k) { return 4 * quad + row < rows ? at(4 * quad + row, k) : 0.0f; });
}

__device__ float sum_over_lanes(float x) {
    return over_lanes(x, [](float a, float b) { return a + b; });
}

// A look, there or back: a vector that fetch(b, k) brings is compared with S rows of n numbers, the sums of fit(row_k, k),
// weigh(b, numbers) makes of the S sums what each row counts, in one warp, and take(b, k, numbers) takes the k-th of m
// numbers that are found so. All threads of the block are there.
template <class Fetch, class Fit, class Weigh, class Take>
__device__ void each_look(
    int B, int S, const float *compared, int n, int m, float *vector, Fetch fetch, Fit fit, Weigh weigh, Take take) {
    const int rank = threadIdx.y * 32 + threadIdx.x, threads = blockDim.y * 32;
    float *numbers = vector + n;
    for (int i = blockIdx.y;; i += gridDim.y) {  // of the columns of all the group's tiles
        const int b = (blockIdx.x + i / TILE * gridDim.x) * TILE + i % TILE;
        if (b >= B) return;
        for (int k = rank; k < n; k += threads) vector[k] = fetch(b, k);
        __syncthreads();  // sync: the vector is there
        for (int s = threadIdx.y; s < S; s += blockDim.y) {
            const float *row = compared + ((long long)b * S + s) * n;
            float sum = 0;
            for (int k = threadIdx.x; k < n; k += 32) sum += fit(row[k], k);
            sum = sum_over_lanes(sum);
            if (threadIdx.x == 0) numbers[s] = sum;
        }
        __syncthreads();  // sync: all rows have been compared
        if (threadIdx.y == 0) weigh(b, numbers);
        __syncthreads();  // sync: it is known what each row counts
        for (int k = rank; k < m; k += threads) take(b, k, numbers);
    }
}

// Forward. What a quad of the cell is, lanes.cuh says.
extern "C" __global__ void __launch_bounds__(512, 1) attending(
    float *reads,          // (T, F + H, B) [c_t; h_t], a mailbox; without W_out (T, H, B) h_t
    float *feds,           // (T, K, B) fed_t, a mailbox; without W_out it is c_t, and K is F
    float *qs,             // (T, B, A) the queries, a mailbox
    const float *W_query,  // (A, H), or null if h is the query, and A is H
    const float *W_out,    // (K, F + H) or null
    const float *v,        // (A,) of additive scores, or null if they are dots
    float *ws,             // (T, B, S)
    const bool *real,      // (B, S) or null
    const float *fed_0,    // (K, B)
    const float *h_0,      // (H, B)
    const float *keys,     // (B, S, A)
    const float *values,   // (B, S, F)
    const float *W_fed,    // (G H, K), G is 4, of a GRU 3, of an RNN 1
    const float *W_hh,     // (G H, H)
    const float *a_xs,     // (T, G H, B)
    const float *b_hn,     // (H,) of a GRU, or null
    float *cs,             // (T + 1, H, B) of an LSTM, or without gates (1, H, B); cs[0] is c_0; of others or null
    float *gates,          // (T, 4H, B) receives what is to be kept, or null
    unsigned *stalled,     // (1,)
    float scale,
    int T,
    int H,
    int K,
    int F,
    int A,
    int S,
    int B)
{
    extern __shared__ float4 shared[];
    const int C = W_out ? F : 0, in = H + K, out = C + H, quads = share((H + CELL::UNITS - 1) / CELL::UNITS);
    const int quads_query = W_query ? share(quads_of(A)) : 0, quads_out = W_out ? share(quads_of(K)) : 0;
    float4 *weights = shared, *weights_query = weights + quads * in, *weights_out = weights_query + quads_query * H;
    float4 *tile = weights_out + quads_out * out;
    float *vector = reinterpret_cast<float *>(tile + 2 * max(in, out));
    keep(weights, quads, in, [=](int quad, int row, int k) {
        const bool fed = k >= H;
        const long long there = CELL::row_of(quad, row, fed, H);
        return there == NONE ? 0 : fed ? W_fed[there * K + k - H] : W_hh[there * H + k];
    });
    keep_rows(weights_query, quads_query, A, H, [=](long long row, int k) { return W_query[row * H + k]; });
    keep_rows(weights_out, quads_out, K, out, [=](long long row, int k) { return W_out[row * out + k]; });
    const There x = {a_xs, b_hn, cs, gates, H, B};
    for (int t = 0; t < T; ++t) {
        float *read = reads + (long long)t * out * B, *h = read + (long long)C * B, *fed = feds + (long long)t * K * B;
        const float *h_prev = t ? h - (long long)out * B : h_0, *fed_prev = t ? fed - (long long)K * B : fed_0;
        const auto states = [=](int first) {
            receive(tile, in, h_prev, H, B, first, t > 0, stalled);
            receive(tile + H, in, fed_prev, K, B, first, t > 0, stalled);
        };
        each_tile(quads, B, states, [=](int q, int column) {
            const auto sum = [=] { return product(weights + q * in, tile, in); };
            const auto to_all = [=](int k, float x) { send(h + (long long)k * B + column, x); };
            const auto row = [=](int k) { return reinterpret_cast<float *>(tile)[place(in, k, threadIdx.x % TILE)]; };
            CELL::there(x, t, blockIdx.y * quads + q, column, sum, to_all, row);  // (1, 2)
        });
        float *q_t = qs + (long long)t * B * A;
        const auto state = [=](int first) { receive(tile, H, h, H, B, first, true, stalled); };
        if (W_query)
            each_tile(quads_query, B, state, [=](int q, int column) {
                const int k = 4 * (blockIdx.y * quads_query + q) + threadIdx.x / TILE;
                const float x = product(weights_query + q * H, tile, H);
                if (k < A && column < B) send(q_t + (long long)column * A + k, x);  // (3)
            });
        const auto query = [=](int b, int k) {
            const float *word = W_query ? q_t + (long long)b * A + k : h + (long long)k * B + b;
            unsigned bits = load_relaxed(word);
            bits = received(bits, word, stalled);  // sync: the query has come
            if (!W_query) q_t[(long long)b * A + k] = __uint_as_float(bits);
            return __uint_as_float(bits);
        };
        const auto fit = [=](float key, int k) { return v ? v[k] * tanhf(vector[k] + key) : vector[k] * key; };  // (4)
        const auto softmax = [=](int b, float *e) {
            const float nothing = __uint_as_float(0xFF800000u);  // -inf
            float largest = nothing, total = 0;
            for (int s = threadIdx.x; s < S; s += 32) {
                e[s] = real && !real[(long long)b * S + s] ? nothing : e[s] * scale;  // (4)
                largest = fmaxf(largest, e[s]);
            }
            largest = over_lanes(largest, [](float a, float b) { return fmaxf(a, b); });
            if (largest == nothing) largest = 0;  // inf - inf would be nan
            for (int s = threadIdx.x; s < S; s += 32) total += e[s] = expf(e[s] - largest);
            total = sum_over_lanes(total);
            if (total == 0) total = 1;
            for (int s = threadIdx.x; s < S; s += 32) ws[((long long)t * B + b) * S + s] = e[s] /= total;  // (5)
        };
        float *context = W_out ? read : fed;
        each_look(B, S, keys, A, F, vector, query, fit, softmax, [=](int b, int k, const float *w) {
            const float *value = values + (long long)b * S * F + k;
            float sum = 0;
            for (int s = 0; s < S; ++s) sum += w[s] * value[(long long)s * F];
            send(context + (long long)k * B + b, sum);  // (6)
        });
        const auto found = [=](int first) { receive(tile, out, read, out, B, first, true, stalled); };
        if (W_out)
            each_tile(quads_out, B, found, [=](int q, int column) {
                const int k = 4 * (blockIdx.y * quads_out + q) + threadIdx.x / TILE;
                const float x = tanhf(product(weights_out + q * out, tile, out));
                if (k < K && column < B) send(fed + (long long)k * B + column, x);  // (7)
            });
    }
}

// Backward. A quad is four rows: of h, and of what is fed, or of the context. Those of h are the same in every round, so
// that a lane finds in dh what it left there. Step s goes back through t = T - 1 - s; the last one only finishes dfed and
// dh of the start.
extern "C" __global__ void __launch_bounds__(512, 1) attending_back(
    float *das,            // (T, BLOCKS H, B) cotangents of the sums, a mailbox
    float *drs,            // (T, K, B), a mailbox, or null without W_out
    float *dcs,            // (T, B, F), a mailbox
    float *dqs,            // (T, A, B), a mailbox
    const float *W_query,  // (A, H), or null if h is the query, and A is H
    const float *W_out,    // (K, F + H) or null
    const float *v,        // (A,) of additive scores, or null if they are dots
    float *des,            // (T, B, S)
    float *us,             // (B, S, A) zeros, receives the sums over t of u, or null without v
    float *dvs,            // (B, A) zeros, receives each column's part of dv, or null without v
    const float *dfeds,    // (T, K, B)
    const float *dhs,      // (T, H, B)
    const float *dws,      // (T, S, B)
    const float *feds,     // (T, K, B), or null without W_out
    const float *qs,       // (T, B, A), or null without v
    const float *ws,       // (T, B, S)
    const float *keys,     // (B, S, A)
    const float *values,   // (B, S, F)
    const float *W_fed,    // (G H, K)
    const float *W_hh,     // (G H, H)
    float *dfed,           // (K, B) that of fed_T, becomes that of fed_0
    float *dh,             // (H, B) that of h_T, becomes that of h_0
    const float *gates,    // (T, 4H, B), or null of an RNN
    const float *states,   // (T + 1, H, B) c_0 to c_T of an LSTM; of others h_0 to h_T
    float *dc,             // (H, B) of an LSTM that of c_T, becomes that of c_0; of others or null
    unsigned *stalled,     // (1,)
    float scale,
    int T,
    int H,
    int K,
    int F,
    int A,
    int S,
    int B)
{
    extern __shared__ float4 shared[];
    const int G = CELL::BLOCKS * H, row = threadIdx.x / TILE;
    const int quads = share(quads_of(H)), quads_fed = share(quads_of(K)), quads_found = share(quads_of(F));
    const int own = blockIdx.y * quads, own_fed = blockIdx.y * quads_fed, own_found = blockIdx.y * quads_found;
    float4 *weights = shared, *weights_out = weights + (quads + quads_fed) * G;
    float4 *weights_query = weights_out + (W_out ? (quads + quads_found) * K : 0);
    float4 *tile = weights_query + (W_query ? quads * A : 0);
    float *vector = reinterpret_cast<float *>(tile + 2 * max(G, max(W_out ? K : 0, W_query ? A : 0)));
    keep_rows(weights, quads, H, G, [=](int unit, int k) {
        const long long row = CELL::row_of_cotangent(k, false, H);
        return row == NONE ? 0 : W_hh[row * H + unit];
    });
    keep_rows(weights + quads * G, quads_fed, K, G, [=](int unit, int k) {
        const long long row = CELL::row_of_cotangent(k, true, H);
        return row == NONE ? 0 : W_fed[row * K + unit];
    });
    if (W_out) {
        keep_rows(weights_out, quads, H, K, [=](int unit, long long k) { return W_out[k * (F + H) + F + unit]; });
        keep_rows(weights_out + quads * K, quads_found, F, K, [=](int f, long long k) { return W_out[k * (F + H) + f]; });
    }
    if (W_query) keep_rows(weights_query, quads, H, A, [=](int unit, long long k) { return W_query[k * H + unit]; });
    for (int s = 0; s <= T; ++s) {
        const int t = T - 1 - s;
        const auto asked = [=](int first) {
            if (s) receive(tile, G, das + (long long)(t + 1) * G * B, G, B, first, true, stalled);
        };
        each_tile(quads + quads_fed, B, asked, [=](int q, int column) {
            const float sum = s ? product(weights + q * G, tile, G) : 0;
            const bool is_state = q < quads;
            const int k = 4 * (is_state ? own + q : own_fed + q - quads) + row;
            if (k >= (is_state ? H : K) || column >= B) return;
            const long long here = (long long)k * B + column, now = (long long)t * K * B + here;
            float *x = (is_state ? dh : dfed) + here;
            if (is_state || s == T) {
                *x += sum;  // (2) or (1)
                return;
            }
            const float dfed_t = sum + dfeds[now] + (s ? 0 : *x);  // (1); fed_t is read twice
            *x = 0;
            if (W_out)
                send(drs + now, dfed_t * (1 - feds[now] * feds[now]));  // (7)
            else
                send(dcs + ((long long)t * B + column) * F + k, dfed_t);
        });
        if (s == T) return;
        const auto dr = [=](int first) { receive(tile, K, drs + (long long)t * K * B, K, B, first, true, stalled); };
        if (W_out)
            each_tile(quads + quads_found, B, dr, [=](int q, int column) {
                const float sum = product(weights_out + q * K, tile, K);  // (7)
                const bool is_state = q < quads;
                const int k = 4 * (is_state ? own + q : own_found + q - quads) + row;
                if (k >= (is_state ? H : F) || column >= B) return;
                if (is_state)
                    dh[(long long)k * B + column] += sum;
                else
                    send(dcs + ((long long)t * B + column) * F + k, sum);
            });
        const auto of_context = [=](int b, int k) {
            const float *word = dcs + ((long long)t * B + b) * F + k;
            unsigned bits = load_relaxed(word);
            bits = received(bits, word, stalled);  // sync: it is known what is asked of the context
            return __uint_as_float(bits);
        };
        const auto softmax_back = [=](int b, float *dw) {
            const long long at = ((long long)t * B + b) * S;
            float mean = 0;
            for (int s = threadIdx.x; s < S; s += 32) {
                dw[s] += dws[((long long)t * S + s) * B + b];  // (6)
                mean += ws[at + s] * dw[s];
            }
            mean = sum_over_lanes(mean);
            for (int s = threadIdx.x; s < S; s += 32) des[at + s] = dw[s] = ws[at + s] * (dw[s] - mean);  // (5)
        };
        const auto worth = [=](float value, int k) { return vector[k] * value; };  // (6)
        float *dq = dqs + (long long)t * A * B;
        each_look(B, S, values, F, A, vector, of_context, worth, softmax_back, [=](int b, int k, const float *de) {
            const long long at = (long long)b * S * A + k;
            float sum = 0, dv = 0;
            if (v) {
                const float q = qs[((long long)t * B + b) * A + k];
                for (int s = 0; s < S; ++s) {
                    const float z = tanhf(q + keys[at + (long long)s * A]), u = de[s] * (1 - z * z);
                    us[at + (long long)s * A] += u;
                    dv += de[s] * z;
                    sum += u;
                }
                dvs[(long long)b * A + k] += dv;
            } else {
                for (int s = 0; s < S; ++s) sum += de[s] * keys[at + (long long)s * A];
            }
            send(dq + (long long)k * B + b, (v ? v[k] : scale) * sum);  // (4)
        });
        const auto queries = [=](int first) {
            if (W_query) receive(tile, A, dq, A, B, first, true, stalled);
        };
        each_tile(quads, B, queries, [=](int q, int column) {
            float asked = W_query ? product(weights_query + q * A, tile, A) : 0;  // (3)
            const int unit = 4 * (own + q) + row;
            if (unit >= H || column >= B) return;
            const long long here = (long long)unit * B + column, now = (long long)t * H * B + here;
            const CELL lane(gates, states, dc, t, here, (long long)H * B);
            if (!W_query) {
                unsigned bits = load_relaxed(dq + here);
                bits = received(bits, dq + here, stalled);  // sync: the look has been undone
                asked = __uint_as_float(bits);
            }
            float *da = das + (long long)t * G * B + here;
            const auto to_all = [=](int block, float x) { send(da + (long long)block * H * B, x); };
            dh[here] = lane.back(dh[here] + dhs[now] + asked, to_all);  // (3, 2)
        });
    }
}

