"""Where arrays live: which module computes with them, where new ones are made, and how random ones are drawn."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any
from weakref import WeakSet

import numpy as np

from minirnn.arguments import not_negative
from minirnn.devices import comes_from_a_device, in_words, is_out_of_memory

Array = Any  # a NumPy or a CuPy array: the two share no base class

_backend: ContextVar[str] = ContextVar("minirnn_backend", default="numpy")
_drawing: ContextVar[bool] = ContextVar("minirnn_drawing", default=True)
_usable: WeakSet[ModuleType] = WeakSet()  # modules seen to compute: every further try would wait for the device


class BackendError(RuntimeError):
    """A backend was asked for that this machine cannot run, or it failed while it ran."""


class DeviceMemoryError(BackendError, MemoryError):
    """The memory of the device is used up; what was to be computed is not, and arrays that existed are as they were."""


def home_of(x: Array) -> str:
    """Name of the backend that holds ``x``: ``"numpy"`` or ``"cupy"``.

    Raises
    ------
    TypeError
        If ``x`` is not an array of a known backend.
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return "numpy"
    if type(x).__module__.partition(".")[0] == "cupy":
        return "cupy"
    raise TypeError(f"expected a NumPy or CuPy array, got {type(x).__name__}")


def xp_of(*arrays: Array) -> Any:
    """The array module of ``arrays``, which must all live in the same place.

    Parameters
    ----------
    *arrays : array
        At least one array; ``None`` entries are skipped.

    Returns
    -------
    module
        ``numpy`` or ``cupy``.

    Raises
    ------
    TypeError
        If an argument is not an array, or if they live in different places.

    Examples
    --------
    >>> xp_of(np.zeros(3)).__name__
    'numpy'
    """
    homes = {home_of(x) for x in arrays if x is not None}
    if not homes:
        raise TypeError(f"expected at least one array, got none{' but NoneType' if arrays else ''}")
    if len(homes) > 1:
        where = ", ".join(f"argument {k}: {home_of(x)}" for k, x in enumerate(arrays) if x is not None)
        raise TypeError(f"arrays live in different places ({where}); move them with .to('numpy') or .to('cupy')")
    return np if homes == {"numpy"} else sys.modules["cupy"]


def module_of(backend: str) -> Any:
    """The array module that a backend's name stands for, tested to be usable.

    Raises
    ------
    ValueError
        If ``backend`` is not ``"numpy"``, ``"cupy"`` or ``"auto"``.
    BackendError
        If ``"cupy"`` is asked for and CuPy is missing or finds no usable device.
    """
    return np if _resolve(backend) == "numpy" else importlib.import_module("cupy")


def _resolve(backend: str) -> str:
    if backend not in ("numpy", "cupy", "auto"):
        raise ValueError(f"backend must be 'numpy', 'cupy' or 'auto', got {backend!r}")
    if backend == "numpy":
        return "numpy"
    why_not = _why_no_device()
    if why_not and backend == "cupy":
        raise BackendError(
            f"backend 'cupy' cannot be used here: {why_not}; use 'numpy', or 'auto' to fall back by itself"
        )
    return "numpy" if why_not else "cupy"


def _why_no_device() -> str:
    """Why CuPy cannot compute on this machine; empty when it can. Importing it proves nothing: it imports anywhere."""
    try:
        cupy: ModuleType = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name not in (None, "cupy"):
            return f"CuPy needs {error.name}, which is not installed"
        return "CuPy is not installed (the extras cuda12 and cuda13 bring it)"
    except ImportError as error:
        return f"CuPy is installed but cannot be imported: {in_words(error.__cause__ or error)}"
    if cupy in _usable:
        return ""
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "CuPy finds no CUDA device"
        x = cupy.ones((2, 2))
        (x @ x).sum().item()  # memory, the library of products, the compiler and a kernel: each can be what fails
    except Exception as error:  # the driver's errors share no base class, and any of them means the same
        return f"CuPy is installed but finds no usable device: {in_words(error, cupy)}"
    _usable.add(cupy)
    return ""


@contextmanager
def device_errors(doing: str) -> Iterator[None]:
    """Within this block an error of the device is raised as one of minirnn, which says what was going on.

    Parameters
    ----------
    doing : str
        What the device was to do, and how large it is.

    Raises
    ------
    DeviceMemoryError
        If the memory of the device does not suffice.
    BackendError
        If the device fails in another way.
    """
    try:
        yield
    except Exception as error:
        if not comes_from_a_device(error):
            raise
        kind = DeviceMemoryError if is_out_of_memory(error) else BackendError
        raise kind(f"{doing}: {in_words(error, sys.modules['cupy'])}") from error


