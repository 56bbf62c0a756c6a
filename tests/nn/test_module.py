"""Parameters with names: found, shared, saved, loaded, moved; and the module as a rule."""

from collections import deque
from functools import partial
from types import MappingProxyType

import numpy as np
import pytest

from minirnn.arrays import BackendError, asarray, to_numpy
from minirnn.checking import check_rule
from minirnn.models import CharLM
from minirnn.nn import (
    LSTM,
    Attention,
    AttentiveDecoder,
    Dropout,
    Embedding,
    HierarchicalPooling,
    Linear,
    Module,
    MultiheadAttention,
    Parameter,
)
from minirnn.nn import module as module_file
from minirnn.rules.combinators import checkpoint, truncate
from minirnn.tape import Tensor, no_grad
from minirnn.testing import strict_cupy


class Block(Module):
    def __init__(self, seed=0):
        self.scale = Parameter(np.full(3, 2.0))
        self.layers = [
            Linear(3, 4, dtype="float64", seed=seed),
            Linear(4, 3, bias=False, dtype="float64", seed=seed + 1),
        ]
        self.drop = Dropout(0.5, seed=seed)
        self.size = 3

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).tanh()
        return self.drop(x * self.scale)


class Model(Module):
    def __init__(self):
        self.first, self.second = Block(0), Block(10)
        self.head = Linear(3, 2, dtype="float64")

    def forward(self, x):
        return self.head(self.second(self.first(x)))


BLOCK = ["scale", "layers.0.weight", "layers.0.bias", "layers.1.weight"]
NAMES = [f"first.{n}" for n in BLOCK] + [f"second.{n}" for n in BLOCK] + ["head.weight", "head.bias"]


def test_names_follow_attributes():
    model = Model()
    assert sorted(name for name, _ in model.named_parameters()) == sorted(NAMES)
    assert [n for n, _ in model.named_modules()][:3] == ["", "first", "first.layers.0"]
    assert dict(model.named_parameters())["second.layers.1.weight"] is model.second.layers[1].weight


def test_a_shared_parameter_is_one_parameter_of_two_names(backend):
    model = Model()
    model.second.scale = model.first.scale
    names = [name for name, _ in model.named_parameters()]
    assert "first.scale" in names and "second.scale" not in names
    assert len(model.parameters()) == len(NAMES) - 1
    assert {"first.scale", "second.scale"} <= set(model.state_dict())
    model.eval()(np.ones((2, 3))).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.to(dtype="float32")
    assert model.second.scale is model.first.scale


def test_state_dict_round_trip(backend):
    model, other = Model(), Model()
    for p in other.parameters():
        p.data = np.zeros(p.shape)
    state = model.state_dict()
    assert sorted(state) == sorted(NAMES) and all(isinstance(a, np.ndarray) for a in state.values())
    other.load_state_dict(state)
    for name, array in other.state_dict().items():
        assert np.array_equal(array, state[name]), name
    state["head.bias"][...] = 7  # a copy on both ways
    assert not (other.head.bias.numpy() == 7).any() and not (model.head.bias.numpy() == 7).any()


def test_loading_keeps_dtype_and_place(backend):
    layer = Linear(2, 3)
    layer.load_state_dict({"weight": np.ones((3, 2), "float64"), "bias": [1, 2, 3]})
    assert layer.weight.dtype == np.float32 and isinstance(layer.weight.array, backend.ndarray)
    assert layer.bias.numpy().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda s: s.pop("head.bias"), KeyError, r"missing \['head.bias'\], unknown \[\]"),
        (lambda s: s.update({"tail": 1}), KeyError, r"missing \[\], unknown \['tail'\]"),
        (lambda s: s.update({"tail": s.pop("head.bias")}), KeyError, r"missing \['head.bias'\], unknown \['tail'\]"),
        (lambda s: s.update({"head.bias": np.ones(3)}), ValueError, r"head.bias must have shape \(2,\), got \(3,\)"),
        (lambda s: s.update({"head.bias": np.array(["a", "b"])}), TypeError, "head.bias must be .* got dtype <U1"),
        (lambda s: s.update({"head.bias": np.ones(2) * 1j}), TypeError, "head.bias must be .* got dtype complex128"),
        (lambda s: s.update({"head.bias": None}), TypeError, "head.bias must be an array of real .* got dtype object"),
        (lambda s: s.update({"head.bias": [[1.0], []]}), TypeError, "head.bias must be an array of real .* got list"),
        (lambda s: s.update({"head.bias": [True, False]}), TypeError, "head.bias must be .* got dtype bool"),
    ],
    ids=["missing", "unknown", "renamed", "shape", "words", "complex", "none", "uneven", "flags"],
)
def test_a_state_that_does_not_fit_changes_nothing(change, error, words):
    model = Model()
    before, state = model.state_dict(), {name: np.zeros_like(a) for name, a in model.state_dict().items()}
    change(state)
    with pytest.raises(error, match=words):
        model.load_state_dict(state)
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())


