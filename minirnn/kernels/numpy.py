"""Kernels for NumPy on the CPU."""

import math
from functools import partial
from itertools import pairwise

import numpy as np

from minirnn import workers
from minirnn.arrays import random_generator
from minirnn.kernels.clipping import verdict
from minirnn.kernels.gru import (
    gru_candidate,
    gru_candidate_back,
    gru_gates,
    gru_gates_back,
    gru_reset,
    gru_reset_back,
    gru_slopes,
)
from minirnn.kernels.losses import softmax, softmax_back
from minirnn.kernels.lstm import lstm_gates, lstm_gates_back, lstm_slopes
from minirnn.kernels.optimizers import adam, rmsprop, sgd
from minirnn.kernels.rnn import rnn_activate, rnn_back, rnn_slopes
from minirnn.memory import HAS_LOCK, empty
from minirnn.workers import blocks_are_quicker

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

# Up to so many multiplications OpenBLAS, where it has AVX-512, takes a matrix as it lies in memory; a larger one it
# rearranges first, at every product anew. So there blocks of rows are quicker on one thread: 170 to 180 GFLOP/s for
# 512 x 128 by 16 columns, 206 to 246 for 2048 x 512 by 32, float32. Its other kernels rearrange all, and blocks lose.
SMALL = 10**6
FEWEST = 8  # rows of a block: with fewer the BLAS takes twice as long, whatever it need not rearrange
MANY = 2**23  # operations that are worth a thread: some 80 microseconds
RUN = 2**17  # numbers prepared at once, about half a megabyte: they stay in the second-level cache until they are used
# Multiplications of a step that are worth a thread: with fewer, threads wait for Python's lock. Where there is none, an
# LSTM of H = 64 already gains a tenth by two shares of 8 columns.
ENOUGH = 3 * 10**6 if HAS_LOCK else 250_000


def in_one_launch(cell, mailbox, W_hh, xs, start, back=False, **own):
    """False, for there are no launches: a sequence is taken step by step."""
    return False


def asked_for_whole(mailbox, *arrays):
    """None, for the same reason."""
    return None


def attending_in_one_launch(cell, mailboxes, W_query, W_out, *arrays, scale, sizes, back=False, **own):
    """False, for the same reason."""
    return False


matrix_product = np.matmul


def in_order(xs, dtype):
    """What a loop over steps reads: here as it is, for array operations take any layout and any dtype."""
    return xs


