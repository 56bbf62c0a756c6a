"""A rule that breaks its contract is named, whatever its numbers are."""

import itertools
import json
from functools import partial

import numpy as np
import pytest

from minirnn import Tensor, rules
from minirnn.arrays import asarray, to_numpy
from minirnn.checking import GradcheckError, check_rule
from minirnn.rules.combinators import in_runs, reverse, scan, truncate

X = np.random.default_rng(1).standard_normal((3, 2))
IDS = np.array([2, 0])


def with_pullback(pullback):
    """The rule ``x, ids -> x[ids]`` with another pullback."""

    def rule(x, ids):
        return x[ids] * 1.0, pullback

    return rule


def right(dy):
    dx = np.zeros_like(X)
    np.add.at(dx, IDS, dy)
    return dx, None


@pytest.mark.parametrize(
    ("pullback", "message"),
    [
        (lambda dy: (None, None), "gradient of 'x' must be an array, got None"),
        (lambda dy: right(dy)[0], r"must return a tuple of gradients, one for each of x, ids, got ndarray \(3, 2\)"),
        (lambda dy: right(dy)[:1], r"must return a tuple of gradients.*got \(ndarray \(3, 2\),\)"),
        (lambda dy: list(right(dy)), "must return a tuple of gradients.*got list"),
        (
            lambda dy: (right(dy)[0], np.zeros(2)),
            r"'ids' must be None, because the argument is int64 \(pass floats",
        ),
        (lambda dy: (dy, None), r"gradient of 'x' has shape \(2, 2\), the argument has \(3, 2\)"),
        (lambda dy: (right(dy)[0].astype("f4"), None), "gradient of 'x' has dtype float32, the argument has float64"),
        (lambda dy: (1.0, None), "gradient of 'x' must be an array, got float"),
        (lambda dy: (right(dy)[0] / [[1], [0], [1]], None), "'x' is not finite in 2 entries, first at \\(1, 0\\)"),
    ],
)
def test_the_form_of_gradients(pullback, message):
    assert check_rule(with_pullback(right), (X, IDS)).ok
    with np.errstate(all="ignore"), pytest.raises(GradcheckError, match=message):
        check_rule(with_pullback(pullback), (X, IDS))


@pytest.mark.parametrize("rule", [rules.matmul, rules.multiply])
def test_nobody_asks_for_the_gradient_of_integers(rule):
    """These have one for every argument, unless they are told that nobody wants it, as the tape tells them."""
    x, y = asarray(np.arange(6).reshape(2, 3)), asarray(X[:3] if rule is rules.matmul else X.reshape(2, 3))
    report = check_rule(rule, (x, y))
    assert report.ok and [argument.entries for argument in report.arguments] == [0, y.size]
    assert check_rule(rule, (x * 1.0, y), {"wanted": (False, True)}).arguments[0].note.endswith("not wanted")


def test_a_gradient_on_another_backend(backend):
    if backend is np:
        return
    with pytest.raises(GradcheckError, match="gradient of 'x' lives on numpy, the argument on cupy"):
        check_rule(lambda x: (x * 2.0, lambda dy: (2 * to_numpy(dy),)), (asarray(X),))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda x: x * 2, r"<lambda> must return \(output, pullback\), got ndarray \(3, 2\)"),
        (lambda x: (x, x), r"<lambda> must return \(output, pullback\), got \(ndarray \(3, 2\), ndarray \(3, 2\)\)"),
        (lambda x: ((), lambda: (x,)), "<lambda> returned no output"),
        (lambda x: ([x], lambda dy: (dy,)), "the output of <lambda> must be an array or a tuple of arrays, got list"),
        (lambda x: (Tensor(x), lambda dy: (dy,)), r"the output of <lambda> must be an array or .* got Tensor \(3, 2\)"),
        (lambda x: (x > 0, lambda dy: (dy,)), "output 0 of <lambda> must be a float array, or of integers, got bool"),
        (lambda x: (IDS, lambda dy: (x,)), "<lambda> must return a float array, and its outputs are all integers"),
    ],
)
def test_the_form_of_outputs(rule, message):
    with np.errstate(all="ignore"), pytest.raises(GradcheckError, match=message):
        check_rule(rule, (X,))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_count_among_outputs_and_inputs_is_asked_for_nothing(dtype, factor):
    """Of one step, and of the sequence that `scan` makes of it."""

    def counting_step(a, h_prev, n_prev):
        share = 1 / (1 + n_prev).astype(a.dtype)
        h = np.tanh(a + h_prev * share)

        def counting_step_pullback(dh, dn):
            da = factor * dh * (1 - h * h)
            return da, da * share, None

        return (h, n_prev + 1), counting_step_pullback

    a, n = np.stack([X, -X]).astype(dtype), np.arange(6).reshape(X.shape)
    for rule, inputs in ((counting_step, (a[0], a[1] / 2, n)), (scan(counting_step), (a, a[1] / 2, n))):
        report = check_rule(rule, inputs, raises=False)
        assert report.verdict == ("correct" if factor == 1 else "wrong")
        assert {argument.method for argument in report.arguments} == {"complex", "-"}


