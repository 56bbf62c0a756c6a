"""The laws of sampling: what may be chosen, how often, and that a seed settles it."""

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minirnn.decoding import probabilities, sampler

finite = st.floats(-50, 50, width=32)
rows = hnp.arrays(np.float64, st.integers(1, 12), elements=finite)
batches = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=finite)
tied = hnp.arrays(np.float64, st.integers(1, 12), elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0]))


def softmax(logits):
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


@given(rows, st.floats(0.1, 10))
def test_the_distribution_is_the_softmax_of_logits_over_temperature(logits, temperature):
    p = probabilities(logits, temperature=temperature)
    np.testing.assert_allclose(p, softmax(logits / temperature), rtol=1e-12, atol=1e-300)


@given(rows | tied)
def test_temperature_zero_is_greedy_with_the_lowest_id_among_equals(logits):
    choose = sampler(temperature=0, seed=1)
    assert choose(logits) == choose(logits) == int(np.flatnonzero(logits == logits.max())[0])
    assert np.array_equal(probabilities(logits, temperature=0), np.eye(len(logits))[choose(logits)])


@given(rows, st.sampled_from([1e-3, 1e-9, 1e-300, 5e-324]))
def test_a_temperature_towards_zero_goes_to_greedy(logits, temperature):
    gap = np.sort(logits.max() - logits)
    p = probabilities(logits, temperature=temperature)
    assert np.isfinite(p).all()
    if len(gap) == 1 or gap[1] > 100 * temperature:  # no rival near enough to matter
        assert p[logits.argmax()] == 1
        assert sampler(temperature=temperature)(logits) == logits.argmax()


@given(rows, st.sampled_from([1e9, 1e300]))
def test_a_high_temperature_goes_to_uniform(logits, temperature):
    np.testing.assert_allclose(probabilities(logits, temperature=temperature), 1 / len(logits), rtol=1e-6)


@given(rows | tied, st.integers(1, 15))
def test_top_k_keeps_the_k_highest_in_their_proportions(logits, k):
    p = probabilities(logits, top_k=k)
    kept = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:k]
    assert set(np.flatnonzero(p)) == set(kept)
    np.testing.assert_allclose(p[kept], softmax(logits[kept]), rtol=1e-12)


def test_top_k_goes_by_the_logits_even_where_their_weights_round_alike():
    assert probabilities(np.array([0.0, 1e-40]), top_k=1).tolist() == [0, 1]


@given(rows | tied, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits, top_p):
    p = softmax(logits)
    kept = np.flatnonzero(probabilities(logits, top_p=top_p))
    assert p[kept].sum() >= top_p - 1e-12
    highest = np.sort(p)[::-1]
    assert highest[: len(kept) - 1].sum() < top_p + 1e-12  # no smaller set reaches it
    np.testing.assert_allclose(np.sort(p[kept])[::-1], highest[: len(kept)], rtol=1e-12)


def test_top_p_by_hand():
    logits = np.log([0.125, 0.5, 0.125, 0.25])
    kept = {p: np.flatnonzero(probabilities(logits, top_p=p)).tolist() for p in (1e-9, 0.49, 0.51, 0.74, 0.76, 0.9, 1)}
    assert kept == {
        1e-9: [1],
        0.49: [1],
        0.51: [1, 3],
        0.74: [1, 3],
        0.76: [0, 1, 3],
        0.9: [0, 1, 2, 3],
        1: [0, 1, 2, 3],
    }


def test_top_p_counts_within_what_top_k_and_temperature_leave():
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    assert np.flatnonzero(probabilities(logits, top_p=0.5)).tolist() == [0, 1]
    assert np.flatnonzero(probabilities(logits, top_p=0.5, top_k=2)).tolist() == [0]  # 0.4 of 0.7 is above one half
    assert np.flatnonzero(probabilities(logits, top_p=0.5, temperature=0.5)).tolist() == [0]  # 0.16 of 0.30


@given(batches, st.integers(0, 5), st.sampled_from([0.3, 0.9, 1.0]), st.sampled_from([0, 0.7, 2.0]))
def test_a_batch_is_its_rows(logits, top_k, top_p, temperature):
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    p = probabilities(logits, **settings)
    assert np.array_equal(p, np.stack([probabilities(row, **settings) for row in logits]))
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)
    together, one_by_one = sampler(**settings, seed=3), sampler(**settings, seed=3)
    ids = together(logits)
    assert ids.dtype == np.int64 and ids.shape == logits.shape[:1]
    assert ids.tolist() == [one_by_one(row) for row in logits]  # row b takes draw b
    assert (np.take_along_axis(p, ids[:, None], axis=1) > 0).all()


@given(batches, st.sampled_from([{}, {"temperature": 0}, {"top_k": 2, "temperature": 0.7}, {"top_p": 0.6}]))
def test_with_a_seed_for_each_row_every_row_has_a_stream_of_its_own(logits, settings):
    seeds = [5, 3, 5, 8][: len(logits)]
    together, alone = sampler(**settings, seed=seeds), [sampler(**settings, seed=seed) for seed in seeds]
    for turn in logits, -logits, logits:
        ids = together(turn)
        assert ids.dtype == np.int64 and ids.tolist() == [choose(row) for choose, row in zip(alone, turn, strict=True)]


