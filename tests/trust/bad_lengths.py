"""Lengths of sequences, lengths of texts, lengths of the pieces they are cut into."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from badness import Bad, Call, f32

from minirnn import DataError, PairStream, Tagger, TextStream, TokenVocabulary, lens, nn, ops, rules
from minirnn.decoding import novel_ngram_share, sampler
from minirnn.rules import combinators

T, B = 5, 3


def of(T: int, B: int, **form: Any) -> list[Bad]:
    """Lengths of B sequences that cannot be those of sequences of T steps."""
    good = [T] * (B - 1)
    return [
        Bad("too few", good, shown=str((B - 1,)), **form),
        Bad("too many", [*good, T, T], shown=str((B + 1,)), **form),
        Bad("one is zero", [*good, 0], shown="0", **form),
        Bad("one is negative", [*good, -1], shown="-1", **form),
        Bad("one past the end", [*good, T + 1], shown=str(T + 1), **form),
        Bad("floats", [*good, 1.5], TypeError, shown="float64", **form),
        Bad("booleans", [True] * B, TypeError, shown="bool", **form),
        Bad("text", ["long"] * B, TypeError, shown="<U4", **form),
        Bad("NaN", [float("nan")] * B, TypeError, shown="float64", **form),
        Bad("one number", T, shown="()", **form),
        Bad("two axes", [[*good, T]], shown=str((1, B)), **form),
        Bad("ragged", [[T], [T, T], T], shown="rows of different lengths", **form),
        Bad("none", [], shown="(0,)", **form),
    ]


def calls() -> Iterator[Call]:
    xs = f32(T, B, 2)
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        run = lambda layer, lengths: layer(xs, lengths=lengths)
        yield Call(f"nn.{kind.__name__}", run, {"lengths": [T] * B}, {"lengths": of(T, B)}, partial(kind, 2, 2))
    read = lambda layer, lengths: layer(xs, xs, lengths)
    yield Call("nn.Attention", read, {"lengths": [T] * B}, {"lengths": of(T, B)}, partial(nn.Attention, 2, 2))
    write = lambda layer, lengths: layer(xs, xs, lengths=lengths)
    yield Call(
        "nn.AttentiveDecoder", write, {"lengths": [T] * B}, {"lengths": of(T, B)}, partial(nn.AttentiveDecoder, 2, 2, 2)
    )
    look = lambda layer, lengths: layer(xs, xs, xs, lengths)
    yield Call(
        "nn.MultiheadAttention", look, {"lengths": [T] * B}, {"lengths": of(T, B)}, partial(nn.MultiheadAttention, 2, 1)
    )
    yield Call(
        "nn.unpad_sequences",
        lambda lengths: nn.unpad_sequences(xs, lengths),
        {"lengths": [T] * B},
        {"lengths": of(T, B)},
    )
    ids = np.ones((B, T), int)
    yield Call(
        "Tagger",
        lambda tagger, lengths: tagger(ids, lengths),
        {"lengths": [T] * B},
        {"lengths": of(T, B)},
        partial(Tagger, 3, 3, 2, 2),
    )
    yield Call(
        "Tagger.predict",
        lambda tagger, lengths: tagger.predict(ids, lengths),
        {"lengths": [T] * B},
        {"lengths": of(T, B)[:3]},
        partial(Tagger, 3, 3, 2, 2),
    )
    yield from documents()
    yield from texts()
    yield from pieces()


def documents() -> Iterator[Call]:
    words, good = f32(2, 3, 4, 2), [[4, 4, 4], [4, 2, 0]]  # of two sentences of three words, four documents
    bad = {
        "of one document": [[4, 4, 4]],
        "one too many words": [[4, 4, 5], [4, 2, 0]],
        "negative": [[4, 4, -1], [4, 2, 0]],
        "a hole": [[4, 0, 4], [4, 2, 0]],
    }
    cases = [Bad(why, np.array(lengths), shown="") for why, lengths in bad.items()]
    cases += [Bad("ragged", [[4, 4, 4], [4, 2]], shown="rows of different lengths"), Bad("none", [], shown="(0,)")]
    cases += [Bad("floats", np.array(good, float), TypeError, shown="float64"), Bad("None", None, TypeError, shown="")]
    layer = partial(nn.HierarchicalPooling, 2, 3)
    yield Call(
        "nn.HierarchicalPooling",
        lambda layer, lengths: layer(words, lengths),
        {"lengths": np.array(good)},
        {"lengths": cases},
        layer,
    )


def texts() -> Iterator[Call]:
    short = "to be or not to be"
    bad = [
        Bad("too short for a batch", short[:5], DataError, shown="5"),
        Bad("one too short", short[:6], DataError, shown="6"),
    ]
    yield Call("TextStream", lambda text: TextStream(text, 3, 2), {"text": short}, {"text": bad})
    one = TextStream(short, 3, 2)
    bad = [Bad("holds out too little", 0.05, DataError), Bad("leaves too little", 0.9, DataError)]
    yield Call("TextStream.split", lambda val_split: one.split(val_split), {"val_split": 0.3}, {"val_split": bad})
    words = TokenVocabulary.learn(["a b c"], "words")
    pairs = [("a b", "c"), ("a", "b c")]
    bad = [Bad("leaves nothing", 1, DataError, shown="1", named="tokens")]
    yield Call(
        "PairStream",
        lambda max_length: PairStream(pairs, words, words, max_length=max_length),
        {"max_length": 2},
        {"max_length": bad},
    )
    bad = [Bad("holds out nothing", 0.01, DataError), Bad("leaves nothing", 0.99, DataError)]
    yield Call(
        "PairStream.split",
        lambda val_split: PairStream(pairs, words, words).split(val_split),
        {"val_split": 0.5},
        {"val_split": bad},
    )
    bad = [Bad("zero", 0), Bad("negative", -1), Bad("half", 1.5)]
    yield Call("novel_ngram_share", lambda n: novel_ngram_share("abc", "abcd", n), {"n": 2}, {"n": bad})
    bad = [Bad("too few", ["a"] * 3, shown="3"), Bad("too many", ["a"] * 5, shown="5")]
    recording = lens.specimen("gru", hidden=2, seq_len=4)
    yield Call(
        "lens.step", lambda tokens: lens.step(recording, tokens=tokens), {"tokens": list("abcd")}, {"tokens": bad}
    )
    bad = [
        Bad("too few", f32(1, 4), shown="(1, 4)"),
        Bad("too many", f32(3, 4), shown="(3, 4)"),
        Bad("one row", f32(4), shown="(4,)"),
    ]
    yield Call(
        "sampler(seed=[1, 2])", lambda logits: sampler(seed=[1, 2])(logits), {"logits": f32(2, 4)}, {"logits": bad}
    )


def pieces() -> Iterator[Call]:
    rule = combinators.truncate
    xs, h, W = f32(T, 2, 1), f32(2, 1), f32(2, 2)
    bad = [Bad("zero", 0), Bad("negative", -2), Bad("half", 2.5), Bad("text", "2"), Bad("None", None)]
    yield Call(
        "rules.combinators.truncate", lambda window: rule(rules.rnn, window)(xs, h, W), {"window": 2}, {"window": bad}
    )
    yield Call(
        "rules.combinators.checkpoint",
        lambda every: combinators.checkpoint(rules.rnn, every)(xs, h, W),
        {"every": 2},
        {"every": [case for case in bad if case.value is not None]},
    )
    sections = [Bad("no divisor", 3), Bad("negative", -1), Bad("half", 2.5)]
    yield Call(
        "ops.split", lambda sections: ops.split(f32(4), sections=sections), {"sections": 2}, {"sections": sections}
    )
