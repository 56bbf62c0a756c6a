"""Gate arithmetic of the LSTM in array operations. ``cuda/lstm.cu`` is the same for a device, under the same names.

The gates stand in the order i f g o, ``H`` rows each, and the columns are the batch. Results are written into arrays
that the caller gives, so that a sequence allocates what it returns and saves and next to nothing besides.

``m`` is what the cell shows, ``m_t = o * tanh(c_t)``: the output ``h_t`` itself, unless that is a projection of it.
"""

from minirnn.arrays import xp_of


def lstm_gates(
    a,  # (4H, B) the input's part of the pre-activations
    gates,  # (4H, B) holds W_hh h_prev, and the gates afterwards
    c_prev,  # (H, B)
    m,  # (H, B) receives m_t
    c,  # (H, B) receives c_t; may be c_prev itself
    peepholes=None,  # (3, H) rows p_i, p_f, p_o
):
    """Activates the gates in place and writes the new state: equations (1), but for its product, to (4)."""
    xp, H = xp_of(gates), len(c)
    gates += a  # (1)
    i, f, g, o, i_f = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :], gates[: 2 * H]
    # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2, so that a single vectorised tanh serves all four gates
    half = xp.asarray(0.5, gates.dtype)  # an array: converting a Python number takes a third of so short an operation
    ready = gates
    if peepholes is not None:
        p_i, p_f, p_o = peepholes[:, :, None]
        i += p_i * c_prev
        f += p_f * c_prev  # (1a)
        ready = gates[: 3 * H]  # o has to wait for c_t
    i_f *= half
    o *= half
    xp.tanh(ready, out=ready)
    i_f *= half
    i_f += half  # (2)
    xp.multiply(f, c_prev, out=c)
    xp.multiply(i, g, out=m)
    c += m  # (3)
    if peepholes is not None:
        o += half * p_o * c  # (3a), half of it like the rest of a_o
        xp.tanh(o, out=o)
    o *= half
    o += half  # (2)
    xp.tanh(c, out=m)
    m *= o  # (4)


def lstm_slopes(
    gates,  # (..., 4H, B): one step, or a run of them
    c_prev,  # (..., H, B)
    c,  # (..., H, B)
    da_slope,  # (..., 4H, B) receives d(c_t)/d(a) in the rows i f g, d(m_t)/d(a) in the rows o
    dc_slope,  # (..., H, B) receives d(m_t)/d(c_t)
    peepholes=None,  # (3, H)
):
    """The derivatives inside steps, for many steps at once: they depend on what forward saved and on no cotangent.

    Returns ``carry (..., H, B)``, which is d(c_t)/d(c_prev): the forget gate itself, unless there are peepholes.
    """
    xp, H = xp_of(gates), c.shape[-2]
    i, f, g, o = (gates[..., k * H : (k + 1) * H, :] for k in range(4))
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
    if peepholes is None:
        return f  # (3)
    p_i, p_f, p_o = peepholes[:, :, None]
    dc_slope += p_o * s_o  # (3a)
    return f + p_i * s_i + p_f * s_f  # (3, 1a)


def lstm_gates_back(
    dm_t,  # (H, B) what is asked of m_t by all but the next step; None if that is nothing
    dm,  # (H, B) what the next step asks of it; becomes the sum
    dc,  # (H, B) cotangent of c_t as the future left it; becomes all that is asked of c_t
    da,  # (4H, B) holds the slopes, and the cotangent of the pre-activations afterwards
    dc_slope,  # (H, B)
    carry,  # (H, B)
    dc_prev,  # (H, B) receives the cotangent of c_prev
):
    """One step back through equations (4) to (1a), given the slopes of the step:

    dc += dm * d(m_t)/d(c_t)        (4, 3a)
    da_i, da_f, da_g = dc * slope   (3, 2)
    da_o = dm * slope               (4, 2)
    dc_prev = dc * carry            (3, 1a)
    """
    xp, (H, B) = xp_of(dm), dm.shape
    if dm_t is not None:
        dm += dm_t
    scratch = dc_prev  # free until the last line
    xp.multiply(dm, dc_slope, out=scratch)
    dc += scratch
    da_ifg, da_o = da[: 3 * H].reshape(3, H, B), da[3 * H :]
    da_ifg *= dc
    da_o *= dm
    xp.multiply(dc, carry, out=dc_prev)
