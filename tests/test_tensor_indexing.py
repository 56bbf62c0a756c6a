"""Indexing tensors: what NumPy selects is selected, and the gradient goes back to where it came from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minirnn import ops
from minirnn.arrays import asarray, to_numpy
from minirnn.tape import Tensor

X = np.random.default_rng(0).standard_normal((4, 3, 5))

INDICES = {
    "int": 2,
    "negative int": -1,
    "int of NumPy": np.int64(1),
    "ints": (1, 2, 3),
    "slice": slice(1, 3),
    "backwards": slice(None, None, -2),
    "slices": (slice(None), slice(0, 2), slice(1, None, 2)),
    "None": (None, 1, None),
    "Ellipsis": (..., 0),
    "int and Ellipsis": (1, ..., slice(2)),
    "empty slice": slice(2, 2),
    "list": [0, 2, 0],
    "empty list": [],
    "lists": ([0, 1, 1], [2, 2, 0]),
    "list in the middle": (slice(None), [2, 0, 2, 2]),
    "nested list": [[0, 1], [3, 3]],
    "lists apart": ([0, 1], slice(None), [4, 0]),
    "mask": np.arange(4) % 2 == 0,
    "list of bools": [True, False, False, True],
    "mask of two axes": np.arange(12).reshape(4, 3) % 5 == 0,
    "mask in the middle": (slice(None), np.array([True, False, True])),
    "array with repeats": np.array([[3, 3], [0, 3]]),
    "array and int": (np.array([1, 1, 2]), 0),
    "array and None": (None, np.array([1, 1, 2])),
    "everything": (),
}


def on_backend(index):
    """NumPy's arrays in an index become arrays of the current backend."""
    if isinstance(index, tuple):
        return tuple(on_backend(part) for part in index)
    return asarray(index) if isinstance(index, np.ndarray) else index


def check(t, index, numpy_index):
    y = t[index]
    expected = X[numpy_index]
    assert isinstance(y, Tensor) and y.shape == expected.shape
    assert np.array_equal(y.numpy(), expected)
    cotangent = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(asarray(cotangent))
    gradient = np.zeros_like(X)
    np.add.at(gradient, numpy_index, cotangent)
    assert np.allclose(to_numpy(t.grad), gradient, rtol=1e-14)


@pytest.mark.parametrize("name", INDICES)
def test_indexing_is_numpys(backend, name):
    check(Tensor(X, requires_grad=True), on_backend(INDICES[name]), INDICES[name])


@pytest.mark.parametrize("name", [n for n, i in INDICES.items() if isinstance(i, np.ndarray)])
def test_tensors_and_host_arrays_as_index(backend, name):
    check(Tensor(X, requires_grad=True), Tensor(INDICES[name]), INDICES[name])
    check(Tensor(X, requires_grad=True), INDICES[name], INDICES[name])


@given(hnp.basic_indices(X.shape, allow_newaxis=True))
def test_every_basic_index(backend, index):
    check(Tensor(X, requires_grad=True), index, index)


@given(hnp.integer_array_indices(X.shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4)))
def test_every_index_of_integer_arrays(backend, index):
    check(Tensor(X, requires_grad=True), on_backend(index), index)


@pytest.mark.parametrize("name", INDICES)
def test_assignment_is_numpys(backend, name):
    if "repeats" in name or "list" in name or name == "array and int":
        pytest.skip("which of several writes to one element wins is not defined on a device")
    t, expected = Tensor(X), X.copy()
    t[on_backend(INDICES[name])] = 7.0
    expected[INDICES[name]] = 7.0
    assert np.array_equal(t.numpy(), expected)


def test_assignment_of_tensors_with_tensors_as_index(backend):
    t = Tensor(np.zeros(4))
    t[Tensor([0, 2])] = Tensor([1.0, 2.0])
    t[[1, 3]] = 5
    assert t.numpy().tolist() == [1.0, 5.0, 2.0, 5.0]


@pytest.mark.parametrize("index", [4, -5, (0, 3), (0, 0, 0, 0), 1.5, "a"])
def test_a_bad_index_is_an_index_error(index):
    with pytest.raises(IndexError):
        Tensor(X)[index]


def test_iteration_gives_differentiable_rows(backend):
    t = Tensor(X, requires_grad=True)
    rows = list(t)
    assert len(rows) == len(t) == 4
    for row, expected in zip(rows, X, strict=True):
        assert np.array_equal(row.numpy(), expected)
    (rows[0] * 2.0 + rows[3]).sum().backward()
    assert to_numpy(t.grad)[:, 0, 0].tolist() == [2.0, 0.0, 0.0, 1.0]
    a, b = Tensor([1.0, 2.0])
    assert (a.item(), b.item()) == (1.0, 2.0) and list(Tensor(np.ones((0, 3)))) == []


@pytest.mark.parametrize("ids", [[2, 0, 2, -1, 2], [[1, 1], [-4, 3]], np.array([2, 200, 2], "uint8"), []])
def test_mere_ids_are_looked_up_and_each_gets_all_it_is_asked(backend, ids):
    x = np.random.default_rng(0).standard_normal((300 if 200 in ids else 4, 3, 2))
    W, dy = Tensor(x, requires_grad=True), np.random.default_rng(1).standard_normal((*np.shape(ids), 3, 2))
    expected = np.zeros_like(x)
    np.add.at(expected, np.array(ids, int), dy)
    for y in (W[ids], W[Tensor(np.array(ids, int))], ops.take(W, np.array(ids, int))):
        assert y.node.name == "take" and np.array_equal(y.numpy(), x[np.array(ids, int)])
        W.grad = None
        y.backward(asarray(dy))
        assert np.allclose(to_numpy(W.grad), expected, rtol=1e-14, atol=1e-15)


def test_all_rows_come_from_one_call():
    """Of so many ``x[k]`` each would go back through zeros as large as ``x``: 1,000 rows took 1.3 seconds."""
    rows = list(Tensor(X, requires_grad=True))
    assert {row.node.name for row in rows} == {"unstack"} and len({row.node for row in rows}) == 1


def test_rows_are_views_and_a_write_into_the_whole_is_seen(backend):
    for x in (Tensor([1.0, 2.0]), Tensor([[1.0, 2.0], [3.0, 4.0]])):
        first, _ = x
        loss = (first * Tensor(2.0, requires_grad=True)).sum()
        x += 1.0
        with pytest.raises(RuntimeError, match="was written into after the forward pass"):
            loss.backward()


def test_a_tensor_without_axes_has_no_length_and_no_rows():
    with pytest.raises(TypeError, match="has no length and no rows"):
        len(Tensor(1.0))
    with pytest.raises(TypeError, match="has no length and no rows"):
        iter(Tensor(1.0))


@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_masks_select_and_return(backend, mask):
    check(Tensor(X, requires_grad=True), Tensor(np.array(mask)), np.array(mask))
