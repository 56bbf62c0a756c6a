"""The steps of RNN, LSTM and GRU in forward mode: a new state, and what all that came before has done to it.

``rtrl.py`` says what an influence is, and what it is good for. Here a dot marks one: ``h_dot (..., H, B)`` has the axes
of some argument in front. Every line with dots is the derivative of a line of the step, in the order of the step;
matrices act on the last two axes, and what has no axes in front broadcasts.
"""

from __future__ import annotations

from minirnn.arrays import xp_of
from minirnn.rules.gru import check_arguments as check_gru
from minirnn.rules.lstm import check_shapes as check_lstm
from minirnn.rules.rnn import check_arguments as check_rnn


def rnn_tangent(a, h_prev, W_hh, *, by, direct, nonlinearity="tanh"):
    """One step of an RNN and of all influences on its state; the numbers are those of ``rules/rnn.py``.

    Parameters
    ----------
    by : dict
        Name of an argument -> its influence on each state before the step, a tuple.
    direct : dict
        Name of an argument that feeds ``a`` -> its influence on ``a``.

    Returns
    -------
    states : tuple of arrays
        After the step.
    by : dict
        The same after the step.
    """
    check_rnn(a, h_prev, W_hh, nonlinearity)
    xp = xp_of(a)
    a = a + W_hh @ h_prev  # (1)
    h = xp.maximum(a, 0) if nonlinearity == "relu" else xp.tanh(a)  # (2)
    if not by:
        return (h,), {}

    slope = h != 0 if nonlinearity == "relu" else 1 - h * h
    direct = {"W_hh": of_matrix(W_hh, h_prev), **direct}
    moved = {}
    for name, (h_dot,) in by.items():
        a_dot = W_hh @ h_dot + direct.get(name, 0)  # (1)
        moved[name] = (slope * a_dot,)  # (2)
    return (h,), moved


def lstm_tangent(a, h_prev, c_prev, W_hh, W_hr=None, peepholes=None, *, by, direct):
    """One step of an LSTM, likewise; the numbers are those of ``rules/lstm.py``."""
    check_lstm(a, h_prev, c_prev, W_hh, W_hr, peepholes)
    xp, (H, B) = xp_of(a), c_prev.shape
    p_i, p_f, p_o = (0, 0, 0) if peepholes is None else peepholes[:, :, None]
    a_i, a_f, a_g, a_o = blocks(a + W_hh @ h_prev, 4)  # (1)
    i, f, g = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), xp.tanh(a_g)  # (1a, 2)
    c = f * c_prev + i * g  # (3)
    o, tanh_c = sigmoid(a_o + p_o * c), xp.tanh(c)  # (3a, 2)
    m = o * tanh_c  # (4)
    h = m if W_hr is None else W_hr @ m  # (4a)
    if not by:
        return (h, c), {}

    direct = {"W_hh": of_matrix(W_hh, h_prev), **direct}
    if peepholes is not None:
        of_i, of_f, _, of_o = of_vector(xp.concatenate([c_prev, c_prev, c, c])).reshape(4, H, 4 * H, B)
        direct["peepholes"] = xp.stack([of_i, of_f, of_o])
    moved = {}
    for name, (h_dot, c_dot) in by.items():
        a_i_dot, a_f_dot, a_g_dot, a_o_dot = blocks(W_hh @ h_dot + direct.get(name, 0), 4)  # (1)
        i_dot = i * (1 - i) * (a_i_dot + p_i * c_dot)  # (1a, 2)
        f_dot = f * (1 - f) * (a_f_dot + p_f * c_dot)  # (1a, 2)
        g_dot = (1 - g * g) * a_g_dot  # (2)
        c_dot = f_dot * c_prev + f * c_dot + i_dot * g + i * g_dot  # (3)
        o_dot = o * (1 - o) * (a_o_dot + p_o * c_dot)  # (3a, 2)
        h_dot = o_dot * tanh_c + o * (1 - tanh_c * tanh_c) * c_dot  # (4)
        if W_hr is not None:
            h_dot = W_hr @ h_dot + (of_matrix(W_hr, m) if name == "W_hr" else 0)  # (4a)
        moved[name] = h_dot, c_dot
    return (h, c), moved


def gru_tangent(a, h_prev, W_hh, b_hn=None, *, by, direct, reset_after=True):
    """One step of a GRU, likewise; the numbers are those of ``rules/gru.py``."""
    check_gru(a, h_prev, W_hh, b_hn, reset_after)
    xp, (H, B) = xp_of(a), h_prev.shape
    (a_r, a_z, a_n), (W_hr, W_hz, W_hn) = blocks(a, 3), blocks(W_hh, 3)
    r, z = sigmoid(a_r + W_hr @ h_prev), sigmoid(a_z + W_hz @ h_prev)  # (1, 2)
    k = r * h_prev  # (3a)
    s_n = W_hn @ (h_prev if reset_after else k) + (0 if b_hn is None else b_hn[:, None])  # (1 or 3b)
    n = xp.tanh(a_n + (r * s_n if reset_after else s_n))  # (3 or 3c)
    h = (1 - z) * n + z * h_prev  # (4)
    if not by:
        return (h,), {}

    of_r, of_z, of_n = blocks(of_matrix(W_hh, h_prev), 3)  # directly, while the gates stay as they are
    of_n = r * of_n if reset_after else blocks(of_matrix(W_hh, k), 3)[2]
    nothing = xp.zeros((H, H, B), a.dtype)
    direct = {
        "W_hh": xp.concatenate([of_r, of_z, of_n], axis=-2),
        "b_hn": xp.concatenate([nothing, nothing, of_vector(r)], axis=-2),
        **direct,
    }
    moved = {}
    for name, (h_dot,) in by.items():
        a_r_dot, a_z_dot, a_n_dot = blocks(direct.get(name, xp.zeros_like(a)), 3)
        r_dot = r * (1 - r) * (a_r_dot + W_hr @ h_dot)  # (1, 2)
        z_dot = z * (1 - z) * (a_z_dot + W_hz @ h_dot)  # (1, 2)
        if reset_after:
            n_dot = (1 - n * n) * (a_n_dot + r_dot * s_n + r * (W_hn @ h_dot))  # (1, 3)
        else:
            n_dot = (1 - n * n) * (a_n_dot + W_hn @ (r_dot * h_prev + r * h_dot))  # (3a, 3b, 3c)
        moved[name] = ((1 - z) * n_dot + z_dot * (h_prev - n) + z * h_dot,)  # (4)
    return (h,), moved


def of_matrix(W, x):
    """The direct influence of the entries of ``W (G, D)`` on ``W @ x``: entry i, j gives x_j to row i."""
    xp, G = xp_of(W, x), len(W)
    return xp.eye(G, dtype=x.dtype)[:, None, :, None] * x[:, None, :]  # (G, 1, G, 1) * (D, 1, B)


def of_vector(x):
    """The direct influence of ``v (G,)`` on ``v * x``, for ``x (G, B)``: entry i gives x_i to row i."""
    return xp_of(x).eye(len(x), dtype=x.dtype)[:, :, None] * x  # (G, G, 1) * (G, B)


def blocks(x, count):
    """The gates' equal blocks of rows."""
    return xp_of(x).split(x, count, axis=-2)


def sigmoid(x):
    return 0.5 * xp_of(x).tanh(0.5 * x) + 0.5
