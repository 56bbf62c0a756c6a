"""The long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), forward and backward.

The problem. In a plain network all that is asked of an early state comes back through W_hh and a slope, once per step,
and vanishes (``rnn.py``). An LSTM has a second state, the cell c, which passes from step to step without any matrix.
Gates, numbers between 0 and 1, decide how much of it stays, how much comes in, and how much is shown.

A step, with a_t = W_ih x_t + b already computed (it does not depend on the state). All rows are stacked in the order of
the gates, i f g o, H rows each:

    a_i, a_f, a_g, a_o = the four blocks of rows of a_t + W_hh h_prev           (1)
    i, f, o = sigmoid(a_i, a_f, a_o)        input, forget and output gate       (2)
    g       = tanh(a_g)                     candidate                           (2)
    c_t     = f * c_prev + i * g            the highway: no matrix in its way   (3)
    h_t     = o * tanh(c_t)                 what is shown of the cell           (4)

    c_prev ----- * f ------- + -----------+------> c_t     the highway
                             |            |
                           i * g        tanh
                             |            |
    h_prev --- W_hh ---- i, f, g, o ---- * o ----> h_t     everything else leads through W_hh

Backward. Both states have two readers. h_t is read by the loss (or a layer above) and by step t + 1, in (1): dh is the
sum of dhs[t] and the dh_prev of step t + 1 (at the last step, dh_T). c_t is read by h_t, in (4), and by step t + 1, in
(3): dc begins as the dc_prev of step t + 1 (at the last step, dc_T), and (4) adds its part. Every line undoes the
forward line whose number it bears:

    do = dh * tanh(c_t),                    dc += dh * o * (1 - tanh(c_t)**2)   (4)
    di = dc * g,  df = dc * c_prev,  dg = dc * i,           dc_prev = dc * f    (3)
    da_i = di * i * (1 - i),                da_f = df * f * (1 - f)             (2)
    da_g = dg * (1 - g**2),                 da_o = do * o * (1 - o)             (2)
    dh_prev = W_hh.T da,                    dW_hh = sum over t of da_t h_prev.T (1)

Why it remembers. dc_prev = dc * f: along the highway, k steps multiply what is asked of the cell by k forget gates,
unit by unit, and by nothing else. A gate of 0.99 leaves 0.37 of it after 100 steps. But a gate of 1/2, where untrained
ones stand, leaves 8e-31: it is the open gate that remembers, not the cell as such. So the bias of f often begins at 1
or more (Jozefowicz et al. 2015). What goes back through h and W_hh vanishes or explodes as it does in a plain network.

How it is fast. All of da but the factors dc and dh is known before time runs backward. These known parts are the
*slopes*: by how much c_t or, for o, h_t grows for each unit of a pre-activation, two lines in one.

    s_i = g * i * (1 - i)                   da_i = dc * s_i                     (3, 2)
    s_f = c_prev * f * (1 - f)              da_f = dc * s_f                     (3, 2)
    s_g = i * (1 - g**2)                    da_g = dc * s_g                     (3, 2)
    s_o = tanh(c_t) * o * (1 - o)           da_o = dh * s_o                     (4, 2)

They are computed for a run of steps at once, as many as stay in the cache, and the loop is left with a handful of
elementwise products and one matrix product per step. Two more factors are known beforehand: ``dc_slope``, which is
o * (1 - tanh(c_t)**2) and takes dh to dc in (4), and ``carry``, which takes dc to dc_prev in (3) and is f here. The
arithmetic of the gates is in ``kernels/lstm.py``, under the same names and numbers.

Two variants, alone or together. *Peepholes* (Gers & Schmidhuber 2000; Gers et al. 2002) let the gates of each unit see
its cell, weighted by the rows p_i, p_f, p_o of ``peepholes``. A *projection* (Sak et al. 2014; ``proj_size`` in
PyTorch) makes h_t shorter than the cell: P rows instead of H. Then (4) gives m_t, and h_t follows from it. Each new
line comes after the line whose number it bears:

    a_i += p_i * c_prev,  a_f += p_f * c_prev                                   (1a)
    a_o += p_o * c_t                        so o is activated after (3)         (3a)
    h_t  = W_hr m_t                         m_t = o * tanh(c_t)                 (4a)

    dm = W_hr.T dh,                         dW_hr = sum over t of dh_t m_t.T    (4a)
    dc += p_o * da_o,                       dp_o = sum of da_o * c_t            (3a)
    dc_prev += p_i * da_i + p_f * da_f,     dp_i, dp_f = sums of da * c_prev    (1a)

In (4), dm takes the place of dh. The order matters now: o reads c_t, so dc is complete only when da_o is known. The way
back is (4a); (4); (2) for o, which gives da_o; (3a); (3); (2) for the others; (1a); (1).

In slopes, da_o = dm * s_o. So (3a) adds p_o * s_o to ``dc_slope``, and (1a) makes ``carry`` f + p_i * s_i + p_f * s_f.
Peepholes change what is known beforehand, and nothing in the loop.
"""

