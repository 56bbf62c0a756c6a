"""What each rule computes: NumPy's values or a naive reference's, at ordinary points."""

import itertools

import numpy as np
import pytest
from calling import gradients, value

from minirnn import rules
from minirnn.arrays import asarray, home_of, to_numpy
from minirnn.testing import saved_bytes, strict_cupy

X = np.random.default_rng(0).normal(size=(2, 3, 4))
Y = np.random.default_rng(1).normal(size=(3, 1))
POSITIVE = np.abs(X) + 0.1


def softmax(x, axis):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


EXAMPLES = {
    "abs": (rules.abs, (X,), {}, np.abs(X)),
    "add": (rules.add, (X, Y), {}, X + Y),
    "astype": (rules.astype, (X,), {"dtype": "float32"}, X.astype("float32")),
    "broadcast_to": (rules.broadcast_to, (Y,), {"shape": (2, 3, 4)}, np.broadcast_to(Y, (2, 3, 4))),
    "clip": (rules.clip, (X,), {"min": -0.5, "max": 0.2}, np.clip(X, -0.5, 0.2)),
    "concat": (rules.concat, (X, X[:, :1]), {"axis": 1}, np.concatenate([X, X[:, :1]], 1)),
    "divide": (rules.divide, (X, Y), {}, X / Y),
    "exp": (rules.exp, (X,), {}, np.exp(X)),
    "expand_dims": (rules.expand_dims, (X,), {"axis": (0, -1)}, X[None, ..., None]),
    "flip": (rules.flip, (X,), {"axis": (0, -1)}, X[::-1, :, ::-1]),
    "getitem": (rules.getitem, (X,), {"index": (0, slice(None, None, -2))}, X[0, ::-2]),
    "log": (rules.log, (POSITIVE,), {}, np.log(POSITIVE)),
    "log_softmax": (rules.log_softmax, (X,), {"axis": 1}, np.log(softmax(X, 1))),
    "logsumexp": (rules.logsumexp, (X,), {"axis": (0, 2)}, np.log(np.exp(X).sum((0, 2)))),
    "max": (rules.max, (X,), {"axis": -1}, X.max(-1)),
    "maximum": (rules.maximum, (X, Y), {}, np.maximum(X, Y)),
    "mean": (rules.mean, (X,), {"axis": (0, -1), "keepdims": True}, X.mean((0, -1), keepdims=True)),
    "mean_squared_error": (rules.mean_squared_error, (X, X[::-1]), {}, np.mean((X - X[::-1]) ** 2)),
    "min": (rules.min, (X,), {}, X.min()),
    "minimum": (rules.minimum, (X, Y), {}, np.minimum(X, Y)),
    "multiply": (rules.multiply, (X, Y), {}, X * Y),
    "negative": (rules.negative, (X,), {}, -X),
    "pad": (rules.pad, (Y,), {"widths": ((1, 0), (0, 2)), "value": 7}, np.pad(Y, ((1, 0), (0, 2)), constant_values=7)),
    "power": (rules.power, (POSITIVE, Y), {}, POSITIVE**Y),
    "relu": (rules.relu, (X,), {}, np.where(X > 0, X, 0)),
    "reshape": (rules.reshape, (X,), {"shape": (4, -1)}, X.reshape(4, -1)),
    "sigmoid": (rules.sigmoid, (X,), {}, 1 / (1 + np.exp(-X))),
    "softmax": (rules.softmax, (X,), {"axis": 0}, softmax(X, 0)),
    "sqrt": (rules.sqrt, (POSITIVE,), {}, np.sqrt(POSITIVE)),
    "squeeze": (rules.squeeze, (Y,), {"axis": -1}, Y[:, 0]),
    "stack": (rules.stack, (X, -X), {"axis": -1}, np.stack([X, -X], -1)),
    "std": (rules.std, (X,), {"axis": (0, 1), "ddof": 1}, X.std((0, 1), ddof=1)),
    "subtract": (rules.subtract, (X, Y), {}, X - Y),
    "sum": (rules.sum, (X,), {"axis": 1}, X.sum(1)),
    "swapaxes": (rules.swapaxes, (X,), {"axis1": 0, "axis2": -1}, X.swapaxes(0, -1)),
    "take": (rules.take, (X, np.array([[2, 0], [2, 2]])), {"axis": 1}, X[:, [[2, 0], [2, 2]]]),
    "tanh": (rules.tanh, (X,), {}, np.tanh(X)),
    "transpose": (rules.transpose, (X,), {"axes": (1, -1, 0)}, X.transpose(1, 2, 0)),
    "var": (rules.var, (X,), {"axis": (0, 1), "ddof": 1}, X.var((0, 1), ddof=1)),
    "where": (rules.where, (X > 0, X, Y), {}, np.where(X > 0, X, Y)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_value_is_numpys(backend, name):
    rule, inputs, static, expected = EXAMPLES[name]
    np.testing.assert_allclose(value(rule, *inputs, **static), expected, rtol=1e-12, atol=1e-14)


def test_split_is_numpys(backend):
    for sections in (2, [1, 1, 3]):
        parts = value(rules.split, X, sections=sections, axis=-1)
        for part, expected in zip(parts, np.split(X, sections, axis=-1), strict=True):
            np.testing.assert_array_equal(part, expected)


def test_move_copies_there_and_back():
    with strict_cupy():
        for home, other in itertools.permutations(("numpy", "cupy")):
            x = asarray(X, backend=home)
            y, pullback = rules.move(x, backend=other)
            (dx,) = pullback(y)
            assert (home_of(y), home_of(dx)) == (other, home)
            np.testing.assert_array_equal(to_numpy(dx), X)


def test_layer_norm_standardises_then_scales_and_shifts(backend):
    weight, bias = np.arange(1.0, 4), np.arange(3.0)
    y = value(rules.layer_norm, X, weight, bias, axis=1)
    u = (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, weight[:, None] * u + bias[:, None], rtol=1e-12)


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        (rules.layer_norm, {"eps": np.float64(1e-5)}),
        (rules.var, {"ddof": np.int64(1)}),
        (rules.std, {"ddof": np.float64(1)}),
        (rules.dot_scores, {"scale": np.float64(0.5)}),
    ],
    ids=["layer_norm", "var", "std", "dot_scores"],
)
def test_a_setting_that_is_a_number_of_numpys_leaves_single_precision_as_it_is(backend, rule, settings):
    x = asarray(X.astype("float32"))
    more = {rules.layer_norm: (x[0, 0], x[0, 0]), rules.dot_scores: (x,)}.get(rule, ())
    y, pullback = rule(x, *more, **settings)
    assert {array.dtype.name for array in (y, *pullback(y))} == {"float32"}


