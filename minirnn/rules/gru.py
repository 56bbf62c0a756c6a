"""The gated recurrent unit (Cho et al. 2014), forward and backward, in the two forms that go by this name.

The problem is that of ``lstm.py``, and so is the answer: a way through time that does not lead through a matrix. But
there is one state where an LSTM has two, and one gate, z, says both how much of it stays and how much comes in.

A step, with a_t = W_ih x_t + b already computed (it does not depend on the state), and all rows stacked in the order
r z n, H rows each:

    s_r, s_z, s_n = the three blocks of rows of W_hh h_prev, b_hn added to the last               (1)
    r, z = sigmoid(a_r + s_r, a_z + s_z)         reset and update gate                            (2)
    n    = tanh(a_n + r * s_n)                   candidate                                        (3)
    h_t  = (1 - z) * n + z * h_prev              the highway: no matrix in its way                (4)

Backward. h_t has two readers, the loss (or a layer above) and step t + 1: dh is the sum of dhs[t] and the dh_prev of
step t + 1 (at the last step, dh_T). h_prev is read in (4) and, by three blocks of W_hh, in (1): its cotangent is a sum,
too. Every line undoes the line whose number it bears:

    dn = dh * (1 - z),  dz = dh * (h_prev - n),  dh_prev = dh * z                                 (4)
    da_n = dn * (1 - n**2),  ds_n = da_n * r,  dr = da_n * s_n                                    (3)
    da_r = ds_r = dr * r * (1 - r),  da_z = ds_z = dz * z * (1 - z)                               (2)
    dh_prev += W_hh.T ds,   dW_hh = sum over t of ds_t h_prev.T                                   (1)
    db_hn = sum over t and over the columns, which are the batch, of ds_n                         (1)

Why it remembers. dh_prev = dh * z in (4): along the highway, k steps multiply what is asked of a unit by k update
gates, as forget gates do in an LSTM, and only an open one, z near one, lets it pass.

da and ds differ in the rows of n only, where the reset gate stands between what comes from the input and what comes
from the state.

Two forms. Above, the gate resets what the matrix has made of the state: ``reset_after=True``, the form of PyTorch and
cuDNN and the default of Keras, preferred because one product serves all three blocks. In the paper the gate resets the
state before the matrix sees it: ``reset_after=False``. With W_hr, W_hz, W_hn for the blocks of W_hh, and no b_hn, which
would only be a second bias in a_n:

    s_r, s_z = W_hr h_prev, W_hz h_prev                                                           (1)
    r, z = sigmoid(a_r + s_r, a_z + s_z)                                                          (2)
    k    = r * h_prev                            what is kept of the state                        (3a)
    s_n  = W_hn k                                                                                 (3b)
    n    = tanh(a_n + s_n)                                                                        (3c)
    h_t  = (1 - z) * n + z * h_prev                                                               (4)

    dn = dh * (1 - z),  dz = dh * (h_prev - n),  dh_prev = dh * z                                 (4)
    da_n = dn * (1 - n**2)                                                                        (3c)
    dk = W_hn.T da_n,   dW_hn = sum over t of da_n k.T                                            (3b)
    dr = dk * h_prev,  dh_prev += dk * r                                                          (3a)
    da_r = dr * r * (1 - r),  da_z = dz * z * (1 - z)                                             (2)
    dh_prev += W_hr.T da_r + W_hz.T da_z,   dW_hr, dW_hz = sums over t of da_r, da_z h_prev.T     (1)

The forms are different functions: no weights of one give the other. In both z is the share of the old state, as in the
paper, PyTorch, cuDNN and Keras. Chung et al. (2014), and many tutorials after them, write z for 1 - z:
h_t = (1 - z) * h_prev + z * n. That is the same function of other weights, those of z negated (W_ih, W_hh and bias),
for sigmoid(-x) = 1 - sigmoid(x).

How it is fast. All of da and ds but the factor dh (in the second form, for da_r: dk) is known before time runs
backward. These *slopes* are computed for a run of steps at once and written to where the cotangents will stand, and the
loop is left with a handful of elementwise products and one matrix product per step, two without ``reset_after``. The
arithmetic of the gates, and which rows each has, is in ``kernels/gru.py``, under the same names and numbers.

In code. Each form is three functions: ``forward_`` makes the function that takes a step, ``backward_`` the one that
goes a step back, ``weights_`` computes the sum over t. ``gru_step`` and ``gru`` choose between them once. Otherwise the
forms differ only in how many gates they keep, and in the slopes.
"""

