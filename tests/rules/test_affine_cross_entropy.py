"""The loss of many classes, in pieces: equal to the two rules it stands for, however it is cut, and small in memory."""

import tracemalloc
from itertools import product

import numpy as np
import pytest

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.kernels import cupy
from minirnn.kernels import numpy as host
from minirnn.rules import losses
from minirnn.testing import saved_bytes
from minirnn.workers import use_workers

SHAPES = [((), 1, 1, 2), ((), 3, 2, 5), ((4,), 3, 2, 7), ((2, 3), 2, 4, 3), ((1,), 1, 3, 1), ((5,), 4, 1, 50)]
CUTS = [(10**6, 10**6), (1, 1), (20, 7), (100, 14), (36, 10**6)]  # scores held, and in work, at a time
CLOSE = {"rtol": 1e-11, "atol": 1e-14}


def arguments(lead=(4,), D=3, B=2, V=7, masked=True, biased=True, seed=0, dtype="float64"):
    """The mask leaves out every third position, the first of them not."""
    random = np.random.default_rng([seed, D, B, V])
    xs, W, b = (random.standard_normal(shape).astype(dtype) for shape in ((*lead, D, B), (V, D), (V,)))
    targets = random.integers(0, V, (*lead, B))
    mask = np.arange(targets.size).reshape(targets.shape) % 3 != 1
    return xs, W, b if biased else None, targets, mask if masked else None


def by_two_rules(xs, W, b, targets, mask, smoothing):
    """Loss and gradients of ``affine``, and of ``cross_entropy`` of the target and, smoothed, of every class."""
    scores, affine_pullback = rules.affine(xs, W, b)
    V, axis = len(W), scores.ndim - 2
    shares = [(targets, 1 - smoothing)] + [(np.full_like(targets, k), smoothing / V) for k in range(V) if smoothing]
    loss, dscores = 0, 0
    for wanted, share in shares:
        part, pullback = rules.cross_entropy(scores, wanted, None, mask, axis=axis)
        loss, dscores = loss + share * part, dscores + pullback(np.asarray(share))[0]
    return loss, *affine_pullback(dscores)


def played(*inputs, dloss=1.0, **static):
    """The loss and the gradients of its three factors, on the host."""
    loss, pullback = rules.affine_cross_entropy(*(None if x is None else asarray(x) for x in inputs), **static)
    found = pullback(asarray(np.asarray(dloss, to_numpy(loss).dtype)))
    assert found[3:] == (None, None)
    return to_numpy(loss), *(None if g is None else to_numpy(g) for g in found[:3])


def cut(monkeypatch, piece, rows):
    monkeypatch.setattr(losses, "PIECE", piece)
    for kernels in (host, cupy):
        monkeypatch.setattr(kernels, "RUN", rows)


