"""Attention: the rules are their formulas, padding counts for nothing, and the parts fit each other without a copy."""

import numpy as np
import pytest
from calling import value

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.testing import arrays_in, in_pieces

T, S, A, F, B = 3, 4, 5, 2, 3


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


def each(function):
    """``function(t, s, b)`` for every query, key and column: ``(T, S, B)``."""
    return np.array([[[function(t, s, b) for b in range(B)] for s in range(S)] for t in range(T)])


def test_scores_are_dots(backend):
    q, k = numbers(T, A, B), numbers(S, A, B)
    expected = each(lambda t, s, b: 0.5 * (q[t, :, b] @ k[s, :, b]))
    assert_close(value(rules.dot_scores, q, k, scale=0.5), expected)
    assert_close(value(rules.dot_scores, q, k), 2 * expected)


def test_additive_scores(backend):
    q, k, v = numbers(T, A, B), numbers(S, A, B), numbers(A)
    assert_close(value(rules.additive_scores, q, k, v), each(lambda t, s, b: v @ np.tanh(q[t, :, b] + k[s, :, b])))


def test_weights_are_the_softmax_of_what_is_real(backend):
    scores, mask = numbers(T, S, B), np.arange(S)[:, None] < np.array([S, 2, 1])
    w = value(rules.attention_weights, scores, mask)
    for b, n in enumerate((S, 2, 1)):
        e = np.exp(scores[:, :n, b])
        assert_close(w[:, :n, b], e / e.sum(axis=1, keepdims=True))
        assert not w[:, n:, b].any()
    everything = value(rules.attention_weights, scores)
    assert_close(everything, value(rules.softmax, scores, axis=1))
    assert_close(everything[0], value(rules.attention_weights, scores[0]))  # without an axis of time


def test_contexts_are_means(backend):
    w, m = numbers(T, S, B), numbers(S, F, B)
    assert_close(value(rules.attention_contexts, w, m), np.einsum("tsb,sfb->tfb", w, m))


def test_large_scores_do_not_overflow(backend):
    scores = np.array([[1e4, -1e4], [1e4 - 1, -1e4 - 1]], "float32")
    share = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(value(rules.attention_weights, scores), [[share] * 2, [1 - share] * 2], rtol=1e-6)


@pytest.mark.parametrize("filling", [np.nan, np.inf, -np.inf, 1e300])
def test_what_stands_in_the_padding_is_nothing(backend, filling):
    mask, scores = np.arange(S)[:, None] < np.array([S, 2, 1]), numbers(T, S, B)
    dw, found = asarray(numbers(T, S, B, seed=1)), []
    for x in (scores, np.where(mask, scores, filling)):
        w, pullback = rules.attention_weights(asarray(x), asarray(mask))
        found.append((to_numpy(w), to_numpy(pullback(dw)[0])))
    for x, y in zip(*found, strict=True):
        np.testing.assert_array_equal(x, y)
        assert not y[:, ~mask].any()


def test_where_nothing_is_real_there_are_no_weights(backend):
    mask = np.arange(S)[:, None] < np.array([S, 0, 1])
    w, pullback = rules.attention_weights(asarray(numbers(T, S, B)), asarray(mask))
    de = to_numpy(pullback(asarray(numbers(T, S, B, seed=1)))[0])
    assert not to_numpy(w)[:, :, 1].any() and not de[:, :, 1].any()
    assert_close(to_numpy(w).sum(axis=1)[:, [0, 2]], 1)


def test_a_constant_added_to_all_scores_changes_nothing():
    scores = numbers(T, S, B)
    _, pullback = rules.attention_weights(scores)
    de, _ = pullback(numbers(T, S, B, seed=1))
    assert_close(de.sum(axis=1), np.zeros((T, B)))


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_from_rule_to_rule_nothing_is_copied(kind):
    """Each hands the next an array whose columns lie in memory as matrices of their own."""
    q, k, m, v = numbers(T, A, B), numbers(S, A, B), numbers(S, F, B), numbers(A)
    scores, _ = rules.dot_scores(q, k) if kind == "dot" else rules.additive_scores(q, k, v)
    weights, _ = rules.attention_weights(scores, np.ones((S, B), bool))
    assert all(x.transpose(2, 0, 1).flags.c_contiguous for x in (scores, weights))
    _, pullback = rules.attention_contexts(weights, m, wanted=(False, True))
    assert all(np.shares_memory(kept, weights) for kept in arrays_in(pullback))


def test_additive_scores_do_not_keep_the_hidden_units(fresh_memory):
    q, k, v = numbers(40, A, B), numbers(S, A, B), numbers(A)
    _, pullback = rules.additive_scores(q, k, v)
    assert sum(x.nbytes for x in arrays_in(pullback)) <= q.nbytes + k.nbytes + v.nbytes


def test_workers_share_the_columns():
    q, k, v = numbers(T, A, B), numbers(S, A, B), numbers(A)
    de = numbers(T, S, B, seed=1)
    scores, pullback = rules.additive_scores(q, k, v)
    with in_pieces(workers=2):
        shared, shared_pullback = rules.additive_scores(q, k, v)
        for x, y in zip((shared, *shared_pullback(de)), (scores, *pullback(de)), strict=True):
            assert_close(x, y)


@pytest.mark.parametrize(
    ("rule", "shapes", "message"),
    [
        ("dot_scores", [(T, A, B), (S, A, B + 1)], r"dot_scores needs queries \(T, A, B\) and keys \(S, A, B\), got"),
        ("dot_scores", [(T, A, B), (S, A + 1, B)], r"got \(3, 5, 3\) and \(4, 6, 3\)"),
        ("dot_scores", [(A, B), (S, A, B)], r"got \(5, 3\) and \(4, 5, 3\)"),
        ("dot_scores", [(T, A, B), (A, B)], r"got \(3, 5, 3\) and \(5, 3\)"),
        ("additive_scores", [(T, A, B), (S, A + 1, B), (A,)], r"additive_scores needs queries"),
        ("additive_scores", [(T, A, B), (S, A, B), (A + 1,)], r"needs v \(5,\) for keys \(4, 5, 3\), got v \(6,\)"),
        ("attention_weights", [(T, 0, B)], r"S > 0, and mask \(S, B\) or like them; got \(3, 0, 3\)"),
        ("attention_weights", [(S,)], r"attention_weights needs scores \(..., S, B\).*got \(4,\)"),
        ("attention_weights", [(T, S, B), (B, S)], r"got \(3, 4, 3\), mask \(3, 4\)"),
        ("attention_contexts", [(T, S, B), (S + 1, F, B)], r"needs weights \(T, S, B\) and values \(S, F, B\), got"),
        ("attention_contexts", [(T, S, B), (S, F, B + 1)], r"got \(3, 4, 3\) and \(4, 2, 4\)"),
        ("attention_contexts", [(S, B), (S, F, B)], r"got \(4, 3\) and \(4, 2, 3\)"),
        ("attention_contexts", [(T, S, B), (S, F)], r"got \(3, 4, 3\) and \(4, 2\)"),
    ],
)
def test_bad_shapes_are_explained(rule, shapes, message):
    with pytest.raises(ValueError, match=message):
        getattr(rules, rule)(*(np.ones(shape) for shape in shapes))