def test_a_shared_parameter_takes_one_array_under_both_names_and_refuses_two():
    model = Module()
    model.first, model.second = Linear(2, 2), Linear(2, 2)
    model.second.weight = model.first.weight
    state = {name: np.full_like(array, np.nan) for name, array in model.state_dict().items()}
    model.load_state_dict(state)
    assert np.isnan(model.first.weight.numpy()).all()
    state = {name: np.zeros_like(array) for name, array in state.items()} | {"first.weight": np.eye(2)}
    words = r"first\.weight and second\.weight are one parameter, and the state has different arrays for them"
    with pytest.raises(ValueError, match=words):
        model.load_state_dict(state)
    assert all(np.isnan(array).all() for array in model.state_dict().values())


@pytest.mark.parametrize("state", [None, 3, [("weight", 1)], Linear(3, 2)])
def test_a_state_that_is_no_mapping_is_explained(state):
    with pytest.raises(TypeError, match=f"state must be a mapping from names to arrays, got {type(state).__name__}"):
        Linear(3, 2).load_state_dict(state)


def test_a_number_that_does_not_fit_changes_nothing(backend):
    layer = Linear(2, 3)
    before, state = layer.state_dict(), {"weight": np.zeros((3, 2)), "bias": np.array([np.inf, -1e300, np.nan])}
    with pytest.raises(ValueError, match=r"bias must fit into float32, the dtype of the parameter, got -1e\+300"):
        layer.load_state_dict(state)
    assert all(np.array_equal(a, before[name]) for name, a in layer.state_dict().items())
    state["bias"][1] = 3e38
    layer.load_state_dict(state)  # what is no finite number to begin with is the user's
    assert np.array_equal(layer.bias.numpy(), np.array([np.inf, 3e38, np.nan], "float32"), equal_nan=True)


def test_tensors_are_loaded_as_their_arrays(backend):
    layer, other = Linear(2, 3), Linear(2, 3, seed=1)
    layer.load_state_dict(dict(other.named_parameters()))
    expected = other.state_dict()
    with no_grad():
        other.weight += 1.0
    assert all(np.array_equal(a, expected[name]) for name, a in layer.state_dict().items())


def test_train_and_eval_reach_every_module():
    model, x = Model(), np.ones((2, 3))
    assert model.training
    assert model.eval() is model and not model.second.drop.training
    assert np.array_equal(model(x).numpy(), model(x).numpy())
    assert model.train().second.drop.training
    model.first.training = False
    assert model.training and not model.first.training and model.first.drop.training  # of this module alone
    with pytest.raises(TypeError, match="training must be True or False, got 'no'"):
        model.train("no")
    assert not np.array_equal(model(x).numpy(), model(x).numpy())


def test_seek_brings_the_same_masks_back(backend):
    model, x = Model(), np.ones((2, 3))
    model.seek(5)
    first, second = model(x).numpy(), model(x).numpy()
    model(x)
    model.seek(5)
    assert np.array_equal(model(x).numpy(), first) and np.array_equal(model(x).numpy(), second)
    assert not np.array_equal(first, second)


