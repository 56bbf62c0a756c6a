"""Arrays of a wrong shape: an axis less or more, axes in another order, sizes that do not fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from badness import Bad, Call, f32, misshapen

from minirnn import (
    SGD,
    CharLM,
    Seq2Seq,
    Tagger,
    Tensor,
    beam_search,
    clip_grad_norm_,
    clip_grad_value_,
    hvp,
    nn,
    ops,
    rules,
    sampler,
)
from minirnn.decoding import probabilities

T, S, B, D, H, V = 5, 6, 4, 2, 3, 7


def calls() -> Iterator[Call]:
    yield from layers()
    yield from attention()
    yield from sequences()
    yield from parameters()
    yield from elementwise()
    yield from axes()
    yield from products()
    yield from losses()
    yield from recurrences()
    yield from tensors()
    yield from models()


def layers() -> Iterator[Call]:
    yield Call("nn.Linear", call, {"x": f32(B, D)}, {"x": misshapen(f32(B, D), [1], "-+")}, lambda: nn.Linear(D, H))
    states = {"h_0": f32(1, B, H), "c_0": f32(1, B, H)}
    bad = {name: list(misshapen(h, [0, 1, 2], named=name)) for name, h in states.items()}
    for kind in (nn.RNN, nn.GRU):
        good = {"x": f32(T, B, D), "h_0": states["h_0"]}
        yield Call(
            f"nn.{kind.__name__}",
            lambda layer, x, h_0: layer(x, h_0),
            good,
            {"x": misshapen(good["x"], [2]), "h_0": bad["h_0"]},
            partial(kind, D, H),
        )
    yield Call(
        "nn.LSTM",
        lambda layer, x, h_0, c_0: layer(x, (h_0, c_0)),
        {"x": f32(T, B, D), **states},
        {"x": misshapen(f32(T, B, D), [2]), **bad},
        lambda: nn.LSTM(D, H),
    )
    yield Call(
        "nn.LSTM, batch first",
        lambda layer, x, h_0, c_0: layer(x, (h_0, c_0)),
        {"x": f32(B, T, D), **states},
        {"x": misshapen(f32(B, T, D), [2]), "h_0": [Bad("batch first too", f32(B, 1, H), shown=str((B, 1, H)))]},
        lambda: nn.LSTM(D, H, batch_first=True),
    )
    yield Call(
        "nn.LSTM, both ways, projected",
        lambda layer, x, h_0, c_0: layer(x, (h_0, c_0)),
        {"x": f32(T, B, D), "h_0": f32(2, B, 1), "c_0": f32(2, B, H)},
        {
            "h_0": [Bad("of one direction", f32(1, B, 1), shown=str((1, B, 1))), *misshapen(f32(2, B, 1), [2], "-+T")],
            "c_0": [Bad("projected too", f32(2, B, 1), shown=str((2, B, 1)))],
        },
        lambda: nn.LSTM(D, H, bidirectional=True, proj_size=1),
    )
    for kind in (nn.RNNCell, nn.GRUCell):
        yield Call(
            f"nn.{kind.__name__}",
            lambda cell, x, h: cell(x, h),
            {"x": f32(B, D), "h": f32(B, H)},
            {"x": misshapen(f32(B, D), [1]), "h": misshapen(f32(B, H), [0, 1])},
            partial(kind, D, H),
        )
    yield Call(
        "nn.LSTMCell",
        lambda cell, x, h, c: cell(x, (h, c)),
        {"x": f32(B, D), "h": f32(B, H), "c": f32(B, H)},
        {"x": misshapen(f32(B, D), [1]), "h": misshapen(f32(B, H), [0, 1]), "c": misshapen(f32(B, H), [0, 1])},
        lambda: nn.LSTMCell(D, H),
    )


def attention() -> Iterator[Call]:
    queries, memory = f32(T, B, D), f32(S, B, H)
    bad = {"queries": list(misshapen(queries, [2])), "memory": list(misshapen(memory, [1, 2]))}
    for kind, dims in (("general", (D, H)), ("additive", (D, H))):
        good = {"queries": queries, "memory": memory}
        yield Call(f"nn.Attention, {kind}", call, good, bad, partial(nn.Attention, *dims, kind=kind))
    square = {"queries": f32(T, B, H), "memory": memory}
    for kind in ("dot", "scaled_dot"):
        bad = {"memory": [*misshapen(memory, [2], "-+T")], "queries": misshapen(square["queries"], [2], "-+T")}
        yield Call(f"nn.Attention, {kind}", call, square, bad, partial(nn.Attention, H, H, kind=kind))
    yield Call(
        "nn.AttentiveDecoder",
        lambda decoder, x, memory, h, c: decoder(x, memory, (h, c)),
        {"x": f32(T, B, D), "memory": f32(S, B, H + 1), "h": f32(B, H), "c": f32(B, H)},
        {
            "x": misshapen(f32(T, B, D), [2]),
            "memory": misshapen(f32(S, B, H + 1), [1, 2]),
            "h": misshapen(f32(B, H), [0, 1]),
            "c": misshapen(f32(B, H), [0, 1]),
        },
        lambda: nn.AttentiveDecoder(D, H, H + 1),
    )
    good = {"query": f32(T, B, H), "key": f32(S, B, H), "value": f32(S, B, H)}
    bad = {
        name: misshapen(x, [2] if name == "query" else [0, 1, 2] if name == "value" else [1, 2])
        for name, x in good.items()
    }
    good, bad["mask"] = good | {"mask": np.ones((T, S), bool)}, misshapen(np.ones((T, S), bool), [0, 1])
    yield Call("nn.MultiheadAttention", call, good, bad, lambda: nn.MultiheadAttention(H, H))
    words = f32(2, S, B, D)
    yield Call(
        "nn.HierarchicalPooling",
        call,
        {"words": words, "lengths": np.full((2, S), B)},
        {"words": misshapen(words, [3], "T")},
        lambda: nn.HierarchicalPooling(D, H),
    )


def sequences() -> Iterator[Call]:
    for axis, why in ((1, "other features"), (0, "no axis of time")):
        odd = f32(2, D + 1) if axis else np.float32(1)
        yield Call(
            "nn.pad_sequences",
            lambda sequences: nn.pad_sequences(sequences),
            {"sequences": [f32(3, D), f32(2, D)]},
            {"sequences": [Bad(why, [f32(3, D), odd], shown=str(odd.shape), named="sequences[1]")]},
        )
    yield Call(
        "nn.unpad_sequences",
        nn.unpad_sequences,
        {"padded": f32(T, B, D), "lengths": [T] * B},
        {"padded": [Bad("one axis", f32(T), shown="(5,)"), Bad("no axis", np.float32(1), shown="()")]},
    )


def parameters() -> Iterator[Call]:
    layer = nn.LSTM(D, H, proj_size=1, peepholes=True)
    for name, x in layer.state_dict().items():
        yield Call(
            "nn.LSTM.load_state_dict",
            lambda layer, **changed: layer.load_state_dict({**layer.state_dict(), **changed}),
            {name: x},
            {name: misshapen(x, [0])},
            lambda: nn.LSTM(D, H, proj_size=1, peepholes=True),
        )
    for name, k in (("kernel", 0), ("recurrent_kernel", 1), ("bias", 2)):
        x = nn.convert.to_keras(nn.GRU(D, H, reset_after=False))[0][k]
        yield Call(
            "nn.convert.from_keras",
            partial(_from_keras, k),
            {name: x},
            {name: misshapen(x, [0])},
            lambda: nn.GRU(D, H, reset_after=False),
        )
    for name in "WRB":
        x = nn.convert.to_onnx(nn.LSTM(D, H))[0][name]
        yield Call("nn.convert.from_onnx", _from_onnx, {name: x}, {name: misshapen(x, [1])}, lambda: nn.LSTM(D, H))
    for what, take in (
        ("SGD.step", lambda p: SGD([p], 0.1).step()),
        ("clip_grad_norm_", lambda p: clip_grad_norm_([p], 1.0)),
        ("clip_grad_value_", lambda p: clip_grad_value_([p], 1.0)),
        ("Tensor.backward", lambda p: (p * p).sum().backward()),
    ):
        yield Call(
            what,
            lambda w, grad, take=take: _with_grad(w, grad, take),
            {"grad": f32(2, 3)},
            {"grad": misshapen(f32(2, 3), [0], "-", shown="(2, 3)")},
            lambda: nn.Parameter(f32(2, 3), name="w"),
        )
    optimizer = SGD([nn.Parameter(f32(2, 3))], 0.1, momentum=0.5)
    yield Call(
        "SGD.load_state_dict",
        lambda optimizer, m: optimizer.load_state_dict({**optimizer.state_dict(), "0.m": m}),
        {"m": f32(2, 3)},
        {"m": misshapen(f32(2, 3), [1], named="0.m")},
        lambda: optimizer,
    )


def elementwise() -> Iterator[Call]:
    for name in ("add", "subtract", "multiply", "divide", "power", "maximum", "minimum"):
        op = getattr(ops, name)
        yield Call(
            f"ops.{name}", op_of(op), {"x": f32(2, 3) + 2, "y": f32(3) + 2}, {"x": misshapen(f32(2, 3), [1], "-+T")}
        )
    good = {"condition": f32(2, 3) > 0, "x": f32(3), "y": f32(2, 1)}
    bad = {name: misshapen(x, [x.ndim - 1 if name != "y" else 0], "-+T") for name, x in good.items()}
    yield Call("ops.where", op_of(ops.where), good, bad)
    for sign in ("+", "-", "*", "/", "@"):
        yield Call(
            f"Tensor {sign}",
            lambda left, y, sign=sign: eval(f"left {sign} y"),
            {"y": f32(3) + 2},
            {"y": [Bad("too long", f32(4), shown="(4,)"), Bad("too short", f32(2), shown="(2,)")]},
            lambda: Tensor(f32(2, 3)),
        )


def axes() -> Iterator[Call]:
    x = f32(2, 3, 4)
    for name, argument, good, bads in (
        ("reshape", "shape", (6, 4), {"too many": (5, 5), "two left open": (-1, -1), "negative": (-2, -12)}),
        ("broadcast_to", "shape", (5, 2, 3, 4), {"smaller": (3, 4), "other": (2, 3, 5)}),
        ("transpose", "axes", (2, 0, 1), {"too few": (0, 1), "twice": (0, 0, 1), "outside": (0, 1, 3)}),
        ("swapaxes", "axis1", 0, {"outside": 3, "below": -4}),
        ("concat", "axis", 1, {"outside": 3}),
        ("stack", "axis", 1, {"outside": 4, "below": -5}),
        ("split", "axis", 1, {"outside": 3}),
        ("split", "sections", 2, {"no divisor": 3, "none": 0, "below": -1}),
        ("flip", "axis", 1, {"outside": 3}),
        ("pad", "widths", ((0, 1),) * 3, {"too few": ((0, 1),), "negative": ((0, -1),) * 3}),
        ("sum", "axis", 1, {"outside": 3, "twice": (1, 1)}),
        ("mean", "axis", 1, {"outside": 3}),
        ("var", "axis", 1, {"outside": -4}),
        ("max", "axis", 1, {"outside": 3}),
        ("min", "axis", 1, {"outside": 3}),
        ("logsumexp", "axis", 1, {"outside": 3}),
        ("softmax", "axis", 1, {"outside": 3}),
        ("log_softmax", "axis", 1, {"outside": 3}),
    ):
        own = {"axis2": 1} if name == "swapaxes" else {"sections": 1} if argument == "axis" and name == "split" else {}
        given = (x, x) if name in ("concat", "stack") else (x,)
        yield Call(
            f"ops.{name}",
            partial(getattr(ops, name), *given, **own),
            {argument: good},
            {argument: [Bad(why, value) for why, value in bads.items()]},
        )
    for name in ("concat", "stack"):
        yield Call(
            f"ops.{name}",
            lambda op, xs: op(*xs),
            {"xs": [f32(2, 3), f32(2, 3)]},
            {"xs": [Bad("other sizes", [f32(2, 3), f32(2, 4)], shown="(2, 4)")]},
            partial(getattr, ops, name),
        )


def products() -> Iterator[Call]:
    good = {"x": f32(2, 3), "y": f32(3, 4)}
    yield Call(
        "ops.matmul",
        op_of(ops.matmul),
        good,
        {name: misshapen(x, [1 - k], "-+T") for k, (name, x) in enumerate(good.items())},
    )
    good = {"x": f32(T, D, B), "W": f32(H, D), "b": f32(H)}
    bad = {"x": misshapen(good["x"], [1], "-+T"), "W": misshapen(good["W"], [0, 1]), "b": misshapen(good["b"], [0])}
    yield Call("ops.affine", op_of(ops.affine), good, bad)
    good = {"weight": f32(V, D), "ids": np.array([[1, 2]])}
    yield Call("ops.embedding", op_of(ops.embedding), good, {"weight": misshapen(f32(V, D), free="T")})
    good = {"table": f32(D, V), "ids": np.array([[1, 2]])}
    bad = {"table": misshapen(f32(D, V), free="T"), "ids": misshapen(good["ids"], free="T")}
    yield Call("ops.embedding_columns", op_of(ops.embedding_columns), good, bad)
    good = {"queries": f32(T, H, B), "keys": f32(S, H, B)}
    bad = {"queries": misshapen(good["queries"], [1, 2]), "keys": misshapen(good["keys"], [1, 2])}
    yield Call("ops.dot_scores", op_of(ops.dot_scores), good, bad)
    bad = {
        "queries": misshapen(good["queries"], [1, 2]),
        "keys": misshapen(good["keys"], [1, 2]),
        "v": misshapen(f32(H), [0]),
    }
    yield Call("ops.additive_scores", op_of(ops.additive_scores), {**good, "v": f32(H)}, bad)
    good = {"scores": f32(T, S, B), "mask": np.ones((S, B), bool)}
    yield Call("ops.attention_weights", op_of(ops.attention_weights), good, {"mask": misshapen(good["mask"], [0, 1])})
    good = {"weights": f32(T, S, B), "values": f32(S, H, B)}
    bad = {"weights": misshapen(good["weights"], [1, 2]), "values": misshapen(good["values"], [0, 2])}
    yield Call("ops.attention_contexts", op_of(ops.attention_contexts), good, bad)
    good = {"x": f32(T, D, B), "weight": f32(B), "bias": f32(B)}
    bad = {
        "x": misshapen(good["x"], [2], "-+T"),
        "weight": misshapen(good["weight"], [0]),
        "bias": misshapen(good["bias"], [0]),
    }
    yield Call("ops.layer_norm", op_of(ops.layer_norm), good, bad)


def losses() -> Iterator[Call]:
    good = {"x": f32(2, 3), "y": f32(2, 3)}
    yield Call("ops.mean_squared_error", op_of(ops.mean_squared_error), good, {"y": misshapen(good["y"], [1])})
    good = {"logits": f32(B, V), "targets": np.arange(B), "weights": f32(V) + 2, "mask": np.ones(B, bool)}
    fixed = {"logits": [0, 1], "targets": [0], "weights": [0], "mask": [0]}
    bad = {name: misshapen(x, fixed[name]) for name, x in good.items()}
    yield Call("ops.cross_entropy", op_of(ops.cross_entropy), good, bad)
    good = {
        "xs": f32(T, D, B),
        "W": f32(V, D),
        "b": f32(V),
        "targets": np.ones((T, B), int),
        "mask": np.ones((T, B), bool),
    }
    fixed = {"xs": [0, 1, 2], "W": [1], "b": [0], "targets": [0, 1], "mask": [0, 1]}
    bad = {name: misshapen(x, fixed[name]) for name, x in good.items()}
    yield Call("ops.affine_cross_entropy", op_of(ops.affine_cross_entropy), good, bad)


def recurrences() -> Iterator[Call]:
    """The rules themselves, without a tape: the first file that many read."""
    gates = {"rnn": 1, "lstm": 4, "gru": 3}
    for name, G in gates.items():
        good = (
            {"a": f32(T, G * H, B), "h": f32(H, B)}
            | ({"c": f32(H, B)} if name == "lstm" else {})
            | {"W_hh": f32(G * H, H)}
        )
        for rule, a in ((f"{name}_step", good["a"][0]), (name, good["a"])):
            given = {**good, "a": a}
            bad = {part: misshapen(x, [x.ndim - 1, x.ndim - 2]) for part, x in given.items()}
            yield Call(f"rules.{rule}", op_of(getattr(rules, rule)), given, bad)


def tensors() -> Iterator[Call]:
    def put(x, data):
        x.data = data

    def write(x, value):
        x[0] = value

    yield Call("Tensor.data", put, {"data": f32(2, 3)}, {"data": misshapen(f32(2, 3), [1])}, lambda: Tensor(f32(2, 3)))
    bad = {"value": [Bad("too long", f32(4), shown="(4,)"), Bad("an axis more", f32(2, 3), shown="(2, 3)")]}
    yield Call("Tensor[0] =", write, {"value": f32(3)}, bad, lambda: Tensor(f32(2, 3)))
    for sign in ("+=", "-=", "*=", "/="):
        yield Call(
            f"Tensor {sign}",
            lambda t, value, sign=sign: exec(f"t {sign} value"),
            {"value": f32(3) + 2},
            {"value": [Bad("too long", f32(4), shown="(4,)"), Bad("would grow it", f32(5, 2, 3), shown="(5, 2, 3)")]},
            lambda: Tensor(f32(2, 3)),
        )
    yield Call(
        "Tensor.backward",
        lambda w, cotangent: (w * w).backward(cotangent),
        {"cotangent": f32(2, 3)},
        {"cotangent": [*misshapen(f32(2, 3), [1]), Bad("none for six numbers", None, shown="(2, 3)")]},
        lambda: Tensor(f32(2, 3), requires_grad=True),
    )
    yield Call(
        "hvp",
        lambda vectors: hvp(lambda x: (x * x * x).sum(), [np.arange(3.0)], vectors),
        {"vectors": [np.arange(3.0)]},
        {
            "vectors": [
                Bad("too long", [np.arange(4.0)], shown="(4,)", named="vector"),
                Bad("too many", [np.arange(3.0)] * 2, shown="2"),
            ]
        },
    )


def models() -> Iterator[Call]:
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    bad = {"inputs": misshapen(ids, [0, 1]), "targets": misshapen(ids, [0, 1])}
    yield Call(
        "CharLM.loss", lambda lm, **ids: lm.loss(**ids), {"inputs": ids, "targets": ids}, bad, lambda: CharLM(V, D, H)
    )
    states = {"h_0": f32(1, 2, H), "c_0": f32(1, 2, H)}
    bad = {name: misshapen(h, [0, 1, 2]) for name, h in states.items()}
    yield Call("CharLM", lambda lm, h_0, c_0: lm(ids, (h_0, c_0)), states, bad, lambda: CharLM(V, D, H))
    bad = {"ids": misshapen(ids), "tags": misshapen(ids, [0, 1])}
    yield Call(
        "Tagger.loss",
        lambda tagger, ids, tags: tagger.loss(ids, tags),
        {"ids": ids, "tags": ids},
        bad,
        lambda: Tagger(V, V, D, H),
    )
    rows = {
        "sources": [Bad("one more row", ids[[0, 0, 1]], shown="3 and 2")],
        "targets": [Bad("one more row", ids[[0, 0, 1]], shown="2 and 3")],
    }
    bad = {name: [*rows[name], *misshapen(ids, free="T")] for name in rows}
    yield Call(
        "Seq2Seq.loss",
        lambda model, **ids: model.loss(**ids),
        {"sources": ids, "targets": ids},
        bad,
        lambda: Seq2Seq(V, V, D, H),
    )
    yield Call(
        "beam_search",
        lambda model, sources: beam_search(model, sources),
        {"sources": ids},
        {"sources": misshapen(ids, free="T")},
        lambda: Seq2Seq(V, V, D, H),
    )
    yield Call(
        "sampler(seed=[0, 1])",
        lambda logits: sampler(seed=[0, 1])(logits),
        {"logits": f32(2, V)},
        {"logits": misshapen(f32(2, V), [0])},
    )
    yield Call(
        "probabilities",
        lambda logits: probabilities(logits),
        {"logits": f32(2, V)},
        {"logits": [Bad("three axes", f32(1, 2, V), shown="(1, 2, 7)"), Bad("no axis", np.float32(1), shown="()")]},
    )


def call(layer: Any, **inputs: Any) -> Any:
    return layer(**inputs)


def op_of(op: Any) -> Any:
    """An op or a rule called by the names of its arrays, which it takes by place."""
    return lambda **arrays: op(*arrays.values())


def _from_keras(k: int, layer: nn.GRU, **array: Any) -> None:
    [weights] = nn.convert.to_keras(layer)
    nn.convert.from_keras(layer, [[*weights[:k], *array.values(), *weights[k + 1 :]]])


def _from_onnx(layer: nn.LSTM, **array: Any) -> None:
    [node] = nn.convert.to_onnx(layer)
    nn.convert.from_onnx(layer, [{**node, **array}])


def _with_grad(w: nn.Parameter, grad: Any, take: Any) -> None:
    w.grad = grad
    try:
        take(w)
    finally:
        w.grad = None
