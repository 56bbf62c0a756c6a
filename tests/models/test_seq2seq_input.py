"""What a translator refuses, in words that name the argument, and with nothing changed."""

import numpy as np
import pytest
from translators import SOURCES, TARGETS, same_bits, started

from minirnn.models import Seq2Seq
from minirnn.text import BOS, TokenVocabulary

OK = [[4, 5]]


def model(**options):
    sizes = {"source_vocabulary": 9, "target_vocabulary": 8, "embedding_size": 4, "hidden_size": 5}
    return Seq2Seq(**{**sizes, **options})


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ([[4.0, 5.0]], TypeError, "{} must be integers, got dtype float64"),
        ([[True, True]], TypeError, "{} must be integers, got dtype bool"),
        ([["a", "b"]], TypeError, "{} must be integers, got dtype <U1"),
        ("a cat", TypeError, "{} must be integers, got dtype <U5"),
        (None, TypeError, "{} must be integers, got dtype object"),
        ([4, 5], ValueError, r"{} must be a non-empty array of 2 axes, \(B, T\), got shape \(2,\)"),
        ([[[4, 5]]], ValueError, r"{} must be a non-empty array of 2 axes, \(B, T\), got shape \(1, 1, 2\)"),
        (np.zeros((0, 2), int), ValueError, r"{} must be a non-empty array of 2 axes, \(B, T\), got shape \(0, 2\)"),
        (np.zeros((1, 0), int), ValueError, r"{} must be a non-empty array of 2 axes, \(B, T\), got shape \(1, 0\)"),
        ([[4, 5], [4]], ValueError, r"{} must be \(B, T\), got rows of different lengths"),
        ([[0, 0]], ValueError, "{} must have a token in every row, row 0 has none"),
        ([[4, 5], [0, 0]], ValueError, "{} must have a token in every row, row 1 has none"),
        ([[0, 4]], ValueError, r"{} must have PAD \(0\) at the end of a row only, row 0 has one at 0, before a token"),
        ([[4, 5, 6], [4, 0, 5]], ValueError, r"{} must have PAD .* row 1 has one at 1, before a token"),
        ([[4, 5, 0], [0, 5, 0]], ValueError, r"{} must have PAD .* row 1 has one at 0, before a token"),
        ([[4, -1]], IndexError, r"{} must lie in 0..{}, got -1 in row 0 at 1"),
        ([[4, 5], [4, 60]], IndexError, r"{} must lie in 0..{}, got 60 in row 1 at 1"),
        (np.array([[2**63]], np.uint64), IndexError, r"{} must lie in 0..{}, got 9223372036854775808 in row 0 at 0"),
    ],
)
def test_bad_ids_are_explained(backend, bad, error, words):
    translator = model(dropout=0.5)
    translator.teacher_forcing = 0.5
    before = translator.state_dict()
    calls = {
        ("sources", 8): (
            lambda: translator(bad, OK),
            lambda: translator.loss(bad, OK),
            lambda: translator.start(bad),
        ),
        ("targets", 7): (lambda: translator(OK, bad), lambda: translator.loss(OK, bad)),
    }
    for said, made in calls.items():
        for call in made:
            with pytest.raises(error, match=words.format(*said)):
                call()
    assert same_bits(translator.state_dict(), before)
    assert translator.training and {m.draws for _, m in translator.named_modules()} == {0}


@pytest.mark.parametrize("call", ["loss", "forward"])
def test_rows_that_are_not_as_many_are_explained(call):
    with pytest.raises(ValueError, match="sources and targets must have as many rows, got 3 and 2"):
        getattr(model(), call)(SOURCES, TARGETS[:2])


