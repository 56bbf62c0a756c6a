"""Kernels for NumPy on the CPU."""

import numpy as np

from minirnn.kernels.gru import (
    gru_candidate,
    gru_candidate_back,
    gru_gates,
    gru_gates_back,
    gru_reset,
    gru_reset_back,
    gru_slopes,
)
from minirnn.kernels.lstm import lstm_gates, lstm_gates_back, lstm_slopes
from minirnn.kernels.rnn import rnn_activate, rnn_slopes

__all__ = [
    "add_rows",
    "check_ids",
    "gru_candidate",
    "gru_candidate_back",
    "gru_gates",
    "gru_gates_back",
    "gru_reset",
    "gru_reset_back",
    "gru_slopes",
    "lstm_gates",
    "lstm_gates_back",
    "lstm_slopes",
    "rnn_activate",
    "rnn_slopes",
    "turn",
]


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

    Sorted by id, the rows of one id are neighbours, and one pass adds them up in the order in which they came:
    deterministic, and without the slowness of ``np.add.at``.
    """
    total = np.zeros((size, rows.shape[1]), rows.dtype)
    if len(ids):
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))  # where the rows of an id begin
        total[ids[first]] = np.add.reduceat(rows[order], first, axis=0)
    return total


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
