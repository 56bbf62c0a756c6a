"""The long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), there and back in time.

A step, with a_t = W_ih x_t + b already given (it is not recurrent) and the gates stacked in the order i f g o:

    a_i, a_f, a_g, a_o = the four blocks of rows of a_t + W_hh h_prev           (1)
    i, f, o = sigmoid(a_i, a_f, a_o)        input, forget and output gate       (2)
    g       = tanh(a_g)                     candidate                           (2)
    c_t     = f * c_prev + i * g            the highway: no matrix in its way   (3)
    h_t     = o * tanh(c_t)                                                     (4)

Backward. h_t is read twice, by the loss and by the next step, so dh is what the loss asks of it (dhs[t]) and what step
t + 1 sends back; dc is what step t + 1 asks of c_t. Every line undoes the forward line whose number it bears:

    do = dh * tanh(c_t),                    dc += dh * o * (1 - tanh(c_t)**2)   (4)
    di = dc * g,  df = dc * c_prev,  dg = dc * i,           dc_prev = dc * f    (3)
    da = di * i (1 - i),  df * f (1 - f),  dg * (1 - g**2),  do * o (1 - o)     (2)
    dh_prev = W_hh.T da,                    dW_hh = sum over t of da_t h_prev.T (1)

dc_prev = dc * f is why LSTMs remember: a product of gates near one, not of matrices.

Everything in da but the factors dc and dh is known before time runs backward: these *slopes* are computed for a run of
steps at once, and the loop is left with a handful of products and one matrix product per step. The arithmetic of the
gates stands in ``kernels/lstm.py``, under the same names and numbers.
"""

from __future__ import annotations

from minirnn.arrays import xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.linear import sum_of_products

SLOPES = 2**17  # numbers held in slopes at once, about half a megabyte: they stay in the second-level cache


def lstm_step(
    a,  # (4H, B) input part of the pre-activations, W_ih x_t + b
    h_prev,  # (H, B)
    c_prev,  # (H, B)
    W_hh,  # (4H, H)
):
    """One step: the new state ``h_t, c_t``, each ``(H, B)``; its pullback is one step of BPTT."""
    check_shapes(a, h_prev, c_prev, W_hh)
    xp, kernels, H = xp_of(a, h_prev, c_prev, W_hh), kernels_of(a), len(h_prev)
    gates = a + W_hh @ h_prev  # (1)
    c = xp.empty_like(gates[:H])
    h = xp.empty_like(c)
    kernels.lstm_gates(gates, c_prev, h, c)  # (2, 3, 4)

    def lstm_step_pullback(dh, dc):
        da, dc_prev = xp.empty_like(gates), dc.copy()
        da_slope, dc_slope = xp.empty_like(gates), xp.empty_like(c)
        kernels.lstm_slopes(gates, c_prev, c, da_slope, dc_slope)
        kernels.lstm_gates_back(dh, dc_prev, gates, da_slope, dc_slope, da)  # (4, 3, 2)
        return da, W_hh.T @ da, dc_prev, da @ h_prev.T  # (1)

    return (h, c), lstm_step_pullback


def lstm(
    a_xs,  # (T, 4H, B) W_ih x_t + b for every step
    h_0,  # (H, B)
    c_0,  # (H, B)
    W_hh,  # (4H, H)
    *,
    wanted=(True, True, True, True),
):
    """LSTM over a sequence: ``hs (T, H, B)``, ``h_T`` and ``c_T``; its pullback is backpropagation through time.

    What BPTT keeps of every step: its gates, its cell state, and its output, ``6 * H * B`` numbers.
    """
    check_shapes(a_xs, h_0, c_0, W_hh, steps=a_xs.shape[:1])
    xp, kernels, (T, _, B), H = xp_of(a_xs, h_0, c_0, W_hh), kernels_of(a_xs), a_xs.shape, len(h_0)
    dtype = xp.result_type(a_xs, h_0, c_0, W_hh)
    saving = any(wanted)  # without, one set of gates and one cell state serve all steps
    gates = xp.empty((T if saving else 1, 4 * H, B), dtype)
    cs = xp.empty((T + 1 if saving else 1, H, B), dtype)  # cs[t] enters step t, cs[t + 1] leaves it
    hs = xp.empty((T + 1, H, B), dtype)
    hs[0], cs[0] = h_0, c_0
    for t in range(T):
        now, then = (t, t + 1) if saving else (0, 0)
        a = xp.matmul(W_hh, hs[t], out=gates[now])
        a += a_xs[t]  # (1)
        kernels.lstm_gates(a, cs[now], hs[t + 1], cs[then])  # (2, 3, 4)

    saved = (gates, cs, hs[:-1] if wanted[3] else None, W_hh) if saving else None

    def lstm_pullback(dhs, dh_T, dc_T):
        if saved is None:
            return None, None, None, None
        gates, cs, h_prevs, W_hh = saved
        da, dh, dc = xp.empty_like(gates), dh_T.copy(), dc_T.copy()
        W_back = xp.ascontiguousarray(W_hh.T)  # every step reads it
        for t, da_slope, dc_slope in steps_back(gates, cs):  # the only place where time runs backward
            dh += dhs[t]
            kernels.lstm_gates_back(dh, dc, gates[t], da_slope, dc_slope, da[t])  # (4, 3, 2)
            xp.matmul(W_back, da[t], out=dh)  # (1)
        dW_hh = sum_of_products(da, h_prevs) if wanted[3] else None  # (1) one product over all steps
        return da if wanted[0] else None, dh if wanted[1] else None, dc if wanted[2] else None, dW_hh

    # the ends are copies: whoever carries them on would keep all steps in memory with a view
    return (hs[1:], hs[T].copy(), cs[-1].copy()), lstm_pullback


def steps_back(
    gates,  # (T, 4H, B)
    cs,  # (T + 1, H, B)
):
    """The steps T - 1 to 0, each with its slopes, which are computed for as many steps at once as the cache holds."""
    xp, (T, _, B), H, kernels = xp_of(gates), gates.shape, cs.shape[1], kernels_of(gates)
    run = max(1, SLOPES // (5 * H * B + 1))
    da_slope, dc_slope = xp.empty_like(gates[:run]), xp.empty_like(cs[:run])
    for start in reversed(range(0, T, run)):
        stop = min(start + run, T)
        n, c_prevs, c_nows = stop - start, cs[start:stop], cs[start + 1 : stop + 1]
        kernels.lstm_slopes(gates[start:stop], c_prevs, c_nows, da_slope[:n], dc_slope[:n])
        for t in reversed(range(start, stop)):
            yield t, da_slope[t - start], dc_slope[t - start]


def check_shapes(a, h, c, W_hh, steps=()):
    """Refuses arrays that are not ``(*steps, 4H, B), (H, B), (H, B), (4H, H)`` for one ``H`` and one ``B``."""
    H, B = h.shape if h.ndim == 2 else (-1, -1)  # which fits no shape
    if a.shape != (*steps, 4 * H, B) or c.shape != (H, B) or W_hh.shape != (4 * H, H):
        raise ValueError(
            f"an LSTM needs a ({'T, ' if steps else ''}4H, B), h and c (H, B) and W_hh (4H, H); "
            f"got a {a.shape}, h {h.shape}, c {c.shape}, W_hh {W_hh.shape}"
        )
