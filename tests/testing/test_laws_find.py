"""The laws are laws: a rule that breaks one is found out by that law, and by name."""

import numpy as np
import pytest

from minirnn import rules
from minirnn.arrays import xp_of
from minirnn.testing import check_laws, laws, strict_cupy

X = np.random.default_rng(0).normal(size=(2, 3))


def remembers_calls(x):
    remembers_calls.calls += 1

    def pullback(dy):
        return (2 * dy,)

    return 2 * x + remembers_calls.calls, pullback


remembers_calls.calls = 0


def writes_into_input(x):
    x *= 2

    def pullback(dy):
        return (dy,)

    return x, pullback


def writes_into_cotangent(x):
    def pullback(dy):
        dy *= 2
        return (dy.copy(),)

    return 2 * x, pullback


def writes_into_what_it_saved(x):
    y = xp_of(x).exp(x)

    def pullback(dy):
        dx = dy * y
        y[...] = 0
        return (dx,)

    return y.copy(), pullback


def wrong_by_a_little(x):
    def pullback(dy):
        return (1.0001 * dy * 3 * x**2,)

    return x**3, pullback


def clips_its_gradient(x):
    def pullback(dy):
        return (xp_of(x).clip(5 * dy, -3, 3),)

    return 5 * x, pullback


def seeded_from_the_input(x):
    def pullback(dy):
        return (x + dy,)

    return 1.0 * x, pullback


def wrong_if_the_second_output_is_unused(x):
    def pullback(dy, dz):
        return (dy + 3 * dz if (dz != 0).any() else 2 * dy,)

    return (1.0 * x, 3 * x), pullback


def gives_float64(x):
    def pullback(dy):
        return (dy * np.float64(2),)

    return 2 * x, pullback


def computes_in_float64(x):
    def pullback(dy):
        return (2 * dy,)

    return x * np.float64(2), pullback


def reads_memory_order(x):
    def pullback(dy):
        return (dy.ravel("K").reshape(x.shape),)

    return 1.0 * x, pullback


def asks_for_the_wrong_side(x, y, *, wanted=(True, True)):
    def pullback(dz):
        return (dz * y if wanted[1] else None), (dz * x if wanted[0] else None)

    return x * y, pullback


def computes_what_nobody_wants(x, *, wanted=(True,)):
    def pullback(dy):
        return (2 * dy,)

    return 2 * x, pullback


def saves_for_nobody(x, *, wanted=(True,)):
    def pullback(dy):
        return (dy * x if wanted[0] else None,)

    return x * x / 2, pullback


def gives_other_bits_unless_all_is_wanted(x, y, *, wanted=(True, True)):
    scale = 1.0 if all(wanted) else 1.0 + 2.0**-52

    def pullback(dz):
        return (scale * dz if wanted[0] else None), (dz if wanted[1] else None)

    return x + y, pullback


def multiplies_device_by_host(x):
    def pullback(dy):
        return (3 * dy if isinstance(x, np.ndarray) else 2 * dy,)

    return (3 * x if isinstance(x, np.ndarray) else 2 * x), pullback


BROKEN = {
    remembers_calls: (laws.pure, "called twice it gives other bits in output 0"),
    writes_into_input: (laws.pure, "called twice it gives other bits in output 0"),
    writes_into_cotangent: (laws.pure, "its pullback called twice gives other bits for 'x'"),
    writes_into_what_it_saved: (laws.pure, "its pullback called twice gives other bits for 'x'"),
    wrong_by_a_little: (laws.gradients_match_numbers, "'x'"),
    clips_its_gradient: (laws.linear_in_the_cotangent, "the gradient of 'x' is not linear in the cotangent"),
    seeded_from_the_input: (laws.zero_gives_zero, "the gradient of 'x' is not zero"),
    wrong_if_the_second_output_is_unused: (laws.every_subset_of_outputs, r"zeros for all outputs but \(0,\)"),
    gives_float64: (laws.float32_stays_float32, "the gradient of 'x' became float64"),
    computes_in_float64: (laws.float32_stays_float32, "output 0 became float64"),
    reads_memory_order: (
        laws.any_memory_layout,
        "the gradient of 'x' differs for inputs and cotangents in Fortran order",
    ),
    computes_what_nobody_wants: (laws.wanted_decides, "with nothing wanted there is a gradient of 'x'"),
    saves_for_nobody: (laws.wanted_decides, "with nothing wanted the pullback still holds 1 arrays"),
}


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_a_broken_rule_is_found_by_the_law_it_breaks(rule):
    law, message = BROKEN[rule]
    with pytest.raises(AssertionError, match=message):
        law(rule, (X.copy(),))
    with pytest.raises(AssertionError):
        check_laws(rule, (X.copy(),))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            asks_for_the_wrong_side,
            "with 'x' wanted there is a gradient of 'y'|the gradient of 'x' alone has other bits",
        ),
        (gives_other_bits_unless_all_is_wanted, "the gradient of 'x' alone has other bits"),
    ],
)
def test_flags_that_are_read_wrongly_are_found(rule, message):
    with pytest.raises(AssertionError, match=message):
        laws.wanted_decides(rule, (X.copy(), X + 1))


def test_another_result_on_the_device_is_found():
    with (
        strict_cupy() as cupy,
        pytest.raises(AssertionError, match=r"law same_on_numpy, .* output 0 differs from NumPy's"),
    ):
        laws.same_on_numpy(multiplies_device_by_host, (cupy.asarray(X),))


def test_every_law_has_a_rule_that_breaks_it():
    broken = {law for law, _ in BROKEN.values()} | {laws.same_on_numpy}
    assert broken == set(laws.LAWS)


def test_a_law_can_be_left_out_by_name():
    check_laws(gives_float64, (X,), without=("float32_stays_float32",))
    with pytest.raises(ValueError, match=r"without must name laws \(pure, .*\), got \['purity'\]"):
        check_laws(rules.tanh, (X,), without=("purity",))
