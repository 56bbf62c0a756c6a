"""What backward brings to the leaves: sums over every path, zeros for what nobody used, and nothing when it fails."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import ops
from minirnn.arrays import asarray, to_numpy
from minirnn.tape import Tensor, differentiable


def leaf(*shape, seed=0, **options):
    return Tensor(np.random.default_rng([seed, *shape]).standard_normal(shape), requires_grad=True, **options)


def numbers(*shape, seed=99):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def test_a_small_graph_by_hand(backend):
    x, W, b = leaf(2, 3), leaf(3, 4), leaf(4)
    cotangent = numbers(2, 4)
    (x @ W + b).tanh().backward(asarray(cotangent))
    xn, Wn, bn = x.numpy(), W.numpy(), b.numpy()
    da = cotangent * (1 - np.tanh(xn @ Wn + bn) ** 2)
    for tensor, expected in ((x, da @ Wn.T), (W, xn.T @ da), (b, da.sum(0))):
        assert isinstance(tensor.grad, backend.ndarray) and tensor.grad.shape == tensor.shape
        assert np.allclose(to_numpy(tensor.grad), expected, rtol=1e-13)


def test_gradients_add_up_over_backwards(backend):
    x = leaf(3)
    for _ in range(3):
        (x * 2.0).sum().backward()
    assert to_numpy(x.grad).tolist() == [6.0] * 3
    x.grad = None
    (x * 2.0).sum().backward()
    assert to_numpy(x.grad).tolist() == [2.0] * 3


def test_gradients_without_axes_stay_arrays(backend):
    x = leaf()
    for total in (3.0, 6.0, 9.0):
        (x * 3.0).backward()
        assert isinstance(x.grad, backend.ndarray) and float(x.grad) == total
    x.grad *= 2  # as clipping does
    assert float(x.grad) == 18.0


def test_a_tensor_used_twice_gets_both(backend):
    x = leaf(4)
    xn = x.numpy()
    (x * x + x).sum().backward()
    assert np.allclose(to_numpy(x.grad), 2 * xn + 1, rtol=1e-15)


@given(st.integers(1, 12))
def test_fan_out_accumulates(backend, n):
    x = leaf(3)
    y = x.tanh()
    total = y * 0.0
    for k in range(n):
        total = total + y * (k + 1.0)
    total.sum().backward()
    assert np.allclose(to_numpy(x.grad), n * (n + 1) / 2 * (1 - np.tanh(x.numpy()) ** 2), rtol=1e-12)


def test_a_diamond_is_walked_once_per_node():
    """Forty diamonds in a row have 2**40 paths and 80 nodes."""
    x = y = Tensor(1.0, requires_grad=True)
    for _ in range(40):
        y = y * 0.5 + y * 0.5
    y.backward()
    assert x.grad == 1.0


def test_only_leaves_that_ask_get_a_gradient():
    x, constant = leaf(3), Tensor(numbers(3))
    y = x * constant
    y.sum().backward()
    assert constant.grad is None and y.grad is None and not constant.requires_grad
    assert (constant * constant).node is None  # nothing to record


def test_a_leaf_is_its_own_loss():
    x = leaf()
    x.backward()
    assert x.grad == 1.0


# Every subset of outputs


@differentiable
def three(x, y):
    """Three outputs, of which no two have the same derivatives."""

    def three_pullback(da, db, dc):
        return 2 * da + y * db, x * db + 3 * y * y * dc

    return (2 * x, x * y, y**3), three_pullback


@pytest.mark.parametrize("used", [u for n in (1, 2, 3) for u in combinations(range(3), n)])
def test_unused_outputs_count_as_zero(backend, used):
    x, y, cotangents = leaf(4, seed=1), leaf(4, seed=2), numbers(3, 4)
    outputs = three(x, y)
    loss = sum(((outputs[k] * asarray(cotangents[k])).sum() for k in used), start=Tensor(0.0))
    loss.backward()
    da, db, dc = (cotangents[k] if k in used else np.zeros(4) for k in range(3))
    xn, yn = x.numpy(), y.numpy()
    assert np.allclose(to_numpy(x.grad), 2 * da + yn * db, rtol=1e-14)
    assert np.allclose(to_numpy(y.grad), xn * db + 3 * yn**2 * dc, rtol=1e-14)


@pytest.mark.parametrize("used", [u for n in (1, 2, 3) for u in combinations(range(3), n)])
def test_lstm_with_every_subset_of_outputs(backend, used):
    T, H, B = 3, 2, 4
    inputs = [leaf(T, 4 * H, B), leaf(H, B, seed=1), leaf(H, B, seed=2), leaf(4 * H, H)]
    arrays = [t.array for t in inputs]
    outputs = ops.lstm(*inputs)
    cotangents = [numbers(*t.shape, seed=k) for k, t in enumerate(outputs)]
    sum(((outputs[k] * asarray(cotangents[k])).sum() for k in used), start=Tensor(0.0)).backward()
    given = [asarray(c if k in used else np.zeros_like(c)) for k, c in enumerate(cotangents)]
    expected = ops.lstm.rule(*arrays)[1](*given)
    for tensor, gradient in zip(inputs, expected[: len(inputs)], strict=True):
        assert np.allclose(to_numpy(tensor.grad), to_numpy(gradient), rtol=1e-13, atol=1e-15)


# Passing through a graph again


def test_second_backward_says_what_to_do(backend):
    x = leaf(3)
    loss = (x.tanh() * 2.0).sum()
    loss.backward()
    before = to_numpy(x.grad).copy()
    with pytest.raises(RuntimeError, match=r"behind 'sum'; add up .* backward\(\) once, .*\(retain_graph=True\)"):
        loss.backward()
    assert np.array_equal(to_numpy(x.grad), before)


def test_losses_of_the_rows_of_a_leaf_add_up():
    x = leaf(2, 3)
    with pytest.raises(RuntimeError, match="behind 'unstack'; add up what is to go through it"):
        for row in x:
            (row * row).sum().backward()
    x.grad = None
    sum((row * row).sum() for row in x).backward()
    assert np.array_equal(x.grad, 2 * x.data)


def test_a_freed_part_is_named_from_another_loss():
    x = leaf(3)
    shared = x.tanh()
    shared.sum().backward()
    with pytest.raises(RuntimeError, match="'tanh'"):
        (shared * 2.0).sum().backward()


def test_retain_graph_gives_the_same_bits_again(backend):
    x, W = leaf(2, 3), leaf(3, 3)
    loss = ((x @ W).tanh() * x).sum()
    loss.backward(retain_graph=True)
    first = to_numpy(x.grad).copy()
    x.grad = W.grad = None
    loss.backward(retain_graph=True)
    assert np.array_equal(to_numpy(x.grad), first)
    loss.backward()
    assert np.allclose(to_numpy(x.grad), 2 * first, rtol=1e-15)


# What a gradient is made of


def test_every_gradient_owns_its_memory(backend):
    """The pullback of a sum hands the same array to both; writing into one gradient must not change the other."""
    x, y = leaf(3, seed=1), leaf(3, seed=2)
    cotangent = asarray(numbers(3))
    (x + y).backward(cotangent)
    x.grad[...] = 0
    assert np.array_equal(to_numpy(y.grad), numbers(3)) and np.array_equal(to_numpy(cotangent), numbers(3))
    y.grad[...] = 0
    assert np.array_equal(to_numpy(cotangent), numbers(3))


def test_gradients_of_views_own_their_memory_and_lie_in_order(backend):
    x = leaf(3, 4)
    x.T.sum(axis=0).backward(asarray(numbers(3)))  # a transposed broadcast: strides of zero
    assert x.grad.flags.c_contiguous
    x.grad[0, 0] = 5.0
    expected = np.repeat(numbers(3)[:, None], 4, axis=1)
    expected[0, 0] = 5.0
    assert np.array_equal(to_numpy(x.grad), expected)


def test_a_gradient_that_nobody_else_holds_is_not_copied():
    w, made = Tensor(np.ones(3), requires_grad=True), []

    @differentiable
    def watched(x):
        def watched_pullback(dy):
            dx = dy * 2
            made.append(dx.ctypes.data)
            return (dx,)

        return x * 2, watched_pullback

    watched(w).backward(np.ones(3))
    assert w.grad.ctypes.data == made[0]


def test_accumulation_does_not_write_into_the_old_gradient(backend):
    x = leaf(3)
    (x * 1.0).sum().backward()
    old = x.grad
    (x * 1.0).sum().backward()
    assert to_numpy(old).tolist() == [1.0] * 3


# What backward refuses


def test_nothing_to_differentiate():
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        Tensor([1.0]).backward()


def test_a_cotangent_is_needed_and_must_fit(backend):
    y = leaf(2, 3) * 2.0
    with pytest.raises(TypeError, match="cotangent must be numbers that all count, got a masked array"):
        y.backward(np.ma.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"one element, this one has shape \(2, 3\)"):
        y.backward()
    with pytest.raises(ValueError, match=r"cotangent must have shape \(2, 3\), got \(3,\)"):
        y.backward(asarray(numbers(3)))


def test_gradients_are_untouched_when_backward_raises(backend):
    @differentiable
    def broken(x):
        def broken_pullback(dy):
            raise ArithmeticError("no derivative today")

        return 1 * x, broken_pullback

    x, y = leaf(3, seed=1), leaf(3, seed=2)
    x.grad = asarray(numbers(3))
    with pytest.raises(ArithmeticError):
        (broken(x).sum() + (y * x).sum()).backward()  # y is reached before the error
    assert y.grad is None and np.array_equal(to_numpy(x.grad), numbers(3))


def test_leaves_frozen_since_the_forward_pass_get_no_gradient():
    x, y = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    loss = ops.sum(x * y)
    x.requires_grad = False
    loss.backward(retain_graph=True)
    assert x.grad is None and y.grad.tolist() == [1, 2]
    y.requires_grad = False
    assert y.grad is None  # a frozen leaf lets go of what it had
    loss.backward()
    assert x.grad is None and y.grad is None
