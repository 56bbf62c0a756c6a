"""The checker itself is checked: it accepts right rules, and rejects every fault that it claims to see."""

import json
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minirnn import gradcheck
from minirnn.arrays import asarray, to_numpy, xp_of
from minirnn.checking import GradcheckError, check_rule, differences
from minirnn.checking.contract import pull_back
from minirnn.checking.judging import relative_error
from minirnn.nn import RNN

METHODS = ("complex", "richardson", "central", "forward")


def draw(*shape, seed=0):
    return asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


# Right rules


def tanh(x):
    y = xp_of(x).tanh(x)

    def tanh_pullback(dy):
        return (dy * (1 - y * y),)

    return y, tanh_pullback


def affine(x, W, b):
    def affine_pullback(dy):
        return W.T @ dy, dy @ x.T, dy.sum(axis=1, keepdims=True)

    return W @ x + b, affine_pullback


def softmax(x):
    y = xp_of(x).exp(x)
    y = y / y.sum(axis=0, keepdims=True)

    def softmax_pullback(dy):
        return (y * (dy - (dy * y).sum(axis=0, keepdims=True)),)

    return y, softmax_pullback


def sum_and_square(x, y):
    """Two outputs, and neither argument in both."""

    def sum_and_square_pullback(dsum, dsquare):
        return xp_of(x).broadcast_to(dsum, x.shape) * 1.0, 2 * y * dsquare

    return (x.sum(), y * y), sum_and_square_pullback


def unused(x, y):
    def unused_pullback(dz):
        return dz * 2, xp_of(y).zeros_like(y)

    return 2 * x, unused_pullback


def take(table, ids):
    def take_pullback(dy):
        dtable = np.zeros_like(table)
        np.add.at(dtable, ids, dy)
        return dtable, None

    return table[ids], take_pullback


def magnitude(x):
    xp = xp_of(x)
    return xp.abs(x) * 1.3, lambda dy: (1.3 * dy * xp.sign(x),)


def through_floats(x):
    """Casts to real on the way, as user code does."""
    x = np.asarray(x, dtype=np.float64)
    return x**3, lambda dy: (3 * x * x * dy,)


def into_a_float_buffer(x):
    y = np.empty(x.shape)
    y[...] = np.exp(x)
    return y, lambda dy: (np.exp(x) * dy,)


def magnitude_and_product(x, y):
    """Analytic in y, not in x."""

    def magnitude_and_product_pullback(dz):
        return dz * y * np.sign(x), dz * np.abs(x)

    return np.abs(x) * y, magnitude_and_product_pullback


def relu(x):
    xp = xp_of(x)
    return xp.maximum(x, 0), lambda dy: (xp.where(x > 0, dy, 0 * dy),)


def planted(rule, argument, index, factor=1 + 1e-4):
    """``rule`` with one entry of one gradient multiplied by ``factor``."""

    def wrong(*inputs, **static):
        output, pullback = rule(*inputs, **static)

        def wrong_pullback(*cotangents):
            gradients = list(pullback(*cotangents))
            gradients[argument] = gradients[argument].copy()
            gradients[argument][index] *= factor
            return tuple(gradients)

        return output, wrong_pullback

    return wrong


# It accepts what is right


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize(
    ("rule", "shapes"),
    [
        (tanh, [(3, 4)]),
        (tanh, [()]),
        (affine, [(4, 2), (3, 4), (3, 1)]),
        (softmax, [(5, 2)]),
        (sum_and_square, [(2, 3), (4,)]),
        (unused, [(3,), (2, 2)]),
    ],
)
def test_right_rules_pass(backend, rule, shapes, method):
    inputs = [draw(*shape, seed=k) for k, shape in enumerate(shapes)]
    report = check_rule(rule, inputs, method=method)
    assert report.ok
    expected = "complex" if method == "auto" else method
    assert {a.method for a in report.arguments} == {expected}
    assert [(a.entries, a.directions) for a in report.arguments] == [(x.size, 0) for x in inputs]


@pytest.mark.parametrize(("method", "best"), [("complex", 1e-13), ("richardson", 1e-9), ("central", 1e-8)])
def test_accuracy_of_the_methods(method, best):
    inputs = draw(4, 3), draw(3, 4), draw(3, 1)
    assert check_rule(affine, inputs, method=method).max_error < best
    assert check_rule(softmax, (draw(6, 2),), method=method).max_error < best


