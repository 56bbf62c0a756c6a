"""Methods of a device array that copy, cast, fill and reinterpret what it holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.testing.strict_cupy import counts
from minirnn.testing.strict_cupy.array import checked_dtype, fill_value, launched, method, ndarray


@method("copy", "__copy__")
def copy(self: ndarray, order: Any = "C") -> ndarray:
    return launched(self._a.copy(order), self._a)


@method("__deepcopy__")
def deepcopy(self: ndarray, memo: Any) -> ndarray:
    return copy(self)


@method("flatten")
def flatten(self: ndarray, order: Any = "C") -> ndarray:
    return launched(self._a.flatten(order), self._a)


@method("astype")
def astype(
    self: ndarray, dtype: Any, order: Any = "K", casting: None = None, subok: None = None, copy: bool = True
) -> ndarray:
    if casting is not None:
        raise TypeError("casting is not supported yet")
    if subok is not None:
        raise TypeError("subok is not supported yet")
    wanted = checked_dtype(dtype)
    if not copy and wanted == self._a.dtype:
        return self
    return launched(self._a.astype(wanted, order))  # a cast is meant: no slip into float64 to be counted


@method("view")
def view(self: ndarray, dtype: Any = None) -> ndarray:
    return self._view(self._a.view() if dtype is None else self._a.view(checked_dtype(dtype)))


@method("fill")
def fill(self: ndarray, value: Any) -> None:
    self._a.fill(fill_value(value))
    counts.record_launch(self._a, ())


@method("conj", "conjugate")
def conj(self: ndarray) -> ndarray:
    return launched(np.conjugate(self._a, order="C"), self._a) if self._a.dtype.kind == "c" else self
