"""The device array of the strict fake: a NumPy array behind CuPy's interface and CuPy's refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minirnn.testing.strict_cupy import counts, faults, indexing
from minirnn.testing.strict_cupy.device import Device, Flags, MemoryPointer

SCALARS = (bool, int, float, complex, np.generic)


def on_device(a: Any) -> ndarray:
    """A new device array that owns ``a``; a scalar becomes a 0-d array."""
    array = _allocate(ndarray)
    array._a = a if type(a) is np.ndarray else np.asarray(a)
    array._base = None
    if faults.waiting:
        faults.record_allocation(array._a.nbytes)
    return array


def launched(result: Any, *operands: Any) -> ndarray:
    """The same for what one kernel computed from the operands."""
    array = on_device(result)
    if counts.active:
        counts.record_launch(array._a, operands)
    return array


def launched_into(out: ndarray | None, result: Any, *operands: Any) -> ndarray:
    """The same, written into ``out`` if there is one."""
    if out is None:
        return launched(result, *operands)
    target = device(out, "out")._a
    if target.shape != np.shape(result):
        raise ValueError("Out shape is mismatched")
    np.copyto(target, result, casting="same_kind")
    if counts.active:
        counts.record_launch(target, operands)
    return out


def device(x: Any, name: str) -> ndarray:
    """``x`` itself, if it lives on the device; CuPy takes nothing else and converts nothing silently."""
    if type(x) is ndarray:
        return x
    raise TypeError(f"Argument '{name}' has incorrect type (expected cupy.ndarray, got {_full_name(type(x))})")


def operand(x: Any) -> Any:
    """What NumPy shall compute with: the contents of a device array, or a scalar. Nothing else goes into a kernel."""
    if type(x) is ndarray:
        return x._a
    if isinstance(x, SCALARS):
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def index_array(x: Any) -> np.ndarray:
    """The contents of an index array; unlike operands, lists and NumPy arrays are uploaded silently here."""
    if type(x) is ndarray:
        return x._a
    counts.record_upload()
    found = np.asarray(x)
    return found.astype(np.int32) if found.size == 0 and not isinstance(x, np.ndarray) else found


def fill_value(value: Any) -> Any:
    """What NumPy shall write into an array: as for a kernel, but CuPy takes a 0-d NumPy array for a scalar here."""
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0):
        raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
    return value if isinstance(value, np.ndarray) else operand(value)


def c_ordered(x: Any) -> np.ndarray:
    return np.asarray(x, order="C")


def checked_dtype(dtype: Any) -> np.dtype:
    """``dtype`` as a NumPy dtype, if a device can hold it."""
    found = np.dtype(dtype)
    if found.char not in "?bBhHiIlLqQefdFD":
        raise ValueError(f"Unsupported dtype {found}")
    return found


def method(*names: str) -> Callable[[Callable], Callable]:
    """Make a function a method of ``ndarray`` under these names; most of CuPy's functions are methods too."""

    def attach(function: Callable) -> Callable:
        for name in names:
            setattr(ndarray, name, function)
        return function

    return attach


def _full_name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def defers_to(other: Any) -> bool:
    """CuPy's rule for leaving a binary operator to the other operand's reflected method."""
    try:
        return other.__array_ufunc__ is None
    except AttributeError:
        return getattr(other, "__array_priority__", 0) > ndarray.__array_priority__


