"""The LSTM as step and as sequence: what holds for recurrences beyond the laws of every rule, and what it allocates."""

import tracemalloc

import numpy as np
import pytest

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.checking import check_rule
from minirnn.kernels import kernels_of
from minirnn.testing import arrays_in, saved_bytes


def draw(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [asarray(random.normal(size=shape)) for shape in shapes]


VARIANTS = ["plain", "projection", "peepholes", "projection and peepholes"]
of_every_variant = pytest.mark.parametrize("variant", VARIANTS)


def arguments(T=4, B=2, H=3, variant="plain", seed=0):
    """a_xs, h_0, c_0, W_hh, and what the variant needs of W_hr and peepholes; a projection is to two rows."""
    P = 2 if "projection" in variant else H
    *plain, W_hr, peepholes = draw((T, 4 * H, B), (P, B), (H, B), (4 * H, P), (P, H), (3, H), seed=seed)
    return *plain, W_hr if "projection" in variant else None, peepholes if "peepholes" in variant else None


def cotangents(T=4, B=2, H=3, P=None, seed=1):
    """Of hs, h_T and c_T."""
    P = H if P is None else P
    return draw((T, P, B), (P, B), (H, B), seed=seed)


def assert_close(found, expected):
    for x, y in zip(found, expected, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=1e-12, atol=1e-13)


def assert_equal(found, expected):
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_numpy(x), to_numpy(y))


@of_every_variant
def test_a_step_is_a_sequence_of_one(backend, variant):
    a_xs, h_0, *rest = arguments(T=1, variant=variant)
    dhs, dh, dc = cotangents(T=1, P=len(h_0))
    (hs, h_T, c_T), pullback = rules.lstm(a_xs, h_0, *rest)
    (h, c), step_pullback = rules.lstm_step(a_xs[0], h_0, *rest)
    assert_close((hs[0], h_T, c_T), (h, h, c))
    da_xs, *rest = pullback(dhs, dh, dc)
    assert_close((da_xs[0], *rest), step_pullback(dhs[0] + dh, dc))


@of_every_variant
def test_a_sequence_of_no_steps_hands_its_state_on(backend, variant):
    inputs = arguments(T=0, variant=variant)
    dhs, dh, dc = cotangents(T=0, P=len(inputs[1]))
    (hs, h_T, c_T), pullback = rules.lstm(*inputs)
    assert hs.shape == dhs.shape
    assert_equal((h_T, c_T), inputs[1:3])
    da_xs, dh_0, dc_0, *dweights = pullback(dhs, dh, dc)
    assert da_xs.shape == (0, 12, 2)
    assert_equal((dh_0, dc_0), (dh, dc))
    assert_close(dweights, [None if W is None else np.zeros(W.shape) for W in inputs[3:]])


@of_every_variant
@pytest.mark.parametrize("sizes", [{"H": 0}, {"B": 0}])
def test_a_size_of_zero_is_no_special_case(backend, sizes, variant):
    inputs = arguments(variant=variant, **sizes)
    given_back = cotangents(P=len(inputs[1]), **sizes)
    outputs, pullback = rules.lstm(*inputs)
    expected = [getattr(x, "shape", None) for x in (*given_back, *inputs)]
    assert [getattr(x, "shape", None) for x in (*outputs, *pullback(*given_back))] == expected


@of_every_variant
@pytest.mark.parametrize("run", [1, 2, 3, 6, 7, 100])
def test_the_length_of_the_runs_of_slopes_changes_no_bit(backend, monkeypatch, run, variant):
    T, B, H = 7, 2, 3
    inputs = arguments(T, B, H, variant)
    given_back = cotangents(T, B, H, len(inputs[1]))
    _, pullback = rules.lstm(*inputs)
    in_one_run = [dx for dx in pullback(*given_back) if dx is not None]
    monkeypatch.setattr(kernels_of(asarray(0.0)), "RUN", run * 5 * H * B)
    assert_equal([dx for dx in pullback(*given_back) if dx is not None], in_one_run)


@of_every_variant
def test_several_runs_of_slopes_agree_with_numbers(backend, monkeypatch, variant):
    monkeypatch.setattr(kernels_of(asarray(0.0)), "RUN", 2 * 5 * 3 * 2)
    check_rule(rules.lstm, arguments(T=5, variant=variant), max_entries=20)


@of_every_variant
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_kept_per_step_is_six_numbers_per_unit_or_fewer_with_a_projection(backend, dtype, variant):
    H, B, P = 5, 3, 2 if "projection" in variant else 5

    def saved(T):
        _, pullback = rules.lstm(*(None if x is None else x.astype(dtype) for x in arguments(T, B, H, variant)))
        return saved_bytes(pullback)

    assert saved(9) - saved(8) == (5 * H + P) * B * np.dtype(dtype).itemsize


