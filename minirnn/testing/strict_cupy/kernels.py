"""Kernels of one's own on the pretended device: each is held against its declaration, and its NumPy twin computes,
or the emulator where it has none."""

from __future__ import annotations

import inspect
from itertools import count
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from minirnn.kernels.launching import DTYPES, kernels_in
from minirnn.testing.cuda_emulator import emulated
from minirnn.testing.strict_cupy import counts, device
from minirnn.testing.strict_cupy.array import ndarray
from minirnn.testing.strict_cupy.device import SHARED, UNASKED
from minirnn.testing.strict_cupy.faults import CUDADriverError
from minirnn.testing.strict_cupy.twins import TWINS


class RawModule:
    """A CUDA source. It is not compiled; what its kernels are called, and take, is read in it."""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        enable_cooperative_groups: bool = False,
    ):
        if code is None or path is not None:
            raise NotImplementedError("the strict fake knows kernels by their source alone")
        self.code = code
        self.options = options
        self.enable_cooperative_groups = enable_cooperative_groups

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(self.code, name, self.options, enable_cooperative_groups=self.enable_cooperative_groups)


_pointers = count(1)


class RawKernel:
    """A kernel of one's own.

    CuPy takes whatever it is given, and the device reads it as the declaration says. Here that is an error, as are an
    array that is not contiguous, a number that is not of the declared type, and shared memory that was not asked for. A
    cluster of too many blocks is an error of the driver, as it is there, and so is one of CuPy a cooperative grid of
    more blocks than run at once.
    """

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        *,
        enable_cooperative_groups: bool = False,
    ):
        self.code, self.name, self.options = code, name, options
        self.enable_cooperative_groups = enable_cooperative_groups
        self.max_dynamic_shared_size_bytes = UNASKED
        self.kernel = SimpleNamespace(ptr=next(_pointers))
        self._parameters = kernels_in(code)[name]
        macros = dict(option.removeprefix("-D").split("=") for option in options if "=" in option)
        self._cluster, real = int(macros.get("CLUSTER", 1)), macros.get("REAL", "float")
        self._dtypes = DTYPES | {"REAL": DTYPES[real]}

    def _given(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> list[Any]:
        """What the kernel finds where its parameters stand."""
        if not type(grid) is type(block) is type(args) is tuple or len(args) != len(self._parameters):
            raise TypeError(f"{self.name} takes a grid, a block and {len(self._parameters)} arguments, each as a tuple")
        if shared_mem > min(SHARED, self.max_dynamic_shared_size_bytes):
            raise ValueError(f"{self.name} did not ask for {shared_mem} bytes of shared memory, or asked in vain")
        at_once = device.Device.attributes["MultiProcessorCount"]  # a block on each, as if it took all of the memory
        if self.enable_cooperative_groups and prod(grid) > at_once:
            raise ValueError(f"The specified grid size ({grid}) exceeds the limit ({at_once}).")
        allowed = device.CLUSTER if self.kernel.ptr in device.non_portable else device.PORTABLE
        if self._cluster > min(allowed, device.CLUSTER) or (*grid, 1)[1] % self._cluster:
            raise CUDADriverError(912)
        return [self._read(x, *parameter) for x, parameter in zip(args, self._parameters, strict=True)]

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        given = self._given(grid, block, args, shared_mem=shared_mem)
        if twin := TWINS.get(self.name):
            twin(*given[: len(inspect.signature(twin).parameters)])
        else:
            emulated(self.code, self.options).run(self.name, grid, block, given, shared=shared_mem)
        if counts.active:
            result = next(x for x in given if isinstance(x, np.ndarray))
            counts.record_launch(result, ())  # what it has of float64 is declared to be so, and no slip

    def _read(self, x: Any, name: str, kind: str, pointer: bool, nullable: bool) -> Any:
        """What the device finds where this parameter stands: an array, nothing, or a number."""
        dtype = self._dtypes[kind]
        if pointer and nullable and type(x) is np.uintp and x == 0:
            return None
        if pointer and type(x) is ndarray and x.dtype == dtype and x.flags.c_contiguous:
            return x._a
        if not pointer and type(x) is dtype.type:
            return x
        found = f"strides {x.strides} of {x.dtype}" if type(x) is ndarray else repr(x)
        raise TypeError(f"{self.name} declares {kind} {'*' * pointer}{name}, which would misread {found}")


def _only_checks(kernel: RawKernel, *args: Any, **kwargs: Any) -> None:
    """What is left of a launch that is recorded: it makes no arrays, so nothing has to be known of its results."""
    kernel._given(*args, **kwargs)


RawKernel.__call__._only_checks = _only_checks  # type: ignore[attr-defined]
