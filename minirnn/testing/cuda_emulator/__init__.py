"""CUDA kernels on the CPU: compiled by g++, every CUDA thread a fiber, and a seeded generator as the scheduler.

What is hard about a kernel whose threads wait for each other is order, and order can be tried without a device: the
same source runs under as many schedules as there are seeds, and each can be run again. A kernel that waits for ever
raises, and so does one that writes where it must not. To prove that each of its synchronisations is needed they are
left out one at a time: a statement that bears the comment ``// sync: why`` can be skipped at run time.

What is imitated and what is not stands at the top of ``cuda.hpp``.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.kernels.launching import kernels_in

__all__ = ["Emulated", "EmulationError", "emulated", "why_not"]

SWITCHES = 50_000_000  # of threads, in one launch: some seconds
GUARD = 64  # numbers before and behind every array that nobody may write to

_SHARED = re.compile(r"extern __shared__ (\w+) (\w+)\[\];")
_MARKED = re.compile(r"^( *)(\S.*;) *// sync: (.*)$", re.MULTILINE)


class EmulationError(RuntimeError):
    """A kernel ended as it must not: threads waited for each other for ever, or wrote where they must not."""


def why_not() -> str:
    """Why kernels cannot be emulated on this machine; empty when they can."""
    return "" if shutil.which("g++") else "emulating CUDA kernels needs g++, which is not on the path"


class Emulated:
    """The kernels of a source, compiled for the CPU.

    Attributes
    ----------
    marked : tuple of str
        What each statement that is compiled and can be left out is there for, in the words of its comment.
    """

    def __init__(self, code: str, options: Sequence[str] = ()):
        whys, numbers = [why for _, _, why in _MARKED.findall(code)], count()
        code = _MARKED.sub(lambda found: f"{found[1]}if (emulator::holds<{next(numbers)}>()) {{ {found[2]} }}", code)
        code = _SHARED.sub(r"\1 *\2 = reinterpret_cast<\1 *>(emulator::shared_memory());", code)
        entries = "\n".join(f"EMULATED({name})" for name in kernels_in(code))
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
            source.write_text(f'#include "cuda.hpp"\n{code}\n{entries}\n', encoding="utf-8")
            command = ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wno-unknown-pragmas", "-Werror"]
            command += [f"-I{Path(__file__).parent}", *options, str(source), "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise EmulationError(f"g++ does not compile the kernels:\n{done.stderr}")
            self._library = ctypes.CDLL(str(library))
        self._statements = sorted(takewhile(lambda number: number >= 0, map(self._library.marked_statement, count())))
        self.marked = tuple(whys[number] for number in self._statements)

    def run(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        *,
        shared: int = 0,
        seed: int = 0,
        without: int | None = None,
        switches: int = SWITCHES,
    ) -> None:
        """Runs a kernel to its end under one schedule.

        Parameters
        ----------
        grid, block : sequence of 1 to 3 int
            Blocks of the grid, threads of a block.
        arguments : sequence of array, NumPy number or None
            What the kernel takes, in the very types that it declares. Into arrays it writes.
        shared : int
            Bytes of dynamic shared memory for each block.
        seed : int
            The schedule.
        without : int, optional
            Which of the marked statements is left out.
        switches : int
            How often threads may take turns.

        Raises
        ------
        EmulationError
            If all threads wait, if they took turns too often, or if one of them wrote beside an array or behind the
            shared memory.
        """
        guarded = {k: _Guarded(x) for k, x in enumerate(arguments) if isinstance(x, np.ndarray)}
        values = [  # as CUDA is: the address of every argument, which for an array is an address itself
            np.array(x) if isinstance(x, np.generic) else np.array(guarded[k].address if k in guarded else 0, np.uintp)
            for k, x in enumerate(arguments)
        ]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        function = self._library[f"emulated_{kernel}"]
        function.restype = ctypes.c_char_p
        failure = function(
            pointers,
            _extent(grid),
            _extent(block),
            ctypes.c_size_t(shared),
            ctypes.c_uint64(seed),
            -1 if without is None else self._statements[without],
            ctypes.c_long(switches),
        )
        if failure:
            raise EmulationError(f"{kernel}, schedule {seed}: {failure.decode()}")
        for k, array in guarded.items():
            if not array.is_intact():
                raise EmulationError(f"{kernel}, schedule {seed}: argument {k} was written to outside of its bounds")
            array.give_back()


@cache
def emulated(code: str, options: tuple[str, ...] = ()) -> Emulated:
    """``Emulated(code, options)``, compiled once in a process."""
    return Emulated(code, options)


class _Guarded:
    """A copy of an array between two strips that nobody may write to."""

    def __init__(self, array: np.ndarray):
        if not array.flags.c_contiguous:
            raise TypeError(f"a kernel takes contiguous arrays, got strides {array.strides} for shape {array.shape}")
        self.array, edge = array, GUARD * array.itemsize
        self.memory = np.full(edge + array.nbytes + edge, 0xA5, np.uint8)
        self.inner = self.memory[edge : edge + array.nbytes]
        self.inner[...] = array.reshape(-1).view(np.uint8)
        self.address = self.inner.ctypes.data

    def is_intact(self) -> bool:
        edge = GUARD * self.array.itemsize
        return bool((self.memory[:edge] == 0xA5).all() and (self.memory[len(self.memory) - edge :] == 0xA5).all())

    def give_back(self) -> None:
        self.array.reshape(-1).view(np.uint8)[...] = self.inner


class _Dim3(ctypes.Structure):
    _fields_ = [("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint)]


def _extent(extent: Sequence[int]) -> _Dim3:
    return _Dim3(*(*extent, 1, 1)[:3])
