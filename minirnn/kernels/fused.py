"""The arithmetic of the cells on a device: one launch where array operations take up to fifteen.

A function here has the name and the arguments of its twin in array operations, and launches the kernel of that name in
``cuda/``. What kernels do not take is left to the twin: complex numbers, arrays of different dtypes, and arrays that
are not contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from minirnn.kernels import rnn
from minirnn.kernels.launching import REALS, launch

THREADS = 256  # of a block


def fused(twin: Callable) -> Callable:
    """Makes a launch of a function that says how many threads there are to be, and what the kernel is given.

    A kernel stands in the source that is called like the module of its twin.
    """
    source, kernel = twin.__module__.rpartition(".")[2], twin.__name__

    def made_of(told: Callable) -> Callable:
        @wraps(told)
        def launched(*arguments: Any) -> None:
            first, *others = (x for x in arguments if hasattr(x, "dtype"))
            if first.dtype in REALS and all(x.dtype == first.dtype and x._c_contiguous for x in (first, *others)):
                threads, given = told(*arguments)
                launch(source, kernel, (-(-threads // THREADS),), (THREADS,), *given)
            else:
                twin(*arguments)

        return launched

    return made_of


@fused(rnn.rnn_activate)
def rnn_activate(a, h, nonlinearity):
    return h.size, (a, h, nonlinearity == "relu", h.size)


@fused(rnn.rnn_slopes)
def rnn_slopes(h, slopes, nonlinearity):
    return h.size, (h, slopes, nonlinearity == "relu", h.size)


@fused(rnn.rnn_back)
def rnn_back(dh_t, dh, da):
    return dh.size, (dh_t, dh, da, dh.size)
