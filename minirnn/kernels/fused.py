"""The arithmetic of cells, losses and optimizers on a device: one launch where array operations take up to fifteen.

A function here has the name and the arguments of its twin in array operations, and launches the kernel of that name in
``cuda/``. What kernels do not take is left to the twin: complex numbers, arrays of different dtypes, and arrays that
are not contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import accumulate
from math import prod
from typing import Any

from minirnn.arrays import xp_of
from minirnn.kernels import clipping, gru, losses, lstm, optimizers, rnn
from minirnn.kernels.launching import REALS, launch

THREADS = 256  # of a block
LANES = 32
WARPS = THREADS // LANES
SUMS = 1024  # blocks that share out a sum at most


def fused(twin: Callable) -> Callable:
    """Makes a launch of a function that says how many threads there are to be, and what the kernel is given.

    A kernel stands in the source that is called like the module of its twin. Numbers in a tuple travel to the device,
    as an array of the dtype of the others.
    """
    source, kernel = twin.__module__.rpartition(".")[2], twin.__name__

    def made_of(told: Callable) -> Callable:
        @wraps(told)
        def launched(*arguments: Any) -> Any:
            arrays = [x for x in arguments if hasattr(x, "dtype")]
            dtype = arrays[0].dtype
            if dtype not in REALS or not all(x.dtype == dtype and x._c_contiguous for x in arrays):
                return twin(*arguments)
            xp = xp_of(arrays[0])
            there = (xp.asarray(x, dtype) if isinstance(x, tuple) else x for x in arguments)
            threads, given, *result = told(*there)
            launch(source, kernel, (-(-threads // THREADS),), (THREADS,), *given)
            return result[0] if result else None

        return launched

    return made_of


@fused(lstm.lstm_gates)
def lstm_gates(a, gates, c_prev, m, c, peepholes=None):
    return c.size, (a, gates, c_prev, m, c, peepholes, *c.shape)


@fused(lstm.lstm_slopes)
def lstm_slopes(gates, c_prev, c, da_slope, dc_slope, peepholes=None):
    *steps, H, B = c.shape
    carry = None if peepholes is None else xp_of(c).empty_like(c)
    given = gates, c_prev, c, da_slope, dc_slope, carry, peepholes, H, B, prod(steps)
    return c.size, given, gates[..., H : 2 * H, :] if carry is None else carry


@fused(lstm.lstm_gates_back)
def lstm_gates_back(dm_t, dm, dc, da, dc_slope, carry, dc_prev):
    return dm.size, (dm_t, dm, dc, da, dc_slope, carry, dc_prev, *dm.shape)


@fused(gru.gru_gates)
def gru_gates(a, b, h_prev, gates, h):
    return h.size, (a, b, h_prev, gates, h, *h.shape)


@fused(gru.gru_reset)
def gru_reset(a, h_prev, gates, k):
    return k.size, (a, h_prev, gates, k, *k.shape)


@fused(gru.gru_candidate)
def gru_candidate(a, h_prev, gates, h):
    return h.size, (a, h_prev, gates, h, *h.shape)


@fused(gru.gru_slopes)
def gru_slopes(gates, h_prev, slopes, reset_after):
    *steps, H, B = h_prev.shape
    return h_prev.size, (gates, h_prev, slopes, reset_after, H, B, prod(steps))


@fused(gru.gru_gates_back)
def gru_gates_back(dh_t, dh, gates, dgates):
    return dh.size, (dh_t, dh, gates, dgates, *dh.shape)


@fused(gru.gru_candidate_back)
def gru_candidate_back(dh_t, dh, gates, dgates):
    return dh.size, (dh_t, dh, gates, dgates, *dh.shape)


@fused(gru.gru_reset_back)
def gru_reset_back(dk, dh, gates, dgates):
    return dk.size, (dk, dh, gates, dgates, *dk.shape)


@fused(rnn.rnn_activate)
def rnn_activate(a, h, nonlinearity):
    return h.size, (a, h, nonlinearity == "relu", h.size)


@fused(rnn.rnn_slopes)
def rnn_slopes(h, slopes, nonlinearity):
    return h.size, (h, slopes, nonlinearity == "relu", h.size)


@fused(rnn.rnn_back)
def rnn_back(dh_t, dh, da):
    return dh.size, (dh_t, dh, da, dh.size)


@fused(optimizers.sgd)
def sgd(w, g, m, rates, momentum, allowed=None):
    return w.size, (w, g, m, rates, momentum, allowed, w.size)


@fused(optimizers.rmsprop)
def rmsprop(w, g, v, rates, alpha, eps, allowed=None):
    return w.size, (w, g, v, rates, alpha, eps, allowed, w.size)


@fused(optimizers.adam)
def adam(w, g, m, v, rates, beta1, beta2, eps, allowed=None):
    return w.size, (w, g, m, v, rates, beta1, beta2, eps, allowed, w.size)


def verdict(vectors, loss, max_norm):
    """Norm and factor as in ``kernels/clipping.py``; in float32 both stay on the device, and nobody has waited."""
    if any(g.dtype != "float32" or not g._c_contiguous for g in vectors):
        return clipping.verdict(vectors, loss, max_norm)
    xp, dtype, shared = xp_of(*vectors), "float32", THREADS * 8
    blocks = [min(SUMS, -(-g.size // THREADS)) for g in vectors]
    ends = list(accumulate(blocks, initial=0))
    sums = xp.empty(ends[-1], "float64")
    for g, start, end in zip(vectors, ends, ends[1:], strict=False):
        launch("clipping", "squares", (end - start,), (THREADS,), g, sums[start:end], g.size, shared=shared)
    loss = None if loss is None else xp.asarray(loss, dtype).reshape(1)
    norm, factor = xp.empty(1, dtype), xp.empty(1, dtype)
    launch("clipping", "verdict", (1,), (THREADS,), sums, loss, norm, factor, max_norm, len(sums), shared=shared)
    return norm.reshape(()), factor.reshape(())


def softmax(logits, targets, axis, p, log_p):
    fits = logits.dtype in REALS and p.dtype == log_p.dtype == logits.dtype
    if not (fits and logits._c_contiguous and p._c_contiguous and log_p._c_contiguous):
        losses.softmax(logits, targets, axis, p, log_p)
        return
    outer, V, inner = _around(logits, axis)
    columns = min(LANES, 1 << (inner - 1).bit_length())  # a warp's worth of neighbours, if there are as many
    grid, block = (outer, -(-inner // columns)), (columns, THREADS // columns)
    shared = THREADS * p.itemsize
    launch("losses", "softmax", grid, block, logits, _ids(targets), p, log_p, V, inner, shared=shared)


def softmax_back(p, targets, axis, step):
    if p.dtype not in REALS or step.dtype != p.dtype or not p._c_contiguous:
        return losses.softmax_back(p, targets, axis, step)
    dlogits, (_, V, inner) = xp_of(p).empty(p.shape, p.dtype), _around(p, axis)
    given = p, _ids(targets), xp_of(p).ascontiguousarray(step), dlogits, step.ndim == 0, V, inner, p.size
    launch("losses", "softmax_back", (-(-p.size // THREADS),), (THREADS,), *given)
    return dlogits


def add_rows(ids, rows, size):
    """The ``(size, E)`` array whose row ``v`` is the sum of the rows with id ``v``, in the order they came in."""
    xp, (N, E) = xp_of(ids, rows), rows.shape
    if rows.dtype not in REALS:  # a product with one-hot rows: without a look at how many ids there are
        return (xp.arange(size).reshape(-1, 1) == ids).astype(rows.dtype) @ rows
    total = xp.empty((size, E), rows.dtype)
    given = _ids(ids), xp.ascontiguousarray(rows), total, N, E, size
    grid, block = (-(-size // WARPS), -(-E // LANES)), (LANES, WARPS)
    launch("lookups", "add_rows", grid, block, *given)
    return total


def _around(x, axis):
    """What an array is to a loop over ``axis``: how much lies before it, along it, and behind."""
    return prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])


def _ids(targets):
    return xp_of(targets).ascontiguousarray(targets, "int64")
