"""Hypothesis strategies for the arguments of rules, named by their shape and by what the numbers must keep away from.

Hypothesis chooses shapes, axes and a seed; the entries come from a generator with that seed. What a gradient check
needs are generic numbers, in which no fault cancels, and what is worth shrinking is the shape.

All arrays are NumPy's and float64, integers or booleans. Needs the package ``hypothesis``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minirnn import rules
from minirnn.testing.backends import backends

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
    draw: Callable,
    T: tuple[int, int] = (3, 4),
    B: tuple[int, int] = (2, 3),
    H: tuple[int, int] = (1, 3),
    variants: bool = False,
) -> tuple[Any, ...]:
    """``a_xs (T, 4H, B), h_0, c_0 (H, B), W_hh (4H, H)`` in the setting in which no known fault of an LSTM survives.

    Several steps, several columns, and random states that differ from each other and from zero. Sizes are drawn from
    the ranges given, ends included.

    With ``variants`` two more, each of which may be ``None``: a projection ``W_hr (P, H)``, which makes
    ``h_0 (P, B)`` and ``W_hh (4H, P)``, and ``peepholes (3, H)``.
    """
    t, b, h, random = draw(st.integers(*T)), draw(st.integers(*B)), draw(st.integers(*H)), draw(generators())
    p = draw(st.integers(1, 3)) if variants and draw(st.booleans()) else None
    plain = (
        random.normal(size=(t, 4 * h, b)),
        random.normal(size=(p or h, b)),
        random.normal(size=(h, b)),
        random.normal(size=(4 * h, p or h)) / np.sqrt(p or h),
    )
    if not variants:
        return plain
    W_hr = None if p is None else random.normal(size=(p, h)) / np.sqrt(h)
    return *plain, W_hr, random.normal(size=(3, h)) if draw(st.booleans()) else None


@st.composite
def rnn_arguments(
    draw: Callable,
    T: tuple[int, int] = (3, 4),
    B: tuple[int, int] = (2, 3),
    H: tuple[int, int] = (1, 3),
    nonlinearity: str = "tanh",
) -> tuple[np.ndarray, ...]:
    """``a_xs (T, H, B), h_0 (H, B), W_hh (H, H)`` for a plain recurrent network, in the setting of `lstm_arguments`.

    With ``"relu"`` the inputs are moved until no pre-activation is nearer than 0.1 to the kink.
    """
    t, b, h, random = draw(st.integers(*T)), draw(st.integers(*B)), draw(st.integers(*H)), draw(generators())
    a_xs, h_0, W_hh = (
        random.normal(size=(t, h, b)),
        random.normal(size=(h, b)),
        random.normal(size=(h, h)) / np.sqrt(h),
    )
    state = h_0
    for a_x in a_xs if nonlinearity == "relu" else ():
        a = a_x + W_hh @ state
        a_x += np.where(np.abs(a) < 0.1, np.copysign(0.1, a), 0)
        state = np.maximum(a_x + W_hh @ state, 0)
    return a_xs, h_0, W_hh


@st.composite
def gru_arguments(
    draw: Callable,
    T: tuple[int, int] = (3, 4),
    B: tuple[int, int] = (2, 3),
    H: tuple[int, int] = (1, 3),
    bias: bool = True,
) -> tuple[np.ndarray, ...]:
    """``a_xs (T, 3H, B), h_0 (H, B), W_hh (3H, H)`` and, with ``bias``, ``b_hn (H,)`` for a gated recurrent unit.

    The setting is that of `lstm_arguments`.
    """
    t, b, h, random = draw(st.integers(*T)), draw(st.integers(*B)), draw(st.integers(*H)), draw(generators())
    arguments = (
        random.normal(size=(t, 3 * h, b)),
        random.normal(size=(h, b)),
        random.normal(size=(3 * h, h)) / np.sqrt(h),
    )
    return (*arguments, random.normal(size=h)) if bias else arguments


class Cell(NamedTuple):
    """A sequence rule with arguments in the required setting, its step, and the static arguments of both."""

    rule: Callable
    step: Callable
    inputs: tuple[Any, ...]
    static: dict[str, Any]


@st.composite
def cells(
    draw: Callable, T: tuple[int, int] = (3, 4), B: tuple[int, int] = (2, 3), H: tuple[int, int] = (2, 3)
) -> Cell:
    """Every recurrent rule in every variant: RNN with tanh and relu, LSTM with peepholes and projection, both GRUs."""
    kind, sizes = draw(st.sampled_from(["rnn", "lstm", "gru"])), {"T": T, "B": B, "H": H}
    if kind == "rnn":
        name = draw(st.sampled_from(["tanh", "relu"]))
        return Cell(rules.rnn, rules.rnn_step, draw(rnn_arguments(nonlinearity=name, **sizes)), {"nonlinearity": name})
    if kind == "lstm":
        return Cell(rules.lstm, rules.lstm_step, draw(lstm_arguments(variants=True, **sizes)), {})
    after, bias = draw(st.booleans()), draw(st.booleans())
    inputs = draw(gru_arguments(bias=after and bias, **sizes))
    return Cell(rules.gru, rules.gru_step, inputs, {"reset_after": after})


def lengths(B: int, T: int, least: int = 1) -> Strategy[list[int]]:
    """How many of ``T`` steps are real, for each of ``B`` sequences, ``least`` or more; all ``T`` occurs."""
    some = st.lists(st.integers(least, T), min_size=B, max_size=B)
    return st.one_of(some, some, some, st.just([T] * B))


@st.composite
def ragged_batches(
    draw: Callable, T: tuple[int, int] = (3, 5), B: tuple[int, int] = (2, 4), D: tuple[int, int] = (1, 3)
) -> tuple[np.ndarray, list[int]]:
    """A batch ``(T, B, D)`` as layers take it, with NaN past the end of every sequence, and the lengths."""
    t, b, d, random = draw(st.integers(*T)), draw(st.integers(*B)), draw(st.integers(*D)), draw(generators())
    x, ends = random.normal(size=(t, b, d)), draw(lengths(b, t))
    for column, end in enumerate(ends):
        x[end:, column] = np.nan
    return x, ends


def dtypes() -> Strategy[str]:
    """The dtypes that parameters can have."""
    return st.sampled_from(["float64", "float32"])


def backend_names() -> Strategy[str]:
    """The backends that there are here, for `minirnn.testing.on_backend`."""
    return st.sampled_from(backends())
