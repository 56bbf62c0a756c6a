"""The few candidates that are looked at are those that sorting all of them finds, ties included."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minirnn.decoding.candidates import best_candidates, repeating
from minirnn.text import EOS


def by_sorting(logits, totals, sentences, most, blocked):
    logits = logits.astype(np.float64)
    norms = logits.max(axis=1) + np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))
    expected = []
    for sentence in np.unique(sentences):
        scores = [
            (-(totals[k] - norms[k] + logits[k, i]), k, i)
            for k in np.flatnonzero(sentences == sentence)
            for i in range(EOS, logits.shape[1])
            if (k, i) not in blocked and logits[k, i] > -np.inf
        ]
        expected += [(k, i, -minus, rank) for rank, (minus, k, i) in enumerate(sorted(scores)[:most])]
    return expected


@st.composite
def searches(draw):
    """Logits of few different values, so that many scores are equal; 1 to 4 columns a sentence."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    sentences = np.repeat([2, 3, 7], rng.integers(1, 5, size=3))
    N, V = len(sentences), draw(st.sampled_from([4, 5, 9, 40, 300]))
    logits = rng.integers(-3, 3, size=(N, V)) * draw(st.sampled_from([0.0, 0.5, 3.0]))
    logits[rng.random((N, V)) < draw(st.sampled_from([0, 0.5]))] = -np.inf
    logits[:, 1] = rng.integers(-9, 9, size=N)  # BOS: it counts, though nobody chooses it
    blocked = rng.integers(N, size=draw(st.integers(0, 9))), rng.integers(EOS + 1, V, size=9)
    totals = -rng.integers(0, 3, size=N).astype(float)
    return logits, totals, sentences, draw(st.integers(1, 12)), (blocked[0], blocked[1][: len(blocked[0])])


@given(searches())
def test_the_best_are_those_of_a_full_sort(backend, search):
    logits, totals, sentences, most, blocked = search
    found = best_candidates(backend.asarray(logits), totals, sentences, most, blocked)
    expected = by_sorting(logits, totals, sentences, most, set(zip(*(x.tolist() for x in blocked), strict=True)))
    assert list(zip(found.columns.tolist(), found.ids.tolist(), found.ranks.tolist(), strict=True)) == [
        (k, i, rank) for k, i, _, rank in expected
    ]
    np.testing.assert_allclose(found.totals, [total for _, _, total, _ in expected], rtol=1e-12, atol=1e-12)


def test_ngrams_that_would_come_twice():
    ids = np.array([[4, 5, 6, 4, 5], [4, 4, 4, 4, 4], [4, 5, 6, 7, 8]])
    for n, expected in {
        1: {(0, 4), (0, 5), (0, 6), (1, 4), (2, 4), (2, 5), (2, 6), (2, 7), (2, 8)},
        2: {(0, 6), (1, 4)},
        3: {(0, 6), (1, 4)},
        4: {(1, 4)},
        5: {(1, 4)},
        6: set(),
    }.items():
        columns, next_ids = repeating(ids, n)
        assert set(zip(columns.tolist(), next_ids.tolist(), strict=True)) == expected


def test_two_and_a_half_million_scores_take_milliseconds():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(320, 8000)).astype(np.float32)
    totals, sentences, times = np.zeros(320), np.repeat(np.arange(64), 5), []
    for _ in range(8):
        start = time.perf_counter()
        best_candidates(logits, totals, sentences, 10)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.03  # 5 milliseconds on an idle core, 25 with argpartition
