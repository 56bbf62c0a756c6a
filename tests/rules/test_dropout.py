"""Masks of dropout: shared along axes, drawn from any row on, and the bits of a whole mask unchanged by either."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import rules
from minirnn.arrays import asarray, random_generator, to_numpy

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def dropped(x, **options):
    """Value and gradient, on the backend that is set."""
    y, pullback = rules.dropout(asarray(x), **{"p": 0.4, "seed": 3, "step": 2} | options)
    return to_numpy(y), to_numpy(pullback(asarray(x))[0])


@given(shapes, st.data())
def test_a_window_draws_the_rows_that_the_whole_mask_has_there(backend, shape, data):
    over = data.draw(st.sets(st.integers(-len(shape), len(shape) - 1), max_size=2), label="over")
    x, k = np.random.default_rng(0).standard_normal(shape), data.draw(st.integers(0, shape[0]), label="first")
    whole, window = dropped(x, over=tuple(over)), dropped(x[k:], over=tuple(over), first=k)
    assert all(np.array_equal(a[k:], b) for a, b in zip(whole, window, strict=True))


@pytest.mark.parametrize("over", [(), (0,), (1,), (-1,), (1, 2)])
@pytest.mark.parametrize("k", [1, 5, 8, 19])
def test_every_window_of_a_long_sequence_draws_its_own_rows(over, k):
    x = np.ones((20, 7, 3))
    assert np.array_equal(dropped(x, over=over)[0][k:], dropped(x[k:], over=over, first=k)[0])


@pytest.mark.parametrize("over", [(0,), (1,), (2,), (-1, 0), (0, 1, 2)])
def test_masks_are_shared_along_the_axes_named_and_only_there(backend, over):
    x = np.ones((30, 20, 10))
    y, _ = dropped(x, over=over)
    for axis in range(3):
        first = np.take(y, [0], axis)
        assert (y == first).all() == (axis in over or axis - 3 in over)
    assert set(np.unique(y)) <= {0.0, 1 / 0.6}


def test_a_shared_mask_drops_about_p():
    y, _ = dropped(np.ones((5, 100, 100)), over=(0,))
    assert abs((y[0] == 0).mean() - 0.4) < 0.02


def test_the_mask_is_the_stream_in_order():
    """Not a bit depends on ``over`` and ``first`` being there: runs recorded before they were come out the same."""
    expected = random_generator(3, "dropout", 2).random((7, 3), dtype="float32") >= 0.4
    assert np.array_equal(dropped(np.ones((7, 3)))[0] != 0, expected)


@pytest.mark.parametrize("first", [-1, 1.0, "2", None])
def test_a_bad_first_is_explained(first):
    with pytest.raises(ValueError, match=f"first must be an integer that is not negative, got {first!r}"):
        dropped(np.ones(3), first=first)


@pytest.mark.parametrize("scalar", [np.float64, np.float32, np.array])
def test_a_p_of_numpy_leaves_the_dtype_and_the_mask(backend, scalar):
    x = np.ones((6, 5), "float32")
    for mine, expected in zip(dropped(x, p=scalar(0.25)), dropped(x, p=0.25), strict=True):
        assert mine.dtype == np.float32 and np.array_equal(mine, expected)
