"""CuPy's functions that take, put, sort and count elements, and those that clip and round them."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.testing.strict_cupy import counts, indexing
from minirnn.testing.strict_cupy.array import (
    c_ordered,
    device,
    fill_value,
    index_array,
    launched,
    launched_into,
    method,
    ndarray,
    operand,
)


@method("take")
def take(a: ndarray, indices: Any, axis: int | None = None, out: ndarray | None = None) -> ndarray:
    chosen = indices if isinstance(indices, (int, np.integer)) else index_array(indices)
    return launched_into(out, c_ordered(np.take(device(a, "a")._a, chosen, axis, mode="wrap")), a._a)


def take_along_axis(a: ndarray, indices: ndarray, axis: int | None) -> ndarray:
    a, axis = (device(a, "a").ravel(), 0) if axis is None else (a, axis)
    chosen = _along_axis_indices(a, indices)
    return launched(c_ordered(np.take_along_axis(a._a, chosen % a.shape[axis], axis)), a._a)


def put_along_axis(arr: ndarray, indices: ndarray, values: Any, axis: int) -> None:
    chosen = _along_axis_indices(arr, indices)
    target, shuffled = indexing.shuffled_along_axis(arr._a, chosen, fill_value(values), axis)
    indexing.flat_or_whole(arr._a)[target] = shuffled
    counts.record_launch(arr._a, ())


def _along_axis_indices(a: ndarray, indices: ndarray) -> np.ndarray:
    if device(indices, "indices").dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if device(a, "a").ndim != indices.ndim:
        raise ValueError("`indices` and `a` must have the same number of dimensions")
    return indices._a


def where(condition: ndarray, x: Any = None, y: Any = None) -> Any:
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return nonzero(condition)
    a, b = operand(x), operand(y)
    return launched(c_ordered(np.where(device(condition, "condition")._a, a, b)), a, b)


@method("nonzero")
def nonzero(a: ndarray) -> tuple[ndarray, ...]:
    found = device(a, "a")._a.nonzero()
    counts.record_sync()  # the host must know how many there are, to allocate
    return tuple(launched(indices) for indices in found)


def flatnonzero(a: ndarray) -> ndarray:
    return nonzero(device(a, "a").ravel())[0]


def argwhere(a: ndarray) -> ndarray:
    counts.record_sync()
    return launched(np.argwhere(device(a, "a")._a))


@method("diagonal")
def diagonal(a: ndarray, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
    return device(a, "a")._view(a._a.diagonal(offset, axis1, axis2))


def sort(a: ndarray, axis: int | None = -1, kind: str | None = None) -> ndarray:
    _check_kind(kind)
    return launched(np.sort(device(a, "a")._a, axis), a._a)


@method("sort")
def _sort_in_place(self: ndarray, axis: int = -1, kind: str | None = None) -> None:
    _check_kind(kind)
    self._a.sort(axis)
    counts.record_launch(self._a, ())


@method("argsort")
def argsort(a: ndarray, axis: int | None = -1, kind: str | None = None) -> ndarray:
    _check_kind(kind)
    return launched(c_ordered(device(a, "a")._a.argsort(axis, kind="stable")), a._a)


def _check_kind(kind: str | None) -> None:
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")


@method("searchsorted")
def searchsorted(a: ndarray, v: ndarray, side: Any = "left", sorter: None = None) -> ndarray:
    return launched(device(a, "a")._a.searchsorted(device(v, "v")._a, side), a._a)


def unique(
    ar: ndarray, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False, axis: Any = None
) -> Any:
    counts.record_sync()
    found: Any = np.unique(device(ar, "ar")._a, return_index, return_inverse, return_counts, axis)  # type: ignore
    return tuple(launched(part) for part in found) if isinstance(found, tuple) else launched(found)


def bincount(x: ndarray, weights: ndarray | None = None, minlength: int | None = None) -> ndarray:
    counts.record_sync()  # CuPy looks for negative entries,
    counts.record_sync()  # and for the largest one
    shares = None if weights is None else device(weights, "weights")._a
    return launched(np.bincount(device(x, "x")._a, shares, minlength or 0), x._a)


def clip(a: ndarray, a_min: Any, a_max: Any, out: ndarray | None = None) -> ndarray:
    if a_min is None and a_max is None:
        raise ValueError("array_clip: must set either max or min")
    low, high = (None if bound is None else operand(bound) for bound in (a_min, a_max))
    bounds = [bound for bound in (low, high) if bound is not None]
    return launched_into(out, c_ordered(np.clip(device(a, "a")._a, low, high)), a._a, *bounds)


@method("clip")
def _clip_method(self: ndarray, min: Any = None, max: Any = None, out: ndarray | None = None) -> ndarray:
    return clip(self, min, max, out)


@method("round")
def round(a: ndarray, decimals: int = 0, out: ndarray | None = None) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.round(decimals)), a._a)


around = round


def nan_to_num(x: ndarray, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> ndarray:
    replaced = np.nan_to_num(device(x, "x")._a, True, nan, posinf, neginf)
    return launched_into(None if copy else x, c_ordered(replaced), x._a)