def test_every_size_of_input_is_judged_alike():
    """Steps follow the entries, tolerances the gradient."""

    def cube(x):
        return x * x * x, lambda dy: (3 * x * x * dy,)

    for method in METHODS:
        x = np.array([1e6, -2e9, 3e3, -4.0])
        for unit in (x[:1], x[1:2], x[2:3], x[3:]):
            assert check_rule(cube, (unit,), method=method).ok
            with pytest.raises(GradcheckError):
                check_rule(planted(cube, 0, 0), (unit,), method=method)


def test_a_gradient_that_cancels_to_zero_is_no_alarm():
    def total(x):
        y, softmax_pullback = softmax(x)
        return y.sum(), lambda dy: softmax_pullback(dy * np.ones_like(y))

    for method in METHODS:
        assert check_rule(total, (draw(7, 3),), method=method).ok


@pytest.mark.parametrize("slope", [-3.0, 0.0, 1.0])
def test_a_gradient_that_drowns_in_the_rounding_of_an_offset_cannot_be_judged(slope):
    """The right slope is one; the number is known to 0.3."""

    def offset(x):
        return np.abs(x) + 1e15, lambda dy: (slope * dy,)

    for seed in range(5):
        assert check_rule(offset, (np.array([1.0, 2.0]),), seed=seed, raises=False).verdict == "too noisy"


@pytest.mark.parametrize(("offset", "slope"), [(1e4, -1e-3), (1e5, 1e-3), (1e5, -1e-3), (1e6, -1e-3)])
def test_a_slope_below_the_grain_of_float32_cannot_be_judged(offset, slope):
    """The right slope is 1e-3; the number is known to 0.001, 0.01 and 0.1."""

    def offset_in_float32(x):
        return np.float32(offset) + np.float32(1e-3) * x.astype(np.float32), lambda dy: (np.float32(slope) * dy,)

    for seed in range(8):
        report = check_rule(offset_in_float32, (np.array([0.3, 0.4], dtype=np.float32),), seed=seed, raises=False)
        assert report.verdict == "too noisy"


def test_a_zero_among_large_entries_is_no_alarm():
    def lopsided(x):
        weights = np.array([1e6, 1.0, 1e-7, 0.0])
        return (weights * np.sin(x)).sum(), lambda dy: (dy * weights * np.cos(x),)

    for method in METHODS:
        assert check_rule(lopsided, (draw(4),), method=method).ok


def test_a_method_that_cannot_judge_says_so():
    """A saturated unit: the gradient is 1e-8 of the output, and forward differences know it to two digits."""
    with pytest.raises(GradcheckError, match="too uncertain to judge") as caught:
        check_rule(tanh, (np.array([9.5]),), method="forward")
    worst = caught.value.report.arguments[0]
    assert abs(worst.analytic - worst.numeric) < worst.uncertainty
    assert check_rule(tanh, (np.array([9.5]),)).ok


@pytest.mark.parametrize(
    ("analytic", "numeric", "noise", "size", "rounding", "verdict"),
    [
        (1.0, 1.0 + 1e-8, 0.0, 1.0, 0.0, "right"),
        (1.0, 1.0 + 1e-4, 0.0, 1.0, 0.0, "wrong"),
        (1e-9, 2e-9, 0.0, 1e3, 0.0, "right"),  # a rounded zero among large entries
        (1e-9, 2e-9, 0.0, 1e-9, 0.0, "wrong"),
        (1e-9, -3e-9, 1e-8, 3e-9, 1e-9, "right"),  # the whole gradient drowns
        (1e-9, -3e-9, 1e-8, 3e-9, 1e-10, "wrong"),  # so does this one, but what is claimed is no rounding
        (1.0, 1.0 + 1e-4, 1e-2, 1.0, 1.0, "wrong"),  # noise is no excuse where the gradient stands out of it
        (1.0, 1.0 + 5e-6, 1e-2, 1.0, 0.0, "right"),
        (0.0, 0.0, 0.0, 0.0, 0.0, "right"),
        (1e-200, 0.0, 0.0, 0.0, 0.0, "wrong"),
    ],
)
def test_how_a_relative_error_is_judged(analytic, numeric, noise, size, rounding, verdict):
    error = relative_error(*map(np.array, (analytic, numeric, noise, size)), 1e-7, np.array(rounding))
    assert error <= 1e-7 if verdict == "right" else error > 1e-7


def test_small_entries_drown_in_float32_without_alarm():
    def lopsided(x):
        weights = np.array([1.0, -1.0, 1.0, 1e-3], dtype=x.dtype)
        return np.sum(weights * np.tanh(x)), lambda dy: (dy * weights * (1 - np.tanh(x) ** 2),)

    for seed in range(5):
        x = to_numpy(draw(4, seed=seed)).astype(np.float32)
        for method in METHODS:
            assert check_rule(lopsided, (x,), method=method).ok


