"""Rules at the edges: large numbers, ties, kinks, NaN, nothing at all, and arguments that do not fit."""

import re

import numpy as np
import pytest
from calling import gradients, value

from minirnn import rules
from minirnn.arrays import asarray, to_numpy

X = np.random.default_rng(0).normal(size=(2, 3, 4))


def test_large_numbers_overflow_nowhere(backend):
    x = np.array([-1e4, 0.0, 1e4])
    np.testing.assert_array_equal(value(rules.softmax, x), [0, 0, 1])
    np.testing.assert_array_equal(value(rules.log_softmax, x), [-2e4, -1e4, 0])
    np.testing.assert_array_equal(value(rules.logsumexp, x), 1e4)
    np.testing.assert_array_equal(value(rules.sigmoid, x), [0, 0.5, 1])
    for target, loss in ((0, 2e4), (2, 0.0)):
        np.testing.assert_array_equal(value(rules.cross_entropy, x, np.array(target)), loss)
        assert np.isfinite(gradients(rules.cross_entropy, x, np.array(target))[0]).all()


@pytest.mark.parametrize("rule", [rules.softmax, rules.log_softmax, rules.logsumexp])
def test_a_probability_of_zero_is_no_special_case(backend, rule):
    x = np.array([-np.inf, 0.0, 1.0])
    expected = value(rule, x[1:])
    np.testing.assert_allclose(value(rule, x)[-expected.size :] if expected.ndim else value(rule, x), expected)
    assert np.isfinite(gradients(rule, x)[0]).all()


def test_logsumexp_of_infinities(backend):
    x = np.array([[-np.inf, -np.inf], [-np.inf, 0.5]])
    np.testing.assert_array_equal(value(rules.logsumexp, x, axis=1), [-np.inf, 0.5])
    np.testing.assert_array_equal(gradients(rules.logsumexp, x, axis=1)[0], [[0, 0], [0, 1]])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(value(rules.logsumexp, np.array([0.0, np.inf])), np.inf)


def test_sigmoid_is_exact_to_the_smallest_numbers(backend):
    for dtype, end in (("float32", -87), ("float64", -708)):
        x = np.linspace(end, -end, 101).astype(dtype)
        exact, eps = 1 / (1 + np.exp(-x.astype(np.longdouble))), np.finfo(dtype).eps
        y, dx = value(rules.sigmoid, x), gradients(rules.sigmoid, x)[0]
        np.testing.assert_allclose(y, exact, rtol=4 * eps)
        np.testing.assert_allclose(dx, exact * (1 / (1 + np.exp(x.astype(np.longdouble)))), rtol=8 * eps)
    np.testing.assert_array_equal(value(rules.sigmoid, np.array([-np.inf, np.inf])), [0, 1])


@pytest.mark.parametrize(
    ("rule", "arrays", "static"),
    [
        (rules.relu, [[-1.0, 1.0]], {}),
        (rules.clip, [[-1.0, 1.0]], {"min": 0.0}),
        (rules.maximum, [[-1.0, 1.0], [0.0, 0.0]], {}),
        (rules.minimum, [[1.0, -1.0], [0.0, 0.0]], {}),
        (rules.max, [[-1.0, 1.0]], {}),
        (rules.min, [[1.0, -1.0]], {}),
    ],
)
def test_what_did_not_win_is_asked_for_nothing_be_it_infinitely_much(backend, rule, arrays, static):
    """As of ``sqrt(relu(x))`` below 0, whose first half has an infinite derivative there."""
    y, pullback = rule(*(asarray(np.array(x)) for x in arrays), **static)
    dx = to_numpy(pullback(asarray(np.full(y.shape, np.inf)))[0])
    np.testing.assert_array_equal(dx, [0, np.inf])


def test_what_was_not_chosen_is_asked_for_nothing(backend):
    chosen = asarray(np.array([True, False]))
    _, pullback = rules.where(chosen, *(asarray(np.ones(2)) for _ in range(2)))
    _, *found = pullback(asarray(np.full(2, np.inf)))
    np.testing.assert_array_equal([to_numpy(d) for d in found], [[np.inf, 0], [0, np.inf]])


@pytest.mark.parametrize(("shape", "of"), [((64_000, 8), (8,)), ((64_000, 8), (1, 8)), ((300, 200, 8), (8,))])
def test_sums_of_many_numbers_lose_little_of_float32(backend, shape, of):
    dz = np.full(shape, 1 / 3, "float32")
    found = rules.add(asarray(np.zeros(shape, "float32")), asarray(np.zeros(of, "float32")))[1](asarray(dz))[1]
    exact = dz.astype(float).sum(axis=tuple(range(len(shape) - 1)))
    np.testing.assert_allclose(to_numpy(found), exact.reshape(of), rtol=1e-5)


def test_gradients_of_numbers_are_arrays(backend):
    x, y = (asarray(np.array(v)) for v in (2.0, [1.0, 2.0]))
    assert all(hasattr(dx, "flags") for dx in rules.multiply(x, y)[1](y))