@pytest.mark.parametrize("made", [partial(truncate, window=2), partial(truncate, window=2, back=4), in_runs, reverse])
def test_combinators_carry_a_count_through_several_windows(made, monkeypatch):
    def counting_step(a, h_prev, n_prev):
        h = np.tanh(a + h_prev * (n_prev % 2))
        return (h, n_prev + 1), lambda dh, dn: (dh * (1 - h * h), dh * (1 - h * h) * (n_prev % 2), None)

    monkeypatch.setattr("minirnn.rules.combinators.windows.COLUMNS", 4)  # of two columns in two runs and a half
    a_xs, h_0, n_0 = np.stack([X, -X, X / 2, 2 * X, X]), X / 3, np.zeros((1, 2), int)
    rule = made(scan(counting_step))
    (hs, h, n), pullback = rule(a_xs, h_0, n_0)
    for dn in (np.zeros((1, 2)), np.zeros((1, 2), int)):
        da_xs, _, nothing = pullback(np.ones_like(hs), h, dn)
        assert nothing is None and da_xs.shape == a_xs.shape and da_xs.all()
    assert (n == 5).all()


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
def test_where_an_output_is_not_finite_the_point_is_to_blame_and_not_the_gradient(nothing):
    message = "output 1 of <lambda> is not finite at the point of the check; choose other inputs"
    with pytest.raises(ValueError, match=message):
        check_rule(lambda x: ((x, x * 0 + nothing), lambda dy, dz: (dy,)), (X,), raises=False)


# Purity


def overwrites_input(x):
    y = 2 * x
    x *= 2
    return y, lambda dy: (2 * dy,)


def pullback_overwrites_input(x):
    def pullback(dy):
        x[0] = 0
        return (2 * dy,)

    return 2 * x, pullback


def pullback_overwrites_output(x):
    y = 2 * x

    def pullback(dy):
        y[...] = 2 * dy
        return (y.copy(),)

    return y, pullback


def pullback_overwrites_cotangent(x):
    def pullback(dy):
        dy *= 2
        return (dy.copy(),)

    return 2 * x, pullback


def pullback_draws(x):
    random = np.random.default_rng(0)
    return 2 * x, lambda dy: (2 * dy * (1 + 1e-15 * random.standard_normal(x.shape)),)


def pullback_accumulates(x):
    """Right the first time: the buffer is never cleared."""
    dx = np.zeros_like(x)

    def pullback(dy):
        dx[...] += 2 * dy
        return (dx,)

    return 2 * x, pullback


count = itertools.count()


def forward_drifts(x):
    return x + next(count), lambda dy: (dy,)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (overwrites_input, "overwrites_input wrote into its input 'x'"),
        (pullback_overwrites_input, "the pullback of pullback_overwrites_input wrote into the input 'x'"),
        (pullback_overwrites_output, "the pullback of pullback_overwrites_output wrote into output 0"),
        (pullback_overwrites_cotangent, "the pullback of pullback_overwrites_cotangent wrote into cotangent 0"),
        (pullback_draws, "called twice gives other bits for 'x'"),
        (pullback_accumulates, "called twice gives other bits for 'x'"),
        (forward_drifts, "forward_drifts called twice gives other bits in output 0"),
    ],
)
def test_impure_rules_are_named(rule, message):
    with pytest.raises(GradcheckError, match=message):
        check_rule(rule, (X.copy(),))


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (overwrites_input, "wrong"),
        (pullback_overwrites_cotangent, "wrong"),
        (pullback_draws, "nondeterministic"),
        (forward_drifts, "nondeterministic"),
    ],
)
def test_the_verdict_on_a_breach_of_the_contract(rule, verdict):
    report = check_rule(rule, (X.copy(),), raises=False)
    assert (report.verdict, report.arguments) == (verdict, ())
    assert report.reason in report.describe_failure() and report.reason in str(report)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["max_error"] is None


def test_another_answer_is_told_with_its_distance():
    with pytest.raises(GradcheckError, match="in output 0, off by 1 at most"):
        check_rule(forward_drifts, (X,))


def test_a_pullback_may_use_its_own_buffer_again():
    buffer = np.empty_like(X)

    def pullback(dy):
        return (np.multiply(dy, 2, out=buffer),)

    assert check_rule(lambda x: (2 * x, pullback), (X,)).ok


# Inputs


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (X.tolist(), TypeError, "input 'x': expected a NumPy or CuPy array, got list"),
        (1.0, TypeError, "input 'x': .* got float"),
        (X + 0j, ValueError, "input 'x' is complex128; gradients are checked at real points only"),
        (X.astype(np.float16), ValueError, "input 'x' is float16; pass float64"),
        (X.astype(object), ValueError, "input 'x' is object; pass float64"),
        (np.array([1.0, np.nan]), ValueError, "input 'x' holds values that are not finite"),
        (IDS, ValueError, "nothing to check: no input is a float array"),
        (None, ValueError, "nothing to check"),
    ],
)
def test_bad_inputs_are_explained(x, error, message):
    with pytest.raises(error, match=message):
        check_rule(lambda x: (2 * x, lambda dy: (2 * dy,)), (x,))


def test_inputs_must_share_a_home(backend):
    if backend is np:
        return
    with pytest.raises(TypeError, match="different places"):
        check_rule(lambda x, y: (x, lambda dz: (dz, dz)), (X, asarray(X)))


def test_given_names_appear_in_messages():
    rule = lambda *xs: (2 * xs[0], lambda dy: (None,))
    with pytest.raises(GradcheckError, match="gradient of 'weight_hh_l0' must be an array"):
        check_rule(rule, (X,), names=["weight_hh_l0"])
