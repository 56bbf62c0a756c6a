"""Conversions: there and back, against the equations of the other side, and what is refused."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirnn.nn import GRU, LSTM, RNN, Linear, LSTMCell, Parameter
from minirnn.nn.convert import from_keras, from_onnx, from_torch, to_keras, to_onnx, to_torch

CELLS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
HOMES = {"PyTorch": (to_torch, from_torch), "Keras": (to_keras, from_keras), "ONNX": (to_onnx, from_onnx)}


def build(cell, seed=0, input_size=3, hidden_size=4, dtype="float64", **options):
    """A layer all of whose parameters are random, also those that would start as zeros."""
    layer, random = CELLS[cell](input_size, hidden_size, dtype=dtype, **options), np.random.default_rng(seed)
    layer.load_state_dict({name: random.normal(size=x.shape) for name, x in layer.state_dict().items()})
    return layer


@st.composite
def configurations(draw, home):
    """A cell and options that have a counterpart in ``home``."""
    cell = draw(st.sampled_from(sorted(CELLS)))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        "input_size": draw(st.integers(1, 4)),
        "hidden_size": draw(st.integers(2, 4)),
    }
    if cell == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if cell == "GRU" and home != "PyTorch":
        options["reset_after"] = draw(st.booleans())
    if cell == "LSTM" and home == "PyTorch":
        options["proj_size"] = draw(st.integers(0, options["hidden_size"] - 1))
    if cell == "LSTM" and home == "ONNX":
        options["peepholes"] = draw(st.booleans())
    return cell, options


def inputs(layer, T=4, B=3):
    return np.random.default_rng(1).normal(size=(T, B, layer.input_size))


def leaves(x):
    """The arrays in nested lists and dicts, in order."""
    if isinstance(x, (list, dict)):
        for part in x.values() if isinstance(x, dict) else x:
            yield from leaves(part)
    elif isinstance(x, np.ndarray):
        yield x


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))


def states(layer):
    return list(layer.state_dict().values())


@pytest.mark.parametrize("home", HOMES)
@settings(max_examples=100)  # so that every combination of cell, bias and reset_after comes
@given(data=st.data())
def test_there_and_back(home, data):
    cell, options = data.draw(configurations(home))
    exported, loaded = HOMES[home]
    layer, other = build(cell, seed=1, **options), build(cell, seed=2, **options)
    assert loaded(other, exported(layer)) is other
    assert same(list(leaves(exported(other))), list(leaves(exported(layer))))
    x = inputs(layer)
    split_is_lost = home == "Keras" and options["bias"] and not options.get("reset_after")
    assert same(states(other), states(layer)) != split_is_lost
    close(other(x)[0].numpy(), layer(x)[0].numpy())
    if split_is_lost:
        assert all(not x.any() for name, x in other.state_dict().items() if name.startswith("bias_hh"))


def close(mine, theirs):
    assert mine.shape == theirs.shape
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


# The other side's equations, as its documentation has them; biases are rows, and so are the states of a batch.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def keras_rnn(x, h, c, kernel, recurrent_kernel, bias, layer):
    activation = {"tanh": np.tanh, "relu": relu}[layer.nonlinearity]
    return activation(x @ kernel + h @ recurrent_kernel + bias), c


def keras_lstm(x, h, c, kernel, recurrent_kernel, bias, layer):
    i, f, candidate, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
    return sigmoid(o) * np.tanh(c), c


def keras_gru(x, h, c, kernel, recurrent_kernel, bias, layer):
    b, b_r = np.broadcast_to(bias, (2, kernel.shape[1])) if layer.reset_after else (bias, 0)
    (x_z, x_r, x_h), (U_z, U_r, U_h) = np.split(x @ kernel + b, 3, axis=1), np.split(recurrent_kernel, 3, axis=1)
    b_z, b_r, b_h = np.split(np.broadcast_to(b_r, (3 * h.shape[1],)), 3)
    z, r = sigmoid(x_z + h @ U_z + b_z), sigmoid(x_r + h @ U_r + b_r)
    candidate = np.tanh(x_h + (r * (h @ U_h + b_h) if layer.reset_after else (r * h) @ U_h))
    return z * h + (1 - z) * candidate, c


def onnx_rnn(X, H, C, W, R, B, P, attributes):
    W_b, R_b = np.split(B, 2)
    return {"Tanh": np.tanh, "Relu": relu}[attributes["activations"][0]](X @ W.T + H @ R.T + W_b + R_b), C


def onnx_lstm(X, H, C, W, R, B, P, attributes):
    i, o, f, c = np.split(X @ W.T + H @ R.T + sum(np.split(B, 2)), 4, axis=1)
    P_i, P_o, P_f = np.split(P, 3)
    C_t = sigmoid(f + P_f * C) * C + sigmoid(i + P_i * C) * np.tanh(c)
    return sigmoid(o + P_o * C_t) * np.tanh(C_t), C_t


def onnx_gru(X, H, C, W, R, B, P, attributes):
    (W_z, W_r, W_h), (R_z, R_r, R_h) = np.split(W, 3), np.split(R, 3)
    W_bz, W_br, W_bh, R_bz, R_br, R_bh = np.split(B, 6)
    z, r = sigmoid(X @ W_z.T + H @ R_z.T + W_bz + R_bz), sigmoid(X @ W_r.T + H @ R_r.T + W_br + R_br)
    if attributes["linear_before_reset"]:
        h = np.tanh(X @ W_h.T + r * (H @ R_h.T + R_bh) + W_bh)
    else:
        h = np.tanh(X @ W_h.T + (r * H) @ R_h.T + R_bh + W_bh)
    return (1 - z) * h + z * H, C


KERAS = {"RNN": keras_rnn, "LSTM": keras_lstm, "GRU": keras_gru}
ONNX = {"RNN": onnx_rnn, "LSTM": onnx_lstm, "GRU": onnx_gru}


def unrolled(step, xs, size, *weights):
    h = c = np.zeros((xs.shape[1], size))
    hs = []
    for x in xs:
        h, c = step(x, h, c, *weights)
        hs.append(h)
    return np.stack(hs)


def both_ways(step, xs, size, directions, *last):
    """One direction, or the outputs of both side by side."""
    ys = [unrolled(step, xs, size, *directions[0], *last)]
    ys += [unrolled(step, xs[::-1], size, *weights, *last)[::-1] for weights in directions[1:]]
    return np.concatenate(ys, axis=2)


@settings(max_examples=100)
@given(configurations("Keras"))
def test_outputs_are_those_of_the_equations_of_keras(configuration):
    cell, options = configuration
    layer = build(cell, **options)
    hs = x = inputs(layer)
    for arrays in to_keras(layer):
        each = 3 if layer.bias else 2
        directions = [arrays[k : k + each] + [0.0] * (3 - each) for k in range(0, len(arrays), each)]
        hs = both_ways(KERAS[cell], hs, layer.hidden_size, directions, layer)
    close(layer(x)[0].numpy(), hs)


@settings(max_examples=100)
@given(configurations("ONNX"))
def test_outputs_are_those_of_the_equations_of_onnx(configuration):
    cell, options = configuration
    layer = build(cell, **options)
    hs = x = inputs(layer)
    for node in to_onnx(layer):
        G, H = node["R"].shape[1:]
        zeros = {"B": np.zeros((len(node["W"]), 2 * G)), "P": np.zeros((len(node["W"]), 3 * H))}
        stacked = [(zeros | node)[name] for name in "WRBP"]
        assert node["attributes"]["direction"] == ("bidirectional" if layer.bidirectional else "forward")
        directions = list(zip(*stacked, strict=True))
        hs = both_ways(ONNX[cell], hs, H, directions, node["attributes"])
    close(layer(x)[0].numpy(), hs)


@settings(max_examples=15)
@given(configurations("PyTorch"))
def test_outputs_are_those_of_pytorch(configuration):
    torch = pytest.importorskip("torch")
    cell, options = configuration
    layer, other = build(cell, seed=1, **options), build(cell, seed=2, **options)
    theirs = getattr(torch.nn, cell)(**options, dtype=torch.float64)
    theirs.load_state_dict({name: torch.from_numpy(x) for name, x in to_torch(layer).items()})
    x = inputs(layer)
    expected = theirs(torch.from_numpy(x))[0].detach().numpy()
    close(layer(x)[0].numpy(), expected)
    close(from_torch(other, theirs.state_dict())(x)[0].numpy(), expected)


@pytest.mark.parametrize("home", HOMES)
def test_exports_are_contiguous_copies_in_the_dtype_of_the_layer(home):
    exported, loaded = HOMES[home]
    layer = build("GRU", dtype="float32", bidirectional=True)
    before = states(layer)
    for x in leaves(exported(layer)):
        assert x.dtype == "float32" and x.flags.c_contiguous
        x[...] = 7
    assert same(states(layer), before)
    given = exported(layer)
    loaded(layer, given)
    for x in leaves(given):
        x[...] = 7
    assert same(states(layer), before)


@pytest.mark.parametrize("home", HOMES)
def test_layers_and_arrays_may_be_on_a_device(backend, home):
    exported, loaded = HOMES[home]
    layer, other = build("LSTM", seed=1), build("LSTM", seed=2)
    weights = exported(layer)
    assert all(type(x) is np.ndarray for x in leaves(weights))
    if home == "PyTorch":
        weights = {name: backend.asarray(x) for name, x in weights.items()}
    loaded(other, weights)
    assert type(other.weight_ih_l0.array) is backend.ndarray
    assert same(list(leaves(exported(other))), list(leaves(exported(layer))))


def test_float64_weights_load_into_a_float32_layer():
    layer, other = build("LSTM", seed=1), build("LSTM", seed=2, dtype="float32")
    from_onnx(other, to_onnx(layer))
    assert same(states(other), [x.astype("float32") for x in states(layer)])


# What ONNX leaves out or writes differently


def test_what_a_node_leaves_out_is_zero_or_default():
    layer, (node,) = build("LSTM", seed=1, peepholes=True), to_onnx(build("LSTM", seed=2, peepholes=True))
    for absent in ({}, {"B": None, "P": None, "attributes": None}):
        from_onnx(layer, [{"W": node["W"], "R": node["R"]} | absent])
        assert not any(getattr(layer, f"{kind}_l0").numpy().any() for kind in ("bias_ih", "bias_hh", "peepholes"))
        assert np.array_equal(to_onnx(layer)[0]["W"], node["W"])


def test_attributes_as_a_file_holds_them():
    layer = build("RNN", nonlinearity="relu", bidirectional=True)
    (node,) = to_onnx(layer)
    node["attributes"] |= {"direction": b"bidirectional", "activations": [b"relu", b"RELU"], "layout": 1}
    assert from_onnx(layer, [node]) is layer
    (node,) = to_onnx(build("LSTM"))
    assert from_onnx(build("LSTM"), [node | {"attributes": {"input_forget": 0}}])


@pytest.mark.parametrize(
    ("cell", "options", "attributes", "message"),
    [
        ("LSTM", {"bidirectional": True}, {}, "direction = 'bidirectional' for this layer, got 'forward'"),
        ("LSTM", {}, {"direction": "reverse"}, "direction = 'forward' for this layer, got 'reverse'"),
        ("LSTM", {}, {"hidden_size": 5}, "hidden_size = 4 for this layer, got 5"),
        ("LSTM", {}, {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "activations = ['Sigmoid', 'Tanh', 'Tanh']"),
        ("RNN", {"nonlinearity": "relu"}, {}, "activations = ['Relu'] for this layer, got ['Tanh']"),
        ("RNN", {}, {"activations": [b"Relu"]}, "activations = ['Tanh'] for this layer, got [b'Relu']"),
        ("GRU", {}, {}, "linear_before_reset = 1 for this layer, got 0"),
        ("GRU", {"reset_after": False}, {"linear_before_reset": 1}, "linear_before_reset = 0 for this layer, got 1"),
        ("LSTM", {}, {"input_forget": 1}, "must not have input_forget, which no layer here can do, got 1"),
        ("LSTM", {}, {"clip": 1.0}, "must not have clip, which no layer here can do, got 1.0"),
        ("RNN", {}, {"linear_before_reset": 1}, "must not have linear_before_reset"),
    ],
)
def test_attributes_that_do_not_fit(cell, options, attributes, message):
    layer = build(cell, **options)
    nodes = [node | {"attributes": attributes} for node in to_onnx(layer)]
    refused(lambda: from_onnx(layer, nodes), ValueError, "nodes[0]['attributes'] must ", message, unchanged=layer)


# What is refused


def refused(call, error, *sentence, unchanged):
    """``call`` raises one line with all parts of ``sentence`` in it, and leaves the layer as it is."""
    before = states(unchanged)
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error and "\n" not in str(caught.value)
    for part in sentence:
        assert part in str(caught.value)
    assert same(states(unchanged), before)


@pytest.mark.parametrize(
    ("home", "cell", "options", "message"),
    [
        ("PyTorch", "GRU", {"reset_after": False}, "its GRU multiplies by the reset gate after W_hn"),
        ("PyTorch", "LSTM", {"peepholes": True}, "its LSTM has no peepholes"),
        ("PyTorch", "LSTM", {"residual": True, "num_layers": 2}, "its stacks have no connections past a layer"),
        ("Keras", "LSTM", {"peepholes": True}, "its LSTM has no peepholes"),
        ("Keras", "LSTM", {"proj_size": 2}, "its LSTM has no projection"),
        ("ONNX", "LSTM", {"proj_size": 2}, "its LSTM has no projection"),
        *((home, "RNN", {"layer_norm": True}, "its recurrent layers have no layer norm") for home in HOMES),
        *((home, "GRU", {"zoneout": 0.1}, "its recurrent layers have no zoneout") for home in HOMES),
        *((home, "LSTM", {"learned_state": True}, "have no initial state among their weights") for home in HOMES),
    ],
)
def test_options_without_a_counterpart(home, cell, options, message):
    layer, (exported, loaded) = build(cell, **options), HOMES[home]
    option, value = next(iter(options.items()))
    sentence = f"{cell}({option}={value}) has no counterpart in {home}: ", message
    refused(lambda: exported(layer), ValueError, *sentence, unchanged=layer)
    refused(lambda: loaded(layer, {}), ValueError, *sentence, unchanged=layer)


@pytest.mark.parametrize("home", HOMES)
def test_what_happens_only_while_training_is_no_hindrance(home):
    exported, loaded = HOMES[home]
    noisy = build("LSTM", seed=1, num_layers=2, dropout=0.5, locked_dropout=True, weight_drop=0.5).eval()
    plain = loaded(build("LSTM", seed=2, num_layers=2), exported(noisy))
    close(plain(inputs(plain))[0].numpy(), noisy(inputs(plain))[0].numpy())


def test_subclasses_as_long_as_they_bring_no_parameters():
    class Mine(LSTM):
        pass

    layer, own = build("LSTM"), Mine(3, 4, dtype="float64")
    assert same(states(from_onnx(own, to_onnx(layer))), states(layer))
    own.scale_l0 = Parameter([1.0], "float64")
    for exported in (to_keras, to_onnx):
        refused(partial(exported, own), ValueError, "no parameters but those of its cell", "scale_l0", unchanged=own)


@pytest.mark.parametrize("home", HOMES)
def test_layers_that_are_not_recurrent(home):
    exported, loaded = HOMES[home]
    for layer in (Linear(2, 3), LSTMCell(2, 3)):
        sentence = f"layer must be an nn.RNN, nn.LSTM or nn.GRU, got {type(layer).__name__}"
        refused(partial(exported, layer), TypeError, sentence, unchanged=layer)
        refused(partial(loaded, layer, {}), TypeError, sentence, unchanged=layer)


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda x: x[:-1], ValueError, "must have shape"),
        (lambda x: x[None], ValueError, "must have shape"),
        (lambda x: x.astype(complex), TypeError, "must be an array of real numbers, got dtype complex128"),
        (lambda x: x > 0, TypeError, "must be an array of real numbers, got dtype bool"),
        (lambda x: np.array([None]), TypeError, "must be an array of real numbers, got dtype object"),
        (lambda x: "weights.h5", TypeError, "must be an array of real numbers, got dtype <U10"),
        (lambda x: [[1.0], [2.0, 3.0]], TypeError, "must be an array of real numbers, got list: "),
    ],
)
def test_one_wrong_array_at_the_very_end_changes_nothing(home, wrong, error, message):
    layer, (exported, loaded) = build("GRU", seed=1, num_layers=2, bidirectional=True), HOMES[home]
    given = exported(build("GRU", seed=2, num_layers=2, bidirectional=True))
    if home == "PyTorch":
        name = "bias_hh_l1_reverse"
        given[name] = wrong(given[name])
    elif home == "Keras":
        name = "weights[1][5], bias"
        given[1][5] = wrong(given[1][5])
    else:
        name = "nodes[1]['B']"
        given[1]["B"] = wrong(given[1]["B"])
    refused(lambda: loaded(layer, given), error, name, message, unchanged=layer)


def test_a_bias_of_the_other_gru_of_keras():
    layer, other = build("GRU"), build("GRU", reset_after=False)
    refused(
        lambda: from_keras(layer, to_keras(other)),
        ValueError,
        "weights[0][2], bias with reset_after=True, must have shape (2, 12), got (12,)",
        unchanged=layer,
    )


@pytest.mark.parametrize(
    ("home", "given", "error", "message"),
    [
        ("PyTorch", None, TypeError, "state must be a mapping from names to arrays, got NoneType"),
        ("PyTorch", {}, KeyError, "state does not fit: missing ['weight_ih_l0', 'weight_hh_l0', "),
        ("Keras", {}, TypeError, "weights must be a list (a list of arrays for each layer), got dict"),
        ("Keras", [], ValueError, "weights must have 1 entries (a list of arrays for each layer), got 0"),
        (
            "Keras",
            [np.zeros((3, 16))],
            TypeError,
            "weights[0] must be a list (kernel, recurrent_kernel, bias), got ndarray",
        ),
        ("Keras", [[1, 2]], ValueError, "weights[0] must have 3 entries (kernel, recurrent_kernel, bias), got 2"),
        ("ONNX", {}, TypeError, "nodes must be a list (a mapping for each layer), got dict"),
        ("ONNX", [{}, {}], ValueError, "nodes must have 1 entries (a mapping for each layer), got 2"),
        ("ONNX", [[]], TypeError, "nodes[0] must be a mapping with W, R, B, P and attributes, got list"),
        ("ONNX", [{}], ValueError, "nodes[0] must hold W and R, got only nothing"),
        ("ONNX", [{"W": 1, "B": 2}], ValueError, "nodes[0] must hold R, got only W, B"),
        (
            "ONNX",
            [{"W": 1, "R": 1, "P": 1}],
            ValueError,
            "must hold only W, R, B, attributes for this layer, got also P",
        ),
        (
            "ONNX",
            [{"W": 1, "R": 1, "attributes": [1]}],
            TypeError,
            "nodes[0]['attributes'] must be a mapping, got list",
        ),
    ],
)
def test_what_is_not_of_the_right_form(home, given, error, message):
    layer = build("LSTM")
    refused(lambda: HOMES[home][1](layer, given), error, message, unchanged=layer)


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("option", [{"num_layers": 2}, {"bidirectional": True}, {"bias": False}, {"hidden_size": 5}])
def test_weights_of_another_layer(home, option):
    """Either way round; but a node without a bias is one with zeros."""
    _, loaded = HOMES[home]
    error = KeyError if home == "PyTorch" and "hidden_size" not in option else ValueError
    one, other = build("LSTM"), build("LSTM", **option)
    refused(lambda: loaded(other, HOMES[home][0](one)), error, unchanged=other)
    if home != "ONNX" or "bias" not in option:
        refused(lambda: loaded(one, HOMES[home][0](other)), error, unchanged=one)