from __future__ import annotations

from minirnn.arrays import joint_dtype, xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.linear import sum_of_columns, sum_of_products
from minirnn.rules.recurrence import show, steps_back

# --- reset_after=True, the first equations above ----------------------------------------------------------------------


def forward_after(W_hh, B):
    """Makes the function that takes a step: it fills ``gates (4H, B)`` with r z s_n n, and ``h`` with h_t."""
    kernels, H = kernels_of(W_hh), W_hh.shape[1]
    recur = kernels.product(W_hh, B)  # writes W_hh h; the matrix is cut up once for all products of B columns

    def step(a, h_prev, b, gates, h):
        recur(h_prev, gates[: 3 * H])
        kernels.gru_gates(a, b, h_prev, gates, h)  # (1, 2, 3, 4)

    return step


def backward_after(W_hh, B, dtype):
    """Makes the function that goes a step back.

    It turns ``dh`` into dh_prev, and the slopes in ``dgates (4H, B)`` into ds_n da_r da_z da_n.
    """
    xp, kernels, H = xp_of(W_hh), kernels_of(W_hh), W_hh.shape[1]
    W_nrz = xp.roll(W_hh, H, axis=0)  # its rows in the order in which dgates holds ds
    recur_back = kernels.adding_product(W_nrz.T, B, dtype)

    def back(dh_t, dh, gates, dgates):
        kernels.gru_gates_back(dh_t, dh, gates, dgates)  # (4, 3, 2)
        recur_back(dgates[: 3 * H], dh)  # (1)

    return back


def weights_after(gates, h_prevs, dgates):
    """dW_hh of one step or, with an axis of time in front, of all steps in one product."""
    H = h_prevs.shape[-2]
    ds = dgates[..., : 3 * H, :]  # its rows n r z
    return xp_of(ds).roll(sum_of_products(ds, h_prevs), -H, axis=0)  # (1)


# --- reset_after=False, the second equations --------------------------------------------------------------------------


def forward_before(W_hh, B):
    """Makes the function that takes a step: it fills ``gates (3H, B)`` with r z n, ``h`` with h_t. There is no bias."""
    kernels, H = kernels_of(W_hh), W_hh.shape[1]
    recur_rz, recur_n = kernels.product(W_hh[: 2 * H], B), kernels.product(W_hh[2 * H :], B)

    def step(a, h_prev, _, gates, h):
        recur_rz(h_prev, gates[: 2 * H])  # (1)
        k = h  # h is not known yet and lends its memory
        kernels.gru_reset(a, h_prev, gates, k)  # (2, 3a)
        recur_n(k, gates[2 * H :])  # (3b)
        kernels.gru_candidate(a, h_prev, gates, h)  # (3c, 4)

    return step


def backward_before(W_hh, B, dtype):
    """Makes the function that goes a step back.

    It turns ``dh`` into dh_prev, and the slopes in ``dgates (3H, B)`` into da_r da_z da_n.
    """
    xp, kernels, H = xp_of(W_hh), kernels_of(W_hh), W_hh.shape[1]
    rz_back, n_back = kernels.adding_product(W_hh[: 2 * H].T, B, dtype), kernels.product(W_hh[2 * H :].T, B)
    dk = xp.empty((H, B), dtype)

    def back(dh_t, dh, gates, dgates):
        kernels.gru_candidate_back(dh_t, dh, gates, dgates)  # (4, 3c) and, for z, (2)
        n_back(dgates[2 * H :], dk)  # (3b)
        kernels.gru_reset_back(dk, dh, gates, dgates)  # (3a) and, for r, (2)
        rz_back(dgates[: 2 * H], dh)  # (1)

    return back


