"""Bad input to recurrent layers: one sentence each, that names the argument, the value, and what is allowed."""

import numpy as np
import pytest
from recurrent_cases import parts

from minirnn import ops, rules
from minirnn.nn import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from minirnn.rules.combinators import projected, ragged, scan, truncate
from minirnn.tape import Tensor
from minirnn.testing import strict_cupy

X = np.ones((5, 2, 3), "float32")
H = np.ones((2, 2, 4), "float32")  # (layers, B, H)
C = np.ones((2, 4), "float32")  # the state of a cell
LAYERS = [lambda **options: RNN(3, 4, 2, **options), lambda **options: LSTM(3, 4, 2, **options)]
LAYERS += [lambda **options: GRU(3, 4, 2, **options)]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (X[0], ValueError, r"x must have shape \(T, B, 3\), got \(2, 3\)"),
        (X[None], ValueError, r"x must have shape \(T, B, 3\), got \(1, 5, 2, 3\)"),
        (X[..., :2], ValueError, r"x must have shape \(T, B, 3\), got \(5, 2, 2\)"),
        (X[:0], ValueError, "x must have at least one step, got none"),
        (X.astype("float64"), TypeError, r"x must have the dtype of the weights, float32, got float64; convert"),
        (X.astype("int64"), TypeError, "x must have the dtype of the weights, float32, got int64"),
        (X > 0, TypeError, "x must have the dtype of the weights, float32, got bool"),
        (X.astype(object), TypeError, "x: data must be numbers, got dtype object"),
        (X.astype("complex64"), TypeError, "x must have the dtype of the weights, float32, got complex64; layers take"),
        ("text", TypeError, "x: data must be numbers"),
        (None, TypeError, "x: data must be numbers"),
    ],
)
def test_bad_input_is_explained(layer, x, error, words):
    with pytest.raises(error, match=words):
        layer()(x)


def test_bad_batch_first_input_is_explained():
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, 3\), got \(5, 2, 2\)"):
        LSTM(3, 4, 2, batch_first=True)(X[..., :2])
    with pytest.raises(ValueError, match=r"h_0 must have shape \(2, 5, 4\), got \(2, 2, 4\)"):
        LSTM(3, 4, 2, batch_first=True)(X, (H, H))


# States


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ((H[:1], H), ValueError, r"h_0 must have shape \(2, 2, 4\), got \(1, 2, 4\)"),
        ((H, H[:, :1]), ValueError, r"c_0 must have shape \(2, 2, 4\), got \(2, 1, 4\)"),
        (
            (H, H[..., :3]),
            ValueError,
            r"c_0 must .* got \(2, 2, 3\); its axes are num_layers \* directions, batch, feat",
        ),
        ((H[0], H), ValueError, r"h_0 must have shape \(2, 2, 4\), got \(2, 4\)"),
        ((H.astype("float64"), H), TypeError, "h_0 must have the dtype of the weights, float32, got float64"),
        ((H, H.astype(int)), TypeError, "c_0 must have the dtype of the weights, float32, got int64"),
        ((H, None), TypeError, "c_0: data must be numbers"),
        (H, ValueError, r"state must be a pair \(h_0, c_0\), got ndarray"),
        (Tensor(H), ValueError, r"state must be a pair \(h_0, c_0\), got Tensor"),
        ((H,), ValueError, r"state must be a pair \(h_0, c_0\), got tuple of 1"),
        ((H, H, H), ValueError, r"state must be a pair \(h_0, c_0\), got tuple of 3"),
        ("hc", ValueError, r"state must be a pair \(h_0, c_0\), got str"),
    ],
)
def test_bad_state_of_an_lstm_is_explained(state, error, words):
    lstm = LSTM(3, 4, 2, dropout=0.5)
    before = lstm.state_dict()
    with pytest.raises(error, match=words):
        lstm(X, state)
    assert all(np.array_equal(a, before[name]) for name, a in lstm.state_dict().items())
    assert lstm.draws == 0  # the random stream stays where it was


@pytest.mark.parametrize("layer", [LAYERS[0], LAYERS[2]])
@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ((H, H), ValueError, "state must be one tensor h_0, got tuple of 2"),
        ([H], ValueError, "state must be one tensor h_0, got list of 1"),
        (H[:1], ValueError, r"h_0 must have shape \(2, 2, 4\), got \(1, 2, 4\); its axes are num_layers \* directions"),
        (H[:, :1], ValueError, r"h_0 must have shape \(2, 2, 4\), got \(2, 1, 4\)"),
        (H.astype("float64"), TypeError, "h_0 must have the dtype of the weights, float32, got float64"),
        ("h", TypeError, "h_0: data must be numbers"),
    ],
)
def test_bad_state_is_explained(layer, state, error, words):
    with pytest.raises(error, match=words):
        layer()(X, state)


