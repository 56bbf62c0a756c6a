"""The plain recurrent network (Elman 1990), there and back in time: backpropagation through time and nothing else.

The problem. A recurrent network takes one step again and again, each time from the state in which the last one left it.
With a_xs[t] = W_ih x_t + b already given (it is not recurrent), a step is

    a_t = a_xs[t] + W_hh h_prev                  h_prev is h_{t-1}, before the first step h_0     (1)
    h_t = tanh(a_t)  or  relu(a_t)                                                                (2)

A loss that looks at the h_t, at some or at all, depends on W_hh through each of its T uses, and on h_t through all that
comes after. How does it change with either?

The answer. Written out step after step the loop is a loop no more but a chain of 2 T functions, and the chain rule does
for it what it does for any chain. Only two things are particular to it:

    h_t is read twice, by the loss and by step t + 1, so dh, all that is asked of it, is a sum of two;
    W_hh is read T times, so dW_hh is a sum of T parts, one from each step.

So time runs backward, from the last step to the first. What step t + 1 sends back is its dh_prev (for the last step it
is dh_T, what is asked of the end by whoever goes on from there), and every line undoes the line whose number it bears:

    dh = dhs[t] + dh_prev of step t + 1          the two readers of h_t
    da = dh * (1 - h_t**2)  or  dh * (h_t > 0)                                                    (2)
    dh_prev = W_hh.T da,                         dW_hh = sum over t of da_t h_prev.T              (1)

This is backpropagation through time, all of it (Werbos 1990). The other cells have longer steps, and the same loop.

What it costs. Either slope can be told from the output, so BPTT keeps of a step nothing but h_t, which is returned
anyway. And da_xs, the gradients of the pre-activations, are all that the layer below needs: dW_ih, db and dx are those
of an ordinary affine map over all steps at once.

Why it forgets. From h_T back to h_t the cotangent passes T - t times through W_hh.T diag(slope). A product of so many
like factors vanishes or explodes with their number (Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013), and
no slope of a tanh exceeds one. The gates in ``lstm.py`` and ``gru.py`` are made to give the way back other factors.

How it is fast. The slopes hold no cotangent: they are written for a run of steps at once to where da will stand, and
the loop is left with a sum, a product of numbers and a matrix product per step. All parts of dW_hh are one product.
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
    """What is asked of the arguments of `rnn_step`, by what it has found."""
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
    recur = kernels.product(W_hh, B)  # h -> W_hh h, with the matrix cut up once for T products of B columns
    plain = probe is None and nonlinearity == "tanh"  # then a device may take all steps in one launch
    done = plain and kernels.in_one_launch("rnn", hs[1:], W_hh, a_xs, hs[0])
    for t in range(0 if done else T):
        h = recur(hs[t], hs[t + 1])
        kernels.rnn_activate(a_xs[t], h, nonlinearity)  # (1, 2)
        if probe is not None:
            probe("h", t, h)

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