@pytest.mark.parametrize("rule", [rules.max, rules.min])
def test_equal_extremes_share_the_cotangent(backend, rule):
    np.testing.assert_array_equal(gradients(rule, np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]))[0].sum(), 1)
    x = np.array([3.0, 3.0, 3.0, 3.0])
    np.testing.assert_array_equal(gradients(rule, x)[0], [0.25] * 4)


def test_the_derivative_of_no_deviation_is_zero(backend):
    dx = gradients(rules.std, np.array([[2.0, 2.0, 2.0], [1.0, 2.0, 3.0]]), axis=1)[0]
    np.testing.assert_allclose(dx * np.sqrt(6), [[0, 0, 0], [-1, 0, 1]], atol=1e-15)
    for dtype in ("float32", "float64"):  # in both the mean of three tenths is not a tenth
        np.testing.assert_array_equal(gradients(rules.std, np.full((3, 2), 0.1, dtype), axis=0)[0], 0)
    np.testing.assert_array_equal(gradients(rules.std, np.array([1e-200, 3e-200]))[0], 0)  # whose squares are 0


@pytest.mark.parametrize("rule", [rules.maximum, rules.minimum])
def test_equal_numbers_get_half_of_the_cotangent_each(backend, rule):
    dx, dy = gradients(rule, np.array([1.0, 1.0]), np.array([1.0, 3.0]))
    assert (dx[0], dy[0]) == (0.5, 0.5)
    np.testing.assert_array_equal(dx + dy, [1, 1])


@pytest.mark.parametrize("rule", [rules.abs, rules.relu])
def test_the_derivative_at_the_kink_is_zero(backend, rule):
    np.testing.assert_array_equal(gradients(rule, np.array([0.0, -0.0]))[0], [0, 0])


def test_the_cotangent_passes_at_the_limits_of_clip(backend):
    x = np.array([-1.0, -1.1, 0.0, 2.0, 2.5])
    np.testing.assert_array_equal(gradients(rules.clip, x, min=-1.0, max=2.0)[0], [1, 0, 1, 1, 0])


def test_nan_is_not_lost(backend):
    x = np.array([np.nan, -1.0])
    for rule in (rules.relu, rules.abs, rules.tanh, rules.sigmoid):
        assert np.isnan(value(rule, x)).tolist() == [True, False]
    for rule in (rules.max, rules.min, rules.softmax, rules.logsumexp):
        assert np.isnan(value(rule, x)).all()
    for rule in (rules.maximum, rules.minimum):
        assert np.isnan(value(rule, x, np.zeros(2))).tolist() == [True, False]
        assert np.isnan(value(rule, np.zeros(2), x)).tolist() == [True, False]
    assert np.isnan(value(rules.clip, x, min=-2.0, max=2.0)).tolist() == [True, False]


def test_nobody_gets_the_cotangent_of_what_is_no_number(backend):
    x, y = np.array([1.0, np.nan, np.nan, 3.0]), np.array([np.nan, 1.0, np.nan, 2.0])
    for rule, of_numbers in ((rules.maximum, (1, 0)), (rules.minimum, (0, 1))):
        dx, dy = gradients(rule, x, y)
        assert (dx.tolist(), dy.tolist()) == ([0, 0, 0, of_numbers[0]], [0, 0, 0, of_numbers[1]])
    assert gradients(rules.clip, x, min=0.0, max=3.0)[0].tolist() == [1, 0, 0, 1]


MASKED = {
    "cross_entropy": lambda mask: rules.cross_entropy(X[0], np.array([0, 1, 2]), None, mask),
    "affine_cross_entropy": lambda mask: rules.affine_cross_entropy(
        X[0], X[1].T[:2, :3], None, np.array([0, 1, 1, 0]), mask
    ),
    "attention_weights": lambda mask: rules.attention_weights(X[0], mask),
}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_a_mask_of_numbers_is_refused(name, dtype):
    """To be added to scores, 0 would stand for what counts."""
    shape = {"cross_entropy": (3,), "affine_cross_entropy": (4,), "attention_weights": (3, 4)}[name]
    MASKED[name](np.ones(shape, bool))
    with pytest.raises(TypeError, match=f"mask must be boolean, got dtype {dtype}"):
        MASKED[name](np.ones(shape, dtype))


def test_powers_at_zero(backend):
    x, p = np.zeros(4), np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(value(rules.power, x, p), [1, 0, 0, 0])
    dx, dp = gradients(rules.power, x, p)
    np.testing.assert_array_equal(dx, [0, 1, 0, 0])
    np.testing.assert_array_equal(dp, [0, 0, 0, 0])


def test_powers_of_negative_numbers(backend):
    x, p = asarray(np.array([-2.0, -3.0])), asarray(np.array([2.0, 3.0]))
    z, pullback = rules.power(x, p, wanted=(True, False))
    np.testing.assert_array_equal(to_numpy(z), [4, -27])
    np.testing.assert_array_equal(to_numpy(pullback(z * 0 + 1)[0]), [-4, 27])


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_the_sum_of_nothing_is_zero(backend, shape):
    np.testing.assert_array_equal(value(rules.sum, np.ones(shape)), 0)
    assert gradients(rules.sum, np.ones(shape))[0].shape == shape


