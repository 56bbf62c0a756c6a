"""Threads that compute side by side, and the BLAS under NumPy kept to one thread each while they do.

The problem. A recurrence is a chain: step t + 1 waits for step t, and a product of one step is too small to be shared
out among the threads of a BLAS without losing much of the gain to waiting. But the columns of a batch do not wait for
each other, nor does a gradient of weights for the step before it.

The answer. A few threads take a share each, and run through all steps without ever meeting: NumPy computes outside of
Python's lock, and a free-threaded Python has none. Each calls the BLAS with one thread. More would compete for the same
cores, and worse: the threads of OpenBLAS go on spinning for a while after each product, and what runs beside them takes
twice as long (5 milliseconds became 10). So wherever workers are used at all, every product is kept to one thread
(`one_blas_thread`).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache, wraps
from numbers import Integral
from typing import TYPE_CHECKING, Any

from minirnn.arrays import BackendError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_chosen: ContextVar[int | None] = ContextVar("minirnn_workers", default=None)  # None: as many as there are cores
_allowed: ContextVar[int | None] = ContextVar("minirnn_cores", default=None)  # None: all that this process may use
_inside: ContextVar[bool] = ContextVar("minirnn_inside_worker", default=False)


class use_workers:  # noqa: N801  # called like a function, and used in a with statement
    """Choose how many threads share the columns of a batch, until further notice or for the length of a ``with`` block.

    Parameters
    ----------
    number : int or "auto"
        ``"auto"``, as at the start: one for each core, where a batch is large enough to be worth sharing. A number:
        as many, whatever the size, but no more than there are columns. 1: no threads, and the BLAS uses its own.

    Raises
    ------
    ValueError
        If it is neither ``"auto"`` nor a positive integer.
    BackendError
        If it is more than 1, and the threads of the BLAS cannot be limited: threadpoolctl is missing (the extra
        ``fast`` brings it), and ``OPENBLAS_NUM_THREADS=1`` is not set either. ``"auto"`` then is 1.

    Notes
    -----
    The choice belongs to the current context: another thread is never affected. Results depend on the number of
    workers by rounding, and for one number they are the same bits every time, as long as no other thread changes how
    many threads the BLAS has: with more than one worker it has one, with one worker as many as the process gave it.

    Examples
    --------
    >>> with use_workers(1):
    ...     workers()
    1
    """

    def __init__(self, number: int | str):
        automatic = isinstance(number, str) and number == "auto"
        if not automatic and (not isinstance(number, Integral) or number is True or number < 1):
            raise ValueError(f"workers must be 'auto' or a positive integer, got {number!r}")
        chosen = None if automatic else int(number)
        if chosen is not None and chosen > 1 and not _blas.can_be_limited:
            raise BackendError(
                f"{number} workers need a BLAS of one thread each: install threadpoolctl (the extra 'fast' brings it), "
                "or set OPENBLAS_NUM_THREADS=1 before Python starts"
            )
        self._token = _chosen.set(chosen)

    def __enter__(self) -> use_workers:
        return self

    def __exit__(self, *exc: object) -> None:
        _chosen.reset(self._token)


def workers() -> int:
    """How many threads may compute side by side here: 1 within a worker, for it has no others to call on."""
    if _inside.get():
        return 1
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    return (_allowed.get() or cores()) if _blas.can_be_limited else 1


@cache
def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_automatic() -> bool:
    """Whether nobody asked for a number, so that sizes decide what is worth sharing."""
    return _chosen.get() is None


def spread(task: Callable, parts: Sequence[Any]) -> list[Any]:
    """``[task(part) for part in parts]``, side by side: the first part in this thread, each other in one of its own.

    What the tasks see of the context (backend, recording, error handling) is that of the caller. If some raise, the
    error of the first of them is raised, after all have ended.
    """
    if workers() == 1:  # a pullback may be called where there are fewer workers than where its rule was
        return [task(part) for part in parts]
    with one_blas_thread():
        futures: list[Future] = []
        try:
            try:
                for part in parts[1:]:
                    futures.append(_submit(task, part))
            except RuntimeError as error:
                if "shutdown" not in str(error):
                    raise
                # the interpreter ends, and no thread starts any more: the other parts are done here
            here = [_within(task, part) for part in (parts[0], *parts[1 + len(futures) :])]
        finally:
            _wait_for(futures)
        return [here[0], *(future.result() for future in futures), *here[1:]]


def _submit(task: Callable, part: Any) -> Future:
    try:
        return _pool(workers() - 1).submit(copy_context().run, _within, task, part)
    except BaseException:
        _pools.clear()  # interrupted on its way, a pool may keep a lock for ever
        raise


def _wait_for(futures: Sequence[Future]) -> None:
    """Until all have ended. What interrupts the wait goes on after it: no task runs on when its caller has left."""
    try:
        for future in futures:
            future.exception()
    except BaseException:
        _wait_for(futures)
        raise


def _within(task: Callable, *arguments: Any) -> Any:
    token = _inside.set(True)
    try:
        return task(*arguments)
    finally:
        _inside.reset(token)


def blas_has_one_thread() -> bool:
    """Whether products here are computed with one thread, so that it pays to lay matrices out for it.

    It is asked of the context and not of the BLAS, which another thread may have limited meanwhile: bits would depend
    on it.
    """
    return _inside.get() or workers() > 1 or _allowed.get() == 1 or _blas.is_set_to_one


AS_THEY_LIE = {"SkylakeX", "Cooperlake", "SapphireRapids"}  # OpenBLAS's kernels that rearrange no small matrix: AVX-512


def blas_kernels() -> set[str]:
    """For which processors the BLAS has its kernels in use, by OpenBLAS's names; empty where nobody tells."""
    return {library.architecture for library in _blas.libraries_found() if hasattr(library, "architecture")}


