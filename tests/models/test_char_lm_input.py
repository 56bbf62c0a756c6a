"""What the character model refuses, in words that name the argument, and with nothing changed."""

import json

import numpy as np
import pytest

from minirnn.models import CharLM


def model(**options):
    sizes = {"vocab_size": 7, "embedding_size": 3, "hidden_size": 4, "num_layers": 2}
    return CharLM(**{**sizes, **options})


BAD_IDS = [
    ([[0, 7]], IndexError, r"{} must lie in 0..6, got 7 at index \(0, 1\)"),
    ([[0, -1]], IndexError, r"{} must lie in 0..6, got -1 at index \(0, 1\)"),
    ([[2**31, 0]], IndexError, r"{} must lie in 0..6, got 2147483648 at index \(0, 0\)"),
    ([[0.0, 1.0]], TypeError, "{} must be integers, got dtype float64"),
    ([[True, False]], TypeError, "{} must be integers, got dtype bool"),
    (np.zeros((1, 0), int), ValueError, r"{} must be a non-empty array of 2 axes, got shape \(1, 0\)"),
    (np.zeros((0, 2), int), ValueError, r"{} must be a non-empty array of 2 axes, got shape \(0, 2\)"),
    ([0, 1], ValueError, r"{} must be a non-empty array of 2 axes, got shape \(2,\)"),
    ([[[0], [1]]], ValueError, r"{} must be a non-empty array of 2 axes, got shape \(1, 2, 1\)"),
    ("ab", TypeError, "{} must be integers, got dtype <U2"),
    (None, TypeError, "{} must be integers, got dtype object"),
]


@pytest.mark.parametrize(("bad", "error", "words"), BAD_IDS)
def test_bad_ids_are_explained(backend, bad, error, words):
    lm, good = model(dropout=0.5), [[0, 1]]
    before, draws = lm.state_dict(), [m.draws for _, m in lm.named_modules()]
    calls = {"ids": lambda: lm(bad), "inputs": lambda: lm.loss(bad, good), "targets": lambda: lm.loss(good, bad)}
    for name, call in calls.items():
        with pytest.raises(error, match=words.format(name)):
            call()
    assert all(np.array_equal(a, before[name]) for name, a in lm.state_dict().items())
    assert [m.draws for _, m in lm.named_modules()] == draws


@pytest.mark.parametrize("targets", [[[0]], [[0, 1, 2]], [[0, 1], [0, 1]]])
def test_targets_of_another_shape_are_explained(targets):
    with pytest.raises(ValueError, match=r"targets must have the shape of inputs, \(1, 2\), got"):
        model().loss([[0, 1]], targets)


def test_a_state_that_does_not_fit_is_explained():
    with pytest.raises(ValueError, match=r"h_0 must have shape \(2, 1, 4\), got \(2, 3, 4\)"):
        model()([[0, 1]], (np.zeros((2, 3, 4), "float32"),) * 2)
    with pytest.raises(ValueError, match="state must be one tensor h_0, got tuple of 2"):
        model(cell="gru")([[0, 1]], (np.zeros((2, 1, 4), "float32"),) * 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vocab_size": 0}, "vocab_size must be a positive integer, got 0"),
        ({"vocab_size": 2.5}, "vocab_size must be a positive integer, got 2.5"),
        ({"embedding_size": -1}, "embedding_size must be a positive integer, got -1"),
        ({"hidden_size": None}, "hidden_size must be a positive integer, got None"),
        ({"num_layers": 0}, "num_layers must be a positive integer, got 0"),
        ({"cell": "gru9"}, "cell must be one of rnn, lstm, gru, got 'gru9'"),
        ({"cell": []}, r"cell must be one of rnn, lstm, gru, got \[\]"),
        ({"dropout": 1}, r"dropout must be a number from 0 to below 1, got 1"),
        ({"seed": -1}, "seed must be an integer that is not negative, got -1"),
        ({"dtype": "int8"}, "dtype must be float32 or float64, got 'int8'"),
    ],
)
def test_bad_options_are_explained(options, words):
    with pytest.raises(ValueError, match=words):
        model(**options)


@pytest.mark.parametrize("value", ["no", 1, None])
def test_tie_weights_is_a_flag(value):
    with pytest.raises(TypeError, match=f"tie_weights must be True or False, got {value!r}"):
        model(tie_weights=value)


def test_the_configuration_is_of_pythons_own_types():
    sizes = {"vocab_size": np.uint8(200), "embedding_size": np.int16(4), "hidden_size": np.uint8(4)}
    lm = CharLM(**sizes, num_layers=np.int8(2), dropout=np.float32(0.5), tie_weights=np.bool_(True), seed=np.uint8(7))
    assert lm.config["seed"] == 7 and lm.config["tie_weights"] and lm.head.weight is lm.embedding.weight
    same = CharLM(**json.loads(json.dumps(lm.config)))
    assert {type(value) for value in lm.config.values()} == {int, float, str, bool} and same.config == lm.config
    assert all(np.array_equal(a, same.state_dict()[name]) for name, a in lm.state_dict().items())
    assert lm.loss([[0, 199]], [[1, 2]])[0].item() == same.loss([[0, 199]], [[1, 2]])[0].item()
