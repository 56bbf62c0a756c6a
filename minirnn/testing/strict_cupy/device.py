"""The one device there is, and what CuPy tells of an array's memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from minirnn.testing.strict_cupy import counts
from minirnn.testing.strict_cupy.faults import CUDADriverError, CUDARuntimeError, OutOfMemoryError

PORTABLE, CLUSTER = 8, 16  # blocks of a cluster that it takes, and takes if a kernel was allowed to have so many
UNASKED, SHARED = 48 * 1024, 227 * 1024  # bytes of shared memory that a block gets, and may ask for, on an H100


class Flags:
    """Memory layout of a device array; CuPy knows three flags, and ``writeable`` is none of them."""

    __slots__ = ("c_contiguous", "f_contiguous", "owndata")

    def __init__(self, c_contiguous: bool, f_contiguous: bool, owndata: bool):
        self.c_contiguous = c_contiguous
        self.f_contiguous = f_contiguous
        self.owndata = owndata

    def __getitem__(self, name: str) -> bool:
        if name not in ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA"):
            raise KeyError(f"{name} is not defined for cupy.ndarray.flags")
        return getattr(self, name.lower())


class MemoryPointer:
    """Address of an array's first element."""

    __slots__ = ("ptr",)
    device_id = 0

    def __init__(self, ptr: int):
        self.ptr = ptr


class Device:
    """The one device there is."""

    attributes: ClassVar = {"MaxSharedMemoryPerBlockOptin": SHARED, "MultiProcessorCount": 1}
    compute_capability: ClassVar = "90"

    def __init__(self, device: int = 0):
        if device != 0:
            raise ValueError(f"the strict fake has device 0 only, got {device}")
        self.id = device

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return self.id

    def use(self) -> None:
        return None

    def synchronize(self) -> None:
        counts.record_sync("sync")


non_portable: set[int] = set()  # kernels that were allowed more than a portable cluster, by their pointers


def funcSetAttribute(f: int, attribute: int, value: int) -> None:
    if (attribute, value) != (14, 1):  # CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
        raise NotImplementedError("the strict fake knows the attribute of larger clusters alone")
    non_portable.add(f)


cuda = SimpleNamespace(
    Device=Device,
    is_available=lambda: True,
    driver=SimpleNamespace(CUDADriverError=CUDADriverError, funcSetAttribute=funcSetAttribute),
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    runtime=SimpleNamespace(
        getDevice=lambda: 0,
        CUDARuntimeError=CUDARuntimeError,
        driverGetVersion=lambda: 12090,
        runtimeGetVersion=lambda: 12090,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda device: {
            "name": b"strict fake",
            "major": 9,
            "minor": 0,
            "totalGlobalMem": 0,
            "multiProcessorCount": 1,
        },
        deviceSynchronize=Device().synchronize,
    ),
)
