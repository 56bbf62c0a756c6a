"""CuPy's reductions, functions and methods alike: neither ``where`` nor ``initial``, and never a host scalar."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.testing.strict_cupy.array import c_ordered, device, launched, launched_into, method, ndarray

Out = ndarray | None


@method("sum")
def sum(a: ndarray, axis: Any = None, dtype: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.sum(axis, dtype, keepdims=keepdims)), a._a)


@method("prod")
def prod(a: ndarray, axis: Any = None, dtype: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.prod(axis, dtype, keepdims=keepdims)), a._a)


@method("mean")
def mean(a: ndarray, axis: Any = None, dtype: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.mean(axis, dtype, keepdims=keepdims)), a._a)


@method("var")
def var(
    a: ndarray, axis: Any = None, dtype: Any = None, out: Out = None, ddof: int = 0, keepdims: bool = False
) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.var(axis, dtype, ddof=ddof, keepdims=keepdims)), a._a)


@method("std")
def std(
    a: ndarray, axis: Any = None, dtype: Any = None, out: Out = None, ddof: int = 0, keepdims: bool = False
) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.std(axis, dtype, ddof=ddof, keepdims=keepdims)), a._a)


@method("max")
def max(a: ndarray, axis: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.max(axis, keepdims=keepdims)), a._a)


@method("min")
def min(a: ndarray, axis: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.min(axis, keepdims=keepdims)), a._a)


@method("ptp")
def ptp(a: ndarray, axis: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(np.ptp(device(a, "a")._a, axis, keepdims=keepdims)), a._a)


@method("all")
def all(a: ndarray, axis: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.all(axis, keepdims=keepdims)), a._a)


@method("any")
def any(a: ndarray, axis: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.any(axis, keepdims=keepdims)), a._a)


@method("argmax")
def argmax(a: ndarray, axis: Any = None, *, dtype: Any = np.int64, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.argmax(axis, keepdims=keepdims)).astype(dtype), a._a)


@method("argmin")
def argmin(a: ndarray, axis: Any = None, *, dtype: Any = np.int64, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.argmin(axis, keepdims=keepdims)).astype(dtype), a._a)


@method("cumsum")
def cumsum(a: ndarray, axis: int | None = None, dtype: Any = None, out: Out = None) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.cumsum(axis, dtype)), a._a)


@method("cumprod")
def cumprod(a: ndarray, axis: int | None = None, dtype: Any = None, out: Out = None) -> ndarray:
    return launched_into(out, c_ordered(device(a, "a")._a.cumprod(axis, dtype)), a._a)


@method("trace")
def trace(a: ndarray, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Out = None) -> ndarray:
    return launched_into(out, device(a, "a")._a.trace(offset, axis1, axis2, dtype), a._a)


amax, amin = max, min


def nansum(a: ndarray, axis: Any = None, dtype: Any = None, out: Out = None, keepdims: bool = False) -> ndarray:
    return launched_into(out, c_ordered(np.nansum(device(a, "a")._a, axis, dtype, keepdims=keepdims)), a._a)


def count_nonzero(a: ndarray, axis: Any = None) -> ndarray:
    return launched(np.count_nonzero(device(a, "a")._a, axis), a._a)


def median(
    a: ndarray, axis: Any = None, out: Out = None, overwrite_input: bool = False, keepdims: bool = False
) -> ndarray:
    return launched_into(out, c_ordered(np.median(device(a, "a")._a, axis, keepdims=keepdims)), a._a)
