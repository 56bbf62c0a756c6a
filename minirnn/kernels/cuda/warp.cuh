// What all lanes of a warp have, combined, always in the same order: every lane returns it.
template <class T, class Combine> __device__ T over_lanes(T x, Combine combine) {
    for (int half = 16; half; half /= 2) x = combine(x, __shfl_xor_sync(~0u, x, half));
    return x;
}
