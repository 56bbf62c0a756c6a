"""``minirnn.hvp``: the Hessian times a vector, against differences of gradients, closed forms, and its own laws."""

import numpy as np
import pytest

from minirnn import Tensor, differentiable, gradcheck, hvp, nn, no_grad, ops, rules
from minirnn.arrays import asarray, to_numpy, xp_of
from minirnn.checking.differences import central
from minirnn.checking.hessian import hessian_product
from minirnn.tape import rule_of
from minirnn.testing.example_inputs import EXAMPLES, example_inputs

random = np.random.default_rng(11)
X, Y, V, W = random.normal(size=(4, 3, 4))
T, B, D, H, CLASSES = 4, 2, 3, 4, 5


def vectors_like(inputs, seed=0):
    draw = np.random.default_rng(seed)
    return [None if x is None or x.dtype.kind != "f" else asarray(draw.normal(size=x.shape)) for x in inputs]


def difference_of_gradients(rule, inputs, vectors, step=2.0**-12):
    """H v by central differences of the pullback's answers along v, one array per floating input."""
    kept = [k for k, v in enumerate(vectors) if v is not None]

    def gradient(t):
        y, pullback = rule(*(x if v is None else x + t * v for x, v in zip(inputs, vectors, strict=True)))
        y = y[0] if isinstance(y, tuple) else y
        found = pullback(xp_of(y).ones(y.shape, y.dtype))
        return np.concatenate([to_numpy(found[k]).ravel() for k in kept])

    return central(gradient, step)


def flat(products):
    return np.concatenate([to_numpy(p).ravel() for p in products if p is not None])


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def scalar_of(rule, **static):
    """One number made of all outputs of a rule, with curvature and random weights on every entry."""
    op = differentiable(rule)

    def number(*tensors):
        outputs = op(*tensors, **static)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        weights = np.random.default_rng(3)
        parts = [(y.tanh() * asarray(weights.normal(size=y.shape))).sum() for y in outputs]
        return ops.sum(ops.stack(*parts))

    return number


# --- against differences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_rule_has_second_derivatives(backend, name):
    """Those with kinks included: the examples stay away from them."""
    inputs, static = example_inputs(name)
    inputs = [asarray(x) if hasattr(x, "dtype") else x for x in inputs]
    if name == "move":
        static = {"backend": "numpy" if xp_of(inputs[0]) is np else "cupy"}
    fn, vectors = scalar_of(getattr(rules, name), **static), vectors_like(inputs)
    found = hvp(fn, inputs, vectors)
    assert [None if p is None else p.shape for p in found] == [None if v is None else v.shape for v in vectors]
    assert all(type(p) is type(x) for p, x in zip(found, inputs, strict=True) if p is not None)
    assert relative_error(flat(found), difference_of_gradients(rule_of(fn), inputs, vectors)) < 1e-8


class LanguageModelLoss(nn.Module):
    """Embedding, LSTM, logits, cross-entropy: the loss of a small language model."""

    def __init__(self):
        self.embedding = nn.Embedding(CLASSES, D, dtype="float64", seed=1)
        self.lstm = nn.LSTM(D, H, 2, dtype="float64", seed=2)
        self.logits = nn.Linear(H, CLASSES, dtype="float64", seed=3)

    def forward(self, ids, targets):
        hs, _ = self.lstm(self.embedding(ids))
        return ops.cross_entropy(self.logits(hs), targets)


def test_a_language_model_by_all_its_parameters(backend):
    model, ids = LanguageModelLoss(), tuple(random.integers(CLASSES, size=(2, T, B)))
    before = model.state_dict()
    rule, arrays, _ = model.as_rule(*ids)
    vectors = vectors_like(arrays)
    found = hvp(model, ids, vectors)
    assert relative_error(flat(found), difference_of_gradients(rule, arrays, vectors)) < 1e-9
    assert all(p.numpy().tobytes() == before[n].tobytes() and p.grad is None for n, p in model.named_parameters())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_function_around_a_layer_by_its_input(kind):
    """The parameters stay real while the input becomes complex, and get no gradient."""
    layer, ids = getattr(nn, kind)(D, H, dtype="float64"), random.integers(H, size=(T, B))

    def loss(x):
        return ops.cross_entropy(layer(x)[0], ids)

    x = random.normal(size=(T, B, D))
    vectors = vectors_like([x])
    found = hvp(loss, (x,), vectors)
    assert relative_error(flat(found), difference_of_gradients(rule_of(loss), [x], vectors)) < 1e-9
    assert all(p.grad is None for p in layer.parameters())


