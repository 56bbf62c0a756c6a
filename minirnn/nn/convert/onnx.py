"""To and from the ONNX operators RNN, LSTM and GRU: directions stacked, biases in a row, attributes beside them."""

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
from minirnn.nn.recurrent import GRU, RNN

PEEPHOLES, THEIR_PEEPHOLES = "ifo", "iof"


def to_onnx(layer: Recurrent) -> list[dict[str, Any]]:
    """The weights and attributes of one ONNX operator for each layer of the stack.

    The output ``Y`` of one is ``(T, directions, B, H)`` and the next reads ``(T, B, directions * H)``: a ``Transpose``
    with ``perm=[0, 2, 1, 3]`` and a ``Reshape`` to ``[0, 0, -1]`` belong between them.

    Parameters
    ----------
    layer : RNN, LSTM or GRU

    Returns
    -------
    list of dict
        ``W (directions, G, D)``, ``R (directions, G, H)``, with biases ``B (directions, 2G)``, with peepholes
        ``P (directions, 3H)``; and ``attributes``, keyword arguments of ``onnx.helper.make_node``: ``direction``,
        ``hidden_size``, ``activations``, for a GRU also ``linear_before_reset``.

    Raises
    ------
    ValueError
        If ONNX has no such operator: projection, layer norm, a learned state.

    Examples
    --------
    >>> from minirnn import nn
    >>> node, = to_onnx(nn.LSTM(3, 2))
    >>> node["W"].shape, node["R"].shape, node["B"].shape, node["attributes"]["activations"]
    ((1, 8, 3), (1, 8, 2), (1, 16), ['Sigmoid', 'Tanh', 'Tanh'])
    """
    ours, theirs = gate_orders(layer, "ONNX")
    nodes = []
    for directions in taken_apart(layer):
        own = {kind: np.stack([arrays[kind] for arrays in directions]) for kind in directions[0]}
        P = own.pop("peepholes", None)
        own = {kind: reordered(x, ours, theirs, axis=1) for kind, x in own.items()}
        node: dict[str, Any] = {"W": own["weight_ih"], "R": own["weight_hh"]}
        if layer.bias:
            node["B"] = np.concatenate([own["bias_ih"], own["bias_hh"]], axis=1)
        if P is not None:
            node["P"] = reordered(P, PEEPHOLES, THEIR_PEEPHOLES, axis=1).reshape(len(directions), -1)
        nodes.append(node | {"attributes": _attributes(layer)})
    return nodes


def from_onnx(layer: Layer, nodes: Sequence[Mapping[str, Any]]) -> Layer:
    """Loads the weights of ONNX operators into a layer that is their counterpart, and returns it.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        With the ``bidirectional``, ``reset_after`` and ``nonlinearity`` that the attributes say.
    nodes : list of dict
        As from ``to_onnx``. As in the standard, a ``B`` or ``P`` that is absent or ``None`` means zeros, and an absent
        attribute its default.

    Raises
    ------
    TypeError
        If something is not of its kind: a list of mappings, an array of real numbers.
    ValueError
        If a count, a shape or an attribute differs, or ONNX has no such operator.
    """
    needed, (ours, theirs) = to_onnx(layer), gate_orders(layer, "ONNX")
    parts = []
    for k, node in enumerate(listed(nodes, len(needed), "nodes", "a mapping for each layer")):
        arrays = _arrays_of(node, needed[k], f"nodes[{k}]")
        own = {"weight_ih": arrays["W"], "weight_hh": arrays["R"]}
        if layer.bias:
            own["bias_ih"], own["bias_hh"] = np.split(arrays["B"], 2, axis=1)
        own = {kind: reordered(x, theirs, ours, axis=1) for kind, x in own.items()}
        if "P" in arrays:
            P = arrays["P"].reshape(-1, 3, layer.hidden_size)
            own["peepholes"] = reordered(P, THEIR_PEEPHOLES, PEEPHOLES, axis=1)
        parts.append([{kind: x[d] for kind, x in own.items()} for d in range(len(arrays["W"]))])
    return put_together(layer, parts)


def _attributes(layer: Recurrent) -> dict[str, Any]:
    if isinstance(layer, RNN):
        activations = [layer.nonlinearity.capitalize()]
    else:
        activations = ["Sigmoid", "Tanh"] if isinstance(layer, GRU) else ["Sigmoid", "Tanh", "Tanh"]
    attributes = {
        "direction": "bidirectional" if layer.bidirectional else "forward",
        "hidden_size": layer.hidden_size,
        "activations": activations * (2 if layer.bidirectional else 1),
    }
    return attributes | {"linear_before_reset": int(layer.reset_after)} if isinstance(layer, GRU) else attributes


def _arrays_of(node: Any, needed: dict[str, Any], name: str) -> dict[str, np.ndarray]:
    """The arrays of a node, which must be as ``needed``, and zeros where the standard says so."""
    if not isinstance(node, Mapping):
        raise TypeError(f"{name} must be a mapping with W, R, B, P and attributes, got {type(node).__name__}")
    given = {key: x for key, x in node.items() if x is not None}
    if surplus := [str(key) for key in given if key not in needed]:
        raise ValueError(f"{name} must hold only {', '.join(needed)} for this layer, got also {', '.join(surplus)}")
    if missing := [key for key in ("W", "R") if key not in given]:
        raise ValueError(f"{name} must hold {' and '.join(missing)}, got only {', '.join(given) or 'nothing'}")
    _check_attributes(given.pop("attributes", {}), needed["attributes"], f"{name}['attributes']")
    zeros = {key: np.zeros_like(needed[key]) for key in ("B", "P") if key in needed}
    return {key: numbers(x, f"{name}[{key!r}]", needed[key].shape) for key, x in (zeros | given).items()}


def _check_attributes(given: Any, needed: dict[str, Any], name: str) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be a mapping, got {type(given).__name__}")
    defaults = {"direction": "forward", "hidden_size": needed["hidden_size"], "linear_before_reset": 0}
    defaults["activations"] = [f.replace("Relu", "Tanh") for f in needed["activations"]]
    for key in needed:
        value = given.get(key, defaults[key])
        if _plain(value) != _plain(needed[key]):
            raise ValueError(f"{name} must have {key} = {needed[key]!r} for this layer, got {value!r}")
    for key, value in given.items():  # layout is about inputs and outputs, and 0 means that the gates are not coupled
        if key not in needed and key != "layout" and (key, value) != ("input_forget", 0):
            raise ValueError(f"{name} must not have {key}, which no layer here can do, got {value!r}")


def _plain(value: Any) -> Any:
    """Strings from a file are bytes, and activations come in any case."""
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    value = value.decode() if isinstance(value, bytes) else value
    return value.lower() if isinstance(value, str) else value
