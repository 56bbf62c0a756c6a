"""The plain RNN with what goes wrong around a cell: clipping, truncation, and sequences of different lengths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minirnn.arrays import asarray, home_of, xp_of
from minirnn.testing.bug_zoo.common import BUT_LAST, Where, named, refuse_unknown

FAULTS = {
    "clip before accumulating": "Each step's part of dW_hh is clipped, not their sum: no longer linear in the loss, "
    "and right as long as all gradients are small.",
    "truncation window off by one": "The gradient is cut after the first step of a window instead of before it. "
    "Truncated gradients are not those of the loss, so a plain gradient check condemns the right ones, too; but they "
    "are those of the function in which the state that enters a window is a constant.",
    "padding leaks into the state": "Masked inputs are set to zero, and the state goes on: after the end of a sequence "
    "it wanders off. The backward pass follows it, so the gradient check is content. The padding is not: with more of "
    "it there is another final state.",
    "padding leaks into the gradient": "Forward stops at the end of each sequence, backward does not: what is asked of "
    "the final state wanders through steps that never were. Right if all sequences are equally long.",
}
PLACES = {
    "clip before accumulating": Where("W_hh"),
    "truncation window off by one": Where("a_xs", steps=BUT_LAST),
    "padding leaks into the state": Where("h_T", columns=(1, 2)),
    "padding leaks into the gradient": Where("a_xs", steps=slice(0, 3), columns=(1, 2)),
}


def rnn_with(fault: str = "") -> Callable:
    """An RNN rule ``(a_xs (T, H, B), h_0 (H, B), W_hh (H, H), *, lengths, window) -> (hs, h_T)`` with one mistake.

    ``lengths`` (B integers) are those of the sequences: past its end a column puts out zeros, and its final state is
    that at its end. ``window`` cuts the way back every so many steps. Without them nothing is padded and nothing cut.
    Parameters and errors are those of `lstm_with`.
    """
    refuse_unknown(fault, FAULTS)

    def rule(a_xs, h_0, W_hh, *, lengths=None, window=None):
        xp, (T, _, B), hs = xp_of(a_xs, h_0, W_hh), a_xs.shape, [h_0]
        ends, window = [T] * B if lengths is None else lengths, window or T
        real = asarray(np.arange(T).reshape(T, 1, 1) < np.asarray(ends), backend=home_of(a_xs))  # (T, 1, B)
        for t in range(T):
            if fault == "padding leaks into the state":
                hs.append(xp.tanh(a_xs[t] * real[t] + W_hh @ hs[t]))
            else:
                hs.append(xp.where(real[t], xp.tanh(a_xs[t] + W_hh @ hs[t]), hs[t]))

        def rule_pullback(dhs, dh_T):
            dh, da_xs, dW_hh = dh_T, xp.zeros_like(a_xs), xp.zeros_like(W_hh)
            for t in reversed(range(T)):
                dh = dh + dhs[t] * real[t]

                # h_t = tanh(a + W_hh h_prev), or h_prev where there is no step
                da = dh * (1 - hs[t + 1] ** 2)
                if fault not in ("padding leaks into the gradient", "padding leaks into the state"):
                    da = xp.where(real[t], da, 0)
                    dh = xp.where(real[t], W_hh.T @ da, dh)
                else:
                    dh = W_hh.T @ da
                da_xs[t] = da * real[t]
                part = da @ hs[t].T
                dW_hh += part.clip(-1, 1) if fault == "clip before accumulating" else part

                # a window's first state is a constant, but for h_0
                first = 1 if fault == "truncation window off by one" else 0
                if t > first and t % window == first:
                    dh = xp.zeros_like(dh)
            return da_xs, dh, dW_hh

        return (xp.stack(hs[1:]) * real, hs[T]), rule_pullback

    return named(rule, fault, FAULTS, "The right RNN, step by step.")
