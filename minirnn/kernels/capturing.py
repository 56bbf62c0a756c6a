"""Recordings: what a function of device arrays launches, taken down once as a CUDA graph, and one launch from then on.

The problem. A training step asks the device for hundreds of kernels, each of which takes it a few microseconds. The
host needs longer to ask for one than the device to do it, so the device waits for the host.

The answer. CUDA writes down the launches of a stream without doing them, with every address and every number that they
were given, and does them all at a word. What the host has put in, a number, a length, a random draw, is in the
recording for ever. So a recorded function reads device memory alone: its arguments are copied into arrays that stay
where they are, and whatever else it reads stays where it is too. All memory that it takes while it is recorded comes
from a pool of its own, and nobody else is given any of it as long as the recording can be launched.

Of its products the function takes those that CuPy would give to cuBLAS by the kernel of ``products.py``. A device has
measured none of this yet, so nothing here happens unless it is asked for.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import numpy as np

from minirnn.arrays import Array, asarray, no_draws, to_numpy
from minirnn.kernels.numpy import check_ids
from minirnn.kernels.products import own_products

OF_CAPTURES = range(900, 909)  # what CUDA says of a stream that captures, whether its runtime is asked or its driver
MOST = 4  # recordings of one function: each keeps all the memory that its arrays need

_at_work: ContextVar[_Recording | None] = ContextVar("minirnn_recording_at_work", default=None)
_clock: ContextVar[Array | None] = ContextVar("minirnn_recording_clock", default=None)


class CaptureError(RuntimeError):
    """A function does what no recording can hold; the message says what it is."""


class captured:  # noqa: N801  # called like a function
    """A function of arrays whose launches on the device are recorded, and then are one launch.

    The first call with arguments of some form computes as ever, for kernels have to be compiled. The second is
    recorded, and launched; later ones are launched alone. Each call takes effect once.

    Parameters
    ----------
    function : callable
        Takes device arrays, and returns arrays in tuples or lists, or None. It may write into arrays that stay. What it
        does on the host, it does at the first two calls alone.
    others : callable, optional
        Returns the arrays that the function reads besides its arguments. Where one of them has been replaced by another
        since it was recorded, it is recorded anew.

    Raises
    ------
    CaptureError
        When called: if the function reads from the device, copies to it, draws random numbers on the host, or calls a
        library that CuPy refuses to record. The second call may find what the first did not.

    Notes
    -----
    Arguments are NumPy arrays, device arrays, or None, and their form is their shapes and dtypes; integers travel as
    int64. Of more than four forms the others are computed as ever, with a warning. What a call returns are the same
    arrays as at the last call of that form, with new contents: copy what is to outlast the next.
    """

    def __init__(self, function: Callable, others: Callable[[], Sequence[Array]] = tuple):
        self.function, self.others = function, others
        self._recordings: dict[tuple, _Recording] = {}

    def __call__(self, *arguments: Array | None) -> Any:
        form = tuple(None if x is None else (x.shape, np.dtype(x.dtype).str) for x in arguments)
        recording = self._recordings.get(form)
        if recording is None:
            recording = _Recording(self.function, self.others, arguments)
            if len(self._recordings) < MOST:
                self._recordings[form] = recording
            else:
                warnings.warn(f"arguments of more than {MOST} forms: further ones are not recorded", stacklevel=2)
        try:
            return recording(arguments)
        except BaseException:
            self._recordings.pop(form, None)  # it may have ended half-way
            raise


def checked_before(ids: Any, size: int, name: str) -> bool:
    """Whether ids are an argument of the function that is recorded: these are checked on the host, before they travel.

    Raises
    ------
    IndexError
        If one lies outside ``[0, size)``; now, or at a later call before anything is launched.
    """
    recording = _at_work.get()
    return recording is not None and recording.checks(ids, size, name)


@contextmanager
def drawing_at(clock: Array) -> Iterator[None]:
    """Within this block of a recorded function, dropout draws at the step that it was told plus ``clock``.

    ``clock`` is an argument of the function, one int64: so every call can draw other masks.
    """
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)


def clock_of_recording(stream: str) -> Array | None:
    """What has to be added to the step of a random stream; nothing, unless it is recorded.

    Raises
    ------
    RuntimeError
        If it is, and the recording has no clock: then it would draw the same for ever.
    """
    clock = _clock.get()
    if clock is None and _at_work.get() is not None:
        raise RuntimeError(f"the random numbers of {stream!r} are drawn at a step that is counted on the host")
    return clock


class _Recording:
    """One form of the arguments: the arrays that stay, and the graph."""

    graph: Any = None
    pool: Any = None  # here, so that it is there as long as the graph
    result: Any = None

    def __init__(self, function: Callable, others: Callable[[], Sequence[Array]], arguments: Sequence[Array | None]):
        self.function, self.others = function, others
        self.given = arguments  # of the call under way
        self.fixed = [None if x is None else asarray(x, _travelling(x), "cupy") for x in arguments]
        self.to_check: dict[tuple[int, int, str], None] = {}  # which argument, against which size, by which name
        self.calls = 0
        self.read: list[Array] = []

    def __call__(self, arguments: Sequence[Array | None]) -> Any:
        self.given = arguments
        for k, size, name in self.to_check:
            check_ids(to_numpy(arguments[k]), size, name)
        if self.calls:
            for fixed, x in zip(self.fixed, arguments, strict=True):
                if fixed is not None and x is not fixed:
                    _bring(fixed, x)
        self.calls += 1
        if self.calls == 1:
            self.result = self._run()
            return self.result
        read = list(self.others())
        if self.graph is None or any(a is not b for a, b in zip(read, self.read, strict=True)):
            self._capture()
            self.read = read
        self.graph.launch()
        return self.result

    def __del__(self) -> None:
        self._give_back()

    def _give_back(self) -> None:
        """Frees what the graph needed, as CuPy does not: what is free in a pool stays taken when the pool is gone."""
        self.graph = self.result = None
        if self.pool is not None:
            self.pool.free_all_blocks()

    def _capture(self) -> None:
        cupy, cuda = sys.modules["cupy"], sys.modules["cupy"].cuda
        self._give_back()
        cupy.get_default_memory_pool().free_all_blocks()  # the first call took as much, and needs it no more
        before, self.pool, stream = self.pool, cuda.MemoryPool(), cuda.Stream(non_blocking=True)
        try:
            self._record(stream, cuda.using_allocator(self.pool.malloc))
        finally:
            if before is not None:
                before.free_all_blocks()  # what was still in use when the recording began

    def _record(self, stream: Any, own_memory: Any) -> None:
        with stream, own_memory:
            stream.begin_capture()
            try:
                self.result = self._run()
            except BaseException:
                with suppress(RuntimeError):  # a recording that failed cannot be ended in peace
                    stream.end_capture()
                raise
            self.graph = stream.end_capture()

    def _run(self) -> Any:
        token = _at_work.set(self)
        try:
            with own_products(), no_draws():
                return self.function(*self.fixed)
        except RuntimeError as error:
            is_cupys = type(error) in (RuntimeError, NotImplementedError)
            if not is_cupys and getattr(error, "status", 0) not in OF_CAPTURES:
                raise  # the device has failed, which says nothing of the function
            raise CaptureError(f"this function cannot be recorded: {error}") from error
        finally:
            _at_work.reset(token)

    def checks(self, ids: Any, size: int, name: str) -> bool:
        places = [k for k, fixed in enumerate(self.fixed) if fixed is ids]
        if not places:
            return False
        check_ids(to_numpy(self.given[places[0]]), size, name)
        self.to_check[places[0], size, name] = None
        return True


def _travelling(x: Array) -> Any:
    """The dtype in which an argument travels."""
    return np.int64 if x.dtype.kind in "iu" else x.dtype


def _bring(fixed: Array, x: Array) -> None:
    """Copies an argument into the array that stays.

    Not by ``set``: from memory that is not pinned it waits for the device, or, where a device reads that memory itself,
    it may read what has been changed since. CuPy makes arrays by way of pinned memory, which it keeps long enough.
    """
    fixed[...] = asarray(x, fixed.dtype, "cupy") if isinstance(x, np.ndarray) else x