def test_the_coarsest_precision_sets_the_tolerance():
    def mixed(x, y):
        return x * y, lambda dz: ((dz * y).astype(np.float32), dz * x)

    x, y = draw(5).astype(np.float32), draw(5, seed=1)
    assert [a.tolerance for a in check_rule(mixed, (x, y)).arguments] == [1e-4, 1e-4]


def test_vanishing_gradients_are_seen_by_the_complex_step():
    """1e-12 of the output: nothing for differences, an ordinary number for the complex step."""

    def faint(x):
        return 1.0 + 1e-12 * np.tanh(x), lambda dy: (1e-12 * (1 - np.tanh(x) ** 2) * dy,)

    assert check_rule(faint, (draw(5),)).max_error < 1e-13
    with pytest.raises(GradcheckError):
        check_rule(planted(faint, 0, 0, factor=0.0), (draw(5),))


# It rejects what is wrong


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("argument", [0, 1, 2])
def test_an_error_of_1e_4_in_one_entry_is_rejected(backend, method, argument):
    inputs = draw(4, 2), draw(3, 4), draw(3, 1)
    wrong = planted(affine, argument, (1, 0))
    with pytest.raises(GradcheckError) as caught:
        check_rule(wrong, inputs, method=method)
    assert [a.ok for a in caught.value.report.arguments] == [k != argument for k in range(3)]
    found = caught.value.report.arguments[argument]
    assert found.worst == (1, 0)
    assert found.wrong == 1
    assert found.ratio == pytest.approx(1 + 1e-4, abs=1e-6)
    assert found.max_error == pytest.approx(1e-4, rel=0.02)


SQUARE = (3, 3)  # all of one shape, so that only numbers can tell


def product(x, y):
    return x @ y, lambda dz: (dz @ y.T, x.T @ dz)


FAULTS = {
    "swapped": lambda dx, dy: (dy, dx),
    "zero": lambda dx, dy: (0 * dx, dy),
    "sign": lambda dx, dy: (dx, -dy),
    "factor two": lambda dx, dy: (2 * dx, dy),
    "transposed": lambda dx, dy: (dx.T.copy(), dy),
    "clipped": lambda dx, dy: (dx.clip(-1, 1), dy),
    "one row late": lambda dx, dy: (np.roll(dx, 1, axis=0), dy),
    "last entry lost": lambda dx, dy: (dx, dy * (np.arange(9).reshape(3, 3) < 8)),
}


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("fault", FAULTS)
def test_classic_faults_are_rejected(fault, method):
    def wrong_product(x, y):
        z, pullback = product(x, y)
        return z, lambda dz: FAULTS[fault](*pullback(dz))

    inputs = draw(*SQUARE, seed=1), draw(*SQUARE, seed=2)
    assert check_rule(product, inputs, method=method).ok
    with pytest.raises(GradcheckError, match="wrong_product failed"):
        check_rule(wrong_product, inputs, method=method)


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_a_softmax_without_gradient_is_rejected(method):
    """With all-ones cotangents it would pass: the entries of a softmax sum to one."""
    with pytest.raises(GradcheckError, match="ratio 0"):
        check_rule(lambda x: (softmax(x)[0], lambda dy: (0 * dy,)), (draw(5, 2),), method=method)


def test_a_forgotten_second_output_is_rejected():
    def both(x):
        return (np.sin(x), np.cos(x)), lambda ds, dc: (ds * np.cos(x),)

    with pytest.raises(GradcheckError, match="entries"):
        check_rule(both, (draw(4),))


def test_an_argument_used_twice_needs_both_gradients():
    def forgetful(x):
        return x * np.sin(x), lambda dy: (dy * np.sin(x),)

    with pytest.raises(GradcheckError):
        check_rule(forgetful, (draw(4),))


def test_a_wave_that_fits_the_steps_of_differences_can_neither_hide_nor_mislead():
    def wave_and_square(factor):
        """``x**2 + sin(32 pi |x|)``, its wave forgotten by the pullback where the factor is zero."""
        w = 32 * np.pi

        def rule(x):
            return x**2 + np.sin(w * np.abs(x)), lambda dy: (dy * (2 * x + factor * w * np.cos(w * np.abs(x))),)

        return rule

    x = np.array([0.3, 0.41])
    right, forgetful = (check_rule(wave_and_square(factor), (x,), raises=False) for factor in (1, 0))
    assert (right.verdict, forgetful.verdict) == ("correct", "wrong")


