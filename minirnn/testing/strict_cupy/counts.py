"""What a computation cost the device: launches, host synchronisations, transfers and slips into float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

_SINGLE, _DOUBLE = frozenset("efF"), frozenset("dD")  # dtype characters


@dataclass(eq=False)
class Counts:
    """Tally of what the strict fake was asked to do; ``reset()`` sets every figure back to zero.

    Attributes
    ----------
    launches : int
        One per call that computes or copies: a lower bound, since some of CuPy's functions launch several kernels.
        Views launch nothing.
    syncs : int
        Times the host had to wait for the device: ``float(x)``, ``bool(x)``, ``x.get()``, boolean masks, ...
    host_to_device, device_to_host : int
        Arrays copied from NumPy to the device and back.
    float64_results : int
        Calls with a float32 operand that computed in float64 all the same.
    """

    launches: int = 0
    syncs: int = 0
    host_to_device: int = 0
    device_to_host: int = 0
    float64_results: int = 0

    def reset(self) -> None:
        for field in fields(self):
            setattr(self, field.name, 0)


active: list[Counts] = []  # empty nearly always, so that the fake pays one truth test per call
watchers: list[Callable[[str], None]] = []  # told of every "sync", "H2D" and "D2H" before it is counted


@contextmanager
def counting() -> Iterator[Counts]:
    """Count what the strict fake does inside the ``with`` block; blocks may be nested.

    Examples
    --------
    >>> from minirnn.testing import strict_cupy
    >>> with strict_cupy() as cupy, counting() as counts:
    ...     x = cupy.ones((2, 3))
    ...     total = float((x * x).sum())
    >>> counts.launches, counts.syncs, counts.device_to_host
    (3, 1, 1)
    """
    counts = Counts()
    active.append(counts)
    try:
        yield counts
    finally:
        active.remove(counts)


@contextmanager
def nothing_counted() -> Iterator[None]:
    """What is done inside the ``with`` block is no launch of its own: it belongs to a recording."""
    found = active[:]
    active.clear()
    try:
        yield
    finally:
        active.extend(found)


def record_launch(result: np.ndarray, operands: tuple[Any, ...]) -> None:
    kinds = {x.dtype.char for x in (result, *operands) if hasattr(x, "dtype")}
    slipped = not _SINGLE.isdisjoint(kinds) and not _DOUBLE.isdisjoint(kinds)
    for counts in active:
        counts.launches += 1
        counts.float64_results += slipped


def _tell(what: str) -> None:
    for watcher in watchers:
        watcher(what)


def record_sync(what: str = "D2H") -> None:
    """The host waits: for a number that it cannot do without, or, with "sync", for nothing but the end of the work."""
    _tell(what)
    for counts in active:
        counts.syncs += 1


def record_upload() -> None:
    _tell("H2D")
    for counts in active:
        counts.host_to_device += 1


def record_download() -> None:
    """A transfer to the host, which waits for the device."""
    _tell("D2H")
    for counts in active:
        counts.device_to_host += 1
        counts.syncs += 1
