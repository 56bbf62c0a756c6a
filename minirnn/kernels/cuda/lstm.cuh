// One unit of an LSTM in one column, there and back: the formulas of rules/lstm.py, with their numbers.

__device__ inline REAL lstm_state(REAL i, REAL f, REAL g, REAL c_prev) { return f * c_prev + i * g; }  // (3)

__device__ inline REAL lstm_output(REAL o, REAL c) { return o * tanh(c); }  // (4)

// i f g o hold the pre-activations, and the gates afterwards.
__device__ inline void lstm_unit(
    REAL &i, REAL &f, REAL &g, REAL &o, REAL p_i, REAL p_f, REAL p_o, REAL c_prev, REAL &c, REAL &m)
{
    i = sigmoid(i + p_i * c_prev);  // (1a, 2)
    f = sigmoid(f + p_f * c_prev);  // (1a, 2)
    g = tanh(g);                    // (2)
    c = lstm_state(i, f, g, c_prev);
    o = sigmoid(o + p_o * c);       // (3a, 2)
    m = lstm_output(o, c);
}

// What the cotangents will be multiplied with; s_i to s_o belong to the pre-activations.
__device__ inline void lstm_unit_slopes(
    REAL i, REAL f, REAL g, REAL o, REAL p_i, REAL p_f, REAL p_o, REAL c_prev, REAL c,
    REAL &s_i, REAL &s_f, REAL &s_g, REAL &s_o, REAL &dc_slope, REAL &carry)
{
    REAL tanh_c = tanh(c);
    s_i = g * i * (1 - i);                                  // (3, 2)
    s_f = c_prev * f * (1 - f);                             // (3, 2)
    s_g = i * (1 - g * g);                                  // (3, 2)
    s_o = tanh_c * o * (1 - o);                             // (4, 2)
    dc_slope = o * (1 - tanh_c * tanh_c) + p_o * s_o;       // (4, 3a)
    carry = f + p_i * s_i + p_f * s_f;                      // (3, 1a)
}