def test_a_small_part_that_is_not_analytic_keeps_the_complex_step_away():
    def nearly_analytic(factor):
        """A part in ten thousand of its gradient is of a wave of ``|x|``: nothing for the complex step."""
        return lambda x: (
            x**2 + 1e-6 * np.sin(100 * np.abs(x)),
            lambda dy: (dy * (2 * x + factor * 1e-4 * np.cos(100 * np.abs(x))),),
        )

    x = np.array([0.3, 0.41])
    for seed in range(6):
        right, wrong = (check_rule(nearly_analytic(f), (x,), seed=seed, raises=False) for f in (1, 0))
        assert (right.verdict, wrong.verdict) == ("correct", "wrong")


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_saturated_unit_has_no_slope_and_that_is_right(offset):
    def saturated(x):
        return offset + np.tanh(x.real), lambda dy: (dy / np.cosh(x) ** 2,)

    for seed in range(5):
        assert check_rule(saturated, (np.array([20.0, -22.0]),), seed=seed, raises=False).verdict == "correct"


@pytest.mark.parametrize("stairs", [8, 16, 32, 64, 1000])
def test_a_staircase_has_slope_zero_however_it_fits(stairs):
    def staircase(slope):
        return lambda x: (np.floor(stairs * np.abs(x)) / stairs, lambda dy: (slope * dy,))

    x = np.array([0.3003, 0.4108])
    flat, straight_through = (check_rule(staircase(slope), (x,), raises=False) for slope in (0, 1))
    assert (flat.verdict, straight_through.verdict) == ("correct", "wrong")


# Large arguments


def test_one_wrong_entry_of_many_is_found_by_bisection(backend):
    x, index = draw(40, 50), (23, 41)
    report = check_rule(tanh, (x,), max_entries=20)
    assert (report.arguments[0].entries, report.arguments[0].directions) == (20, 8)
    with pytest.raises(GradcheckError) as caught:
        check_rule(planted(tanh, 0, index), (x,), max_entries=20)
    found = caught.value.report.arguments[0]
    assert found.worst == index
    assert (found.wrong, found.entries) == (1, 21)
    assert found.wrong_directions > 0


def test_differences_find_a_missing_entry_of_many_too():
    with pytest.raises(GradcheckError) as caught:
        check_rule(planted(magnitude, 0, (7, 9), factor=0.0), (draw(30, 30),), max_entries=10)
    assert caught.value.report.arguments[0].worst == (7, 9)


@pytest.mark.parametrize("rule", [tanh, magnitude])
@pytest.mark.parametrize("seed", range(4))
def test_an_error_of_1e_4_in_one_of_10_000_entries_is_found_by_the_default_setting(rule, seed):
    x, entry = draw(100, 100, seed=seed), tuple(np.random.default_rng(seed).integers(100, size=2).tolist())
    assert check_rule(rule, (x,)).ok
    report = check_rule(planted(rule, 0, entry), (x,), raises=False)
    assert (report.verdict, report.arguments[0].worst) == ("wrong", entry)


def test_a_million_parameters_cost_few_evaluations():
    """Some 80 forward passes for each of a model's parts, and as many again to find a single wrong weight."""
    calls = []

    def layer(x, W):
        calls.append(W.shape)
        return np.tanh(W @ x), lambda dy: (None, np.outer((1 - np.tanh(W @ x) ** 2) * dy, x))

    static_x, W = np.arange(1000) % 7 - 3, draw(1000, 1000) / 30
    assert check_rule(layer, (static_x, W)).ok
    assert len(calls) < 90
    report = check_rule(planted(layer, 1, (567, 89)), (static_x, W), raises=False)
    assert (report.verdict, report.arguments[1].worst) == ("wrong", (567, 89))
    assert len(calls) < 250


def test_kinks_do_not_hide_a_wrong_entry_among_many():
    x = draw(60, 60)
    x[3, 3] = x[20, 50] = 0.0
    assert check_rule(relu, (x,), raises=False).verdict == "kink"
    report = check_rule(planted(relu, 0, (40, int(np.argmax(x[40])))), (x,), raises=False)
    assert report.verdict == "wrong"
    assert report.arguments[0].worst == (40, int(np.argmax(x[40])))


@pytest.mark.parametrize("kinks", [31, 45, 150])
def test_many_kinks_do_not_hide_a_wrong_entry_however_much_more_they_disagree(kinks):
    calls = []

    def counted_relu(x):
        calls.append(x)
        return relu(x)

    x = np.concatenate([np.zeros(kinks), 1 + np.arange(15.0)])
    assert check_rule(counted_relu, (x,), raises=False).verdict == "kink"
    assert len(calls) < 5000
    report = check_rule(planted(relu, 0, kinks + 5, 1.3), (x,), raises=False)
    assert (report.verdict, report.arguments[0].worst) == ("wrong", (kinks + 5,))


