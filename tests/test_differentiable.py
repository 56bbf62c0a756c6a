"""Rules of one's own on the tape, faults in them explained, and functions of tensors as rules again."""

import inspect

import numpy as np
import pytest

from minirnn import ops, rules
from minirnn.arrays import asarray, to_numpy, xp_of
from minirnn.checking import check_rule
from minirnn.tape import Tensor, differentiable, inside_rule, no_grad, rule_of
from minirnn.testing import arrays_in


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def test_a_rule_becomes_a_function_of_tensors(backend):
    """Cubes, doubled."""

    def cube(x, *, factor=1.0):
        """The docstring stays."""

        def cube_pullback(dy):
            return (dy * 3 * factor * x**2,)

        return factor * x**3, cube_pullback

    op = differentiable(cube)
    assert op.rule is cube and op.__name__ == "cube" and op.__doc__ == "The docstring stays."
    x = Tensor(numbers(3), requires_grad=True)
    op(x, factor=2.0).sum().backward()
    assert np.allclose(to_numpy(x.grad), 6 * numbers(3) ** 2, rtol=1e-14)
    assert op(2.0).item() == 8.0 and not op(2.0).requires_grad


def test_wanted_says_what_will_be_asked_for():
    seen = []

    @differentiable
    def product(x, y, z=None, *, wanted=(True, True, True)):
        seen.append(wanted)

        def product_pullback(dp):
            return (dp * y if wanted[0] else None), (dp * x if wanted[1] else None), None

        return x * y, product_pullback

    x, y = Tensor([2.0], requires_grad=True), Tensor([3.0])
    product(x, y).backward()
    product(y, x, None).backward()
    with no_grad():
        product(x, y)
    assert seen == [(True, False), (False, True, False), (False, False)]
    assert x.grad.tolist() == [6.0]


def faulty(pullback):
    """``x + y`` with another pullback."""

    @differentiable
    def wrong(x, y):
        return x + y, pullback

    return wrong


