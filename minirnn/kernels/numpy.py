"""Kernels for NumPy on the CPU."""

import numpy as np

from minirnn.kernels.lstm import lstm_gates, lstm_gates_back, lstm_slopes

__all__ = ["add_rows", "check_ids", "lstm_gates", "lstm_gates_back", "lstm_slopes", "product", "row_blocks"]

SMALL = 1_000_000  # OpenBLAS multiplies a matrix as it lies, without packing it anew, up to this many multiplications


def check_ids(ids, size, name="ids"):
    """Refuses ids outside ``[0, size)``: NumPy would take negative ones from the end without a word.

    Raises
    ------
    IndexError
        Naming the first bad id and where it stands.
    """
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

    Sorted by id, the rows of one id are neighbours, and one pass adds them up in the order in which they came:
    deterministic, and without the slowness of ``np.add.at``.
    """
    total = np.zeros((size, rows.shape[1]), rows.dtype)
    if len(ids):
        order = np.argsort(ids, kind="stable")
        found, first = np.unique(ids[order], return_index=True)
        total[found] = np.add.reduceat(rows[order], first, axis=0)
    return total


def row_blocks(
    W,  # (M, K)
    N,  # columns of the matrices that W will be multiplied with
):
    """``W`` as ``(M / m, m, K)``, the same numbers in blocks of rows, for ``product`` to multiply block by block.

    The weights of a recurrence meet only a few columns at each step. A BLAS that packs them anew every time spends a
    third of its time on that; blocks of at most ``SMALL`` multiplications are multiplied in place. Measured, a step of
    512 x 128 x 16 on one core: 30 microseconds whole, 21 in blocks.
    """
    M, K = W.shape
    fitting = (m for m in range(M - M % 8, 0, -8) if M % m == 0 and m * K * N <= SMALL)
    m = next(fitting, M or 1)
    return W.reshape(M // m, m, K)  # not -1, which means nothing where K is 0


def product(
    blocks,  # (S, m, K), from row_blocks
    x,  # (..., K, N)
    out,  # (..., S * m, N), contiguous
):
    """``W @ x`` into ``out``, for one matrix of columns or for many."""
    np.matmul(blocks, x[..., None, :, :], out=out.reshape(*x.shape[:-2], *blocks.shape[:2], x.shape[-1]))