def blocks_are_quicker() -> bool:
    """Whether a product goes quicker by blocks of rows that are small: where one thread takes those as they lie.

    Where nobody tells it does not: a product that is taken whole loses less than one that is cut up in vain.
    """
    kernels = blas_kernels()
    return blas_has_one_thread() and bool(kernels) and kernels <= AS_THEY_LIE


class _Blas:
    """The number of threads that the BLAS under NumPy uses. It belongs to the process: open blocks share one limit."""

    def __init__(self) -> None:
        self.lock, self.open, self.limited = threading.Lock(), set[object](), False
        self.libraries: list[Any] | None = None  # looked for when they are first asked for
        self.before: list[int] = []

    @property
    def can_be_limited(self) -> bool:
        return bool(self.libraries_found()) or self.is_set_to_one

    @property
    def is_set_to_one(self) -> bool:
        """By the environment: a BLAS asks for its own variable, and for OMP_NUM_THREADS only if that says nothing."""
        own = {_number_in(f"{name}_NUM_THREADS") for name in ("OPENBLAS", "MKL")} - {0}
        return (own or {_number_in("OMP_NUM_THREADS")}) == {1}

    def libraries_found(self) -> list[Any]:
        if self.libraries is None:
            try:
                from threadpoolctl import ThreadpoolController
            except ImportError:
                self.libraries = []
            else:
                self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        return self.libraries

    def enter(self, block: object) -> None:
        with self.lock:
            self.open.add(block)
            if not self.limited:
                self.before = [library.get_num_threads() for library in self.libraries_found()]
                self.limited = True
                for library in self.libraries_found():
                    library.set_num_threads(1)

    def leave(self, block: object) -> None:
        """Whether the block was entered wholly, in part or, being interrupted, not at all."""
        with self.lock:
            self.open.discard(block)
            if not self.open and self.limited:
                self.restore()
                self.limited = False

    def restore(self) -> None:
        for library, number in zip(self.libraries_found(), self.before, strict=True):
            library.set_num_threads(number)


def _number_in(variable: str) -> int:
    """The number that a variable of the environment begins with, as a BLAS reads it: of "4,1" it is 4, of "" 0."""
    found = re.match(r"\s*\+?(\d+)", os.environ.get(variable, ""))
    return int(found[1]) if found else 0


_blas = _Blas()


@contextmanager
def limited_to(cores: int) -> Iterator[None]:
    """Within this block this process counts on so many cores, and so does its BLAS: the others are somebody else's."""
    libraries = _blas.libraries_found()
    before = [library.get_num_threads() for library in libraries]
    token = _allowed.set(cores)
    try:
        for library in libraries:
            library.set_num_threads(cores)
        yield
    finally:
        _allowed.reset(token)
        for library, number in zip(libraries, before, strict=True):
            library.set_num_threads(number)


class one_blas_thread:  # noqa: N801  # called like a function: a block, or what decorates a function
    """Within this block the BLAS computes every product with one thread, if there are workers that it would disturb.

    The limit holds for the whole process while any block is open; the last to be left restores what was before.
    A class and not a generator, for every operation on tensors enters a block: 2.8 microseconds instead of 3.5.
    """

    __slots__ = ("blas",)

    def __enter__(self) -> None:
        self.blas = None if _inside.get() or workers() == 1 else _blas  # who started this worker keeps a block open
        if self.blas is not None:  # remembered, for a process that is forked within the block has another
            try:
                self.blas.enter(self)
            except BaseException:
                self.blas.leave(self)
                raise

    def __exit__(self, *exc: object) -> None:
        if self.blas is not None:
            self.blas.leave(self)

    def __call__(self, function: Callable) -> Callable:
        @wraps(function)
        def limited(*arguments: Any, **options: Any) -> Any:
            with one_blas_thread():
                return function(*arguments, **options)

        return limited


_pools: dict[int, ThreadPoolExecutor] = {}
_making = threading.Lock()


def _pool(number: int) -> ThreadPoolExecutor:
    """So many threads, made when they are first needed, and anew in a process that was forked."""
    with _making:
        if number not in _pools:
            from concurrent.futures import ThreadPoolExecutor  # who never computes need not import it

            _pools[number] = ThreadPoolExecutor(number, thread_name_prefix="minirnn-worker")
        return _pools[number]


def _forget() -> None:
    """In a process that was forked: its threads and locks are new, and the BLAS as it was before any block."""
    global _making, _blas
    parent, _making, _blas = _blas, threading.Lock(), _Blas()
    parent.lock = threading.Lock()
    if parent.limited:
        parent.restore()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