from __future__ import annotations

from minirnn.arrays import joint_dtype, xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.linear import sum_of_columns, sum_of_products
from minirnn.rules.recurrence import show, steps_back

FORWARD = "i", "f", "g", "o", "c", "h"  # what a probe is shown of every step going forward,
BACKWARD = "dh", "dc", "da_i", "da_f", "da_g", "da_o"  # and going back


def lstm_step(
    a,  # (4H, B) input part of the pre-activations, W_ih x_t + b
    h_prev,  # (P, B), P = H without W_hr
    c_prev,  # (H, B)
    W_hh,  # (4H, P)
    W_hr=None,  # (P, H) projection
    peepholes=None,  # (3, H) rows p_i, p_f, p_o
):
    """One step: the new state ``h_t (P, B)`` and ``c_t (H, B)``; its pullback is one step of BPTT.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    arrays = a, h_prev, c_prev, W_hh, W_hr, peepholes
    check_shapes(*arrays)
    xp, kernels = xp_of(*arrays), kernels_of(a)
    dtype = joint_dtype(*arrays)
    gates = (W_hh @ h_prev).astype(dtype, copy=False)
    c = xp.empty(c_prev.shape, dtype)
    m = xp.empty_like(c)
    kernels.lstm_gates(a, gates, c_prev, m, c, peepholes)  # (1, 1a, 2, 3, 3a, 4)
    h = m if W_hr is None else W_hr @ m  # (4a)

    def lstm_step_pullback(dh, dc):
        return lstm_step_back(gates, h_prev, c_prev, c, W_hh, W_hr, peepholes, dh, dc)

    return (h, c), lstm_step_pullback


def lstm_step_back(gates, h_prev, c_prev, c, W_hh, W_hr, peepholes, dh, dc):
    """The pullback of `lstm_step`, from what that has computed: a cotangent for each of its arguments."""
    xp, kernels = xp_of(gates), kernels_of(gates)
    dtype = joint_dtype(gates, dh, dc)
    da, dc_t, dc_prev = xp.empty_like(gates, dtype), dc.astype(dtype), xp.empty_like(c, dtype)
    dc_slope = xp.empty_like(c, dtype)
    carry = kernels.lstm_slopes(gates, c_prev, c, da, dc_slope, peepholes)
    dm = dh if W_hr is None else W_hr.T @ dh  # (4a)
    kernels.lstm_gates_back(None, dm, dc_t, da, dc_slope, carry, dc_prev)  # (4, 3a, 3, 2, 1a)
    dW_hr = None if W_hr is None else dh @ m_again(gates, c).T  # (4a)
    dpeepholes = None if peepholes is None else peephole_gradient(da, c_prev, c)  # (3a, 1a)
    return da, W_hh.T @ da, dc_prev, da @ h_prev.T, dW_hr, dpeepholes  # (1)


def lstm(
    a_xs,  # (T, 4H, B) W_ih x_t + b for every step
    h_0,  # (P, B), P = H without W_hr
    c_0,  # (H, B)
    W_hh,  # (4H, P)
    W_hr=None,  # (P, H) projection
    peepholes=None,  # (3, H) rows p_i, p_f, p_o
    *,
    probe=None,
    wanted=(True,) * 6,
):
    """LSTM over a sequence: ``hs (T, P, B)``, ``h_T`` and ``c_T``; its pullback is backpropagation through time.

    What BPTT keeps of every step: its gates, its cell state, and its output, ``6 * H * B`` numbers, or
    ``(5 * H + P) * B`` with a projection.

    Parameters
    ----------
    probe : callable, optional
        Called as ``probe(name, t, array)`` at every step: ``"i", "f", "g", "o", "c", "h"`` forward; backward ``"dh"``
        and ``"dc"``, all that is asked of ``h_t`` and ``c_t``, and ``"da_i", "da_f", "da_g", "da_o"``. The array is
        valid during the call only.
    wanted : tuple of bool
        Whose gradients are asked for.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    arrays = a_xs, h_0, c_0, W_hh, W_hr, peepholes
    check_shapes(*arrays, steps=a_xs.shape[:1])
    xp, kernels, (T, _, B), P, H = xp_of(*arrays), kernels_of(a_xs), a_xs.shape, len(h_0), len(c_0)
    dtype = joint_dtype(*arrays)
    saving = any(wanted)  # without, one set of gates and one cell state serve all steps
    gates = kernels.empty((T if saving else 1, 4 * H, B), dtype)
    cs = kernels.empty((T + 1 if saving else 1, H, B), dtype)  # cs[t] enters step t, cs[t + 1] leaves it
    hs = kernels.empty((T + 1, P, B), dtype)
    hs[0], cs[0], a_xs = h_0, c_0, kernels.in_order(a_xs, dtype)
    m = None if W_hr is None else xp.empty((H, B), dtype)
    recur = kernels.product(W_hh, B)  # writes W_hh h; the matrix is cut up once for T products of B columns
    plain = probe is None and W_hr is None and peepholes is None  # then a device may take all steps in one launch
    kept = gates if saving else None
    done = plain and kernels.in_one_launch("lstm", hs[1:], W_hh, a_xs, hs[0], cs=cs, gates=kept)
    for t in range(0 if done else T):
        now, then = (t, t + 1) if saving else (0, 0)
        m_t = hs[t + 1] if m is None else m
        recur(hs[t], gates[now])
        kernels.lstm_gates(a_xs[t], gates[now], cs[now], m_t, cs[then], peepholes)  # (1, 1a, 2, 3, 3a, 4)
        if m is not None:
            kernels.matrix_product(W_hr, m, out=hs[t + 1])  # (4a)
        if probe is not None:
            show(probe, t, FORWARD, (*gates[now].reshape(4, H, B), cs[then], hs[t + 1]))

    saved = (gates, cs, hs[:-1] if wanted[3] else None, W_hh, W_hr, peepholes) if saving else None

    def lstm_pullback(dhs, dh_T, dc_T):
        if saved is None:
            return (None,) * 6
        gates, cs, h_prevs, W_hh, W_hr, peepholes = saved
        dtype = joint_dtype(gates, dhs, dh_T, dc_T)
        da, dh, dc = kernels.empty(gates.shape, dtype), dh_T.astype(dtype, order="C"), dc_T.astype(dtype, order="C")
        dc_prev = xp.empty_like(dc)
        dm, dh_totals = (dh, None) if W_hr is None else (xp.empty_like(dc), xp.empty_like(dhs, dtype))
        dhs, recur_back = kernels.in_order(dhs, dtype), kernels.product(W_hh.T, B)

        def slopes(run):
            da_slopes, dc_slopes = da[run], xp.empty_like(cs[:-1][run], dtype)
            carry = kernels.lstm_slopes(gates[run], cs[:-1][run], cs[1:][run], da_slopes, dc_slopes, peepholes)
            return da_slopes, dc_slopes, carry

        # da_t holds the slopes of its step until dm and dc meet them; here, and only here, time runs backward
        done = plain and kernels.in_one_launch("lstm", da, W_hh, dhs, dh, back=True, gates=gates, states=cs, dc=dc)
        run = kernels.run(5 * H * B)  # four slopes and dc_slope
        for t, da_t, dc_slope, carry in steps_back(0 if done else T, run, slopes):
            dm_t, dh_total = dhs[t], dh
            if W_hr is not None:
                dm_t, dh_total = None, xp.add(dh, dhs[t], out=dh_totals[t])
                kernels.matrix_product(W_hr.T, dh_total, out=dm)  # (4a)
            kernels.lstm_gates_back(dm_t, dm, dc, da_t, dc_slope, carry, dc_prev)  # (4, 3a, 3, 2, 1a)
            if probe is not None:
                show(probe, t, BACKWARD, (dh_total, dc, *da_t.reshape(4, H, B)))
            recur_back(da_t, dh)  # (1)
            dc, dc_prev = dc_prev, dc
        # what the weights gather over time is one product or one sum over all steps
        dW_hh = sum_of_products(da, h_prevs) if wanted[3] else None  # (1)
        dW_hr = sum_of_products(dh_totals, m_again(gates, cs[1:])) if W_hr is not None and wanted[4] else None  # (4a)
        dp = peephole_gradient(da, cs[:-1], cs[1:]) if peepholes is not None and wanted[5] else None  # (3a, 1a)
        return da if wanted[0] else None, dh if wanted[1] else None, dc if wanted[2] else None, dW_hh, dW_hr, dp

    # the ends are copies: whoever carries them on would keep all steps in memory with a view
    return (hs[1:], hs[T].copy(), cs[-1].copy()), lstm_pullback


