"""Schedules: the factor at every step, by formula and at the corners."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.training import Plateau, cosine, exponential, step_decay, warmup

steps = st.integers(0, 10_000)


@given(steps, st.integers(1, 500), st.floats(0.1, 1))
def test_step_decay_falls_at_every_multiple(step, every, gamma):
    assert step_decay(every, gamma)(step) == gamma ** (step // every)


@given(steps, st.floats(0.5, 1))
def test_exponential(step, gamma):
    assert exponential(gamma)(step) == gamma**step


@given(st.integers(1, 1000), st.floats(0, 1))
def test_cosine_goes_from_one_to_the_floor_and_stays(total, floor):
    factor = cosine(total, floor)
    assert factor(0) == 1
    assert factor(total) == factor(total + 1) == factor(10 * total) == pytest.approx(floor, abs=1e-15)
    assert factor(2 * total) == factor(total)
    walk = [factor(step) for step in range(total + 1)]
    assert all(a >= b for a, b in pairwise(walk))
    half = (factor(total // 2) + factor(total - total // 2)) / 2  # half a cosine is odd about its middle
    assert half == pytest.approx((1 + floor) / 2)


def test_cosine_by_hand():
    factor = cosine(4, floor=0.2)
    expected = [1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2, 0.2]
    assert [factor(step) for step in range(6)] == pytest.approx(expected)


@given(st.integers(1, 100), steps)
def test_warmup_rises_linearly_and_never_starts_at_zero(length, step):
    expected = (step + 1) / length if step < length else 1.0
    assert warmup(length)(step) == expected > 0


def test_warmup_then_cosine_counts_from_where_the_warmup_ends():
    factor, after = warmup(5, then=cosine(20)), cosine(20)
    assert [factor(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert [factor(step) for step in range(5, 40)] == [after(step) for step in range(35)]


def test_plateau_waits_then_falls_and_waits_anew():
    plateau = Plateau(patience=2, gamma=0.1)
    factors = []
    for loss in [5.0, 4.0, 4.0, 4.5, 4.1, 4.2, 3.0, 3.5]:  # equal is no improvement
        plateau.observe(loss)
        factors.append(plateau(0))
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])
    assert plateau(0) == plateau(12345)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_never_counts_as_the_best(bad):
    plateau = Plateau(patience=3)
    plateau.observe(bad)
    assert plateau.state_dict() == {"best": None, "waited": 1, "factor": 1.0}
    plateau.observe(2.0)
    plateau.observe(bad)
    assert plateau.state_dict() == {"best": 2.0, "waited": 1, "factor": 1.0}


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.integers(0, 12))
def test_plateau_goes_on_from_its_state(losses, cut):
    whole, first, second = Plateau(2), Plateau(2), Plateau(2)
    for loss in losses:
        whole.observe(loss)
    for loss in losses[:cut]:
        first.observe(loss)
    second.load_state_dict(first.state_dict())
    for loss in losses[cut:]:
        second.observe(loss)
    assert second.state_dict() == whole.state_dict() and second(0) == whole(0)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: step_decay(0), "every must be a positive integer, got 0"),
        (lambda: step_decay(10, gamma=-0.1), "gamma must be .* got -0.1"),
        (lambda: step_decay(2.5), "every must be a positive integer, got 2.5"),
        (lambda: exponential(math.nan), "gamma must be .* got nan"),
        (lambda: exponential("0.9"), "gamma must be .* got '0.9'"),
        (lambda: cosine(0), "total must be .* got 0"),
        (lambda: cosine(True), "total must be .* got True"),
        (lambda: cosine(10, floor=-1), "floor must be .* got -1"),
        (lambda: warmup(0), "steps must be .* got 0"),
        (lambda: warmup(2.5), "steps must be a positive integer, got 2.5"),
        (lambda: Plateau(patience=0), "patience must be .* got 0"),
        (lambda: Plateau(patience=1.5), "patience must be a positive integer, got 1.5"),
        (lambda: Plateau(gamma=math.inf), "gamma must be .* got inf"),
    ],
)
def test_bad_arguments_are_explained(make, message):
    with pytest.raises(ValueError, match=message):
        make()
