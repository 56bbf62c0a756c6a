"""Cells made for looking at: random weights of a given spectral radius, random inputs, a loss at the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.arguments import booleans, positive, positive_number
from minirnn.arrays import random_generator
from minirnn.lens.recording import GATES, Recording, record
from minirnn.models.char_lm import CELLS, check_cell

INPUTS = 8  # features of the random inputs


def specimen(
    cell: str = "rnn",
    *,
    hidden: int = 32,
    seq_len: int = 100,
    radius: float = 1.0,
    seed: int = 0,
    every_step: bool = False,
    **options: Any,
) -> Recording:
    """A recording of a cell with random weights, in float64, whose loss reads its last state only, or every one.

    The loss is the product of h_T with a random vector of length one. So the gradient starts with norm 1, and all that
    is seen of it at earlier steps has come the whole way back. With ``every_step`` it is the sum of such products, of
    each h_t with a vector of its own.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    hidden, seq_len : int
        H and T.
    radius : float
        Spectral radius, the largest absolute eigenvalue, that every H x H block of ``W_hh`` is scaled to. The blocks
        are Gaussian.
    seed : int
        Draws weights, inputs and the vectors of the loss.
    every_step : bool
        Whether the loss reads every state.
    **options
        Of the layer, such as ``nonlinearity="relu"``. An LSTM begins with ``forget_bias=1.0`` unless told otherwise,
        as Jozefowicz et al. (2015) recommend; with 0 it forgets half of its cell at every step.

    Raises
    ------
    ValueError
        If the cell is unknown, or a size or the radius not positive.

    Examples
    --------
    >>> from minirnn import lens
    >>> print(lens.specimen("gru", hidden=16, seq_len=50, radius=0.9))
    GRU, radius 0.9: 50 steps, 1 column, loss 0.1238, at l0
    """
    check_cell(cell)
    positive(hidden=hidden, seq_len=seq_len)
    positive_number(radius=radius)
    booleans(every_step=every_step)
    if cell == "lstm":
        options = {"forget_bias": 1.0, **options}
    layer = CELLS[cell](INPUTS, hidden, dtype="float64", seed=seed, **options)
    weights, drawn = layer.state_dict(), random_generator(seed, "specimen")
    gates = GATES[type(layer).__name__]
    weights["weight_hh_l0"] = np.concatenate([scaled(drawn.standard_normal((hidden, hidden)), radius) for _ in gates])
    layer.load_state_dict(weights)
    xs = drawn.standard_normal((seq_len, 1, INPUTS))
    questions = drawn.standard_normal((seq_len if every_step else 1, hidden))
    questions /= np.linalg.norm(questions, axis=1, keepdims=True)
    return record(layer, xs, loss=lambda out: (out[-len(questions) :, 0] * questions).sum(), label=f"radius {radius:g}")


def scaled(matrix: np.ndarray, radius: float) -> np.ndarray:
    """The matrix, multiplied by a number that gives it this spectral radius."""
    return matrix * (radius / np.abs(np.linalg.eigvals(matrix)).max())
