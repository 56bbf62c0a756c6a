"""Gate arithmetic of the LSTM in array operations: the same formulas serve NumPy and, until fused, CuPy.

The gates stand in the order i f g o, ``H`` rows each, and the columns are the batch. Everything is written into arrays
that the caller gives, so that a sequence allocates what it returns and saves and nothing besides.
"""

from minirnn.arrays import xp_of


def lstm_gates(
    gates,  # (4H, B) holds the pre-activations a + W_hh h_prev, and the gates afterwards
    c_prev,  # (H, B)
    h,  # (H, B) receives h_t
    c,  # (H, B) receives c_t; may be c_prev itself
):
    """Activates the gates in place and writes the new state: equations (2) to (4) of ``rules/lstm.py``."""
    xp, H = xp_of(gates), len(c)
    i, f, g, o, i_f = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :], gates[: 2 * H]
    # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2, so that a single vectorised tanh serves all four gates
    half = xp.asarray(0.5, gates.dtype)  # an array: converting a Python number takes a third of so short an operation
    i_f *= half
    o *= half
    xp.tanh(gates, out=gates)
    i_f *= half
    i_f += half
    o *= half
    o += half  # (2)
    xp.multiply(f, c_prev, out=c)
    xp.multiply(i, g, out=h)
    c += h  # (3)
    xp.tanh(c, out=h)
    h *= o  # (4)


def lstm_slopes(
    gates,  # (..., 4H, B): one step, or a run of them
    c_prev,  # (..., H, B)
    c,  # (..., H, B)
    da_slope,  # (..., 4H, B) receives d(c_t)/d(a) in the rows i f g, d(h_t)/d(a) in the rows o
    dc_slope,  # (..., H, B) receives d(h_t)/d(c_t)
):
    """The derivatives inside steps, for many steps at once: they depend on what forward saved and on no cotangent."""
    xp, H = xp_of(gates), c.shape[-2]
    i, _, g, o = (gates[..., k * H : (k + 1) * H, :] for k in range(4))
    s_i, s_f, s_g, s_o = (da_slope[..., k * H : (k + 1) * H, :] for k in range(4))
    for gate, slope in ((gates[..., : 2 * H, :], da_slope[..., : 2 * H, :]), (o, s_o)):
        xp.multiply(gate, gate, out=slope)
        xp.subtract(gate, slope, out=slope)  # i (1 - i), f (1 - f), o (1 - o)  (2)
    xp.multiply(g, g, out=s_g)
    xp.subtract(1, s_g, out=s_g)  # 1 - g**2  (2)
    s_i *= g
    s_f *= c_prev
    s_g *= i  # (3)
    xp.tanh(c, out=dc_slope)  # computed again: to save it would cost a sixth more memory
    s_o *= dc_slope
    dc_slope *= dc_slope
    xp.subtract(1, dc_slope, out=dc_slope)
    dc_slope *= o  # (4)


def lstm_gates_back(
    dh,  # (H, B) cotangent of h_t
    dc,  # (H, B) cotangent of c_t as the future left it; becomes that of c_prev
    gates,  # (4H, B)
    da_slope,  # (4H, B)
    dc_slope,  # (H, B)
    da,  # (4H, B) receives the cotangent of the pre-activations
):
    """One step back through equations (4) to (2), given the slopes of the step:

    dc += dh * o (1 - tanh(c)**2)   (4)
    da_i, da_f, da_g = dc * slope   (3, 2)
    da_o = dh * slope               (4, 2)
    dc_prev = dc * f                (3)
    """
    xp, (H, B) = xp_of(dh), dh.shape
    scratch = da[:H]  # free until the rows i are written
    xp.multiply(dh, dc_slope, out=scratch)
    dc += scratch  # (4)
    xp.multiply(da_slope[: 3 * H].reshape(3, H, B), dc, out=da[: 3 * H].reshape(3, H, B))  # (3, 2)
    xp.multiply(da_slope[3 * H :], dh, out=da[3 * H :])  # (4, 2)
    dc *= gates[H : 2 * H]  # (3)
