"""The ways between a device array and the host: every one is asked for by name, and each of them waits."""

from __future__ import annotations

from typing import Any, Never

import numpy as np

from minirnn.testing.strict_cupy import counts
from minirnn.testing.strict_cupy.array import method, ndarray


@method("__array__")
def refuse_conversion(self: ndarray, *args: Any, **kwargs: Any) -> Never:
    raise TypeError(
        "Implicit conversion to a NumPy array is not allowed. "
        "Please use `.get()` to construct a NumPy array explicitly."
    )


@method("get")
def get(self: ndarray, stream: Any = None, order: Any = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
    counts.record_download()
    if out is None:
        return np.array(self._a, order=order)
    np.copyto(out, self._a, casting="no")
    return out


@method("set")
def upload(self: ndarray, arr: np.ndarray, stream: Any = None) -> None:
    if not isinstance(arr, np.ndarray):
        raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
    if arr.dtype != self._a.dtype:
        raise TypeError(f"{arr.dtype} array cannot be set to {self._a.dtype} array")
    if arr.shape != self._a.shape:
        raise ValueError(f"Shape mismatch. Old shape: {self._a.shape}, new shape: {arr.shape}")
    counts.record_upload()
    counts.record_sync("sync")  # from memory that is not pinned
    self._a[...] = arr


@method("item")
def item(self: ndarray) -> Any:
    if self._a.size != 1:
        raise ValueError("can only convert an array of size 1 to a Python scalar")
    return self.get().item()


@method("tolist")
def tolist(self: ndarray) -> Any:
    return self.get().tolist()


@method("tobytes")
def tobytes(self: ndarray, order: Any = "C") -> bytes:
    return self.get().tobytes(order)


@method("__float__")
def to_float(self: ndarray) -> float:
    return float(self.get())


@method("__int__")
def to_int(self: ndarray) -> int:
    return int(self.get())


@method("__complex__")
def to_complex(self: ndarray) -> complex:
    return complex(self.get())


@method("__bool__")
def to_bool(self: ndarray) -> bool:
    return bool(self.get())


@method("__repr__")
def to_repr(self: ndarray) -> str:
    return repr(self.get())


@method("__str__")
def to_str(self: ndarray) -> str:
    return str(self.get())


@method("__format__")
def to_formatted(self: ndarray, format_spec: str) -> str:
    return format(self.get(), format_spec)


@method("__dlpack_device__")
def dlpack_device(self: ndarray) -> tuple[int, int]:
    return 2, 0  # kDLCUDA, device 0


@method("__dlpack__")
def dlpack(self: ndarray, **kwargs: Any) -> Never:
    raise BufferError("the strict fake has no CUDA memory to export")
