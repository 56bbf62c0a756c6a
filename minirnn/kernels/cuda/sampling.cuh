// The next token, as decoding/sampling.py chooses it, by one warp: in double, and with a number drawn on the host.
//
// Weights are rounded to whole numbers, in units of 2^-40 of the highest. So all sums of them are exact, whatever their
// order: up to 2^13 of them are below 2^53. What that loses has a probability below 1e-12.
#define WHOLE 0x1p40

template <class T, class Combine> __device__ T over_lanes(T x, Combine combine) {
    for (int half = 16; half; half /= 2) x = combine(x, __shfl_xor_sync(~0u, x, half));
    return x;
}

// The id that all lanes return, or -1 if one of the V scores is not finite. weights has room for 2 V numbers.
template <class Score>
__device__ int choose(Score score, double *weights, int V, double temperature, int top_k, double top_p, double draw) {
    const int lane = threadIdx.x;
    double *kept = weights + V;
    int finite = 1;
    float highest = score(0);
    for (int v = lane; v < V; v += 32) {
        finite &= isfinite(score(v)) != 0;
        highest = max(highest, score(v));
    }
    if (!over_lanes(finite, [](int a, int b) { return a & b; })) return -1;
    highest = over_lanes(highest, [](float a, float b) { return max(a, b); });
    if (temperature == 0) {
        int lowest = V;  // id among equals
        for (int v = lane; v < V; v += 32)
            if (score(v) == highest) lowest = min(lowest, v);
        return over_lanes(lowest, [](int a, int b) { return min(a, b); });
    }

    const auto comes_before = [=](int u, int v) { return score(u) > score(v) || (score(u) == score(v) && u < v); };
    const auto plus = [](double a, double b) { return a + b; };
    double total = 0;
    for (int v = lane; v < V; v += 32) {
        int rank = 0;
        for (int u = 0; top_k && u < V; ++u) rank += comes_before(u, v);
        const double weight = rint(exp(((double)score(v) - highest) / temperature) * WHOLE);
        weights[v] = top_k && rank >= top_k ? 0 : weight;
        total += weights[v];
    }
    __syncwarp();  // sync: other lanes' weights are there
    total = over_lanes(total, plus);
    for (int v = lane; v < V; v += 32) {
        double mass = 0;  // of those before: the one that crosses the line belongs to the set
        for (int u = 0; top_p < 1 && u < V; ++u) mass += comes_before(u, v) ? weights[u] : 0;
        kept[v] = top_p < 1 && mass >= top_p * total ? 0 : weights[v];
    }
    __syncwarp();  // sync: what other lanes kept is there

    // Inverse of the cumulative distribution: each lane sums up ids that stand side by side, and counts those up to which
    // the sum does not exceed the draw.
    const int each = (V + 31) / 32, first = lane * each, last = min(first + each, V);
    double sum = 0;
    for (int v = first; v < last; ++v) sum += kept[v];
    double end = sum;
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
