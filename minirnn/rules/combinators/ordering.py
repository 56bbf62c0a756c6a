"""Sequences run backwards, and batches of sequences that end at different times."""

from __future__ import annotations

from inspect import signature

from minirnn.arrays import xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.combinators.asking import Gradients, outline, selective
from minirnn.rules.combinators.form import checked_lengths, form_of, named, part_of, positional, refuse_inside
from minirnn.rules.recurrence import show


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

    def reversed_rule(*arguments, wanted, **static):
        xs, states, weights = form.split(arguments)
        static, lengths = checked_lengths(static, xs, states)
        shown = static.get("probe") and _Collected(static["probe"])
        if shown:
            static["probe"] = shown
        turned = [turn(x, lengths) for x in xs]
        (ys, *ends), pullback = rule(*turned, *states, *weights, wanted=wanted, **static)
        if shown:
            shown.turned(len(ys), lengths)

        def reversed_pullback(dys, *dends):
            dxs, dstates, dweights = form.split(pullback(turn(dys, lengths), *dends))
            if shown:
                shown.turned(len(dys), lengths)
            return *(dx if dx is None else turn(dx, lengths) for dx in dxs), *dstates, *dweights

        return (turn(ys, lengths), *ends), reversed_pullback

    return named("reverse", reversed_rule, positional(rule), rule)


def turn(xs, lengths=None):
    """The steps ``(T, ..., B)`` in reverse order: of every column the first ``lengths[b]``, all without it."""
    return xs[::-1] if lengths is None else kernels_of(xs).turn(xs, lengths)


class _Collected:
    """A probe that keeps what a reversed rule shows, until all steps are there and can be turned for another probe."""

    def __init__(self, probe):
        self.probe, self.seen = probe, {}

    def __call__(self, name, t, array):
        self.seen.setdefault(name, {})[t] = array.copy()

    def turned(self, T, lengths):
        for name, steps in self.seen.items():
            one = next(iter(steps.values()))
            whole = xp_of(one).zeros((T, *one.shape), one.dtype)
            for t, array in steps.items():
                whole[t] = array
            for t, array in enumerate(turn(whole, lengths)):
                show(self.probe, t, (name,), (array,))
        self.seen.clear()


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
    TypeError
        If the rule is reversed or cut already: write ``reverse(truncate(ragged(rule), 20))``.
    ValueError
        When called, if lengths are not B integers from 0 to T.
    """
    backwards = "sequences of different lengths do not end together"
    cut = "borders would be counted anew wherever a sequence ends"
    refuse_inside("ragged", rule, reverse=backwards, truncate=cut, truncate_randomly=cut, clip_through_time=cut)
    rule, form = selective(rule), form_of(rule)
    takes_first = "first" in signature(rule).parameters

    def ragged_rule(*arguments, lengths=None, wanted, **static):
        xs, states, weights = form.split(arguments)
        _, lengths = checked_lengths({"lengths": lengths}, xs, states)
        T, B = len(xs[0]), xs[0].shape[-1]
        if lengths is None or min(lengths, default=T) == T:
            return rule(*arguments, wanted=wanted, **static)
        xp, ends, ys, runs = xp_of(*arguments), states, None, []
        for now, columns in _runs(lengths, xp):
            there = (*(x[now][..., columns] for x in xs), *(h[..., columns] for h in ends))
            seen = _of_columns(part_of(static, now, takes_first), columns, B)
            asked = form.with_states(wanted) if runs else wanted
            (ys_now, *ends_now), pullback = rule(*there, *weights, wanted=asked, **seen)
            if any(wanted):
                runs.append((now, columns, pullback))
            ends = [_written(h, columns, h_now) for h, h_now in zip(ends, ends_now, strict=True)]
            ys = xp.zeros((T, *ys_now.shape[1:-1], B), ys_now.dtype) if ys is None else ys
            ys[now][..., columns] = ys_now
        ys = xp.zeros((T, *states[0].shape), states[0].dtype) if ys is None else ys
        shapes = outline(arguments, wanted)

        def ragged_pullback(dys, *dends):
            gathered = Gradients(form, shapes, xp)
            for now, columns, pullback in reversed(runs):
                gradients = pullback(dys[now][..., columns], *(d[..., columns] for d in dends))
                dstates = gathered.put((now, ..., columns), gradients)
                dends = [d if new is None else _written(d, columns, new) for d, new in zip(dends, dstates, strict=True)]
            return gathered.entries(dends)

        return (ys, *ends), ragged_pullback

    return named("ragged", ragged_rule, positional(rule), rule, lengths=None)


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


def _of_columns(static, columns, B):
    """The static arguments as some columns have to see them: a probe is shown all, those that ended as zeros."""
    probe = static.get("probe")
    if probe is None:
        return static

    def of_all_columns(name, t, array):
        whole = xp_of(array).zeros((*array.shape[:-1], B), array.dtype)
        whole[..., columns] = array
        probe(name, t, whole)

    return {**static, "probe": of_all_columns}