# --- against closed forms, and its own laws --------------------------------------------------------------------------


def hessian(fn, inputs):
    """All columns of the Hessian, by the products with unit vectors."""
    sizes = [x.size for x in inputs]
    cuts = np.cumsum(sizes)[:-1]
    columns = []
    for unit in np.eye(sum(sizes)):
        parts = [u.reshape(x.shape) for u, x in zip(np.split(unit, cuts), inputs, strict=True)]
        columns.append(flat(hvp(fn, inputs, parts)))
    return np.stack(columns)


def test_the_hessian_of_a_quadratic_form_is_its_matrix():
    A = random.normal(size=(5, 5))
    np.testing.assert_allclose(hessian(lambda x: x @ A @ x, [random.normal(size=5)]), A + A.T, rtol=1e-13)


def test_the_hessian_of_logsumexp_is_the_covariance_of_the_softmax():
    x = random.normal(size=5)
    p = np.exp(x) / np.exp(x).sum()
    np.testing.assert_allclose(hessian(ops.logsumexp, [x]), np.diag(p) - np.outer(p, p), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("rule", "shapes"),
    [
        (rules.rnn, [(3, 2, 2), (2, 2), (2, 2)]),
        (rules.lstm, [(3, 8, 2), (2, 2), (2, 2), (8, 2)]),
        (rules.gru, [(3, 6, 2), (2, 2), (6, 2), (2,)]),
    ],
    ids=["rnn", "lstm", "gru"],
)
def test_the_hessian_of_a_recurrent_network_is_symmetric(rule, shapes):
    inputs = [np.random.default_rng(k).normal(size=shape) for k, shape in enumerate(shapes)]
    found = hessian(scalar_of(rule), inputs)
    assert np.abs(found - found.T).max() < 1e-13 < 0.1 < np.abs(found).max()


@pytest.mark.parametrize("scale", [1e-200, 1.0, -3.0, 1e200])
def test_it_is_linear_in_the_vector(scale):
    fn = scalar_of(rules.softmax)
    (of_v,), (of_w,) = hvp(fn, (X,), (V,)), hvp(fn, (X,), (W,))
    np.testing.assert_allclose(hvp(fn, (X,), (scale * V,))[0], scale * of_v, rtol=1e-12)
    np.testing.assert_allclose(hvp(fn, (X,), (2 * V - 3 * W,))[0], 2 * of_v - 3 * of_w, rtol=1e-11, atol=1e-14)
    assert np.abs(of_v).max() > 0.01