def test_states_of_the_wrong_directions_and_of_projected_layers_are_explained():
    with pytest.raises(ValueError, match=r"h_0 must have shape \(4, 2, 4\), got \(2, 2, 4\)"):
        GRU(3, 4, 2, bidirectional=True)(X, H)
    with pytest.raises(ValueError, match=r"h_0 must have shape \(2, 2, 3\), got \(2, 2, 4\)"):
        LSTM(3, 4, 2, proj_size=3)(X, (H, H))


def test_what_lives_on_another_backend_is_refused():
    with strict_cupy():
        x, h = Tensor(X).to("cupy"), Tensor(H).to("cupy")
        with pytest.raises(TypeError, match=r"h_0 on cupy, the weights on numpy; move one of them with .to\('numpy'\)"):
            LSTM(3, 4, 2)(X, (h, h))
        with pytest.raises(TypeError, match=r"x and the weights live in different places: x on cupy, .* on numpy"):
            GRU(3, 4, 2)(x)
        with pytest.raises(TypeError, match=r"x on numpy, the weights on cupy"):
            RNN(3, 4, 2).to("cupy")(X)


# Lengths


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([5, 0], ValueError, r"lengths must lie in 1..5, the number of steps, got 0 for sequence 1"),
        ([-1, 5], ValueError, r"lengths must lie in 1..5, the number of steps, got -1 for sequence 0"),
        ([5, 6], ValueError, r"lengths must lie in 1..5, the number of steps, got 6 for sequence 1"),
        (np.array([2**63 + 1, 1], "uint64"), ValueError, r"lengths must lie in 1..5, .* got 9223372036854775809"),
        ([5], ValueError, r"lengths must hold one integer for each of 2 sequences, got shape \(1,\)"),
        ([5, 4, 3], ValueError, r"lengths must hold one integer for each of 2 sequences, got shape \(3,\)"),
        ([[5, 4]], ValueError, r"lengths must hold one integer for each of 2 sequences, got shape \(1, 2\)"),
        (5, ValueError, r"lengths must hold one integer for each of 2 sequences, got shape \(\)"),
        ([5.0, 4.0], TypeError, r"lengths must be integers, got dtype float64"),
        ([True, False], TypeError, "lengths must be integers, got dtype bool"),
        (
            [[1], [2, 3]],
            ValueError,
            "lengths must be one integer for each of 2 sequences, got rows of different lengths",
        ),
        ("54", TypeError, "lengths must be integers, got dtype <U2"),
        ([], ValueError, r"lengths must hold one integer for each of 2 sequences, got shape \(0,\)"),
    ],
)
def test_bad_lengths_are_explained(layer, lengths, error, words):
    with pytest.raises(error, match=words):
        layer()(X, None, lengths)


# Options


