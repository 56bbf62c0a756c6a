"""A stand-in for CuPy on machines without a GPU: NumPy's arithmetic behind CuPy's interface, refusals and oddities.

Code that runs on the fake touches the device as CuPy would allow it: no NumPy array slips into a kernel, no result
comes back to the host unasked, no function or keyword is used that CuPy lacks. Where CuPy is looser than NumPy (some
of its functions quietly accept host arrays, a float as index is cut to an integer) the fake keeps to the stricter of
the two, so that what runs here runs on both. Floating-point warnings, which a device never gives, are NumPy's.

A kernel of one's own is held against its declaration, and its twin in array operations computes (``twins.py``).

Not imitated: the code of such kernels, streams that run at the same time, memory pools, and the last bits of a result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minirnn.testing.strict_cupy import indexing
from minirnn.testing.strict_cupy.counts import Counts, counting
from minirnn.testing.strict_cupy.linalg import cublas
from minirnn.testing.strict_cupy.module import fake

__all__ = ["Counts", "counting", "strict_cupy"]


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
    replaced = {name: sys.modules.pop(name) for name in list(sys.modules) if _belongs_to_cupy(name)}
    sys.modules.update({"cupy": fake, "cupy.cublas": cublas})
    indexing.reseed(seed)
    try:
        yield fake
    finally:
        for name in [name for name in sys.modules if _belongs_to_cupy(name)]:
            del sys.modules[name]
        sys.modules.update(replaced)


def _belongs_to_cupy(name: str) -> bool:
    return name.partition(".")[0] in ("cupy", "cupyx")
