"""Dropout of every kind, zoneout, layer norm, residual connections, learned states, and initial weights."""

import numpy as np
import pytest
from recurrent_cases import CELLS, assert_equal, layer_of, numbers, parts, played, state_for

from minirnn import ops, rules
from minirnn.arrays import asarray, to_numpy, use_backend
from minirnn.checking import check_rule
from minirnn.nn import LSTM
from minirnn.nn.init import glorot, orthogonal
from minirnn.nn.layer_norm import layer_norm_gru_step, layer_norm_lstm_step, layer_norm_rnn_step
from minirnn.rules.combinators import zoneout
from minirnn.tape import Tensor
from minirnn.testing import counting, strict_cupy

NORMED = ["rnn", "rnn relu", "lstm", "lstm projection", "gru"]  # the cells that layer norm is defined for
every_cell = pytest.mark.parametrize("cell", CELLS)
normed_cell = pytest.mark.parametrize("cell", NORMED)


OPTIONS = {
    "dropout": {"layers": 2, "dropout": 0.4},
    "locked dropout": {"layers": 2, "dropout": 0.4, "locked_dropout": True},
    "weight drop": {"weight_drop": 0.4, "bidirectional": True},
    "zoneout": {"zoneout": 0.4, "bidirectional": True},
    "layer norm": {"layer_norm": True},
    "layer norm without bias": {"layer_norm": True, "bias": False, "zoneout": 0.4},
    "residual": {"layers": 2, "residual": True, "dropout": 0.3},
    "learned state": {"learned_state": True, "layers": 2},
}


CHECKED = [(cell, options) for options in ("layer norm", "layer norm without bias") for cell in NORMED]
CHECKED += [(cell, "zoneout") for cell in CELLS]
CHECKED += [
    (cell, options) for options in OPTIONS if (NORMED[0], options) not in CHECKED for cell in ("lstm both", "gru")
]


@pytest.mark.parametrize(
    ("cell", "options", "training"), [(*case, True) for case in CHECKED] + [("lstm both", "zoneout", False)]
)
def test_gradients_of_every_option_are_those_of_complex_step(cell, options, training):
    layer = layer_of(cell, **OPTIONS[options]).train(training)
    for p in layer.parameters():
        p.data = p.numpy() + 0.3 * numbers(*p.shape)  # no gain of 1, no state of 0
    inputs = (numbers(4, 2, 3),) if layer.learned_state else (numbers(4, 2, 3), state_for(layer, 2), [4, 3])
    rule, arrays, names = layer.as_rule(*inputs)
    assert check_rule(rule, arrays, names=names, max_entries=2).ok


@pytest.mark.parametrize("options", OPTIONS)
@normed_cell
def test_padding_changes_nothing_with_any_option(cell, options):
    layer, x, lengths = layer_of(cell, **OPTIONS[options]), numbers(5, 3, 3), [5, 1, 3]
    state = None if layer.learned_state else state_for(layer, 3)
    cotangent = numbers(7, 3, layer._directions * layer._sizes["h"])
    layer.seek(4)
    plain = played(layer, x, state, lengths, cotangent[:5])
    past = np.arange(7)[:, None] >= np.array(lengths)
    padded = np.where(past[..., None], np.nan, np.concatenate([x, x[:2]]))
    layer.seek(4)
    more = played(layer, padded, state, lengths, cotangent)
    assert not more["out"][past].any() and not more["d x"][past].any()
    more |= {name: more[name][:5] for name in ("out", "d x")}
    assert_equal(more, plain, 1e-13)


# Dropout between the layers


