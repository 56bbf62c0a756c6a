"""Inputs to check every rule with: small, random, distinct, in float64, and recurrent rules in their required setting.

That setting is T ≥ 3, B ≥ 2, D ≠ H and random states that are not zero: with T = 1 and zero states a quarter of all
mistakes in a backward pass through time cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minirnn.arrays import random_generator

T, B, D, H, V, P, S = 4, 3, 2, 5, 6, 2, 6
Inputs = tuple[tuple[Any, ...], dict[str, Any]]
RECURRENT = ("rnn_step", "rnn", "lstm_step", "lstm", "gru_step", "gru")  # what carries a state from step to step


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


def examples(name: str, seed: int = 0) -> list[Inputs]:
    """The example of a rule, and the other ways to call it: optional arguments left out, other axes, ties, zeros."""
    draw = _Draw(random_generator(seed, f"more examples {name}"))
    return [example_inputs(name, seed), *(variant(draw) for variant in VARIANTS.get(name, ()))]


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

    def ties(self, *shape: int) -> np.ndarray:
        """Numbers of which every second row has those of the row before: two equal ones down each column."""
        return np.repeat(self.spread(*shape)[::2], 2, axis=0)[: shape[0]]

    def half_equal(self, *shape: int) -> np.ndarray:
        """Two arrays whose first rows are equal, and no others."""
        one = self.spread(*shape)
        return np.stack([one, np.concatenate([one[:1], one[1:, ::-1]])])

    def apart(self, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """Arrays in these shapes, no number twice in all of them."""
        sizes = [int(np.prod(shape)) for shape in shapes]
        pieces = np.split(self.spread(sum(sizes)), np.cumsum(sizes)[:-1])
        return tuple(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True))

    def zeros(self, *shape: int) -> np.ndarray:
        """Numbers above zero, in the first row zeros in their place."""
        numbers = self.above_zero(*shape)
        numbers[0] = 0
        return numbers

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
    "additive_scores": _of("any", (T, H, B), (S, H, B), (H,)),
    "affine": _of("any", (T, D, B), (H, D), (H,)),
    "affine_cross_entropy": lambda draw: (
        (draw.any(T, D, B), draw.any(V, D), draw.any(V), draw.ids(T, B), draw.mask(T, B)),
        {"smoothing": 0.1},
    ),
    "astype": _of("any", x, dtype="float64"),
    "attention_contexts": _of("any", (T, S, B), (S, D, B)),
    "attention_weights": lambda draw: ((draw.any(T, S, B), draw.mask(S, B)), {}),
    "broadcast_to": _of("any", (3, 1), shape=x),
    "clip": _of("spread", x, min=-0.5, max=0.7),
    "concat": _of("any", (2, 3), (1, 3), (4, 3), axis=0),
    "cross_entropy": lambda draw: (
        (draw.any(T, V, B), draw.ids(T, B), draw.above_zero(V), draw.mask(T, B)),
        {"axis": 1},
    ),
    "divide": lambda draw: ((draw.any(*x), draw.above_zero(*row)), {}),
    "dot_scores": _of("any", (T, H, B), (S, H, B), scale=0.7),
    "dropout": _of("any", x, p=0.3, seed=1),
    "embedding": lambda draw: ((draw.any(V, D), draw.ids(T, B)), {}),
    "embedding_columns": lambda draw: ((draw.any(D, V), draw.ids(T, B)), {}),
    "exp": _of("any", x),
    "expand_dims": _of("any", x, axis=1),
    "flip": _of("any", x, axis=1),
    "getitem": _of("any", x, index=(slice(None, None, -1), 1, [0, 2, 2])),
    "gru": _of("any", (T, 3 * H, B), (H, B), (3 * H, H), (H,)),
    "gru_step": _of("any", (3 * H, B), (H, B), (3 * H, H), (H,)),
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
    "rnn": _of("any", (T, H, B), (H, B), (H, H)),
    "rnn_step": _of("any", (H, B), (H, B), (H, H)),
    "sigmoid": _of("any", x),
    "softmax": _of("any", x, axis=1),
    "split": _of("any", (2, 6), sections=3, axis=1),
    "sqrt": _of("above_zero", x),
    "squeeze": _of("any", (2, 1, 3), axis=1),
    "stack": _of("any", (2, 3), (2, 3), axis=1),
    "std": _of("any", x, axis=1),
    "subtract": _of("any", x, row),
    "sum": _of("any", x, axis=(0, 2)),
    "swapaxes": _of("any", x, axis1=0, axis2=2),
    "take": lambda draw: ((draw.any(V, D), draw.ids(2, 3)), {"axis": 0}),
    "tanh": _of("any", x),
    "transpose": _of("any", x, axes=(1, 2, 0)),
    "unstack": _of("any", x, axis=1),
    "var": _of("any", x, axis=1),
    "where": lambda draw: ((draw.mask(*x), draw.any(*x), draw.any(*row)), {}),
}

# The other ways: what a static argument, a shape, a tie or a zero makes a rule do differently.
pair = ((2, 1, 4), (3, 1))  # both sides are stretched
few = (2, 4)
VARIANTS: dict[str, tuple[Callable[[_Draw], Inputs], ...]] = {
    "add": (
        _of("any", (7, 2), (2,)),
        _of("any", *pair),
        _of("any", (2, 1, 1), (3, 1)),
        _of("any", (1, 1, 4), (1, 3, 1)),
        _of("any", (1, 3, 1), (1, 4)),
    ),
    "additive_scores": (_of("any", (D, P, B), (T, P, B), (P,)),),
    "astype": (_of("any", x, dtype="float32"),),
    "affine_cross_entropy": (
        lambda draw: ((draw.any(T, D, B), draw.any(V, D), None, draw.ids(T, B)), {"smoothing": np.float64(0.2)}),
        lambda draw: ((1000 * draw.any(D, B), draw.any(V, D), draw.any(V), draw.ids(B)), {}),  # exp would overflow
        lambda draw: ((draw.any(D, B), draw.any(5 * V, D), draw.any(5 * V), draw.ids(B), draw.mask(B)), {}),
        lambda draw: ((draw.any(D, B), draw.any(V, D), None, draw.ids(B), np.zeros(B, bool)), {}),  # nothing counts
    ),
    "affine": (
        lambda draw: ((draw.any(D, B), draw.any(H, D), None), {}),
        _of("any", (D, B), (H, D), (H,)),
        _of("any", (2, T, D, B), (8, D), (8,)),
        _of("any", (T, D, 0), (H, D), (H,)),
        _of("any", (2, T, D, 1), (H, D), (H,)),
        _of("any", (T, D, 2), (H, D), (H,)),
    ),
    "attention_weights": (
        _of("any", (S, B)),
        lambda draw: ((draw.any(T, S, 2), np.arange(S)[:, None] < np.array([0, 2])), {}),  # nothing real in the first
        lambda draw: ((draw.any(T, S, B), draw.mask(T, S, B)), {}),
    ),
    "broadcast_to": (_of("any", few, shape=few),),
    "clip": (_of("spread", x, min=0.2), _of("spread", x, max=0.2)),
    "concat": (_of("any", (2, 3), (2, 1), axis=-1), _of("any", (2, 3))),
    "cross_entropy": (
        lambda draw: ((draw.any(T, B, V), draw.ids(T, B), None, None), {}),
        lambda draw: ((draw.any(V, B), draw.ids(B), draw.above_zero(V), None), {"axis": 0}),
        lambda draw: ((draw.any(T, B, V), draw.ids(T, B), None, draw.mask(T, B)), {}),
    ),
    "divide": (lambda draw: ((draw.any(*pair[0]), draw.above_zero(*pair[1])), {}),),
    "dot_scores": (_of("any", (D, P, B), (T, P, B), scale=np.float64(0.5)), _of("any", (D, P, B), (T, P, B))),
    "expand_dims": (_of("any", few, axis=(0, -1)),),
    "embedding": (lambda draw: ((draw.any(V, 64), draw.ids(3, 4).astype("uint8")), {}),),  # 5 * 64 is no uint8
    "flip": (_of("any", few),),
    "getitem": (
        _of("any", x, index=(0, slice(None), None, 2)),
        _of("any", x, index=([1, 1], 0)),
        lambda draw: ((draw.any(*few),), {"index": draw.mask(*few)}),
        lambda draw: ((draw.any(*few),), {"index": np.array([1, 0, 1])}),
    ),
    "gru": (
        _of("any", (T, 3 * H, B), (H, B), (3 * H, H)),
        _of("any", (T, 3 * H, B), (H, B), (3 * H, H), reset_after=False),
    ),
    "gru_step": (
        _of("any", (3 * H, B), (H, B), (3 * H, H)),
        _of("any", (3 * H, B), (H, B), (3 * H, H), reset_after=False),
    ),
    "layer_norm": (_of("any", x, (3,), (3,), axis=1),),
    "log_softmax": (_of("any", x, axis=-1),),
    "logsumexp": (_of("any", x), _of("any", x, axis=0, keepdims=True)),
    "lstm": (
        _of("any", (T, 4 * H, B), (P, B), (H, B), (4 * H, P), (P, H), (3, H)),
        lambda draw: ((*EXAMPLES["lstm"](draw)[0], None, draw.any(3, H)), {}),
    ),
    "lstm_step": (_of("any", (4 * H, B), (P, B), (H, B), (4 * H, P), (P, H), (3, H)),),
    "matmul": (
        _of("any", (1, 3, 4), (2, 4, 5)),
        _of("any", (3,), (2, 3, 4)),
        _of("any", (2, 4, 3), (3,)),
        _of("any", (3,), (3,)),
    ),
    "max": (_of("spread", x), _of("spread", x, axis=(0, 2), keepdims=True), _of("ties", few, axis=0)),
    "maximum": (lambda draw: (tuple(draw.half_equal(*few)), {}), lambda draw: (draw.apart(*pair), {})),
    "mean": (_of("any", x), _of("any", x, axis=-1, keepdims=True)),
    "min": (_of("spread", x), _of("spread", x, axis=(0, 2), keepdims=True), _of("ties", few, axis=0)),
    "minimum": (lambda draw: (tuple(draw.half_equal(*few)), {}), lambda draw: (draw.apart(*pair), {})),
    "multiply": (_of("any", *pair),),
    "power": (
        lambda draw: ((draw.above_zero(*pair[0]), draw.any(*pair[1])), {}),
        lambda draw: ((draw.zeros(*few), np.array([0.0, 1.0, 2.0, 3.0])), {"wanted": (True, False)}),
        lambda draw: ((draw.zeros(*few), 1 + draw.above_zero(4)), {"wanted": (False, True)}),
    ),
    "rnn": (_of("any", (T, H, B), (H, B), (H, H), nonlinearity="relu"),),
    "rnn_step": (_of("any", (H, B), (H, B), (H, H), nonlinearity="relu"),),
    "softmax": (_of("any", x, axis=-1),),
    "split": (_of("any", (5, 2), sections=[1, 3]),),
    "squeeze": (_of("any", (1, 4, 1)),),
    "stack": (_of("any", few, few, few, axis=-1), _of("any", few)),
    "std": (
        _of("any", x, ddof=1),
        _of("any", x, axis=(0, 2), keepdims=True),
        lambda draw: ((np.array([[0.1, 0.1, 0.1], [0.0, 1.0, 2.0]]),), {"axis": 1, "ddof": 1}),
    ),
    "subtract": (_of("any", *pair),),
    "sum": (_of("any", x), _of("any", x, axis=-1, keepdims=True)),
    "take": (
        lambda draw: ((draw.any(D, V), draw.ids(3)), {"axis": -1}),
        lambda draw: ((draw.any(2, V, 3), draw.ids(2, 4) - V), {"axis": 1}),
    ),
    "transpose": (_of("any", x),),
    "unstack": (_of("any", x), _of("any", x, axis=-1)),
    "var": (_of("any", x, ddof=1), _of("any", x, axis=(0, 2), keepdims=True)),
    "where": (lambda draw: ((draw.mask(3, 1), draw.any(2, 1, 4), draw.any(3, 4)), {}),),
}
