"""Kernels for CuPy on the GPU; the gate arithmetic is still that of ordinary array operations, not fused."""

from minirnn.arrays import xp_of
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
]


def check_ids(ids, size, name="ids"):
    """Nothing: a look at device memory would wait for the device. Ids are checked on the host before they travel."""


def add_rows(ids, rows, size):
    """The ``(size, E)`` array whose row ``v`` is the sum of the rows with id ``v``.

    A product with one-hot rows: neither atomic additions, whose order and bits change from call to call, nor a look at
    how many ids there are, which would wait for the device.
    """
    xp = xp_of(ids, rows)
    return (xp.arange(size).reshape(-1, 1) == ids).astype(rows.dtype) @ rows
