"""What combinators stand for, written without them: functions that only run forward, and leave the rest to numbers.

A function here takes ``(*sequences, *states, *weights)`` and returns ``(ys, *ends)``. None has a pullback: its gradient
is made entry by entry, by complex step. A number that is held constant is then one that drops its imaginary part, and
one whose gradient is to be multiplied has that part multiplied. `clipped` alone is the gradient of no function, and is
BPTT in ten lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minirnn.checking.differences import COMPLEX_STEP

Run = Callable[..., tuple]


def gradients_by_numbers(run: Run, inputs: Sequence, cotangents: Sequence) -> list[np.ndarray | None]:
    """The gradient of ``sum_k <c_k, output_k>`` for every argument, entry by entry; ``None`` for what is no float."""

    def of(k: int, x: np.ndarray) -> np.ndarray:
        gradient, moved = np.empty(x.shape), x.astype(complex)
        for entry in np.ndindex(x.shape):
            moved[entry] += 1j * COMPLEX_STEP
            outputs = run(*inputs[:k], moved, *inputs[k + 1 :])
            gradient[entry] = sum((c * y).sum() for c, y in zip(cotangents, outputs, strict=True)).imag / COMPLEX_STEP
            moved[entry] = x[entry]
        return gradient

    return [None if x is None or x.dtype.kind != "f" else of(k, x) for k, x in enumerate(inputs)]


def plain(rule: Callable, **static: Any) -> Run:
    """The outputs of a rule."""
    return lambda *arguments: rule(*arguments, **static)[0]


def projecting_first(run: Run, states: int) -> Run:
    def projected(xs: Any, *others: Any) -> tuple:
        first, (W_ih, b), weights = others[:states], others[states : states + 2], others[states + 2 :]
        a_xs = W_ih @ xs if b is None else W_ih @ xs + b[:, None]
        return run(a_xs, *first, *weights)

    return projected


def looking_up_first(run: Run, states: int) -> Run:
    def looked_up(ids: Any, *others: Any) -> tuple:
        first, table, weights = others[:states], others[states], others[states + 1 :]
        return run(np.stack([table[:, now] for now in ids]), *first, *weights)

    return looked_up


def step_by_step(step: Callable, sequences: int, states: int) -> Run:
    """A step rule in a loop; ``step`` returns its new states alone, always as a tuple."""

    def chain(*arguments: Any) -> tuple:
        xs, hs, weights = arguments[:sequences], arguments[sequences:][:states], arguments[sequences + states :]
        ys = []
        for inputs in zip(*xs, strict=True):
            hs = step(*inputs, *hs, *weights)
            ys.append(hs[0])
        return np.stack(ys), *hs

    return chain


def attending(step: Callable, inputs: int, states: int, scale: float = 1.0) -> Run:
    """A step rule in a loop, as above, that looks into its memory after every step, and is fed what it found."""

    def decoder(a_xs: Any, *others: Any) -> tuple:
        xs, (fed, *hs), others = others[:inputs], others[inputs:][: 1 + states], others[inputs + 1 + states :]
        (keys, values, mask, W_fed, W_query, v, W_out), weights = others[:7], others[7:]
        feds, tops, looks = [], [], []
        for a, *more in zip(a_xs, *xs, strict=True):
            hs = step(a + W_fed @ fed, *more, *hs, *weights)
            q = hs[0] if W_query is None else W_query @ hs[0]
            scores = (scale * keys * q if v is None else v[:, None] * np.tanh(keys + q)).sum(axis=1)
            e = np.exp(scores if mask is None else np.where(mask, scores, -1e4))
            looks.append(e / e.sum(axis=0))
            context = (looks[-1][:, None] * values).sum(axis=0)
            fed = context if W_out is None else np.tanh(W_out @ np.concatenate([context, hs[0]]))
            feds.append(fed)
            tops.append(hs[0])
        return np.stack(feds), np.stack(tops), np.stack(looks), fed, *hs

    return decoder


def backwards(run: Run) -> Run:
    """The first argument flipped, and the first output."""

    def flipped(xs: Any, *others: Any) -> tuple:
        ys, *ends = run(xs[::-1], *others)
        return ys[::-1], *ends

    return flipped


def valid_part_backwards(run: Run, lengths: Sequence[int]) -> Run:
    """Of the first argument and the first output the valid part of each column flipped; padding stays."""

    def flipped_in_part(xs: Any, *others: Any) -> tuple:
        ys, *ends = run(turned(xs), *others)
        return turned(ys), *ends

    def turned(xs: Any) -> Any:
        columns = [np.concatenate([xs[:n, ..., b][::-1], xs[n:, ..., b]]) for b, n in enumerate(lengths)]
        return np.stack(columns, axis=-1)

    return flipped_in_part


def column_by_column(run: Run, lengths: Sequence[int], states: int) -> Run:
    """Every column of the batch by itself, without its padding."""

    def apart(xs: Any, *others: Any) -> tuple:
        found = []
        for b, n in enumerate(lengths):
            own = [h[..., b : b + 1] for h in others[:states]]
            ys, *ends = run(xs[:n, ..., b : b + 1], *own, *others[states:]) if n else (own[0][None], *own)
            padding = np.zeros((len(xs) - n, *ends[0].shape))
            found.append((np.concatenate([ys[:n].reshape(n, *ends[0].shape), padding]), *ends))
        return tuple(np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))

    return apart


def truncated(run: Run, window: int, back: int, states: int) -> Run:
    """The states that enter every stretch of ``back`` steps are constants."""

    def with_frozen_states(xs: Any, *others: Any) -> tuple:
        entering, weights, ys = {0: others[:states]}, others[states:], []
        for start in range(0, len(xs), window):
            since = max(0, start + window - back)
            y, *ends = run(xs[since : start + window], *entering[since], *weights)
            entering[start + window] = tuple(h.real for h in ends)
            ys.append(y[start - since :])
        return np.concatenate(ys), *ends  # of the last stretch

    return with_frozen_states


def with_borders(run: Run, window: int, factors: Mapping[int, float], states: int) -> Run:
    """The state h that enters step t is ``const + factors[t] * (h - const)``."""

    def in_windows(xs: Any, *others: Any) -> tuple:
        hs, weights, ys = list(others[:states]), others[states:], []
        for t in range(0, len(xs), window):
            entering = [h.real + factors.get(t, 1) * 1j * h.imag for h in hs]
            y, *hs = run(xs[t : t + window], *(entering if t else hs), *weights)
            ys.append(y)
        return np.concatenate(ys), *hs

    return in_windows


def clipped(rule: Callable, inputs: Sequence, given: Sequence, max_norm: float, every: int, states: int) -> list:
    """The gradients of BPTT over windows, the cotangent of a column's states clipped between one and the one before."""
    xs, hs, weights = inputs[0], inputs[1 : 1 + states], inputs[1 + states :]
    pullbacks, dxs, dweights, (dys, *dends) = [], np.zeros_like(xs), [np.zeros_like(w) for w in weights], given
    for t in range(0, len(xs), every):
        (_, *hs), pullback = rule(xs[t : t + every], *hs, *weights)
        pullbacks.append((t, pullback))
    for t, pullback in reversed(pullbacks):
        if t + every < len(xs):  # at the end of the sequence there is no border
            norms = np.sqrt(sum((d**2).reshape(-1, d.shape[-1]).sum(axis=0) for d in dends))
            dends = [d * np.minimum(1, max_norm / norms) for d in dends]
        dxs[t : t + every], *others = pullback(dys[t : t + every], *dends)
        dends = others[:states]
        dweights = [total + d for total, d in zip(dweights, others[states:], strict=False)]
    return [dxs, *dends, *dweights]