@of_every_variant
def test_inference_saves_nothing(backend, variant):
    inputs = arguments(variant=variant)
    _, pullback = rules.lstm(*inputs, wanted=(False,) * 6)
    assert arrays_in(pullback) == []
    assert pullback(*cotangents(P=len(inputs[1]))) == (None,) * 6


@of_every_variant
def test_outputs_are_not_saved_for_the_weights_if_nobody_wants_these(variant):
    inputs = arguments(T=8, variant=variant)
    (hs, *_), pullback = rules.lstm(*inputs, wanted=(True, True, True, False, True, True))
    assert not any(np.shares_memory(hs, x) for x in arrays_in(pullback))


@pytest.mark.parametrize("saving", [True, False])
def test_forward_allocates_what_it_returns_and_saves(fresh_memory, saving):
    T, B, H = 40, 16, 32
    inputs = arguments(T, B, H)
    step = H * B * 8  # bytes of one state
    tracemalloc.start()
    try:
        rules.lstm(*inputs, wanted=(saving,) * 6)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    hs, cs, gates = (T + 1) * step, (T + 1 if saving else 1) * step, (T if saving else 1) * 4 * step
    assert hs + cs + gates <= peak < 1.02 * (hs + cs + gates + 2 * step) + 4096  # the ends are copies


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"a": (4, 11, 2)}, "c (3, 2), P = H needs a (T, 4H, B) = (4, 12, 2), got (4, 11, 2)"),
        ({"a": (4, 12, 1)}, "c (3, 2), P = H needs a (T, 4H, B) = (4, 12, 2), got (4, 12, 1)"),
        ({"a": (12, 2)}, "c (3, 2), P = H needs a (T, 4H, B) = (12, 12, 2), got (12, 2)"),
        ({"a": (1, 4, 12, 2)}, "c (3, 2), P = H needs a (T, 4H, B) = (1, 12, 2), got (1, 4, 12, 2)"),
        ({"a": ()}, "c (3, 2), P = H needs a (4H, B) = (12, 2), got ()"),
        ({"h": (3,)}, "c (3, 2), P = H needs h (P, B) = (3, 2), got (3,)"),
        ({"h": (3, 1)}, "c (3, 2), P = H needs h (P, B) = (3, 2), got (3, 1)"),
        ({"h": (2, 2)}, "c (3, 2), P = H needs h (P, B) = (3, 2), got (2, 2)"),
        ({"h": (1, 3, 2)}, "c (3, 2), P = H needs h (P, B) = (3, 2), got (1, 3, 2)"),
        (
            {"c": (3, 1)},
            "c (3, 1), P = H needs a (T, 4H, B) = (4, 12, 1), got (4, 12, 2); h (P, B) = (3, 1), got (3, 2)",
        ),
        ({"c": (3,)}, "needs c (H, B), got (3,)"),
        ({"c": (1, 3, 2)}, "needs c (H, B), got (1, 3, 2)"),
        ({"W_hh": (3, 12)}, "c (3, 2), P = H needs W_hh (4H, P) = (12, 3), got (3, 12)"),
        ({"W_hh": (12, 4)}, "c (3, 2), P = H needs W_hh (4H, P) = (12, 3), got (12, 4)"),
        ({"W_hr": (3, 2)}, "c (3, 2), W_hr (3, 2) needs W_hr (P, H) = (3, 3), got (3, 2)"),
        ({"W_hr": ()}, "c (3, 2), W_hr () needs h (P, B) = (2,), got (3, 2); W_hh (4H, P) = (12,), got"),
        (
            {"W_hr": (2, 3)},
            "c (3, 2), W_hr (2, 3) needs h (P, B) = (2, 2), got (3, 2); W_hh (4H, P) = (12, 2), got (12, 3)",
        ),
        ({"W_hr": (2, 3), "h": (2, 2)}, "c (3, 2), W_hr (2, 3) needs W_hh (4H, P) = (12, 2), got (12, 3)"),
        ({"peepholes": (3,)}, "c (3, 2), P = H needs peepholes (3, H) = (3, 3), got (3,)"),
        ({"peepholes": (3, 4)}, "c (3, 2), P = H needs peepholes (3, H) = (3, 3), got (3, 4)"),
        ({"peepholes": (9,)}, "c (3, 2), P = H needs peepholes (3, H) = (3, 3), got (9,)"),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused_by_name(wrong, complaint):
    shapes = {"a": (4, 12, 2), "h": (3, 2), "c": (3, 2), "W_hh": (12, 3), "W_hr": None, "peepholes": None} | wrong
    inputs = [None if shape is None else np.zeros(shape) for shape in shapes.values()]
    with pytest.raises(ValueError, match=r"^an LSTM ") as refusal:
        rules.lstm(*inputs)
    assert complaint in str(refusal.value)


def test_a_step_refuses_a_sequence():
    with pytest.raises(ValueError, match=r"an LSTM with .* needs a \(4H, B\) = \(12, 2\), got \(4, 12, 2\)$"):
        rules.lstm_step(*arguments())
