"""The LSTM against its own equations unrolled on the tape, the laws of sequences, its dropout, and bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import ops
from minirnn.arrays import asarray, to_numpy, use_backend
from minirnn.nn import LSTM
from minirnn.tape import Tensor
from minirnn.testing import strict_cupy


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def unrolled(lstm, x, h_0, c_0):
    """The same stack, gate by gate and step by step: equations (1) to (4) as operations on the tape."""
    steps, h_n, c_n = list(x), [], []
    for layer in range(lstm.num_layers):
        W_ih, W_hh = (getattr(lstm, f"weight_{kind}_l{layer}") for kind in ("ih", "hh"))
        b = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        h, c, hs = h_0[layer], c_0[layer], []
        for x_t in steps:
            a = ops.matmul(x_t, W_ih.T) + ops.matmul(h, W_hh.T) + b
            i, f, g, o = ops.split(a, sections=4, axis=-1)
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            h = ops.sigmoid(o) * ops.tanh(c)
            hs.append(h)
        steps = hs
        h_n.append(h)
        c_n.append(c)
    return ops.stack(*steps), (ops.stack(*h_n), ops.stack(*c_n))


@pytest.mark.parametrize("layers", [1, 2, 3])
@given(st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5)), st.integers(0, 999))
def test_explicit_equals_unrolled(backend, layers, sizes, seed):
    T, B, D, H = sizes
    lstm = LSTM(D, H, layers, dtype="float64", seed=seed)
    inputs = [numbers(T, B, D, seed=seed), *(numbers(layers, B, H, seed=seed + k) for k in (1, 2))]
    results = []
    for forward in (lambda x, h, c: lstm(x, (h, c)), lambda x, h, c: unrolled(lstm, x, h, c)):
        lstm.zero_grad()
        tensors = [Tensor(a, requires_grad=True) for a in inputs]
        out, (h_n, c_n) = forward(*tensors)
        outputs = (out, h_n, c_n)
        sum((t * asarray(numbers(*t.shape, seed=k))).sum() for k, t in enumerate(outputs)).backward()
        gradients = [to_numpy(t.grad) for t in (*tensors, *lstm.parameters())]
        results.append([t.numpy() for t in outputs] + gradients)
    for mine, other in zip(*results, strict=True):
        assert np.abs(mine - other).max() <= 1e-12 * max(1, np.abs(other).max())


def test_no_state_is_the_state_of_zeros(backend):
    lstm, x, zeros = LSTM(3, 4, 2, dtype="float64"), numbers(5, 2, 3), np.zeros((2, 2, 4))
    results = []
    for state in (None, (zeros, zeros), [Tensor(zeros), Tensor(zeros)]):
        lstm.zero_grad()
        out, (h_n, c_n) = lstm(x, state)
        (out.sum() + (h_n * c_n).sum()).backward()
        results.append([out.numpy(), h_n.numpy(), c_n.numpy(), *(to_numpy(p.grad) for p in lstm.parameters())])
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_splitting_and_carrying_the_state_changes_nothing(backend, k):
    lstm, state = LSTM(3, 4, 2, dtype="float64"), (numbers(2, 2, 4, seed=1), numbers(2, 2, 4, seed=2))
    x = Tensor(numbers(6, 2, 3), requires_grad=True)
    results = []
    for cuts in (((0, 6),), ((0, k), (k, 6))):
        lstm.zero_grad()
        x.grad, carried, parts = None, state, []
        for start, stop in cuts:
            out, carried = lstm(x[start:stop], carried)
            parts.append(out)
        out, (h_n, c_n) = ops.concat(*parts), carried
        ((out * asarray(numbers(6, 2, 4))).sum() + (h_n * h_n).sum() + c_n.sum()).backward()
        results.append([out.numpy(), c_n.numpy(), to_numpy(x.grad), *(to_numpy(p.grad) for p in lstm.parameters())])
    for whole, split in zip(*results, strict=True):
        assert np.allclose(split, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("k", range(5))
def test_causality(backend, k):
    """What happens at step k asks nothing of later inputs, to the last bit, and something of every earlier one."""
    x = Tensor(numbers(5, 2, 3), requires_grad=True)
    out, _ = LSTM(3, 4, 2, dtype="float64")(x, (numbers(2, 2, 4), numbers(2, 2, 4, seed=1)))
    out[k].backward(asarray(numbers(2, 4)))
    gradient = to_numpy(x.grad)
    assert not gradient[k + 1 :].any() and gradient[: k + 1].all()


def test_columns_of_the_batch_are_independent(backend):
    lstm, x, order = LSTM(3, 4, dtype="float64"), numbers(5, 4, 3), [2, 0, 3, 1]
    out, permuted = lstm(x)[0].numpy(), lstm(x[:, order])[0].numpy()
    assert np.allclose(out[:, order], permuted, rtol=1e-13)


def test_layouts_are_views_of_each_other(backend):
    first, last = LSTM(3, 4, 2, batch_first=True, seed=3), LSTM(3, 4, 2, seed=3)
    x = numbers(2, 5, 3).astype("float32")
    a, (h_a, c_a) = first(x)
    b, (h_b, c_b) = last(x.transpose(1, 0, 2))
    assert np.array_equal(a.numpy(), b.numpy().transpose(1, 0, 2))
    assert np.array_equal(h_a.numpy(), h_b.numpy()) and np.array_equal(c_a.numpy(), c_b.numpy())
    assert {t.dtype.name for t in (a, h_a, c_a)} == {"float32"}


def test_names_shapes_and_initial_weights():
    lstm = LSTM(3, 4, 2)
    shapes = {name: p.shape for name, p in lstm.named_parameters()}
    assert shapes == {
        "weight_ih_l0": (16, 3),
        "weight_hh_l0": (16, 4),
        "bias_ih_l0": (16,),
        "bias_hh_l0": (16,),
        "weight_ih_l1": (16, 4),
        "weight_hh_l1": (16, 4),
        "bias_ih_l1": (16,),
        "bias_hh_l1": (16,),
    }
    values = np.concatenate([p.numpy().ravel() for p in lstm.parameters()])
    assert np.abs(values).max() <= 0.5 and len(np.unique(values)) == len(values) and values.dtype == np.float32
    assert len(LSTM(3, 4, 2, bias=False).parameters()) == 4


# Dropout between the layers


def test_dropout_acts_between_layers_while_training_only(backend):
    x = numbers(6, 3, 4)
    lstm, plain = (LSTM(4, 5, 2, dropout=p, dtype="float64", seed=1) for p in (0.5, 0.0))
    expected, (h_n, _) = plain(x)
    trained, (h_trained, _) = lstm(x)
    assert not np.allclose(trained.numpy(), expected.numpy())
    assert np.array_equal(h_trained.numpy()[0], h_n.numpy()[0])  # the lowest layer is untouched
    assert np.array_equal(lstm.eval()(x)[0].numpy(), expected.numpy())
    single = LSTM(4, 5, 1, dropout=0.5, dtype="float64", seed=1)
    assert np.array_equal(single(x)[0].numpy(), single.eval()(x)[0].numpy())  # nothing lies between


def test_statistics_of_the_masks(backend, monkeypatch):
    kept, dropout = [], ops.dropout

    def watched(hs, **options):
        dropped = dropout(hs, **options)
        kept.append(dropped.numpy() != 0)
        return dropped

    monkeypatch.setattr(ops, "dropout", watched)
    lstm = LSTM(2, 20, 2, dropout=0.3, dtype="float64")
    for _ in range(2):
        lstm(numbers(30, 10, 2))
    first, second = kept
    assert first.shape == (30, 20, 10)
    assert abs(first.mean() - 0.7) < 4 * (0.3 * 0.7 / first.size) ** 0.5
    assert first.mean(axis=(0, 2)).min() > 0.5  # over time and batch: no unit is lost for a whole sequence
    assert abs((first & second).mean() - 0.49) < 0.02  # the masks of two calls are independent


def test_masks_come_back_through_seek(backend):
    lstm, x = LSTM(4, 5, 3, dropout=0.5, seed=2), numbers(6, 3, 4).astype("float32")
    lstm.seek(7)
    first, second = lstm(x)[0].numpy(), lstm(x)[0].numpy()
    lstm.seek(7)
    assert np.array_equal(lstm(x)[0].numpy(), first) and np.array_equal(lstm(x)[0].numpy(), second)
    assert not np.array_equal(first, second)


def test_outputs_masks_and_weights_agree_on_both_backends():
    def run():
        lstm = LSTM(4, 5, 3, dropout=0.5, seed=2)
        return [lstm(numbers(6, 3, 4).astype("float32"))[0].numpy(), *lstm.state_dict().values()]

    host = run()
    with strict_cupy(), use_backend("cupy"):
        device = run()
    assert np.allclose(host[0], device[0], atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(host[1:], device[1:], strict=True))


# Bad input


X = np.ones((5, 2, 3), "float32")
H = np.ones((2, 2, 4), "float32")


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
        (X[..., :2].astype("complex64"), ValueError, r"x must have shape \(T, B, 3\), got \(5, 2, 2\)"),
        ("text", TypeError, "x: data must be numbers"),
        (None, TypeError, "x: data must be numbers"),
    ],
)
def test_bad_input_is_explained(x, error, words):
    with pytest.raises(error, match=words):
        LSTM(3, 4, 2)(x)


def test_bad_batch_first_input_is_explained():
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, 3\), got \(5, 2, 2\)"):
        LSTM(3, 4, 2, batch_first=True)(X[..., :2])
    with pytest.raises(ValueError, match=r"h_0 must have shape \(2, 5, 4\), got \(2, 2, 4\)"):
        LSTM(3, 4, 2, batch_first=True)(X, (H, H))


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ((H[:1], H), ValueError, r"h_0 must have shape \(2, 2, 4\), got \(1, 2, 4\)"),
        ((H, H[:, :1]), ValueError, r"c_0 must have shape \(2, 2, 4\), got \(2, 1, 4\)"),
        ((H, H[..., :3]), ValueError, r"c_0 must have shape \(2, 2, 4\), got \(2, 2, 3\)"),
        ((H[0], H), ValueError, r"h_0 must have shape \(2, 2, 4\), got \(2, 4\)"),
        ((H.astype("float64"), H), TypeError, "h_0 must have the dtype of the weights, float32, got float64"),
        ((H, H.astype(int)), TypeError, "c_0 must have the dtype of the weights, float32, got int64"),
        ((H, None), TypeError, "c_0: data must be numbers"),
        (H, ValueError, r"state must be a pair \(h_0, c_0\), got ndarray"),
        (Tensor(H), ValueError, r"state must be a pair \(h_0, c_0\), got Tensor"),
        ((H,), ValueError, r"state must be a pair \(h_0, c_0\), got"),
        ((H, H, H), ValueError, r"state must be a pair \(h_0, c_0\), got"),
        ("hc", ValueError, r"state must be a pair \(h_0, c_0\), got str"),
    ],
)
def test_bad_state_is_explained(state, error, words):
    lstm = LSTM(3, 4, 2)
    before = lstm.state_dict()
    with pytest.raises(error, match=words):
        lstm(X, state)
    assert all(np.array_equal(a, before[name]) for name, a in lstm.state_dict().items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_size": 0}, "input_size must be a positive integer, got 0"),
        ({"hidden_size": 2.5}, "hidden_size must be a positive integer, got 2.5"),
        ({"num_layers": -1}, "num_layers must be a positive integer, got -1"),
        ({"dropout": 1.0}, r"dropout must be a number from 0 to below 1, got 1.0"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, got 'float16'"),
        ({"seed": -1}, "seed must be an integer that is not negative, got -1"),
    ],
)
def test_bad_options_are_explained(options, words):
    with pytest.raises(ValueError, match=words):
        LSTM(**{"input_size": 3, "hidden_size": 4, **options})


def test_a_state_on_another_backend_is_refused():
    with strict_cupy():
        h = Tensor(H).to("cupy")
        with pytest.raises(TypeError, match=r"different places .*numpy.*cupy"):
            LSTM(3, 4, 2)(X, (h, h))
