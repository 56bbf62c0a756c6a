// One unit of a GRU in one column: the formulas of rules/gru.py, with their numbers.

// The candidate, with reset_after.
__device__ inline REAL gru_unit_n(REAL a_n, REAL r, REAL s_n) { return tanh(a_n + r * s_n); }  // (3)

// The new state, and the slopes that both forms share: those of h_t in a_n and a_z.
__device__ inline REAL gru_unit(REAL z, REAL n, REAL h_prev) { return n + z * (h_prev - n); }  // (4)

__device__ inline REAL gru_slope_n(REAL z, REAL n) { return (1 - n * n) * (1 - z); }  // (3 or 3c, 4)

__device__ inline REAL gru_slope_z(REAL z, REAL n, REAL h_prev) { return z * (1 - z) * (h_prev - n); }  // (2, 4)
