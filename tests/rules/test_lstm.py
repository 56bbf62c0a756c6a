"""The LSTM as step and as sequence: what holds for recurrences beyond the laws of every rule, and what it allocates."""

import importlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import rules
from minirnn.arrays import asarray, to_numpy, xp_of
from minirnn.checking import check_rule
from minirnn.testing import arrays_in, saved_bytes
from minirnn.testing import strategies as some


def draw(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [asarray(random.normal(size=shape)) for shape in shapes]


def arguments(T=4, B=2, H=3, seed=0):
    return draw((T, 4 * H, B), (H, B), (H, B), (4 * H, H), seed=seed)


def cotangents(T=4, B=2, H=3, seed=1):
    """Of hs, h_T and c_T."""
    return draw((T, H, B), (H, B), (H, B), seed=seed)


def assert_close(found, expected):
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=1e-12, atol=1e-13)


def assert_equal(found, expected):
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_numpy(x), to_numpy(y))


def by_hand(a_xs, h, c, W_hh, dhs, dh, dc):
    """Outputs and gradients of the sequence from a loop over the rule of one step."""
    hs, pullbacks = [], []
    for a_t in a_xs:
        (h, c), pullback = rules.lstm_step(a_t, h, c, W_hh)
        hs.append(h)
        pullbacks.append(pullback)
    h_T, c_T, da_xs, dW_hh = h, c, [], 0
    for dh_t, pullback in zip(dhs[::-1], reversed(pullbacks), strict=True):
        da, dh, dc, part = pullback(dh + dh_t, dc)
        da_xs.append(da)
        dW_hh = dW_hh + part
    xp = xp_of(a_xs)
    return (xp.stack(hs), h_T, c_T), (xp.stack(da_xs[::-1]), dh, dc, dW_hh)


def test_a_step_is_a_sequence_of_one(backend):
    a_xs, h_0, c_0, W_hh = arguments(T=1)
    dhs, dh, dc = cotangents(T=1)
    (hs, h_T, c_T), pullback = rules.lstm(a_xs, h_0, c_0, W_hh)
    (h, c), step_pullback = rules.lstm_step(a_xs[0], h_0, c_0, W_hh)
    assert_close((hs[0], h_T, c_T), (h, h, c))
    da_xs, *rest = pullback(dhs, dh, dc)
    assert_close((da_xs[0], *rest), step_pullback(dhs[0] + dh, dc))


@pytest.mark.parametrize("B", [1, 2])
@pytest.mark.parametrize("T", [1, 2, 7])
def test_a_sequence_is_a_chain_of_steps(backend, T, B):
    inputs, given_back = arguments(T, B), cotangents(T, B)
    outputs, pullback = rules.lstm(*inputs)
    expected, gradients = by_hand(*inputs, *given_back)
    assert_close(outputs, expected)
    assert_close(pullback(*given_back), gradients)


def test_a_sequence_of_no_steps_hands_its_state_on(backend):
    inputs, (dhs, dh, dc) = arguments(T=0), cotangents(T=0)
    (hs, h_T, c_T), pullback = rules.lstm(*inputs)
    assert hs.shape == (0, 3, 2)
    assert_equal((h_T, c_T), inputs[1:3])
    da_xs, dh_0, dc_0, dW_hh = pullback(dhs, dh, dc)
    assert da_xs.shape == (0, 12, 2)
    assert_equal((dh_0, dc_0, dW_hh), (dh, dc, np.zeros((12, 3))))


@pytest.mark.parametrize("sizes", [{"H": 0}, {"B": 0}])
def test_a_size_of_zero_is_no_special_case(backend, sizes):
    outputs, pullback = rules.lstm(*arguments(**sizes))
    gradients = pullback(*cotangents(**sizes))
    assert [x.shape for x in (*outputs, *gradients)] == [
        x.shape for x in (*cotangents(**sizes), *arguments(**sizes))
    ]  # fmt: skip


@given(inputs=some.lstm_arguments(T=(3, 5)), data=st.data())
def test_a_cotangent_reaches_no_later_step(inputs, data):
    (hs, h_T, c_T), pullback = rules.lstm(*inputs)
    k = data.draw(st.integers(0, len(hs) - 1), label="step with a cotangent")
    dhs = np.zeros_like(hs)
    dhs[k] = 1 + np.random.default_rng(0).random(h_T.shape)
    da_xs, *_ = pullback(dhs, np.zeros_like(h_T), np.zeros_like(c_T))
    assert not da_xs[k + 1 :].any()
    assert all(da.any() for da in da_xs[: k + 1])


