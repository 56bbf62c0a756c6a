"""What each CUDA kernel computes, in array operations on the host: its twin.

It takes the kernel's arguments in their order, but for the last ones where they say no more than its arrays do: sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minirnn.kernels import rnn


def rnn_activate(a: Any, h: Any, relu: bool) -> None:
    rnn.rnn_activate(a, h, "relu" if relu else "tanh")


def rnn_slopes(h: Any, slopes: Any, relu: bool) -> None:
    rnn.rnn_slopes(h, slopes, "relu" if relu else "tanh")


TWINS: dict[str, Callable[..., None]] = {twin.__name__: twin for twin in (rnn_activate, rnn_slopes, rnn.rnn_back)}
