"""Inputs to check every rule with: small, random, distinct, in float64, and recurrent rules in their required setting.

That setting is T ≥ 3, B ≥ 2, D ≠ H and random states that are not zero: with T = 1 and zero states a quarter of all
mistakes in a backward pass through time cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minirnn.arrays import random_generator

T, B, D, H, V = 4, 3, 2, 5, 6
Inputs = tuple[tuple[Any, ...], dict[str, Any]]
RECURRENT = ("lstm_step", "lstm")  # rules that carry a state from one step to the next


def example_inputs(name: str, seed: int = 0) -> Inputs:
    """Positional and static arguments to try the rule ``name`` of ``minirnn.rules`` with.

    Parameters
    ----------
    name : str
        One of ``EXAMPLES``.
    seed : int
        Draws the numbers.

    Returns
    -------
    inputs : tuple of arrays
    static : dict

    Examples
    --------
    >>> from minirnn import rules
    >>> from minirnn.checking import check_rule
    >>> inputs, static = example_inputs("lstm", seed=1)
    >>> [x.shape for x in inputs]
    [(4, 20, 3), (5, 3), (5, 3), (20, 5)]
    >>> check_rule(rules.lstm, inputs, static).ok
    True
    """
    return EXAMPLES[name](_Draw(random_generator(seed, f"example {name}")))


class _Draw:
    """The kinds of numbers that rules want to be checked at."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def any(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape)

    def above_zero(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(0.5, 2.0, shape)

    def spread(self, *shape: int) -> np.ndarray:
        """Numbers at least 0.1 apart from each other and 0.05 from 0, 1 and -1: no kink is near."""
        places = self.rng.permutation(int(np.prod(shape))) - int(np.prod(shape)) // 2
        return 0.1 * places.reshape(shape) + 0.05

    def ids(self, *shape: int) -> np.ndarray:
        return self.rng.integers(V, size=shape)

    def mask(self, *shape: int) -> np.ndarray:
        """True and False in turn."""
        return np.arange(int(np.prod(shape))).reshape(shape) % 2 == 0


def _of(kind: str, *shapes: tuple[int, ...], **static: Any) -> Callable[[_Draw], Inputs]:
    """Arrays of one kind in these shapes, and these static arguments."""
    return lambda draw: (tuple(getattr(draw, kind)(*shape) for shape in shapes), static)


x, row, scalar = (2, 3, 4), (4,), ()
EXAMPLES: dict[str, Callable[[_Draw], Inputs]] = {
    "abs": _of("spread", x),
    "add": _of("any", x, row),
    "affine": _of("any", (T, D, B), (H, D), (H,)),
    "astype": _of("any", x, dtype="float64"),
    "broadcast_to": _of("any", (3, 1), shape=x),
    "clip": _of("spread", x, min=-0.5, max=0.7),
    "concat": _of("any", (2, 3), (1, 3), (4, 3), axis=0),
    "cross_entropy": lambda draw: (
        (draw.any(T, V, B), draw.ids(T, B), draw.above_zero(V), draw.mask(T, B)),
        {"axis": 1},
    ),
    "divide": lambda draw: ((draw.any(*x), draw.above_zero(*row)), {}),
    "dropout": _of("any", x, p=0.3, seed=1),
    "embedding": lambda draw: ((draw.any(V, D), draw.ids(T, B)), {}),
    "embedding_columns": lambda draw: ((draw.any(D, V), draw.ids(T, B)), {}),
    "exp": _of("any", x),
    "flip": _of("any", x, axis=1),
    "getitem": _of("any", x, index=(slice(None, None, -1), 1, [0, 2, 2])),
    "layer_norm": _of("any", x, row, row),
    "log": _of("above_zero", x),
    "log_softmax": _of("any", x, axis=1),
    "logsumexp": _of("any", x, axis=1),
    "lstm": _of("any", (T, 4 * H, B), (H, B), (H, B), (4 * H, H)),
    "lstm_step": _of("any", (4 * H, B), (H, B), (H, B), (4 * H, H)),
    "matmul": _of("any", (2, 3, 4), (4, 5)),
    "max": _of("spread", x, axis=1),
    "maximum": lambda draw: (tuple(np.split(draw.spread(2, *x), 2)), {}),
    "mean": _of("any", x, axis=(0, 2)),
    "mean_squared_error": _of("any", x, x),
    "min": _of("spread", x, axis=1),
    "minimum": lambda draw: (tuple(np.split(draw.spread(2, *x), 2)), {}),
    "move": _of("any", x, backend="numpy"),
    "multiply": _of("any", x, row),
    "negative": _of("any", x),
    "pad": _of("any", (2, 3), widths=((1, 0), (0, 2)), value=1.5),
    "power": lambda draw: ((draw.above_zero(*x), draw.any(*row)), {}),
    "relu": _of("spread", x),
    "reshape": _of("any", x, shape=(4, 6)),
    "sigmoid": _of("any", x),
    "softmax": _of("any", x, axis=1),
    "split": _of("any", (2, 6), sections=3, axis=1),
    "sqrt": _of("above_zero", x),
    "stack": _of("any", (2, 3), (2, 3), axis=1),
    "subtract": _of("any", x, row),
    "sum": _of("any", x, axis=(0, 2)),
    "swapaxes": _of("any", x, axis1=0, axis2=2),
    "take": lambda draw: ((draw.any(V, D), draw.ids(2, 3)), {"axis": 0}),
    "tanh": _of("any", x),
    "transpose": _of("any", x, axes=(1, 2, 0)),
    "var": _of("any", x, axis=1),
    "where": lambda draw: ((draw.mask(*x), draw.any(*x), draw.any(*row)), {}),
}
