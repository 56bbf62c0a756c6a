"""What each CUDA kernel computes, in array operations on the host: its twin.

It takes the kernel's arguments in their order, but for the last ones where they say no more than its arrays do: sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minirnn.kernels import clipping, gru, losses, lstm, numpy, optimizers, rnn


def rnn_activate(a: Any, h: Any, relu: bool) -> None:
    rnn.rnn_activate(a, h, "relu" if relu else "tanh")


def rnn_slopes(h: Any, slopes: Any, relu: bool) -> None:
    rnn.rnn_slopes(h, slopes, "relu" if relu else "tanh")


def lstm_slopes(gates: Any, c_prev: Any, c: Any, da_slope: Any, dc_slope: Any, carry: Any, peepholes: Any) -> None:
    carried = lstm.lstm_slopes(gates, c_prev, c, da_slope, dc_slope, peepholes)
    if carry is not None:
        carry[...] = carried


def softmax(logits: Any, targets: Any, p: Any, log_p: Any, V: int, inner: int) -> None:
    form, positions = (-1, V, inner), (-1, inner)
    losses.softmax(logits.reshape(form), targets.reshape(positions), 1, p.reshape(form), log_p.reshape(positions))


def softmax_back(p: Any, targets: Any, step: Any, dlogits: Any, one_step: bool, V: int, inner: int) -> None:
    step = step.reshape(()) if one_step else step.reshape(-1, inner)
    d = losses.softmax_back(p.reshape(-1, V, inner), targets.reshape(-1, inner), 1, step)
    dlogits[...] = d.reshape(dlogits.shape)


def squares(g: Any, sums: Any) -> None:
    sums[...] = np.dot(g, g.astype(np.float64)) / len(sums)


def verdict(sums: Any, loss: Any, norm: Any, factor: Any, max_norm: float) -> None:
    with np.errstate(over="ignore"):
        norm[0], factor[0] = clipping.verdict([np.sqrt(sums)], None if loss is None else loss[0], max_norm)


def add_rows(ids: Any, rows: Any, total: Any) -> None:
    total[...] = numpy.add_rows(ids, rows, len(total))


def matmul(
    a: Any,
    b: Any,
    c: Any,
    a_turned: bool,
    b_turned: bool,
    a_many: bool,
    b_many: bool,
    add: bool,
    many: int,
    M: int,
    N: int,
    K: int,
) -> None:
    x = a.reshape(many if a_many else 1, *((K, M) if a_turned else (M, K)))
    y = b.reshape(many if b_many else 1, *((N, K) if b_turned else (K, N)))
    x, y = (m.swapaxes(-1, -2) if turned else m for m, turned in ((x, a_turned), (y, b_turned)))
    products = np.matmul(x, y).reshape(c.shape)
    c[...] = c + products if add else products


def kept(keep: Any, clock: Any, p: float, seed: int, stream: int, step: int, begin: int) -> None:
    at = (int(step) + (0 if clock is None else int(clock[0]))) % 2**64
    philox = np.random.Philox(key=np.array([seed, stream]), counter=np.array([0, 0, at, 0], np.uint64))
    philox.advance(int(begin) // 8)
    numbers = np.random.Generator(philox).random(int(begin) % 8 + keep.size, np.float32)[int(begin) % 8 :]
    keep[...] = numbers.reshape(keep.shape) >= p


TWINS: dict[str, Callable[..., None]] = {
    twin.__name__: twin
    for twin in (
        add_rows,
        gru.gru_candidate,
        gru.gru_candidate_back,
        gru.gru_gates,
        gru.gru_gates_back,
        gru.gru_reset,
        gru.gru_reset_back,
        gru.gru_slopes,
        kept,
        lstm.lstm_gates,
        lstm.lstm_gates_back,
        lstm_slopes,
        matmul,
        optimizers.adam,
        optimizers.rmsprop,
        optimizers.sgd,
        rnn.rnn_back,
        rnn_activate,
        rnn_slopes,
        softmax,
        softmax_back,
        squares,
        verdict,
    )
}