FAULTS = {
    "one too few": (lambda dz: (dz,), r"the pullback of 'wrong' returned 1 cotangents for 2 inputs"),
    "one too many": (lambda dz: (dz, dz, dz), r"the pullback of 'wrong' returned 3 cotangents for 2 inputs"),
    "no tuple": (lambda dz: dz, r"the pullback of 'wrong' must return a tuple, got ndarray"),
    "None at all": (lambda dz: None, r"the pullback of 'wrong' must return a tuple, got NoneType"),
    "wrong shape": (lambda dz: (dz, dz.sum(axis=0)), r"'wrong' returned shape \(3,\) for an input of shape \(2, 3\)"),
    "transposed": (lambda dz: (dz.T, dz), r"'wrong' returned shape \(3, 2\) for an input of shape \(2, 3\)"),
    "broadcasts": (lambda dz: (dz, dz[:1]), r"'wrong' returned shape \(1, 3\) for an input of shape \(2, 3\)"),
    "None for a float": (lambda dz: (dz, None), r"'wrong' returned None for an input of shape \(2, 3\)"),
    "a number": (lambda dz: (dz, 1.0), r"'wrong' returned 1.0 for an input of shape \(2, 3\)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_pullbacks_are_explained(backend, fault):
    pullback, message = FAULTS[fault]
    x, y = (Tensor(numbers(2, 3, seed=k), requires_grad=True) for k in range(2))
    with pytest.raises(TypeError, match=message):
        faulty(pullback)(x, y).sum().backward()
    assert x.grad is None and y.grad is None


@pytest.mark.parametrize("answer", [lambda x: x, lambda x: (x, x), lambda x: (x,), lambda x: None, lambda x: (x, x, x)])
def test_faulty_rules_are_explained(answer):
    def wrong(x):
        return answer(x)

    with pytest.raises(TypeError, match=r"wrong must return \(output, pullback\), got "):
        differentiable(wrong)(Tensor([1.0]))


@pytest.mark.parametrize(
    ("output", "kind"), [([1.0], "list"), (1.0, "float"), ((np.ones(2), None), r"\(ndarray \(2,\), None\)")]
)
def test_an_output_that_is_no_array_is_named(output, kind):
    def wrong(x):
        return output, lambda *cotangents: cotangents

    with pytest.raises(TypeError, match=f"^the output of wrong must be an array or a tuple of arrays, got {kind}$"):
        differentiable(wrong)(Tensor([1.0]))


def test_a_cotangent_that_nobody_wants_may_be_none():
    op = faulty(lambda dz: (dz, None))
    x = Tensor([1.0], requires_grad=True)
    op(x, Tensor([2.0])).backward()
    assert x.grad.tolist() == [1.0]


# A function of tensors as a rule


def network(x, W, b):
    h = (x @ W + b).tanh()
    return h, (h * h).sum()


def test_a_function_of_tensors_is_a_rule(backend):
    inputs = [asarray(numbers(*shape)) for shape in ((2, 3), (3, 4), (4,))]
    report = check_rule(rule_of(network), inputs, names=["x", "W", "b"])
    assert report.ok and {a.method for a in report.arguments} == {"complex"}


def test_integers_none_and_unused_arguments(backend):
    def function(x, ids, unused):
        return x.take(ids)

    inputs = [asarray(numbers(4, 2)), asarray(np.array([1, 1, 3])), asarray(numbers(2))]
    assert check_rule(rule_of(function), inputs).ok
    _, pullback = rule_of(function)(*inputs)
    dx, dids, dunused = pullback(asarray(numbers(3, 2)))
    assert dids is None and to_numpy(dunused).tolist() == [0.0, 0.0]
    assert to_numpy(dx)[0].tolist() == [0.0, 0.0]


def test_a_constant_function_has_zero_gradients():
    def function(x):
        return Tensor([1.0, 2.0])

    value, pullback = rule_of(function)(numbers(3))
    assert value.tolist() == [1.0, 2.0] and pullback(np.ones(2))[0].tolist() == [0.0] * 3


def test_parameters_outside_get_nothing():
    outside = Tensor([2.0], requires_grad=True)
    _, pullback = rule_of(lambda x: x * outside)(np.array([3.0]))
    assert pullback(np.array([1.0]))[0].tolist() == [2.0] and outside.grad is None


def test_the_pullback_can_be_called_twice(backend):
    (h, _), pullback = rule_of(network)(*(asarray(numbers(*shape)) for shape in ((2, 3), (3, 4), (4,))))
    cotangents = asarray(numbers(*h.shape, seed=5)), asarray(numbers(seed=6))
    for first, second in zip(pullback(*cotangents), pullback(*cotangents), strict=True):
        assert np.array_equal(to_numpy(first), to_numpy(second))


def test_a_rule_of_a_function_can_be_lifted_again(backend):
    inputs = [Tensor(numbers(*shape), requires_grad=True) for shape in ((2, 3), (3, 4), (4,))]
    sum(part.sum() for part in network(*inputs)).backward()
    direct = [to_numpy(t.grad) for t in inputs]
    for t in inputs:
        t.grad = None
    sum(part.sum() for part in differentiable(rule_of(network))(*inputs)).backward()
    for t, expected in zip(inputs, direct, strict=True):
        assert np.allclose(to_numpy(t.grad), expected, rtol=1e-14)


def test_a_rule_of_a_function_records_what_is_wanted_and_nothing_else(backend):
    inputs = [asarray(numbers(*shape)) for shape in ((2, 3), (3, 4), (4,))]
    recorded = []

    def watched(x, W, b):
        recorded.append([t.requires_grad for t in (x, W, b)])
        h, y = network(x, W, b)
        recorded.append(y.requires_grad)
        return h, y

    rule = rule_of(watched)
    (h, y), pullback = rule(*inputs)
    every = pullback(xp_of(h).ones_like(h), xp_of(h).ones_like(y))
    for wanted in ((False, True, False), (True, False, True)):
        (h, y), pullback = rule(*inputs, wanted=wanted)
        some = pullback(xp_of(h).ones_like(h), xp_of(h).ones_like(y))
        assert recorded[-2:] == [list(wanted), True]
        for dx, expected, flag in zip(some, every, wanted, strict=True):
            assert np.array_equal(to_numpy(dx), to_numpy(expected)) if flag else dx is None
    (h_quiet, _), pullback = rule(*inputs, wanted=(False,) * 3)
    assert recorded[-1] is False and arrays_in(pullback) == []
    assert pullback(h, y) == (None,) * 3 and np.array_equal(to_numpy(h_quiet), to_numpy(h))


def test_nothing_wanted_stops_the_parameters_outside_too():
    outside = Tensor([2.0], requires_grad=True)
    made = []
    rule_of(lambda x: made.append(x * outside) or made[-1])(np.array([3.0]), wanted=(False,))
    assert not made[0].requires_grad


def test_wanted_belongs_to_the_signature_unless_it_is_an_argument():
    assert list(inspect.signature(rule_of(network)).parameters) == ["x", "W", "b", "wanted"]
    assert list(inspect.signature(rule_of(lambda *xs, **kw: xs[0])).parameters) == ["xs", "wanted"]
    rule = rule_of(lambda wanted: wanted * wanted)
    assert check_rule(rule, [numbers(3)]).arguments[0].name == "wanted"


def test_an_optional_array_may_be_left_out_as_none():
    value, pullback = rule_of(lambda x, y: x * 2 if y is None else x * y)(np.array([3.0]), None)
    assert value.tolist() == [6.0] and pullback(np.ones(1))[1] is None


def test_inside_a_rule_is_known():
    seen = []
    rule = rule_of(lambda x: seen.append(inside_rule()) or x * 2)
    rule(np.ones(1))
    assert seen == [True] and not inside_rule()


def test_a_function_that_returns_no_tensor_is_explained():
    with pytest.raises(TypeError, match="must return a tensor or a tuple of them, got float"):
        rule_of(lambda x: x.item())(np.array(1.0))


def test_ops_are_their_rules(backend):
    x = asarray(numbers(2, 3))
    assert ops.tanh.rule is rules.tanh
    assert np.array_equal(ops.tanh(Tensor(x)).numpy(), to_numpy(xp_of(x).tanh(x)))


@pytest.mark.parametrize(
    "make", [lambda x: x * 1j, lambda x: x + np.array([1j]), lambda x: x.astype(complex), lambda x: 1j - x]
)
def test_complex_numbers_do_not_drop_a_gradient_in_silence(make):
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="must be real, got complex128; keep real and imaginary parts"):
        make(x)
    assert make(x.detach()).dtype == complex
    with no_grad():
        assert make(x).dtype == complex