@given(inputs=some.lstm_arguments(T=(3, 6)), data=st.data())
def test_splitting_and_carrying_the_state_changes_nothing(inputs, data):
    a_xs, h_0, c_0, W_hh = inputs
    (T, _, B), H = a_xs.shape, len(h_0)
    k = data.draw(st.integers(0, T), label="cut")
    dhs, dh, dc = cotangents(T, B, H)
    whole, pullback = rules.lstm(*inputs)
    (hs_1, h_k, c_k), pullback_1 = rules.lstm(a_xs[:k], h_0, c_0, W_hh)
    (hs_2, h_T, c_T), pullback_2 = rules.lstm(a_xs[k:], h_k, c_k, W_hh)
    assert_close((np.concatenate([hs_1, hs_2]), h_T, c_T), whole)
    da_2, dh_k, dc_k, dW_2 = pullback_2(dhs[k:], dh, dc)
    da_1, dh_0, dc_0, dW_1 = pullback_1(dhs[:k], dh_k, dc_k)
    assert_close((np.concatenate([da_1, da_2]), dh_0, dc_0, dW_1 + dW_2), pullback(dhs, dh, dc))


@given(inputs=some.lstm_arguments(B=(2, 4)), random=some.generators())
def test_permuting_the_batch_permutes_outputs_and_gradients(inputs, random):
    a_xs, h_0, c_0, W_hh = inputs
    (T, _, B), H = a_xs.shape, len(h_0)
    order = random.permutation(B)
    outputs, pullback = rules.lstm(*inputs)
    permuted, permuted_pullback = rules.lstm(a_xs[..., order], h_0[..., order], c_0[..., order], W_hh)
    assert_close(permuted, [y[..., order] for y in outputs])
    given_back = cotangents(T, B, H)
    *by_column, dW_hh = pullback(*given_back)
    expected = [*(dx[..., order] for dx in by_column), dW_hh]
    assert_close(permuted_pullback(*(dy[..., order] for dy in given_back)), expected)


@pytest.mark.parametrize("run", [1, 2, 3, 6, 7, 100])
def test_the_length_of_the_runs_of_slopes_changes_no_bit(backend, monkeypatch, run):
    T, B, H = 7, 2, 3
    _, pullback = rules.lstm(*arguments(T, B, H))
    in_one_run = pullback(*cotangents(T, B, H))
    monkeypatch.setattr(importlib.import_module("minirnn.rules.lstm"), "SLOPES", run * (5 * H * B + 1))
    assert_equal(pullback(*cotangents(T, B, H)), in_one_run)


def test_several_runs_of_slopes_agree_with_numbers(backend, monkeypatch):
    monkeypatch.setattr(importlib.import_module("minirnn.rules.lstm"), "SLOPES", 2 * (5 * 3 * 2 + 1))
    check_rule(rules.lstm, arguments(T=5), max_entries=20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_kept_per_step_is_six_numbers_per_unit(backend, dtype):
    def saved(T, H=5, B=3):
        _, pullback = rules.lstm(*(x.astype(dtype) for x in arguments(T, B, H)))
        return saved_bytes(pullback)

    assert saved(9) - saved(8) == 6 * 5 * 3 * np.dtype(dtype).itemsize


def test_inference_saves_nothing(backend):
    _, pullback = rules.lstm(*arguments(), wanted=(False,) * 4)
    assert arrays_in(pullback) == []
    assert pullback(*cotangents()) == (None,) * 4


def test_outputs_are_not_saved_for_the_weights_if_nobody_wants_these():
    inputs = arguments(T=8)
    (hs, *_), pullback = rules.lstm(*inputs, wanted=(True, True, True, False))
    assert not any(np.shares_memory(hs, x) for x in arrays_in(pullback))


@pytest.mark.parametrize("saving", [True, False])
def test_forward_allocates_what_it_returns_and_saves(saving):
    T, B, H = 40, 16, 32
    inputs = arguments(T, B, H)
    step = H * B * 8  # bytes of one state
    tracemalloc.start()
    try:
        rules.lstm(*inputs, wanted=(saving,) * 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    hs, cs, gates = (T + 1) * step, (T + 1 if saving else 1) * step, (T if saving else 1) * 4 * step
    assert hs + cs + gates <= peak < 1.02 * (hs + cs + gates + 2 * step) + 4096  # the ends are copies


@pytest.mark.parametrize(
    "wrong",
    [
        {"a_xs": (4, 11, 2)},
        {"a_xs": (4, 12, 1)},
        {"a_xs": (12, 2)},
        {"a_xs": (1, 4, 12, 2)},
        {"a_xs": ()},
        {"h_0": (3,)},
        {"h_0": (3, 1)},
        {"h_0": (1, 3, 2)},
        {"c_0": (3, 1)},
        {"c_0": (2, 3)},
        {"W_hh": (3, 12)},
        {"W_hh": (12, 4)},
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused(wrong):
    shapes = {"a_xs": (4, 12, 2), "h_0": (3, 2), "c_0": (3, 2), "W_hh": (12, 3)} | wrong
    with pytest.raises(ValueError, match=r"an LSTM needs a \(.*4H, B\), h and c \(H, B\) and W_hh \(4H, H\); got a "):
        rules.lstm(*(np.zeros(shape) for shape in shapes.values()))


def test_a_step_refuses_a_sequence():
    with pytest.raises(ValueError, match=r"an LSTM needs a \(4H, B\), .*; got a \(4, 12, 2\)"):
        rules.lstm_step(*arguments())
