"""Rules and steps written by hand, for what those of the library do not show: they are not asked what is wanted, have
inputs without a gradient, count their steps, learn from influences, or say how many workers there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from minirnn import rules
from minirnn.arrays import xp_of
from minirnn.workers import one_blas_thread, use_workers


def leaky_step(a, keep, h_prev, W_hh):
    """A step with two inputs, the second of which takes no gradient."""
    h, step_pullback = rules.rnn_step(a, h_prev, W_hh)

    def leaky_step_pullback(dh):
        da, dh_prev, dW_hh = step_pullback(dh * ~keep)
        return da, None, dh_prev + dh * keep, dW_hh

    return keep * h_prev + ~keep * h, leaky_step_pullback


def forgetful_step(a, h_prev):
    """A step whose pullback keeps nothing."""
    return a + h_prev, lambda dh: (dh, dh)


def leaky_sum(xs, h_0, w):
    """``h_t = w h_{t-1} + x_t``, a sequence rule that is not asked what is wanted."""
    hs = [h_0]
    for x in xs:
        hs.append(w[..., None] * hs[-1] + x)

    def leaky_sum_pullback(dys, dh):
        dw = xp_of(w).zeros_like(w)
        dxs: list = []
        for t in reversed(range(len(xs))):
            dh = dh + dys[t]
            dxs.insert(0, dh)
            dw = dw + (dh * hs[t]).sum(axis=-1)
            dh = w[..., None] * dh
        return xp_of(dys).stack(dxs) if len(xs) else dys, dh, dw

    ys = xp_of(xs).stack(hs[1:]) if len(xs) else xs[:0]
    return (ys, hs[-1]), leaky_sum_pullback


def leaky_sum_of_all(xs, h_0, w, *, lengths=None):
    """The same for one who is told lengths, and sums up padding all the same."""
    return leaky_sum(xs, h_0, w)


def leaky_sum_shown(xs, h_0, w, *, probe=None):
    """The same with a probe that is shown the states."""
    outputs, leaky_sum_pullback = leaky_sum(xs, h_0, w)
    for t, h in enumerate(outputs[0] if probe else ()):
        probe("h", t, h)
    return outputs, leaky_sum_pullback


def counting(a_xs, h_0, W_hh, *, first=0, wanted=(True,) * 3):
    """An RNN whose step number ``first + t`` weighs its input."""
    weights = 1 / (1.5 + first + xp_of(a_xs).arange(len(a_xs), dtype=a_xs.dtype))[:, None, None]
    outputs, rnn_pullback = rules.rnn(weights * a_xs, h_0, W_hh, wanted=wanted)

    def counting_pullback(*cotangents):
        da_xs, *others = rnn_pullback(*cotangents)
        return None if da_xs is None else weights * da_xs, *others

    return outputs, counting_pullback


def learner(influences: Callable, rule: Callable, states: int) -> Callable:
    """``projected(rule)``, its gradients gathered from what `influences` says after every step."""

    def learning(xs, *others):
        names = [*(["h_0", "c_0"][:states]), "W_ih", "b", "W_hh"]
        first, (W_ih, b), weights = others[:states], others[states : states + 2], others[states + 2 :]
        given = set(names) - ({"b"} if b is None else set())
        told = list(influences(rule, xs, *first, *weights, of={"a_xs", *given}, W_ih=W_ih, b=b))
        unasked = influences(rule, xs, *first, *weights, of=(), W_ih=W_ih, b=b)

        def learning_pullback(dys, *dends):
            found: dict = {}
            for by, cotangents in [*((by, (dy,)) for (_, by), dy in zip(told, dys, strict=True)), (told[-1][1], dends)]:
                for name, influence in by.items():
                    axes = (-2, -1) if name in names[states:] else (-2,)
                    asked = sum((dot * d).sum(axis=axes) for dot, d in zip(influence, cotangents, strict=False))
                    found[name] = found.get(name, 0) + asked
            return xp_of(xs).stack([W_ih.T @ found[t] for t in range(len(xs))]), *(found.get(name) for name in names)

        return (xp_of(xs).stack([hs[0] for hs, _ in unasked]), *told[-1][0]), learning_pullback

    return learning


def with_workers(number: int | str, rule: Callable) -> Callable:
    """The rule with so many workers, there and back, as the tape runs it: on a BLAS of one thread."""

    @wraps(rule)
    def worked(*arguments: Any, **static: Any) -> tuple[Any, Callable]:
        with use_workers(number), one_blas_thread():
            output, pullback = rule(*arguments, **static)

        def worked_pullback(*cotangents: Any) -> tuple:
            with use_workers(number), one_blas_thread():
                return pullback(*cotangents)

        return output, worked_pullback

    return worked
