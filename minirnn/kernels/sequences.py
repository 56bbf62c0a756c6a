"""Whole sequences in one launch: which kernel of ``cuda/`` takes which sizes, and with how many blocks.

A step loop asks the host for two launches a step, and the device waits for the host. Here a layer's T steps are one
launch: the recurrent matrix stays in the shared memory of the device, and blocks pass the state to each other. How they
do stands at the top of ``cuda/sequence.cuh``.

No device has measured these kernels yet. Until one has, they run only where ``use_whole_sequences`` asks for them.
"""

from __future__ import annotations

import sys
import warnings
from contextvars import ContextVar
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from minirnn.kernels.launching import launch

WARPS = 16  # of a block
LANES = 32
TILE = 8  # columns that a warp takes at once
EMPTY = 0xFFFFFFFF  # a word of the mailbox that has not come
QUAD = 16  # bytes: four float32, one of each row of a quad

_asked: ContextVar[bool] = ContextVar("minirnn_whole_sequences", default=False)
_stalled: dict[tuple[Any, int], Any] = {}  # (module, device) -> the word in which its kernels say that they gave up


class Kernel(NamedTuple):
    """A kernel for whole sequences, and how its matrix grows with the hidden size."""

    source: str
    units: int  # that a quad of four rows belongs to
    length: int  # of a row, in hidden sizes


KERNELS = {
    "lstm_sequence": Kernel("lstm_sequence", 1, 1),
    "lstm_sequence_back": Kernel("lstm_sequence", 4, 4),
    "gru_sequence": Kernel("gru_sequence", 1, 1),
    "gru_sequence_back": Kernel("gru_sequence", 4, 3),
    "rnn_sequence": Kernel("rnn_sequence", 4, 1),
    "rnn_sequence_back": Kernel("rnn_sequence", 4, 1),
}


class Plan(NamedTuple):
    """How a kernel is spread over the device."""

    grid: tuple[int, int]  # groups of columns, slices of the matrix
    quads: int  # of a slice
    shared: int  # bytes, of a block


class StalledError(RuntimeError):
    """A kernel waited in vain for what another block should have sent; what it returned is NaN."""


class use_whole_sequences:  # noqa: N801  # called like a function, and used in a with statement
    """Let a layer's steps be one launch where a kernel fits, until further notice or for a ``with`` block.

    On a device only, in float32, for sequences of one length: LSTM without projection and peepholes, GRU with
    ``reset_after``, RNN with tanh. All else is computed as before, and so is a hidden size that no kernel fits, with a
    warning. Off by default: no device has measured yet from which size on it pays.

    Parameters
    ----------
    on : bool

    Raises
    ------
    StalledError
        At the end of the ``with`` block, if a kernel waited in vain. To know it the host waits for the device.

    Notes
    -----
    The choice belongs to the current context: another thread is never affected.
    """

    def __init__(self, on: bool = True):
        self._token = _asked.set(on)

    def __enter__(self) -> use_whole_sequences:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        _asked.reset(self._token)
        if kind is None:
            check_stalled()


def check_stalled() -> None:
    """Waits for the device, and asks whether a kernel gave up since the last time.

    Raises
    ------
    StalledError
        If one did.
    """
    for (_, device), word in _stalled.items():
        if int(word[0]):
            word.fill(0)
            raise StalledError(f"on device {device} a kernel waited in vain for what another block should have sent")


def plan(kernel: str, H: int, B: int, processors: int, memory: int) -> Plan | None:
    """How a kernel is spread over so many processors with so many bytes of shared memory each; None if it cannot be.

    All blocks run at once, one on a processor. First as few tiles for each block as possible, since it takes them one
    after the other; then as few quads, then as few blocks. This order is a guess: not measured.

    Examples
    --------
    >>> plan("lstm_sequence", H=256, B=64, processors=132, memory=232448)
    Plan(grid=(8, 16), quads=16, shared=73728)
    >>> plan("lstm_sequence_back", H=2048, B=64, processors=132, memory=232448) is None
    True
    """
    _, units, length = KERNELS[kernel]
    quads, tiles, fetched = ceil(H / units), ceil(B / TILE), TILE // 4  # columns are fetched as so many quads
    found = []
    for groups in range(1, min(tiles, processors) + 1):
        each = ceil(quads / (processors // groups))
        shared = QUAD * length * H * (each + fetched)
        if shared <= memory:
            found.append((ceil(tiles / groups), each, groups, shared))
    if not found:
        return None
    _, each, groups, shared = min(found)
    return Plan((groups, ceil(quads / each)), each, shared)


def in_one_launch(
    kernel,
    mailbox,  # (T, ..., B) the output through which blocks pass words to each other
    W_hh,  # (G H, H)
    *arrays,  # what else the kernel takes, up to ``stalled``
):
    """Takes all steps of a sequence if that was asked for and a kernel fits, and says whether it did."""
    given = mailbox, W_hh, *arrays
    if not _asked.get() or mailbox.size == 0 or any(x is not None and x.dtype != np.float32 for x in given):
        return False
    cupy = sys.modules["cupy"]
    device, (T, B), H = cupy.cuda.Device(), (len(mailbox), mailbox.shape[-1]), W_hh.shape[1]
    has = device.attributes
    fits = plan(kernel, H, B, has["MultiProcessorCount"], has["MaxSharedMemoryPerBlockOptin"])
    if fits is None:  # said once: Python shows a warning of the same words from the same place no more
        warnings.warn(f"no {kernel} fits hidden size {H} on this device: steps are taken one at a time", stacklevel=3)
        return False
    if (cupy, device.id) not in _stalled:
        _stalled[cupy, device.id] = cupy.zeros(1, np.uint32)
    mailbox.view(np.uint32).fill(EMPTY)
    (source, *_), (groups, slices) = KERNELS[kernel], fits.grid
    launch(
        source,
        kernel,
        (groups, slices),
        (LANES, WARPS),
        *(x if x is None else cupy.ascontiguousarray(x) for x in given),
        _stalled[cupy, device.id],
        T,
        H,
        B,
        fits.quads,
        shared=fits.shared,
        cooperative=slices > 1,  # a block that has the whole matrix waits for nobody else
    )
    return True
