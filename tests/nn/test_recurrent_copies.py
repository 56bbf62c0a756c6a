"""Recurrent layers and models through pickle and copy: the same outputs and masks, parameters of their own."""

import copy
import functools
import pickle

import numpy as np
import pytest
from recurrent_cases import CELLS, assert_equal, layer_of, numbers, parts, played

from minirnn.models import CharLM, Tagger
from minirnn.nn import GRUCell, LSTMCell, RNNCell
from minirnn.rules.combinators import truncate, truncate_randomly

COPIES = {"pickle": lambda module: pickle.loads(pickle.dumps(module)), "deepcopy": copy.deepcopy}
every_way = pytest.mark.parametrize("way", COPIES)


def in_pairs(rule):
    """A combinator that pickle finds by its name."""
    return truncate(rule, 2)


OPTIONS = {
    "plain": {},
    "stacked": {"layers": 2, "bidirectional": True, "dropout": 0.3, "weight_drop": 0.3, "learned_state": True},
    "zoneout": {"zoneout": 0.4, "bidirectional": True},
    "layer norm": {"layer_norm": True, "layers": 2},
    "through time": {"through_time": in_pairs},
    "through time, bound": {"through_time": functools.partial(truncate_randomly, window=1, probability=0.5)},
}
UNDEFINED = [("lstm peepholes", "layer norm"), ("lstm both", "layer norm"), ("gru reset before", "layer norm")]
CASES = [(cell, options) for cell in CELLS for options in OPTIONS if (cell, options) not in UNDEFINED]


def assert_independent(module, other):
    """Parameters of the same names and values, in memory that is not shared."""
    mine, others = dict(module.named_parameters()), dict(other.named_parameters())
    assert mine.keys() == others.keys() and len(mine) > 1
    assert_equal(other.state_dict(), module.state_dict(), tolerance=0)
    for name, parameter in mine.items():
        assert others[name].name == parameter.name and others[name].requires_grad
        assert others[name] is not parameter and not np.may_share_memory(others[name].array, parameter.array)


@every_way
@pytest.mark.parametrize(("cell", "options"), CASES)
def test_a_copy_of_a_layer_is_the_layer(cell, options, way):
    layer, x = layer_of(cell, **OPTIONS[options]), numbers(5, 3, 3)
    layer.seek(3)
    other = COPIES[way](layer)
    assert_independent(layer, other)
    expected = played(layer, x, None, [5, 2, 4])
    assert_equal(played(other, x, None, [5, 2, 4]), expected, tolerance=0)  # masks and cuts of the same draw
    for p in other.parameters():
        p.data = 2 * p.numpy()
    other.eval()
    layer.seek(3)
    assert_equal(played(layer, x, None, [5, 2, 4]), expected, tolerance=0)
    assert not np.allclose(other(x, None, [5, 2, 4])[0].numpy(), expected["out"])


@every_way
@pytest.mark.parametrize("cls", [RNNCell, LSTMCell, GRUCell])
def test_a_copy_of_a_cell_is_the_cell(cls, way):
    cell, x = cls(3, 4, dtype="float64"), numbers(2, 3)
    other = COPIES[way](cell)
    assert_independent(cell, other)
    for mine, its in zip(parts(cell(x)), parts(other(x)), strict=True):
        assert np.array_equal(mine.numpy(), its.numpy())


@every_way
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_copy_of_a_model_is_the_model(cell, way):
    ids = np.random.default_rng(0).integers(0, 6, (2, 7))
    sizes = {"embedding_size": 4, "hidden_size": 4, "num_layers": 2, "cell": cell, "dropout": 0.3}
    for model, inputs in (
        (CharLM(6, tie_weights=True, **sizes), (ids[:, :-1], ids[:, 1:])),
        (Tagger(6, 6, **sizes), ((ids, [7, 3]), ids)),
    ):
        other = COPIES[way](model)
        assert_independent(model, other)
        losses = [parts(m.loss(*inputs))[0].item() for m in (model, other, model)]
        assert losses[0] == losses[1] != losses[2]  # the same masks, then others
    tied = COPIES[way](CharLM(6, tie_weights=True, **sizes))
    assert tied.head.weight is tied.embedding.weight


def test_a_lambda_is_copied_and_not_pickled():
    layer, x = layer_of("gru", through_time=lambda rule: truncate(rule, 2)), numbers(5, 2, 3)
    assert_equal(played(copy.deepcopy(layer), x), played(layer, x), tolerance=0)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):  # which one depends on the Python
        pickle.dumps(layer)
