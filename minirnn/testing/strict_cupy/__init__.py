"""A stand-in for CuPy on machines without a GPU: NumPy's arithmetic behind CuPy's interface, refusals and oddities.

Code that runs on the fake touches the device as CuPy would allow it: no NumPy array slips into a kernel, no result
comes back to the host unasked, no function or keyword is used that CuPy lacks. Where CuPy is looser than NumPy (some
of its functions quietly accept host arrays, a float as index is cut to an integer) the fake keeps to the stricter of
the two, so that what runs here runs on both. Floating-point warnings, which a device never gives, are NumPy's.

A kernel of one's own is held against its declaration, and its twin in array operations computes (``twins.py``). A
stream can capture a graph, and refuses meanwhile what CuPy refuses (``capture.py``).

Not imitated: the code of such kernels, streams that run at the same time, memory pools, and the last bits of a result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from minirnn.testing.strict_cupy import capture, indexing
from minirnn.testing.strict_cupy.counts import Counts, counting
from minirnn.testing.strict_cupy.faults import failing, raising
from minirnn.testing.strict_cupy.linalg import cublas
from minirnn.testing.strict_cupy.module import fake

__all__ = ["Counts", "broken_cupy", "counting", "failing", "strict_cupy"]


@contextmanager
def strict_cupy(seed: int = 0) -> Iterator[Any]:
    """Let ``import cupy`` mean the strict fake inside the ``with`` block; afterwards all is as it was.

    Parameters
    ----------
    seed : int
        Draws what a device leaves undefined: the winner among writes to one element, the order of ``add.at``.

    Yields
    ------
    module
        The fake, with the names of CuPy that it offers.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn.arrays import use_backend, asarray
    >>> with strict_cupy() as cupy, use_backend("cupy"):
    ...     x = asarray([1.0, 2.0])
    ...     x + np.ones(2)
    Traceback (most recent call last):
        ...
    TypeError: Unsupported type <class 'numpy.ndarray'>
    """
    indexing.reseed(seed)
    with _standing_in(fake):
        try:
            yield fake
        finally:
            capture.end_all()


@contextmanager
def broken_cupy(status: int, devices: int = 1, driver: int = 12090) -> Iterator[Any]:
    """Let ``import cupy`` mean a CuPy whose device cannot be used inside the ``with`` block.

    Parameters
    ----------
    status : int
        What CUDA answers, for instance 35, insufficient driver.
    devices : int
        How many it counts, and then fails to compute on; with 0 it fails at counting them.
    driver : int
        The CUDA that the driver serves, as CUDA writes it, 12090 for 12.9; 0 for no driver. CuPy needs 12.9.

    Examples
    --------
    >>> from minirnn.arrays import use_backend, current_backend
    >>> with broken_cupy(209), use_backend("auto"):
    ...     current_backend()
    'numpy'
    """
    broken, fail = ModuleType("cupy"), raising(status)
    runtime = {**vars(fake.cuda.runtime), "driverGetVersion": lambda: driver}
    runtime["getDeviceCount"] = (lambda: devices) if devices else fail
    vars(broken).update(vars(fake), ones=fail)
    broken.cuda = SimpleNamespace(**vars(fake.cuda) | {"runtime": SimpleNamespace(**runtime)})  # type: ignore[attr-defined]
    with _standing_in(broken):
        yield broken


@contextmanager
def _standing_in(module: ModuleType) -> Iterator[None]:
    replaced = {name: sys.modules.pop(name) for name in list(sys.modules) if _belongs_to_cupy(name)}
    sys.modules.update({"cupy": module, "cupy.cublas": cublas})  # type: ignore[dict-item]  # a class that stands for one
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _belongs_to_cupy(name)]:
            del sys.modules[name]
        sys.modules.update(replaced)


def _belongs_to_cupy(name: str) -> bool:
    return name.partition(".")[0] in ("cupy", "cupyx")