# What auto decides, and that the pullback has no say in it


@pytest.mark.parametrize("rule", [magnitude, through_floats, into_a_float_buffer])
def test_auto_falls_back_on_differences(rule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check_rule(rule, (draw(3, 4),))
    assert report.arguments[0].method == "richardson"
    assert "no complex step, as" in report.arguments[0].note
    assert report.max_error < 1e-9
    with pytest.raises(GradcheckError) as caught:
        check_rule(planted(rule, 0, (2, 1)), (draw(3, 4),))
    assert caught.value.report.arguments[0].worst == (2, 1)


def test_auto_says_why():
    def refuses(x):
        if x.dtype.kind == "c":
            raise TypeError("only real numbers here")
        return x * x, lambda dy: (2 * x * dy,)

    assert "only real numbers here" in check_rule(refuses, (draw(3),)).arguments[0].note
    assert "real output" in check_rule(magnitude, (draw(3),)).arguments[0].note
    assert "Casting complex" in check_rule(into_a_float_buffer, (draw(3),)).arguments[0].note


def test_auto_decides_per_argument():
    report = check_rule(magnitude_and_product, (draw(5), draw(5, seed=1)))
    assert [a.method for a in report.arguments] == ["richardson", "complex"]


@pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0])
@pytest.mark.parametrize(("rule", "method"), [(tanh, "complex"), (magnitude, "richardson")])
def test_a_wrong_pullback_does_not_change_the_method(rule, method, factor):
    with pytest.raises(GradcheckError) as caught:
        check_rule(planted(rule, 0, ..., factor), (draw(4),))
    assert caught.value.report.arguments[0].method == method


def test_complex_refuses_what_is_not_analytic():
    with pytest.raises(ValueError, match=r"method 'complex' cannot be used for input 'x': .*real output.*'auto' can"):
        check_rule(magnitude, (draw(3),), method="complex")


def test_kinks_away_from_the_point_do_no_harm(backend):
    x = draw(30, 40)  # the nearest of 1200 entries is 1e-4 or so from the kink
    assert check_rule(relu, (x,), max_entries=1200).ok
    assert check_rule(magnitude, (x,)).ok


def test_a_kink_at_the_point_is_named():
    """The mean of both slopes is what differences see; zero is what the rule says."""
    x = np.array([1.0, 0.0, -2.0])
    for method in ("auto", "central", "forward"):
        with pytest.raises(GradcheckError, match=r"kink here: slope -?0 on one side, -?[0-9.]+ on the other") as caught:
            check_rule(relu, (x,), method=method)
        assert caught.value.verdict == caught.value.report.verdict == "kink"
        assert caught.value.report.arguments[0].worst == (1,)
    with pytest.raises(GradcheckError) as caught:
        check_rule(planted(relu, 0, 0), (x + 0.5,), method="central")
    assert caught.value.verdict == "wrong" and "kink" not in str(caught.value)


BROKEN = {
    "a jump": lambda x: (x > 0) * 1.0,
    "a jump on a slope": lambda x: np.sin(x) + (x >= 0),
    "the root of |x|": lambda x: np.sqrt(np.abs(x)),
    "a third root": lambda x: np.cbrt(x.real),
}


@pytest.mark.parametrize("others", [(), (1.0, -2.0)])
@pytest.mark.parametrize("name", BROKEN)
def test_jumps_and_vertical_tangents_are_kinks_and_no_noise(name, others):
    x = np.array([0.0, *others])
    f, h = BROKEN[name], 2.0**-17
    slope = np.where(x == 0, 0, (f(x + h) - f(x - h)) / (2 * h))
    report = check_rule(lambda x: (f(x), lambda dy: (dy * slope,)), (x,), tolerance=1e-6, raises=False)
    assert report.verdict == "kink" and report.arguments[0].worst == (0,)
    assert "the rule jumps here, or rises vertically" in report.describe_failure()


ONCE_DIFFERENTIABLE = {  # with their slopes; there is no second derivative at zero
    "x|x|": (lambda x: x * np.abs(x), lambda x: 2 * np.abs(x)),
    "1 + x|x|": (lambda x: 1 + x * np.abs(x), lambda x: 2 * np.abs(x)),
    "relu(x)**2": (lambda x: np.maximum(x, 0) ** 2, lambda x: 2 * np.maximum(x, 0)),
}


