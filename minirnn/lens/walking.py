"""A run of a sequence rule as a chain of steps that can be asked one by one.

A backward pass ends in one array for each weight: a sum over all steps, in which they can no longer be told apart. But
a sequence rule that is called with one step at a time is the same rule, and the chain of its pullbacks is BPTT. So the
lens runs models on such chains, and needs no derivative of its own: what a step gives to a gradient, and its Jacobian,
are the answers of the step's own pullback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minirnn.arrays import Array, to_numpy, xp_of
from minirnn.rules.combinators.asking import Gradients, outline, selective
from minirnn.rules.combinators.form import checked_lengths, form_of, named, part_of, positional


class Walk:
    """A run of a sequence rule, one step at a time.

    Steps count in the order of the run: of a layer that reads from the end, step 0 is the last in time.

    Attributes
    ----------
    states : list of tuple of arrays
        ``T + 1`` of them: ``states[t]`` enters step t, ``states[t + 1]`` leaves it.
    weights : dict of str to array
        By their names in the rule; those that were not given are left out.
    lengths : list of int or None
        How many steps of each column are real; ``None`` if all are.
    asked : tuple of arrays
        The cotangents of outputs and final states with which the chain was walked back for the first time,
    gradients : dict of str to array
        and the gradients of the weights that came of it.
    listener : callable or None
        Called as ``listener(t, gradients)`` after every step back: with what it gives to the rule's arguments.
    """

    def __init__(self, rule: Callable, arguments: Sequence[Array | None], static: Mapping[str, Any]):
        self.rule, self.form = rule, form_of(rule)
        self.xs, states, self.given = self.form.split(arguments)
        self.static, self.lengths = checked_lengths(static, self.xs, states)
        self.names = positional(rule)
        self.weights = {name: x for name, x in self.named_weights(arguments).items() if x is not None}
        self.states, self.pullbacks, ys = [states], [], []
        self.asked: tuple[Array, ...] = ()
        self.gradients: dict[str, Array] = {}
        self.listener: Callable[[int, tuple], Any] | None = None
        wanted = tuple(x is not None for x in arguments)
        for t in range(len(self.xs[0])):
            there, now = part_of(self.static, slice(t, t + 1), False), slice(t, t + 1)
            (y, *ends), pullback = rule(
                *(x[now] for x in self.xs), *self.states[t], *self.given, wanted=wanted, **there
            )
            ys.append(y)
            self.states.append(tuple(ends))
            self.pullbacks.append(pullback)
        self.ys, self.shapes = xp_of(*ys).concatenate(ys), outline(arguments, wanted)

    def back(self, dys: Array, *dends: Array) -> tuple[Array | None, ...]:
        """BPTT, one step after the other; after the first time from the last step on of which anything is asked."""
        asked, gathered, steps = (dys, *dends), Gradients(self.form, self.shapes, xp_of(dys)), len(dys)
        if self.asked and not any(d.any() for d in dends):
            steps = max(np.flatnonzero(to_numpy(dys.any(axis=(1, 2)))).tolist(), default=-1) + 1
        for t in reversed(range(steps)):
            now = slice(t, t + 1)
            gradients = self.pullbacks[t](dys[now], *dends)
            if self.listener is not None:
                self.listener(t, gradients)
            dends = gathered.put(now, gradients)
        found = gathered.entries(dends)
        if not self.asked:
            self.asked, self.gradients = asked, self.named_weights(found)
        return found

    def named_weights(self, entries: Sequence) -> dict[str, Any]:
        """What stands in the places of weights, by their names."""
        n = sum(self.form)
        return dict(zip(self.names[n:], entries[n:], strict=False))

    def jacobian(self, t: int, column: int) -> Array:
        """What a change of the state before step ``t`` does to the state after it, ``(S, S)``: a row for each number.

        The state of one column, h and for an LSTM c below it, has S numbers. Their S unit cotangents ride as columns
        of one batch, so that a single pullback finds the whole matrix.
        """
        before = self.states[t]
        xp, sizes = xp_of(*before), [len(part) for part in before]
        same = [column] * sum(sizes)  # the step S times
        there = (*(x[t : t + 1][..., same] for x in self.xs), *(part[..., same] for part in before))
        wanted = [k >= self.form.sequences and k < sum(self.form) for k in range(len(there) + len(self.given))]
        static = {key: value for key, value in self.static.items() if key not in ("lengths", "probe")}
        (y, *_), pullback = self.rule(*there, *self.given, wanted=wanted, **static)
        units = xp.split(xp.eye(len(same), dtype=y.dtype), [sum(sizes[:k]) for k in range(1, len(sizes))])
        return xp.concatenate(self.form.split(pullback(xp.zeros_like(y), *units))[1]).T


def step_by_step(rule: Callable, walks: list[Walk]) -> Callable:
    """The rule, one step at a time; every run of it is put into ``walks``."""
    rule = selective(rule)

    def stepped(*arguments: Any, wanted: Sequence[bool], **static: Any) -> tuple[Any, Callable]:
        walk = Walk(rule, arguments, static)
        walks.append(walk)

        def step_by_step_pullback(*cotangents: Array) -> tuple:
            return walk.back(*cotangents)

        return (walk.ys, *walk.states[-1]), step_by_step_pullback

    return named("step_by_step", stepped, positional(rule), rule)
