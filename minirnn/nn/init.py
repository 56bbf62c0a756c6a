"""Initial weights, drawn on the host so that both backends start from the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import numpy as np

from minirnn.arrays import random_generator

RECURRENT = ("uniform", "orthogonal")  # initialisations of recurrent layers
_drawing: ContextVar[bool] = ContextVar("minirnn_drawing_weights", default=True)


@contextmanager
def undrawn() -> Iterator[None]:
    """Within this block layers begin as zeros: for a model whose weights come from elsewhere, or are only counted.

    Examples
    --------
    >>> with undrawn():
    ...     normal((2,), seed=0, stream="embedding")
    array([0., 0.])
    """
    token = _drawing.set(False)
    try:
        yield
    finally:
        _drawing.reset(token)


def _unless_undrawn(draw: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    @wraps(draw)
    def drawn(shape: tuple[int, ...], *args: Any, **named: Any) -> np.ndarray:
        return draw(shape, *args, **named) if _drawing.get() else np.zeros(shape)

    return drawn


@_unless_undrawn
def uniform_by_fan(shape: tuple[int, ...], fan: int, seed: int, stream: str) -> np.ndarray:
    """PyTorch's default for linear and recurrent layers: uniform in ``[-1/sqrt(fan), 1/sqrt(fan)]``."""
    bound = 1 / math.sqrt(fan)
    return random_generator(seed, stream).uniform(-bound, bound, shape)


@_unless_undrawn
def normal(shape: tuple[int, ...], seed: int, stream: str) -> np.ndarray:
    """PyTorch's default for embeddings: standard normal."""
    return random_generator(seed, stream).standard_normal(shape)


@_unless_undrawn
def glorot(shape: tuple[int, ...], seed: int, stream: str) -> np.ndarray:
    """Matrices ``(..., m, n)`` uniform in ``[-r, r]``, ``r = sqrt(6 / (m + n))`` (Glorot & Bengio 2010)."""
    bound = math.sqrt(6 / (shape[-2] + shape[-1]))
    return random_generator(seed, stream).uniform(-bound, bound, shape)


@_unless_undrawn
def orthogonal(shape: tuple[int, ...], seed: int, stream: str) -> np.ndarray:
    """Matrices ``(..., m, n)`` whose rows or columns, whichever are fewer, are orthonormal (Saxe et al. 2014).

    Examples
    --------
    >>> W = orthogonal((3, 3), seed=0, stream="weight")
    >>> bool(np.allclose(W @ W.T, np.eye(3)))
    True
    """
    *several, m, n = shape
    tall = random_generator(seed, stream).standard_normal((*several, max(m, n), min(m, n)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]  # without it q would not be spread evenly
    return q if m >= n else q.swapaxes(-1, -2)


def recurrent_weight(init: str, kind: str, shape: tuple[int, ...], H: int, seed: int, stream: str) -> np.ndarray:
    """What a parameter of a recurrent layer starts from.

    ``uniform`` is PyTorch's default, bounded by ``1/sqrt(H)`` for weights and biases alike. ``orthogonal`` makes every
    gate's recurrent block orthogonal, its input block Glorot uniform, and biases zero. With either, layer norm starts
    with gains of one, and no shift of the cell state.

    Parameters
    ----------
    init : {"uniform", "orthogonal"}
    kind : str
        The name of the parameter without its layer: ``"weight_hh"``, ``"gain_ih"``, ...
    shape : tuple of int
    H : int
        Hidden size; the rows of a weight come in blocks of so many, one block per gate.
    """
    if kind.startswith("gain_"):
        return np.ones(shape)
    if kind == "bias_c" or (init == "orthogonal" and kind.startswith("bias_")):
        return np.zeros(shape)
    if init == "uniform" or kind == "peepholes":
        return uniform_by_fan(shape, H, seed, stream)
    rows, columns = shape
    block = min(rows, H)
    draw = glorot if kind == "weight_ih" else orthogonal
    return draw((rows // block, block, columns), seed, stream).reshape(shape)