def test_a_vector_of_zeros_gives_zeros_and_none_stands_for_it():
    fn = scalar_of(rules.multiply)
    assert not any(p.any() for p in hvp(fn, (X, Y), (0 * X, 0 * Y)))
    for found, expected in zip(hvp(fn, (X, Y), (V, None)), hvp(fn, (X, Y), (V, 0 * Y)), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not any(p.any() for p in hvp(fn, (X, Y), (None, None)))


def test_rules_ops_tensors_and_numbers_are_taken_alike(backend):
    x, y, v = asarray(X), asarray(Y), asarray(V)
    for fn in (rules.mean_squared_error, ops.mean_squared_error, lambda x, y: ((x - y) * (x - y)).mean()):
        found = hvp(fn, (x, y), (v, None))
        np.testing.assert_allclose(to_numpy(found[0]), V / 6, rtol=1e-14)
        np.testing.assert_allclose(to_numpy(found[1]), -V / 6, rtol=1e-14)
    found = hvp(lambda x: (x * x).sum(), (Tensor(X),), (Tensor(V),))
    np.testing.assert_allclose(to_numpy(found[0]), 2 * V, rtol=1e-14)
    np.testing.assert_allclose(to_numpy(hvp(lambda a, b: a * a * b, (2.0, 3), (0.5, None))[0]), 3.0)
    np.testing.assert_allclose(to_numpy(hvp(lambda x: (x * x).sum(), ([1.0, 2.0],), ([1, 0],))[0]), [2.0, 0.0])


def test_what_is_linear_or_unused_has_a_hessian_of_zeros():
    found = hvp(lambda x, y: (3 * x).sum(), (X, Y), (V, W))
    assert [p.shape for p in found] == [X.shape, Y.shape]
    assert not any(p.any() for p in found)


def test_masks_and_ids_have_none():
    ids = random.integers(4, size=3)
    found = hvp(rules.cross_entropy, (X, ids), (V, None))
    assert found[1] is None
    assert relative_error(flat(found), difference_of_gradients(rules.cross_entropy, [X, ids], [V, None])) < 1e-8


def test_it_works_where_gradients_are_off():
    with no_grad():
        np.testing.assert_allclose(hvp(lambda x: (x**3).sum(), (X,), (V,))[0], 6 * X * V, rtol=1e-13)


# --- beside kinks, on flat ground ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-12])
def test_beside_a_kink_it_is_right_however_near(gap):
    x = np.array([gap, -gap, 1.0, -1.0])
    for v in (np.ones(4), -np.ones(4), np.array([1.0, -1.0, 1.0, 1.0])):
        found = hvp(lambda x: (x.relu() * (x + 1)).sum(), (x,), (v,))
        np.testing.assert_allclose(found[0], 2 * v * (x > 0), rtol=1e-14)


def test_at_a_minimum_flat_directions_are_flat():
    """The gradient is rounding and nothing else: no reason for alarm."""
    a = random.normal(size=(3, 40)) * 100
    targets = a.T @ random.normal(size=3)
    x = np.concatenate([np.linalg.lstsq(a.T, targets, rcond=None)[0], [1.0]])
    flat_direction = np.array([0.0, 0.0, 0.0, 1.0])
    (found,) = hvp(lambda x: ops.mean_squared_error(x[:3] @ a + 0 * x[3], targets), (x,), (flat_direction,))
    assert not found.any()


# --- what cannot be had is refused -----------------------------------------------------------------------------------


def cube_by(forward, back):
    @differentiable
    def cube(x):
        def cube_pullback(dy):
            return (dy * back(x),)

        return forward(x), cube_pullback

    return lambda x: cube(x).sum()


LOSSES_OF_THE_IMAGINARY_PART = {
    "abs forward": cube_by(lambda x: abs(x) ** 3, lambda x: 3 * x * abs(x)),
    "real forward": cube_by(lambda x: x.real**3, lambda x: 3 * x**2),
    "real everywhere": cube_by(lambda x: x.real**3, lambda x: 3 * x.real**2),
    "real on the way back": cube_by(lambda x: x**3, lambda x: 3 * x.real**2),
    "abs on the way back": cube_by(lambda x: x**3, lambda x: 3 * abs(x) ** 2),
    "real, among others": lambda x: cube_by(lambda x: x.real**3, lambda x: 3 * x.real**2)(x) + (x * x).sum(),
}


@pytest.mark.parametrize("fn", LOSSES_OF_THE_IMAGINARY_PART.values(), ids=LOSSES_OF_THE_IMAGINARY_PART)
def test_a_lost_imaginary_part_is_never_a_wrong_answer(fn):
    with pytest.raises((TypeError, ValueError), match="imaginary part is lost"):
        hvp(fn, (np.abs(X) + 0.1,), (V,))


def cubes_in_two_units(large, back):
    """``large * x_0**3 + x_1**3`` with another derivative in its small term."""

    def cubes(x):
        def cubes_pullback(dy):
            return (np.stack([3 * large * x[0] ** 2 * dy, back(x[1]) * dy]),)

        return large * x[0] ** 3 + x[1] ** 3, cubes_pullback

    return cubes


@pytest.mark.parametrize("large", [1.0, 1e4, 1e8, 1e12])
def test_a_small_entry_is_not_wrong_unseen_beside_a_large_one(large):
    point, vector = np.array([1.0, 1.0]), np.array([1.0, 1.0])
    np.testing.assert_allclose(
        hvp(cubes_in_two_units(large, lambda x: 3 * x * x), (point,), (vector,))[0], [6 * large, 6], rtol=1e-14
    )
    with pytest.raises(ValueError, match=r"at 'x' \(1,\) is 3 by the complex step, (6|5\.99) .* in 1 of 2 entries"):
        hvp(cubes_in_two_units(large, lambda x: 3 * x * x.real), (point,), (vector,))


def test_the_entry_is_named_in_the_argument_that_it_belongs_to():
    wrong = cube_by(lambda x: x**3, lambda x: 3 * x * np.where(np.arange(4) == 2, x.real, x))
    with pytest.raises(ValueError, match=r"at 'y' \(2,\) is .* in 1 of 16 entries"):
        hvp(lambda x, y: (x * x).sum() + wrong(y), (X, Y[0]), (V, W[0]))


NOISE = np.random.default_rng(7).normal(size=(8, 2, 30))
FEATURES = 100 * np.random.default_rng(8).normal(size=(30, 40))
RIGHT_BUT_HARD = {
    "cancellation": (lambda x: ((x + 1e8) - 1e8).tanh().sum(), 1.0),
    "sums that are really zero": (lambda x: (x @ FEATURES - x @ FEATURES).sum() + ops.logsumexp(x - ops.mean(x)), 1.0),
    "a minimum": (lambda x: ops.mean_squared_error(x @ FEATURES, 0 * FEATURES[0]), 1e-14),
    "kinks all around": (lambda x: ((x @ FEATURES).relu() * (x @ FEATURES)).sum() + (x @ FEATURES).abs().sum(), 1e-6),
    "rounded to float32 on the way": (lambda x: (x * x * x).astype("float32").astype("float64").sum(), 1.0),
    "a narrow pole": (lambda x: (x * x + 1e-9).log().sum(), 1e-5),
    "flat ground": (lambda x: ((1e3 * x).sigmoid() * (1e3 * x).sigmoid()).sum(), 1.0),
}


@pytest.mark.parametrize(("fn", "size"), RIGHT_BUT_HARD.values(), ids=RIGHT_BUT_HARD)
def test_what_is_right_raises_no_alarm_however_hard_to_difference(fn, size):
    for x, v in NOISE:
        np.testing.assert_array_equal(hvp(fn, (size * x,), (v,))[0], hvp(fn, (size * x,), (v,), check=False)[0])


@pytest.mark.parametrize("point", [40.0, 50.0, 300.0])
@pytest.mark.parametrize("fn", [lambda x: (x.sigmoid() ** 2).sum(), lambda x: (1 - x.sigmoid()).sum()])
def test_a_saturated_function_is_nearly_flat(fn, point):
    (found,) = hvp(fn, (np.full(3, point),), (np.ones(3),))
    assert np.abs(found).max() < 1e-16


def test_a_point_close_to_the_end_of_the_domain():
    x = np.array([1e-6, 1e-9, 1.0])
    np.testing.assert_allclose(hvp(lambda x: x.log().sum(), (x,), (np.ones(3),))[0], -(x**-2), rtol=1e-12)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("fn", [lambda x: Tensor(2.0), lambda x: (np.ones(()), lambda dy: (np.zeros(x.shape),))])
def test_a_constant_has_a_hessian_of_zeros(fn, check):
    (found,) = hvp(fn, (X,), (V,), check=check)
    assert found.shape == X.shape and not found.any()


@pytest.mark.parametrize("check", [True, False])
def test_a_gradient_that_overflows_is_named(check):
    message = r"the gradient of 'x' is not finite at this point, first at \(1,\)"
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        hvp(lambda x: (1 + x.exp()).log().sum(), (np.array([1.0, 800.0]),), (np.ones(2),), check=check)


def test_a_function_that_answers_differently_every_time_is_refused():
    lstm = nn.LSTM(3, 4, 2, dropout=0.5, dtype="float64")
    x, v = np.random.default_rng(0).normal(size=(2, 5, 2, 3))
    with pytest.raises(ValueError, match=r"called twice gives other bits in the gradient of 'x'.* evaluation mode"):
        hvp(lambda x: (lstm(x)[0] ** 2).sum(), (x,), (v,))
    lstm.eval()
    assert hvp(lambda x: (lstm(x)[0] ** 2).sum(), (x,), (v,))[0].any()


@pytest.mark.parametrize("check", [True, False])
def test_an_output_in_float32_is_refused(check):
    with pytest.raises(TypeError, match=r"the output is (float32|complex64); .* float64 throughout"):
        hvp(lambda x: (x * x).sum().astype("float32"), (X,), (V,), check=check)


@pytest.mark.parametrize("ask", [lambda fn, x: hvp(fn, (x,), (V,)), lambda fn, x: gradcheck(fn, (x,))])
@pytest.mark.parametrize("x", ["text", {}, [None], [[1.0], [1.0, 2.0]], np.array(["a"]), object()])
def test_inputs_that_are_not_numbers_are_named(ask, x):
    with pytest.raises(TypeError, match=r"input 'x' must be made of numbers, got (str|dict|list|ndarray|object)"):
        ask(lambda x: (x * x).sum(), x)


def test_vectors_that_are_not_numbers_are_named():
    with pytest.raises(TypeError, match="part 1 of the vector must be made of numbers, got str"):
        hvp(lambda x, y: (x * y).sum(), (X, Y), (V, "text"))


def test_the_check_can_be_left_out():
    calls = []

    @differentiable
    def cube(x):
        def cube_pullback(dy):
            calls.append(x.dtype.kind)
            return (3 * x**2 * dy,)

        return x**3, cube_pullback

    np.testing.assert_allclose(hvp(lambda x: cube(x).sum(), (X,), (V,), check=False)[0], 6 * X * V, rtol=1e-13)
    assert calls == ["c"]
    del calls[:]
    hvp(lambda x: cube(x).sum(), (X,), (V,))
    assert sorted(calls) == ["c", "f", "f", "f", "f"]  # four gradients more, of real numbers


def test_a_function_that_takes_no_complex_numbers_says_so():
    @differentiable
    def by_float(x):
        def by_float_pullback(dy):
            return (dy * float(x),)

        return x * x / 2, by_float_pullback

    with pytest.raises(TypeError, match=r"needs? a function of complex numbers, and this one does not take them \("):
        hvp(by_float, (np.array(2.0),), (np.array(1.0),))


def test_the_functions_own_error_is_shown():
    def explode(x):
        raise ArithmeticError("my own mistake")

    with pytest.raises(ArithmeticError, match="my own mistake"):
        hvp(explode, (Tensor(X),), (V,))


@pytest.mark.parametrize(
    ("inputs", "vectors", "error", "message"),
    [
        ((X.astype("float32"),), (V,), TypeError, r"input 'x' is float32; .* float64"),
        ((X + 0j,), (V,), TypeError, r"input 'x' is complex128; .* float64"),
        ((X,), (V + 0j,), TypeError, "part for 'x' must be real, got dtype complex128"),
        ((X,), (V[0],), ValueError, r"part for 'x' must have the shape of the input, \(3, 4\), got \(4,\)"),
        ((X,), (np.ones(()),), ValueError, r"part for 'x' must have the shape of the input, \(3, 4\), got \(\)"),
        ((X,), (), ValueError, "vectors must have 1 parts, for x; got 0"),
        ((X,), (V, V), ValueError, "vectors must have 1 parts, for x; got 2"),
        ((X,), (V * np.nan,), ValueError, "part for 'x' holds values that are not finite"),
        ((X * np.inf,), (V,), ValueError, "input 'x' holds values that are not finite"),
        ((np.arange(3),), (None,), ValueError, "nothing to differentiate"),
        ((np.arange(3),), (np.ones(3),), ValueError, "part for 'x' must be None, because the input is int64"),
    ],
)
def test_what_cannot_be_asked_is_explained(inputs, vectors, error, message):
    with pytest.raises(error, match=message):
        hessian_product(rule_of(lambda x: (x * x).sum()), inputs, vectors, names=["x"])
    with pytest.raises(error, match=message):
        hvp(rules.tanh, inputs, vectors)


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        (lambda dx: [dx], TypeError, r"the pullback of cubes must return a tuple of gradients, .* got list"),
        (lambda dx: (None,), TypeError, "the gradient of 'x' must be an array, got None"),
        (lambda dx: (dx[:1],), ValueError, r"the gradient of 'x' has shape \(1, 4\), the argument has \(3, 4\)"),
    ],
)
def test_gradients_in_another_form_are_named(gradients, error, message):
    def cubes(x):
        return (x**3).sum(), lambda dy: gradients(3 * x**2 * dy)

    with pytest.raises(error, match=message):
        hvp(cubes, (X,), (V,))