@every_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_acts_between_layers_while_training_only(backend, cell, bidirectional):
    x = numbers(6, 3, 3)
    dropped, plain = (layer_of(cell, layers=2, bidirectional=bidirectional, dropout=p, seed=1) for p in (0.5, 0.0))
    expected, ends = plain(x)
    trained, ends_trained = dropped(x)
    first = 2 if bidirectional else 1
    assert not np.allclose(trained.numpy(), expected.numpy())
    for mine, other in zip(parts(ends_trained), parts(ends), strict=True):
        assert np.array_equal(mine.numpy()[:first], other.numpy()[:first])  # the lowest layer is untouched
    assert np.array_equal(dropped.eval()(x)[0].numpy(), expected.numpy())
    single = layer_of(cell, dropout=0.5, seed=1)
    assert np.array_equal(single(x)[0].numpy(), single.eval()(x)[0].numpy())  # nothing lies between


@pytest.fixture
def dropped_to(monkeypatch):
    """What every call of dropout made of its input."""
    seen, dropout = [], ops.dropout

    def watched(x, **options):
        seen.append((x.numpy(), dropout(x, **options).numpy()))
        return dropout(x, **options)

    monkeypatch.setattr(ops, "dropout", watched)
    return seen


def test_statistics_of_the_masks(backend, dropped_to):
    lstm = LSTM(2, 20, 2, dropout=0.3, dtype="float64")
    for _ in range(2):
        lstm(numbers(30, 10, 2))
    first, second = (after != 0 for _, after in dropped_to)
    assert first.shape == (30, 20, 10)
    assert abs(first.mean() - 0.7) < 4 * (0.3 * 0.7 / first.size) ** 0.5
    assert first.mean(axis=(0, 2)).min() > 0.5  # over time and batch: no unit is lost for a whole sequence
    assert abs((first & second).mean() - 0.49) < 0.02  # the masks of two calls are independent


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "relu" not in cell])  # it makes zeros of its own
def test_locked_masks_are_the_same_at_every_step(backend, cell, dropped_to):
    layer = layer_of(cell, 3, 16, layers=3, bidirectional=True, dropout=0.5, locked_dropout=True)
    layer(numbers(6, 5, 3))
    masks = [after == 0 for _, after in dropped_to]
    assert len(masks) == 2 and not np.array_equal(*masks)
    for mask, (before, after) in zip(masks, dropped_to, strict=True):
        assert mask.shape == (6, 2 * layer._sizes["h"], 5) and 0 < mask.mean() < 1
        assert (mask == mask[0]).all() and np.allclose(after[~mask], 2 * before[~mask], rtol=1e-15)
        assert len({tuple(column) for column in mask[0].T}) > 1  # every sequence has its own


@pytest.mark.parametrize("options", ["dropout", "locked dropout", "weight drop", "zoneout"])
def test_masks_come_back_through_seek_and_differ_from_call_to_call(backend, options):
    layer, x = layer_of("gru", 3, 12, **OPTIONS[options]), numbers(6, 3, 3)
    layer.seek(7)
    first, second = layer(x)[0].numpy(), layer(x)[0].numpy()
    layer.seek(7)
    assert np.array_equal(layer(x)[0].numpy(), first) and np.array_equal(layer(x)[0].numpy(), second)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("options", ["dropout", "locked dropout", "weight drop", "zoneout", "layer norm without bias"])
def test_options_that_are_scalars_of_numpy_leave_float32_what_it_is(backend, options):
    chosen = OPTIONS[options] | {"dtype": "float32"}
    scalars = {name: np.float64(value) if isinstance(value, float) else value for name, value in chosen.items()}
    x = numbers(5, 2, 3).astype("float32")
    mine, expected = (played(layer_of("lstm", **given), x) for given in (scalars, chosen))
    assert_equal(mine, expected, tolerance=0)
    assert {value.dtype.name for value in mine.values()} == {"float32"}


# Weight drop