@pytest.mark.parametrize("others", [(), (1.0, -2.0)])
@pytest.mark.parametrize("name", ONCE_DIFFERENTIABLE)
def test_where_a_rule_is_differentiable_but_once_its_gradient_is_judged_all_the_same(name, others):
    f, slope = ONCE_DIFFERENTIABLE[name]
    x = np.array([0.0, *others])
    assert check_rule(lambda x: (f(x), lambda dy: (dy * slope(x),)), (x,)).ok
    with pytest.raises(GradcheckError, match="verdict: wrong"):
        check_rule(lambda x: (f(x), lambda dy: (dy * (slope(x) + 1e-4 * (x == 0)),)), (x,))


@pytest.mark.parametrize("method", ["auto", "central", "forward"])
def test_a_right_gradient_is_not_called_wrong_where_differences_cannot_follow_the_rule(method):
    def steep(factor):
        return lambda x: (np.tanh(1e8 * x), lambda dy: (factor * 1e8 * dy * (1 - np.tanh(1e8 * x) ** 2),))

    x = np.array([1e-9, 3e-9])
    right, wrong = (check_rule(steep(factor), (x,), method=method, raises=False) for factor in (1, 1.2))
    if method == "auto":  # its tolerance is the narrowest
        assert right.verdict == "too noisy" and "the rule bends too sharply here" in right.describe_failure()
    else:
        assert right.verdict == "correct"
    assert wrong.verdict == "wrong" and wrong.arguments[0].ratio == pytest.approx(1.2, rel=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [1.5, -1.0])
def test_a_gradient_outside_of_both_slopes_is_wrong_if_it_is_so_beside_the_kink_too(factor, dtype):
    def outside(x):
        return np.abs(x), lambda dy: (dy * factor * np.where(x == 0, 1.5, np.sign(x)),)

    report = check_rule(outside, (np.array([0.0, 1.0], dtype)[:1],), raises=False)
    assert report.verdict == "wrong" and "the gradient lies outside of them" in str(report)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_several_kinks_meet_a_gradient_outside_of_both_slopes_is_no_fault(dtype):
    def meeting(x):  # slopes 1 and 2, and by the rule of relu, zero at zero, a gradient of 0
        return 2 * np.maximum(x, 0) - np.maximum(-x, 0), lambda dy: (dy * (2 * (x > 0) + (x < 0)).astype(x.dtype),)

    report = check_rule(meeting, (np.array([0.0, 0.7], dtype),), raises=False)
    assert report.verdict == "kink" and "it is right a step beside" in str(report)


def test_a_layer_of_relu_with_a_state_of_zeros_is_at_its_kinks_and_not_wrong():
    rnn = RNN(3, 4, 2, nonlinearity="relu", init="orthogonal", learned_state=True, dtype="float64", seed=5)
    x = np.random.default_rng(5).standard_normal((4, 2, 3))
    assert gradcheck(rnn, (x,), raises=False).verdict == "kink"


def test_the_taylor_remainder_convicts_where_the_method_is_too_coarse():
    """Forward differences can give no digit of this slope, but a remainder that falls like h is no matter of method."""

    def saturated(factor):
        return lambda x: (100 + np.tanh(x), lambda dy: (factor * dy * (1 - np.tanh(x) ** 2),))

    right, wrong = (check_rule(saturated(f), (np.array([7.0]),), method="forward", raises=False) for f in (1, 1.2))
    assert (right.verdict, wrong.verdict) == ("too noisy", "wrong")
    found = wrong.arguments[0]
    assert abs(found.analytic - found.numeric) < found.uncertainty
    assert found.taylor_slope == pytest.approx(1, abs=0.05)


def test_without_raising_the_report_comes_back_whatever_it_says():
    report = check_rule(planted(tanh, 0, 1), (draw(3),), raises=False)
    assert (report.verdict, report.ok, report.arguments[0].verdict) == ("wrong", False, "wrong")
    with pytest.raises(GradcheckError) as caught:
        check_rule(planted(tanh, 0, 1), (draw(3),))
    assert caught.value.report.describe_failure() == str(caught.value)


def test_a_sweep_is_made_on_request_only():
    assert check_rule(tanh, (draw(3),)).arguments[0].v_curve is None
    curve = check_rule(tanh, (draw(3),), sweep=True).arguments[0].v_curve
    assert min(curve.central) < 1e-9 < 1e-3 < curve.central[0]


def test_zeros_at_the_point_leave_no_rounding_to_measure_noise_by():
    """The output is zero, and with it what its rounding could be."""

    def cube_root_of_two_less(x):
        return (2 + x) ** (1 / 3) - 2 ** (1 / 3) + 0 * np.abs(x), lambda dy: (dy * (2 + x) ** (-2 / 3) / 3,)

    assert check_rule(cube_root_of_two_less, (np.zeros(3),), method="richardson").ok
    with pytest.raises(GradcheckError, match="verdict: wrong"):
        check_rule(planted(cube_root_of_two_less, 0, 0), (np.zeros(3),), method="richardson")


