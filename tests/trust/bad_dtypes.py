"""Arrays of another kind: integers, booleans, complex numbers, text, objects, or floats of another precision."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from badness import Bad, Call, f32

from minirnn import SGD, Tensor, clip_grad_norm_, gradcheck, hvp, lens, nn, ops, xp_of
from minirnn.decoding import probabilities

OTHERS = ("int64", "bool", "complex64", "float16", "object", "str")


def others(x: Any, *dtypes: str, error: type[Exception] = TypeError, **form: Any) -> list[Bad]:
    """``x`` in each of the dtypes, and a list with a word in it."""
    arrays = {dtype: np.asarray(x).astype(dtype) for dtype in dtypes or (*OTHERS, "float64")}
    return [Bad(dtype, array, error, **({"shown": str(array.dtype)} | form)) for dtype, array in arrays.items()]


def words(**form: Any) -> list[Bad]:
    return [Bad("no array", "many words", TypeError, shown="", **form)]


def calls() -> Iterator[Call]:
    yield from layers()
    yield from weights()
    yield from operations()
    yield from checks()


def layers() -> Iterator[Call]:
    x, h = f32(5, 4, 2), f32(1, 4, 3)
    yield Call(
        "nn.Linear", lambda layer, x: layer(x), {"x": x}, {"x": [*others(x), *words()]}, partial(nn.Linear, 2, 3)
    )
    yield Call(
        "nn.GRU",
        lambda layer, x, h_0: layer(x, h_0),
        {"x": x, "h_0": h},
        {"x": [*others(x), *words()], "h_0": others(h)},
        partial(nn.GRU, 2, 3),
    )
    good = {"x": x, "h_0": h, "c_0": h}
    yield Call(
        "nn.LSTM", lambda layer, x, h_0, c_0: layer(x, (h_0, c_0)), good, {"c_0": others(h)}, partial(nn.LSTM, 2, 3)
    )
    yield Call(
        "nn.LSTM",
        lambda layer, state: layer(x, state),
        {"state": (h, h)},
        {
            "state": [
                Bad("no pair", h, shown="ndarray"),
                Bad("three", (h, h, h), shown="3"),
                Bad("one", (h,), shown="1"),
            ]
        },
        partial(nn.LSTM, 2, 3),
    )
    yield Call(
        "nn.RNN",
        lambda layer, state: layer(x, state),
        {"state": h},
        {"state": [Bad("a pair", (h, h), shown="2")]},
        partial(nn.RNN, 2, 3),
    )
    yield Call(
        "nn.LSTMCell",
        lambda cell, x, h, c: cell(x, (h, c)),
        {"x": x[0], "h": h[0], "c": h[0]},
        {"x": others(x[0]), "h": others(h[0])},
        partial(nn.LSTMCell, 2, 3),
    )
    good = {"queries": f32(5, 4, 2), "memory": f32(6, 4, 3)}
    yield Call(
        "nn.Attention",
        lambda layer, **arrays: layer(**arrays),
        good,
        {name: others(a) for name, a in good.items()},
        partial(nn.Attention, 2, 3),
    )
    yield Call(
        "nn.Dropout", lambda layer, x: layer(x), {"x": x}, {"x": [*others(x, "object", "str"), *words()]}, nn.Dropout
    )
    yield Call(
        "nn.pad_sequences",
        lambda sequences: nn.pad_sequences(sequences),
        {"sequences": [x, x]},
        {
            "sequences": [
                Bad("mixed", [x, x.astype(float)], TypeError, shown="float64", named="sequences[1]"),
                Bad("words", [x, "a"], TypeError, shown="", named="sequences[1]"),
                Bad("no list", x, shown=""),
            ]
        },
    )


def weights() -> Iterator[Call]:
    layer = nn.Linear(2, 3)
    state = layer.state_dict()
    bad = {
        "weight": [*others(state["weight"], "bool", "complex64", "object", "str"), *words()],
        "bias": [Bad("None", None, TypeError, shown="")],
    }
    yield Call(
        "Module.load_state_dict",
        lambda layer, **changed: layer.load_state_dict({**state, **changed}),
        state,
        bad,
        partial(nn.Linear, 2, 3),
    )
    yield Call(
        "Module.load_state_dict",
        lambda layer, state: layer.load_state_dict(state),
        {"state": state},
        {"state": [Bad("a list", [1], TypeError, shown="list"), Bad("None", None, TypeError, shown="NoneType")]},
        partial(nn.Linear, 2, 3),
    )
    for take, name in ((partial(SGD, lr=0.1), "SGD"), (partial(clip_grad_norm_, max_norm=1.0), "clip_grad_norm_")):
        w = nn.Parameter([1.0])
        bad = [
            Bad("one tensor", w, TypeError, shown="tensor"),
            Bad("arrays", [np.ones(2)], TypeError, shown="ndarray"),
            Bad("a number", 3, TypeError, shown="int"),
            Bad("None", None, TypeError, shown="NoneType"),
        ]
        yield Call(name, lambda parameters, take=take: take(parameters), {"parameters": [w]}, {"parameters": bad})
    yield Call(
        "SGD",
        lambda parameters: SGD(parameters, 0.1),
        {"parameters": [nn.Parameter([1.0])]},
        {
            "parameters": [
                Bad("no gradient wanted", [Tensor([1.0])], TypeError, shown=""),
                Bad("integers", [Tensor([1])], TypeError, shown=""),
            ]
        },
    )
    for grad in ("list", "text"):
        value = {"list": [1.0, 2.0], "text": "steep"}[grad]
        yield Call(
            "clip_grad_norm_",
            _clip,
            {"grad": f32(2)},
            {"grad": [Bad(grad, value, TypeError, shown=type(value).__name__)]},
            lambda: nn.Parameter([1.0, 2.0]),
        )


def _clip(w: nn.Parameter, grad: Any) -> None:
    w.grad = grad
    try:
        clip_grad_norm_([w], 1.0)
    finally:
        w.grad = None


def operations() -> Iterator[Call]:
    x = f32(2, 3)
    bad = [
        Bad("text", "abc", TypeError),
        Bad("None", None, TypeError),
        Bad("a dict", {}, TypeError),
        Bad("objects", [object()], TypeError, shown=""),
    ]
    for name in ("add", "multiply", "matmul", "maximum"):
        yield Call(
            f"ops.{name}",
            lambda y, name=name: getattr(ops, name)(x, y),
            {"y": f32(3)},
            {"y": [case._replace(named="y", shown="") for case in bad]},
        )
    for name in ("tanh", "exp", "sum", "sigmoid", "softmax"):
        yield Call(
            f"ops.{name}",
            lambda x, name=name: getattr(ops, name)(x),
            {"x": x},
            {
                "x": [
                    case._replace(shown="", named="array" if case.value is None and name != "softmax" else "x")
                    for case in bad
                ]
            },
        )
    yield Call(
        "ops.where",
        lambda condition: ops.where(condition, x, x),
        {"condition": x > 0},
        {"condition": others(x, "int64", "float32", "complex64")},
    )
    targets = np.array([0, 1])
    yield Call(
        "ops.cross_entropy",
        lambda logits: ops.cross_entropy(logits, targets),
        {"logits": x},
        {"logits": others(x, "int64", "bool")},
    )
    yield Call(
        "ops.astype",
        lambda dtype: ops.astype(x, dtype=dtype),
        {"dtype": "float64"},
        {
            "dtype": [
                Bad("unknown", "floaty", TypeError),
                Bad("a number", 3, TypeError),
                Bad("text", "str", TypeError),
                Bad("objects", "object", TypeError),
            ]
        },
    )
    data = [
        Bad("text", "abc", TypeError, shown=""),
        Bad("objects", [object()], TypeError, shown=""),
        Bad("ragged", [[1], [1, 2]], TypeError, shown=""),
        Bad("None", None, TypeError, shown=""),
        Bad("tensors", [Tensor(1.0)], TypeError, shown=""),
        Bad("a tensor", Tensor(1.0), TypeError, shown=""),
        Bad("dates", np.array(["2020-01-01"], "datetime64"), TypeError, shown=""),
    ]
    yield Call("Tensor", lambda data: Tensor(data), {"data": [1.0]}, {"data": data})
    integers = [
        Bad("of integers", [1, 2], TypeError, shown="int64", named="gradient"),
        Bad("of booleans", [True], TypeError, shown="bool", named="gradient"),
    ]
    yield Call(
        "Tensor, requires_grad", lambda data: Tensor(data, requires_grad=True), {"data": [1.0]}, {"data": integers}
    )
    cotangent = [
        Bad("text", "abc", TypeError, shown=""),
        Bad("objects", [object()] * 2, TypeError, shown=""),
        Bad("complex", np.array([1j, 1]), TypeError, shown="complex128"),
    ]
    yield Call(
        "Tensor.backward",
        lambda w, cotangent: (w * w).backward(cotangent),
        {"cotangent": [1.0, 2.0]},
        {"cotangent": cotangent},
        lambda: Tensor([1.0, 2.0], requires_grad=True),
    )
    value = [
        Bad("text", "abc", shown="'abc'"),
        Bad("None", None, TypeError, shown=""),
        Bad("complex", 1j, TypeError, shown=""),
    ]
    yield Call(
        "Tensor[0] =",
        lambda x, value: x.__setitem__(0, value),
        {"value": 1.0},
        {"value": value},
        lambda: Tensor(f32(2)),
    )
    yield Call(
        "Tensor +=",
        lambda x, value: x.__iadd__(value),
        {"value": 1.0},
        {"value": [value[0]._replace(error=TypeError), *value[1:]]},
        lambda: Tensor(f32(2)),
    )


def checks() -> Iterator[Call]:
    x = np.arange(3.0)
    bad = [
        Bad("complex", [x * 1j], shown="complex128"),
        Bad("half", [x.astype("float16")], shown="float16"),
        Bad("text", ["abc"], TypeError, shown=""),
        Bad("no float", [np.arange(3)], shown=""),
    ]
    yield Call(
        "gradcheck",
        lambda inputs: gradcheck(ops.tanh, inputs),
        {"inputs": [x]},
        {"inputs": [case._replace(named="input") for case in bad]},
    )
    bad = [Bad("single", [x.astype("float32")], TypeError, shown="float32"), Bad("text", ["abc"], TypeError, shown="")]
    yield Call(
        "hvp",
        lambda inputs: hvp(lambda x: (x * x).sum(), inputs, [x]),
        {"inputs": [x]},
        {"inputs": [case._replace(named="input") for case in bad]},
    )
    bad = [Bad("complex", [x * 1j], TypeError, shown="complex128"), Bad("text", ["abc"], TypeError, shown="")]
    yield Call(
        "hvp",
        lambda vectors: hvp(lambda x: (x * x).sum(), [x], vectors),
        {"vectors": [x]},
        {"vectors": [case._replace(named="vector") for case in bad]},
    )
    bad = [Bad(dtype, x.astype(dtype), shown=str(x.astype(dtype).dtype)) for dtype in ("complex64", "str", "bool")]
    yield Call("probabilities", probabilities, {"logits": x}, {"logits": bad})
    yield Call(
        "lens.record",
        lambda function: lens.record(function, f32(4, 1, 2), loss=lambda out: out.sum()),
        {"function": nn.RNN(2, 3)},
        {
            "function": [
                Bad("no module", len, TypeError, shown="len", named="module"),
                Bad("None", None, TypeError, shown="None", named="module"),
            ]
        },
    )
    yield Call(
        "xp_of",
        lambda x: xp_of(x),
        {"x": x},
        {
            "x": [
                Bad("a list", [1.0], TypeError, shown="list", named="array"),
                Bad("None", None, TypeError, shown="none", named="array"),
            ]
        },
    )
