"""CuPy's functions that reorder, join and split arrays: views wherever CuPy gives views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.testing.strict_cupy import counts
from minirnn.testing.strict_cupy.array import c_ordered, device, launched, launched_into, method, ndarray


def reshape(a: ndarray, newshape: Any, order: Any = "C", *, copy: bool | None = None) -> ndarray:
    found = device(a, "a")._a.reshape(newshape, order=order)
    return launched(found.copy(), a._a) if copy else a._view_or_copy(found)


@method("reshape")
def _reshape_method(self: ndarray, *shape: Any, order: Any = "C", copy: bool | None = None) -> ndarray:
    return reshape(self, shape[0] if len(shape) == 1 else shape, order, copy=copy)


def transpose(a: ndarray, axes: Any = None) -> ndarray:
    return device(a, "a")._view(a._a.transpose(axes))


@method("transpose")
def _transpose_method(self: ndarray, *axes: Any) -> ndarray:
    return self._view(self._a.transpose(*axes))


@method("ravel")
def ravel(a: ndarray, order: Any = "C") -> ndarray:
    return device(a, "a")._view_or_copy(a._a.ravel(order))


@method("swapaxes")
def swapaxes(a: ndarray, axis1: int, axis2: int) -> ndarray:
    return device(a, "a")._view(a._a.swapaxes(axis1, axis2))


@method("squeeze")
def squeeze(a: ndarray, axis: Any = None) -> ndarray:
    found = device(a, "a")._a.squeeze(axis)
    return a if found.ndim == a.ndim else a._view(found)


def permute_dims(a: ndarray, axes: Any = None) -> ndarray:
    return transpose(a, axes)


def matrix_transpose(x: ndarray, /) -> ndarray:
    return device(x, "x").mT


def moveaxis(a: ndarray, source: Any, destination: Any) -> ndarray:
    return device(a, "a")._view(np.moveaxis(a._a, source, destination))


def rollaxis(a: ndarray, axis: int, start: int = 0) -> ndarray:
    return device(a, "a")._view(np.rollaxis(a._a, axis, start))


def expand_dims(a: ndarray, axis: Any) -> ndarray:
    return device(a, "a")._view(np.expand_dims(a._a, axis))


def atleast_1d(*arys: ndarray) -> Any:
    views = [device(a, "arys")._view(np.atleast_1d(a._a)) for a in arys]
    return views[0] if len(views) == 1 else views


def atleast_2d(*arys: ndarray) -> Any:
    views = [device(a, "arys")._view(np.atleast_2d(a._a)) for a in arys]
    return views[0] if len(views) == 1 else views


def atleast_3d(*arys: ndarray) -> Any:
    views = [device(a, "arys")._view(np.atleast_3d(a._a)) for a in arys]
    return views[0] if len(views) == 1 else views


def broadcast_to(array: ndarray, shape: Any) -> ndarray:
    return device(array, "array")._view(np.broadcast_to(array._a, shape))


def broadcast_arrays(*args: ndarray) -> tuple[ndarray, ...]:
    shape = np.broadcast_shapes(*(device(a, "args").shape for a in args))
    return tuple(broadcast_to(a, shape) for a in args)


def flip(a: ndarray, axis: Any = None) -> ndarray:
    return device(a, "a")._view(np.flip(a._a, axis))


def fliplr(a: ndarray) -> ndarray:
    return device(a, "a")._view(np.fliplr(a._a))


def flipud(a: ndarray) -> ndarray:
    return device(a, "a")._view(np.flipud(a._a))


def rot90(a: ndarray, k: int = 1, axes: tuple[int, int] = (0, 1)) -> ndarray:
    return device(a, "a")._view(np.rot90(a._a, k, axes))


def diag(v: ndarray, k: int = 0) -> ndarray:
    return launched(np.array(np.diag(device(v, "v")._a, k)), v._a)


def roll(a: ndarray, shift: Any, axis: Any = None) -> ndarray:
    return launched(c_ordered(np.roll(device(a, "a")._a, shift, axis)), a._a)


@method("repeat")
def repeat(a: ndarray, repeats: Any, axis: int | None = None) -> ndarray:
    if type(repeats) is np.ndarray:
        raise TypeError("'repeats' does not accept numpy.ndarray; convert with cupy.array() first")
    if type(repeats) is ndarray:
        counts.record_sync()  # the host must know the length of the result
        repeats = repeats._a
    for _ in range(0 if axis is None else a.shape[axis] - 1):  # CuPy copies one after the other
        counts.record_launch(a._a, ())
    return launched(c_ordered(device(a, "a")._a.repeat(repeats, axis)), a._a)


def tile(A: ndarray, reps: Any) -> ndarray:
    return launched(np.tile(device(A, "A")._a, reps), A._a)


def tril(m: ndarray, k: int = 0) -> ndarray:
    return launched(c_ordered(np.tril(device(m, "m")._a, k)), m._a)


def triu(m: ndarray, k: int = 0) -> ndarray:
    return launched(c_ordered(np.triu(device(m, "m")._a, k)), m._a)


def pad(array: ndarray, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> ndarray:
    return launched(c_ordered(np.pad(device(array, "array")._a, pad_width, mode, **kwargs)), array._a)


def concatenate(
    tup: Sequence[ndarray],
    axis: int | None = 0,
    out: ndarray | None = None,
    *,
    dtype: Any = None,
    casting: Any = "same_kind",
) -> ndarray:
    parts = [device(x, "tup")._a for x in tup]
    _addresses_travel(parts)
    return launched_into(out, c_ordered(np.concatenate(parts, axis, dtype=dtype, casting=casting)), *parts)


def stack(
    tup: Sequence[ndarray], axis: int = 0, out: ndarray | None = None, *, dtype: Any = None, casting: Any = "same_kind"
) -> ndarray:
    parts = [device(x, "tup")._a for x in tup]
    _addresses_travel(parts)
    return launched_into(out, c_ordered(np.stack(parts, axis, dtype=dtype, casting=casting)), *parts)


def _addresses_travel(parts: Sequence[np.ndarray]) -> None:
    """More than eight arrays CuPy takes by one kernel, if they are of one dtype and small: it reads where they are."""
    one_kernel = len(parts) > 8 and len({x.dtype for x in parts}) == 1
    if one_kernel and sum(x.nbytes for x in parts) < 2 * 1024 * 1024 * len(parts):
        counts.record_upload()


def vstack(tup: Sequence[ndarray], *, dtype: Any = None, casting: Any = "same_kind") -> ndarray:
    return concatenate([atleast_2d(x) for x in tup], 0, dtype=dtype, casting=casting)


def hstack(tup: Sequence[ndarray], *, dtype: Any = None, casting: Any = "same_kind") -> ndarray:
    parts = [atleast_1d(x) for x in tup]
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1, dtype=dtype, casting=casting)


def column_stack(tup: Sequence[ndarray]) -> ndarray:
    return concatenate([x[:, None] if device(x, "tup").ndim == 1 else x for x in tup], 1)


def split(ary: ndarray, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    return [ary._view(part) for part in np.split(device(ary, "ary")._a, indices_or_sections, axis)]


def array_split(ary: ndarray, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    return [ary._view(part) for part in np.array_split(device(ary, "ary")._a, indices_or_sections, axis)]


def vsplit(ary: ndarray, indices_or_sections: Any) -> list[ndarray]:
    return split(ary, indices_or_sections, 0)


def hsplit(ary: ndarray, indices_or_sections: Any) -> list[ndarray]:
    return split(ary, indices_or_sections, 0 if device(ary, "ary").ndim == 1 else 1)


def append(arr: ndarray, values: ndarray, axis: int | None = None) -> ndarray:
    return concatenate([arr, values], axis)


def diff(a: ndarray, n: int = 1, axis: int = -1) -> ndarray:
    return launched(c_ordered(np.diff(device(a, "a")._a, n, axis)), a._a)


def meshgrid(*xi: ndarray, **kwargs: Any) -> list[ndarray]:
    return [launched(np.array(x)) for x in np.meshgrid(*(device(x, "xi")._a for x in xi), **kwargs)]