# Precision


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_float32_is_checked_loosely(backend, method):
    x = asarray(to_numpy(draw(3, 4)), dtype=np.float32)
    assert check_rule(tanh, (x,), method=method).ok
    with pytest.raises(GradcheckError):
        check_rule(planted(tanh, 0, (0, 1), factor=1.5), (x,), method=method)


# Options, reproducibility, odd sizes


def test_tolerance_decides():
    wrong = planted(tanh, 0, 1)
    assert check_rule(wrong, (draw(3),), tolerance=2e-4).ok
    with pytest.raises(GradcheckError, match="allowed 5e-05"):
        check_rule(wrong, (draw(3),), tolerance=5e-5)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    x = draw(20, 20)
    reports = [check_rule(tanh, (x,), seed=seed, max_entries=9).to_dict() for seed in (3, 3, 4)]
    values = [[(a["analytic"], a["worst"], a["max_error"]) for a in report["arguments"]] for report in reports]
    assert values[0] == values[1] != values[2]


def test_empty_arguments_pass():
    report = check_rule(product, (np.ones((2, 0)), np.ones((0, 3))))
    assert [a.note for a in report.arguments] == ["not checked: it is empty"] * 2
    assert report.ok
    json.dumps(report.to_dict())


def test_integers_and_booleans_are_skipped(backend):
    def masked(x, mask, none):
        return x * mask, lambda dy: (dy * mask, None, None)

    mask = asarray(np.array([True, False, True]))
    report = check_rule(masked, (draw(3), mask, None))
    assert [a.method for a in report.arguments] == ["complex", "-", "-"]
    assert [a.note for a in report.arguments[1:]] == ["not checked: it is bool", "not checked: it is None"]
    ids = np.array([0, 2, 2, 1])
    assert check_rule(take, (np.random.default_rng(0).standard_normal((3, 2)), ids)).ok


def test_static_arguments_reach_the_rule():
    def scaled(x, *, factor):
        return factor * x, lambda dy: (factor * dy,)

    assert check_rule(scaled, (draw(3),), {"factor": 3.0}).arguments[0].numeric != 0


def test_unwanted_gradients_may_be_missing():
    def picky(x, y, *, wanted=(True, True)):
        return x * y, lambda dz: (dz * y if wanted[0] else None, dz * x if wanted[1] else None)

    inputs = draw(3), draw(3, seed=1)
    report = check_rule(picky, inputs, {"wanted": (True, False)})
    assert [a.note for a in report.arguments] == ["", "not checked: it is not wanted"]


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda x: x[::-1, ::2], lambda x: x.T, lambda x: x[:, :1]])
def test_any_memory_layout(layout):
    x = layout(np.random.default_rng(5).standard_normal((4, 6)))
    assert check_rule(tanh, (x,)).ok
    with pytest.raises(GradcheckError) as caught:
        check_rule(planted(tanh, 0, (2, 0)), (x,))
    assert caught.value.report.arguments[0].worst == (2, 0)


def test_inputs_keep_their_bits():
    inputs = draw(4, 2), draw(3, 4), draw(3, 1)
    before = [x.copy() for x in inputs]
    for method in METHODS:
        check_rule(affine, inputs, method=method)
    for x, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, old)


def root(x):
    """Real on purpose, so that the complex step is no way out."""
    return np.sqrt(x.real), lambda dy: (0.5 * dy / np.sqrt(x),)


@pytest.mark.parametrize(("method", "x"), [("central", 1e-3), ("central", 1e-5), ("auto", 1e-5), ("auto", 1e-12)])
def test_steps_are_shortened_until_they_stay_in_the_domain(method, x):
    inputs = (np.array([x, 1.0]),)
    with np.errstate(all="raise"):
        assert check_rule(root, inputs, method=method).ok
    with pytest.raises(GradcheckError, match="verdict: wrong"):
        check_rule(planted(root, 0, 0, 1.01), inputs, method=method)


