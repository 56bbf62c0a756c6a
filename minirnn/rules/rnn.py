"""The plain recurrent network (Elman 1990), forward and backward: backpropagation through time and nothing else.

The problem. A recurrent network takes the same step again and again, each time from the state in which the step before
left it. With a_xs[t] = W_ih x_t + b already computed (it does not depend on the state), step t is

    a_t = a_xs[t] + W_hh h_prev         h_prev: as step t - 1 left it; at the first step, the given h_0         (1)
    h_t = tanh(a_t)  or  relu(a_t)                                                                              (2)

The loss may look at every h_t. It depends on W_hh through each of its T uses, and on h_t through all steps that follow.
What is its gradient?

The answer. Written out step after step, here for T = 3, the loop is a graph without cycles, and the chain rule does for
it what it does for any other:

                a_xs[0]       a_xs[1]       a_xs[2]
                   |             |             |
    h_0 -------> step 0 --+--> step 1 --+--> step 2 --+--> h_T       every step reads the same W_hh
                          |             |             |
                        hs[0]         hs[1]         hs[2]            to the loss, or to a layer above

On the way back all arrows are turned round. Two things are particular to such a graph, and both are sums: h_t has two
readers, so dh, all that is asked of it, has two parts (+); and W_hh has T readers, so dW_hh has T parts.

               da_xs[0]      da_xs[1]      da_xs[2]
                   |             |             |
    dh_0 <------ step 0 <-(+)- step 1 <-(+)- step 2 <-(+)- dh_T      every step adds its part to dW_hh
                           |             |             |
                        dhs[0]        dhs[1]        dhs[2]           from the loss, or from a layer above

So time runs backward, from the last step to the first. Every line undoes the line whose number it bears, and what step
t sends back as dh_prev is what step t - 1 receives from the future (the last step receives dh_T):

    dh = dhs[t] + dh_prev of step t + 1          the two readers of h_t
    da = dh * (1 - h_t**2)  or  dh * (h_t > 0)   the slope, told from the output                                (2)
    dh_prev = W_hh.T da                          what goes on to step t - 1                                     (1)
    dW_hh = sum over t of da_t h_prev.T          what stays: a part from each step                              (1)

This is backpropagation through time, all of it (Werbos 1990). The other cells have longer steps and the same loop. Here
it is as a program, before anything is made fast; columns are the sequences of the batch:

    >>> import numpy as np
    >>> def plain_rnn(a_xs, h_0, W_hh):  # (T, H, B), (H, B), (H, H)
    ...     hs = [h_0]  # hs[t] enters step t, hs[t + 1] leaves it
    ...     for a_x in a_xs:
    ...         hs.append(np.tanh(a_x + W_hh @ hs[-1]))  # (1, 2)
    ...
    ...     def plain_rnn_pullback(dhs, dh_T):  # (T, H, B), (H, B)
    ...         da_xs, dW_hh, dh = np.empty_like(a_xs), np.zeros_like(W_hh), dh_T
    ...         for t in reversed(range(len(a_xs))):
    ...             dh = dhs[t] + dh  # the two readers
    ...             da_xs[t] = dh * (1 - hs[t + 1] ** 2)  # (2)
    ...             dW_hh += da_xs[t] @ hs[t].T  # (1), the sum over the batch is in the product
    ...             dh = W_hh.T @ da_xs[t]  # (1)
    ...         return da_xs, dh, dW_hh
    ...
    ...     return (np.stack(hs[1:]), hs[-1]), plain_rnn_pullback

What it costs. The slope, of tanh or relu, follows from the output alone, so BPTT keeps nothing of a step but h_t, which
is returned anyway. And da_xs is all that the layer below needs: dW_ih, db and dx are those of an ordinary affine map,
computed for all steps at once (``linear.py``).

Why it forgets. Let J_t be the Jacobian of step t, the derivative of h_t with respect to h_prev. The way back over one
step multiplies the cotangent by its transpose, and over k steps by a product of k of them:

    J_t = diag(slope_t) W_hh                     dh_prev = J_t.T dh = W_hh.T (slope_t * dh)
    k steps back from t                          J_{t-k+1}.T ... J_{t-1}.T J_t.T dh

The matrix is the same in all of them, and no slope of tanh or relu exceeds one. So k steps stretch no cotangent by more
than sigma**k, sigma the largest singular value of W_hh: below one the cotangent vanishes exponentially, above one it
may explode (Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013). dW_hh does not vanish with it, for the parts of
the last steps are always there. What is missing in the sum are the parts of steps long ago: from them nothing is
learned. The gates of ``lstm.py`` and ``gru.py`` open a way back that does not lead through W_hh.

How it is fast. The rule below is the same program, with three changes. The slopes depend on no cotangent, so they are
computed for a run of steps at once, and written to where da will stand. The loop is left with a sum, an elementwise
product and a matrix product per step (``kernels/rnn.py``). And all parts of dW_hh are one large product after the loop.

    >>> rng = np.random.default_rng(0)
    >>> arguments = rng.normal(size=(7, 4, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 4))
    >>> (hs, h_T), pullback = rnn(*arguments)
    >>> _, plain_pullback = plain_rnn(*arguments)
    >>> [bool(np.allclose(dx, dy)) for dx, dy in zip(pullback(hs, h_T), plain_pullback(hs, h_T))]
    [True, True, True]
"""

from __future__ import annotations

