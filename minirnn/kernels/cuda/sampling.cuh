// The next token, as decoding/sampling.py chooses it, by one warp: in double, and with a number drawn on the host.
//
// Weights are rounded to whole numbers, in units of 2^-40 of the highest. So all sums of them are exact, whatever their
// order: up to 2^13 of them are below 2^53. What that loses has a probability below 1e-12.
#include "warp.cuh"

#define WHOLE 0x1p40

// The id that all lanes return, or -1 if one of the V scores is not finite. Each lane sees to ids that stand side by
// side. chances has room for 2 V numbers: weights as top-k leaves them, and then as top-p does.
template <class Score>
__device__ int choose(Score score, double *chances, int V, double temperature, int top_k, double top_p, double draw) {
    const int lane = threadIdx.x, each = (V + 31) / 32, first = min(lane * each, V), last = min(first + each, V);
    double *weights = chances, *kept = chances + V;
    int finite = 1;
    float highest = score(0);
    for (int v = first; v < last; ++v) {
        finite &= isfinite(score(v)) != 0;
        highest = max(highest, score(v));
    }
    if (!over_lanes(finite, [](int a, int b) { return a & b; })) return -1;
    highest = over_lanes(highest, [](float a, float b) { return max(a, b); });
    if (temperature == 0) {
        int lowest = V;  // id among equals
        for (int v = last - 1; v >= first; --v)
            if (score(v) == highest) lowest = v;
        return over_lanes(lowest, [](int a, int b) { return min(a, b); });
    }

    const auto comes_before = [=](int u, int v) { return score(u) > score(v) || (score(u) == score(v) && u < v); };
    for (int v = first; v < last; ++v) {
        int rank = 0;
        for (int u = 0; top_k && u < V; ++u) rank += comes_before(u, v);
        const double weight = rint(exp(((double)score(v) - highest) / temperature) * WHOLE);
        weights[v] = top_k && rank >= top_k ? 0 : weight;
    }
    __syncwarp();  // sync: other lanes' weights are there
    double total = 0, sum = 0;
    for (int u = 0; top_p < 1 && u < V; ++u) total += weights[u];
    for (int v = first; v < last; ++v) {
        double mass = 0;  // of those before: the one that crosses the line belongs to the set
        for (int u = 0; top_p < 1 && u < V; ++u) mass += comes_before(u, v) ? weights[u] : 0;
        kept[v] = top_p < 1 && mass >= top_p * total ? 0 : weights[v];
        sum += kept[v];
    }

    // Inverse of the cumulative distribution: the first id at which the sum exceeds the draw.
    double end = sum;  // becomes that of all lanes up to this one
    for (int back = 1; back < 32; back *= 2) {
        const double before = __shfl_sync(~0u, end, lane - back);
        if (lane >= back) end += before;
    }
    const double line = draw * __shfl_sync(~0u, end, 31);
    double cumulative = end - sum;
    int chosen = 0;
    for (int v = first; v < last; ++v) chosen += (cumulative += kept[v]) <= line;
    return over_lanes(chosen, [](int a, int b) { return a + b; });
}
