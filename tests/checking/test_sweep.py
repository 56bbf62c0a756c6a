"""What a walk along one line tells: kinks, noise, and how the Taylor remainder of a claim falls."""

import math
from zlib import crc32

import numpy as np
import pytest

from minirnn.checking.sweep import Sweep, quick_taylor_slope, taylor_slope, walk

SMOOTH = {"exp": math.exp, "sin 20t": lambda t: math.sin(20 * t), "cubic": lambda t: t**3 - t, "line": lambda t: 3 * t}


def noise(t, level):
    """Noise that is the same at every visit, as that of a real function is."""
    return level * np.random.default_rng(crc32(np.float64(t).tobytes())).standard_normal()


@pytest.mark.parametrize("f", SMOOTH.values(), ids=SMOOTH)
def test_smooth_functions_have_neither_kinks_nor_noise(f):
    sweep = walk(f)
    assert sweep.kink() is None
    assert sweep.noise <= 1e-12


@pytest.mark.parametrize(
    ("f", "slopes"),
    [
        (abs, (-1, 1)),
        (lambda t: max(t, 0.0), (0, 1)),
        (lambda t: max(t, 0.0) + math.exp(3 * t), (3, 4)),
        (lambda t: 1e-6 * abs(t) + t, (1 - 1e-6, 1 + 1e-6)),
        (lambda t: max(t, 0.0) + noise(t, 1e-7), (0, 1)),
        (lambda t: max(t - 1e-9, 0.0), (0, 1)),  # nearer than differences can see
        (lambda t: max(t - 1e-3, 0.0), None),
        (lambda t: max(t + 0.5, 0.0), None),
        (lambda t: t * t, None),
        (lambda t: 5.0, None),
        (lambda t: noise(t, 1e-7), None),
        (lambda t: round(t, 5), None),
    ],
)
def test_kinks_are_told_from_curves_noise_and_stairs(f, slopes):
    found = walk(f).kink()
    assert (found is None) == (slopes is None)
    assert slopes is None or found == pytest.approx(slopes, abs=0.03 * (slopes[1] - slopes[0]))


def test_a_kink_in_float32_is_seen_too():
    sweep = walk(lambda t: float(np.float32(np.tanh(np.float32(t)) + abs(np.float32(t)))), eps=2.0**-23)
    assert sweep.kink() == pytest.approx((0, 2), abs=0.02)


@pytest.mark.parametrize("level", [1e-13, 1e-10, 1e-7, 1e-3])
@pytest.mark.parametrize("seed", range(5))
def test_noise_is_measured(level, seed):
    sweep = walk(lambda t: math.sin(t + 1) + noise(t + seed, level))
    assert level / 2 < sweep.noise < 5 * level


def test_values_rounded_to_a_grid_are_noisy_too():
    assert 1e-8 < walk(lambda t: round(math.sin(t + 1), 7)).noise < 2e-7
    assert 1e-8 < walk(lambda t: float(np.sin(np.float32(t + 1)))).noise < 2e-7


@pytest.mark.parametrize(
    ("fault", "slope"), [(0.0, 2), (2.0, 1), (-1e-2, 1), (1e-5, 1)], ids=["right", "gross", "one percent", "small"]
)
def test_the_taylor_remainder_tells_right_from_wrong(fault, slope):
    claim = math.cos(1) * (1 + fault)
    sweep = walk(lambda t: math.sin(t + 1))
    assert sweep.taylor_slope(claim, 2.0**-52) == pytest.approx(slope, abs=0.05)
    assert sweep.refutes(claim, 2.0**-52) is (slope == 1)
    if fault != 1e-5:  # too small for eight values
        assert quick_taylor_slope(lambda t: math.sin(t + 1), claim, 2.0**-52) == pytest.approx(slope, abs=0.05)


