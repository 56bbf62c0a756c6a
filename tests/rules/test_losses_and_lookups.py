"""Losses and look-ups against naive references, and their refusals of bad ids and shapes."""

import numpy as np
import pytest
from calling import gradients, value

from minirnn import rules
from minirnn.arrays import asarray, to_numpy

X = np.random.default_rng(0).normal(size=(2, 3, 4))


def softmax(x, axis):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def naive_cross_entropy(logits, targets, weights=None, mask=None):
    """Classes on the last axis."""
    total = counted = 0.0
    for place in np.ndindex(targets.shape):
        w = (1 if weights is None else weights[targets[place]]) * (1 if mask is None else mask[place])
        total += w * -np.log(softmax(logits[place], -1)[targets[place]])
        counted += w
    return total / counted


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cross_entropy_is_the_mean_over_what_counts(backend, weighted, masked, axis):
    targets = np.array([[0, 2, 1], [3, 3, 0]])
    weights = np.array([1.0, 2.0, 0.5, 3.0]) if weighted else None
    mask = np.array([[True, False, True], [True, True, False]]) if masked else None
    found = value(rules.cross_entropy, np.moveaxis(X, -1, axis), targets, weights, mask, axis=axis)
    np.testing.assert_allclose(found, naive_cross_entropy(X, targets, weights, mask), rtol=1e-12)


def test_where_nothing_counts_the_loss_is_zero(backend):
    logits, targets, mask = X[0], np.array([0, 1, 2]), np.zeros(3, bool)
    arguments = [asarray(x) for x in (logits, targets, np.ones(4), mask)]
    loss, pullback = rules.cross_entropy(*arguments)
    dlogits, _, dweights, _ = pullback(asarray(1.0))
    assert to_numpy(loss) == 0
    assert not to_numpy(dlogits).any()
    assert not to_numpy(dweights).any()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_the_mask_leaves_out_counts_for_nothing(backend, bad, weighted):
    logits, targets, mask = X[0].copy(), np.array([0, 1, 2]), np.array([True, False, True])
    logits[1, 1] = bad
    weights = np.array([1.0, 2.0, 0.5, 3.0]) if weighted else np.ones(4)
    arguments = (logits, targets, weights, mask)
    rest = (logits[mask], targets[mask], weights)
    np.testing.assert_allclose(value(rules.cross_entropy, *arguments), value(rules.cross_entropy, *rest), rtol=1e-15)
    (dlogits, _, dweights, _), (dlogits_rest, _, dweights_rest, _) = (
        gradients(rules.cross_entropy, *given) for given in (arguments, (*rest, np.ones(2, bool)))
    )
    np.testing.assert_array_equal(dlogits[1], 0)
    np.testing.assert_allclose(dlogits[mask], dlogits_rest, rtol=1e-15)
    np.testing.assert_allclose(dweights, dweights_rest, rtol=1e-14, atol=1e-16)


def test_cross_entropy_refuses_logits_that_are_not_floating(backend):
    with pytest.raises(TypeError, match="logits must be floating-point numbers, got dtype int64"):
        rules.cross_entropy(asarray(np.ones((2, 3), "int64")), asarray(np.array([0, 1])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[0], np.array([0, 1])), r"targets must have shape \(3,\) for logits \(3, 4\), got \(2,\)"),
        ((X[0], np.array([0, 1, 2]), np.ones(3)), r"weights must have shape \(4,\) for logits \(3, 4\), got \(3,\)"),
        ((X[0], np.array([0, 1, 2]), None, np.ones(4) > 0), r"mask must have shape \(3,\) .* got \(4,\)"),
        ((X[0][:0], np.array([], int)), r"cross_entropy needs at least one target, got targets of shape \(0,\)"),
    ],
)
def test_cross_entropy_refuses_shapes_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        rules.cross_entropy(*arguments)


def test_cross_entropy_names_a_bad_target():
    with pytest.raises(IndexError, match=r"targets must lie in 0\.\.3, got -1 at index \(1,\)"):
        rules.cross_entropy(X[0], np.array([0, -1, 2]))


def test_mean_squared_error_refuses_shapes_that_do_not_fit():
    for x, y in ((X, X[0]), (np.ones(0), np.ones(0))):
        with pytest.raises(ValueError, match="mean_squared_error needs x and y of one non-empty shape, got"):
            rules.mean_squared_error(x, y)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_embedding_gives_rows_and_adds_them_up_again(backend, shape):
    weight, ids = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).integers(0, 2, shape)
    np.testing.assert_array_equal(value(rules.embedding, weight, ids), weight[ids])
    counts = np.bincount(ids.reshape(-1), minlength=4)
    np.testing.assert_allclose(gradients(rules.embedding, weight, ids)[0], np.tile(counts[:, None], 3))


def test_embedding_columns_is_the_product_with_one_hot_columns(backend):
    table, ids = np.random.default_rng(0).normal(size=(3, 5)), np.array([[0, 4], [4, 4], [1, 0]])
    one_hot = (ids[:, None, :] == np.arange(5)[:, None]).astype(float)
    np.testing.assert_allclose(value(rules.embedding_columns, table, ids), table @ one_hot)


@pytest.mark.parametrize("rule", [rules.embedding, rules.embedding_columns])
@pytest.mark.parametrize("bad", [-1, 5, 2**31])
def test_ids_out_of_range_are_named(rule, bad):
    ids = np.array([[0, 1], [bad, 2]])
    with pytest.raises(IndexError, match=rf"ids must lie in 0\.\.4, got {bad} at index \(1, 0\)"):
        rule(np.ones((5, 5)), ids)


@pytest.mark.parametrize("dtype", ["bool", "float64"])
def test_ids_that_are_not_integers_are_refused(dtype):
    ids = np.array([[0, 1], [1, 0]]).astype(dtype)
    for rule, name in ((rules.embedding, "ids"), (rules.embedding_columns, "ids"), (rules.cross_entropy, "targets")):
        x = np.ones((2, 2, 2)) if rule is rules.cross_entropy else np.ones((2, 2))
        with pytest.raises(TypeError, match=f"{name} must be integers, got dtype {dtype}"):
            rule(x, ids)


@pytest.mark.parametrize("index", [(slice(None), (0, 0)), (slice(None), [0, 0]), ((0, 0, 1),), ((0, 0), (1, 1))])
def test_positions_in_lists_and_tuples_add_up(backend, index):
    expected = np.zeros((2, 3))
    np.add.at(expected, index, 1)
    np.testing.assert_array_equal(gradients(rules.getitem, np.ones((2, 3)), index=index)[0], expected)


def test_positions_named_several_times_add_up(backend):
    ids = asarray(np.array([1, 1, 1, 0]))
    x = asarray(np.arange(3.0))
    for rule, more, static in ((rules.getitem, (), {"index": ids}), (rules.take, (ids,), {})):
        y, pullback = rule(x, *more, **static)
        np.testing.assert_array_equal(to_numpy(pullback(y * 0 + 1)[0]), [1, 3, 0])
    y, pullback = rules.getitem(x, index=[1, 1, 1, 0])
    np.testing.assert_array_equal(to_numpy(pullback(y * 0 + 1)[0]), [1, 3, 0])
