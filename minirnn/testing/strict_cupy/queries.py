"""CuPy's questions: about contents it answers with a device array, about type and place with a Python value."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from minirnn.testing.strict_cupy import counts
from minirnn.testing.strict_cupy.array import c_ordered, device, launched, ndarray, operand


def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    x, y = operand(a), operand(b)
    return launched(np.isclose(x, y, rtol, atol, equal_nan))


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    return isclose(a, b, rtol, atol, equal_nan).all()


def array_equal(a1: ndarray, a2: ndarray, equal_nan: bool = False) -> ndarray:
    return launched(np.array_equal(device(a1, "a1")._a, device(a2, "a2")._a, equal_nan))


def real(val: ndarray) -> ndarray:
    return device(val, "val").real


def imag(val: ndarray) -> ndarray:
    return device(val, "val").imag


def angle(z: ndarray, deg: bool = False) -> ndarray:
    return launched(c_ordered(np.angle(device(z, "z")._a, deg)), z._a)


def iscomplexobj(x: Any) -> bool:
    return np.dtype(getattr(x, "dtype", type(x))).kind == "c"


def isrealobj(x: Any) -> bool:
    return not iscomplexobj(x)


def isscalar(element: Any) -> bool:
    return np.isscalar(element)


def ndim(a: ndarray) -> int:
    return a.ndim if type(a) is ndarray else np.ndim(a)


def shape(a: ndarray) -> tuple[int, ...]:
    return a.shape if type(a) is ndarray else np.shape(a)


def size(a: ndarray, axis: int | None = None) -> int:
    return device(a, "a").size if axis is None else device(a, "a").shape[axis]


def may_share_memory(a: ndarray, b: ndarray, max_work: Any = None) -> bool:
    return np.may_share_memory(device(a, "a")._a, device(b, "b")._a)


def shares_memory(a: ndarray, b: ndarray, max_work: Any = None) -> bool:
    counts.record_sync()
    return np.shares_memory(device(a, "a")._a, device(b, "b")._a)


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    return np.result_type(*(x._a if type(x) is ndarray else x for x in arrays_and_dtypes))


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    return np.can_cast(from_.dtype if type(from_) is ndarray else from_, to, casting)


def get_array_module(*args: Any) -> Any:
    """The fake if an argument lives there, else NumPy."""
    on_device = any(type(x) is ndarray for x in args)
    return sys.modules["minirnn.testing.strict_cupy.module"].fake if on_device else np
