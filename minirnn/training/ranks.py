"""The processes that train together, and how each hears of the others: by MPI, or one alone."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Protocol

import numpy as np

from minirnn.arrays import BackendError
from minirnn.workers import cores

STALLED = 10.0  # seconds that a rank waits for the others, beyond three times what its own share took
CHUNK = 2**28  # bytes sent at a time: MPI counts them with 31 bits


class Ranks(Protocol):
    """What data-parallel training asks of a group of processes. Every method is called by all of them, or it waits."""

    rank: int
    size: int
    cores: int  # for each rank on this machine

    def sum(self, buffer: np.ndarray) -> np.ndarray:
        """The sum of everybody's buffer."""

    def gather(self, buffer: np.ndarray) -> np.ndarray:
        """Everybody's buffer, one row for each rank."""

    def share(self, blob: bytes) -> bytes:
        """What rank 0 gives."""

    def awaited(self, yes: bool) -> None:
        """From here on the others wait for this rank, or no longer do."""


class OneRank:
    """A group of one: it needs no MPI."""

    rank, size = 0, 1

    def __init__(self) -> None:
        self.cores = cores()

    def sum(self, buffer: np.ndarray) -> np.ndarray:
        return buffer

    def gather(self, buffer: np.ndarray) -> np.ndarray:
        return buffer[None]

    def share(self, blob: bytes) -> bytes:
        return blob

    def awaited(self, yes: bool) -> None:
        pass


class Mpi:
    """The processes of ``mpiexec``. None waits for ever: one that stalls, or raises what nobody catches, ends all."""

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise BackendError(
                f"data-parallel training needs mpi4py and an MPI, which the extra 'mpi' brings ({error})"
            ) from error
        self.in_place, self.world = MPI.IN_PLACE, MPI.COMM_WORLD
        self.rank, self.size = self.world.Get_rank(), self.world.Get_size()
        beside = self.world.Split_type(MPI.COMM_TYPE_SHARED).Get_size()
        self.cores = max(1, cores() // beside)
        self.met = time.monotonic()  # when all were in one place last
        self.awaited(True)  # from the start: the others will come to where this one fails
        if self.size > 1:
            sys.excepthook = self._end_all

    def sum(self, buffer: np.ndarray) -> np.ndarray:
        self._wait(self.world.Iallreduce(self.in_place, buffer))
        return buffer

    def gather(self, buffer: np.ndarray) -> np.ndarray:
        rows = np.empty((self.size, *buffer.shape), buffer.dtype)
        self._wait(self.world.Iallgather(buffer, rows))
        return rows

    def share(self, blob: bytes) -> bytes:
        size = np.array([len(blob)])
        self._wait(self.world.Ibcast(size))
        given = np.frombuffer(blob, np.uint8).copy() if self.rank == 0 else np.empty(int(size[0]), np.uint8)
        for start in range(0, len(given), CHUNK):
            self._wait(self.world.Ibcast(given[start : start + CHUNK]))
        return given.tobytes()

    def awaited(self, yes: bool) -> None:
        _awaited[:] = [group for group in _awaited if group is not self] + [self] * yes

    def abort(self, code: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.world.Abort(code)

    def _wait(self, request: Any) -> None:
        """Until all have come; they have about as much to do as this one had."""
        began = time.monotonic()
        limit = STALLED + 3 * (began - self.met)
        while not request.Test():
            if time.monotonic() - began > limit:
                raise TimeoutError(
                    f"rank {self.rank} of {self.size} has waited {limit:.0f} s for the others; one of them has stalled"
                )
            _yield()
        self.met = time.monotonic()

    def _end_all(self, kind: type[BaseException], error: BaseException, where: Any) -> None:
        import traceback  # only here: it costs time to import

        traceback.print_exception(kind, error, where)
        print(f"rank {self.rank} ends the whole run", file=sys.stderr)
        self.abort(1)


_awaited: list[Mpi] = []  # the group, while others wait for this process


def end_all(code: int) -> None:
    """Ends the other ranks too, if they still wait for this one, which is about to leave with an error."""
    for group in _awaited:
        if group.size > 1:
            group.abort(code)


def _yield() -> None:
    """Lets others compute: there may be more ranks than cores."""
    os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)
