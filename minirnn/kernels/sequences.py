"""Whole sequences in one launch: which kernel of ``cuda/`` takes which sizes, and with how many blocks.

A step loop asks the host for two launches a step, and the device waits for the host. Here a layer's T steps are one
launch: the recurrent matrix stays in the shared memory of the device, and blocks pass the state to each other. How they
do stands at the top of ``cuda/sequence.cuh``; how tensor cores multiply, where they are asked to, in
``cuda/tensor_product.cuh``.

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
QUAD = 4  # rows
WORD = 4  # bytes
TENSOR_CORES = 8  # that know tf32 and bf16: from this compute capability on

_asked: ContextVar[str | None] = ContextVar("minirnn_whole_sequences", default=None)  # in which precision, if at all
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


class Precision(NamedTuple):
    """How a product is computed, and what that asks of shared memory."""

    macros: tuple[str, ...]  # that the compiler is told
    team: int  # quads that stand together, and warps that share their sums
    depth: int  # rows of the tile that are multiplied at once
    weight: int  # bytes


PRECISIONS = {
    "float32": Precision((), 1, 1, 4),
    "3xtf32": Precision(("PRECISION=THREE_TF32",), 4, 8, 4),
    "tf32": Precision(("PRECISION=TF32",), 4, 8, 4),
    "bf16": Precision(("PRECISION=BF16",), 4, 16, 2),
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
    ``reset_after``, RNN with tanh. So is a text that a character model of such cells, or of RNN with ReLU, writes with
    ``generate``, from the prompt to the last character, and an ``nn.AttentiveDecoder`` of such an LSTM or GRU that
    feeds back what it found; both are float32 in every precision. All else is computed as before, and so are sizes that
    no kernel fits, with a warning. Off by default: no device has measured yet from which size on it pays.

    Parameters
    ----------
    on : bool
    precision : {"float32", "3xtf32", "tf32", "bf16"}
        Of the product with the state or its cotangent in every step; all else stays float32. How far over a few steps
        values and gradients are from float64, in norm and relative to it:

        - ``"float32"``: 1e-5, without tensor cores.
        - ``"3xtf32"``: 1e-5, by tensor cores: each factor in two parts of 11 bits, three products for one.
        - ``"tf32"``: values 3e-4, gradients 1e-3: factors keep 11 bits.
        - ``"bf16"``: values 3e-3, gradients 1e-2: factors keep 8 bits, and the weights take half of the memory, so that
          more of them fit.

        The last three need a device of compute capability 8.0. Their errors were seen where tensor cores are imitated,
        with sums as coarse as any device is known to make them; neither these nor their speed has a device measured.

    Raises
    ------
    ValueError
        If there is no such precision; nothing has changed then.
    StalledError
        At the end of the ``with`` block, if a kernel waited in vain. To know it the host waits for the device.

    Notes
    -----
    The choice belongs to the current context: another thread is never affected.
    """

    def __init__(self, on: bool = True, precision: str = "float32"):
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}")
        self._token = _asked.set(precision if on else None)

    def __enter__(self) -> use_whole_sequences:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        _asked.reset(self._token)
        if kind is None:
            check_stalled()


def stalled_word() -> Any:
    """The word of the current device in which a kernel says that it gave up."""
    cupy = sys.modules["cupy"]
    device = cupy.cuda.Device().id
    if (cupy, device) not in _stalled:
        _stalled[cupy, device] = cupy.zeros(1, np.uint32)
    return _stalled[cupy, device]


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


def plan(kernel: str, H: int, B: int, processors: int, memory: int, precision: str = "float32") -> Plan | None:
    """How a kernel is spread over so many processors with so many bytes of shared memory each; None if it cannot be.

    All blocks run at once, one on a processor. First as few tiles for each block as possible, since it takes them one
    after the other; then as few quads, then as few blocks. This order is a guess: not measured. For tensor cores a
    block has whole teams of quads, and room for the parts of their sums.

    Examples
    --------
    >>> plan("lstm_sequence", H=256, B=64, processors=132, memory=232448)
    Plan(grid=(8, 16), quads=16, shared=73728)
    >>> plan("lstm_sequence_back", H=2048, B=64, processors=132, memory=232448) is None
    True
    >>> plan("lstm_sequence", H=256, B=64, processors=132, memory=232448, precision="bf16")
    Plan(grid=(8, 16), quads=16, shared=49152)
    """
    (_, units, length), (_, team, depth, weight) = KERNELS[kernel], PRECISIONS[precision]
    quads, tiles, K = ceil(H / units), ceil(B / TILE), depth * ceil(length * H / depth)
    parts = team * QUAD * TILE * WORD if team > 1 else 0  # of the sums of a quad, a float32 from each warp
    found = []
    for groups in range(1, min(tiles, processors) + 1):
        each = team * ceil(quads / (processors // groups) / team)
        shared = each * (QUAD * K * weight + parts) + K * TILE * WORD
        if shared <= memory:
            found.append((ceil(tiles / groups), each, groups, shared))
    if not found:
        return None
    _, each, groups, shared = min(found)
    return Plan((groups, ceil(quads / each)), each, shared)


def asked_for_whole(mailbox, *arrays) -> str | None:
    """In which precision whole sequences are to be one launch; None if they are not, or no kernel takes such arrays."""
    takes = mailbox.size > 0 and all(x is None or x.dtype == np.float32 for x in (mailbox, *arrays))
    return _asked.get() if takes else None


def in_one_launch(
    kernel,
    mailbox,  # (T, ..., B) the output through which blocks pass words to each other
    W_hh,  # (G H, H)
    *arrays,  # what else the kernel takes, up to ``stalled``
):
    """Takes all steps of a sequence if that was asked for and a kernel fits, and says whether it did."""
    given = mailbox, W_hh, *arrays
    precision = asked_for_whole(*given)
    if precision is None:
        return False
    cupy = sys.modules["cupy"]
    device, (T, B), H = cupy.cuda.Device(), (len(mailbox), mailbox.shape[-1]), W_hh.shape[1]
    has = device.attributes
    if precision != "float32" and has["ComputeCapabilityMajor"] < TENSOR_CORES:
        warnings.warn(f"no tensor core of this device knows {precision}: steps are taken one at a time", stacklevel=3)
        return False
    fits = plan(kernel, H, B, has["MultiProcessorCount"], has["MaxSharedMemoryPerBlockOptin"], precision)
    if fits is None:  # said once: Python shows a warning of the same words from the same place no more
        warnings.warn(f"no {kernel} fits hidden size {H} on this device: steps are taken one at a time", stacklevel=3)
        return False
    mailbox.view(np.uint32).fill(EMPTY)
    (source, *_), (groups, slices) = KERNELS[kernel], fits.grid
    launch(
        source,
        kernel,
        (groups, slices),
        (LANES, WARPS),
        *(x if x is None else cupy.ascontiguousarray(x) for x in given),
        stalled_word(),
        T,
        H,
        B,
        fits.quads,
        shared=fits.shared,
        cooperative=slices > 1,  # a block that has the whole matrix waits for nobody else
        macros=PRECISIONS[precision].macros,
    )
    return True
