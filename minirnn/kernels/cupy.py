"""Kernels for CuPy on the GPU."""

import math
import os
import sys
from importlib import import_module

from minirnn.arguments import not_negative
from minirnn.arrays import random_key, xp_of
from minirnn.kernels.capturing import clock_of_recording
from minirnn.kernels.decoders import attending_in_one_launch
from minirnn.kernels.fused import (
    THREADS,
    adam,
    add_rows,
    gru_candidate,
    gru_candidate_back,
    gru_gates,
    gru_gates_back,
    gru_reset,
    gru_reset_back,
    gru_slopes,
    lstm_gates,
    lstm_gates_back,
    lstm_slopes,
    rmsprop,
    rnn_activate,
    rnn_back,
    rnn_slopes,
    sgd,
    softmax,
    softmax_back,
    verdict,
)
from minirnn.kernels.launching import launch
from minirnn.kernels.numpy import PER_BLOCK
from minirnn.kernels.products import own_matmul
from minirnn.kernels.sequences import asked_for_whole, in_one_launch
from minirnn.kernels.together import each, laid_out, vectors

__all__ = [
    "adam",
    "add_rows",
    "adding_product",
    "asked_for_whole",
    "attending_in_one_launch",
    "check_ids",
    "each",
    "empty",
    "gru_candidate",
    "gru_candidate_back",
    "gru_gates",
    "gru_gates_back",
    "gru_reset",
    "gru_reset_back",
    "gru_slopes",
    "in_one_launch",
    "in_order",
    "kept",
    "laid_out",
    "lstm_gates",
    "lstm_gates_back",
    "lstm_slopes",
    "matrix_product",
    "product",
    "rmsprop",
    "rnn_activate",
    "rnn_back",
    "rnn_slopes",
    "rows_of",
    "run",
    "sgd",
    "shares",
    "side_by_side",
    "softmax",
    "softmax_back",
    "take_columns",
    "turn",
    "vectors",
    "verdict",
]

TF32 = 3  # CUBLAS_TF32_TENSOR_OP_MATH, for all products in float32 of a thread's handle
RUN = 2**24  # numbers prepared at once, up to 128 MiB: few launches, and the device is filled


def empty(shape, dtype):
    """An array whose contents are whatever was in its memory; CuPy keeps a pool of it."""
    return sys.modules["cupy"].empty(shape, dtype)


def in_order(xs, dtype):
    """What a loop over steps reads, as kernels read it: contiguous, of one dtype."""
    return xp_of(xs).ascontiguousarray(xs, dtype)


def run(numbers):
    """How many steps to prepare at once, with so many numbers in each: all, as far as memory allows."""
    return max(1, RUN // max(1, numbers))


def matrix_product(
    x,  # (..., M, K)
    y,  # (..., K, N)
    out=None,
):
    """``x @ y``: by the kernel in ``products.py`` if that was asked for, or else by cuBLAS."""
    taken = own_matmul(x, y, out)
    return xp_of(x, y).matmul(x, y, out=out) if taken is None else taken


def product(
    W,  # (F, D)
    columns,
):
    """A function ``(x (..., D, columns), out) -> W @ x``, for the many products of one matrix that a sequence takes."""
    xp, W, gemm = xp_of(W), xp_of(W).ascontiguousarray(W), _gemm()

    def times(x, out):
        if own_matmul(W, x, out) is not None:
            return out
        if x.ndim == 2 and x.size and W.size and x.dtype == W.dtype == out.dtype:
            return gemm("N", "N", W, x, out=out)  # matmul takes several times as long to find this out
        return xp.matmul(W, x, out=out)

    return times


def adding_product(
    W,  # (F, D)
    columns,
    dtype,
):
    """A function ``(x (D, columns), out) -> out + W @ x``, in place; out is of that dtype."""
    W, gemm = xp_of(W).ascontiguousarray(W, dtype), _gemm()

    def add(x, out):
        if own_matmul(W, x, out, add=True) is not None:
            return out
        return gemm("N", "N", W, x, out=out, beta=1.0) if x.size and W.size else out

    return add


def _gemm():
    """CuPy's product of two matrices, told of ``CUPY_TF32``: unlike matmul it does not look there by itself."""
    library = import_module("cupy.cublas")
    if int(os.environ.get("CUPY_TF32", 0)) > 0:
        library.cublas.setMathMode(library.device.get_cublas_handle(), TF32)
    return library.gemm


def rows_of(
    x,  # (..., F, B)
):
    """The columns of all steps side by side, ``(F, N)``."""
    rows = xp_of(x).moveaxis(x, -2, 0)
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))


def shares(columns, multiplications):
    """All columns as one slice: a device shares out its work by itself."""
    return [slice(0, columns)]


def side_by_side(task, count, operations):
    """``[task(slice(0, count))]``: a device shares out its work by itself."""
    return [task(slice(0, count))]


def take_columns(
    table,  # (F, V)
    ids,  # (T, B) integers in [0, V)
):
    """The columns of ``table`` that ``ids`` name, ``(T, F, B)``."""
    xp = xp_of(table, ids)
    return xp.ascontiguousarray(xp.ascontiguousarray(table.T)[ids].swapaxes(1, 2))  # whole rows are copied


def check_ids(ids, size, name="ids"):
    """Nothing: a look at device memory would wait for the device. Ids are checked on the host before they travel."""


def kept(shape, p, seed, stream, step, before):
    """Which numbers dropout keeps: those that it keeps on the host, drawn here. A recording says what the step is."""
    clock, n = clock_of_recording(stream), math.prod(shape)
    key, keep = random_key(seed, stream), sys.modules["cupy"].empty(shape, bool)
    not_negative(step=step)
    threads = -(-(before % PER_BLOCK + n) // PER_BLOCK)
    grid = (-(-threads // THREADS),)
    launch("masks", "kept", grid, (THREADS,), keep, clock, p, *map(int, key), int(step) % 2**64, before, n)
    return keep


def turn(
    xs,  # (T, ..., B)
    lengths,  # B integers
):
    """The first ``lengths[b]`` steps of every column in reverse order, the others where they are, in one gather."""
    xp, T, B = xp_of(xs), len(xs), xs.shape[-1]
    steps, ends = xp.arange(T).reshape(T, 1), xp.asarray(lengths).reshape(1, B)
    source = xp.where(steps < ends, ends - 1 - steps, steps)  # (T, B): the step that comes to stand here
    return xp.take_along_axis(xs, source.reshape(T, *(1,) * (xs.ndim - 2), B), axis=0)
