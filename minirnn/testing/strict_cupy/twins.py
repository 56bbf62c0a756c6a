"""What each CUDA kernel computes, in array operations on the host: its twin.

It takes the kernel's arguments in their order, but for the last ones where they say no more than its arrays do: sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minirnn.kernels import gru, lstm, rnn


def rnn_activate(a: Any, h: Any, relu: bool) -> None:
    rnn.rnn_activate(a, h, "relu" if relu else "tanh")


def rnn_slopes(h: Any, slopes: Any, relu: bool) -> None:
    rnn.rnn_slopes(h, slopes, "relu" if relu else "tanh")


def lstm_slopes(gates: Any, c_prev: Any, c: Any, da_slope: Any, dc_slope: Any, carry: Any, peepholes: Any) -> None:
    carried = lstm.lstm_slopes(gates, c_prev, c, da_slope, dc_slope, peepholes)
    if carry is not None:
        carry[...] = carried


TWINS: dict[str, Callable[..., None]] = {
    twin.__name__: twin
    for twin in (
        gru.gru_candidate,
        gru.gru_candidate_back,
        gru.gru_gates,
        gru.gru_gates_back,
        gru.gru_reset,
        gru.gru_reset_back,
        gru.gru_slopes,
        lstm.lstm_gates,
        lstm.lstm_gates_back,
        lstm_slopes,
        rnn.rnn_back,
        rnn_activate,
        rnn_slopes,
    )
}
