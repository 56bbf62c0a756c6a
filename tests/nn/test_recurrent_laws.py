"""What holds of every recurrent layer: equal to its equations step by step, causal, splittable, blind to padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import CELLS, assert_equal, layer_of, numbers, parts, played, state_for

from minirnn import ops
from minirnn.arrays import asarray, to_numpy, use_backend
from minirnn.checking import check_rule
from minirnn.nn.recurrent import gru_input_bias
from minirnn.rules.combinators import checkpoint, reverse, truncate, truncate_randomly
from minirnn.tape import Tensor
from minirnn.testing import strict_cupy

every_cell = pytest.mark.parametrize("cell", CELLS)
BIG = {"layers": 2, "bidirectional": True}

# The equations, operation by operation


def step_of(layer, at, x_t, h, c):
    """One step on rows, ``(B, ...)``, from the text-book equations: the new h and c."""
    W_ih, W_hh = layer._of("weight_ih", at), layer._of("weight_hh", at)
    a, b_hh = x_t @ W_ih.T + layer._of("bias_ih", at), layer._of("bias_hh", at)
    if "nonlinearity" in vars(layer):
        s = a + h @ W_hh.T + b_hh
        return (s.tanh() if layer.nonlinearity == "tanh" else s.relu()), c
    if "peepholes" in vars(layer):
        i, f, g, o = ops.split(a + h @ W_hh.T + b_hh, sections=4, axis=-1)
        p_i, p_f, p_o = layer._of("peepholes", at) if layer.peepholes else (0.0, 0.0, 0.0)
        c_new = (f + p_f * c).sigmoid() * c + (i + p_i * c).sigmoid() * g.tanh()
        h = (o + p_o * c_new).sigmoid() * c_new.tanh()
        return (h @ layer._of("weight_hr", at).T if layer.proj_size else h), c_new
    H = layer.hidden_size
    W_n, b_n = W_hh[2 * H :], b_hh[2 * H :]
    r, z = ops.split((a[:, : 2 * H] + h @ W_hh[: 2 * H].T + b_hh[: 2 * H]).sigmoid(), sections=2, axis=-1)
    inner = r * (h @ W_n.T + b_n) if layer.reset_after else (r * h) @ W_n.T + b_n
    n = (a[:, 2 * H :] + inner).tanh()
    return (1 - z) * n + z * h, c


class Unrolled:
    """A layer in one direction, written as two loops over the layer's own parameters."""

    def __init__(self, layer):
        self.layer = layer

    def __getattr__(self, name):
        return getattr(self.layer, name)

    def __call__(self, x, state, lengths=None):
        steps, lasts, states = [x[t] for t in range(x.shape[0])], [], parts(state)
        for k in range(self.layer.num_layers):
            h, c = states[0][k], states[-1][k]
            for t, x_t in enumerate(steps):
                h, c = step_of(self.layer, f"l{k}", x_t, h, c)
                steps[t] = h
            lasts.append((h, c)[: len(states)])
        ends = tuple(ops.stack(*column) for column in zip(*lasts, strict=True))
        return ops.stack(*steps), ends if len(ends) > 1 else ends[0]


@every_cell
@pytest.mark.parametrize("layers", [1, 2, 3])
@settings(max_examples=5)
@given(st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(3, 5)), st.integers(0, 999))
def test_explicit_equals_unrolled(backend, speed, cell, layers, sizes, seed):
    T, B, D, H = sizes
    layer = layer_of(cell, D, H, layers, seed=seed)
    x, state = numbers(T, B, D, seed=seed), state_for(layer, B, seed)
    assert_equal(played(layer, x, state), played(Unrolled(layer), x, state))


@pytest.mark.parametrize(("cell", "options"), [*((cell, {}) for cell in CELLS), ("lstm both", BIG)])
def test_gradients_are_those_of_complex_step(cell, options):
    layer = layer_of(cell, **options)
    rule, arrays, names = layer.as_rule(numbers(4, 3, 3), state_for(layer, 3), [4, 2, 3])
    report = check_rule(rule, arrays, names=names, max_entries=3 if options else 12)
    assert report.ok and len(report.arguments) == len(layer.parameters()) + 1 + len(layer.STATES)
    assert cell == "rnn relu" or {a.method for a in report.arguments} == {"complex"}


# States


