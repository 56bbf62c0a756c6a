"""To and from ``keras.layers.SimpleRNN``, ``LSTM``, ``GRU`` and ``Bidirectional``: transposed, often with one bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minirnn.nn.convert.layouts import (
    Layer,
    Recurrent,
    gate_orders,
    listed,
    put_together,
    reordered,
    taken_apart,
)
from minirnn.nn.inputs import numbers
from minirnn.nn.recurrent import GRU


def to_keras(layer: Recurrent) -> list[list[np.ndarray]]:
    """The weights of a layer as ``set_weights`` of Keras' layers takes them, a list for each layer of the stack.

    Its counterpart is a stack of ``SimpleRNN``, ``LSTM`` or ``GRU`` with ``return_sequences=True`` and the ``use_bias``
    and ``reset_after`` of this one; bidirectional, each inside of ``Bidirectional``. The arrays do not say which
    activations they belong to: ``RNN(nonlinearity="relu")`` needs ``SimpleRNN(activation="relu")``, everything else
    Keras' defaults, tanh and sigmoid (in its first versions ``hard_sigmoid``, which is another function).

    Parameters
    ----------
    layer : RNN, LSTM or GRU

    Returns
    -------
    list of list of ndarray
        For each layer ``[kernel (D, G), recurrent_kernel (H, G), bias]``. The bias is ``(G,)``, for a GRU with
        ``reset_after`` ``(2, G)``, and left out if there is none. Bidirectional: forward, then the same again backward.

    Raises
    ------
    ValueError
        If Keras has no such layer: peepholes, projection, layer norm, a learned state.

    Examples
    --------
    >>> from minirnn import nn
    >>> [[x.shape for x in arrays] for arrays in to_keras(nn.LSTM(3, 2, num_layers=2))]
    [[(3, 8), (2, 8), (8,)], [(2, 8), (2, 8), (8,)]]
    """
    ours, theirs = gate_orders(layer, "Keras")

    def exported(own: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        arrays = [own["weight_ih"].T, own["weight_hh"].T]
        if layer.bias:
            b_ih, b_hh = own["bias_ih"], own["bias_hh"]
            arrays.append(np.stack([b_ih, b_hh]) if _has_both_biases(layer) else b_ih + b_hh)
        return [reordered(x, ours, theirs, axis=-1) for x in arrays]

    return [[x for own in directions for x in exported(own)] for directions in taken_apart(layer)]


def from_keras(layer: Layer, weights: Sequence[Sequence[Any]]) -> Layer:
    """Loads what ``get_weights()`` of Keras' layers gives into a layer that is their counterpart, and returns it.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        With the ``bias``, ``bidirectional`` and ``reset_after`` of Keras' layers, and their activations (see
        ``to_keras``), which the arrays do not tell.
    weights : list of list of array
        A list for each layer of the stack.

    Raises
    ------
    TypeError
        If something is not a list of arrays of real numbers.
    ValueError
        If a count or a shape differs, or Keras has no such layer.
    """
    needed, (ours, theirs) = to_keras(layer), gate_orders(layer, "Keras")
    bias_name = f"bias with reset_after={layer.reset_after}" if isinstance(layer, GRU) else "bias"
    names = ["kernel", "recurrent_kernel", bias_name] if layer.bias else ["kernel", "recurrent_kernel"]
    contents = ", ".join(names) + (" forward, the same backward" if layer.bidirectional else "")

    def imported(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        kernel, recurrent_kernel, *bias = (reordered(x, theirs, ours, axis=-1) for x in arrays)
        own = {"weight_ih": kernel.T, "weight_hh": recurrent_kernel.T}
        for b in bias:  # one or none
            own["bias_ih"], own["bias_hh"] = b if _has_both_biases(layer) else (b, np.zeros_like(b))
        return own

    parts = []
    for k, given in enumerate(listed(weights, len(needed), "weights", "a list of arrays for each layer")):
        arrays = [
            numbers(x, f"weights[{k}][{j}], {names[j % len(names)]},", needed[k][j].shape)
            for j, x in enumerate(listed(given, len(needed[k]), f"weights[{k}]", contents))
        ]
        parts.append([imported(arrays[j : j + len(names)]) for j in range(0, len(arrays), len(names))])
    return put_together(layer, parts)


def _has_both_biases(layer: Recurrent) -> bool:
    """Only in ``r * (W_hn h_prev + b_hn)`` is the recurrent bias more than half of a sum."""
    return isinstance(layer, GRU) and layer.reset_after
