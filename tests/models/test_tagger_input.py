"""What the tagger refuses, in words that name the argument, and with nothing changed."""

import numpy as np
import pytest

from minirnn.models import Tagger


def model(**options):
    sizes = {"vocab_size": 9, "num_tags": 4, "embedding_size": 3, "hidden_size": 5, "num_layers": 2}
    return Tagger(**{**sizes, **options})


BAD_VALUES = [
    ([[0.0, 1.0]], TypeError, "{} must be integers, got dtype float64"),
    ([[True, False]], TypeError, "{} must be integers, got dtype bool"),
    ([["a", "b"]], TypeError, "{} must be integers, got dtype <U1"),
    (None, TypeError, "{} must be integers, got dtype object"),
    ([0, 1], ValueError, r"{} must be a non-empty array of 2 axes, \(B, T\), got shape \(2,\)"),
    ([[[0, 1]]], ValueError, r"{} must be a non-empty array of 2 axes, \(B, T\), got shape \(1, 1, 2\)"),
    (np.zeros((0, 2), int), ValueError, r"{} must be a non-empty array of 2 axes, \(B, T\), got shape \(0, 2\)"),
    (np.zeros((1, 0), int), ValueError, r"{} must be a non-empty array of 2 axes, \(B, T\), got shape \(1, 0\)"),
    ([[0, 1], [2]], ValueError, r"{} must be \(B, T\), got rows of different lengths; nn.pad_sequences"),
    ([[0, -1]], IndexError, r"{} must lie in 0..{}, got -1 at index \(0, 1\)"),
    ([[0, 60]], IndexError, r"{} must lie in 0..{}, got 60 at index \(0, 1\)"),
]


@pytest.mark.parametrize("lengths", [None, [2]])
@pytest.mark.parametrize(("bad", "error", "words"), BAD_VALUES)
def test_bad_ids_and_tags_are_explained(backend, bad, error, words, lengths):
    tagger, good = model(dropout=0.5), [[0, 1]]
    before = tagger.state_dict()
    calls = {
        ("ids", 8): (
            lambda: tagger(bad, lengths),
            lambda: tagger.loss((bad, lengths), good),
            lambda: tagger.predict(bad, lengths),
        ),
        ("tags", 3): (lambda: tagger.loss((good, lengths), bad),),
    }
    for said, made in calls.items():
        for call in made:
            with pytest.raises(error, match=words.format(*said)):
                call()
    assert all(np.array_equal(a, before[name]) for name, a in tagger.state_dict().items())
    assert tagger.training and [m.draws for _, m in tagger.named_modules()] == [0] * 4


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([2, 0], ValueError, r"lengths must lie in 1..3, the number of steps, got 0 for sequence 1"),
        ([-1, 2], ValueError, r"lengths must lie in 1..3, the number of steps, got -1 for sequence 0"),
        ([4, 2], ValueError, r"lengths must lie in 1..3, the number of steps, got 4 for sequence 0"),
        ([3], ValueError, r"lengths must hold one integer for each of 2 sequences, got shape \(1,\)"),
        ([[3, 2]], ValueError, r"lengths must hold one integer for each of 2 sequences, got shape \(1, 2\)"),
        (3, ValueError, r"lengths must hold one integer for each of 2 sequences, got shape \(\)"),
        ([3.0, 2.0], TypeError, "lengths must be integers"),
        ("ab", TypeError, "lengths must be integers"),
    ],
)
def test_bad_lengths_are_explained(backend, lengths, error, words):
    tagger, ids = model(), np.zeros((2, 3), int)
    for call in (lambda: tagger(ids, lengths), lambda: tagger.loss((ids, lengths), ids)):
        with pytest.raises(error, match=words):
            call()
    with pytest.raises(error, match=words):
        tagger.predict(ids, lengths)


@pytest.mark.parametrize("tags", [[[0]], [[0, 1, 2]], [[0, 1], [0, 1]]])
def test_tags_of_another_shape_are_explained(tags):
    with pytest.raises(ValueError, match=r"tags must have the shape of ids, \(1, 2\), got"):
        model().loss([[0, 1]], tags)


def test_lengths_belong_to_the_ids():
    with pytest.raises(TypeError, match=r"state must be None, got list; lengths are given as \(ids, lengths\), tags"):
        model().loss([[0, 1]], [[0, 1]], [2])
    with pytest.raises(ValueError, match="inputs must be ids, or a tuple of ids and lengths, got a tuple of 1"):
        model().loss(([[0, 1]],), [[0, 1]])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"vocab_size": 0}, ValueError, "vocab_size must be a positive integer, got 0"),
        ({"num_tags": 2.5}, ValueError, "num_tags must be a positive integer, got 2.5"),
        ({"embedding_size": -1}, ValueError, "embedding_size must be a positive integer, got -1"),
        ({"hidden_size": None}, ValueError, "hidden_size must be a positive integer, got None"),
        ({"num_layers": 0}, ValueError, "num_layers must be a positive integer, got 0"),
        ({"cell": "bilstm"}, ValueError, "cell must be one of rnn, lstm, gru, got 'bilstm'"),
        ({"cell": []}, ValueError, r"cell must be one of rnn, lstm, gru, got \[\]"),
        ({"bidirectional": "yes"}, TypeError, "bidirectional must be True or False, got 'yes'"),
        ({"dropout": 1}, ValueError, "dropout must be a number from 0 to below 1, got 1"),
        ({"seed": -1}, ValueError, "seed must be an integer that is not negative, got -1"),
        ({"dtype": "int8"}, ValueError, "dtype must be float32 or float64, got 'int8'"),
    ],
)
def test_bad_options_are_explained(options, error, words):
    with pytest.raises(error, match=words):
        model(**options)


def test_sizes_of_few_bits_do_not_overflow():
    tagger = model(vocab_size=np.uint8(200), num_tags=np.uint8(3), hidden_size=np.uint8(200))
    assert tagger.head.weight.shape == (3, 400) and tagger([[0, 199]]).shape == (1, 2, 3)
