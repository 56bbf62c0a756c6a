"""Each numeric derivative is as good as its order promises, and no better."""

import math

import numpy as np
import pytest

from minirnn.checking import along, best_step, central, complex_step, forward, richardson

CURVES = {  # f, f' at zero; np functions, so that complex numbers pass
    "exp(sin)": (lambda t: np.exp(np.sin(0.7 + t)), math.cos(0.7) * math.exp(math.sin(0.7))),
    "tanh(3t)": (lambda t: np.tanh(3 * (t + 0.2)), 3 / math.cosh(0.6) ** 2),
    "rational": (lambda t: 1 / (1 + (t + 0.5) ** 2), -1 / 1.25**2),
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(
    ("derivative", "worst", "best"),
    [(complex_step, 1e-15, 0), (lambda f: richardson(f)[0], 1e-10, 0), (central, 1e-9, 1e-14), (forward, 1e-6, 1e-10)],
    ids=["complex", "richardson", "central", "forward"],
)
def test_accuracy(curve, derivative, worst, best):
    f, exact = CURVES[curve]
    error = abs(derivative(f) / exact - 1)
    assert best <= error <= worst


@pytest.mark.parametrize(("method", "order"), [(forward, 1), (central, 4)])
def test_truncation_falls_with_the_order(method, order):
    f, exact = CURVES["exp(sin)"]
    coarse, fine = (abs(method(f, step) - exact) for step in (2.0**-5, 2.0**-7))
    assert math.log(coarse / fine, 4) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize(("method", "order"), [(forward, 1), (central, 4)])
def test_the_best_step_sits_in_the_valley(method, order):
    """The V-curve of a gradient check: rounding on its left arm, truncation on its right."""

    def error(step):  # over many points, as at one point the errors may cancel
        x = np.linspace(-1, 1, 41)
        return np.linalg.norm(method(lambda t: np.tanh(x + t), step) - 1 / np.cosh(x) ** 2)

    valley = error(best_step(order))
    assert valley < error(best_step(order) / 64) / 4
    assert valley < error(best_step(order) * 64) / 4


@pytest.mark.parametrize("curve", CURVES)
def test_richardson_knows_its_error(curve):
    f, exact = CURVES[curve]
    value, error = richardson(f, rounding=2.0**-52)
    assert abs(value - exact) <= error < 1e-9


def test_richardson_steps_inside_a_kink():
    value, error = richardson(lambda t: abs(t - 1e-3), rounding=2.0**-62)
    assert value == pytest.approx(-1, abs=1e-10)
    assert error < 1e-6


@pytest.mark.parametrize("power", range(2, 16))
def test_richardson_is_not_fooled_by_waves_that_fit_its_steps(power):
    w = 2 * math.pi * 2**power
    value, error = richardson(lambda t: t * t + 3 * t + math.sin(w * t), rounding=2.0**-52)
    assert abs(value - 3 - w) <= 2 * error < 1e-6 * w


@pytest.mark.parametrize("stairs", [4, 8, 16, 32, 64, 100, 1024, 2**14])
def test_richardson_sees_the_tread_and_not_the_slope_of_a_staircase(stairs):
    assert richardson(lambda t: math.floor(stairs * t + 0.3) / stairs, rounding=2.0**-54)[0] == 0


def test_richardson_admits_that_it_cannot_resolve_noise():
    noise = np.random.default_rng(0)
    _, error = richardson(lambda t: t + 0.01 * noise.standard_normal())
    assert error > 1e-3


def test_rounding_keeps_short_steps_from_winning_by_chance():
    """In float32 two short steps often give the same wrong quotient, and the tableau alone would believe them."""
    f = lambda t: float(np.tanh(np.float32(0.7) + np.float32(t)))
    exact = 1 / math.cosh(0.7) ** 2
    naive, _ = richardson(f)
    value, error = richardson(f, rounding=2.0**-24)
    assert abs(value - exact) <= error < 1e-3
    assert abs(value - exact) < abs(naive - exact)


def test_complex_step_is_exact_where_differences_drown():
    f = lambda t: 1e15 + np.tanh(t)
    assert complex_step(f) == 1
    assert abs(central(f) - 1) > 1e-3


def test_along_moves_every_entry_by_its_direction():
    x, direction = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [0.0, -2.0]])
    line = along(lambda z: (z**2).sum(), x, direction)
    assert line(0.0) == 30
    assert complex_step(line) == pytest.approx(2 * 1 - 2 * 2 * 4, rel=1e-15)
