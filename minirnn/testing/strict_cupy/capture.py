"""Recording on the pretended device, as CuPy records a CUDA graph: nothing runs, and what would wait is refused.

While a stream is capturing, all functions of the fake are replaced by ones that take down what they were called with.
What a call would return is known by its shape alone: it is full of garbage until the graph is launched, and what the
call would have written into is as it was. A launch of the graph makes the same calls again, on the same memory.

Stricter than CuPy: memory must come from a pool of one's own, which has to be there as long as the graph is, and give
back what is free in it before it goes.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, ClassVar, Never
from weakref import ref

import numpy as np

from minirnn.testing.strict_cupy import counts
from minirnn.testing.strict_cupy.array import garbage, ndarray
from minirnn.testing.strict_cupy.faults import CUDARuntimeError

UNSUPPORTED, INVALIDATED = 900, 901  # as CUDA numbers its errors
BY_CUBLAS = ("matmul", "dot", "vdot", "inner", "outer", "tensordot", "einsum", "kron", "__matmul__", "__rmatmul__")
NO_LAUNCHES = (
    *("__init__", "__getattr__", "__len__", "__iter__", "_view", "_view_or_copy", "_parts"),  # of arrays
    *("_read", "_given"),  # of kernels
)

RECORDED: list[Any] = []  # modules and classes whose functions are launches
REFUSED: list[tuple[Any, str]] = []  # classes whose functions are none that CuPy records, and the library they call


class MemoryPool:
    """Where the memory of a graph comes from. Nothing is pooled here; who allocates must have said from where."""

    _keeps = False

    def malloc(self, size: int) -> Never:
        raise NotImplementedError("the strict fake allocates by itself; a pool is what using_allocator is given")

    def free_all_blocks(self, stream: Stream | None = None) -> None:
        self._keeps = False

    def __del__(self) -> None:
        if self._keeps:
            warnings.warn("a pool is gone, and what was free in it stays taken", ResourceWarning, stacklevel=2)


_default_pool = MemoryPool()


def get_default_memory_pool() -> MemoryPool:
    return _default_pool


_allocators: list[Any] = [None]  # the default, and those of the blocks that have been entered


@contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    _allocators.append(allocator)
    try:
        yield
    finally:
        _allocators.pop()


class Stream:
    """A queue of work. All of it is done at once here, but waiting is counted, and a stream can capture."""

    null: ClassVar[Stream]

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None):
        self._null = null
        self._recording: Recording | None = None

    def __enter__(self) -> Stream:
        _streams.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _streams.pop()

    def synchronize(self) -> None:
        counts.record_sync("sync")

    def begin_capture(self, mode: int | None = None) -> None:
        if self._null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if _under_way:
            raise CUDARuntimeError(UNSUPPORTED)
        self._recording = Recording(self)
        _under_way.append(self._recording)

    def end_capture(self) -> Graph:
        recording, self._recording = self._recording, None
        if recording is None:
            raise CUDARuntimeError(UNSUPPORTED)
        _under_way.remove(recording)
        recording.end()
        if not recording.valid:
            raise CUDARuntimeError(INVALIDATED)
        return Graph._of(recording)

    def is_capturing(self) -> bool:
        return self._recording is not None


Stream.null = Stream(null=True)
_streams = [Stream.null]


def get_current_stream(device_id: int = -1) -> Stream:
    return _streams[-1]


class Graph:
    """What was recorded."""

    _recording: Recording

    def __init__(self, *args: Any, **kwargs: Any):
        raise NotImplementedError(
            "currently this class cannot be initiated by the user and must be created via stream capture"
        )

    @classmethod
    def _of(cls, recording: Recording) -> Graph:
        graph = cls.__new__(cls)
        graph._recording = recording
        return graph

    def launch(self, stream: Stream | None = None) -> None:
        """Does all that was recorded, on the same memory: one launch, whatever it holds."""
        if any(pool() is None for pool in self._recording.pools):
            raise CUDARuntimeError(700)  # its memory was given back
        with counts.nothing_counted():
            for function, args, kwargs, made in self._recording.calls:
                again = function(*args, **kwargs)
                for old, new in zip(made, arrays_in(again), strict=True):
                    if old is not None:
                        np.copyto(old._a, new._a)
        counts.record_launch(np.empty(0, np.float32), ())


class Recording:
    """What a stream takes down. It replaces the functions of the fake for as long as it lasts."""

    def __init__(self, stream: Stream):
        self.stream, self.inside, self.valid = stream, False, True
        self.calls: list[tuple[Callable, tuple, dict, list[ndarray | None]]] = []  # and which arrays each has made
        self.pools: set[ref] = set()
        self.replaced: list[tuple[Any, str, Any]] = []
        self._replace()
        counts.watchers.append(self.refuse)

    def end(self) -> None:
        counts.watchers.remove(self.refuse)
        for holder, name, function in reversed(self.replaced):
            setattr(holder, name, function)

    def refuse(self, what: str) -> None:
        """What CuPy says where the host would wait or copy."""
        if not self.concerned():
            return
        if what == "sync":
            self.valid = False
            raise CUDARuntimeError(UNSUPPORTED)
        raise RuntimeError(f"the current stream is capturing, so {what} transfers are disallowed")

    def concerned(self) -> bool:
        return get_current_stream() is self.stream

    def add(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        given = [*arrays_in(args), *arrays_in(kwargs)]
        before = [(x._a, x._a.copy()) for x in given if x._a.flags.writeable]
        self.inside = True
        try:
            with counts.nothing_counted(), np.errstate(all="ignore"):  # garbage may be anything
                result = getattr(function, "_only_checks", function)(*args, **kwargs)
        finally:
            self.inside = False
            for a, contents in before:  # nothing has run
                np.copyto(a, contents)
        known = {id(root(x)) for x in given}
        made = [None if id(root(x)) in known else x for x in arrays_in(result)]
        for x in (x for x in made if x is not None):
            x._a[...] = garbage(x.shape, x.dtype, "C")
            self.allocate()
        self.calls.append((function, args, kwargs, made))
        return result

    def allocate(self) -> None:
        pool = getattr(_allocators[-1], "__self__", None)
        if not isinstance(pool, MemoryPool):
            raise RuntimeError("what is captured must allocate from a pool of its own (using_allocator)")
        pool._keeps = True
        self.pools.add(ref(pool))

    def _replace(self) -> None:
        for holder, library in REFUSED:
            for name in [name for name in vars(holder) if name[0] != "_" and inspect.isroutine(getattr(holder, name))]:
                function, static = vars(holder)[name], isinstance(vars(holder)[name], staticmethod)
                refused = refusing(library, self)(function.__func__ if static else function)
                self._put(holder, name, staticmethod(refused) if static else refused)
        for holder in RECORDED:
            for name, function in list(vars(holder).items()):
                if inspect.isfunction(function) and name not in NO_LAUNCHES:
                    by_cublas = name in BY_CUBLAS and getattr(holder, "__name__", "") != "ufunc"
                    how = refusing("cuBLAS", self) if by_cublas else recorded_by(self)
                    self._put(holder, name, how(function))

    def _put(self, holder: Any, name: str, function: Any) -> None:
        self.replaced.append((holder, name, vars(holder)[name]))
        setattr(holder, name, function)


_under_way: list[Recording] = []


def end_all() -> None:
    """Ends what an error has left under way."""
    for recording in reversed(_under_way):
        recording.end()
        recording.stream._recording = None
    _under_way.clear()


def recorded_by(recording: Recording) -> Callable[[Callable], Callable]:
    def replaced(function: Callable) -> Callable:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if recording.inside or not recording.concerned():
                return function(*args, **kwargs)
            return recording.add(function, args, kwargs)

        return call

    return replaced


def refusing(library: str, recording: Recording) -> Callable[[Callable], Callable]:
    def replaced(function: Callable) -> Callable:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not recording.concerned():
                return function(*args, **kwargs)
            raise NotImplementedError(f"calling {library} API during stream capture is currently unsupported")

        return call

    return replaced


def arrays_in(x: Any) -> list[ndarray]:
    """The device arrays in what a function was given or has returned."""
    if type(x) is ndarray:
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (tuple, list)) else ()
    return [array for part in parts for array in arrays_in(part)]


def root(x: ndarray) -> ndarray:
    """Whose memory it is."""
    return x if x._base is None else x._base