def assert_close(mine, other, **tolerance):
    for one, two in zip(mine, other, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            assert one.shape == two.shape
            np.testing.assert_allclose(one, two, **tolerance or CLOSE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("piece", "rows"), CUTS)
def test_equals_the_two_rules_however_it_is_cut(backend, monkeypatch, shape, piece, rows):
    cut(monkeypatch, piece, rows)
    for masked, biased, smoothing in product((True, False), (True, False), (0.0, 0.3)):
        inputs = arguments(*shape, masked, biased)
        assert_close(played(*inputs, smoothing=smoothing), by_two_rules(*inputs, smoothing))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize(("piece", "rows"), CUTS)
def test_workers_change_nothing_and_repeat_every_bit(monkeypatch, workers, piece, rows):
    cut(monkeypatch, piece, rows)
    for shape in SHAPES:
        inputs = arguments(*shape)
        with use_workers(workers):
            one, two = (played(*inputs, smoothing=0.1) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        assert_close(one, by_two_rules(*inputs, 0.1))


def test_the_cotangent_is_a_factor(backend):
    inputs = arguments()
    loss, *found = played(*inputs, dloss=-2.5)
    expected, *once = played(*inputs)
    assert loss == expected
    assert_close(found, [-2.5 * g for g in once])


@pytest.mark.parametrize("workers", [1, 2])
def test_only_what_is_wanted_is_computed(monkeypatch, workers):
    cut(monkeypatch, 20, 7)
    for biased in (True, False):
        inputs = arguments(biased=biased)
        with use_workers(workers):
            loss, *expected = played(*inputs)
            for wanted in product((True, False), repeat=3):
                one, *found = played(*inputs, wanted=(*wanted, False, False))
                assert one == loss
                assert_close(found, [g if flag else None for flag, g in zip(wanted, expected, strict=True)])


# Masks


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_where_nothing_counts_loss_and_gradients_are_zero(backend, smoothing):
    xs, W, b, targets, mask = arguments()
    for x in played(xs, W, b, targets, np.zeros_like(mask), smoothing=smoothing):
        assert not x.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize(("piece", "rows"), CUTS[:3])
def test_what_the_mask_leaves_out_counts_for_nothing(backend, monkeypatch, bad, piece, rows):
    cut(monkeypatch, piece, rows)
    xs, W, b, targets, mask = arguments()
    expected = played(xs, W, b, targets, mask, smoothing=0.1)
    spoilt = np.where(mask[..., None, :], xs, bad)
    for one, other in zip(played(spoilt, W, b, targets, mask, smoothing=0.1), expected, strict=True):
        assert np.array_equal(one, other)
    assert not np.where(mask[..., None, :], 0, expected[1]).any()
    other = np.where(mask, targets, (targets + 1) % 7)
    assert np.array_equal(played(xs, W, b, other, mask)[0], played(xs, W, b, targets, mask)[0])


def test_a_mask_of_ones_is_none(backend):
    *inputs, mask = arguments()
    assert_close(played(*inputs, np.ones_like(mask)), played(*inputs), rtol=1e-14, atol=1e-16)


# Numbers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_large_scores_overflow_nowhere(backend, dtype, smoothing):
    """The target's is 10,000 below the highest, or is the highest."""
    W = np.array([[1e4], [0.0], [-1e4]], dtype)
    xs, targets = np.array([[1.0, 1.0]], dtype), np.array([0, 1])
    loss, dxs, dW, db = played(xs, W, np.zeros(3, dtype), targets, smoothing=smoothing)
    np.testing.assert_allclose(loss, (1 - smoothing) * 1e4 / 2 + smoothing * 1e4, rtol=1e-6)
    assert all(np.isfinite(x).all() and x.dtype == dtype for x in (loss, dxs, dW, db))
    e, mean = smoothing, (1 - smoothing) / 2 + smoothing / 3  # of q, for the first class and the second
    np.testing.assert_allclose(db, [1 - mean, -mean, -e / 3], rtol=1e-6)


def test_single_precision_is_as_good_with_many_classes(backend, monkeypatch):
    """800 positions of 1,000 classes, cut into pieces, against double precision."""
    cut(monkeypatch, 2**16, 2**13)
    inputs = arguments((20,), 8, 40, 1000)
    expected = by_two_rules(*inputs, 0.0)
    found = played(*arguments((20,), 8, 40, 1000, dtype="float32"))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == "float32"
        assert np.abs(one - other).max() < 1e-5 * np.abs(other).max()


def test_smoothing_of_numpy_does_not_widen_single_precision(backend):
    found = played(*arguments(dtype="float32"), smoothing=np.float64(0.1))
    assert {x.dtype.name for x in found} == {"float32"}


# Memory


@pytest.mark.usefixtures("fresh_memory")
@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_holds_a_piece_of_the_scores_and_none_is_kept(monkeypatch, workers):
    """Of 3 million scores (24 MB) at most 100,000 (0.8 MB) at a time, and two more rows' worth in work."""
    cut(monkeypatch, 100_000, 10_000)
    xs, W, b, targets, mask = arguments((50,), 4, 20, 3000)
    assert targets.size * len(W) == 3_000_000
    with use_workers(workers):
        tracemalloc.start()
        _, pullback = rules.affine_cross_entropy(xs, W, b, targets, mask)
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    of_gradients = 8 * (xs.size + W.size + b.size)
    assert now < 1.2 * of_gradients + 20_000
    assert peak < workers * (8 * (100_000 + 2 * 10_000) + 3 * 8 * (W.size + b.size)) + 5 * 8 * xs.size
    assert saved_bytes(pullback) == of_gradients
    _, pullback = rules.affine_cross_entropy(xs, W, b, targets, mask, wanted=(False,) * 5)
    assert saved_bytes(pullback) == 0


def test_pieces_hold_no_more_scores_than_they_may(monkeypatch):
    cut(monkeypatch, 45, 13)
    pieces, groups, softmax_loss = [], [], losses._softmax_loss

    def seen(scores, *others):
        pieces.append(scores.base.size)
        groups.append(scores.size)
        return softmax_loss(scores, *others)

    monkeypatch.setattr(losses, "_softmax_loss", seen)
    with use_workers(1):
        played(*arguments((5,), 3, 4, 6))
    assert max(pieces) == 42 and max(groups) == 12 and sum(groups) == 20 * 6


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"xs": np.ones(3)}, ValueError, r"needs xs \(..., D, B\), W \(V, D\) and b \(V,\); got xs \(3,\), W \(7, 3\)"),
        ({"xs": np.ones((4, 2, 2))}, ValueError, r"got xs \(4, 2, 2\), W \(7, 3\), b \(7,\)"),
        ({"W": np.ones(7)}, ValueError, r"got xs \(4, 3, 2\), W \(7,\), b \(7,\)"),
        ({"W": np.ones((7, 3, 1))}, ValueError, r"got xs \(4, 3, 2\), W \(7, 3, 1\), b \(7,\)"),
        ({"W": np.ones((6, 3))}, ValueError, r"got xs \(4, 3, 2\), W \(6, 3\), b \(7,\)"),
        ({"b": np.ones((7, 1))}, ValueError, r"got xs \(4, 3, 2\), W \(7, 3\), b \(7, 1\)"),
        ({"b": None, "xs": np.ones((4, 2, 2))}, ValueError, r"got xs \(4, 2, 2\), W \(7, 3\)$"),
        ({"targets": np.zeros((2, 4), int)}, ValueError, r"targets must have shape \(4, 2\) for xs \(4, 3, 2\), got"),
        ({"mask": np.ones(4, bool)}, ValueError, r"mask must have shape \(4, 2\) for xs \(4, 3, 2\), got \(4,\)"),
        (
            {"xs": np.ones((0, 3, 2)), "targets": np.zeros((0, 2), int), "mask": None},
            ValueError,
            r"affine_cross_entropy needs at least one target, got targets of shape \(0, 2\)",
        ),
        ({"targets": np.full((4, 2), 7)}, IndexError, r"targets must lie in 0..6, got 7 at index \(0, 0\)"),
        ({"targets": np.full((4, 2), -1)}, IndexError, r"targets must lie in 0..6, got -1 at index \(0, 0\)"),
        ({"targets": np.ones((4, 2))}, TypeError, "targets must be integers, got dtype float64"),
        ({"smoothing": 1}, ValueError, "smoothing must be a number from 0 to below 1, got 1"),
        ({"smoothing": -0.1}, ValueError, "smoothing must be a number from 0 to below 1, got -0.1"),
        ({"smoothing": "0.1"}, ValueError, "smoothing must be a number from 0 to below 1, got '0.1'"),
        ({"smoothing": float("nan")}, ValueError, "smoothing must be a number from 0 to below 1, got nan"),
    ],
)
def test_what_does_not_fit_is_explained(change, error, words):
    given = dict(zip(("xs", "W", "b", "targets", "mask"), arguments(), strict=True)) | change
    with pytest.raises(error, match=words):
        rules.affine_cross_entropy(**given)
