"""The judge of slopes: it convicts what is wrong in one entry of many, and nothing else."""

from zlib import crc32

import numpy as np
import pytest

from minirnn.checking.slopes import refuse_wrong_slopes

random = np.random.default_rng(3)
X, V = random.normal(size=(2, 50))


def judge(gradient_of, slopes, x=X, v=V):
    calls = []

    def gradient_at(t):
        calls.append(t)
        return [gradient_of(x + t * v)]

    refuse_wrong_slopes(["x"], [slopes], 1.0, [gradient_of(x)], gradient_at, max(1.0, np.abs(x).max()))
    return len(calls)


def test_a_right_slope_costs_two_gradients():
    assert judge(np.sin, np.cos(X) * V) == 2


@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0, 1.01, 2.0])
@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-9])
def test_one_wrong_entry_is_named_however_small_it_is(factor, size):
    scale = np.where(np.arange(50) == 17, size, 1.0)
    slopes = scale * np.cos(X) * V
    assert judge(lambda x: scale * np.sin(x), slopes) < 20
    slopes[17] *= factor
    with pytest.raises(ValueError, match=r"at 'x' \(17,\) is .* in 1 of 50 entries they disagree"):
        judge(lambda x: scale * np.sin(x), slopes)


@pytest.mark.parametrize("noise", [1e-14, 1e-10, 1e-6])
def test_noise_of_any_size_raises_no_alarm(noise):
    """The gradient is zero everywhere, and what it shows is rounding, other at every point."""
    many = np.random.default_rng(5).normal(size=(2, 2000))

    def rounding(x):
        return noise * np.random.default_rng(crc32(x.tobytes())).normal(size=x.shape)

    judge(rounding, np.zeros(2000), *many)
    judge(lambda x: np.sin(x) + rounding(x), np.cos(many[0]) * many[1], *many)


def test_kinks_at_any_distance_raise_no_alarm_and_hide_nothing_else():
    x = 10.0 ** -np.arange(1.0, 13.0)
    for v in (np.ones(12), -np.ones(12)):
        judge(lambda x: np.maximum(x, 0), v, x, v)
        wrong = v.copy()
        wrong[:6] *= 0.5  # the kinks far from here
        with pytest.raises(ValueError, match="in 6 of 12 entries"):
            judge(lambda x: np.maximum(x, 0), wrong, x, v)