from minirnn.arrays import joint_dtype, xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.linear import sum_of_products
from minirnn.rules.recurrence import show, steps_back


def rnn_step(
    a,  # (H, B) input part of the pre-activations, W_ih x_t + b
    h_prev,  # (H, B)
    W_hh,  # (H, H)
    *,
    nonlinearity="tanh",
):
    """One step: the new state ``h_t (H, B)``; its pullback is one step of BPTT.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or if ``nonlinearity`` is neither ``"tanh"`` nor ``"relu"``.
    """
    check_arguments(a, h_prev, W_hh, nonlinearity)
    xp_of(a, h_prev, W_hh)  # refuses arrays of two homes
    h = (W_hh @ h_prev).astype(joint_dtype(a, h_prev, W_hh), copy=False)
    kernels_of(a).rnn_activate(a, h, nonlinearity)  # (1, 2)

    def rnn_step_pullback(dh):
        return rnn_step_back(h, h_prev, W_hh, nonlinearity, dh)

    return h, rnn_step_pullback


def rnn_step_back(h, h_prev, W_hh, nonlinearity, dh):
    """The pullback of `rnn_step`, from what that has computed: the cotangents of a, h_prev and W_hh."""
    xp, kernels = xp_of(W_hh), kernels_of(W_hh)
    da = xp.empty(h.shape, joint_dtype(h, dh))
    kernels.rnn_slopes(h, da, nonlinearity)
    da *= dh  # (2)
    return da, W_hh.T @ da, da @ h_prev.T  # (1)


def rnn(
    a_xs,  # (T, H, B) W_ih x_t + b for every step
    h_0,  # (H, B)
    W_hh,  # (H, H)
    *,
    nonlinearity="tanh",
    probe=None,
    wanted=(True, True, True),
):
    """RNN over a sequence: ``hs (T, H, B)`` and ``h_T``; its pullback is backpropagation through time.

    What BPTT keeps of every step: its output, ``H * B`` numbers, the very memory of ``hs``.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu"}
        Relu has the derivative 0 at its kink.
    probe : callable, optional
        Called as ``probe(name, t, array)`` at every step: ``"h"`` forward; backward ``"dh"``, all that is asked of
        ``h_t``, and ``"da"``. The array is valid during the call only.
    wanted : tuple of bool
        Whose gradients are asked for.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or if ``nonlinearity`` is neither of the two.
    """
    check_arguments(a_xs, h_0, W_hh, nonlinearity, steps=a_xs.shape[:1])
    kernels, (T, H, B) = kernels_of(a_xs), a_xs.shape
    dtype = joint_dtype(a_xs, h_0, W_hh)
    hs = kernels.empty((T + 1, H, B), dtype)  # hs[t] enters step t, hs[t + 1] leaves it
    hs[0], a_xs = h_0, kernels.in_order(a_xs, dtype)
    recur = kernels.product(W_hh, B)  # writes W_hh h; the matrix is cut up once for T products of B columns
    plain = probe is None and nonlinearity == "tanh"  # then a device may take all steps in one launch
    done = plain and kernels.in_one_launch("rnn", hs[1:], W_hh, a_xs, hs[0])
    for t in range(0 if done else T):
        h = recur(hs[t], hs[t + 1])  # h is hs[t + 1]: W_hh h_prev first, then h_t
        kernels.rnn_activate(a_xs[t], h, nonlinearity)  # (1, 2)
        if probe is not None:
            show(probe, t, ("h",), (h,))

    saved = (hs, W_hh) if any(wanted) else None

    def rnn_pullback(dhs, dh_T):
        if saved is None:
            return None, None, None
        hs, W_hh = saved
        dtype = joint_dtype(hs, dhs, dh_T)
        da, dh = kernels.empty((T, H, B), dtype), dh_T.astype(dtype, order="C")
        dhs, recur_back = kernels.in_order(dhs, dtype), kernels.product(W_hh.T, B)

        def slopes(run):
            kernels.rnn_slopes(hs[1:][run], da[run], nonlinearity)
            return (da[run],)

        # da_t holds the slope of its step until dh meets it; here, and only here, time runs backward
        done = plain and kernels.in_one_launch("rnn", da, W_hh, dhs, dh, back=True, states=hs)
        for t, da_t in steps_back(0 if done else T, kernels.run(H * B), slopes):
            kernels.rnn_back(dhs[t], dh, da_t)  # (2)
            if probe is not None:
                show(probe, t, ("dh", "da"), (dh, da_t))
            recur_back(da_t, dh)  # (1)
        dW_hh = sum_of_products(da, hs[:-1]) if wanted[2] else None  # (1) one product over all steps
        return da if wanted[0] else None, dh if wanted[1] else None, dW_hh

    # the end is a copy: whoever carries it on would keep all steps in memory with a view
    return (hs[1:], hs[T].copy()), rnn_pullback


def check_arguments(a, h, W_hh, nonlinearity, steps=()):
    """Refuses arrays that are not ``(*steps, H, B), (H, B), (H, H)`` for one ``H`` and one ``B``, and other names."""
    H, B = h.shape if h.ndim == 2 else (-1, -1)  # which fits no shape
    if a.shape != (*steps, H, B) or W_hh.shape != (H, H):
        raise ValueError(
            f"an RNN needs a ({'T, ' if steps else ''}H, B), h (H, B) and W_hh (H, H); "
            f"got a {a.shape}, h {h.shape}, W_hh {W_hh.shape}"
        )
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
