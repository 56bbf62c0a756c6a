"""Nothing where something has to be: arrays without elements, empty lists, empty texts, no arguments at all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from badness import Bad, Call, f32

from minirnn import (
    SGD,
    Adam,
    AdamW,
    CharLM,
    DataError,
    PairStream,
    RMSprop,
    Seq2Seq,
    Tagger,
    TextStream,
    TokenVocabulary,
    Vocabulary,
    beam_search,
    fit,
    gradcheck,
    hvp,
    lens,
    nn,
    ops,
    read_pairs,
    read_text,
    sampler,
    stream_characters,
    translate,
    use_backend,
    xp_of,
)
from minirnn.decoding import probabilities
from minirnn.text import entropy_of_characters


def emptied(x: Any, error: type[Exception] = ValueError, **form: Any) -> list[Bad]:
    """``x`` without elements, along each of its axes in turn."""
    x = np.asarray(x)
    arrays = [x.take([], axis=k) for k in range(x.ndim)]
    return [Bad(f"axis {k}", a, error, **({"shown": str(a.shape)} | form)) for k, a in enumerate(arrays)]


def nothing(error: type[Exception] = ValueError, value: Any = (), **form: Any) -> list[Bad]:
    return [Bad("nothing", value, error, **({"shown": ""} | form))]


def calls() -> Iterator[Call]:
    yield from layers()
    yield from operations()
    yield from models()
    yield from texts()
    yield from training()


def layers() -> Iterator[Call]:
    x = f32(5, 4, 2)
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        yield Call(
            f"nn.{kind.__name__}",
            lambda layer, x: layer(x),
            {"x": x},
            {"x": [emptied(x)[0]._replace(shown="none"), emptied(x)[2]]},
            partial(kind, 2, 3),
        )
    yield Call(
        "nn.Embedding",
        lambda layer, ids: layer(ids),
        {"ids": np.ones((2, 3), int)},
        {"ids": emptied(np.ones((2, 3), int))},
        partial(nn.Embedding, 5, 2),
    )
    memory = f32(6, 4, 2)
    short = [emptied(memory)[0]._replace(shown="none"), *emptied(memory)[1:]]
    bad = {"memory": short, "queries": emptied(x)[2:]}
    yield Call(
        "nn.Attention",
        lambda layer, **arrays: layer(**arrays),
        {"queries": x, "memory": memory},
        bad,
        partial(nn.Attention, 2, 2),
    )
    yield Call(
        "nn.MultiheadAttention",
        lambda layer, key: layer(x, key, memory),
        {"key": memory},
        {"key": short},
        partial(nn.MultiheadAttention, 2, 1),
    )
    words = f32(2, 3, 4, 2)
    yield Call(
        "nn.HierarchicalPooling",
        lambda layer, words: layer(words, np.full(words.shape[:2], words.shape[2])),
        {"words": words},
        {"words": emptied(words)[1:]},
        partial(nn.HierarchicalPooling, 2, 3),
    )
    yield Call(
        "nn.AttentiveDecoder",
        lambda layer, **arrays: layer(**arrays),
        {"x": x, "memory": memory},
        {"x": [emptied(x)[0]._replace(shown="none"), emptied(x)[2]], "memory": short},
        partial(nn.AttentiveDecoder, 2, 3, 2),
    )
    good = [f32(3, 2), f32(2, 2)]
    bad = [*nothing(value=[]), Bad("one is empty", [*good, f32(0, 2)], shown="(0, 2)", named="sequences[2]")]
    yield Call(
        "nn.pad_sequences", lambda sequences: nn.pad_sequences(sequences), {"sequences": good}, {"sequences": bad}
    )
    yield Call(
        "nn.unpad_sequences",
        lambda lengths: nn.unpad_sequences(x, lengths),
        {"lengths": [5] * 4},
        {"lengths": nothing(value=[])},
    )
    state = nn.Linear(2, 3).state_dict()
    yield Call(
        "Module.load_state_dict",
        lambda layer, state: layer.load_state_dict(state),
        {"state": state},
        {"state": [Bad("nothing", {}, KeyError, shown="weight")]},
        partial(nn.Linear, 2, 3),
    )


def operations() -> Iterator[Call]:
    x = f32(2, 3)
    for name in ("mean", "max", "min", "var", "logsumexp", "softmax", "log_softmax"):
        op = getattr(ops, name)
        yield Call(f"ops.{name}", lambda x, op=op: op(x, axis=-1), {"x": x}, {"x": [emptied(x)[1]]})
    for name in ("mean", "max", "min", "var", "logsumexp"):
        op = getattr(ops, name)
        yield Call(f"ops.{name}", lambda x, op=op: op(x), {"x": x}, {"x": [emptied(x)[0]]})
    for name in ("concat", "stack"):
        op = getattr(ops, name)
        yield Call(
            f"ops.{name}", lambda xs, op=op: op(*xs), {"xs": [x, x]}, {"xs": nothing(TypeError, [], named="array")}
        )
    yield Call("ops.mean_squared_error", lambda x, y: ops.mean_squared_error(x, y), {"x": x, "y": x}, {"x": emptied(x)})
    targets = np.array([0, 1])
    yield Call(
        "ops.cross_entropy",
        lambda logits, targets: ops.cross_entropy(logits, targets),
        {"logits": x, "targets": targets},
        {"targets": emptied(targets), "logits": [emptied(x)[0]]},
    )
    yield Call(
        "ops.cross_entropy of nothing",
        lambda targets: ops.cross_entropy(f32(len(targets), 3), targets),
        {"targets": targets},
        {"targets": emptied(targets)},
    )
    yield Call(
        "ops.affine_cross_entropy",
        lambda xs: ops.affine_cross_entropy(xs, f32(4, 2), None, np.zeros(xs.shape[-1], int)),
        {"xs": f32(2, 3)},
        {"xs": [emptied(f32(2, 3))[0], emptied(f32(2, 3))[1]._replace(named="targets", shown="(0,)")]},
    )
    yield Call("ops.layer_norm", lambda x: ops.layer_norm(x, f32(3), f32(3)), {"x": x}, {"x": [emptied(x)[1]]})
    yield Call(
        "ops.embedding",
        lambda weight: ops.embedding(weight, targets),
        {"weight": f32(4, 2)},
        {"weight": [emptied(f32(4, 2), IndexError)[0]._replace(named="ids", shown="0")]},
    )
    weights = f32(5, 6, 4)
    yield Call(
        "ops.attention_weights",
        lambda scores: ops.attention_weights(scores),
        {"scores": weights},
        {"scores": [emptied(weights)[1]]},
    )
    for shape in ((0, 2), (3, 0)):
        yield Call(
            "ops.reshape",
            lambda shape: ops.reshape(f32(2, 3), shape=shape),
            {"shape": (6,)},
            {"shape": [Bad(f"to {shape}", shape)]},
        )
    yield Call(
        "xp_of", lambda arrays: xp_of(*arrays), {"arrays": [x]}, {"arrays": nothing(TypeError, [], named="array")}
    )
    yield Call(
        "gradcheck",
        lambda inputs: gradcheck(ops.tanh, inputs),
        {"inputs": [np.arange(3.0)]},
        {"inputs": nothing(value=[], named="input")},
    )
    yield Call(
        "hvp",
        lambda vectors: hvp(lambda x: (x * x).sum(), [np.arange(3.0)], vectors),
        {"vectors": [np.arange(3.0)]},
        {"vectors": nothing(value=[])},
    )
    logits = f32(2, 5)
    yield Call("sampler", lambda logits: sampler()(logits), {"logits": logits}, {"logits": [emptied(logits)[1]]})
    yield Call(
        "probabilities", probabilities, {"logits": logits}, {"logits": [emptied(logits)[1], *emptied(logits[0])]}
    )


def models() -> Iterator[Call]:
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    for name in ("inputs", "targets"):
        yield Call(
            "CharLM.loss",
            lambda lm, **ids: lm.loss(**ids),
            {"inputs": ids, "targets": ids},
            {name: emptied(ids)},
            partial(CharLM, 7, 2, 3),
        )
    yield Call("CharLM", lambda lm, ids: lm(ids), {"ids": ids}, {"ids": emptied(ids)}, partial(CharLM, 7, 2, 3))
    yield Call(
        "Tagger", lambda tagger, ids: tagger(ids), {"ids": ids}, {"ids": emptied(ids)}, partial(Tagger, 7, 3, 2, 3)
    )
    yield Call(
        "Tagger.loss",
        lambda tagger, tags: tagger.loss(ids, tags),
        {"tags": ids},
        {"tags": emptied(ids)},
        partial(Tagger, 7, 7, 2, 3),
    )
    for name in ("sources", "targets"):
        yield Call(
            "Seq2Seq.loss",
            lambda model, **ids: model.loss(**ids),
            {"sources": ids, "targets": ids},
            {name: emptied(ids)},
            partial(Seq2Seq, 7, 7, 2, 3),
        )
    yield Call(
        "beam_search",
        lambda model, sources: beam_search(model, sources, max_length=2),
        {"sources": ids},
        {
            "sources": [
                *emptied(ids),
                Bad("no list", [], shown="", error=TypeError),
                Bad("a row of none", [[]], shown="", error=TypeError),
            ]
        },
        partial(Seq2Seq, 7, 7, 2, 3),
    )
    words = TokenVocabulary.learn(["a b"], "words")
    bad = [
        Bad("an empty text", ["a", ""], DataError, shown="''", named="texts[1]"),
        Bad("blanks", [" \t "], DataError, shown="", named="texts[0]"),
    ]
    yield Call(
        "translate",
        lambda model, texts: translate(model, texts, max_length=2),
        {"texts": ["a"]},
        {"texts": bad},
        partial(Seq2Seq, words, words, 2, 3),
    )
    lm = CharLM(7, 2, 3)
    yield Call(
        "stream_characters",
        lambda lm: list(stream_characters(lm, "", 2)),
        {"lm": CharLM(Vocabulary("ab"), 2, 3)},
        {"lm": nothing(value=lm)},
    )


def texts() -> Iterator[Call]:
    yield Call(
        "Vocabulary", Vocabulary, {"characters": "ab"}, {"characters": nothing(DataError, "", named="character")}
    )
    yield Call("Vocabulary.from_text", Vocabulary.from_text, {"text": "ab"}, {"text": nothing(DataError, "")})
    yield Call("TextStream", lambda text: TextStream(text, 1, 1), {"text": "abc"}, {"text": nothing(DataError, "")})
    yield Call(
        "entropy_of_characters",
        entropy_of_characters,
        {"text": "ab"},
        {"text": [*nothing(DataError, ""), Bad("no ids", np.zeros(0, int), DataError, shown="")]},
    )
    for units in ("words", "chars"):
        bad = [Bad("no texts", [], DataError, shown=""), Bad("empty texts", ["", ""], DataError, shown="")]
        yield Call(
            f"TokenVocabulary.learn, {units}",
            lambda texts, units=units: TokenVocabulary.learn(texts, units),
            {"texts": ["a"]},
            {"texts": bad},
        )
    words = TokenVocabulary.learn(["a b"], "words")
    bad = [
        Bad("none", [], DataError, shown="", named="pair"),
        Bad("no source", [("", "a")], DataError, shown="source", named="pairs[0]"),
        Bad("no target", [("a", " ")], DataError, shown="target", named="pairs[0]"),
    ]
    yield Call("PairStream", lambda pairs: PairStream(pairs, words, words), {"pairs": [("a", "b")]}, {"pairs": bad})
    for read in (read_text, read_pairs):
        yield Call(
            read.__name__,
            _refused(read),
            {"path": None},
            {"path": nothing(DataError, "", shown="''", named="expected")},
        )
    yield Call(
        "use_backend",
        lambda name: _unused(name),
        {"name": "numpy"},
        {"name": nothing(value="", shown="''", named="backend")},
    )


def _refused(read: Any) -> Any:
    return lambda path: None if path is None else read(path)


def _unused(name: str) -> None:
    with use_backend(name):
        pass


def training() -> Iterator[Call]:
    for kind in (SGD, RMSprop, Adam, AdamW):
        yield Call(
            kind.__name__,
            lambda parameters, kind=kind: kind(parameters, 0.1),
            {"parameters": [nn.Parameter([1.0])]},
            {"parameters": nothing(value=[])},
        )
    stream = TextStream("to be or not to be", 3, 2)
    yield Call(
        "fit",
        lambda lm, steps: fit(lm, stream, steps=steps),
        {"steps": 1},
        {"steps": nothing(value=None)},
        partial(CharLM, stream.vocabulary, 2, 3),
    )
    recording = lens.specimen("rnn", hidden=2, seq_len=3)
    yield Call(
        "lens.clipping",
        lambda gradients: lens.clipping(gradients, max_norm=1.0),
        {"gradients": [recording]},
        {
            "gradients": [
                *nothing(value=[], named="gradient"),
                Bad("an entry of none", [{}], shown="no entry", named="gradient"),
            ]
        },
    )
    yield Call(
        "lens.clipping",
        lambda max_norm: lens.clipping([recording], max_norm=max_norm),
        {"max_norm": 1.0},
        {"max_norm": nothing(value=None)},
    )
    yield Call(
        "lens.truncation",
        lambda windows: lens.truncation(recording, windows),
        {"windows": [2]},
        {"windows": nothing(value=[])},
    )
    optimizer = SGD([nn.Parameter([1.0])], 0.1, momentum=0.5)
    yield Call(
        "Optimizer.load_state_dict",
        lambda optimizer, state: optimizer.load_state_dict(state),
        {"state": optimizer.state_dict()},
        {"state": [Bad("nothing", {}, KeyError, shown="steps")]},
        lambda: optimizer,
    )
