// One unit of a plain recurrent network in one column, there and back: equation (2) of rules/rnn.py.

__device__ inline REAL rnn_unit(REAL a, bool relu) { return relu ? (a < 0 ? 0 : a) : tanh(a); }  // nan is not below zero

// h is never below zero with relu, but it may be nan.
__device__ inline REAL rnn_slope(REAL h, bool relu) { return !relu ? 1 - h * h : h > 0 ? 1 : h; }
