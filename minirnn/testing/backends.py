"""The backends to test on, by name: NumPy, the strict fake that needs no GPU, and CuPy where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minirnn.arrays import BackendError, module_of, use_backend
from minirnn.testing.strict_cupy import strict_cupy


def backends() -> tuple[str, ...]:
    """Names for `on_backend`; ``"cupy"`` among them only where a device can really be used."""
    try:
        module_of("cupy")
    except BackendError:
        return "numpy", "strict_cupy"
    return "numpy", "strict_cupy", "cupy"


@contextmanager
def on_backend(name: str) -> Iterator[Any]:
    """New arrays are made on this backend inside the ``with`` block; yields its array module.

    Examples
    --------
    >>> from minirnn import Tensor
    >>> with on_backend("strict_cupy"):
    ...     Tensor([1.0, 2.0]).backend
    'cupy'
    """
    if name == "strict_cupy":
        with strict_cupy() as cupy, use_backend("cupy"):
            yield cupy
    else:
        with use_backend(name):
            yield module_of(name)