def run(numbers):
    """How many steps to prepare at once, with so many numbers in each: as many as the cache can hold.

    Examples
    --------
    >>> run(2**16), run(2**20), run(0)
    (2, 1, 131072)
    """
    return max(1, RUN // max(1, numbers))


def product(
    W,  # (F, D)
    columns,
):
    """A function ``(x (..., D, columns), out) -> W @ x``, for the many products of one matrix that a sequence takes.

    ``out`` must be contiguous. Where it pays, the rows of ``W`` are taken in blocks that the BLAS does not rearrange; a
    transposed ``W`` need not be copied, for in so short a product its order in memory makes no difference.
    """
    F, D = W.shape
    fit = SMALL // max(1, D * columns) if blocks_are_quicker() else F
    if fit >= F or fit < FEWEST:
        return partial(np.matmul, W)
    rows = 1 << fit.bit_length() - 1
    cut = F // rows * rows
    blocks, rest = W[:cut].reshape(-1, rows, D), W[cut:]

    def in_blocks(x, out):
        if x.strides[-1] != x.itemsize:  # seen through a transposed view: the BLAS would turn it over for every block
            x, seen = empty(x.shape, x.dtype), x
            x[...] = seen  # once: 15 steps of 1024 x 256 by 32 columns take 2.9 milliseconds then, and whole 3.5
        many = out[..., :cut, :].reshape(*x.shape[:-2], len(blocks), rows, columns)
        np.matmul(blocks, x[..., None, :, :], out=many)
        if len(rest):
            np.matmul(rest, x, out=out[..., cut:, :])
        return out

    return in_blocks


def adding_product(
    W,  # (F, D)
    columns,
    dtype,
):
    """A function ``(x (D, columns), out) -> out + W @ x``, in place; out is of that dtype."""
    times, scratch = product(W, columns), empty((len(W), columns), dtype)

    def add(x, out):
        out += times(x, scratch)
        return out

    return add


def shares(columns, multiplications):
    """The columns of a batch as slices, one for each worker; a step has so many ``multiplications`` for each column.

    Examples
    --------
    >>> with workers.use_workers(1):
    ...     shares(10, 65536)
    [slice(0, 10, None)]
    """
    n = min(workers.workers(), columns)
    if workers.is_automatic():
        n = min(n, columns * multiplications // ENOUGH)
    return _parts(columns, max(1, n))


def side_by_side(
    task,  # of a slice of what is counted
    count,
    operations,
):
    """``[task(part), ...]`` for parts of ``range(count)``, one for each worker if there is enough to do."""
    n = min(workers.workers(), count)
    if workers.is_automatic():
        n = min(n, operations // MANY)
    return workers.spread(task, _parts(count, n)) if n > 1 else [task(slice(0, count))]


def _parts(count, n):
    """``range(count)`` in ``n`` slices of about one length."""
    return [slice(*pair) for pair in pairwise(k * count // n for k in range(n + 1))]


def rows_of(
    x,  # (..., F, B)
):
    """The columns of all steps side by side, ``(F, N)``.

    Examples
    --------
    >>> rows_of(np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])).tolist()
    [[1, 2, 5, 6], [3, 4, 7, 8]]
    """
    if x.ndim == 2:
        return x
    *steps, F, B = x.shape
    N = math.prod(steps) * B
    if B == 1 or not x.flags.c_contiguous or x.size == 0:
        return x.swapaxes(-1, -2).reshape(N, F).T  # no copy of one column, nor of a sequence (T, B, F) seen as columns
    rows = empty((F, math.prod(steps), B), x.dtype)
    one = np.dtype((np.void, B * x.itemsize))  # the numbers of one row and step move as one: half the time
    rows.view(one)[..., 0] = x.reshape(-1, F, B).view(one)[..., 0].T
    return rows.reshape(F, N)


def take_columns(
    table,  # (F, V)
    ids,  # (T, B) integers in [0, V)
):
    """The columns of ``table`` that ``ids`` name, ``(T, F, B)``.

    Step by step, row by row: each row is short enough to stay in the first-level cache while numbers are picked from
    it. To gather whole columns and turn them over takes six times as long.
    """
    ys = empty((len(ids), len(table), ids.shape[1]), table.dtype)
    for y, now in zip(ys, ids, strict=True):
        table.take(now, 1, y, "clip")  # checked before: nothing is clipped, but only so is no copy made
    return ys


def check_ids(ids, size, name="ids"):
    """Refuses ids outside ``[0, size)``: NumPy would take negative ones from the end without a word.

    Raises
    ------
    TypeError
        If they are not integers.
    IndexError
        Naming the first bad id and where it stands.
    """
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {ids.dtype}")
    bad = (ids < 0) | (ids >= size)
    if bad.any():
        where = tuple(int(k) for k in np.argwhere(bad)[0])
        raise IndexError(f"{name} must lie in 0..{size - 1}, got {int(ids[where])} at index {where}")


def add_rows(
    ids,  # (N,) integers
    rows,  # (N, E)
    size,
):
    """The ``(size, E)`` array whose row ``v`` is the sum of the rows with id ``v``.

    They are added in the order in which they came, number by number: ``np.add.at`` is quick at single numbers (two
    nanoseconds each), and slow at rows.
    """
    E = rows.shape[1]
    total, n = empty((size, E), rows.dtype), run(E)
    total.fill(0)
    for start in range(0, len(ids), n):
        some = slice(start, start + n)
        places = np.add.outer(ids[some].astype(np.intp) * E, np.arange(E))
        np.add.at(total.ravel(), places.ravel(), rows[some].ravel())
    return total


PER_BLOCK = 8  # float32 numbers that Philox draws from one value of its counter


def kept(shape, p, seed, stream, step, before):
    """Which numbers dropout keeps: those to which a random stream, from its number ``before`` on, gives ``p`` or more.

    Examples
    --------
    >>> whole = kept((2, 6), 0.5, seed=1, stream="mask", step=3, before=0)
    >>> bool((kept((6,), 0.5, seed=1, stream="mask", step=3, before=6) == whole[1]).all())
    True
    """
    blocks, rest = divmod(before, PER_BLOCK)
    generator = random_generator(seed, stream, step)
    generator.bit_generator.advance(blocks)
    return generator.random(rest + math.prod(shape), np.float32)[rest:].reshape(shape) >= p


def turn(
    xs,  # (T, ..., B)
    lengths,  # B integers
):
    """The first ``lengths[b]`` steps of every column in reverse order, the others where they are.

    Column by column: a gather of single numbers takes six times as long.

    Examples
    --------
    >>> turn(np.array([[1, 4], [2, 5], [3, 6]]), lengths=[3, 2]).tolist()
    [[3, 5], [2, 4], [1, 6]]
    """
    turned = xs.copy()
    for b, n in enumerate(lengths):
        turned[:n, ..., b] = xs[:n, ..., b][::-1]
    return turned


def laid_out(arrays, one_by_one=False):
    """The arrays as they are: a loop over them costs nothing here."""
    return arrays


def vectors(*columns):
    """Rows of vectors, one for each of the columns of arrays."""
    return [[a.reshape(-1) for a in row] for row in zip(*columns, strict=True)]


def each(function, arrays):
    """``[function(a), ...]`` for a function of single numbers."""
    return [function(a) for a in arrays]