@every_cell
def test_no_state_is_the_state_of_zeros(backend, cell):
    layer = layer_of(cell, **BIG)
    x, state = numbers(5, 2, 3), state_for(layer, 2)
    zeros = tuple(np.zeros_like(part) for part in parts(state))
    given = played(layer, x, zeros if len(zeros) > 1 else zeros[0], [5, 3])
    none = played(layer, x, None, [5, 3])
    assert_equal({name: given[name] for name in none}, none, tolerance=0)


@every_cell
@pytest.mark.parametrize("k", [1, 3, 5])
def test_splitting_and_carrying_the_state_changes_nothing(backend, cell, k):
    layer = layer_of(cell, layers=2)

    class Split(Unrolled):
        def __call__(self, x, state, lengths=None):
            first, state = self.layer(x[:k], state)
            second, state = self.layer(x[k:], state)
            return ops.concat(first, second), state

    x, state = numbers(6, 2, 3), state_for(layer, 2)
    assert_equal(played(Split(layer), x, state), played(layer, x, state), 1e-11)


@every_cell
def test_splitting_carries_lengths_too(cell):
    """A window in which a sequence has ended is refused, one in which it still runs is exact."""
    layer, x, lengths = layer_of(cell), numbers(6, 3, 3), np.array([6, 4, 5])
    whole, ends = layer(x, None, lengths)
    first, state = layer(x[:3], None, np.minimum(lengths, 3))
    second, state = layer(x[3:], state, lengths - 3)
    assert np.allclose(np.concatenate([first.numpy(), second.numpy()]), whole.numpy(), rtol=1e-12)
    for mine, other in zip(parts(state), parts(ends), strict=True):
        assert np.allclose(mine.numpy(), other.numpy(), rtol=1e-12)


# Time and batch


@every_cell
@pytest.mark.parametrize("k", range(5))
def test_causality(backend, cell, k):
    """What happens at step k asks nothing of later inputs, to the last bit, and something of earlier ones."""
    layer, x = layer_of(cell, layers=2), Tensor(numbers(5, 2, 3), requires_grad=True)
    out, _ = layer(x, state_for(layer, 2))
    out[k].backward(asarray(numbers(*out.shape[1:])))
    gradient = to_numpy(x.grad)
    assert not gradient[k + 1 :].any() and all(gradient[t].any() for t in range(k + 1))


@every_cell
@pytest.mark.parametrize("options", [{}, BIG])
def test_permuting_the_batch_permutes(backend, speed, cell, options):
    layer, order = layer_of(cell, **options), [2, 0, 3, 1]
    x, state, lengths = numbers(5, 4, 3), state_for(layer, 4), np.array([5, 2, 4, 1])

    class Shuffled(Unrolled):
        def __call__(self, x, state, lengths):
            shuffled = tuple(part[:, order] for part in parts(state))
            out, ends = self.layer(x[:, order], shuffled if len(shuffled) > 1 else shuffled[0], lengths[order])
            back = np.argsort(order)
            ends = tuple(end[:, back] for end in parts(ends))
            return out[:, back], ends if len(ends) > 1 else ends[0]

    assert_equal(played(Shuffled(layer), x, state, lengths), played(layer, x, state, lengths))


@every_cell
@pytest.mark.parametrize("lengths", [None, [5, 3]])
def test_both_directions_are_the_forward_one_on_x_and_on_x_reversed(backend, speed, cell, lengths):
    both, one, other = layer_of(cell, bidirectional=True), layer_of(cell), layer_of(cell)
    weights = both.state_dict()
    one.load_state_dict({name: weights[name] for name in one.state_dict()})
    other.load_state_dict({name: weights[f"{name}_reverse"] for name in other.state_dict()})
    ends_at = lengths or [5, 5]

    def turned(x):
        x = x.copy()
        for k, n in enumerate(ends_at):
            x[:n, k] = x[:n, k][::-1]
        return x

    x, state = numbers(5, 2, 3), state_for(both, 2)
    of = [tuple(part[k : k + 1] for part in parts(state)) for k in (0, 1)]
    out, ends = both(x, state, lengths)
    there, ends_there = one(x, of[0] if len(of[0]) > 1 else of[0][0], lengths)
    back, ends_back = other(turned(x), of[1] if len(of[1]) > 1 else of[1][0], lengths)
    n = there.shape[-1]
    assert np.array_equal(out.numpy()[..., :n], there.numpy())
    assert np.array_equal(out.numpy()[..., n:], turned(back.numpy()))
    for end, first, second in zip(parts(ends), parts(ends_there), parts(ends_back), strict=True):
        assert np.array_equal(end.numpy(), np.concatenate([first.numpy(), second.numpy()]))


