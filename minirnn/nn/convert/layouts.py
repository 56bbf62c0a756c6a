"""What all conversions share: the orders of gates, what cannot be converted, layers taken apart and put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from minirnn.nn.recurrent import GRU, LSTM, RNN

Recurrent = RNN | LSTM | GRU
Layer = TypeVar("Layer", bound=Recurrent)
Parts = list[list[dict[str, np.ndarray]]]  # by layer and direction, arrays by kind

KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "peepholes")

GATES = {  # in the letters used here, from top to bottom
    RNN: {"here": "h", "Keras": "h", "ONNX": "h"},
    LSTM: {"here": "ifgo", "Keras": "ifgo", "ONNX": "iofg"},
    GRU: {"here": "rzn", "Keras": "zrn", "ONNX": "zrn"},
}

EVERYWHERE = ("PyTorch", "Keras", "ONNX")
NO_PLACE = {  # options without a counterpart: where, and why
    "peepholes": (("PyTorch", "Keras"), "its LSTM has no peepholes"),
    "proj_size": (("Keras", "ONNX"), "its LSTM has no projection"),
    "residual": (("PyTorch",), "its stacks have no connections past a layer"),
    "zoneout": (EVERYWHERE, "its recurrent layers have no zoneout, which still mixes states at evaluation"),
    "layer_norm": (EVERYWHERE, "its recurrent layers have no layer norm"),
    "learned_state": (EVERYWHERE, "its recurrent layers have no initial state among their weights"),
}


def gate_orders(layer: Recurrent, home: str) -> tuple[str, str]:
    """The order of the gates here and in ``home``.

    Raises
    ------
    TypeError
        If the layer is not recurrent.
    ValueError
        If it has no counterpart in ``home``.
    """
    cell = next((cell for cell in GATES if isinstance(layer, cell)), None)
    if cell is None:
        raise TypeError(f"layer must be an nn.RNN, nn.LSTM or nn.GRU, got {type(layer).__name__}")
    for option, (homes, why) in NO_PLACE.items():
        if home in homes and getattr(layer, option, False):
            raise ValueError(f"{cell.__name__}({option}={getattr(layer, option)}) has no counterpart in {home}: {why}")
    return GATES[cell]["here"], GATES[cell].get(home, GATES[cell]["here"])


def reordered(x: np.ndarray, source: str, target: str, axis: int) -> np.ndarray:
    """The blocks of ``x`` along ``axis``, one for each letter of ``source``, in the order of ``target``.

    Examples
    --------
    >>> reordered(np.array([0, 0, 1, 1, 2, 2]), "rzn", "zrn", axis=0)
    array([1, 1, 0, 0, 2, 2])
    """
    blocks = dict(zip(source, np.split(x, len(source), axis), strict=True))
    return np.ascontiguousarray(np.concatenate([blocks[gate] for gate in target], axis))


def taken_apart(layer: Recurrent) -> Parts:
    """Copies of the parameters of a layer.

    Raises
    ------
    ValueError
        If a subclass has brought parameters of its own.
    """
    state = layer.state_dict()
    known = [kind + end for ends in _ends(layer) for end in ends for kind in KINDS]
    if unknown := [name for name in state if name not in known]:
        raise ValueError(f"layer must have no parameters but those of its cell, got also {', '.join(unknown)}")
    return [
        [{kind: state[kind + end] for kind in KINDS if kind + end in state} for end in ends] for ends in _ends(layer)
    ]


def put_together(layer: Layer, parts: Parts) -> Layer:
    """The layer, with ``parts`` for its parameters."""
    state: dict[str, np.ndarray] = {}
    for ends, directions in zip(_ends(layer), parts, strict=True):
        for end, arrays in zip(ends, directions, strict=True):
            state |= {kind + end: x for kind, x in arrays.items()}
    layer.load_state_dict(state)
    return layer


def _ends(layer: Recurrent) -> list[list[str]]:
    """By layer and direction, how the names of parameters end."""
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    return [[f"_l{k}{direction}" for direction in directions] for k in range(layer.num_layers)]


def listed(x: Any, count: int, name: str, contents: str) -> Sequence[Any]:
    """``x``, if it is a list of ``count``.

    Raises
    ------
    TypeError, ValueError
    """
    if not isinstance(x, (list, tuple)):
        raise TypeError(f"{name} must be a list ({contents}), got {type(x).__name__}")
    if len(x) != count:
        raise ValueError(f"{name} must have {count} entries ({contents}), got {len(x)}")
    return x