def test_affine_multiplies_columns(backend):
    W, b = np.random.default_rng(2).normal(size=(5, 3)), np.arange(5.0)
    np.testing.assert_allclose(value(rules.affine, X, W, b), np.einsum("fd,tdb->tfb", W, X) + b[:, None], rtol=1e-12)
    np.testing.assert_allclose(value(rules.affine, X[0], W), W @ X[0], rtol=1e-12)


def test_an_argument_left_out_has_no_gradient(backend):
    _, pullback = rules.affine(*map(asarray, (X[0], np.ones((5, 3)))))
    assert [dx is None for dx in pullback(asarray(np.ones((5, 4))))] == [False, False, True]
    _, pullback = rules.cross_entropy(asarray(X[0]), asarray(np.array([1, 0, 3])))
    assert [dx is None for dx in pullback(asarray(1.0))] == [False, True, True, True]


@pytest.mark.parametrize(("left", "right"), list(itertools.product(range(1, 5), repeat=2)))
def test_matmul_is_numpys_for_every_pair_of_ranks(backend, left, right):
    x = np.random.default_rng(left).normal(size=(2, 1, 3, 4)[-left:])
    y = np.random.default_rng(right).normal(size=(1, 3, 4, 2)[-right:] if right > 1 else 4)
    np.testing.assert_allclose(value(rules.matmul, x, y), x @ y, rtol=1e-12)
    for dx, z in zip(gradients(rules.matmul, x, y), (x, y), strict=True):
        assert dx.shape == z.shape
    # the gradient of sum(x @ y) by every element, from products with ones in place of the other factor
    dx, dy = gradients(rules.matmul, x, y)
    np.testing.assert_allclose((dx * x).sum(), (x @ y).sum(), rtol=1e-10)
    np.testing.assert_allclose((dy * y).sum(), (x @ y).sum(), rtol=1e-10)


def test_dropout_drops_about_p_and_keeps_the_mean(backend):
    y = value(rules.dropout, np.ones((100, 100)), p=0.25, seed=3)
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert abs(y.mean() - 1) < 0.03


def test_dropout_depends_on_seed_stream_and_step_only(backend):
    def drop(**other):
        return value(rules.dropout, np.ones(50), **({"p": 0.5, "seed": 1, "stream": "a", "step": 2} | other))

    np.testing.assert_array_equal(drop(), drop())
    for other in ({"seed": 2}, {"stream": "b"}, {"step": 3}):
        assert (drop() != drop(**other)).any()


def test_dropout_of_everything_and_of_nothing(backend):
    np.testing.assert_array_equal(value(rules.dropout, X, p=0.0, seed=0), X)
    np.testing.assert_array_equal(value(rules.dropout, X, p=1.0, seed=0), 0 * X)


def test_pullbacks_keep_masks_and_factors_and_no_more():
    x, y = (np.random.default_rng(seed).normal(size=(8, 16)) for seed in (3, 4))

    def saved(rule, *inputs, **static):
        return saved_bytes(rule(*inputs, **static)[1])

    assert saved(rules.clip, x, min=-1.0, max=1.0) == x.size
    assert saved(rules.maximum, x, y) == saved(rules.minimum, x, y) == 2 * x.size
    assert saved(rules.divide, x, y, wanted=(True, False)) == y.nbytes
    assert saved(rules.divide, x, y, wanted=(False, True)) == 2 * y.nbytes


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_p_that_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match=f"p must lie between 0 and 1, got {p}"):
        rules.dropout(X, p=p, seed=0)