def test_a_straight_line_leaves_no_remainder():
    assert walk(lambda t: 3 * t).taylor_slope(3.0, 0.0) is None
    assert walk(lambda t: 3 * t).taylor_slope(3.1, 0.0) == pytest.approx(1)
    assert not walk(lambda t: 3 * t).refutes(3.0, 0.0)


def test_a_remainder_that_only_long_steps_show_refutes_nothing():
    """Where a function saturates, its remainder falls like h at first."""
    sweep = walk(lambda t: math.tanh(1e3 * t) + noise(t, 0.1))
    assert sweep.taylor_slope(1e3, 0.1) < 1.3
    assert not sweep.refutes(1e3, 0.1)


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda t: t * abs(t), 0.0),
        (lambda t: 3 * t + max(t, 0.0) ** 2, 3.0),
        (lambda t: math.tanh(1e8 * t), 1e8),
        (lambda t: math.sqrt(1e-6 + t) - 1e-3 if t > -1e-6 else math.nan, 500.0),
    ],
)
def test_what_falls_steadily_measures_a_claim(f, slope):
    sweep, unit = walk(f), max(slope, 1.0)
    right, wrong = sweep.measure(slope, 1e-18), sweep.measure(slope + 1e-2 * unit, 1e-18)
    assert right.least == 0 and right.most < 1e-4 * unit
    assert right.slope == pytest.approx(slope, abs=2 * right.most)
    assert wrong is None or wrong.least < 1e-2 * unit < wrong.most


@pytest.mark.parametrize(
    "f",
    [lambda t: math.sin(t + 1) + noise(t, 1e-7), lambda t: float(np.sin(np.float32(t + 1))), math.floor, lambda t: 0.0],
)
@pytest.mark.parametrize("claim", [math.cos(1), 0.0, 1.0])
def test_noise_and_stairs_measure_no_claim(f, claim):
    assert walk(f).measure(claim, 2.0**-53) is None


@pytest.mark.parametrize(
    ("f", "broken"),
    [
        (lambda t: t > 0, True),
        (lambda t: math.sin(t) - (t < 0), True),
        (lambda t: abs(t) ** 0.5, True),
        (lambda t: math.copysign(abs(t) ** (1 / 3), t), True),
        (lambda t: t > 0.01, False),
        (lambda t: math.floor(8 * t + 0.5), False),
        (abs, False),
        (lambda t: noise(t, 1e-7), False),
        (lambda t: float(np.sin(np.float32(t + 1))), False),
        (lambda t: 5.0, False),
        (math.exp, False),
    ],
)
def test_jumps_and_vertical_tangents_are_told_from_all_else(f, broken):
    assert walk(lambda t: float(f(t))).is_broken() is broken


def test_only_what_stands_clear_of_the_noise_is_fitted():
    steps = 2.0 ** -np.arange(1, 30)
    remainders = steps**2 + 1e-9
    assert taylor_slope(steps, remainders, 1e-9) == pytest.approx(2, abs=0.05)
    assert taylor_slope(steps, remainders, 1e-2) is None
    assert taylor_slope(steps, np.where(steps > 0.1, np.inf, remainders), 1e-9) == pytest.approx(2, abs=0.05)


def test_long_steps_may_leave_the_domain():
    sweep = walk(lambda t: np.sqrt(0.01 + t))
    assert np.isnan(sweep.behind).any()
    assert sweep.kink() is None and sweep.noise < 1e-12
    assert sweep.taylor_slope(5.0, 1e-16) == pytest.approx(2, abs=0.05)


def test_errors_of_differences_make_a_v():
    sweep, slope = walk(lambda t: math.exp(0.7 + t)), math.exp(0.7)
    forward, central = sweep.errors(slope, slope)
    assert isinstance(sweep, Sweep)
    assert np.log2(sweep.steps[forward.argmin()]) == pytest.approx(-26, abs=4)
    assert np.log2(sweep.steps[central.argmin()]) == pytest.approx(-17, abs=4)
    assert min(forward[0], central[0]) > 1e-2 and central[-10:].max() > 1e-5
