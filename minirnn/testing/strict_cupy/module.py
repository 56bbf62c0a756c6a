"""The module that stands in for ``cupy``: an allow-list, so that what CuPy lacks is missing here too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from minirnn.testing.strict_cupy import (
    boundary,
    capture,
    contents,
    creation,
    linalg,
    operators,
    queries,
    reductions,
    selecting,
    shaping,
)
from minirnn.testing.strict_cupy.array import launched, method, ndarray
from minirnn.testing.strict_cupy.device import cuda
from minirnn.testing.strict_cupy.kernels import RawKernel, RawModule
from minirnn.testing.strict_cupy.ufuncs import all_ufuncs, ufunc

_SHARED_WITH_NUMPY = """
    bool bool_ complex64 complex128 complexfloating dtype e finfo float16 float32 float64 floating generic iinfo inexact
    inf int8 int16 int32 int64 integer intp issubdtype nan newaxis number pi promote_types signedinteger uint8 uint16
    uint32 uint64 unsignedinteger broadcast_shapes
"""
_FUNCTIONS = (creation, reductions, shaping, selecting, queries, linalg)
_METHODS = (boundary, contents, operators)  # imported for what they give to ``ndarray``


class Generator:
    """CuPy's random generator: no ``normal``, ``choice``, ``permutation``, ``shuffle``, and no state to save."""

    def __init__(self, seed: int | None = None):
        self._host = np.random.default_rng(seed)

    def random(self, size: Any = None, dtype: Any = np.float64, out: None = None) -> ndarray:
        return launched(self._host.random(size, dtype))

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: None = None) -> ndarray:
        return launched(self._host.standard_normal(size, dtype))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None, dtype: Any = np.float64) -> ndarray:
        return launched(np.asarray(self._host.uniform(low, high, size), dtype))

    def integers(
        self, low: int, high: int | None = None, size: Any = None, dtype: Any = np.int64, endpoint: bool = False
    ) -> ndarray:
        return launched(self._host.integers(low, high, size, dtype, endpoint))

    def exponential(self, scale: float = 1.0, size: Any = None) -> ndarray:
        return launched(self._host.exponential(scale, size))


def _functions_of(*modules: ModuleType) -> dict[str, Any]:
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def _missing(name: str) -> Any:
    raise AttributeError(
        f"module 'cupy' has no attribute {name!r} (as the strict fake knows it: see minirnn.testing.strict_cupy)"
    )


def _build() -> Any:
    module = ModuleType("cupy", "The strict fake of CuPy.")
    contents = {name: getattr(np, name) for name in _SHARED_WITH_NUMPY.split()}
    contents |= all_ufuncs() | _functions_of(*_FUNCTIONS)
    contents |= {
        "ndarray": ndarray,
        "ufunc": ufunc,
        "linalg": linalg.linalg,
        "random": SimpleNamespace(default_rng=Generator, Generator=Generator),
        "cuda": cuda,
        "get_default_memory_pool": capture.get_default_memory_pool,
        "RawKernel": RawKernel,
        "RawModule": RawModule,
        "__version__": "14.2.0",
        "__getattr__": _missing,
    }
    vars(module).update(contents)
    return module


vars(cuda).update(
    Graph=capture.Graph,
    MemoryPool=capture.MemoryPool,
    Stream=capture.Stream,
    get_current_stream=capture.get_current_stream,
    using_allocator=capture.using_allocator,
)
fake = _build()
capture.RECORDED.extend((fake, ndarray, ufunc, RawKernel))
capture.REFUSED.extend(((linalg.linalg, "cuSOLVER"), (linalg.cublas, "cuBLAS"), (Generator, "cuRAND")))


# NumPy's functions, called on device arrays


@method("__array_ufunc__")
def array_ufunc(self: ndarray, ufunc: np.ufunc, name: str, *inputs: Any, **kwargs: Any) -> Any:
    if "out" in kwargs:
        if len(kwargs["out"]) != 1:
            raise ValueError("The `out` parameter must have exactly one array value")
        kwargs["out"] = kwargs["out"][0]
    twin = getattr(fake, ufunc.__name__, None)
    return NotImplemented if twin is None else getattr(twin, name)(*inputs, **kwargs)


@method("__array_function__")
def array_function(self: ndarray, function: Callable, types: Any, args: Any, kwargs: Any) -> Any:
    home = fake.linalg if function.__module__ == "numpy.linalg" else fake
    twin = getattr(home, function.__name__, None)
    if twin is None or not all(kind in (ndarray, np.ndarray) for kind in types):
        return NotImplemented
    return twin(*args, **kwargs)
