"""CuPy's functions that make device arrays or bring them across the boundary."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.testing.strict_cupy import counts
from minirnn.testing.strict_cupy.array import (
    checked_dtype,
    device,
    fill_value,
    garbage,
    launched,
    ndarray,
    on_device,
    operand,
)


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    if type(obj) is ndarray:
        same = dtype is None or np.dtype(dtype) == obj.dtype
        made = obj if same and not copy else obj.astype(obj.dtype if dtype is None else dtype, order)
    elif isinstance(obj, (list, tuple)) and obj and all(type(x) is ndarray for x in obj):
        stacked = np.stack([x._a for x in obj])
        made = launched(stacked if dtype is None else stacked.astype(checked_dtype(dtype)), *(x._a for x in obj))
    else:
        host: np.ndarray = np.array(obj, dtype, order=order)
        checked_dtype(host.dtype)
        counts.record_upload()
        made = on_device(host)
    return made if made.ndim >= ndmin else made.reshape((1,) * (ndmin - made.ndim) + made.shape)


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    return array(a, dtype, bool(copy), order or "K")


def asanyarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    return asarray(a, dtype, order, copy=copy)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    found = asarray(a, dtype)
    found = found if found._a.flags.c_contiguous else found.copy()
    return found if found.ndim else found.reshape(1)


def asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    found = asarray(a, dtype)
    return found if found._a.flags.f_contiguous else found.copy("F")


def asnumpy(a: Any, stream: Any = None, order: Any = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    return a.get(stream, order, out) if type(a) is ndarray else np.asarray(a, order=order)


def copy(a: ndarray, order: Any = "K") -> ndarray:
    return device(a, "a").copy(order)


def astype(x: ndarray, dtype: Any, /, *, copy: bool = True) -> ndarray:
    return device(x, "x").astype(dtype, copy=copy)


def copyto(dst: ndarray, src: Any, casting: Any = "same_kind", where: Any = None) -> None:
    a, b = device(dst, "dst")._a, fill_value(src)
    np.copyto(a, b, casting, True if where is None else operand(where))
    counts.record_launch(a, (b,))


def empty(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    return ndarray(shape, dtype, order)


def zeros(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    return launched(np.zeros(shape, checked_dtype(dtype), order))


def ones(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    return launched(np.ones(shape, checked_dtype(dtype), order))


def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> ndarray:
    value = operand(fill_value)
    return launched(np.full(shape, value, None if dtype is None else checked_dtype(dtype), order))


def empty_like(
    prototype: ndarray, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None
) -> ndarray:
    like = np.empty_like(device(prototype, "prototype")._a, dtype, order, shape=shape)
    like[...] = garbage((), like.dtype, "C")
    return on_device(like)


def zeros_like(a: ndarray, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None) -> ndarray:
    return launched(np.zeros_like(device(a, "a")._a, dtype, order, shape=shape))


def ones_like(a: ndarray, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None) -> ndarray:
    return launched(np.ones_like(device(a, "a")._a, dtype, order, shape=shape))


def full_like(
    a: ndarray, fill_value: Any, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None
) -> ndarray:
    return launched(np.full_like(device(a, "a")._a, operand(fill_value), dtype, order, shape=shape))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    start, stop = (0, start) if stop is None else (start, stop)
    return launched(np.arange(start, stop, step, dtype))  # type: ignore[call-overload]


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    made: Any = np.linspace(operand(start), operand(stop), num, endpoint, retstep, dtype, axis)  # type: ignore
    return (launched(made[0]), made[1]) if retstep else launched(made)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: Any = "C") -> ndarray:
    return launched(np.eye(N, M, k, checked_dtype(dtype), order))


def identity(n: int, dtype: Any = float) -> ndarray:
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> ndarray:
    return launched(np.tri(N, M, k, checked_dtype(dtype)))