def weights_before(gates, h_prevs, dgates):
    """dW_hh of one step or of all steps, in two products."""
    H = h_prevs.shape[-2]
    k = gates[..., :H, :] * h_prevs  # (3a), computed again rather than saved
    dW_n = sum_of_products(dgates[..., 2 * H :, :], k)  # (3b)
    dW_rz = sum_of_products(dgates[..., : 2 * H, :], h_prevs)  # (1)
    return xp_of(k).concatenate([dW_rz, dW_n])


# --- the rules --------------------------------------------------------------------------------------------------------


def gru_step(
    a,  # (3H, B) input part of the pre-activations, W_ih x_t + b
    h_prev,  # (H, B)
    W_hh,  # (3H, H)
    b_hn=None,  # (H,)
    *,
    reset_after=True,
):
    """One step: the new state ``h_t (H, B)``; its pullback is one step of BPTT.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or if there is a ``b_hn`` without ``reset_after``.
    """
    check_arguments(a, h_prev, W_hh, b_hn, reset_after)
    xp, (H, B), has_bias = xp_of(a, h_prev, W_hh, b_hn), h_prev.shape, b_hn is not None
    forward, kept = (forward_after, 4) if reset_after else (forward_before, 3)
    dtype = joint_dtype(a, h_prev, W_hh, b_hn)
    gates, h = xp.empty((kept * H, B), dtype), xp.empty((H, B), dtype)
    forward(W_hh, B)(a, h_prev, columns(b_hn, B), gates, h)  # (1, 2, 3, 4)

    def gru_step_pullback(dh):
        return gru_step_back(gates, h_prev, W_hh, has_bias, reset_after, dh)

    return h, gru_step_pullback


def gru_step_back(gates, h_prev, W_hh, has_bias, reset_after, dh):
    """The pullback of `gru_step`, from what that has computed: the cotangents of a, h_prev, W_hh and b_hn."""
    xp, kernels, (H, B) = xp_of(gates), kernels_of(gates), h_prev.shape
    backward, weights = (backward_after, weights_after) if reset_after else (backward_before, weights_before)
    dtype = joint_dtype(gates, dh)
    dgates, dh_prev = xp.empty(gates.shape, dtype), dh.astype(dtype, order="C")
    kernels.gru_slopes(gates, h_prev, dgates, reset_after)
    backward(W_hh, B, dtype)(None, dh_prev, gates, dgates)  # (4, 3, 2, 1)
    dW_hh = weights(gates, h_prev, dgates)
    return dgates[-3 * H :], dh_prev, dW_hh, sum_of_columns(dgates[:H]) if has_bias else None


