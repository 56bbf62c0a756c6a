"""Large arrays on the host whose memory is used again, as CuPy's pool does it on the device.

The problem. A training step allocates the same large arrays as the step before, and when they are let go, the system
takes their pages back. To be handed pages again costs more than to compute what stands in them: of 26 milliseconds of a
small step (two layers, H = 128) 6 went to page faults, of 165 of a larger one (H = 256, two threads) 30.

The answer. Blocks are kept, and lent again once nobody refers to them. No one has to give them back: an array lies in a
loan, which whoever holds the array, a view of it, or a closure that saved it, holds too; when Python takes the loan
apart, its block is free. A block that nobody has wanted for some steps goes back to the system, and with `release` all
that nobody holds.

Only the block itself, at the root of ``x.base.base``, is not to be held: it is lent again whoever refers to it.

Nothing here waits for a lock, so threads, signal handlers and finalizers may ask for memory at any time.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

# Whether one thread at a time runs Python. A free-threaded Python has no such lock, unless some module turns it on.
HAS_LOCK: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

LARGE = 2**16  # bytes; what is smaller the allocator of the system keeps by itself
KEPT_FOR = 2000  # arrays lent since, after which a block that nobody wanted again is given back

_free: defaultdict[int, deque[tuple[int, _Block]]] = defaultdict(deque)  # by size: when it came back, and the block
_lent = _looked_through = 0  # arrays so far, and how many it were when blocks were last given back; roughly, in threads


class _Block(np.ndarray):
    """Memory that is lent. Of a class of its own, for an array in it shall refer to the loan: NumPy passes over views
    between an array and one of the same class."""

    __slots__ = ()


class _Loan(np.ndarray):
    """A view of a whole block; what lies in it lives no longer than this, and then the block is free."""

    __slots__ = ()

    def __del__(self) -> None:
        if _Block is not None and isinstance(self.base, _Block):  # no view or copy of a loan; and Python is not ending
            _free[self.nbytes].append((_lent, self.base))


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array whose contents are whatever was in its memory, like ``numpy.empty``.

    Examples
    --------
    >>> x = empty((200, 200), np.float64)
    >>> where = x.ctypes.data
    >>> del x
    >>> empty((200, 200), np.float64).ctypes.data == where
    True
    """
    global _lent, _looked_through
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    _lent += 1
    if _lent - _looked_through >= KEPT_FOR:
        _give_back(_lent - KEPT_FOR)
        _looked_through = _lent
    size = _rounded(size)
    try:
        _, block = _free[size].pop()  # that of which most may still be in the cache
    except IndexError:
        block = _Block(size, np.uint8)
    return np.ndarray(shape, dtype, block.view(_Loan))


def release() -> int:
    """Gives the memory that is kept, and held by nobody, back to the system; returns how many bytes that was.

    For a process that lives on after its training: the next step will have to ask the system again.

    Examples
    --------
    >>> x = empty((200, 200), np.float64)
    >>> del x
    >>> release() >= 200 * 200 * 8
    True
    >>> release()
    0
    """
    return _give_back(_lent)


def _give_back(until: int) -> int:
    """Lets go of the blocks that came back as one of the first ``until`` arrays was lent; returns their bytes."""
    given = 0
    for size, free in _free.copy().items():
        with suppress(IndexError):  # another thread may take the last of them
            while free[0][0] <= until:
                free.popleft()
                given += size
    return given


def _rounded(size: int) -> int:
    """The next larger size of a block: in steps of an eighth, so that arrays of about one size share their blocks."""
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step


def is_sole(held: Sequence[Any], k: int) -> bool:
    """Whether ``held[k]`` is a NumPy array in C order, and nobody but ``held`` refers to it or to its memory.

    Then it may be kept as it is where else a copy would have to be, and written into where else a fresh array would: to
    copy the 8 million gradients of a translator takes 7 milliseconds of a step of 170. While this looks, no variable
    may hold what ``held`` holds.

    Nothing is sole where Python runs without its lock. A count of references is two numbers there, and read while they
    are put together it is too low (CPython 3.13, Objects/object.c, _Py_ExplicitMergeRefcount).

    Examples
    --------
    >>> x = np.zeros(3)
    >>> is_sole([np.zeros(3)], 0) == HAS_LOCK, is_sole([x], 0), is_sole([x[1:]], 0)
    (True, False, False)
    """
    if not HAS_LOCK or not isinstance(held[k], np.ndarray):
        return False
    if not held[k].flags.c_contiguous or not held[k].flags.writeable:
        return False
    at, others = held, 1  # where it is held; then a list made here, beside which the view of it is the other
    while sys.getrefcount(at[k]) == others + 1:  # and the argument
        if at[k].base is None:
            return True
        if not isinstance(at[k].base, np.ndarray):
            return False  # memory of another library
        at, k, others = [at[k].base], 0, 2
    return False
