"""Arrays of a device as one vector: the same numbers, in one memory, and only where they are alike."""

import numpy as np
import pytest

from minirnn.arrays import asarray, to_numpy
from minirnn.kernels import together
from minirnn.testing import counting, strict_cupy

SHAPES = (2, 3), (), (4,), (0, 5), (1, 1, 2)


@pytest.fixture
def cp():
    with strict_cupy() as cupy:
        yield cupy


def some(seed=0, dtype="float32"):
    random = np.random.default_rng(seed)
    return [asarray(random.standard_normal(shape), dtype, "cupy") for shape in SHAPES]


def same(arrays, others):
    return all(a.shape == b.shape and a.dtype == b.dtype and np.array_equal(to_numpy(a), to_numpy(b))
               for a, b in zip(arrays, others, strict=True))  # fmt: skip


def test_one_launch_brings_them_together_and_none_keeps_them_there(cp):
    arrays = some()
    with counting() as counts:
        together_now = together.laid_out(arrays)
        again = together.laid_out(together_now)
    assert counts.launches == 1 and counts.syncs == 0
    assert same(together_now, arrays) and all(a is b for a, b in zip(again, together_now, strict=True))


def test_the_vector_is_a_view_in_which_all_can_be_changed(cp):
    arrays = together.laid_out(some())
    ((vector,),) = together.vectors(arrays)
    assert np.array_equal(to_numpy(vector), np.concatenate([to_numpy(a).ravel() for a in arrays]))
    vector *= 2
    assert same(arrays, [2 * a for a in some()])


def test_columns_become_one_row_only_if_all_are_laid_out(cp):
    first, second = together.laid_out(some(1)), together.laid_out(some(2))
    assert [v.shape for v in together.vectors(first, second)[0]] == [(13,), (13,)]
    rows = together.vectors(first, some(2))
    assert [[v.size for v in row] for row in rows] == [[a.size] * 2 for a in first]


def test_one_call_serves_all_that_are_laid_out_and_gives_them_their_shapes_back(cp):
    arrays, calls = some(), []

    def double(x):
        calls.append(x.shape)
        return x * 2

    for these, times in ((arrays, len(SHAPES)), (together.laid_out(arrays), 1)):
        calls.clear()
        assert same(together.each(double, these), [2 * a for a in arrays]) and len(calls) == times


def neighbours_of_two_memories(cp):
    """Slices that touch, of memories that pretend to be two."""
    whole = cp.arange(6, dtype="float32")
    first, second = whole[:3], whole[3:]
    second._base = cp.zeros(3)
    return [first, second]


@pytest.mark.parametrize(
    "apart",
    [
        lambda cp: [cp.ones(2, "float32"), cp.ones(2, "float64")],
        lambda cp: [cp.ones(2), np.ones(2)],
        lambda cp: [np.ones(2), cp.ones(2)],
    ],
)
def test_unlike_arrays_stay_where_they_are(cp, apart):
    arrays = apart(cp)
    assert together.laid_out(arrays) is arrays
    assert len(together.vectors(arrays)) == 2


@pytest.mark.parametrize(
    "apart",
    [
        lambda cp: [cp.arange(6.0)[3:], cp.arange(6.0)[:3]],
        lambda cp: list(cp.arange(6.0).reshape(2, 3))[::-1],
        lambda cp: [cp.arange(6.0)[:3], cp.arange(8.0)[4:]],
        lambda cp: [cp.arange(6.0)[::2], cp.arange(6.0)[3:]],
        lambda cp: [cp.arange(6.0).reshape(2, 3).T, cp.arange(3.0)],
        neighbours_of_two_memories,
    ],
)
def test_what_only_looks_like_one_vector_is_copied(cp, apart):
    arrays = apart(cp)
    found = together.laid_out(arrays)
    assert found is not arrays and same(found, arrays)
    ((vector,),) = together.vectors(found)
    assert np.array_equal(to_numpy(vector), np.concatenate([to_numpy(a).ravel() for a in arrays]))


def test_one_contiguous_array_is_a_vector_already(cp):
    x = cp.arange(6.0).reshape(2, 3)
    ((vector,),) = together.vectors([x])
    assert vector.base is x.base and vector.shape == (6,)