def test_a_vector_for_ids_is_refused():
    with pytest.raises(ValueError, match="part for 'targets' must be None, because the input is int64"):
        hvp(rules.cross_entropy, (X, np.array([0, 1, 2])), (V, np.ones(3)))


@pytest.mark.parametrize(
    ("fn", "shapes"),
    [(ops.tanh, r"\(3, 4\)"), (lambda x: (x.sum(), x.mean()), r"\(\), \(\)"), (lambda x: x.sum(axis=0), r"\(4,\)")],
)
def test_an_output_of_several_numbers_is_refused(fn, shapes):
    with pytest.raises(ValueError, match=f"one output of one element, got {shapes}"):
        hvp(fn, (X,), (V,))


# --- what it asks of the tape ----------------------------------------------------------------------------------------


def test_a_tensor_of_complex_numbers_still_requires_no_gradient():
    with pytest.raises(TypeError, match="only floating tensors can require a gradient, got dtype complex128"):
        Tensor(X + 1j, requires_grad=True)
    assert not (Tensor(X + 1j) * 2).requires_grad


def test_the_pullback_of_a_function_of_tensors_is_analytic():
    """Not conjugated anywhere: the derivative of z**3 is 3 z**2, for complex z too."""
    z = X + 1j * Y
    y, pullback = rule_of(lambda z: z * z * z)(z)
    np.testing.assert_allclose(y, z**3, rtol=1e-14)
    np.testing.assert_allclose(pullback(np.ones_like(z))[0], 3 * z**2, rtol=1e-14)
