"""The report reads well, survives JSON, and an error says everything needed to find the fault."""

import json

import numpy as np
import pytest

from minirnn.checking import GradcheckError, check_rule
from minirnn.checking.report import gravest


def scale(x, factor):
    return x * factor, lambda dy: (dy * factor, np.sum(dy * x))


def scale_twice(x, factor):
    return x * factor, lambda dy: (dy * factor, 2 * np.sum(dy * x))


X, FACTOR = np.random.default_rng(2).standard_normal((2, 3)), np.array(1.5)


def test_the_report_is_a_table():
    lines = str(check_rule(scale, (X, FACTOR))).splitlines()
    assert lines[0] == "gradient check of scale, seed 0: correct"
    assert " ".join(lines[1].split()) == "argument shape compared method max error tolerance Taylor worst at verdict"
    assert [line.split()[0] for line in lines[2:]] == ["x", "factor"]
    assert all(line.endswith("correct") and "complex" in line for line in lines[2:])


def test_only_scalars_have_the_index_of_no_axes():
    lines = str(check_rule(scale, (X, FACTOR), max_entries=2)).splitlines()
    assert "2 + 8 directions" in lines[2]
    assert lines[3].split()[-2:] == ["()", "correct"]


def test_the_report_survives_json():
    report = check_rule(scale, (X, FACTOR), seed=7)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (data["rule"], data["seed"], data["ok"], data["max_error"]) == ("scale", 7, True, report.max_error)
    assert [a["name"] for a in data["arguments"]] == ["x", "factor"]
    assert data["arguments"][0]["shape"] == [2, 3]
    assert data["arguments"][0]["entries"] == 6


def test_the_largest_error_is_that_of_the_worst_argument():
    report = check_rule(scale, (X, FACTOR), method="forward")
    assert report.max_error == max(a.max_error for a in report.arguments) > 0


def test_a_failure_tells_all():
    with pytest.raises(GradcheckError) as caught:
        check_rule(scale_twice, (X, FACTOR), method="central", seed=3)
    message = str(caught.value)
    for part in (
        "the gradient check of scale_twice failed, verdict: wrong",
        "argument 'factor' (): wrong in 1 of 1 entries",
        "worst at (): analytic ",
        "ratio 2\n",
        "relative error 0.5, allowed 1e-06, method central, float64",
        "the Taylor remainder falls like h**1.00 (2 if right, 1 if wrong)",
        "reproduce: check_rule(scale_twice, inputs, method='central', seed=3, max_entries=200)",
    ):
        assert part in message
    assert [line.split()[-1] for line in message.splitlines()[-2:]] == ["correct", "WRONG"]
    assert not caught.value.report.ok
    assert isinstance(caught.value, AssertionError)


def test_the_call_repeats_every_option_that_was_given():
    rule = lambda x, *, k: (k * x, lambda dy: (k * dy,))
    report = check_rule(rule, (X.astype("f4"),), {"k": 2}, tolerance=1e-3, max_entries=5)
    assert report.call == (
        "check_rule(<lambda>, inputs, static, method='auto', tolerance=0.001, seed=0, max_entries=5)"
    )


def test_the_ratio_of_a_numeric_zero_is_infinite():
    with pytest.raises(GradcheckError, match=r"numeric 0 ±.* ratio -inf"):
        check_rule(lambda x: (0 * x + 1, lambda dy: (-np.abs(dy),)), (X,))


def test_guesses_say_where_a_gradient_goes_wrong():
    report = check_rule(scale_twice, (X, FACTOR), raises=False)
    assert [str(guess.place) for guess in report.guesses] == ["factor"]
    assert report.describe_failure().splitlines()[1] == f"guess: {report.guesses[0].text} (factor)"
    assert report.to_dict()["guesses"][0]["place"]["argument"] == "factor"
    assert check_rule(scale, (X, FACTOR)).guesses == ()


def test_large_gradients_are_guessed_at_by_what_was_compared():
    """Only 8 of 400 entries were looked at, and all have the wrong sign."""
    report = check_rule(lambda x: (x * x, lambda dy: (-2 * dy * x,)), (np.ones((20, 20)) + X[0, 0],), raises=False,
                        max_entries=8)  # fmt: skip
    assert "-1" in report.guesses[0].text


def test_the_gravest_verdict_speaks_for_all():
    assert gravest([]) == "correct"
    assert gravest(["correct", "kink", "too noisy"]) == "kink"
    assert gravest(["wrong", "kink"]) == "wrong"


def test_a_v_curve_is_drawn_with_letters_and_survives_json():
    report = check_rule(lambda x: (np.sin(x), lambda dy: (dy * np.cos(x),)), (X,), sweep=True)
    curve = report.arguments[0].v_curve
    lines = str(curve).splitlines()
    assert str(report).endswith(str(curve))
    assert lines[0] == "relative error over the step h"
    axis = next(line for line in lines if "+---" in line)
    assert axis[7:].index("2") == 20 and axis[7:].index("3") == 29  # columns of 2**-26 and 2**-17, of 2**-46 to 2**-1
    assert any("f" in line for line in lines[1:4]) and any(line.count("c") == 1 for line in lines)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))["arguments"][0]["v_curve"]
    assert len(data["steps"]) == len(data["forward"]) == len(data["central"]) == 46
    assert data["best_forward"] == 2.0**-26


def test_a_straight_line_has_no_v_curve():
    report = check_rule(lambda x: (2 * x, lambda dy: (2 * dy,)), (np.array([0.5]),), sweep=True)
    assert str(report.arguments[0].v_curve) == "no error at any step"
