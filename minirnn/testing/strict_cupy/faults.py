"""What a device fails with, on demand: CuPy's own errors, at the allocation or the call that a test names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Never

MEANINGS = {  # status -> as CUDA words it
    2: "cudaErrorMemoryAllocation: out of memory",
    35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    46: "cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or unavailable",
    100: "cudaErrorNoDevice: no CUDA-capable device is detected",
    209: "cudaErrorNoKernelImageForDevice: no kernel image is available for execution on the device",
    700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
    901: "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture",
    803: "cudaErrorSystemDriverMismatch: system has unsupported display driver / cuda driver combination",
}
OF_THE_DRIVER = {
    700: "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
    701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
    720: "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks in cooperative launch",
    901: "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED: operation failed due to a previous error during capture",
    912: "CUDA_ERROR_INVALID_CLUSTER_SIZE: cluster misconfiguration",
}


class CUDARuntimeError(RuntimeError):
    """What CuPy makes of a status that is not success."""

    def __init__(self, status: int):
        super().__init__(MEANINGS[status])
        self.status = status


class CUDADriverError(RuntimeError):
    """The same of what is asked of the driver and not of the runtime, as launches are."""

    def __init__(self, status: int):
        super().__init__(OF_THE_DRIVER[status])
        self.status = status


class OutOfMemoryError(MemoryError):
    """What CuPy's memory pool raises once the device has nothing more to give."""

    def __init__(self, size: int, total: int, limit: int = 0):
        limited = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limited}).")


CUDARuntimeError.__module__ = "cupy_backends.cuda.api.runtime"  # the product code knows CuPy's errors by this
CUDADriverError.__module__ = "cupy_backends.cuda.api.driver"
OutOfMemoryError.__module__ = "cupy.cuda.memory"


class Fault:
    """An error that waits for its turn: that allocation of an array, counted from 0, at which it is raised, once.

    Attributes
    ----------
    allocations : int
        Arrays that have got memory since.
    """

    def __init__(self, at: int, error: Exception | None = None):
        self.at, self.error, self.allocations = at, error, 0

    def allocate(self, nbytes: int) -> None:
        self.allocations += 1
        if self.allocations == self.at + 1:
            raise self.error or OutOfMemoryError(nbytes, 0)


waiting: list[Fault] = []  # empty nearly always, so that the fake pays one truth test per array


@contextmanager
def failing(at: int, error: Exception | None = None) -> Iterator[Fault]:
    """Lets one allocation on the strict fake fail: number ``at`` within the ``with`` block, out of memory if not said.

    Examples
    --------
    >>> from minirnn.testing import strict_cupy
    >>> with strict_cupy() as cupy, failing(at=1):
    ...     x = cupy.ones(3)
    ...     x + x
    Traceback (most recent call last):
        ...
    cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 24 bytes (allocated so far: 0 bytes).
    """
    fault = Fault(at, error)
    waiting.append(fault)
    try:
        yield fault
    finally:
        waiting.remove(fault)


def record_allocation(nbytes: int) -> None:
    for fault in waiting:
        fault.allocate(nbytes)


def raising(status: int) -> Any:
    """A function that raises what CuPy makes of this status, whatever it is called with."""

    def fail(*arguments: Any, **options: Any) -> Never:
        raise CUDARuntimeError(status)

    return fail