@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (5,)])
@pytest.mark.parametrize("temperature", [0, 1])
def test_as_many_rows_as_seeds(shape, temperature):
    with pytest.raises(ValueError, match="logits must have a row for each of 2 seeds, got shape"):
        sampler(seed=[1, 2], temperature=temperature)(np.zeros(shape))


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 4}, {"top_p": 0.8}, {"top_k": 5, "top_p": 0.7}],
)
def test_frequencies_are_the_probabilities_by_chi_square(settings):
    logits = np.random.default_rng(5).normal(size=8)
    choose, draws = sampler(**settings, seed=11), 4000
    counts = np.bincount([choose(logits) for _ in range(draws)], minlength=8)
    p = probabilities(logits, **settings)
    expected = draws * p[p > 0]
    assert counts[p == 0].sum() == 0
    chi_square = ((counts[p > 0] - expected) ** 2 / expected).sum()
    assert chi_square < 24.3  # 7 degrees of freedom, 1 in 1000; fewer degrees are stricter


def test_frequencies_of_a_batch():
    logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    ids = sampler(seed=2)(np.repeat(logits, 3000, axis=0)).reshape(2, 3000)
    shares = np.stack([np.bincount(row, minlength=3) for row in ids]) / 3000
    np.testing.assert_allclose(shares, np.exp(logits), atol=0.03)


def test_the_same_seed_draws_the_same_and_another_does_not():
    logits = np.zeros(65)
    first, again, other = (
        [choose(logits) for _ in range(50)] for choose in (sampler(seed=1), sampler(seed=1), sampler(seed=2))
    )
    assert first == again != other


def test_logits_are_left_alone_and_an_id_is_a_plain_int():
    logits = np.random.default_rng(0).normal(size=9).astype(np.float32)
    before = logits.copy()
    chosen = [sampler(temperature=t, top_k=3, top_p=0.8)(logits) for t in (0, 0.7)]
    assert all(type(k) is int for k in chosen)
    assert np.array_equal(logits, before) and logits.dtype == np.float32


def test_extreme_logits_and_settings_stay_finite():
    p = probabilities(np.array([1e308, -1e308, 1e308]), temperature=1e-5)
    assert p.tolist() == [0.5, 0, 0.5]
    assert probabilities(np.array([1e4, -1e4, 0.0], dtype=np.float32)).tolist() == [1, 0, 0]
    assert np.array_equal(probabilities(np.arange(3), temperature=10**300, top_k=10**30), np.full(3, 1 / 3))
    assert probabilities(np.zeros(2), temperature=Fraction(1, 3), top_p=Fraction(1, 3)).tolist() == [1, 0]
    assert sampler()(np.array([3.0])) == 0


def test_tokens_without_probability_are_never_drawn():
    logits = np.array([-1e4, 0.0, -1e4, -1e4])
    choose = sampler(seed=4)
    assert {choose(logits) for _ in range(300)} == {1}


@pytest.mark.parametrize(("draw", "chosen"), [(0.0, 1), (0.5, 2), (1 - 2**-53, 2)])
def test_the_ends_of_the_draw_fall_on_tokens_with_probability(monkeypatch, draw, chosen):
    class Fixed:
        def random(self, size=()):
            return np.full(size, draw)

    monkeypatch.setattr("minirnn.decoding.sampling.random_generator", lambda seed, stream: Fixed())
    logits = np.array([-1e4, 0.0, 0.0, -1e4])
    assert sampler()(logits) == sampler()(logits[None]) == sampler(seed=[0])(logits[None]) == chosen


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_refuses_logits_that_are_not_finite(bad, temperature):
    logits = np.zeros((2, 3))
    logits[1, 2] = bad
    with pytest.raises(ValueError, match=rf"logits must be finite, got {bad} at \(1, 2\)"):
        sampler(temperature=temperature)(logits)


@pytest.mark.parametrize(
    "logits",
    [np.float64(1), np.zeros(0), np.zeros((2, 0)), np.zeros((1, 1, 3)), np.zeros(3, complex), ["a"], [None], [True]],
)
def test_refuses_what_are_no_logits(logits):
    with pytest.raises(ValueError, match=r"logits must be real numbers of shape \(V,\) or \(B, V\), got"):
        sampler()(logits)


@pytest.mark.parametrize("make", [sampler, lambda **settings: probabilities(np.zeros(3), **settings)])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", v) for v in (-1e-9, -1, np.nan, np.inf, "hot", None, 10**400)),
        *(("top_k", v) for v in (-1, 1.5, "3", None, True)),
        *(("top_p", v) for v in (0, -0.1, 1.1, np.nan, "0.9", None)),
    ],
)
def test_refuses_bad_settings(make, name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*, got"):
        make(**{name: value})


def test_refuses_a_bad_seed():
    for bad in (-1, [1, -1], "12", ["1"], None, 1.0):
        with pytest.raises(ValueError, match="seed must be an integer"):
            sampler(seed=bad)


def test_one_choice_takes_microseconds():
    choose, logits = sampler(temperature=0.8), np.random.default_rng(0).normal(size=65).astype(np.float32)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(100):
            choose(logits)
        times.append((time.perf_counter() - start) / 100)
    assert min(times) < 100e-6  # 11 microseconds on an idle core
