"""The steps of RNN, LSTM and GRU in forward mode: the new state, and the influence of every argument on it.

``rtrl.py`` says what an influence is, and what it is good for. Here ``_dot`` marks one: ``h_dot (..., H, B)`` has the
axes of some argument in front of those of h. Every line with dots is the derivative of a line of the step, in the order
of the step. Matrices act on the last two axes, and what has no axes in front broadcasts.

A line such as a = W_hh h_prev has two derivatives with respect to W_hh: W_hh h_dot, by way of the old state, and a
direct one. Nearly all of the direct one is zero, for entry i, j of a weight feeds row i and no other. So it is never
made as an array, but added where it belongs, gate by gate (``fed``).
"""

from __future__ import annotations

from minirnn.arrays import joint_dtype, xp_of
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
        Name of an argument that feeds ``a`` -> ``x (..., B)``, the derivative of row i of ``a`` with respect to its
        entry i, ....

    Returns
    -------
    states : tuple of arrays
        The states after the step.
    by : dict
        The influences on them.
    """
    check_rnn(a, h_prev, W_hh, nonlinearity)
    xp = xp_of(a)
    a = a + W_hh @ h_prev  # (1)
    h = xp.maximum(a, 0) if nonlinearity == "relu" else xp.tanh(a)  # (2)
    slope = h != 0 if nonlinearity == "relu" else 1 - h * h
    feeds = per_gate({"W_hh": h_prev, **direct}, "a", len(a))
    moved = {}
    for name, (h_dot,) in by.items():
        a_dot = fed(W_hh @ h_dot, feeds.get((name, "a")))  # (1)
        moved[name] = (slope * a_dot,)  # (2)
    return (h,), moved


def lstm_tangent(a, h_prev, c_prev, W_hh, W_hr=None, peepholes=None, *, by, direct):
    """One step of an LSTM, likewise; the numbers are those of ``rules/lstm.py``."""
    check_lstm(a, h_prev, c_prev, W_hh, W_hr, peepholes)
    xp, H = xp_of(a), len(c_prev)
    W_hi, W_hf, W_hg, W_ho = xp.split(W_hh, 4)
    p_i, p_f, p_o = (0, 0, 0) if peepholes is None else peepholes[:, :, None]
    a_i, a_f, a_g, a_o = xp.split(a + W_hh @ h_prev, 4)  # (1)
    i, f, g = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), xp.tanh(a_g)  # (1a, 2)
    c = f * c_prev + i * g  # (3)
    o, tanh_c = sigmoid(a_o + p_o * c), xp.tanh(c)  # (3a, 2)
    m = o * tanh_c  # (4)
    h = m if W_hr is None else W_hr @ m  # (4a)

    feeds = per_gate({"W_hh": h_prev, **direct}, "ifgo", H)
    feeds |= {("peepholes", "i"): (0, c_prev), ("peepholes", "f"): (1, c_prev), ("peepholes", "o"): (2, c)}
    feeds |= {("W_hr", "h"): (slice(None), m)}
    moved = {}
    for name, (h_dot, c_dot) in by.items():
        # summed gate by gate: all four at once, the influences on the gates would take twice the memory of all others
        c_dot = (
            f * c_dot
            + c_prev * f * (1 - f) * (fed(W_hf @ h_dot, feeds.get((name, "f"))) + p_f * c_dot)  # (1, 1a, 2)
            + g * i * (1 - i) * (fed(W_hi @ h_dot, feeds.get((name, "i"))) + p_i * c_dot)  # (1, 1a, 2)
            + i * (1 - g * g) * fed(W_hg @ h_dot, feeds.get((name, "g")))  # (1, 2)
        )  # (3)
        a_o_dot = fed(W_ho @ h_dot, feeds.get((name, "o"))) + p_o * c_dot  # (1, 3a)
        h_dot = tanh_c * o * (1 - o) * a_o_dot + o * (1 - tanh_c * tanh_c) * c_dot  # (2, 4)
        if W_hr is not None:
            h_dot = fed(W_hr @ h_dot, feeds.get((name, "h")))  # (4a)
        moved[name] = h_dot, c_dot
    return (h, c), moved


def gru_tangent(a, h_prev, W_hh, b_hn=None, *, by, direct, reset_after=True):
    """One step of a GRU, likewise; the numbers are those of ``rules/gru.py``."""
    check_gru(a, h_prev, W_hh, b_hn, reset_after)
    xp, H = xp_of(a), len(h_prev)
    (a_r, a_z, a_n), (W_hr, W_hz, W_hn) = xp.split(a, 3), xp.split(W_hh, 3)
    r, z = sigmoid(a_r + W_hr @ h_prev), sigmoid(a_z + W_hz @ h_prev)  # (1, 2)
    k = r * h_prev  # (3a)
    s_n = W_hn @ (h_prev if reset_after else k) + (0 if b_hn is None else b_hn[:, None])  # (1 or 3b)
    n = xp.tanh(a_n + (r * s_n if reset_after else s_n))  # (3 or 3c)
    h = (1 - z) * n + z * h_prev  # (4)

    feeds = per_gate({"W_hh": h_prev, **direct}, "rzn", H)
    feeds["W_hh", "n"] = slice(2 * H, None), r[:, None] * h_prev if reset_after else k
    feeds["b_hn", "n"] = slice(None), r
    moved = {}
    for name, (h_dot,) in by.items():
        a_r_dot = fed(W_hr @ h_dot, feeds.get((name, "r")))  # (1)
        if reset_after:
            a_n_dot = s_n * r * (1 - r) * a_r_dot + r * (W_hn @ h_dot)  # (2, 1, 3)
        else:
            a_n_dot = W_hn @ (h_prev * r * (1 - r) * a_r_dot + r * h_dot)  # (2, 3a, 3b)
        h_dot = (
            (1 - z) * (1 - n * n) * fed(a_n_dot, feeds.get((name, "n")))  # (3 or 3c)
            + (h_prev - n) * z * (1 - z) * fed(W_hz @ h_dot, feeds.get((name, "z")))  # (1, 2)
            + z * h_dot
        )  # (4)
        moved[name] = (h_dot,)
    return (h,), moved


def per_gate(direct, gates, H):
    """What feeds all gates, gate by gate: name and gate -> the rows of the argument that feed this gate, and x."""
    rows = {gate: slice(k * H, (k + 1) * H) for k, gate in enumerate(gates)}
    return {(name, gate): (rows[gate], x) for name, x in direct.items() for gate in gates}


def fed(dot, feed):
    """The influence ``dot`` on the pre-activations of a gate and, in place, what the step itself adds to it.

    Parameters
    ----------
    dot : array, (*shape of the argument, H, B)
    feed : tuple or None
        The H rows of the argument that feed this gate, and ``x (H, ..., B)`` or what broadcasts to it: the entries in
        row i of them, such as i, j, give ``x[i, j]`` to row i of the gate, and nothing to others.
    """
    if feed is None:
        return dot
    (rows, x), i = feed, xp_of(dot).arange(dot.shape[-2])
    dot = dot.astype(joint_dtype(dot, x), copy=False)
    dot[rows][i, ..., i, :] += x
    return dot


def sigmoid(x):
    return 0.5 * xp_of(x).tanh(0.5 * x) + 0.5