# Lengths


@every_cell
@settings(max_examples=5)
@given(st.data())
def test_padding_changes_nothing(backend, speed, cell, data):
    """Neither its contents, NaN included, nor its amount: all is as for each sequence alone."""
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4), label="lengths")
    longer = max(lengths) + data.draw(st.integers(0, 2), label="more padding")
    filler = data.draw(st.sampled_from([0.0, 1e300, float("nan"), float("inf")]), label="filler")
    options = data.draw(st.sampled_from([{}, BIG, {"layers": 2, "residual": True}]), label="options")
    layer, B = layer_of(cell, **options), len(lengths)
    x, state = numbers(longer, B, 3), state_for(layer, B)
    past = np.arange(longer)[:, None] >= np.array(lengths)
    padded = np.where(past[..., None], filler, x)
    cotangent = numbers(longer, B, layer._directions * layer._sizes["h"])

    mine = played(layer, padded, state, lengths, np.where(past[..., None], 7.0, cotangent))
    assert not mine["out"][past].any() and not mine["d x"][past].any()

    class OneByOne(Unrolled):
        def __call__(self, x, state, lengths):
            outs, ends = [], []
            for k, n in enumerate(lengths):
                own = tuple(part[:, k : k + 1] for part in parts(state))
                out, end = self.layer(x[:n, k : k + 1], own if len(own) > 1 else own[0])
                outs.append(ops.pad(out, widths=((0, longer - n), (0, 0), (0, 0))))
                ends.append(parts(end))
            ends = tuple(ops.concat(*column, axis=1) for column in zip(*ends, strict=True))
            return ops.concat(*outs, axis=1), ends if len(ends) > 1 else ends[0]

    assert_equal(mine, played(OneByOne(layer), x, state, lengths, cotangent), 1e-11)


@every_cell
def test_full_lengths_are_no_lengths(backend, cell):
    layer, x = layer_of(cell, **BIG), numbers(4, 3, 3)
    assert_equal(played(layer, x, None, [4, 4, 4]), played(layer, x), 1e-13)


@pytest.mark.parametrize("lengths", [[2, 3], (2, 3), np.array([2, 3], "uint8"), Tensor([2, 3]), range(2, 4)])
def test_lengths_of_every_integer_kind(backend, lengths):
    layer, x = layer_of("gru"), numbers(3, 2, 3)
    expected = layer(x, None, [2, 3])[0].numpy()
    assert np.array_equal(layer(x, lengths=lengths)[0].numpy(), expected)
    assert not expected[2, 0].any() and expected[2, 1].all()


@every_cell
def test_tokens_looked_up_are_embeddings_projected(backend, speed, cell):
    """``run`` on the tables that ``project`` makes of embeddings is the layer on the embeddings of the same tokens."""
    layer, embeddings = layer_of(cell, **BIG), numbers(6, 3)
    ids = np.array([[1, 5, 0], [4, 4, 2], [0, 1, 5], [3, 2, 2]])
    there = asarray(ids)
    hs, ends = layer.run(layer.project(Tensor(asarray(embeddings.T))), there, None, [4, 1, 2])
    out, expected = layer(embeddings[ids], None, [4, 1, 2])
    assert np.allclose(hs.numpy().transpose(0, 2, 1), out.numpy(), rtol=1e-12, atol=1e-15)
    for mine, other in zip(parts(ends), parts(expected), strict=True):
        assert np.allclose(mine.numpy(), other.numpy(), rtol=1e-12)
    with pytest.raises(ValueError, match=r"tables must be what project\(\) returns, a tuple of 2, one per direction"):
        layer.run(layer.project(Tensor(asarray(embeddings.T)))[0], there)


# Through time


@every_cell
@pytest.mark.parametrize("lengths", [None, [7, 3]])
def test_windows_as_long_as_the_sequence_and_checkpoints_change_nothing(backend, speed, cell, lengths):
    x = numbers(7, 2, 3)
    plain, state = layer_of(cell, **BIG), state_for(layer_of(cell, **BIG), 2)
    expected = played(plain, x, state, lengths)
    for through_time in (lambda rule: truncate(rule, 7), lambda rule: checkpoint(rule, 3)):
        layer = layer_of(cell, **BIG, through_time=through_time)
        assert_equal(played(layer, x, state, lengths), expected, 1e-12)