def test_zero_grad():
    model = Model()
    model(np.ones((2, 3))).sum().backward()
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_to_another_dtype(backend):
    model = Model().eval()
    x = np.random.default_rng(0).standard_normal((2, 3))
    parameters, before = model.parameters(), model(x)
    before.sum().backward()
    assert model.to(dtype="float32") is model
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert {p.dtype.name for p in model.parameters()} == {"float32"} and all(p.grad is None for p in parameters)
    after = model(x.astype("float32"))
    assert after.dtype == np.float32 and np.allclose(after.numpy(), before.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="dtype must be float32 or float64"):
        model.to(dtype="int32")


def test_to_another_backend_and_back():
    model = Model().eval()
    before = model.state_dict()
    with strict_cupy() as cupy:
        model.to("cupy")
        assert all(isinstance(p.array, cupy.ndarray) for p in model.parameters())
        with pytest.raises(TypeError, match=r"numpy.*cupy"):
            model(np.ones((2, 3)))  # the current backend is still NumPy
        model.to("numpy")
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())


def test_moving_fails_as_a_whole(monkeypatch):
    model = Model()
    monkeypatch.setattr("minirnn.arrays._why_no_device", lambda: "there is none")
    with pytest.raises(BackendError, match="there is none"):
        model.to("cupy")
    assert {p.backend for p in model.parameters()} == {"numpy"}


class Heads(Module):
    """Parts in containers within containers."""

    def __init__(self):
        self.heads = {"noun": Linear(3, 2, dtype="float64", seed=1), "verb": [Linear(3, 2, dtype="float64", seed=2)]}
        self.pairs = ((Parameter([3.0]), {"low": Parameter([4.0])}), [[Dropout(0.5)]])
        self.counts = {"a": 1, 2: [None, "b"], "c.d": {3, 4}}

    def forward(self, x):
        (scale, shift), ((drop,),) = self.pairs
        return drop(self.heads["noun"](x) * scale + self.heads["verb"][0](x) + shift["low"])


def test_parts_are_found_in_lists_tuples_and_dicts_to_any_depth(backend):
    model, x = Heads(), asarray(np.random.default_rng(0).standard_normal((5, 3)))
    names = ["heads.noun.weight", "heads.noun.bias", "heads.verb.0.weight", "heads.verb.0.bias"]
    assert sorted(name for name, _ in model.named_parameters()) == sorted([*names, "pairs.0.0", "pairs.0.1.low"])
    assert [name for name, _ in model.named_modules()] == ["", "heads.noun", "heads.verb.0", "pairs.1.0.0"]
    assert model.training and not np.array_equal(model(x).numpy(), model(x).numpy())
    model.eval()(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    rule, arrays, names = model.as_rule(x)
    assert check_rule(rule, arrays, names=names).ok
    other = Heads().eval()
    other.load_state_dict({name: 2 * array for name, array in model.state_dict().items()})
    assert not np.array_equal(other(x).numpy(), model(x).numpy())
    other.load_state_dict(model.state_dict())
    assert np.array_equal(other(x).numpy(), model(x).numpy())
    assert {p.dtype.name for p in model.to(dtype="float32").parameters()} == {"float32"}


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ({3: Linear(2, 2)}, "a Linear under the key 3"),
        ({"a.b": Parameter([1.0])}, "a Parameter under the key 'a.b'"),
        ({"a.b": [Linear(2, 2)]}, "a Linear under the key 'a.b'"),
        ({None: Linear(2, 2)}, "a Linear under the key None"),
        ({Dropout()}, "a Dropout in a set"),
        (deque([Linear(2, 2)]), "a Linear in a deque"),
        ({"a": Linear(2, 2)}.values(), "a Linear in a dict_values"),
    ],
    ids=["number", "dot", "above", "None", "set", "deque", "values"],
)
def test_a_part_without_a_name_is_refused(parts, where):
    model = Heads()
    model.layers = [parts]
    with pytest.raises(TypeError, match=rf"layers\.0 must hold its parts in a list, or in a dict .* got {where}"):
        model.parameters()


