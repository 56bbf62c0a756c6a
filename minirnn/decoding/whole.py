"""Whole texts in one launch: the character model goes to its kernel, and comes back with the ids that it wrote.

On a device, where ``use_whole_sequences`` asks for it and a kernel fits. The host draws the numbers that the sampler
would draw, in its order, and waits once, for the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.arrays import to_numpy
from minirnn.decoding.sampling import draws
from minirnn.decoding.stepping import array_of, is_plain
from minirnn.kernels.sequences import check_stalled
from minirnn.kernels.writing import Layer, plan_here, write_texts
from minirnn.nn import GRU, LSTM, RNN
from minirnn.tape import no_grad


def written(
    lm: Any,
    prompts: Sequence[np.ndarray],
    length: int,
    *,
    temperature: float,
    top_k: int,
    top_p: float,
    seeds: Sequence[int],
) -> np.ndarray | None:
    """The ids that continue the prompts, ``(length, B)``; None if they have to be written step by step.

    That is so where nobody asked for whole sequences or no kernel fits, and for a model that is not a CharLM as it
    builds itself. It is so too where a score is not finite, for the steps say which.

    Raises
    ------
    StalledError
        If the kernel waited in vain for what another block should have sent.

    Notes
    -----
    Scores are computed in float32, in another order than step by step: `minirnn.decoding.generate` says what that does
    to a text. From the scores on all is as in `minirnn.decoding.sampler`, but for tokens less probable than 1e-12 times
    the likeliest: those are never taken.
    """
    cell = _cell(lm.rnn) if length and prompts and is_plain(lm) else None
    if cell is None:
        return None
    rnn, B, weight = lm.rnn, len(prompts), lm.embedding.weight
    fits = plan_here(cell, weight.array, rnn.num_layers, rnn.hidden_size, len(weight), B)
    if fits is None:
        return None
    with lm.evaluating(), no_grad():
        (table,) = rnn.project(weight.T)
        layers = [_layer(rnn, layer) for layer in range(rnn.num_layers)]
        states = [part.array for part in rnn._state_as_columns(None, B)]
    ids = to_numpy(
        write_texts(
            fits,
            cell,
            table.array.T,
            layers,
            lm.head.weight.array,
            array_of(lm.head.bias),
            states,
            prompts,
            length,
            draws(seeds, length) if temperature else None,
            temperature,
            top_k,
            top_p,
        )
    )
    if (ids >= 0).all():
        return ids.astype(np.int64)
    check_stalled()
    return None


def _cell(rnn: Any) -> str | None:
    """What the kernel calls the cell, or None if it does not have it."""
    if type(rnn) is RNN:
        return rnn.nonlinearity
    if type(rnn) is GRU:
        return "gru" if rnn.reset_after else None
    return "lstm" if type(rnn) is LSTM else None


def _layer(rnn: Any, layer: int) -> Layer:
    W_ih, b_ih = map(array_of, rnn._input_weights(f"l{layer}")) if layer else (None, None)
    W_hh, *more = map(array_of, rnn._recurrent_weights(f"l{layer}"))
    return Layer(W_ih, b_ih, W_hh, more[0] if type(rnn) is GRU else None)
