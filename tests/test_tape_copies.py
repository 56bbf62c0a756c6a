"""Changing what a graph was computed from: the gradient stays that of the numbers which forward saw."""

import copy
import pickle

import numpy as np
import pytest

from minirnn import ops
from minirnn.arrays import asarray, to_numpy
from minirnn.nn import Parameter
from minirnn.tape import Tensor, no_grad

NUMBERS = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])


def saved_leaf(requires_grad=True):
    """A tensor whose array the pullback of ``square`` needs."""
    return Tensor(NUMBERS, requires_grad=requires_grad, name="w")


def square_loss(w):
    return (w * w).sum()


def gradient(loss, w):
    loss.backward()
    return to_numpy(w.grad)


def test_the_array_a_tensor_was_made_from_may_change(backend):
    source = asarray(NUMBERS)
    w = Tensor(source, requires_grad=True)
    loss = square_loss(w)
    source[...] = 0
    assert np.array_equal(gradient(loss, w), 2 * NUMBERS)


def test_an_array_given_as_operand_may_change(backend):
    w, operand = saved_leaf(), asarray(NUMBERS)
    loss = (w * operand).sum() + (operand * w).sum()
    operand[...] = 0
    assert np.array_equal(gradient(loss, w), 2 * NUMBERS)


@pytest.mark.parametrize("kind", ["array", "tensor", "list", "mask"])
def test_an_index_may_change(backend, kind):
    w = saved_leaf()
    index = {
        "array": lambda: asarray([0, 1, 0]),
        "tensor": lambda: Tensor([0, 1, 0]),
        "list": lambda: [0, 1, 0],
        "mask": lambda: asarray([True, False]),
    }[kind]()
    loss = w[index].sum() + w[:, 0][index].sum()
    for k in range(2):
        index[k] = kind == "mask"
    counts = [1, 0] if kind == "mask" else [2, 1]
    assert np.array_equal(gradient(loss, w), np.array([[2, 1, 1]]) * np.array([counts]).T)


@pytest.mark.parametrize("lookup", ["embedding", "take"])
def test_ids_may_change(backend, lookup):
    w, ids = saved_leaf(), asarray(np.array([0, 1, 1]))
    loss = getattr(ops, lookup)(w, ids).sum()
    ids[...] = 0
    assert np.array_equal(gradient(loss, w), [[1] * 3, [2] * 3])


def test_targets_may_change(backend):
    w, targets = saved_leaf(), asarray(np.array([0, 2]))
    loss = ops.cross_entropy(w, targets)
    targets[...] = 1
    p = np.exp(NUMBERS) / np.exp(NUMBERS).sum(axis=1, keepdims=True)
    assert np.allclose(gradient(loss, w), (p - np.eye(3)[[0, 2]]) / 2, rtol=1e-14)


EXPORTS = {
    "np.asarray(t.detach())": lambda t: np.asarray(t.detach()),
    "np.array(t.detach())": lambda t: np.array(t.detach()),
    "t.numpy()": lambda t: t.numpy(),
    "dlpack": lambda t: np.from_dlpack(t.detach()),
    "Tensor(t.data)": lambda t: Tensor(t.data),
}


@pytest.mark.parametrize("way", EXPORTS)
def test_what_is_taken_out_may_change(way):
    w = saved_leaf()
    loss, taken = square_loss(w), EXPORTS[way](w)
    if isinstance(taken, Tensor) or taken.flags.writeable:
        taken[...] = 0
    assert np.array_equal(gradient(loss, w), 2 * NUMBERS)


def test_a_parameter_may_be_replaced(backend):
    w = Parameter(NUMBERS)
    loss = square_loss(w)
    w.data = np.zeros((2, 3))
    assert np.array_equal(gradient(loss, w), 2 * NUMBERS) and w.numpy().sum() == 0


def test_writing_after_backward_is_what_training_does(backend):
    w = saved_leaf()
    for _ in range(2):
        loss = square_loss(w)
        loss.backward()
        with no_grad():
            w -= 0.25 * w.grad
        w.grad = None
    assert np.array_equal(w.numpy(), NUMBERS / 4)


WAYS = {"pickle": lambda x: pickle.loads(pickle.dumps(x)), "deepcopy": copy.deepcopy, "copy": copy.copy}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_leaf_is_copied_and_a_tensor_with_a_history_says_why_not(way):
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    x.grad = np.array([3.0, 4.0])
    twin = way(x)
    assert (twin.numpy().tolist(), twin.grad.tolist(), twin.requires_grad, twin.name) == ([1, 2], [3, 4], True, "x")
    assert way((2 * x).detach()).numpy().tolist() == [2.0, 4.0]
    with pytest.raises(TypeError, match=r"that multiply made cannot be copied or pickled: .* x\.detach\(\) leaves"):
        way(2 * x)
