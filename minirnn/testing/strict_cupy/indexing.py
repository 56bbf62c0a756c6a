"""How CuPy reads an index: out-of-range integers wrap, and of duplicate targets an undefined one wins."""

from __future__ import annotations

from typing import Any

import numpy as np

_random = np.random.default_rng(0)


def reseed(seed: int) -> None:
    """Restart the draws that stand for the device's undefined order of writes."""
    global _random
    _random = np.random.default_rng(seed)


def is_basic(parts: tuple[Any, ...]) -> bool:
    """Whether an index holds only integers, slices, None and Ellipsis, so that it selects a view."""
    return all(
        part is None or part is Ellipsis or type(part) in (int, slice) or isinstance(part, np.integer) for part in parts
    )


def as_view(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """A basic index for which NumPy returns an array even where one element is left, as CuPy does."""
    return parts if any(part is Ellipsis for part in parts) else (*parts, Ellipsis)


def wrap(parts: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """The same index with its integer arrays reduced modulo the length of the axis that each one selects from.

    Raises
    ------
    IndexError
        If an array in the index is neither of integers nor of booleans.
    """
    taken = sum(_axes_of(part) for part in parts)
    wrapped, axis = [], 0
    for part in parts:
        if isinstance(part, np.ndarray):
            if part.dtype.kind not in "biu":
                raise IndexError(
                    f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})"
                )
            if part.dtype.kind != "b" and axis < len(shape) and shape[axis]:
                part = part.astype(np.int64) % shape[axis]
        wrapped.append(part)
        axis += len(shape) - taken if part is Ellipsis else _axes_of(part)
    return tuple(wrapped)


def _axes_of(part: Any) -> int:
    """How many axes of the array one part of an index uses up."""
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype.kind == "b" else 1


def shuffled_targets(a: np.ndarray, parts: tuple[Any, ...], values: Any) -> tuple[Any, np.ndarray]:
    """Where an advanced index writes and what, in random order, as threads that race each other would.

    Returns
    -------
    target : array or tuple of arrays
        Index into ``a.reshape(-1)`` if ``a`` is contiguous, else into ``a``.
    values : (N,) array
    """
    positions = np.arange(a.size).reshape(a.shape)[parts]
    return _shuffle(a, positions, values)


def shuffled_along_axis(a: np.ndarray, indices: np.ndarray, values: Any, axis: int) -> tuple[Any, np.ndarray]:
    """The same for ``put_along_axis``."""
    positions = np.take_along_axis(np.arange(a.size).reshape(a.shape), indices % a.shape[axis], axis)
    return _shuffle(a, positions, values)


def _shuffle(a: np.ndarray, positions: np.ndarray, values: Any) -> tuple[Any, np.ndarray]:
    values = np.asarray(values)
    while values.ndim > positions.ndim and values.shape[0] == 1:
        values = values[0]
    values = np.broadcast_to(values, positions.shape).reshape(-1)
    order = _random.permutation(positions.size)
    flat = positions.reshape(-1)[order]
    return (flat if a.flags.c_contiguous else np.unravel_index(flat, a.shape)), values[order]


def flat_or_whole(a: np.ndarray) -> np.ndarray:
    """The array that the targets above index: the flat view of a contiguous one, else the array itself."""
    return a.reshape(-1) if a.flags.c_contiguous else a
