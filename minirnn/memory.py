"""Large arrays on the host whose memory is used again, as CuPy's pool does it on the device.

The problem. A training step allocates the same large arrays as the step before, and when they are let go, the system
takes their pages back. To be handed pages again costs more than to compute what stands in them: of 26 milliseconds of a
small step (two layers, H = 128) 6 went to page faults, of 165 of a larger one (H = 256, two threads) 30.

The answer. Blocks are kept, and lent again once nobody but this module refers to them. No one has to give them back:
whoever holds an array, a view of it, or a closure that saved it, holds its block, and Python counts that. A block that
nobody has wanted for some steps goes back to the system, and with `release` all that nobody holds.
"""

from __future__ import annotations

import math
import os
import threading
from collections import defaultdict
from collections.abc import Sequence
from sys import getrefcount
from typing import Any

import numpy as np

LARGE = 2**16  # bytes; what is smaller the allocator of the system keeps by itself
KEPT_FOR = 2000  # arrays lent since, after which a block that nobody wanted again is given back
LOOKED_AT = 64  # blocks of a size that are tried: those lent last, whose contents may still be in the cache

_blocks: defaultdict[int, list[list[Any]]] = defaultdict(list)  # by size: [when it was lent last, block]
_lent = _looked_through = 0  # arrays so far, and how many it were when blocks were last given back
_lock = threading.Lock()


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
    if not _lock.acquire(blocking=False):  # another thread is here, or this one, interrupted by a signal's handler
        return np.empty(shape, dtype)
    try:
        _lent += 1
        if _lent - _looked_through >= KEPT_FOR:
            _give_back(_lent - KEPT_FOR)
            _looked_through = _lent
        held = _blocks[_rounded(size)]
        for k in reversed(range(max(0, len(held) - LOOKED_AT), len(held))):
            if _is_free(held[k]):
                entry = held.pop(k)
                break
        else:
            entry = [_lent, np.empty(_rounded(size), np.uint8)]
        held.append(entry)
        entry[0] = _lent
        return entry[1][:size].view(dtype).reshape(shape)
    finally:
        _lock.release()


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
    with _lock:
        before = _kept()
        _give_back(_lent)
        return before - _kept()


def _kept() -> int:
    return sum(size * len(held) for size, held in _blocks.items())


def is_sole(held: Sequence[Any], k: int) -> bool:
    """Whether ``held[k]`` is a NumPy array in C order, and nobody but ``held`` refers to it or to its memory.

    Then it may be kept as it is where else a copy would have to be, and written into where else a fresh array would: to
    copy the 8 million gradients of a translator takes 7 milliseconds of a step of 170. While this looks, no variable
    may hold what ``held`` holds.

    Examples
    --------
    >>> x = np.zeros(3)
    >>> is_sole([np.zeros(3)], 0), is_sole([x], 0), is_sole([x[1:]], 0)
    (True, False, False)
    """
    if not isinstance(held[k], np.ndarray) or not held[k].flags.c_contiguous or not held[k].flags.writeable:
        return False
    if getrefcount(held[k]) > 2:  # held itself, and the argument
        return False
    if held[k].base is None:
        return True
    if not isinstance(held[k].base, np.ndarray) or held[k].base.base is not None:
        return False  # memory of another library, or of whoever that one is a view of
    return getrefcount(held[k].base) <= 2 + _is_block(held[k].base)  # its view, the argument, and whoever lends it


def _is_block(x: np.ndarray) -> bool:
    return any(entry[1] is x for entry in tuple(_blocks.get(x.nbytes, ())))


def _rounded(size: int) -> int:
    """The next larger size of a block: in steps of an eighth, so that arrays of about one size share their blocks."""
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step


def _is_free(entry: list[Any]) -> bool:
    return getrefcount(entry[1]) == 2  # the entry, and the argument of this very call


def _give_back(until: int) -> None:
    """Lets go of the blocks that nobody holds and that were lent as one of the first ``until`` arrays."""
    for held in _blocks.values():
        held[:] = [entry for entry in held if entry[0] > until or not _is_free(entry)]


def _unlock() -> None:
    global _lock
    _lock = threading.Lock()  # in a process that was forked while another thread held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)
