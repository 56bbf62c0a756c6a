"""To and from ``torch.nn.RNN``, ``LSTM`` and ``GRU``: names, orders and layouts are the same as here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minirnn.nn.convert.layouts import Layer, Recurrent, gate_orders
from minirnn.nn.recurrent import GRU


def to_torch(layer: Recurrent) -> dict[str, np.ndarray]:
    """The weights of a layer as PyTorch's layer of the same class and options names and holds them.

    Parameters
    ----------
    layer : RNN, LSTM or GRU

    Returns
    -------
    dict of str to ndarray
        Copies; PyTorch loads them as ``{name: torch.from_numpy(x) for name, x in to_torch(layer).items()}``.

    Raises
    ------
    ValueError
        If PyTorch has no such layer: ``reset_after=False``, peepholes, residual, layer norm, a learned state.

    Examples
    --------
    >>> from minirnn import nn
    >>> {name: x.shape for name, x in to_torch(nn.LSTM(3, 2, bias=False)).items()}
    {'weight_ih_l0': (8, 3), 'weight_hh_l0': (8, 2)}
    """
    _check(layer)
    return layer.state_dict()


def from_torch(layer: Layer, state: Mapping[str, Any]) -> Layer:
    """Loads the ``state_dict()`` of PyTorch's layer of the same class and options, and returns the layer.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
    state : mapping of str to array
        On the CPU.

    Raises
    ------
    KeyError
        If names are missing or unknown; all are listed.
    TypeError
        If something is not an array of real numbers.
    ValueError
        If a shape differs, a number overflows in the layer's dtype, or PyTorch has no such layer.
    """
    _check(layer)
    layer.load_state_dict(state)
    return layer


def _check(layer: Recurrent) -> None:
    gate_orders(layer, "PyTorch")
    if isinstance(layer, GRU) and not layer.reset_after:
        raise ValueError(
            "GRU(reset_after=False) has no counterpart in PyTorch: its GRU multiplies by the reset gate after W_hn"
        )
