"""Whole texts of a character model in one launch: how its weights are laid out, and how the kernel is spread.

Character by character a device waits for the host: several launches for each, and the scores travel to the host, where
the sampler sits. Here prompts go to the device and texts come back. How that is done stands at the top of
``cuda/generation.cu``; the numbers that decide are drawn on the host beforehand.

No device has measured this kernel yet. It runs only where ``use_whole_sequences`` asks for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import numpy as np

from minirnn.arrays import Array, home_of, xp_of
from minirnn.kernels.launching import launch
from minirnn.kernels.sequences import LANES, QUAD, TILE, WARPS, WORD, asked_for_whole, room, stalled_word

CELLS = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}  # as in generation.cu
NONE = -1  # a row of a quad that the matrix lacks


class Plan(NamedTuple):
    """How the kernel is spread over the device."""

    grid: tuple[int, int]  # groups of columns, slices of the matrices
    quads: int  # of a slice, of each layer
    out_quads: int  # of a slice, of the scores
    shared: int  # bytes, of a block
    keeps: bool  # whether they hold the weights too


class Layer(NamedTuple):
    """The weights of a layer; of the lowest ``W_ih`` and ``b_ih`` are in the table."""

    W_ih: Array | None  # (G H, H)
    b_ih: Array | None  # (G H,)
    W_hh: Array  # (G H, H)
    b_hn: Array | None  # (H,), of a GRU


def plan(cell: str, L: int, H: int, V: int, B: int, processors: int, memory: int) -> Plan | None:
    """How L layers are spread over so many processors with so many bytes of shared memory each; None if they cannot be.

    As in ``sequences.plan`` all blocks run at once, and the order of what is preferred is a guess: not measured. First
    that blocks keep their weights; then few tiles for each block, few quads, and few blocks.

    Examples
    --------
    >>> plan("lstm", L=2, H=512, V=65, B=1, processors=132, memory=232448)
    Plan(grid=(1, 128), quads=4, out_quads=1, shared=149696, keeps=True)
    >>> plan("lstm", L=2, H=1024, V=65, B=1, processors=132, memory=232448)
    Plan(grid=(1, 128), quads=8, out_quads=1, shared=75968, keeps=False)
    >>> plan("lstm", L=2, H=512, V=5000, B=1, processors=132, memory=232448) is None
    True
    """
    in_layer, in_scores, tiles = len(quads_of(cell, H)), ceil(V / 4), ceil(B / TILE)
    states = TILE * WORD * (L * H + V + 2 * 2 * V + 1)  # bytes: states and scores, two doubles a chance, and ids
    found = []
    for groups in range(1, min(tiles, processors) + 1):
        quads = ceil(in_layer / (processors // groups))
        slices = ceil(in_layer / quads)
        out_quads = ceil(in_scores / slices)
        weights = QUAD * WORD * H * ((2 * L - 1) * quads + out_quads)
        keeps = states + weights <= memory
        shared = states + weights * keeps
        if shared <= memory:
            preferred = not keeps, ceil(tiles / groups), quads, groups
            found.append((preferred, Plan((groups, slices), quads, out_quads, shared, keeps)))
    return min(found)[1] if found else None


def plan_here(cell: str, weight: Array, L: int, H: int, V: int, B: int) -> Plan | None:
    """The plan for a model with such a weight on the current device, if whole sequences were asked for."""
    if home_of(weight) != "cupy" or asked_for_whole(weight) is None:
        return None
    fits = plan(cell, L, H, V, B, *room())
    if fits is None:
        warnings.warn(
            f"no kernel fits {L} layers of hidden size {H} and {V} characters on this device: "
            "texts are written step by step",
            stacklevel=3,
        )
    return fits


def quads_of(cell: str, H: int, of_input: bool = False) -> np.ndarray:
    """Which rows of W_hh, or of W_ih, stand in each quad of a layer: ``(quads, 4)``.

    A gated unit is a quad. That of a GRU has both parts of its candidate in rows of their own, s_n and a_n.

    Examples
    --------
    >>> quads_of("gru", 2).tolist(), quads_of("gru", 2, of_input=True).tolist()
    ([[0, 2, 4, -1], [1, 3, 5, -1]], [[0, 2, -1, 4], [1, 3, -1, 5]])
    >>> quads_of("tanh", 6).tolist()
    [[0, 1, 2, 3], [4, 5, -1, -1]]
    """
    units = np.arange(H)
    if cell == "lstm":
        return units[:, None] + H * np.arange(4)
    if cell == "gru":
        r, z, n, none = units, units + H, units + 2 * H, np.full(H, NONE)
        return np.stack([r, z, none, n] if of_input else [r, z, n, none], axis=1)
    return _fours(H)


def _fours(rows: int) -> np.ndarray:
    """Rows one after the other, four in a quad."""
    quads = np.arange(4 * ceil(rows / 4)).reshape(-1, 4)
    return np.where(quads < rows, quads, NONE)


def write_texts(
    fits: Plan,
    cell: str,
    table: Array,  # (V, G H) what W_ih and the bias of the lowest layer make of each token
    layers: Sequence[Layer],
    W_out: Array,  # (V, H)
    b_out: Array | None,  # (V,)
    states: Sequence[Array],  # (L, H, B) h_0, and c_0 of an LSTM
    prompts: Sequence[np.ndarray],  # B of them, ids
    length: int,
    draws: np.ndarray | None,  # (length, B) in [0, 1), or None where nothing is drawn
    temperature: float,
    top_k: int,
    top_p: float,
) -> Array:
    """The ids that continue the prompts, ``(length, B)``, still on the device; -1 where a score was not finite."""
    xp, (L, H, B), V = xp_of(table), states[0].shape, len(W_out)
    lengths = [len(ids) for ids in prompts]
    read = np.zeros((max(lengths), B), np.int32)
    for b, ids in enumerate(prompts):
        read[: len(ids), b] = ids
    c_0 = [xp.array(c, order="C") for c in states[1:]]  # a copy, for it is written to
    texts = xp.empty((length, B), np.int32)
    launch(
        "generation",
        "write_texts",
        fits.grid,
        (LANES, WARPS),
        texts,
        xp.zeros((2, L * H + V, B), np.uint64),
        *_laid_out(cell, H, layers, W_out, b_out),
        _dealt([table], xp.zeros((V, 1), table.dtype), quads_of(cell, H, of_input=True), axis=1),
        xp.ascontiguousarray(states[0]),
        *(c_0 or [None]),
        xp.asarray(read),
        xp.asarray(np.array(lengths, np.int32)),
        None if draws is None else xp.asarray(draws),
        stalled_word(),
        temperature,
        min(top_k, V),
        top_p,
        CELLS[cell],
        L,
        H,
        V,
        B,
        length,
        max(lengths) + length - 1,
        min(lengths) - 1,
        fits.keeps,
        fits.quads,
        fits.out_quads,
        shared=fits.shared,
        cooperative=fits.grid[1] > 1,  # a block that has all rows waits for nobody else
    )
    return texts


def _laid_out(cell: str, H: int, layers: Sequence[Layer], W_out: Array, b_out: Array | None) -> tuple[Array, Array]:
    """The weights ``(quads, H, 4)`` and the biases ``(quads, 4)`` of all parts, in the order of generation.cu."""
    xp, parts = xp_of(W_out), []
    zeros = xp.zeros(max(H, len(W_out), len(layers[0].W_hh)), W_out.dtype)
    for W_ih, b_ih, W_hh, b_hn in layers:
        b_hh = None if b_hn is None else xp.concatenate([zeros[: 2 * H], b_hn])
        parts += [] if W_ih is None else [(W_ih, b_ih, quads_of(cell, H, of_input=True))]
        parts += [(W_hh, b_hh, quads_of(cell, H))]
    parts += [(W_out, b_out, _fours(len(W_out)))]
    starts = accumulate((len(W) for W, _, _ in parts), initial=0)
    quads = np.concatenate([np.where(q < 0, NONE, q + start) for start, (_, _, q) in zip(starts, parts, strict=False)])
    weights = _dealt([W for W, _, _ in parts], zeros[None, :H], quads)  # (quads, 4, H)
    biases = _dealt([zeros[: len(W)] if b is None else b for W, b, _ in parts], zeros[:1], quads)
    return xp.ascontiguousarray(weights.swapaxes(1, 2)), biases


def _dealt(rows: Sequence[Array], zero: Array, quads: np.ndarray, axis: int = 0) -> Array:
    """Rows in quads; one that is lacking is zero."""
    xp = xp_of(zero)
    joined = xp.concatenate([*rows, zero], axis=axis)
    return xp.take(joined, xp.asarray(quads % joined.shape[axis]), axis)  # NONE is the last
