"""Whole sequences in one launch: which kernel of ``cuda/`` takes which sizes, and with how many blocks.

A step loop asks the host for two launches a step, and the device waits for the host. Here a layer's T steps are one
launch: the recurrent matrix stays in the shared memory of the device, and blocks pass the state to each other. How they
do stands at the top of ``cuda/sequence.cuh``; how tensor cores multiply, where they are asked to, in
``cuda/tensor_product.cuh``. There are two scopes: all blocks of a column are one cluster, whose blocks write into each
other's shared memory, or they are anywhere on the device, and go through global memory.

No device has measured these kernels yet. Until one has, they run only where ``use_whole_sequences`` asks for them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from math import ceil, inf
from typing import Any, NamedTuple

import numpy as np

from minirnn.arguments import booleans
from minirnn.kernels.launching import PORTABLE, launch

WARPS = 16  # of a block
LANES = 32
TILE = 8  # columns that a warp takes at once
EMPTY = 0xFFFFFFFF  # a word of the mailbox that has not come
QUAD = 4  # rows
WORD = 4  # bytes
TENSOR_CORES = 8  # that know tf32 and bf16: from this compute capability on
CLUSTERS = 9  # likewise
TOGETHER = 2, 4, 8, 16  # blocks of a cluster
REFUSED = {  # what the driver says of a launch that the device cannot hold; nothing has run then
    701,  # CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
    720,  # CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE
    912,  # CUDA_ERROR_INVALID_CLUSTER_SIZE
}

_asked: ContextVar[str | None] = ContextVar("minirnn_whole_sequences", default=None)  # in which precision, if at all
_scopes: ContextVar[tuple[str, ...] | None] = ContextVar("minirnn_scopes", default=None)  # asked for, if any were
_refused: set[tuple[Any, int, Plan]] = set()  # (module, device, plan) that the device has refused
_stalled: dict[tuple[Any, int], Any] = {}  # (module, device) -> the word in which its kernels say that they gave up


class Cell(NamedTuple):
    """What the kernels for whole sequences know of a cell, as it stands in ``cuda/*_lanes.cuh``."""

    macro: str  # that tells the compiler which it is
    units: int  # that a quad of four rows belongs to; on the way back these are four
    blocks: int  # of H rows each, that travel back
    of_state: int  # how many of them ask something of h_prev


CELLS = {"lstm": Cell("CELL=Lstm", 1, 4, 4), "gru": Cell("CELL=Gru", 1, 4, 3), "rnn": Cell("CELL=Rnn", 4, 1, 1)}


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


SCOPES: list[tuple[float, float, tuple[str, ...]]] = [  # the one place for what a device has measured
    # hidden size and batch at most, and what is tried one after the other for them; the first row that holds is taken
    (inf, inf, ("cluster", "grid")),  # a guess: to meet in a cluster should take less than a way through global memory
]


class Plan(NamedTuple):
    """How a kernel is spread over the device."""

    grid: tuple[int, int]  # groups of columns, slices of the matrix
    quads: int  # of a slice
    shared: int  # bytes, of a block
    cluster: int = 1  # blocks, if they are clusters


class StalledError(RuntimeError):
    """A kernel waited in vain for what another block should have sent; what it returned is NaN."""


class use_whole_sequences:  # noqa: N801  # called like a function, and used in a with statement
    """Let a layer's steps be one launch where a kernel fits, until further notice or for a ``with`` block.

    On a device only, in float32, for sequences of one length: LSTM without projection and peepholes, GRU with
    ``reset_after``, RNN with tanh. So is a text that a character model of such cells, or of RNN with ReLU, writes with
    ``generate``, from the prompt to the last character, and an ``nn.AttentiveDecoder`` of LSTM, GRU or RNN that
    feeds back what it found; both are float32 in every precision, and over all of the grid. All else is computed as
    before, and so are sizes that no kernel fits, with a warning. Off by default: no device has measured yet from which
    size on it pays.

    Parameters
    ----------
    on : bool
    precision : {"float32", "3xtf32", "tf32", "bf16"}
        Of the product with the state or its cotangent in every step; all else stays float32. How far over a few steps
        values and gradients are from float64, in norm and relative to it:

        - ``"float32"``: 1e-5, without tensor cores.
        - ``"3xtf32"``: 1e-5, by tensor cores: each factor in two parts of 11 bits, three products for one.
        - ``"tf32"``: values 3e-4, gradients 1e-3: factors keep 11 bits, rounded to the nearest. Among few units chance
          counts, H = 5 and B = 9. At H = 64 and B = 16 the gradient of h_0 is 6e-4 away at most, that of W_hh 3e-4, or
          5e-4 of an RNN, and over 100 steps no more than over 8.
        - ``"bf16"``: values 3e-3, gradients 1e-2: factors keep 8 bits, and the weights take half of the memory, so that
          more of them fit.

        The last three need a device of compute capability 8.0. Their errors were seen where tensor cores are imitated,
        with sums as coarse as any device is known to make them; neither these nor their speed has a device measured.
    scopes : sequence of {"cluster", "grid"}, optional
        How blocks reach each other: in clusters, which need compute capability 9.0 and hold less, or over all of the
        grid. They are tried one after the other; if nothing is said, as ``SCOPES`` has it for the sizes at hand.

    Raises
    ------
    TypeError, ValueError
        If ``on`` is not boolean, or there is no such precision or scope; nothing has changed then.
    StalledError
        At the end of the ``with`` block, if a kernel waited in vain. To know it the host waits for the device.

    Notes
    -----
    The choice belongs to the current context: another thread is never affected.

    What tf32 is away from float64 comes of the rounded factors alone, and half of it is made before the way back
    begins: no finer way back would bring all gradients to 3e-4, and ``"3xtf32"`` on both ways does.
    """

    def __init__(self, on: bool = True, precision: str = "float32", scopes: Sequence[str] | None = None):
        booleans(on=on)
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}")
        if scopes is not None and (not scopes or not set(scopes) <= {"cluster", "grid"}):
            raise ValueError(f"scopes must be of 'cluster' and 'grid'; got {scopes!r}")
        self._token = _asked.set(precision if on else None)
        self._scopes = _scopes.set(scopes if scopes is None else tuple(scopes))

    def __enter__(self) -> use_whole_sequences:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        _asked.reset(self._token)
        _scopes.reset(self._scopes)
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


def plan(
    cell: str,
    back: bool,
    H: int,
    B: int,
    processors: int,
    memory: int,
    precision: str = "float32",
    scope: str = "grid",
) -> Plan | None:
    """How a cell's kernel is spread over processors with so many bytes of shared memory each; None if it cannot be.

    Over the grid all blocks run at once, one on a processor. First as few tiles for each block as possible, since it
    takes them one after the other; then as few quads, then as few blocks. A cluster has one tile, twice, and they need
    not all run at once. First none that only some devices take; then as few rounds of clusters as possible, then as few
    quads, then as few blocks. Both orders are guesses: not measured. For tensor cores a block has whole teams of quads,
    and room for the parts of their sums.

    Examples
    --------
    >>> plan("lstm", back=False, H=256, B=64, processors=132, memory=232448)
    Plan(grid=(8, 16), quads=16, shared=73728, cluster=1)
    >>> plan("lstm", back=True, H=2048, B=64, processors=132, memory=232448) is None
    True
    >>> plan("lstm", back=False, H=256, B=64, processors=132, memory=232448, precision="bf16")
    Plan(grid=(8, 16), quads=16, shared=49152, cluster=1)
    >>> plan("lstm", back=False, H=256, B=64, processors=132, memory=232448, scope="cluster")
    Plan(grid=(8, 8), quads=32, shared=147456, cluster=8)
    """
    (_, units, _, of_state), (_, team, depth, weight) = CELLS[cell], PRECISIONS[precision]
    units, length = (QUAD, of_state) if back else (units, 1)  # of a quad; of a row, in hidden sizes
    quads, tiles, K = ceil(H / units), ceil(B / TILE), depth * ceil(length * H / depth)
    parts = team * QUAD * TILE * WORD if team > 1 else 0  # of the sums of a quad, a float32 from each warp

    def each_of(slices: int) -> int:  # quads
        return team * ceil(quads / slices / team)

    def shared(each: int, tiles: int) -> int:
        return each * (QUAD * K * weight + parts) + tiles * K * TILE * WORD

    if scope == "cluster":
        fit = [size for size in TOGETHER if size <= processors and shared(each_of(size), 2) <= memory]
        rounds = {size: ceil(tiles / (processors // size)) for size in fit}
        if not fit:
            return None
        size = min(fit, key=lambda size: (size > PORTABLE, rounds[size], each_of(size), size))
        return Plan((tiles, size), each_of(size), shared(each_of(size), 2), size)
    found = []
    for groups in range(1, min(tiles, processors) + 1):
        each = each_of(processors // groups)
        if shared(each, 1) <= memory:
            found.append((ceil(tiles / groups), each, groups))
    if not found:
        return None
    _, each, groups = min(found)
    return Plan((groups, ceil(quads / each)), each, shared(each, 1))


def asked_for_whole(mailbox, *arrays) -> str | None:
    """In which precision whole sequences are to be one launch; None if they are not, or no kernel takes such arrays."""
    takes = mailbox.size > 0 and all(x is None or x.dtype == np.float32 for x in (mailbox, *arrays))
    return _asked.get() if takes else None


def in_one_launch(
    cell,  # "lstm", "gru" or "rnn"
    mailbox,  # (T, ..., B) the output through which blocks pass words to each other
    W_hh,  # (G H, H)
    xs,  # a_xs, or back dhs
    start,  # h_0, or back dh of h_T
    back=False,
    **own,  # what ``own_arrays`` takes
):
    """Takes all steps of a sequence if that was asked for and a kernel fits, and says whether it did."""
    given = mailbox, W_hh, xs, start, *own_arrays(back, **own)
    precision = asked_for_whole(*given)
    if precision is None:
        return False
    cupy = sys.modules["cupy"]
    device, B, H = cupy.cuda.Device(), mailbox.shape[-1], W_hh.shape[1]
    capability, kernel = int(device.compute_capability) // 10, named("sequence", back)  # "90" is 9.0
    if precision != "float32" and capability < TENSOR_CORES:
        warnings.warn(f"no tensor core of this device knows {precision}: steps are taken one at a time", stacklevel=3)
        return False
    for scope in _scopes.get() or next(ways for most_H, most_B, ways in SCOPES if most_H >= H and most_B >= B):
        fits = plan(cell, back, H, B, *room(), precision, scope)
        if fits is None or (cupy, device.id, fits) in _refused:
            continue
        if scope == "cluster" and capability < CLUSTERS:
            continue
        try:
            _launch(kernel, fits, given, (CELLS[cell].macro, *PRECISIONS[precision].macros))
        except cupy.cuda.driver.CUDADriverError as error:
            if error.status not in REFUSED:
                raise
            _refused.add((cupy, device.id, fits))  # a part of a device, say, or one that others use as well
        else:
            return True
    # said once: Python shows a warning of the same words from the same place no more
    warnings.warn(
        f"no {kernel} of {cell} fits hidden size {H} on this device: steps are taken one at a time", stacklevel=3
    )
    return False


def named(kernel: str, back: bool) -> str:
    """What a kernel is called in its source, there or back."""
    return f"{kernel}_back" if back else kernel


def room() -> tuple[int, int]:
    """How many processors the current device has, and how many bytes of shared memory each of them."""
    has = sys.modules["cupy"].cuda.Device().attributes
    return has["MultiProcessorCount"], has["MaxSharedMemoryPerBlockOptin"]


def own_arrays(back: bool, b_hn=None, cs=None, gates=None, states=None, dc=None) -> tuple:
    """What kernels take besides what all of them do, in their order: there, or back.

    What a cell does not have stays None. ``states (T + 1, H, B)`` are those before the first step and after each: c of
    an LSTM, h of others.
    """
    return (gates, states, dc) if back else (b_hn, cs, gates)


def _launch(kernel, fits, given, macros):
    cupy, (mailbox, W_hh, *_), slices = sys.modules["cupy"], given, fits.grid[1]
    if fits.cluster == 1:
        mailbox.view(np.uint32).fill(EMPTY)
    launch(
        "sequence",
        kernel,
        fits.grid,
        (LANES, WARPS),
        *(x if x is None else cupy.ascontiguousarray(x) for x in given),
        stalled_word(),
        len(mailbox),
        W_hh.shape[1],
        mailbox.shape[-1],
        fits.quads,
        shared=fits.shared,
        cooperative=fits.cluster == 1 and slices > 1,  # a block that has the whole matrix waits for nobody else
        cluster=fits.cluster,
        macros=macros,
    )