@pytest.mark.parametrize("cls", [RNN, LSTM, GRU])
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"input_size": 0}, ValueError, "input_size must be a positive integer, got 0"),
        ({"hidden_size": 2.5}, ValueError, "hidden_size must be a positive integer, got 2.5"),
        ({"hidden_size": "4"}, ValueError, "hidden_size must be a positive integer, got '4'"),
        ({"num_layers": -1}, ValueError, "num_layers must be a positive integer, got -1"),
        ({"dropout": 1.0}, ValueError, r"dropout must be a number from 0 to below 1, got 1.0"),
        ({"weight_drop": -0.1}, ValueError, r"weight_drop must be a number from 0 to below 1, got -0.1"),
        ({"zoneout": "half"}, ValueError, r"zoneout must be a number from 0 to below 1, got 'half'"),
        ({"dtype": "float16"}, ValueError, "dtype must be float32 or float64, got 'float16'"),
        ({"seed": -1}, ValueError, "seed must be an integer that is not negative, got -1"),
        ({"init": "zeros"}, ValueError, "init must be one of uniform, orthogonal, got 'zeros'"),
        ({"through_time": scan(rules.gru_step)}, ValueError, r"a function of a sequence rule, got scan\(gru_step\)"),
        ({"through_time": 20}, ValueError, "through_time must be a combinator, a function of a sequence rule, got 20"),
        ({"bias": "relu"}, TypeError, "bias must be True or False, got 'relu'"),
        ({"bidirectional": 2}, TypeError, "bidirectional must be True or False, got 2"),
        ({"residual": None}, TypeError, "residual must be True or False, got None"),
        ({"zoneot": 0.1}, TypeError, "{name} has no option 'zoneot'; did you mean 'zoneout'\\?"),
        ({"nlayers": 2}, TypeError, "{name} has no option 'nlayers'; did you mean 'num_layers'\\?"),
        ({"device": "cpu"}, TypeError, "{name} has no option 'device'; arrays live where use_backend says"),
        ({"sparse": True}, TypeError, "{name} has no option 'sparse'; it has input_size, hidden_size, .*, seed$"),
    ],
)
def test_bad_options_are_explained(cls, options, error, words):
    with pytest.raises(error, match=words.format(name=cls.__name__)):
        cls(**{"input_size": 3, "hidden_size": 4, **options})


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: RNN(3, 4, nonlinearity="sigmoid"),
            ValueError,
            "nonlinearity must be one of tanh, relu, got 'sigmoid'",
        ),
        (lambda: LSTM(3, 4, proj_size=-1), ValueError, "proj_size must be an integer that is not negative, got -1"),
        (lambda: LSTM(3, 4, proj_size=1.0), ValueError, "proj_size must be an integer that is not negative, got 1.0"),
        (lambda: LSTM(3, 4, proj_size=4), ValueError, "proj_size must be smaller than hidden_size, 4, got 4"),
        (lambda: LSTM(3, 4, forget_bias="1"), ValueError, "forget_bias must be a number from 0 .* got '1'"),
        (lambda: LSTM(3, 4, bias=False, forget_bias=1.0), ValueError, "forget_bias=1.0 needs bias=True"),
        (lambda: LSTM(3, 4, peepholes=1), TypeError, "peepholes must be True or False, got 1"),
        (lambda: LSTM(3, 4, peepholes=True, layer_norm=True), ValueError, "peepholes=True and layer_norm=True exclude"),
        (lambda: GRU(3, 4, reset_after=None), TypeError, "reset_after must be True or False, got None"),
        (lambda: GRU(3, 4, reset_after=False, layer_norm=True), ValueError, "layer_norm=True needs reset_after=True"),
        (lambda: GRU(3, 4, proj_size=2), TypeError, "GRU has no option 'proj_size'; it has .*, reset_after, "),
        (lambda: GRU(3, 4, peepholes=True), TypeError, "GRU has no option 'peepholes'; it has input_size, "),
        (lambda: LSTM(3, 4, peephole=True), TypeError, "LSTM has no option 'peephole'; did you mean 'peepholes'"),
    ],
)
def test_options_that_a_cell_does_not_have_or_that_contradict_each_other_are_explained(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("through_time", "got"),
    [
        (lambda rule: None, "None"),
        (lambda rule: rules.gru, "gru"),
        (lambda rule: ragged(rules.gru), r"ragged\(gru\)"),
        (lambda rule: ops.gru, "gru"),
        (lambda rule: lambda *arrays: rule(*arrays), "<lambda>"),
    ],
)
def test_what_through_time_makes_must_take_what_the_rule_takes(through_time, got):
    given = r"in_runs\(ragged\(projected\(gru\)\)\)"
    words = f"through_time must return a sequence rule made of the one that it is given, {given}, got "
    with pytest.raises(TypeError, match=words + got):
        GRU(3, 4, through_time=through_time)


def test_what_a_combinator_refuses_it_says_itself():
    with pytest.raises(TypeError, match=r"projected\(in_runs\(ragged\(.*: padding would be projected"):
        GRU(3, 4, through_time=projected)
    with pytest.raises(ValueError, match="window must be a positive integer, got 0"):
        GRU(3, 4, through_time=lambda rule: truncate(rule, 0))


@pytest.mark.parametrize("size", [np.uint8(100), np.int8(100), np.int64(100)])
def test_sizes_are_pythons_own_integers(size):
    for layer in (GRU(3, size, np.int8(2)), LSTM(size, size, proj_size=np.int8(3)), RNN(size, 5)):
        assert {type(n) for n in (layer.input_size, layer.hidden_size, layer.num_layers)} == {int}
    assert GRU(3, size).weight_hh_l0.shape == (300, 100) and LSTM(size, size).weight_ih_l0.shape == (400, 100)
    for cell, gates in ((RNNCell, 1), (LSTMCell, 4), (GRUCell, 3)):
        assert cell(size, size).weight_hh.shape == (gates * 100, 100) and type(cell(size, size).hidden_size) is int