@every_cell
def test_weight_drop_leaves_the_weight_itself_untouched(backend, cell, dropped_to):
    layer, x = layer_of(cell, 3, 9, weight_drop=0.5, bidirectional=True), numbers(5, 2, 3)
    before = layer.state_dict()
    layer(x)[0].sum().backward()
    assert_equal(layer.state_dict(), before, tolerance=0)
    for (weight, used), name in zip(dropped_to, ("weight_hh_l0", "weight_hh_l0_reverse"), strict=True):
        kept = used != 0
        assert np.array_equal(weight, before[name]) and 0.2 < kept.mean() < 0.8
        assert np.allclose(used[kept], 2 * weight[kept], rtol=1e-15)
        assert not to_numpy(getattr(layer, name).grad)[~kept].any()
    assert not np.array_equal(dropped_to[0][1] != 0, dropped_to[1][1] != 0)
    plain = layer_of(cell, 3, 9, bidirectional=True)
    assert np.array_equal(layer.eval()(x)[0].numpy(), plain(x)[0].numpy())


@every_cell
def test_the_dropped_weight_is_the_same_at_every_step(backend, cell, dropped_to):
    layer, plain, x, state = layer_of(cell, weight_drop=0.5), layer_of(cell), numbers(5, 2, 3), None
    out, _ = layer(x, state)
    plain.weight_hh_l0.data = dropped_to[0][1]
    assert np.allclose(plain(x, state)[0].numpy(), out.numpy(), rtol=1e-14)


# Zoneout


@every_cell
def test_zoneout_of_nothing_is_the_plain_layer(cell):
    """The step with zoneout, keeping nothing, scanned: the layer without it."""
    x = numbers(5, 2, 3)
    zoned, plain = layer_of(cell, zoneout=1e-9), layer_of(cell)
    assert_equal(played(zoned, x), played(plain, x), 1e-8)
    assert "zoneout" not in plain(x)[0].to_dot() and "zoneout" in zoned(x)[0].to_dot()


STEPS = {
    "rnn": (rules.rnn_step, [(4, 3)], [(4, 4)]),
    "lstm": (rules.lstm_step, [(16, 3)], [(16, 4)]),
    "gru": (rules.gru_step, [(12, 3)], [(12, 4), (4,)]),
}


@pytest.mark.parametrize("cell", STEPS)
def test_zoneout_of_a_step_is_its_formula_and_a_right_rule(backend, cell):
    step, inputs, weights = STEPS[cell]
    n = 2 if cell == "lstm" else 1
    random = np.random.default_rng(0)
    inputs, weights = ([asarray(random.standard_normal(s)) for s in shapes] for shapes in (inputs, weights))
    prevs = [asarray(random.standard_normal((4, 3))) for _ in range(n)]
    keeps = [asarray((random.random((4, 3)) < 0.5) * 1.0) for _ in range(n)]
    states, _ = zoneout(step)(*inputs, *keeps, *prevs, *weights)
    news, _ = step(*inputs, *prevs, *weights)
    for keep, prev, new, state in zip(
        keeps, prevs, news if n > 1 else [news], states if n > 1 else [states], strict=True
    ):
        kept = to_numpy(keep) == 1
        assert np.array_equal(to_numpy(state)[kept], to_numpy(prev)[kept]) and kept.any() and not kept.all()
        assert np.array_equal(to_numpy(state)[~kept], to_numpy(new)[~kept])
    fractions = [asarray(random.random((4, 3))) for _ in range(n)]
    assert check_rule(zoneout(step), (*inputs, *fractions, *prevs, *weights)).ok


@every_cell
def test_zoneout_at_evaluation_is_the_expectation(backend, cell):
    """One step: half of the old state and half of the new, which is also the mean over many masks."""
    B = 4000
    layer, plain = layer_of(cell, zoneout=0.25), layer_of(cell)
    x, state = np.repeat(numbers(1, 1, 3), B, axis=1), state_for(plain, 1)
    state = tuple(np.repeat(part, B, axis=1) for part in parts(state))
    given = state if len(state) > 1 else state[0]
    news = [part.numpy() for part in parts(plain(x, given)[1])]
    zoned = [part.numpy() for part in parts(layer(x, given)[1])]
    expected = [part.numpy() for part in parts(layer.eval()(x, given)[1])]
    for before, new, drawn, mean in zip(state, news, zoned, expected, strict=True):
        assert np.allclose(mean, 0.25 * before + 0.75 * new, rtol=1e-13)
        kept = drawn == before
        assert np.array_equal(drawn[~kept], new[~kept]) and abs(kept.mean() - 0.25) < 0.02
        assert np.abs((drawn - mean).mean(axis=1)).max() < 0.05 * np.abs(before - new).max()