def test_a_long_list_of_words_is_passed_over_without_a_name_for_each(monkeypatch):
    looked_into, real = [], module_file.parts_of
    monkeypatch.setattr(module_file, "parts_of", lambda *given: looked_into.append(given) or real(*given))
    model = Module()
    model.words, model.sizes, model.layers = ["a", None, 1.0, True] * 100, {"a": 3}, [Linear(2, 2), "b"]
    assert [name for name, _ in model.named_parameters()] == ["layers.0.weight", "layers.0.bias"]
    assert len(looked_into) < 20


def test_a_list_that_holds_itself_is_looked_into_once():
    model = Module()
    model.layers = [1, Linear(2, 2)]
    model.layers.append(model.layers)
    model.more = {"again": model.layers}
    names = [name for name, _ in model.named_modules()]
    assert names == ["", "layers.1", "more.again.1"]
    assert [name for name, _ in model.named_parameters()] == ["layers.1.weight", "layers.1.bias"]


def test_parts_are_found_in_a_dict_that_may_only_be_read():
    model = Module()
    model.heads = MappingProxyType({"noun": Linear(2, 2)})
    assert [name for name, _ in model.named_parameters()] == ["heads.noun.weight", "heads.noun.bias"]


def test_what_would_leave_a_parameter_untrained_is_refused():
    layer = Linear(2, 2)
    before = layer.weight
    for value in (np.ones((2, 2)), Tensor([1.0])):
        with pytest.raises(TypeError, match=f"weight is a parameter and must remain one, got {type(value).__name__}"):
            layer.weight = value
    assert layer.weight is before
    layer.weight, layer.bias = Parameter(np.ones((2, 2)), "float32"), None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_module_is_shown_with_what_differs_from_the_defaults_and_all_below_it():
    shown = {
        repr(Linear(3, 4, bias=False, seed=1)): "Linear(in_features=3, out_features=4, bias=False)",
        repr(Dropout()): "Dropout()",
        repr(Module()): "Module()",
        repr(LSTM(3, 4, 2, dropout=0.5, zoneout=0.1)): (
            "LSTM(input_size=3, hidden_size=4, num_layers=2, dropout=0.5, zoneout=0.1)"
        ),
    }
    assert all(found == expected for found, expected in shown.items())
    shown = {
        LSTM(3, 4, dtype="float64"): "LSTM(input_size=3, hidden_size=4, dtype='float64')",
        LSTM(3, 4).to(dtype="float64"): "LSTM(input_size=3, hidden_size=4, dtype='float64')",
        LSTM(3, 4, through_time=checkpointed): "LSTM(input_size=3, hidden_size=4, through_time=checkpointed)",
        LSTM(3, 4, through_time=partial(truncate, window=2)): (
            "LSTM(input_size=3, hidden_size=4, through_time=truncate(window=2))"
        ),
        Attention(3, 4, "additive", 5): "Attention(query_size=3, memory_size=4, kind='additive', attention_size=5)",
        MultiheadAttention(4, 2, 0.1, False): "MultiheadAttention(embed_dim=4, num_heads=2, dropout=0.1, bias=False)",
        AttentiveDecoder(2, 3, 4, "gru", feed="output"): (
            "AttentiveDecoder(input_size=2, hidden_size=3, memory_size=4, cell='gru', feed='output')"
        ),
        HierarchicalPooling(2, 3): "HierarchicalPooling(input_size=2, hidden_size=3)",
        HierarchicalPooling(2, 3).of_words: "LearnedQuery(memory_size=6)",
    }
    assert {repr(module).partition("\n")[0]: told for module, told in shown.items()} == {t: t for t in shown.values()}

    class Own(LSTM):
        def __init__(self, D, dropout=0.5):
            super().__init__(D, 4, 2, dropout=dropout)
            self.above = self

    assert repr(Own(3)) == "Own(input_size=3, hidden_size=4, num_layers=2)"  # the nearest default counts
    assert repr(Heads()).splitlines() == [
        "Heads()",
        "  heads.noun: Linear(in_features=3, out_features=2, dtype='float64')",
        "  heads.verb.0: Linear(in_features=3, out_features=2, dtype='float64')",
        "  pairs.1.0.0: Dropout()",
    ]


def checkpointed(rule):
    return checkpoint(rule, 2)


