"""Options of a layer that is built: what it is stays as it is, and what is for training acts as soon as it is set."""

import re

import numpy as np
import pytest
from recurrent_cases import assert_equal, numbers, played

from minirnn import CharLM, Seq2Seq, Tagger, nn
from minirnn.arguments import defaults_of
from minirnn.rules.combinators import truncate

SIZES = {"input_size": 3, "hidden_size": 4}
STACK = {**SIZES, "num_layers": 2, "bidirectional": True, "dropout": 0.2}
LAYERS = {
    nn.Linear: {"in_features": 3, "out_features": 4},
    nn.Embedding: {"num_embeddings": 3, "embedding_dim": 4},
    nn.Dropout: {},
    nn.RNN: STACK,
    nn.LSTM: STACK,
    nn.GRU: STACK,
    nn.RNNCell: SIZES,
    nn.LSTMCell: SIZES,
    nn.GRUCell: SIZES,
    nn.Attention: {"query_size": 3, "memory_size": 4, "kind": "additive"},
    nn.MultiheadAttention: {"embed_dim": 4, "num_heads": 2, "dropout": 0.2},
    nn.AttentiveDecoder: {**SIZES, "memory_size": 5},
    nn.HierarchicalPooling: SIZES,
    CharLM: {"vocab_size": 5, "embedding_size": 4, "hidden_size": 4, "num_layers": 2, "dropout": 0.2},
    Tagger: {"vocab_size": 5, "num_tags": 3, "embedding_size": 4, "hidden_size": 4, "num_layers": 2, "dropout": 0.2},
    Seq2Seq: {"source_vocabulary": 6, "target_vocabulary": 7, "embedding_size": 4, "hidden_size": 4, "num_layers": 2},
}
OTHER = {  # of what may be set again: another value, and one that is none
    "p": (0.3, 1.0),
    "dropout": (0.4, 1.0),
    "locked_dropout": (True, 1),
    "weight_drop": (0.4, -0.1),
    "zoneout": (0.3, "0.3"),
    "through_time": (lambda rule: truncate(rule, 2), lambda rule: 3),
    "label_smoothing": (0.1, np.nan),
    "seed": (7, -1),
}
TOKENS = np.array([[1, 3, 0, 2, 4], [2, 2, 4, 1, 3]])
RUN = {
    nn.Dropout: lambda layer: [layer(numbers(40, 3))],
    nn.MultiheadAttention: lambda layer: layer(*[numbers(5, 3, 4)] * 3),
    CharLM: lambda lm: [lm.loss(TOKENS, TOKENS)[0]],
    Tagger: lambda tagger: [tagger.loss(TOKENS, TOKENS % 3)[0]],
    Seq2Seq: lambda model: [model.loss(TOKENS + 1, TOKENS + 1)[0]],
}


def layer_of(kind, **options):
    dtype = {} if kind is nn.Dropout else {"dtype": "float64"}
    return kind(**{**LAYERS[kind], "seed": 1, **dtype, **options})


def can_be_set(kind, name):
    return name in kind.CHECKED or name == "through_time" or getattr(getattr(kind, name, None), "fset", None)


CASES = [(kind, name) for kind in LAYERS for name in defaults_of(kind) if name not in ("options", "sizes", "dtype")]
FREE = [case for case in CASES if can_be_set(*case)]
SET = [case for case in CASES if case not in FREE and "vocabulary" not in case[1]]  # a translator may learn that later


def named(cases):
    return {"argvalues": cases, "ids": [f"{layer.__name__} {name}" for layer, name in cases]}


def outcome(layer):
    """What a layer computes while training, with gradients where there are any."""
    if type(layer) in RUN:
        return {f"output {k}": y.numpy() for k, y in enumerate(RUN[type(layer)](layer))}
    return played(layer, numbers(5, 3, 3), None, [5, 2, 4])


def test_every_layer_is_here():
    layers = {kind for kind in vars(nn).values() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    assert layers - {nn.Module, nn.Parameter} <= LAYERS.keys() and {name for _, name in FREE} == OTHER.keys()


@pytest.mark.parametrize(("kind", "name"), **named(SET))
def test_what_a_layer_is_cannot_be_changed(kind, name):
    layer = layer_of(kind)
    value, before = getattr(layer, name), dict(vars(layer))
    other = (value is False) if isinstance(value, bool) else 99 if isinstance(value, int) else "another"
    with pytest.raises((AttributeError, TypeError), match=name):
        setattr(layer, name, other)
    assert vars(layer) == before and getattr(layer, name) is value
    if name in kind.FIXED:
        setattr(layer, name, value)  # as a class that derives from it may do


@pytest.mark.parametrize(("kind", "name"), **named(FREE))
def test_what_is_for_training_acts_as_soon_as_it_is_set(kind, name):
    other, _ = OTHER[name]
    layer, built = layer_of(kind), layer_of(kind, **{name: other})
    built.load_state_dict(layer.state_dict())  # another seed has drawn others
    before = outcome(layer)
    setattr(layer, name, other)
    for module in (layer, built):
        module.seek(0)
    expected = outcome(built)
    assert_equal(outcome(layer), expected, tolerance=0)
    assert any(not np.array_equal(before[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", sorted(nn.LSTM.CHECKED))
def test_a_decoder_that_goes_step_by_step_refuses_what_none_of_its_steps_knows(name):
    decoder = layer_of(nn.AttentiveDecoder)
    with pytest.raises(AttributeError, match=f"^{name} is what this LSTM was built with"):
        setattr(decoder.rnn, name, OTHER[name][0])


@pytest.mark.parametrize(("kind", "name"), **named(FREE))
def test_it_is_refused_as_when_the_layer_is_built(kind, name):
    _, bad = OTHER[name]
    layer = layer_of(kind)
    before = dict(vars(layer)), getattr(layer, name)
    with pytest.raises((TypeError, ValueError)) as first:
        layer_of(kind, **{name: bad})
    with pytest.raises(type(first.value), match=f"^{re.escape(str(first.value))}$"):
        setattr(layer, name, bad)
    assert (dict(vars(layer)), getattr(layer, name)) == before


def test_zoneout_that_a_combinator_refuses_leaves_the_layer_as_it_was():
    def no_zoneout(rule):
        if any("zoneout" in name for name in rule.combinators):
            raise ValueError("no zoneout here")
        return rule

    layer = nn.GRU(2, 3, through_time=no_zoneout, dtype="float64", seed=1)
    x = np.ones((4, 1, 2))
    before = layer(x)[0].numpy()
    with pytest.raises(ValueError, match="no zoneout here"):
        layer.zoneout = 0.5
    assert layer.zoneout == 0
    np.testing.assert_array_equal(layer(x)[0].numpy(), before)


def test_locked_dropout_waits_for_dropout():
    layer = nn.LSTM(2, 3, num_layers=2, dropout=0.5, locked_dropout=True)
    layer.dropout = 0.0
    assert "locked_dropout=True" in repr(layer)
    assert repr(layer) == repr(nn.LSTM(2, 3, num_layers=2, locked_dropout=True))