def test_truncation_leaves_outputs_and_shortens_the_gradient(backend):
    x = Tensor(numbers(6, 2, 3), requires_grad=True)
    whole, cut = layer_of("lstm"), layer_of("lstm", through_time=lambda rule: truncate(rule, 2))
    assert np.array_equal(cut(x)[0].numpy(), whole(x)[0].numpy())
    cut(x)[0][5].sum().backward()
    assert not to_numpy(x.grad)[:4].any() and to_numpy(x.grad)[4:].all()


def test_random_truncation_cuts_elsewhere_at_every_call_and_at_the_same_places_after_seek():
    layer = layer_of("gru", through_time=lambda rule: truncate_randomly(rule, 1, 0.5))
    x = numbers(9, 2, 3)
    layer.seek(3)
    first, second = played(layer, x)["d x"], played(layer, x)["d x"]
    layer.seek(3)
    assert np.array_equal(played(layer, x)["d x"], first) and not np.array_equal(first, second)


@every_cell
def test_reversed_through_time_a_layer_is_the_other_direction(backend, cell):
    both, back, x = layer_of(cell, bidirectional=True), layer_of(cell, through_time=reverse), numbers(5, 3, 3)
    back.load_state_dict({name: both.state_dict()[f"{name}_reverse"] for name in back.state_dict()})
    out, ends = back(x, None, [5, 2, 4])
    expected, expected_ends = both(x, None, [5, 2, 4])
    assert np.array_equal(out.numpy(), expected.numpy()[..., out.shape[2] :])
    for end, of_both in zip(parts(ends), parts(expected_ends), strict=True):
        assert np.array_equal(end.numpy()[0], of_both.numpy()[1])


# Layout, dtype, backend


@every_cell
def test_layouts_are_views_of_each_other(backend, cell):
    first, last = (layer_of(cell, **BIG, batch_first=b, dtype="float32") for b in (True, False))
    x = numbers(2, 5, 3).astype("float32")
    a, ends_a = first(x, None, [5, 2])
    b, ends_b = last(x.transpose(1, 0, 2), None, [5, 2])
    assert np.array_equal(a.numpy(), b.numpy().transpose(1, 0, 2))
    for end_a, end_b in zip(parts(ends_a), parts(ends_b), strict=True):
        assert np.array_equal(end_a.numpy(), end_b.numpy())
    assert {t.dtype.name for t in (a, *parts(ends_a))} == {"float32"}


@every_cell
def test_a_layer_and_a_direction_is_one_node(cell):
    layer = layer_of(cell, bias=False, **BIG)
    out, _ = layer(numbers(4, 2, 3), None, [4, 2])
    graph = out.to_dot()
    assert graph.count("projected") == 4 and graph.count("reverse(") == 2


@every_cell
@pytest.mark.parametrize("options", [{}, {"zoneout": 0.3, "weight_drop": 0.3, "dropout": 0.3}])
def test_both_backends_agree(cell, options):
    def run():
        layer = layer_of(cell, **BIG, **options, seed=2)
        return layer.state_dict(), played(layer, numbers(5, 3, 3), state_for(layer, 3), [5, 1, 3])

    weights, host = run()
    with strict_cupy(), use_backend("cupy"):
        device_weights, device = run()
    assert_equal(device_weights, weights, tolerance=0)
    assert_equal(device, host, 1e-11)


def test_biases_of_a_gru_are_added_up_where_they_can_be():
    b_ih, b_hh = Tensor(np.arange(6.0)), Tensor(np.arange(6.0) * 10)
    assert gru_input_bias(b_ih, b_hh, reset_after=True).numpy().tolist() == [0, 11, 22, 33, 4, 5]
    assert gru_input_bias(b_ih, b_hh, reset_after=False).numpy().tolist() == [0, 11, 22, 33, 44, 55]


@pytest.mark.parametrize(("options", "expected"), [({}, 4), ({"reset_after": False}, 2), ({"bias": False}, 0)])
def test_biases_of_a_gru_are_put_together_once_a_call(options, expected):
    """At most one node for the input bias and one for b_hn, in each of two layers."""
    graph = layer_of("gru", layers=2, **options)(numbers(3, 2, 3))[0].to_dot()
    rules_of_biases = ("outside_of_reset", "add", "getitem", "split", "pad")
    made = [line for line in graph.splitlines() if any(f'"{rule}' in line for rule in rules_of_biases)]
    assert len(made) == expected, graph