@pytest.mark.parametrize(
    ("ids", "error", "words"),
    [
        ([1, 1], ValueError, "ids must be one for each of 3 columns, got 2"),
        ([1], ValueError, "ids must be one for each of 3 columns, got 1"),
        ([1] * 6, ValueError, "ids must be one for each of 3 columns, got 6"),
        ([[1, 1, 1]], ValueError, r"ids must be a non-empty array of 1 axes, got shape \(1, 3\)"),
        ([1.0, 1.0, 1.0], TypeError, "ids must be integers, got dtype float64"),
        ([1, 8, 1], IndexError, r"ids must lie in 0..7, got 8 at index \(1,\)"),
        ([1, 1, -1], IndexError, r"ids must lie in 0..7, got -1 at index \(2,\)"),
    ],
)
@pytest.mark.parametrize("attention", ["general", "none"])
def test_bad_ids_of_a_step_are_explained(backend, ids, error, words, attention):
    translator = model(attention=attention, num_layers=2)
    state = started(translator, SOURCES)
    with pytest.raises(error, match=words):
        translator.step(state, ids)


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([0, 3], IndexError, r"rows must lie in 0..2, got 3 at index \(1,\)"),
        ([-1], IndexError, r"rows must lie in 0..2, got -1 at index \(0,\)"),
        ([True, False, True], TypeError, "rows must be integers, got dtype bool"),
        ([0.0], TypeError, "rows must be integers, got dtype float64"),
        (np.zeros(0, int), ValueError, r"rows must be a non-empty array of 1 axes, got shape \(0,\)"),
        (0, ValueError, r"rows must be a non-empty array of 1 axes, got shape \(\)"),
    ],
)
def test_columns_that_are_not_there_are_explained(backend, rows, error, words):
    with pytest.raises(error, match=words):
        started(model(), SOURCES).take(rows)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"source_vocabulary": 0}, ValueError, "source_vocabulary must be a positive integer, got 0"),
        ({"target_vocabulary": 3}, ValueError, "target_vocabulary must be at least 4, PAD, BOS, EOS and UNK, got 3"),
        ({"target_vocabulary": 9.0}, ValueError, "target_vocabulary must be a positive integer, got 9.0"),
        ({"source_vocabulary": "words"}, ValueError, "source_vocabulary must be a positive integer, got 'words'"),
        ({"source_vocabulary": [4, 5]}, ValueError, r"source_vocabulary must be a positive integer, got \[4, 5\]"),
        ({"source_vocabulary": True}, ValueError, "source_vocabulary must be a positive integer, got True"),
        ({"embedding_size": -1}, ValueError, "embedding_size must be a positive integer, got -1"),
        ({"hidden_size": None}, ValueError, "hidden_size must be a positive integer, got None"),
        ({"num_layers": 0}, ValueError, "num_layers must be a positive integer, got 0"),
        ({"cell": "bilstm"}, ValueError, "cell must be one of rnn, lstm, gru, got 'bilstm'"),
        ({"cell": []}, ValueError, r"cell must be one of rnn, lstm, gru, got \[\]"),
        ({"bidirectional": "yes"}, TypeError, "bidirectional must be True or False, got 'yes'"),
        ({"tie_embeddings": 1}, TypeError, "tie_embeddings must be True or False, got 1"),
        ({"attention": "bahdanau"}, ValueError, "attention must be one of dot, .*, none, got 'bahdanau'"),
        ({"attention": None}, ValueError, "attention must be one of dot, .*, none, got None"),
        ({"feed": "input"}, ValueError, "feed must be one of nothing, output, context, got 'input'"),
        ({"feed": []}, ValueError, r"feed must be one of nothing, output, context, got \[\]"),
        ({"context": "first"}, ValueError, "context must be one of last, mean, max, got 'first'"),
        ({"attention": "none", "feed": "output"}, ValueError, "feed must be 'nothing' without attention, got 'output'"),
        ({"attention": "dot", "context": "max"}, ValueError, "context must be 'last' with attention, .* got 'max'"),
        ({"tie_embeddings": True}, ValueError, "tie_embeddings needs embedding_size == hidden_size, got 4 and 5"),
        ({"dropout": 1}, ValueError, "dropout must be a number from 0 to below 1, got 1"),
        ({"dropout": -0.1}, ValueError, "dropout must be a number from 0 to below 1, got -0.1"),
        ({"label_smoothing": 1.0}, ValueError, "label_smoothing must be a number from 0 to below 1, got 1.0"),
        ({"label_smoothing": "0"}, ValueError, "label_smoothing must be a number from 0 to below 1, got '0'"),
        ({"label_smoothing": float("nan")}, ValueError, "label_smoothing must be a number from 0 to below 1, got nan"),
        ({"seed": -1}, ValueError, "seed must be an integer that is not negative, got -1"),
        ({"seed": 1.5}, ValueError, "seed must be an integer that is not negative, got 1.5"),
        ({"seed": "a"}, ValueError, "seed must be an integer that is not negative, got 'a'"),
        ({"dtype": "int8"}, ValueError, "dtype must be float32 or float64, got 'int8'"),
    ],
)
def test_bad_options_are_explained(options, error, words):
    with pytest.raises(error, match=words):
        model(**options)


@pytest.mark.parametrize(
    "plain",
    [
        [],
        "words",
        {},
        {"source": {"units": "words", "tokens": ["a", "b", "c", "d", "e"]}},
        {"source": None, "target": None},
        {"source": {"units": "words"}, "target": {"units": "words"}},
    ],
)
def test_what_is_no_pair_of_vocabularies_is_explained(plain):
    words = TokenVocabulary("words", ("a", "b", "c", "d", "e"))
    translator = Seq2Seq(words, words, 4, 5)
    with pytest.raises(ValueError, match="vocabular"):
        translator.vocabulary_from_plain(plain)
    assert translator.source_vocabulary is translator.target_vocabulary is words


def test_vocabularies_of_other_sizes_are_explained():
    words, other = TokenVocabulary("words", ("a", "b")), TokenVocabulary("words", ("a", "b", "c"))
    translator = Seq2Seq(words, words, 4, 5)
    for source, target in ((other, words), (words, other)):
        plain = {"source": source.to_plain(), "target": target.to_plain()}
        with pytest.raises(ValueError, match="a vocabulary of 6 cannot be one of 7 tokens"):
            translator.vocabulary_from_plain(plain)
    assert translator.source_vocabulary is translator.target_vocabulary is words


def test_sizes_of_few_bits_do_not_overflow():
    sizes = {"source_vocabulary": np.uint8(200), "target_vocabulary": np.int16(9), "hidden_size": np.uint8(200)}
    translator = model(**sizes, num_layers=np.uint8(2), seed=np.uint8(255))
    assert translator([[199]], [[4, 2]]).shape == (1, 2, 9)
    assert translator.config["source_vocabulary"] == 200 and type(translator.config["target_vocabulary"]) is int


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64"])
def test_ids_of_any_integers(backend, dtype):
    translator = model()
    expected = translator(SOURCES, TARGETS).numpy()
    assert np.array_equal(translator(SOURCES.astype(dtype), TARGETS.astype(dtype)).numpy(), expected)
    assert np.array_equal(translator(SOURCES.tolist(), TARGETS.tolist()).numpy(), expected)


def test_a_source_longer_than_anything_seen_and_one_of_a_single_word():
    translator = model()
    state = started(translator, np.full((1, 3000), 5))
    logits, weights, _ = translator.step(state, [BOS])
    assert np.isfinite(logits).all() and weights.shape == (1, 3000)
    assert translator([[5]], [[2]]).shape == (1, 1, 8)