def m_again(gates, c):
    """m_t = o * tanh(c_t) of one step or of all, computed again: saving it would cost ``H * B`` numbers per step."""
    m = xp_of(c).tanh(c)
    m *= gates[..., 3 * c.shape[-2] :, :]
    return m


def peephole_gradient(da, c_prev, c):
    """The sums of da_i c_prev, da_f c_prev and da_o c_t over columns, and over steps if there are any."""
    H = c.shape[-2]
    da_i, da_f, da_o = da[..., :H, :], da[..., H : 2 * H, :], da[..., 3 * H :, :]
    return xp_of(da).stack([sum_of_columns(da_i * c_prev), sum_of_columns(da_f * c_prev), sum_of_columns(da_o * c)])


def check_shapes(a, h, c, W_hh, W_hr, peepholes, steps=()):
    """Refuses arrays that do not fit together, and names each of them: c says what H and B are, W_hr what P is."""
    if c.ndim != 2:
        raise ValueError(f"an LSTM needs c (H, B), got {c.shape}")
    (H, B), P = c.shape, c.shape[:1] if W_hr is None else W_hr.shape[:1]
    arrays, shapes = (a, h, W_hh, W_hr, peepholes), ((*steps, 4 * H, B), (*P, B), (4 * H, *P), (*P, H), (3, H))
    wrong = [k for k, x in enumerate(arrays) if x is not None and x.shape != shapes[k]]
    if wrong:
        names = f"a ({'T, ' * len(steps)}4H, B)", "h (P, B)", "W_hh (4H, P)", "W_hr (P, H)", "peepholes (3, H)"
        by = f"c {c.shape}, " + ("P = H" if W_hr is None else f"W_hr {W_hr.shape}")
        needs = "; ".join(f"{names[k]} = {shapes[k]}, got {arrays[k].shape}" for k in wrong)
        raise ValueError(f"an LSTM with {by} needs {needs}")
