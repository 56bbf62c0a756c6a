"""The one way from Python to the CUDA kernels in ``cuda/``: they are compiled, checked, and launched.

CuPy asks nothing of what a kernel of one's own is given. It ignores strides, takes every Python int for an ``int64``
and every float for a ``double``, and passes on the address of whatever array it gets: a mistake is a wrong number, or
a dead process. So the kernel's own declaration is read, and every argument held against it.

How a kernel is declared: each parameter on a line of its own, and behind it in a comment what it is. ``REAL`` is float
or double, that of the arrays which come. A pointer may be null only if its comment says so::

    extern "C" __global__ void scaled(
        const REAL *x,     // (n,)
        const REAL *mask,  // (n,) or null
        REAL by,
        REAL *y,           // (n,) receives x * by
        int n)
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

CUDA = os.path.join(os.path.dirname(__file__), "cuda")
REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
TYPES = {  # C -> NumPy
    "bool": np.bool_,
    "int": np.int32,
    "unsigned": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "float": np.float32,
    "double": np.float64,
}
NUMBERS: dict[str, tuple[Any, Any]] = {  # kind of dtype -> which numbers it takes, and as what
    "b": ((bool, np.bool_), bool),
    "i": ((int, np.integer), int),
    "u": ((int, np.integer), int),
    "f": ((int, float, np.integer, np.floating), float),
}
DTYPES = {name: np.dtype(kind) for name, kind in TYPES.items()}
GRID, BLOCK, THREADS = (2**31 - 1, 65535, 65535), (1024, 1024, 64), 1024  # what every device allows
UNASKED = 48 * 1024  # bytes of shared memory that a block gets without asking
PORTABLE = 8  # blocks of a cluster that every device with clusters takes
NON_PORTABLE = 14  # CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: more than that are asked for
NULL = np.uintp(0)

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)
_KERNEL = re.compile(r'extern "C" __global__[^(]*?(?:__\w+__\([^)]*\)\s*)*\b(\w+)\(\n(.*?)\)\s*\{', re.DOTALL)
_PARAMETER = re.compile(r"\s*(?:const )?([\w ]+?) (\*?)(\w+),?(?:\s*//(.*))?")


class Parameter(NamedTuple):
    """One parameter of a kernel, as its source declares it."""

    name: str
    type: str
    pointer: bool
    nullable: bool


@cache
def source_of(name: str) -> str:
    """The text of ``cuda/<name>`` with each header that it includes pasted in, once.

    CuPy keeps what it compiled under a hash of the text: that of a header has to be in it, or a changed header would
    change nothing.
    """
    seen: set[str] = set()

    def pasted(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        with open(os.path.join(CUDA, name), encoding="utf-8") as file:
            return _INCLUDE.sub(lambda found: pasted(found[1]), file.read())

    return pasted(name)


@cache
def kernels_in(code: str) -> dict[str, tuple[Parameter, ...]]:
    """The kernels of a source, by name, and what parameters each of them declares.

    Examples
    --------
    >>> kernels_in('extern "C" __global__ void add(\\n  const REAL *x,  // (n,) or null\\n  int n)\\n{ }')
    {'add': (Parameter(name='x', type='REAL', pointer=True, nullable=True), Parameter(name='n', type='int', \
pointer=False, nullable=False))}
    """
    return {name: tuple(_parameters(name, lines.splitlines())) for name, lines in _KERNEL.findall(code)}


def _parameters(kernel: str, lines: list[str]) -> Iterator[Parameter]:
    for line in lines:
        found = _PARAMETER.fullmatch(line)
        if found is None or (found[1] != "REAL" and found[1] not in TYPES):
            raise ValueError(f"{kernel} must declare one parameter a line, of a known type, not {line.strip()!r}")
        kind, pointer, name, comment = found.groups()
        yield Parameter(name, kind, bool(pointer), " or null" in (comment or ""))


@cache
def options(real: str, *macros: str) -> tuple[str, ...]:
    """What the compiler is told besides what CuPy tells it; the functions of mathematics stay the precise ones."""
    return "-std=c++17", *(f"-D{macro}" for macro in (f"REAL={real}", *macros))


@cache
def _compiled(cupy: Any, source: str, kernel: str, real: str, cooperative: bool, *macros: str) -> Any:
    """The kernel, which CuPy loads onto every device that asks for it."""
    code = source_of(f"{source}.cu")
    told = options(real, *macros)
    return cupy.RawModule(code=code, options=told, enable_cooperative_groups=cooperative).get_function(kernel)


def launch(
    source: str,
    kernel: str,
    grid: Sequence[int],
    block: Sequence[int],
    *arguments: Any,
    shared: int = 0,
    cooperative: bool = False,
    cluster: int = 1,
    macros: Sequence[str] = (),
) -> None:
    """Launches a kernel of ``cuda/<source>.cu`` on the current device and stream; when first wanted it is compiled.

    Parameters
    ----------
    source, kernel : str
        The file, without its ending, and the function in it.
    grid, block : sequence of 1 to 3 int
        Blocks of the grid, threads of a block. Of a grid without blocks nothing is launched.
    *arguments : CuPy array, number or None
        One for each parameter of the kernel. Numbers are cast to the type that it declares.
    shared : int
        Bytes of dynamic shared memory for each block.
    cooperative : bool
        Whether blocks wait for each other, so that all have to run at once. Such a grid needs a second dimension: from
        one that has none CuPy silently cuts off what does not fit on the device.
    cluster : int
        How many blocks, next to each other along the second dimension of the grid, are a cluster. CuPy cannot ask for
        it: the source does, by ``__cluster_dims__(1, CLUSTER, 1)``, and for each size it is compiled anew. From compute
        capability 9.0 on; a device that does not take so many answers with an error of the driver, status 912.
    macros : sequence of str
        ``"NAME=value"``, what the source leaves to whoever compiles it. With others it is another kernel.

    Raises
    ------
    TypeError
        If an argument is not what the kernel declares, or if there are too few or too many of them.
    ValueError
        If there is no such kernel, an array is not contiguous, a number too large for its type, the grid, the block or
        the shared memory larger than a device allows, or the grid is not made of whole clusters.
    """
    cupy, kernels = sys.modules["cupy"], kernels_in(source_of(f"{source}.cu"))
    if kernel not in kernels:
        raise ValueError(f"{source}.cu has the kernels {', '.join(kernels)}; got {kernel!r}")
    parameters = kernels[kernel]
    if len(arguments) != len(parameters):
        names = ", ".join(parameter.name for parameter in parameters)
        raise TypeError(f"{kernel} takes {len(parameters)} arguments, {names}; got {len(arguments)}")
    _check_extent(kernel, "grid", grid, 0, GRID, prod(GRID))
    _check_extent(kernel, "block", block, 1, BLOCK, THREADS)
    if cooperative and prod(grid) > 1 and prod(grid[1:]) == 1:
        raise ValueError(f"{kernel} needs a second dimension of its grid to be cooperative, got {tuple(grid)}")

    if cluster > 1:
        if len(grid) < 2 or grid[1] % cluster:
            raise ValueError(
                f"{kernel} needs clusters of {cluster} blocks along the second dimension, got {tuple(grid)}"
            )
        macros = *macros, f"CLUSTER={cluster}"

    real, device = _real(kernel, parameters, arguments), cupy.cuda.runtime.getDevice()
    given: list[Any] = []
    for parameter, x in zip(parameters, arguments, strict=True):
        dtype = real if parameter.type == "REAL" else DTYPES[parameter.type]
        if not parameter.pointer:
            given.append(_number(kernel, parameter.name, dtype, x))
        elif x is None and parameter.nullable:
            given.append(NULL)
        elif not isinstance(x, cupy.ndarray) or x.dtype != dtype or x.data.device_id != device:
            raise TypeError(f"{kernel} takes {parameter.name} as {dtype} array on device {device}, got {_told(x)}")
        elif not x._c_contiguous:  # what ``flags`` says, sixty times as fast
            raise ValueError(f"{kernel} takes {parameter.name} contiguous, got {_told(x)} with strides {x.strides}")
        else:
            given.append(x)

    function = _compiled(cupy, source, kernel, REALS[real], cooperative, *macros)
    if shared > UNASKED:
        most = cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]
        if shared > most:
            raise ValueError(f"{kernel} may have at most {most} bytes of shared memory in a block, got {shared}")
        function.max_dynamic_shared_size_bytes = most  # never less than before: a graph may hold an earlier launch
    if cluster > PORTABLE:
        cupy.cuda.driver.funcSetAttribute(function.kernel.ptr, NON_PORTABLE, 1)
    if prod(grid):  # CuPy would make one block of none
        function(tuple(grid), tuple(block), tuple(given), shared_mem=shared)


def _check_extent(kernel: str, name: str, extent: Sequence[int], least: int, most: Sequence[int], in_all: int) -> None:
    fits = 1 <= len(extent) <= 3 and all(least <= n <= limit for n, limit in zip(extent, most, strict=False))
    if not fits or prod(extent) > in_all:
        raise ValueError(
            f"{kernel} takes a {name} of 1 to 3 numbers from {least} to {most}, no more than {in_all} in all; "
            f"got {tuple(extent)}"
        )


def _real(kernel: str, parameters: Sequence[Parameter], arguments: Sequence[Any]) -> np.dtype:
    """What ``REAL`` stands for: the dtype of the first array that is declared so."""
    for parameter, x in zip(parameters, arguments, strict=True):
        if parameter.type == "REAL" and hasattr(x, "dtype"):
            if x.dtype in REALS:
                return x.dtype
            raise TypeError(f"{kernel} takes {parameter.name} in float32 or float64, got {_told(x)}")
    return np.dtype(np.float32)


def _number(kernel: str, name: str, dtype: np.dtype, x: Any) -> np.generic:
    """``x`` in the very type that the kernel declares."""
    kinds, convert = NUMBERS[dtype.kind]
    if not isinstance(x, kinds):
        raise TypeError(f"{kernel} takes {name} as {dtype}, got {_told(x)}")
    try:
        return dtype.type(convert(x))  # NumPy looks for overflow in Python's numbers only
    except OverflowError as error:
        raise ValueError(f"{kernel} takes {name} as {dtype}, which is too small for {x}") from error


def _told(x: Any) -> str:
    return f"{type(x).__module__} array of {x.dtype} {x.shape}" if hasattr(x, "dtype") else repr(x)