def test_a_model_is_shown_with_what_its_parts_share():
    assert repr(CharLM(5, 4, 4, tie_weights=True, dropout=0.1, seed=1)).splitlines() == [
        "CharLM(vocab_size=5, embedding_size=4, hidden_size=4, dropout=0.1, tie_weights=True)",
        "  embedding: Embedding(num_embeddings=5, embedding_dim=4)",
        "  rnn: LSTM(input_size=4, hidden_size=4, dropout=0.1)",
        "  head: Linear(in_features=4, out_features=5)",
        "  head.weight is embedding.weight",
    ]


def test_what_stands_in_the_place_of_a_module_is_one():
    decoder = AttentiveDecoder(2, 3, 4)
    with pytest.raises(TypeError, match="attention is a module and must remain one, got 'dot'"):
        decoder.attention = "dot"
    decoder.attention = Attention(3, 4)


def test_forward_is_for_subclasses():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        Module()(1)


# As a rule


def test_a_module_is_gradient_checked_like_a_rule(backend):
    model = Model().eval()
    rule, arrays, names = model.as_rule(asarray(np.random.default_rng(0).standard_normal((2, 3))))
    assert sorted(names) == sorted([*NAMES, "x"])
    assert check_rule(rule, arrays, names=names).ok
    assert all(isinstance(p, Parameter) and p.grad is None for p in model.parameters())


def test_a_wrong_module_is_caught():
    class Wrong(Linear):
        def forward(self, x):
            return super().forward(x) + self.weight.detach().sum()

    rule, arrays, names = Wrong(3, 2, dtype="float64").as_rule(np.ones((2, 3)))
    with pytest.raises(AssertionError, match="weight"):
        check_rule(rule, arrays, names=names)


def test_the_rule_computes_what_the_module_does_for_any_arrays(backend):
    layer = Linear(3, 2, dtype="float64")
    x = asarray(np.ones((4, 3)))
    rule, arrays, _ = layer.as_rule(x)
    (value,), _ = rule(*arrays)
    assert np.array_equal(to_numpy(value), layer(x).numpy())
    (doubled,), _ = rule(*(2 * a for a in arrays))
    assert np.allclose(to_numpy(doubled), 4 * layer(x).numpy() - 2 * layer.bias.numpy(), rtol=1e-13)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_the_rule_restores_parameters_even_when_forward_raises(name):
    class Moody(Linear):
        calm = True

        def forward(self, x):
            if not self.calm:
                raise ArithmeticError("not today")
            return super().forward(x)

    layer = Moody(3, 2, dtype="float64")
    before = getattr(layer, name)
    rule, arrays, _ = layer.as_rule(np.ones((2, 3)))
    layer.calm = False
    with pytest.raises(ArithmeticError):
        rule(*arrays)
    assert getattr(layer, name) is before


def test_integers_stay_fixed_and_shared_parameters_are_one_argument(backend):
    class Tied(Module):
        def __init__(self):
            self.embedding, self.head = Embedding(5, 3, dtype="float64"), Linear(3, 5, dtype="float64")
            self.head.weight = self.embedding.weight

        def forward(self, ids):
            return self.head(self.embedding(ids))

    rule, arrays, names = Tied().as_rule(np.array([[0, 1], [1, 4]]))
    assert names == ["embedding.weight", "head.bias"]
    assert check_rule(rule, arrays, names=names).ok


def test_every_output_of_a_module_is_checked(backend):
    lstm = LSTM(2, 3, num_layers=2, dtype="float64")
    rule, arrays, names = lstm.as_rule(asarray(np.random.default_rng(0).standard_normal((3, 2, 2))))
    outputs, _ = rule(*arrays)
    assert [o.shape for o in outputs] == [(3, 2, 3), (2, 2, 3), (2, 2, 3)]
    assert check_rule(rule, arrays, names=names, max_entries=20).ok


def test_parameters_are_written_by_training_only():
    layer = Linear(2, 2)
    with pytest.raises(RuntimeError, match=r"weight requires a gradient, and a write .* use no_grad\(\)"):
        layer.weight += 1.0
    with no_grad():
        layer.weight += 1.0
    assert isinstance(layer.weight, Parameter) and isinstance(layer.weight * 1.0, Tensor)