@pytest.mark.parametrize(
    "rule", [rules.mean, rules.var, rules.max, rules.min, rules.logsumexp, rules.softmax, rules.log_softmax]
)
def test_what_has_no_value_without_elements_says_so(backend, rule):
    with pytest.raises(ValueError, match=rf"{rule.__name__} needs .* x has shape \(2, 0\) and axis is -1"):
        rule(asarray(np.ones((2, 0))), axis=-1)


def test_var_needs_more_elements_than_ddof(backend):
    with pytest.raises(ValueError, match=r"var needs more than ddof=1 elements; x has shape \(2, 1\) and axis is 1"):
        rules.var(asarray(np.ones((2, 1))), axis=1, ddof=1)


@pytest.mark.parametrize("axis", [np.int64(1), (np.int64(1),)])
@pytest.mark.parametrize("rule", [rules.sum, rules.mean, rules.max, rules.logsumexp])
def test_an_axis_may_be_an_integer_of_numpys(backend, rule, axis):
    np.testing.assert_array_equal(value(rule, X, axis=axis), value(rule, X, axis=1))
    np.testing.assert_array_equal(gradients(rule, X, axis=axis)[0], gradients(rule, X, axis=1)[0])


@pytest.mark.parametrize("axis", [[0, 1], 1.0, (0, None), "ab"])
@pytest.mark.parametrize("rule", [rules.sum, rules.mean, rules.max, rules.logsumexp])
def test_an_axis_that_is_no_integer_is_refused(rule, axis):
    message = f"axis must be None, an integer or a tuple of integers, got {axis!r}"
    with pytest.raises(TypeError, match=re.escape(message)):
        rule(X, axis=axis)


def test_transpose_and_swapaxes_refuse_axes_that_do_not_exist():
    for shape, axes in (((2, 3), (0, 5)), ((), (0,))):
        with pytest.raises(ValueError, match=f"axis {axes[-1]} is out of bounds for array of dimension {len(shape)}"):
            rules.transpose(np.ones(shape), axes=axes)
    with pytest.raises(ValueError, match="axis 5 is out of bounds for array of dimension 2"):
        rules.swapaxes(np.ones((2, 3)), axis1=0, axis2=5)


@pytest.mark.parametrize("axes", [(0, 0), (1, -1), (0,), (0, 1, 1)])
def test_transpose_refuses_axes_named_twice_or_not_at_all(axes):
    with pytest.raises(ValueError, match=rf"axes must name each of the 2 axes of x once, got {re.escape(str(axes))}"):
        rules.transpose(np.ones((2, 2)), axes=axes)


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_where_refuses_a_condition_that_is_not_boolean(backend, dtype):
    condition = asarray(np.array([1, 0]).astype(dtype))
    with pytest.raises(TypeError, match=f"condition must be boolean, got dtype {dtype}"):
        rules.where(condition, asarray(np.ones(2)), asarray(np.zeros(2)))


@pytest.mark.parametrize("bias", ["float64", "complex128"])
def test_affine_is_as_wide_as_its_widest_argument(backend, bias):
    x, W, b = np.ones((2, 3), "float32"), np.ones((4, 2), "float32"), np.arange(4).astype(bias) * (1 + 1e-12)
    y = value(rules.affine, x, W, b)
    assert y.dtype == bias
    np.testing.assert_array_equal(y, 2 + np.broadcast_to(b[:, None], (4, 3)))


@pytest.mark.parametrize(
    "rule", [rules.mean, rules.max, rules.softmax, rules.layer_norm, rules.cross_entropy, rules.take]
)
def test_an_axis_that_does_not_exist_is_named(rule):
    x, v = np.ones((3, 3)), np.ones(3)
    more = {rules.layer_norm: (v, v), rules.cross_entropy: (v.astype(int),), rules.take: (v.astype(int),)}
    with pytest.raises(ValueError, match="axis 2 is out of bounds for array of dimension 2"):
        rule(x, *more.get(rule, ()), axis=2)


def test_matmul_refuses_scalars():
    with pytest.raises(ValueError, match=r"matmul needs arrays of at least one axis, got shapes \(\) and \(2,\)"):
        rules.matmul(np.array(1.0), np.ones(2))


@pytest.mark.parametrize(
    ("rule", "shapes"),
    [
        (rules.affine, [(2,), (3, 2)]),
        (rules.affine, [(4, 5), (3, 2)]),
        (rules.affine, [(2, 5), (3, 2), (1,)]),
        (rules.affine, [(2, 5), (2,)]),
        (rules.layer_norm, [(2, 3), (1,), (3,)]),
        (rules.layer_norm, [(2, 3), (3,), (2,)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(rule, shapes):
    with pytest.raises(ValueError, match=rf"{rule.__name__} needs x \(.* got x \({shapes[0][0]}"):
        rule(*map(np.ones, shapes))