def gru(
    a_xs,  # (T, 3H, B) W_ih x_t + b for every step
    h_0,  # (H, B)
    W_hh,  # (3H, H)
    b_hn=None,  # (H,)
    *,
    reset_after=True,
    probe=None,
    wanted=(True, True, True, True),
):
    """GRU over a sequence: ``hs (T, H, B)`` and ``h_T``; its pullback is backpropagation through time.

    What BPTT keeps of every step: r, z, n and the output, and with ``reset_after`` s_n too: ``4 * H * B`` numbers, or
    ``5 * H * B``.

    Parameters
    ----------
    reset_after : bool
        Whether the reset gate acts after the product with W_hn (PyTorch, cuDNN) or before it (Cho et al. 2014).
    probe : callable, optional
        Called as ``probe(name, t, array)`` at every step: ``"r", "z", "n", "h"`` forward; backward ``"dh"``, all that
        is asked of ``h_t``, and ``"da_r", "da_z", "da_n"``. The array is valid during the call only.
    wanted : tuple of bool
        Whose gradients are asked for.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or if there is a ``b_hn`` without ``reset_after``.
    """
    check_arguments(a_xs, h_0, W_hh, b_hn, reset_after, steps=a_xs.shape[:1])
    kernels, (T, _, B), H = kernels_of(a_xs), a_xs.shape, len(h_0)
    forward, kept = (forward_after, 4) if reset_after else (forward_before, 3)
    dtype = joint_dtype(a_xs, h_0, W_hh, b_hn)
    wanted = (*wanted[:3], b_hn is not None and wanted[3])
    saving = any(wanted)  # without, one set of gates serves all steps
    gates = kernels.empty((T if saving else 1, kept * H, B), dtype)
    hs = kernels.empty((T + 1, H, B), dtype)  # hs[t] enters step t, hs[t + 1] leaves it
    hs[0], a_xs = h_0, kernels.in_order(a_xs, dtype)
    step, b = forward(W_hh, B), columns(b_hn, B)
    plain = probe is None and reset_after  # then a device may take all steps in one launch
    kept = gates if saving else None
    done = plain and kernels.in_one_launch("gru", hs[1:], W_hh, a_xs, hs[0], b_hn=b_hn, gates=kept)
    for t in range(0 if done else T):
        now, h = gates[t if saving else 0], hs[t + 1]
        step(a_xs[t], hs[t], b, now, h)  # (1, 2, 3, 4)
        if probe is not None:
            show(probe, t, ("r", "z", "n", "h"), (now[:H], now[H : 2 * H], now[-H:], h))

    saved = (gates, hs, W_hh) if saving else None

    def gru_pullback(dhs, dh_T):
        if saved is None:
            return None, None, None, None
        gates, hs, W_hh = saved
        backward, weights = (backward_after, weights_after) if reset_after else (backward_before, weights_before)
        dtype = joint_dtype(gates, dhs, dh_T)
        dgates, dh = kernels.empty(gates.shape, dtype), dh_T.astype(dtype, order="C")
        da = dgates[:, -3 * H :]  # with reset_after its rows are ds_n da_r da_z da_n, else those of da alone
        dhs, back = kernels.in_order(dhs, dtype), backward(W_hh, B, dtype)

        def slopes(run):
            kernels.gru_slopes(gates[run], hs[:-1][run], dgates[run], reset_after)
            return gates[run], dgates[run]

        done = plain and kernels.in_one_launch("gru", dgates, W_hh, dhs, dh, back=True, gates=gates, states=hs)
        run = kernels.run(gates[:1].size)
        for t, gates_t, dgates_t in steps_back(0 if done else T, run, slopes):  # only here time runs backward
            if probe is not None:
                show(probe, t, ("dh",), (dh + dhs[t],))  # h_t is read twice
            back(dhs[t], dh, gates_t, dgates_t)  # (4, 3, 2, 1)
            if probe is not None:
                show(probe, t, ("da_r", "da_z", "da_n"), da[t].reshape(3, H, B))
        dW_hh = weights(gates, hs[:-1], dgates) if wanted[2] else None
        db_hn = sum_of_columns(dgates[:, :H]) if wanted[3] else None
        return da if wanted[0] else None, dh if wanted[1] else None, dW_hh, db_hn

    # the end is a copy: whoever carries it on would keep all steps in memory with a view
    return (hs[1:], hs[T].copy()), gru_pullback


def columns(b, B):
    """The bias as ``B`` equal columns, side by side in memory, which every step can add quickly; ``None`` stays."""
    return None if b is None else xp_of(b).broadcast_to(b.reshape(-1, 1), (len(b), B)).copy()


def check_arguments(a, h, W_hh, b_hn, reset_after, steps=()):
    """Refuses arrays that are not ``(*steps, 3H, B), (H, B), (3H, H), (H,)`` for one ``H`` and one ``B``."""
    H, B = h.shape if h.ndim == 2 else (-1, -1)  # which fits no shape
    bias = "" if b_hn is None else f", b_hn {b_hn.shape}"
    if a.shape != (*steps, 3 * H, B) or W_hh.shape != (3 * H, H) or (b_hn is not None and b_hn.shape != (H,)):
        raise ValueError(
            f"a GRU needs a ({'T, ' if steps else ''}3H, B), h (H, B), W_hh (3H, H) and, if any, b_hn (H,); "
            f"got a {a.shape}, h {h.shape}, W_hh {W_hh.shape}{bias}"
        )
    if b_hn is not None and not reset_after:
        raise ValueError(
            f"b_hn must be None with reset_after=False, where it would only be a bias in a_n; got b_hn {b_hn.shape}"
        )