def test_h_and_c_and_both_directions_have_masks_of_their_own():
    layer = layer_of("lstm", 3, 30, zoneout=0.5, bidirectional=True)
    keeps = [k.numpy() for at in ("l0", "l0_reverse") for k in layer._keeps(at, 5, 2)]
    assert [k.shape for k in keeps] == [(5, 30, 2)] * 4
    assert len({k.tobytes() for k in keeps}) == 4 and set(np.unique(keeps)) == {0.0, 1.0}


# Layer norm


def ln(v, gain, bias):
    """The formula, of rows."""
    return gain * (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5) + bias


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@normed_cell
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_is_its_equations(backend, cell, bias):
    layer = layer_of(cell, layer_norm=True, bias=bias)
    for p in layer.parameters():
        p.data = numbers(*p.shape, seed=3)
    w = {name.removesuffix("_l0"): p.numpy() for name, p in layer.named_parameters()}
    w |= {name: w.get(name, 0.0 * w[name.replace("bias", "gain")]) for name in ("bias_ih", "bias_hh")}
    x, state = numbers(1, 2, 3), state_for(layer, 2)
    h, c = parts(state)[0][0], parts(state)[-1][0]
    a, u = x[0] @ w["weight_ih"].T, h @ w["weight_hh"].T
    if "gru" in cell:
        blocks = slice(0, 8), slice(8, 12)
        (a_rz, a_n), (u_rz, u_n) = (
            [ln(v[:, rows], w[f"gain_{name}"][rows], w[f"bias_{name}"][rows]) for rows in blocks]
            for v, name in ((a, "ih"), (u, "hh"))
        )
        r, z = np.split(sigmoid(a_rz + u_rz), 2, axis=1)
        expected = ((1 - z) * np.tanh(a_n + r * u_n) + z * h,)
    else:
        s = ln(a, w["gain_ih"], w["bias_ih"]) + ln(u, w["gain_hh"], w["bias_hh"])
        if "rnn" in cell:
            expected = (np.maximum(s, 0) if "relu" in cell else np.tanh(s),)
        else:
            i, f, g, o = np.split(s, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(ln(c, w["gain_c"], w.get("bias_c", 0.0)))
            expected = (h @ w["weight_hr"].T if layer.proj_size else h, c)
    for mine, other in zip(parts(layer(x, state)[1]), expected, strict=True):
        assert np.allclose(mine.numpy()[0], other, rtol=1e-12)


def test_steps_with_layer_norm_are_right_rules(backend):
    H, B = 4, 2
    random = np.random.default_rng(0)
    for step, gates, states, more in (
        (layer_norm_rnn_step("tanh"), 1, 1, []),
        (layer_norm_lstm_step, 4, 2, [(H,), (H,), (H, H)]),
        (layer_norm_gru_step, 3, 1, []),
    ):
        G = gates * H
        shapes = [(G, B), *[(H, B)] * states, (G, H), *[(G,)] * 4, *more]
        assert check_rule(step, [asarray(random.standard_normal(s)) for s in shapes]).ok


def test_layer_norm_names_and_first_values():
    layer = layer_of("lstm", layer_norm=True)
    gains = {name: p.numpy() for name, p in layer.named_parameters() if "gain" in name}
    assert {name: g.shape for name, g in gains.items()} == {
        "gain_ih_l0": (16,),
        "gain_hh_l0": (16,),
        "gain_c_l0": (4,),
    }
    assert all((g == 1).all() for g in gains.values()) and not layer.bias_c_l0.numpy().any()


# Residual connections and learned states


@every_cell
def test_residual_connections_by_hand(backend, cell):
    layer = layer_of(cell, layers=3, residual=True, bidirectional=True)
    weights, x = layer.state_dict(), numbers(5, 3, 3)
    lengths, ends = [5, 2, 4], []
    for k in range(3):
        one = layer_of(cell, D=x.shape[-1], bidirectional=True)
        one.load_state_dict({name: weights[name.replace("_l0", f"_l{k}")] for name in one.state_dict()})
        out, end = one(x, None, lengths)
        x = out.numpy() + x if k else out.numpy()
        ends.append([part.numpy() for part in parts(end)])
    out, end = layer(numbers(5, 3, 3), None, lengths)
    assert np.allclose(out.numpy(), x, rtol=1e-13) and not out.numpy()[2:, 1].any()
    for mine, others in zip(parts(end), zip(*ends, strict=True), strict=True):
        assert np.allclose(mine.numpy(), np.concatenate(others), rtol=1e-13)


def test_the_way_around_a_layer_is_not_dropped():
    layer = layer_of("rnn", layers=2, residual=True, dropout=0.9)
    layer.weight_ih_l1.data, layer.weight_hh_l1.data = np.zeros((4, 4)), np.zeros((4, 4))
    layer.bias_ih_l1.data, layer.bias_hh_l1.data = np.zeros(4), np.zeros(4)
    x, lowest = numbers(5, 2, 3), layer_of("rnn")
    assert np.allclose(layer(x)[0].numpy(), lowest(x)[0].numpy(), rtol=1e-15)


@every_cell
def test_a_learned_state_is_used_where_none_is_given(backend, cell):
    layer, plain = (layer_of(cell, layers=2, bidirectional=True, learned_state=learned) for learned in (True, False))
    x, state = numbers(5, 3, 3), state_for(plain, 3)
    assert not layer.initial_h.numpy().any() and layer.initial_h.shape == (4, layer._sizes["h"])
    assert np.array_equal(layer(x)[0].numpy(), plain(x)[0].numpy())
    for name in layer.STATES:
        getattr(layer, f"initial_{name}").data = numbers(4, layer._sizes[name], seed=[9, ord(name)])
    learned = tuple(getattr(layer, f"initial_{name}").numpy() for name in layer.STATES)
    spread = tuple(np.repeat(part[:, None], 3, axis=1) for part in learned)
    with_learned, spread_out = played(layer, x), played(plain, x, spread if len(spread) > 1 else spread[0])
    for name in layer.STATES:  # the gradient of the learned state is the sum over the batch
        assert np.allclose(with_learned.pop(f"d initial_{name}"), spread_out.pop(f"d {name}_0").sum(axis=1), rtol=1e-12)
    assert_equal(with_learned, spread_out)
    assert np.array_equal(layer(x, state)[0].numpy(), plain(x, state)[0].numpy())  # a given state comes first


# Initial weights


@every_cell
def test_names_shapes_and_initial_weights(cell):
    layer = layer_of(cell, 3, 4, 2, bidirectional=True, dtype="float32")
    G, P = 4 * layer.GATES, layer._sizes["h"]
    expected = {}
    for at, D in (("l0", 3), ("l0_reverse", 3), ("l1", 2 * P), ("l1_reverse", 2 * P)):
        expected |= {f"weight_ih_{at}": (G, D), f"weight_hh_{at}": (G, P), f"bias_ih_{at}": (G,), f"bias_hh_{at}": (G,)}
        expected |= {f"weight_hr_{at}": (P, 4)} if layer.proj_size else {}
        expected |= {f"peepholes_{at}": (3, 4)} if getattr(layer, "peepholes", False) else {}
    assert {name: p.shape for name, p in layer.named_parameters()} == expected
    assert all(p.name == name for name, p in layer.named_parameters())
    values = np.concatenate([p.numpy().ravel() for p in layer.parameters()])
    assert np.abs(values).max() <= 0.5 and len(np.unique(values)) == len(values) and values.dtype == np.float32
    assert abs(values.mean()) < 0.1 and abs(values.std() - 0.5 / 3**0.5) < 0.05
    assert not any("bias" in name for name, _ in layer_of(cell, bias=False).named_parameters())


@every_cell
def test_orthogonal_initial_weights(backend, cell):
    layer, H = layer_of(cell, 7, 6, layers=2, init="orthogonal"), 6
    P = layer._sizes["h"]
    for at, D in (("l0", 7), ("l1", P)):
        blocks = layer._of("weight_hh", at).numpy().reshape(-1, H, P)
        assert len(blocks) == layer.GATES and len({block.tobytes() for block in blocks}) == layer.GATES
        for block in blocks:
            assert np.allclose(block.T @ block, np.eye(P), atol=1e-14)
        W_ih = layer._of("weight_ih", at).numpy()
        bound = (6 / (H + D)) ** 0.5
        assert np.abs(W_ih).max() <= bound and abs(W_ih.std() - bound / 3**0.5) < 0.1 * bound
        assert not layer._of("bias_ih", at).numpy().any() and not layer._of("bias_hh", at).numpy().any()
        if layer.proj_size:
            W_hr = layer.weight_hr_l0.numpy()
            assert np.allclose(W_hr @ W_hr.T, np.eye(P), atol=1e-14)


def test_orthogonal_matrices_are_spread_evenly():
    """Signs of a rotation's entries are fair: QR by itself would make the diagonal negative."""
    drawn = orthogonal((400, 3, 3), 0, "many")
    assert np.abs((drawn > 0).mean(axis=0) - 0.5).max() < 0.1
    wide = orthogonal((2, 5), 0, "wide")
    assert np.allclose(wide @ wide.T, np.eye(2))
    assert 0.99 < np.abs(glorot((30, 40), 0, "w")).max() / (6 / 70) ** 0.5 <= 1


@pytest.mark.parametrize("init", ["uniform", "orthogonal"])
def test_forget_bias(init):
    layer, plain = layer_of("lstm", forget_bias=1.0, init=init), layer_of("lstm", init=init)
    total = layer.bias_ih_l0.numpy() + layer.bias_hh_l0.numpy()
    assert (total[4:8] == 1).all()
    others = [*range(4), *range(8, 16)]
    assert np.array_equal(layer.bias_ih_l0.numpy()[others], plain.bias_ih_l0.numpy()[others])


def test_a_layer_on_tensors_that_need_gradients_of_its_input_only():
    """What nobody asks for is not computed: frozen parameters get no gradient."""
    layer, x = layer_of("gru"), Tensor(numbers(4, 2, 3), requires_grad=True)
    for p in layer.parameters():
        p.requires_grad = False
    layer(x)[0].sum().backward()
    assert to_numpy(x.grad).all() and all(p.grad is None for p in layer.parameters())


@pytest.mark.parametrize("cell", ["rnn", "lstm projection", "gru"])
def test_a_training_step_with_everything_stays_float32_and_does_not_wait_for_the_device(cell):
    with strict_cupy(), use_backend("cupy"):
        layer = layer_of(
            cell,
            layers=2,
            bidirectional=True,
            dropout=0.3,
            locked_dropout=True,
            weight_drop=0.3,
            zoneout=0.3,
            layer_norm=True,
            residual=True,
            learned_state=True,
            init="orthogonal",
            dtype="float32",
        )
        x = Tensor(numbers(5, 3, 3).astype("float32"))
        with counting() as counts:
            out, ends = layer(x, None, [5, 2, 3])
            (out.sum() + parts(ends)[0].sum()).backward()
        assert counts.syncs == 0 and counts.float64_results == 0
        assert {p.grad.dtype.name for p in layer.parameters()} == {out.dtype.name} == {"float32"}
