"""Sequences run backwards, and batches of sequences that end at different times."""

from __future__ import annotations

from numbers import Integral

from minirnn.arrays import xp_of
from minirnn.rules.combinators.form import Gradients, form_of, named, outline, positional, selective
from minirnn.rules.combinators.observing import elsewhere


def reverse(rule):
    """The rule run from the last step to the first; outputs stand where their inputs stand.

    Parameters
    ----------
    rule : sequence rule
        With the static keyword ``lengths`` (see `ragged`), it is the valid part of each sequence that is reversed: the
        last real step comes first, and padding stays where it is.

    Returns
    -------
    sequence rule
        Of the same signature. Its ends are the states after what is the first step in time.
    """
    rule, form = selective(rule), form_of(rule)

    def reversed_rule(*arguments, wanted=None, **static):
        xs, states, weights = form.split(arguments)
        lengths, T = static.get("lengths"), len(xs[0])
        if static.get("probe") is not None and lengths is None:
            static = {**static, "probe": elsewhere(static["probe"], lambda t: T - 1 - t)}
        turned = [turn(x, lengths) for x in xs]
        wanted = wanted or (True,) * len(arguments)
        (ys, *ends), pullback = rule(*turned, *states, *weights, wanted=wanted, **static)

        def reversed_pullback(dys, *dends):
            dxs, dstates, dweights = form.split(pullback(turn(dys, lengths), *dends))
            return *(dx if dx is None else turn(dx, lengths) for dx in dxs), *dstates, *dweights

        return (turn(ys, lengths), *ends), reversed_pullback

    return named(reversed_rule, f"reverse({rule.__name__})", positional(rule), rule)


def turn(
    xs,  # (T, ..., B)
    lengths=None,  # (B,)
):
    """The steps in reverse order: of every column the first ``lengths[b]``, all without it. Turned twice it is itself.

    Examples
    --------
    >>> import numpy as np
    >>> turn(np.array([[1, 4], [2, 5], [3, 6]]), lengths=[3, 2]).tolist()
    [[3, 5], [2, 4], [1, 6]]
    """
    if lengths is None:
        return xs[::-1]
    xp, T, B = xp_of(xs), len(xs), xs.shape[-1]
    steps, ends = xp.arange(T).reshape(T, 1), xp.asarray(lengths).reshape(1, B)
    source = xp.where(steps < ends, ends - 1 - steps, steps)  # (T, B): the step that comes to stand here
    return xp.take_along_axis(xs, source.reshape(T, *(1,) * (xs.ndim - 2), B), axis=0)


def ragged(rule):
    """The rule for columns of different lengths: exactly what each would give by itself, without its padding.

    The steps are cut into runs in which no column ends. Each run is a smaller dense batch of the columns that still go
    on, so nothing is computed for padding, and nothing has to be masked: what is never read cannot leak.

    Parameters
    ----------
    rule : sequence rule

    Returns
    -------
    sequence rule
        With one more static keyword, ``lengths``: how many steps of each column are real, ``B`` integers from 0 to T on
        the host. Outputs past the end are zero, ends are the states at each column's own end, and gradients of padding
        are zero. Without ``lengths`` it is ``rule``.

    Raises
    ------
    ValueError
        If lengths are not B integers from 0 to T.
    """
    rule, form = selective(rule), form_of(rule)

    def ragged_rule(*arguments, lengths=None, wanted=None, **static):
        wanted = wanted or (True,) * len(arguments)
        xs, states, weights = form.split(arguments)
        T, B = len(xs[0]), states[0].shape[-1]
        if lengths is None or min(valid(lengths, T, B), default=T) == T:
            return rule(*arguments, wanted=wanted, **static)
        inside = (*wanted[: form.sequences], *(any(wanted),) * form.states, *wanted[sum(form) :])
        xp, ends, ys, runs = xp_of(*arguments), states, None, []
        for now, columns in _runs(lengths, xp):
            there = (*(x[now][..., columns] for x in xs), *(h[..., columns] for h in ends))
            seen = _static_of_columns(static, now, columns, B)
            (ys_now, *ends_now), pullback = rule(*there, *weights, wanted=inside if runs else wanted, **seen)
            if any(wanted):
                runs.append((now, columns, pullback))
            ends = [_written(h, columns, h_now) for h, h_now in zip(ends, ends_now, strict=True)]
            ys = xp.zeros((T, *ys_now.shape[1:-1], B), ys_now.dtype) if ys is None else ys
            ys[now][..., columns] = ys_now
        ys = xp.zeros((T, *states[0].shape), states[0].dtype) if ys is None else ys
        asked = outline(arguments, wanted)

        def ragged_pullback(dys, *dends):
            gathered = Gradients(form, asked, xp)
            for now, columns, pullback in reversed(runs):
                gradients = pullback(dys[now][..., columns], *(d[..., columns] for d in dends))
                dstates = gathered.put((now, ..., columns), gradients)
                dends = [d if new is None else _written(d, columns, new) for d, new in zip(dends, dstates, strict=True)]
            return gathered.entries(dends)

        return (ys, *ends), ragged_pullback

    return named(ragged_rule, f"ragged({rule.__name__})", positional(rule), rule, lengths=None)


def valid(lengths, T, B):
    """The lengths, if they are B integers from 0 to T.

    Raises
    ------
    ValueError
    """
    if len(lengths) != B or not all(isinstance(n, Integral) and 0 <= n <= T for n in lengths):
        raise ValueError(f"lengths must be {B} integers from 0 to {T}, got {lengths}")
    return lengths


def _runs(lengths, xp):
    """The runs of steps in which no column ends: their steps, and an index of the columns that go on."""
    start = 0
    for stop in sorted(set(lengths) - {0}):
        columns = [b for b, n in enumerate(lengths) if n > start]
        in_front = columns == list(range(len(columns)))  # sorted by length, say: a view will do
        yield slice(start, stop), slice(len(columns)) if in_front else xp.asarray(columns)
        start = stop


def _written(whole, columns, part):
    """A copy of ``whole`` with other columns."""
    whole = whole.astype(part.dtype)
    whole[..., columns] = part
    return whole


def _static_of_columns(static, now, columns, B):
    """The static arguments as a run has to see them: a probe is shown all columns, those that ended as zeros."""
    probe = static.get("probe")
    if probe is None:
        return static

    def of_all_columns(name, t, array):
        whole = xp_of(array).zeros((*array.shape[:-1], B), array.dtype)
        whole[..., columns] = array
        probe(name, t + now.start, whole)

    return {**static, "probe": of_all_columns}