# Tokens

TABLES = (np.ones((12, 6), "float32"),) * 2
IDS = np.array([[1, 5], [0, 2], [3, 3]])


@pytest.mark.parametrize(
    ("tables", "ids", "error", "words"),
    [
        (3, IDS, ValueError, r"tables must be what project\(\) returns, a tuple of 2, one per direction"),
        (Tensor(np.ones((2, 12, 2))), IDS, ValueError, r"tables must be what project\(\) returns, a tuple of 2"),
        (TABLES[:1], IDS, ValueError, r"tables must be what project\(\) returns, a tuple of 2"),
        ((np.ones((2, 12, 6), "float32"),) * 2, IDS, ValueError, r"tables\[0\] must have shape \(12, V\), got \(2,"),
        ((np.ones((4, 6), "float32"),) * 2, IDS, ValueError, r"tables\[0\] must have shape \(12, V\), got \(4, 6\)"),
        ((np.ones((12, 6)),) * 2, IDS, TypeError, r"tables\[0\] must have the dtype of the weights, float32"),
        ((None, None), IDS, TypeError, r"tables\[0\]: data must be numbers"),
        (TABLES, IDS + 3, IndexError, r"ids must lie in 0\.\.5, got 8 at index \(0, 1\)"),
        (TABLES, IDS - 1, IndexError, r"ids must lie in 0\.\.5, got -1 at index \(1, 0\)"),
        (TABLES, IDS * 1.0, TypeError, r"ids must be an array of integers \(T, B\), got float64"),
        (TABLES, IDS[0], ValueError, r"ids must be \(T, B\), got shape \(2,\)"),
        (TABLES, [[1, 2]], TypeError, r"ids must be an array of integers \(T, B\), got list"),
        (TABLES, IDS[:0], ValueError, r"x must have at least one step, got none"),
    ],
)
def test_bad_tokens_are_explained(tables, ids, error, words):
    with pytest.raises(error, match=words):
        GRU(3, 4, bidirectional=True).run(tables, ids)


# Cells


@pytest.mark.parametrize("cls", [RNNCell, LSTMCell, GRUCell])
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda cls: cls(0, 4), ValueError, "input_size must be a positive integer, got 0"),
        (lambda cls: cls(3, 4, bias=1), TypeError, "bias must be True or False, got 1"),
        (lambda cls: cls(3, 4, dtype="int8"), ValueError, "dtype must be float32 or float64, got 'int8'"),
        (lambda cls: cls(3, 4)(X), ValueError, r"x must have shape \(B, 3\), got \(5, 2, 3\)"),
        (lambda cls: cls(3, 4)(X[0, :, :2]), ValueError, r"x must have shape \(B, 3\), got \(2, 2\)"),
        (lambda cls: cls(3, 4)(X[0].astype("float64")), TypeError, "x must have the dtype of the weights, float32"),
        (lambda cls: cls(3, 4)(X[0], "h"), (TypeError, ValueError), "h: data must be numbers|state must be a pair"),
    ],
)
def test_bad_input_to_cells_is_explained(cls, make, error, words):
    with pytest.raises(error, match=words):
        make(cls)


def test_bad_states_of_cells_are_explained():
    with pytest.raises(ValueError, match=r"h must have shape \(2, 4\), got \(2, 3\); its axes are batch, features"):
        GRUCell(3, 4)(X[0], C[:, :3])
    with pytest.raises(ValueError, match=r"state must be one tensor h, got tuple of 2"):
        RNNCell(3, 4)(X[0], (C, C))
    with pytest.raises(ValueError, match=r"state must be a pair \(h, c\), got ndarray"):
        LSTMCell(3, 4)(X[0], C)
    with pytest.raises(ValueError, match=r"c must have shape \(2, 4\), got \(1, 4\)"):
        LSTMCell(3, 4)(X[0], (C, C[:1]))
    with pytest.raises(ValueError, match="nonlinearity must be one of tanh, relu, got 'gelu'"):
        RNNCell(3, 4, nonlinearity="gelu")
    with pytest.raises(TypeError, match="reset_after must be True or False, got 0"):
        GRUCell(3, 4, reset_after=0)
    assert len(parts(LSTMCell(3, 4)(X[0], [C, C]))) == 2
