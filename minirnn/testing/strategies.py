"""Hypothesis strategies for the arguments of rules, named by their shape and by what the numbers must keep away from.

Hypothesis chooses shapes, axes and a seed; the entries come from a generator with that seed. What a gradient check
needs are generic numbers, in which no fault cancels, and what is worth shrinking is the shape.

All arrays are NumPy's and float64, integers or booleans. Needs the package ``hypothesis``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Shape = tuple[int, ...]
Strategy = st.SearchStrategy


def generators() -> Strategy[np.random.Generator]:
    """Random generators, each with a seed of its own."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3) -> Strategy[Shape]:
    """Shapes; unless told otherwise there are scalars among them, and axes of length 0 and 1."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def broadcastable_shapes(count: int = 2, min_side: int = 0) -> Strategy[tuple[Shape, ...]]:
    """Shapes that broadcast with each other: missing axes, axes of length 1 against others, axes of length 0."""
    broadcastable = hnp.mutually_broadcastable_shapes(num_shapes=count, min_side=min_side, max_side=3, max_dims=3)
    return broadcastable.map(lambda found: found.input_shapes)


def arrays(shape: Shape, low: float = -2.0, high: float = 2.0) -> Strategy[np.ndarray]:
    """Numbers spread evenly over ``[low, high]``."""
    return generators().map(lambda random: random.uniform(low, high, shape))


def arrays_away_from(shape: Shape, kinks: Sequence[float] = (0.0,), margin: float = 0.1) -> Strategy[np.ndarray]:
    """Numbers in ``[-2, 2]`` no nearer than ``margin`` to any kink; where one falls nearer it is pushed out.

    The kinks must be further apart than four margins.
    """

    def push(x: np.ndarray) -> np.ndarray:
        for kink in kinks:
            near = np.abs(x - kink) < margin
            x = np.where(near, kink + np.copysign(margin, x - kink) + (x - kink), x)
        return x

    return arrays(shape).map(push)


def distinct_arrays(shape: Shape, margin: float = 0.1) -> Strategy[np.ndarray]:
    """Numbers that are all at least ``margin`` apart: no ties for a maximum, in any order."""

    def draw(random: np.random.Generator) -> np.ndarray:
        size = math.prod(shape)
        places = random.permutation(size) - size // 2
        return 2 * margin * (places + random.uniform(0, 0.5, size)).reshape(shape)

    return generators().map(draw)


def positive_arrays(shape: Shape) -> Strategy[np.ndarray]:
    """Numbers in ``[0.5, 2]``: for logarithms, roots, divisors, bases of powers."""
    return arrays(shape, 0.5, 2.0)


def masks(shape: Shape) -> Strategy[np.ndarray]:
    """Booleans, ``True`` in about two of three places; all ``True`` and all ``False`` occur."""
    one_kind = st.sampled_from([np.ones(shape, bool), np.zeros(shape, bool)])
    mixed = generators().map(lambda random: random.random(shape) < 2 / 3)
    return st.one_of(mixed, mixed, mixed, one_kind)


def ids(shape: Shape, size: int, most: int | None = None) -> Strategy[np.ndarray]:
    """Integers in ``[0, size)``, the same one as a rule several times.

    Parameters
    ----------
    most : int, optional
        How often one id may occur, where its sum in no fixed order (on a device) would not be the same bits twice.
        ``size * most`` must be at least the number of ids.
    """

    def draw(random: np.random.Generator) -> np.ndarray:
        if most is None:
            return random.integers(0, size, shape)
        return random.permutation(np.repeat(np.arange(size), most))[: math.prod(shape)].reshape(shape)

    return generators().map(draw)


def axes(ndim: int, several: bool = True) -> Strategy[Any]:
    """One axis of ``ndim``, counted from either end; with ``several`` also ``None`` (all) or a tuple of axes."""
    one = st.integers(-ndim, ndim - 1) if ndim else st.nothing()
    if not several:
        return one
    return st.one_of(st.none(), one, hnp.valid_tuple_axes(ndim))


@st.composite
def lstm_arguments(
    draw: Callable, T: tuple[int, int] = (3, 4), B: tuple[int, int] = (2, 3), H: tuple[int, int] = (1, 3)
) -> tuple[np.ndarray, ...]:
    """``a_xs (T, 4H, B), h_0, c_0 (H, B), W_hh (4H, H)`` in the setting in which no known fault of an LSTM survives.

    Several steps, several columns, and random states that differ from each other and from zero. Sizes are drawn from
    the ranges given, ends included.
    """
    t, b, h, random = draw(st.integers(*T)), draw(st.integers(*B)), draw(st.integers(*H)), draw(generators())
    return (
        random.normal(size=(t, 4 * h, b)),
        random.normal(size=(h, b)),
        random.normal(size=(h, b)),
        random.normal(size=(4 * h, h)) / np.sqrt(h),
    )
