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


def wrong_if_one_of_three_outputs_is_unused(x):
    def pullback(*cotangents):
        used = sum(bool((d != 0).any()) for d in cotangents)
        return ((1.5 if used == 2 else 1.0) * sum(cotangents),)

    return (1.0 * x, 1.0 * x, 1.0 * x), pullback


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


def keeps_what_it_does_not_read(x):
    def pullback(dy):
        return (2 * dy + 0 * x.size,)

    return 2 * x, pullback


def keeps_what_another_argument_needs(x, y, *, wanted=(True, True)):
    x_saved, y_saved = (x if any(wanted) else None), (y if wanted[0] else None)

    def pullback(dz):
        return (dz * y_saved if wanted[0] else None), (dz * x_saved if wanted[1] else None)

    return x * y, pullback


def forgets_imaginary_cotangents(x):
    def pullback(dy):
        return (2 * dy.real,)

    return 2 * x, pullback


def conjugates(x):
    def pullback(dy):
        return (2 * x.conj() * dy if x.dtype.kind == "f" else 3 * x.conj() * dy,)

    return x * x, pullback


def returns_less_if_nothing_is_wanted(x, y, *, wanted=(True, True)):
    def pullback(dz):
        return tuple(dz if flag else None for flag in wanted) if any(wanted) else (None,)

    return x + y, pullback


def shows_nothing(x, h_0, *, probe=None):
    def pullback(dy, dh):
        return 2 * dy, dh

    return (2 * x, 1.0 * h_0), pullback


def running_sum(wrong=""):
    """The running sum as a sequence rule, ``h_t = h_prev + x_t``: all that is asked of x_t is asked of h_t."""

    def sums(x, h_0, *, probe=None):
        hs = h_0 + np.cumsum(x, axis=0)
        for t, h in enumerate(hs):
            if probe is not None:
                probe("h", t, h if wrong == "lent" else h.copy())

        def pullback(dhs, dh):
            dx = np.zeros_like(x)
            for t in reversed(range(len(x))):
                late = dh + 0
                dh = dh + dhs[t]
                dx[t] = dh
                if probe is not None:
                    probe("dh", t, late if wrong == "dh" else dh.copy())
                    probe("da", t, -dh if wrong == "da" else dh.copy())
                    dh = dh + 1e-9 if wrong == "bits" else dh
            return dx, dh

        return (hs, hs[-1] + 0 if len(x) else h_0 + 0), pullback

    return sums


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
    wrong_if_one_of_three_outputs_is_unused: (
        laws.every_subset_of_outputs,
        r"the gradient of 'x' with zeros for all outputs but \(0, 1\) is not the sum of theirs",
    ),
    gives_float64: (laws.float32_stays_float32, "the gradient of 'x' became float64"),
    computes_in_float64: (laws.float32_stays_float32, "output 0 became float64"),
    reads_memory_order: (
        laws.any_memory_layout,
        "the gradient of 'x' differs for inputs and cotangents in Fortran order",
    ),
    computes_what_nobody_wants: (laws.wanted_decides, "with nothing wanted there is a gradient of 'x'"),
    saves_for_nobody: (laws.wanted_decides, "with nothing wanted the pullback still holds 1 arrays"),
    keeps_what_it_does_not_read: (
        laws.keeps_what_it_reads,
        r"for all gradients it keeps an array \(2, 3\) that its pullback never reads",
    ),
    forgets_imaginary_cotangents: (
        laws.passes_complex_numbers,
        "the gradient of 'x' is not linear in a complex cotangent of output 0",
    ),
    conjugates: (
        laws.passes_complex_numbers,
        "the gradient of 'x' is another where argument 0 is complex with imaginary part zero",
    ),
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
        (returns_less_if_nothing_is_wanted, "with nothing wanted there are 1 entries, not 2"),
    ],
)
def test_flags_that_are_read_wrongly_are_found(rule, message):
    with pytest.raises(AssertionError, match=message):
        laws.wanted_decides(rule, (X.copy(), X + 1))


def test_what_is_kept_for_another_argument_is_found():
    with pytest.raises(AssertionError, match=r"for wanted=\(True, False\) it keeps an array \(2, 3\)"):
        laws.keeps_what_it_reads(keeps_what_another_argument_needs, (X.copy(), X + 1))
    laws.keeps_what_it_reads(rules.multiply, (X.copy(), X + 1))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (shows_nothing, r"the probe was not shown \['dh'\]"),
        (running_sum("dh"), "output 0 of step 0, shown as dh, is wrong"),
        (running_sum("da"), "the gradient of 'x' is not what was shown as da"),
        (running_sum("bits"), "with a probe a gradient has other bits"),
        (running_sum("lent"), "with a probe the outputs have other bits"),
    ],
)
def test_a_probe_that_is_lied_to_is_found(rule, message):
    random = np.random.default_rng(1)
    inputs = random.normal(size=(3, 4, 2)), random.normal(size=(4, 2))
    with pytest.raises(AssertionError, match=message):
        laws.probes_see_the_truth(rule, inputs)
    laws.probes_see_the_truth(running_sum(), inputs)


def test_another_result_on_the_device_is_found():
    with (
        strict_cupy() as cupy,
        pytest.raises(AssertionError, match=r"law same_on_numpy, .* output 0 differs from NumPy's"),
    ):
        laws.same_on_numpy(multiplies_device_by_host, (cupy.asarray(X),))


def test_every_law_has_a_rule_that_breaks_it():
    broken = {law for law, _ in BROKEN.values()} | {laws.same_on_numpy, laws.probes_see_the_truth}
    assert broken == set(laws.LAWS)


def test_a_law_can_be_left_out_by_name():
    check_laws(gives_float64, (X,), without=("float32_stays_float32",))
    with pytest.raises(ValueError, match=r"without must name laws \(pure, .*\), got \['purity'\]"):
        check_laws(rules.tanh, (X,), without=("purity",))