class ndarray:  # noqa: N801  # the name is CuPy's
    """Array on the pretended device, with the attributes and methods of ``cupy.ndarray`` that the fake offers.

    What CuPy's array lacks is missing here as well: ``__index__``, ``__contains__``, ``__imatmul__``, ``__round__``,
    ``setflags``, ``resize``, ``flags.writeable``. Python then says so, or falls back as it does on the device.
    """

    __slots__ = ("__weakref__", "_a", "_base")
    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 100
    _a: np.ndarray
    _base: ndarray | None

    if TYPE_CHECKING:  # most methods and all operators are set from outside, beside the functions that they repeat

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, shape: Any, dtype: Any = float, order: str = "C"):
        self._a = garbage(shape, dtype, order)
        self._base = None
        if faults.waiting:
            faults.record_allocation(self._a.nbytes)

    def _view(self, a: np.ndarray) -> ndarray:
        """An array that shares this one's memory: no launch."""
        view = _allocate(ndarray)
        view._a = a
        view._base = self if self._base is None else self._base
        return view

    def _view_or_copy(self, a: np.ndarray) -> ndarray:
        """For functions that return a view where the layout allows one, and a copy where not."""
        return self._view(a) if not a.size or np.may_share_memory(a, self._a) else launched(a, self._a)

    # Attributes

    @property
    def shape(self) -> tuple[int, ...]:
        return self._a.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        view = self._a.reshape(shape)
        if not np.may_share_memory(view, self._a):
            raise AttributeError("incompatible shape for a non-contiguous array")
        self._a = view

    @property
    def dtype(self) -> np.dtype:
        return self._a.dtype

    @property
    def ndim(self) -> int:
        return self._a.ndim

    @property
    def size(self) -> int:
        return self._a.size

    @property
    def itemsize(self) -> int:
        return self._a.itemsize

    @property
    def nbytes(self) -> int:
        return self._a.nbytes

    @property
    def strides(self) -> tuple[int, ...]:
        return self._a.strides

    @property
    def flags(self) -> Flags:
        flags = self._a.flags
        return Flags(flags.c_contiguous, flags.f_contiguous, self._base is None)

    @property
    def _c_contiguous(self) -> bool:
        """What CuPy's own Python files ask, for ``flags`` makes an object each time."""
        return self._a.flags.c_contiguous

    @property
    def base(self) -> ndarray | None:
        return self._base

    @property
    def data(self) -> MemoryPointer:
        return MemoryPointer(self._a.ctypes.data)

    @property
    def device(self) -> Device:
        return Device()

    @property
    def T(self) -> ndarray:
        return self if self._a.ndim < 2 else self._view(self._a.T)

    @property
    def mT(self) -> ndarray:
        return self._view(self._a.mT)

    @property
    def real(self) -> ndarray:
        return self._view(self._a.real) if self._a.dtype.kind == "c" else self

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> ndarray:
        return self._view(self._a.imag) if self._a.dtype.kind == "c" else launched(np.zeros_like(self._a, order="C"))

    @imag.setter
    def imag(self, value: Any) -> None:
        if self._a.dtype.kind != "c":
            raise TypeError("cupy.ndarray does not have imaginary part to set")
        self.imag[...] = value

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Iterator[ndarray]:
        if self._a.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[k] for k in range(len(self._a)))

    # Indexing

    def _parts(self, index: Any) -> tuple[tuple[Any, ...], bool]:
        """The index as NumPy takes it, and whether it selects a view."""
        parts = index if type(index) is tuple else (index,)
        if indexing.is_basic(parts):
            return indexing.as_view(parts), True
        arrays = (ndarray, np.ndarray, list, tuple, bool, np.bool_)
        parts = tuple(index_array(part) if isinstance(part, arrays) else part for part in parts)
        return indexing.wrap(parts, self._a.shape), False

    def __getitem__(self, index: Any) -> ndarray:
        parts, basic = self._parts(index)
        if basic:
            return self._view(self._a[parts])
        if _has_mask(parts):
            counts.record_sync()
        return launched(c_ordered(self._a[parts]), self._a)

    def __setitem__(self, index: Any, value: Any) -> None:
        value, a = fill_value(value), self._a
        parts, basic = self._parts(index)
        if basic:
            a[parts] = value
        elif _has_mask(parts):  # each element is written once, but how many there are the host must know
            counts.record_sync()
            a[parts] = value
        else:
            target, values = indexing.shuffled_targets(a, parts, value)
            indexing.flat_or_whole(a)[target] = values
        if counts.active:
            counts.record_launch(a, ())


_allocate = object.__new__

ndarray.__module__ = "cupy"  # the product code knows a device array by this


def garbage(shape: Any, dtype: Any, order: Any) -> np.ndarray:
    """Memory as an allocator hands it out: NaN, or a value that no computation means, shows a read before a write."""
    a: np.ndarray = np.empty(shape, checked_dtype(dtype), order)
    kind = a.dtype.kind
    a.fill(np.nan if kind in "fc" else kind == "b" or np.iinfo(a.dtype).max - 42)
    return a


def _has_mask(parts: tuple[Any, ...]) -> bool:
    return any(isinstance(part, np.ndarray) and part.dtype.kind == "b" for part in parts)
