"""Ids that name nothing: below 0, where NumPy wraps around without a word, past the end, of another kind, misplaced."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from badness import Bad, Call, f32

from minirnn import (
    CharLM,
    DataError,
    Seq2Seq,
    Tagger,
    TextStream,
    TokenVocabulary,
    Vocabulary,
    beam_search,
    nn,
    ops,
    rules,
)

V = 7
GOOD = np.array([[1, 2, 3], [4, 5, 6]])


def outside(size: int, error: type[Exception] = IndexError, good: np.ndarray = GOOD, **form: str) -> list[Bad]:
    """One id in the wrong place, and what the message shows of it."""
    wrong = {"negative": -1, "just past the end": size, "2**31": 2**31, "the largest there is": 2**63 - 1}
    wrong |= {"the smallest there is": -(2**63)}
    return [Bad(why, spoiled(good, value), error, shown=str(value), **form) for why, value in wrong.items()]


def spoiled(ids: np.ndarray, value: int) -> np.ndarray:
    ids = ids.copy()
    ids.flat[-1] = value
    return ids


def strange(error: type[Exception] = TypeError, good: np.ndarray = GOOD, **form: str) -> list[Bad]:
    """What is no integer."""
    kinds = {
        "floats": good.astype(float),
        "NaN": np.full(good.shape, np.nan),
        "booleans": good > 3,
        "text": good.astype(str),
        "complex": good * 1j,
        "objects": good.astype(object),
    }
    return [Bad(why, ids, error, shown=str(ids.dtype), **form) for why, ids in kinds.items()]


def missing(error: type[Exception] = TypeError) -> list[Bad]:
    return [Bad("None", None, error, shown="")]


def calls() -> Iterator[Call]:
    yield Call(
        "nn.Embedding",
        lambda layer, ids: layer(ids),
        {"ids": GOOD},
        {"ids": [*outside(V), *strange(), *missing()]},
        partial(nn.Embedding, V, 2),
    )
    bad = {name: [*outside(V), *strange(), *missing()] for name in ("inputs", "targets")}
    yield Call(
        "CharLM.loss",
        lambda lm, **ids: lm.loss(**ids),
        {"inputs": GOOD, "targets": GOOD},
        bad,
        partial(CharLM, V, 2, 3),
    )
    yield Call(
        "CharLM",
        lambda lm, ids: lm(ids),
        {"ids": GOOD},
        {"ids": [*outside(V), *strange(), *ragged()]},
        partial(CharLM, V, 2, 3),
    )
    bad = {"ids": [*outside(V), *strange(), *ragged()], "tags": [*outside(V), *strange(), *ragged()]}
    yield Call(
        "Tagger.loss",
        lambda tagger, ids, tags: tagger.loss(ids, tags),
        {"ids": GOOD, "tags": GOOD},
        bad,
        partial(Tagger, V, V, 2, 3),
    )
    inside = [
        Bad("PAD inside", spoiled(GOOD[:, ::-1], 0)[:, ::-1], shown="row 1"),
        Bad("nothing but PAD", GOOD * [[0], [1]], shown="row 0"),
    ]
    bad = {name: [*outside(V), *strange(), *inside, *ragged()] for name in ("sources", "targets")}
    yield Call(
        "Seq2Seq.loss",
        lambda model, **ids: model.loss(**ids),
        {"sources": GOOD, "targets": GOOD},
        bad,
        partial(Seq2Seq, V, V, 2, 3),
    )
    bad = [*outside(V), *strange(), *(case._replace(shown="") for case in inside)]
    yield Call(
        "beam_search",
        lambda model, sources: beam_search(model, sources, max_length=2),
        {"sources": GOOD},
        {"sources": [*bad, *ragged(TypeError)]},
        partial(Seq2Seq, V, V, 2, 3),
    )
    yield from operations()
    yield from vocabularies()


def ragged(error: type[Exception] = ValueError) -> list[Bad]:
    return [Bad("rows of other lengths", [[1, 2], [3]], error, shown="")]


def operations() -> Iterator[Call]:
    yield Call(
        "ops.embedding", lambda ids: ops.embedding(f32(V, 2), ids), {"ids": GOOD}, {"ids": [*outside(V), *strange()]}
    )
    yield Call(
        "rules.embedding_columns",
        lambda ids: rules.embedding_columns(f32(2, V), ids),
        {"ids": GOOD},
        {"ids": [*outside(V), *strange()]},
    )
    flat = GOOD.reshape(-1)
    yield Call(
        "ops.cross_entropy",
        lambda targets: ops.cross_entropy(f32(6, V), targets),
        {"targets": flat},
        {"targets": [*outside(V, good=flat), *strange(good=flat)]},
    )
    bad = {"targets": [*outside(V, good=flat), *strange(good=flat)]}
    yield Call(
        "ops.affine_cross_entropy",
        lambda targets: ops.affine_cross_entropy(f32(2, 6), f32(V, 2), None, targets),
        {"targets": flat},
        bad,
    )
    yield Call("ops.take", lambda ids: ops.take(f32(V, 2), ids), {"ids": GOOD}, {"ids": [*outside(V)[1:4], *strange()]})


def vocabularies() -> Iterator[Call]:
    row = np.array([0, 1, 2])
    for name, vocabulary, size in (
        ("Vocabulary", Vocabulary("abc"), 3),
        ("TokenVocabulary", TokenVocabulary.learn(["a b c"], "words"), 7),
    ):
        bad = [*outside(size, DataError, row), *strange(ValueError, row)]
        yield Call(
            f"{name}.decode", vocabulary.decode, {"ids": row}, {"ids": [*bad, Bad("two axes", GOOD, shown="(2, 3)")]}
        )
    known = {
        "text": [
            Bad("unseen", "abx", DataError, shown="'x' at position 2"),
            Bad("no text", 3, TypeError, shown="int"),
            Bad("bytes", b"ab", TypeError, shown="bytes"),
        ]
    }
    yield Call("Vocabulary.encode", Vocabulary("abc").encode, {"text": "cab"}, known)
    yield Call(
        "TextStream", lambda text: TextStream(text, 2, 1, vocabulary=Vocabulary("abc")), {"text": "cabcab"}, known
    )
    twice = [
        Bad("a character twice", "aba", DataError, shown="'a'"),
        Bad("none", "", DataError, shown="", named="character"),
        Bad("half a pair", "a\ud800", DataError, shown="characters[1]"),
        Bad("no text", 7, TypeError, shown="int"),
    ]
    yield Call("Vocabulary", Vocabulary, {"characters": "abc"}, {"characters": twice})