class use_backend:  # noqa: N801  # called like a function, and used in a with statement
    """Choose where new arrays are made, until further notice or for the length of a ``with`` block.

    Parameters
    ----------
    name : {"numpy", "cupy", "auto"}
        ``"auto"`` takes CuPy if a device can really be used, else NumPy.

    Raises
    ------
    ValueError
        If the name is none of the three.
    BackendError
        If ``"cupy"`` is asked for and no device can be used.

    Notes
    -----
    The choice belongs to the current context: another thread is never affected. Arrays that exist stay where they are.

    Examples
    --------
    >>> with use_backend("numpy"):
    ...     current_backend()
    'numpy'
    """

    def __init__(self, name: str):
        self._token = _backend.set(_resolve(name))

    def __enter__(self) -> use_backend:
        return self

    def __exit__(self, *exc: object) -> None:
        _backend.reset(self._token)


def current_backend() -> str:
    """Name of the backend on which new arrays are made."""
    return _backend.get()


def asarray(data: Any, dtype: Any = None, backend: str | None = None) -> Array:
    """A fresh array in C order with the contents of ``data``, on the current backend or on the one named."""
    xp = module_of(backend or current_backend())
    return xp.array(data if xp is not np else to_numpy(data), dtype=dtype, order="C")


def to_numpy(x: Any) -> np.ndarray:
    """``x`` as a NumPy array: unchanged if it is one, fetched from the device if it lives there."""
    return x.get() if not isinstance(x, np.generic) and type(x).__module__.startswith("cupy") else np.asarray(x)


def read_only(array: Array) -> Array:
    """The same memory for reading alone; on a device, whose arrays cannot be protected, the array itself."""
    if home_of(array) != "numpy":
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def float_dtype(dtype: Any) -> np.dtype:
    """``dtype`` as a NumPy dtype, if it is one that parameters can have.

    Raises
    ------
    ValueError
        If it is neither float32 nor float64.
    """
    try:
        found = None if dtype is None else np.dtype(dtype)  # NumPy takes None for float64
    except TypeError:
        found = None
    if found is None or found not in (np.dtype("float32"), np.dtype("float64")):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return found


def joint_dtype(*arrays: Array | None) -> np.dtype:
    """The dtype that holds them all, complex if any of them is; optional arguments may be missing."""
    return xp_of(*arrays).result_type(*(x for x in arrays if x is not None))


@contextmanager
def no_draws() -> Iterator[None]:
    """Within this block `random_generator` raises a RuntimeError: what it drew would be the same for ever."""
    token = _drawing.set(False)
    try:
        yield
    finally:
        _drawing.reset(token)


def random_generator(seed: int, stream: str = "", step: int = 0) -> np.random.Generator:
    """A random generator that depends on its three coordinates and on nothing else.

    It draws on the host, so both backends see the same bits, and there is no state to save: whoever knows the
    coordinates can draw the same numbers again.

    Parameters
    ----------
    seed : int
        The seed of the whole experiment, not negative.
    stream : str
        What the numbers are for; streams of different names are independent.
    step : int
        Position in the stream, not negative: an epoch, a training step, a call.

    Notes
    -----
    Philox (Salmon et al. 2011) turns a key and a counter into random bits. Seed and stream make the key, the step is
    the third of the four counter words, and the lower two count the blocks drawn at that step.

    Examples
    --------
    >>> a, b = (random_generator(1, "mask", step=5).random() for _ in range(2))
    >>> a == b
    True
    """
    not_negative(step=step)
    if not _drawing.get():
        raise RuntimeError(f"the random numbers of {stream or 'a stream without a name'!r} are drawn anew on the host")
    counter = np.array([0, 0, int(step) % 2**64, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=random_key(seed, stream), counter=counter))


def random_key(seed: int, stream: str) -> np.ndarray:
    """The two words of 64 bits that are the key of a random stream: the seed, and a digest of the name."""
    import hashlib  # only here: it is among the slowest imports of the standard library

    not_negative(seed=seed)
    name = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "little")
    return np.array([int(seed) % 2**64, name], dtype=np.uint64)