def test_where_every_step_leaves_the_domain_that_argument_alone_cannot_be_judged():
    def root_times(x, y, z):
        """With a gradient of zero at x = 0, as user code has it."""

        def root_times_pullback(dw):
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(x > 0, 0.5 * dw * y * z / np.sqrt(x), 0), dw * np.sqrt(x) * z, dw * np.sqrt(x) * y

        return np.sqrt(x.real) * y * z, root_times_pullback

    inputs = np.array([0.0, 2.0]), draw(2), draw(2, seed=1)
    report = check_rule(root_times, inputs, raises=False)
    assert [a.verdict for a in report.arguments] == ["too noisy", "correct", "correct"]
    assert report.arguments[0].worst == (0,)
    assert "a step leaves the domain of the rule" in report.describe_failure()
    assert json.loads(json.dumps(report.to_dict()))["arguments"][0]["uncertainty"] is None
    report = check_rule(planted(root_times, 1, 1), inputs, raises=False)
    assert [a.verdict for a in report.arguments] == ["too noisy", "wrong", "correct"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "symbolic"}, "method must be one of auto, complex, .*'symbolic'"),
        ({"tolerance": 0.0}, "tolerance must be a number between 0 and 1, got 0.0"),
        ({"tolerance": float("nan")}, "tolerance must be a number between 0 and 1, got nan"),
        ({"tolerance": "1e-6"}, "tolerance must be a number between 0 and 1, got '1e-6'"),
        ({"max_entries": 0}, "max_entries must be a positive integer, got 0"),
        ({"max_entries": 9.0}, "max_entries must be a positive integer, got 9.0"),
        ({"max_entries": None}, "max_entries must be a positive integer, got None"),
        ({"names": ["x", "y"]}, "names must name each of the 1 inputs, got 2"),
        ({"seed": -1}, "seed must be an integer"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        check_rule(tanh, (draw(3),), **options)


def test_threads_get_the_numbers_of_a_serial_run_and_leave_no_filter():
    def numbers(seed):
        report = check_rule(magnitude_and_product, (x, x + 1), seed=seed).to_dict()
        return [{**argument, "seconds": 0} for argument in report["arguments"]]

    x, filters = draw(5), list(warnings.filters)
    serial = [numbers(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(numbers, range(16))) == serial
    assert warnings.filters == filters


# For random functions


@st.composite
def compositions(draw):
    """A polynomial of degree three, after which tanh or not, and its slope; coefficients away from zero."""
    coefficients = draw(st.lists(st.floats(0.2, 2) | st.floats(-2, -0.2), min_size=2, max_size=4))
    p = np.polynomial.Polynomial(coefficients)
    squash = draw(st.booleans())

    def composition(x, scale):
        y = np.tanh(p(x)) if squash else p(x)

        def composition_pullback(dz):
            slope = p.deriv()(x) * ((1 - y * y) if squash else 1)
            return dz * scale * slope, np.asarray(np.sum(dz * y))

        return y * scale, composition_pullback

    return composition


@given(
    rule=compositions(),
    x=st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=6),
    scale=st.floats(0.5, 2),
    method=st.sampled_from(["auto", *METHODS]),
    data=st.data(),
)
def test_right_compositions_pass_and_planted_errors_do_not(rule, x, scale, method, data):
    inputs = np.array(x), np.array(scale)
    (y,), (dy,), gradients = pull_back(rule, inputs, {}, ["x", "scale"], seed=0)
    assume(all(np.abs(g).max() > 0.02 * np.abs(y * dy).sum() for g in gradients))  # else differences see only rounding
    assert check_rule(rule, inputs, method=method).ok
    argument = data.draw(st.integers(0, 1))
    sizes = np.abs(gradients[argument])
    index = data.draw(st.sampled_from([k for k in np.ndindex(sizes.shape) if sizes[k] > 0.3 * sizes.max()]))
    with pytest.raises(GradcheckError):
        check_rule(planted(rule, argument, index), inputs, method=method)


def test_the_complex_step_of_the_checker_is_that_of_the_module(monkeypatch):
    """What the report calls complex is `differences.complex_step`, not a second implementation."""
    monkeypatch.setattr("minirnn.checking.numeric.complex_step", lambda f: 2 * differences.complex_step(f))
    with pytest.raises(ValueError, match="cannot be used"):
        check_rule(tanh, (draw(3),), method="complex")


@pytest.mark.parametrize(("factor", "verdict"), [(1, "correct"), (1.1, "wrong")])
def test_steps_that_leave_the_domain_warn_nobody(factor, verdict):
    def log_of_the_real_part(x):
        def log_of_the_real_part_pullback(dy):
            return (factor * dy / x,)

        return np.log(x.real), log_of_the_real_part_pullback

    with np.errstate(all="raise"):
        for x in (0.01, 2.0**-8, 0.5, 1.0):
            assert check_rule(log_of_the_real_part, (np.array([x]),), raises=False).verdict == verdict


def test_the_mean_of_both_slopes_at_a_kink_passes_as_the_documentation_says():
    def half_at_0(x):
        return np.maximum(x, 0), lambda dy: (dy * ((x > 0) + 0.5 * (x == 0)),)

    assert check_rule(half_at_0, (np.array([1.0, 0.0, -2.0]),)).verdict == "correct"
