"""A group of ranks that are threads of one process: the arithmetic of data-parallel training without an MPI."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np

from minirnn.training.data_parallel import DataParallel


class Table:
    """Where the ranks meet: everyone lays something down, and takes up what all have laid there."""

    def __init__(self, size: int):
        self.size, self.barrier, self.places = size, threading.Barrier(size, timeout=60), [None] * size

    def meet(self, rank: int, thing: Any) -> list[Any]:
        self.places[rank] = thing
        self.barrier.wait()
        found = list(self.places)
        self.barrier.wait()
        return found


class RankThread:
    """One of them."""

    cores = 1

    def __init__(self, table: Table, rank: int):
        self.table, self.rank, self.size = table, rank, table.size

    def sum(self, buffer):
        return sum(self.table.meet(self.rank, buffer))

    def gather(self, buffer):
        return np.stack(self.table.meet(self.rank, buffer))

    def share(self, blob):
        return self.table.meet(self.rank, blob)[0]

    def awaited(self, yes):
        pass


def on_ranks(size: int, task: Callable[[DataParallel], Any], deterministic: bool = False) -> list[Any]:
    """``task(parallel)`` at every rank."""
    table = Table(size)

    def at(rank: int) -> Any:
        try:
            return task(DataParallel(deterministic, RankThread(table, rank)))
        except BaseException:
            table.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(copy_context().run, at, rank) for rank in range(size)]
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [future.result() for future in futures]
