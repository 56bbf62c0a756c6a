"""Linear, Embedding and Dropout: PyTorch's values and gradients, masks of the right statistics, bad input explained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.arrays import asarray, to_numpy, use_backend
from minirnn.nn import LSTM, Dropout, Embedding, Linear
from minirnn.tape import Tensor
from minirnn.testing import strict_cupy


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


# Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (1,), (4,), (2, 3), (2, 0), (2, 1, 3)])
def test_linear_is_torchs(backend, leading, bias):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Linear(3, 5, bias=bias, dtype=torch.float64)
    ours = Linear(3, 5, bias=bias, dtype="float64")
    ours.load_state_dict(theirs.state_dict())
    x, cotangent = numbers(*leading, 3), numbers(*leading, 5, seed=1)
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    assert np.allclose(y.numpy(), z.detach().numpy(), rtol=0, atol=1e-13) and y.shape == (*leading, 5)
    y.backward(asarray(cotangent))
    z.backward(torch.tensor(cotangent))
    assert np.allclose(to_numpy(a.grad), b.grad.numpy(), rtol=0, atol=1e-13)
    for name, parameter in ours.named_parameters():
        expected = getattr(theirs, name).grad.numpy()
        assert np.allclose(to_numpy(parameter.grad), expected, rtol=0, atol=1e-13), name


def test_initial_weights_are_uniform_within_the_bound(backend):
    layer = Linear(100, 200, seed=0)
    for parameter in layer.parameters():
        w = parameter.numpy()
        assert np.abs(w).max() <= 0.1 and abs(w.mean()) < 0.01 and abs(w.std() - 0.1 / 3**0.5) < 0.005
        assert w.dtype == np.float32
    assert not np.array_equal(layer.weight.numpy(), Linear(100, 200, seed=1).weight.numpy())
    assert np.array_equal(layer.weight.numpy(), Linear(100, 200, seed=0).weight.numpy())


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.ones((2, 4), "float32"), ValueError, r"x must have shape \(n0, 3\), got \(2, 4\)"),
        (np.ones(2, "float32"), ValueError, r"x must have shape \(3\), got \(2,\)"),
        (np.float32(1), ValueError, r"x must have shape \(3\), got \(\)"),
        (
            np.ones((2, 3)),
            TypeError,
            r"x must have the dtype of the weights, float32, got float64; convert it, or build",
        ),
        (np.ones((2, 3), "int64"), TypeError, "x must have the dtype of the weights, float32, got int64"),
        ("abc", TypeError, "x: data must be numbers"),
        (None, TypeError, "x: data must be numbers"),
        ([[1, 2], [3]], TypeError, "x: data must be numbers"),
    ],
)
def test_linear_explains_bad_input(x, error, words):
    with pytest.raises(error, match=words):
        Linear(3, 2)(x)


def test_the_pair_of_a_recurrent_layer_is_no_input():
    pair = LSTM(3, 3)(np.ones((2, 1, 3), "float32"))
    for layer in (Linear(3, 2), LSTM(3, 2)):
        with pytest.raises(
            TypeError, match=r"x: .* a tuple of tensors; of a recurrent layer's \(output, state\) pass on"
        ):
            layer(pair)


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True])
@pytest.mark.parametrize("name", ["in_features", "out_features"])
def test_linear_explains_bad_sizes(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer, got {value!r}"):
        Linear(**{"in_features": 3, "out_features": 2, name: value})


def test_sizes_and_flags_of_layers_are_pythons_own():
    layer, table = Linear(np.uint8(200), np.uint8(3), seed=0), Embedding(np.uint8(200), np.int8(3))
    assert layer.weight.shape == (3, 200) and table.weight.shape == (200, 3)
    assert np.array_equal(layer.weight.numpy(), Linear(200, 3, seed=0).weight.numpy())
    with pytest.raises(TypeError, match="bias must be True or False, got 'no'"):
        Linear(3, 2, bias="no")


@pytest.mark.parametrize("dtype", ["float16", "longdouble", ">f4", ">f8"])
def test_only_a_dtype_that_a_layer_can_have_is_offered(dtype):
    with pytest.raises(TypeError, match=r"x must have the dtype of the weights, float32, got .*; convert it$"):
        Linear(3, 2)(np.ones((2, 3), dtype))
    with pytest.raises(TypeError, match=r"got float32; convert it, or build the layer with dtype='float32'$"):
        Linear(3, 2, dtype="float64")(np.ones((2, 3), "float32"))


@pytest.mark.parametrize("layer", [lambda d: Linear(2, 2, dtype=d), lambda d: Embedding(2, 2, dtype=d)])
@pytest.mark.parametrize("dtype", ["int64", "float16", "banana", None])
def test_layers_explain_bad_dtypes(layer, dtype):
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got"):
        layer(dtype)


# Embedding


@given(st.integers(1, 6), st.sampled_from([(1,), (7,), (2, 5), (2, 1, 3), ()]))
def test_embedding_is_torchs(backend, V, shape):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Embedding(V, 4, dtype=torch.float64)
    ours = Embedding(V, 4, dtype="float64")
    ours.load_state_dict(theirs.state_dict())
    ids = np.random.default_rng(V).integers(0, V, shape)
    cotangent = numbers(*shape, 4)
    y, z = ours(ids), theirs(torch.tensor(ids))
    assert np.array_equal(y.numpy(), z.detach().numpy()) and y.shape == (*shape, 4)
    y.backward(asarray(cotangent))
    z.backward(torch.tensor(cotangent))
    assert np.allclose(to_numpy(ours.weight.grad), theirs.weight.grad.numpy(), rtol=0, atol=1e-13)


def test_embedding_starts_as_standard_normal():
    w = Embedding(300, 40).weight.numpy()
    assert abs(w.mean()) < 0.03 and abs(w.std() - 1) < 0.02


@pytest.mark.parametrize(
    "ids", [[0, 2], np.array([0, 2], "uint8"), Tensor([0, 2]), range(0, 3, 2), np.array([0, 2], "i4")]
)
def test_ids_of_every_integer_kind(ids):
    layer = Embedding(3, 2)
    assert np.array_equal(layer(ids).numpy(), layer.weight.numpy()[[0, 2]])


BAD_IDS = [
    ([0, 3], IndexError, r"ids must lie in 0..2, got 3 at index \(1,\)"),
    ([[0], [-1]], IndexError, r"ids must lie in 0..2, got -1 at index \(1, 0\)"),
    ([2**31], IndexError, r"ids must lie in 0..2, got 2147483648"),
    (np.array([2**63 + 1], "uint64"), IndexError, r"ids must lie in 0..2, got 9223372036854775809"),
    ([0.0], TypeError, "ids must be integers, got dtype float64"),
    ([True], TypeError, "ids must be integers, got dtype bool"),
    (["a"], TypeError, "ids must be integers, got dtype <U1"),
    (None, TypeError, "ids must be integers, got dtype object"),
    (np.zeros((2, 0), int), ValueError, "ids must be a non-empty array"),
]


@pytest.mark.parametrize(("ids", "error", "words"), BAD_IDS)
def test_embedding_explains_bad_ids(backend, ids, error, words):
    layer = Embedding(3, 2)
    before = layer.weight.numpy()
    with pytest.raises(error, match=words):
        layer(ids)
    assert np.array_equal(layer.weight.numpy(), before)


# Dropout


def test_dropout_masks_and_scales(backend):
    x = Tensor(np.full((100, 100), 3.0), requires_grad=True)
    y = Dropout(0.25, seed=1)(x)
    kept = y.numpy() != 0
    assert abs(kept.mean() - 0.75) < 4 * (0.25 * 0.75 / kept.size) ** 0.5
    assert abs(kept.mean(axis=0) - 0.75).max() < 0.25  # no column is dropped as a whole
    assert np.allclose(y.numpy()[kept], 4.0, rtol=1e-15)
    y.backward(asarray(np.ones((100, 100))))
    assert np.allclose(to_numpy(x.grad), kept / 0.75, rtol=1e-15)


def test_dropout_draws_a_new_mask_each_time_and_none_in_eval(backend):
    layer, x = Dropout(0.5), np.ones((8, 8), "float32")
    first, second = layer(x).numpy(), layer(x).numpy()
    assert first.dtype == np.float32 and not np.array_equal(first, second)
    layer.eval()
    assert isinstance(layer(x), Tensor) and np.array_equal(layer(x).numpy(), x)
    layer.train().seek(0)
    assert np.array_equal(layer(x).numpy(), first)
    assert np.array_equal(Dropout(0)(x).numpy(), x)
    assert not np.array_equal(Dropout(0.5, seed=1)(x).numpy(), first)


def test_masks_are_the_same_on_both_backends():
    def masks():
        layer = Dropout(0.3, seed=4)
        return [layer(Tensor(np.ones((5, 6)))).numpy() for _ in range(3)]

    host = masks()
    with strict_cupy(), use_backend("cupy"):
        device = masks()
    assert all(np.array_equal(a, b) for a, b in zip(host, device, strict=True))


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, "0.5", None, float("nan")])
def test_dropout_explains_bad_probabilities(p):
    with pytest.raises(ValueError, match=r"p must be a number from 0 to below 1, got"):
        Dropout(p)
