"""The decoder that attends, whole in one launch: which sizes its kernels take, and with how many blocks.

A step of it is a product, a look into the memory, and a product again, each of which waits for the one before: some
forty launches of the host, there and back. Here all T steps are one launch each way. How the blocks share them stands
at the top of ``cuda/attentive_decoder.cu``.

No device has measured these kernels yet. Until one has, they run only where ``use_whole_sequences`` asks for them.
"""

from __future__ import annotations

import sys
import warnings
from math import ceil
from typing import Any

from minirnn.kernels.launching import launch
from minirnn.kernels.sequences import (
    CELLS,
    EMPTY,
    LANES,
    QUAD,
    TILE,
    WARPS,
    WORD,
    named,
    own_arrays,
    room,
    stalled_word,
)

Sizes = tuple[int, int, int, int, int, int, int]  # T, H, K, F, A, S, B, as rules/combinators/attending.py names them


def plan_attending(
    cell: str, back: bool, sizes: Sizes, has_query: bool, has_out: bool, processors: int, memory: int
) -> tuple[tuple[int, int], int] | None:
    """Grid, and bytes of shared memory of a block, on so many processors that have so much each; None if it cannot be.

    As in ``kernels/sequences.py``: all blocks run at once, one on a processor; groups of them share out the columns,
    and each block of a group has its share of the rows of every matrix. First as few tiles for each block as possible,
    then as little memory. This order is a guess: not measured.

    Examples
    --------
    >>> sizes = 50, 256, 256, 256, 256, 50, 64
    >>> plan_attending("lstm", False, sizes, has_query=False, has_out=True, processors=132, memory=232448)
    ((8, 16), 181448)
    >>> sizes = 50, 1024, 1024, 1024, 1024, 50, 64
    >>> plan_attending("lstm", False, sizes, has_query=False, has_out=True, processors=132, memory=232448) is None
    True
    """
    _, H, K, F, A, S, B = sizes
    G = CELLS[cell].blocks * H  # the rows of a GRU's n are there twice, for its two parts
    if back:  # rows of each matrix and their length; of the vector that looks
        matrices, vector = [(H, G), (K, G), *[(H, K), (F, K)] * has_out, *[(H, A)] * has_query], F
    else:
        matrices, vector = [(G, H + K), *[(K, F + H)] * has_out, *[(A, H)] * has_query], A
    longest, quads, tiles = max(n for _, n in matrices), [ceil(rows / QUAD) for rows, _ in matrices], ceil(B / TILE)
    found = []
    for groups in range(1, min(tiles, processors) + 1):
        slices = min(processors // groups, max(quads))
        kept = sum(ceil(n / slices) * QUAD * length for n, (_, length) in zip(quads, matrices, strict=True))
        shared = WORD * (kept + TILE * longest + vector + S)
        if shared <= memory:
            found.append((ceil(tiles / groups), shared, (groups, slices)))
    if not found:
        return None
    _, shared, grid = min(found)
    return grid, shared


def attending_in_one_launch(
    cell: str,  # "lstm", "gru" or "rnn"
    mailboxes: tuple,  # the outputs through which blocks pass words to each other
    W_query: Any,  # (A, H) or None
    W_out: Any,  # (K, F + H) or None
    *arrays: Any,  # what else kernels take for every cell
    scale: float,
    sizes: Sizes,
    back: bool = False,
    **own: Any,  # what ``own_arrays`` takes
) -> bool:
    """Takes all steps of a decoder if a kernel fits, and says whether it did.

    Its products are those without tensor cores, whatever precision whole sequences were asked for in.
    """
    if min(sizes) == 0:
        return False
    cupy, kernel = sys.modules["cupy"], named("attending", back)
    fits = plan_attending(cell, back, sizes, W_query is not None, W_out is not None, *room())
    if fits is None:  # said once: Python shows a warning of the same words from the same place no more
        told = ", ".join(f"{name} = {size}" for name, size in zip("HKFAS", sizes[1:6], strict=True))
        warnings.warn(f"no {kernel} of {cell} fits {told} on this device: steps are taken one at a time", stacklevel=3)
        return False
    (groups, slices), shared = fits
    for mailbox in mailboxes:
        if mailbox is not None:
            mailbox.view("uint32").fill(EMPTY)
    given = *mailboxes, W_query, W_out, *arrays, *own_arrays(back, **own)
    launch(
        "attentive_decoder",
        kernel,
        (groups, slices),
        (LANES, WARPS),
        *(x if x is None else cupy.ascontiguousarray(x) for x in given),
        stalled_word(),
        scale,
        *sizes,
        shared=shared,
        cooperative=slices > 1,  # a block that has the whole matrices waits for nobody else
        macros=(CELLS[cell].macro,),
    )
    return True
