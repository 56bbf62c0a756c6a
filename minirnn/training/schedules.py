"""Schedules: by which factor the learning rate is multiplied, as a plain function of the training step.

A schedule has no state, so there is nothing to save: a resumed run computes the same factors. ``Plateau``, which looks
at the validation loss, is the exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minirnn.arguments import as_called, at_least_0, positive, positive_number

Schedule = Callable[[int], float]


def check_functions(**functions: Any) -> None:
    """Refuses what is neither ``None`` nor a function of the step, naming the first.

    Raises
    ------
    TypeError
    """
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function of the step, got {function!r}")


def step_decay(every: int, gamma: float = 0.1) -> Schedule:
    """Multiplies by ``gamma`` after every ``every`` steps.

    Examples
    --------
    >>> factor = step_decay(every=100, gamma=0.5)
    >>> factor(99), factor(100), factor(250)
    (1.0, 0.5, 0.25)
    """
    positive(every=every)
    at_least_0(gamma=gamma)
    return lambda step: float(gamma ** (step // every))


def exponential(gamma: float) -> Schedule:
    """Multiplies by ``gamma`` after every step: ``gamma**step``."""
    at_least_0(gamma=gamma)
    return lambda step: float(gamma**step)


def cosine(total: int, floor: float = 0.0) -> Schedule:
    """From 1 along half a cosine to ``floor`` at step ``total``, and stays there (Loshchilov & Hutter 2017).

    Examples
    --------
    >>> factor = cosine(total=100)
    >>> factor(0), round(factor(50), 3), factor(100), factor(500)
    (1.0, 0.5, 0.0, 0.0)
    """
    positive(total=total)
    at_least_0(floor=floor)
    return lambda step: floor + (1 - floor) * (1 + math.cos(math.pi * min(step, total) / total)) / 2


def warmup(steps: int, then: Schedule | None = None) -> Schedule:
    """Rises linearly to 1 over the first ``steps`` steps, then follows ``then``, counted from there; else stays at 1.

    Examples
    --------
    >>> factor = warmup(4, then=exponential(0.5))
    >>> [factor(step) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.5]
    """
    positive(steps=steps)
    check_functions(then=then)

    def factor(step: int) -> float:
        if step < steps:
            return (step + 1) / steps
        return then(step - steps) if then else 1.0

    return factor


def linear(end: float, steps: int, start: float = 1.0) -> Schedule:
    """From ``start`` in a straight line to ``end`` at step ``steps``, and stays there.

    Examples
    --------
    >>> share = linear(0.5, steps=100)
    >>> share(0), share(50), share(1000)
    (1.0, 0.75, 0.5)
    """
    positive(steps=steps)
    at_least_0(start=start, end=end)
    return lambda step: start + (end - start) * min(step, steps) / steps


def inverse_sigmoid(k: float) -> Schedule:
    """``k / (k + exp(step / k))``: close to 1 for long, then down to 0 (Bengio et al. 2015, for scheduled sampling).

    Examples
    --------
    >>> share = inverse_sigmoid(100)
    >>> [round(share(step), 2) for step in (0, 300, 500, 1000)]
    [0.99, 0.83, 0.4, 0.0]
    """
    positive_number(k=k)
    return lambda step: k / (k + math.exp(min(step / k, 700.0)))  # beyond, nothing is left of it


class Plateau:
    """Multiplies by ``gamma`` whenever the validation loss has not improved for ``patience`` validations.

    Examples
    --------
    >>> plateau = Plateau(patience=2, gamma=0.5)
    >>> for loss in (3.0, 2.0, 2.5, 2.1):
    ...     plateau.observe(loss)
    >>> plateau(0)
    0.5
    """

    def __init__(self, patience: int = 3, gamma: float = 0.5):
        positive(patience=patience)
        at_least_0(gamma=gamma)
        self.patience, self.gamma = patience, float(gamma)
        self.begin()

    __repr__ = as_called

    def __call__(self, step: int) -> float:
        return self.factor

    def begin(self) -> None:
        """Forgets what it has observed: another run begins."""
        self.best: float | None = None
        self.waited, self.factor = 0, 1.0

    def observe(self, loss: float) -> None:
        """Takes note of a validation loss."""
        if math.isfinite(loss) and (self.best is None or loss < self.best):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.factor, self.waited = self.factor * self.gamma, 0

    def state_dict(self) -> dict[str, float | int | None]:
        return {"best": self.best, "waited": self.waited, "factor": self.factor}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.waited, self.factor = state["best"], state["waited"], state["factor"]
