"""Operations take arrays and options by position or by name, as NumPy's do, and say how they are called."""

import inspect

import numpy as np
import pytest

from minirnn import Tensor, differentiable, ops, rules

X = np.arange(6.0).reshape(2, 3)
W = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


@pytest.mark.parametrize(
    "call, numpy",
    [
        (lambda x: ops.sum(x, 0), X.sum(0)),
        (lambda x: ops.sum(x, 0, keepdims=True), X.sum(0, keepdims=True)),
        (lambda x: ops.sum(x, 1, True), X.sum(1, keepdims=True)),
        (lambda x: x.sum(1, True), X.sum(1, keepdims=True)),
        (lambda x: ops.reshape(x, (3, 2)), X.reshape(3, 2)),
        (lambda x: ops.transpose(x, (1, 0)), X.T),
        (lambda x: ops.swapaxes(x, 0, 1), X.T),
        (lambda x: x.swapaxes(0, 1), X.T),
        (lambda x: ops.clip(x, 1, 3), X.clip(1, 3)),
        (lambda x: x.clip(max=3), X.clip(max=3)),
        (lambda x: ops.take(x, [2, 0], 1), X.take([2, 0], 1)),
        (lambda x: ops.astype(x, "float32"), X),
        (lambda x: ops.split(x, 3, 1)[2], X[:, 2:]),
        (lambda x: ops.sum(x=x), X.sum()),
        (lambda x: ops.matmul(x=x, y=W), X @ W),
        (lambda x: ops.matmul(y=W, x=x), X @ W),
        (lambda x: ops.where(X > 2, y=0.0, x=x), np.where(X > 2, X, 0.0)),
        (lambda x: ops.affine(W=x, x=W, b=None), X @ W),
        (lambda x: ops.affine(W, b=np.array([10.0, 20.0]), W=x), X @ W + [[10.0], [20.0]]),
        (lambda x: ops.concat([x, X]), np.concatenate([X, X])),
        (lambda x: ops.concat((x, X), axis=1), np.concatenate([X, X], 1)),
        (lambda x: ops.concat([x, X], 1), np.concatenate([X, X], 1)),
        (lambda x: ops.concat([[1, 2], [3, 4]], 0) * x.sum(), np.array([15.0, 30.0, 45.0, 60.0])),
        (lambda x: ops.concat([[[1], [2]], [[3], [4]]], 1) * x.sum(), np.array([[15.0, 45.0], [30.0, 60.0]])),
        (lambda x: ops.concat([x]), X),
        (lambda x: ops.concat(x), X),  # as of concat(*parts), where there is one
        (lambda x: ops.stack([x, X], -1), np.stack([X, X], -1)),
        (lambda x: ops.stack([[1.0], [2.0]]) * x.sum(), np.stack([[15.0], [30.0]])),
        (lambda x: ops.concat([1.0], [2.0]) * x.sum(), np.array([15.0, 30.0])),  # each list an array
    ],
)
def test_arrays_and_options_come_as_in_numpy(call, numpy):
    x = Tensor(X, requires_grad=True)
    y = call(x)
    assert y.shape == numpy.shape and y.numpy().tolist() == numpy.tolist()
    y.sum().backward()
    assert x.grad.shape == X.shape


def test_an_array_by_name_has_its_gradient_and_one_left_out_none():
    logits, targets, mask = np.random.default_rng(0).standard_normal((3, 4)), [0, 3, 1], [True, False, True]
    with_names, by_position = Tensor(logits, requires_grad=True), Tensor(logits, requires_grad=True)
    ops.cross_entropy(targets=targets, logits=with_names, mask=mask).backward()
    ops.cross_entropy(by_position, targets, None, mask).backward()
    assert with_names.grad.tolist() == by_position.grad.tolist()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.multiply(X, X, X), "multiply is called as multiply(x, y); got 3 by position"),
        (lambda: ops.matmul(X), "matmul is called as matmul(x, y); got 1 by position"),
        (lambda: ops.matmul(X, W, x=X), "matmul is called as matmul(x, y); got 2 by position and x by name"),
        (lambda: ops.matmul(X, W, wanted=(True, True)), "matmul(x, y); got 2 by position and wanted by name"),
        (lambda: ops.sum(X, dim=0), "called as sum(x, axis=None, keepdims=False); got 1 by position and dim by name"),
        (lambda: ops.sum(X, 0, axis=0), "sum(x, axis=None, keepdims=False); got 2 by position and axis by name"),
        (lambda: Tensor(X).sum(dim=0), "called as sum(x, axis=None, keepdims=False); got 1 by position and dim"),
        (
            lambda: ops.stack(X, dim=0),
            "stack(*xs, axis=0) or stack(a list of them, axis); got 1 by position and dim by name",
        ),
        (
            lambda: ops.concat(X, X, axes=1),
            "concat(*xs, axis=0) or concat(a list of them, axis); got 2 by position and",
        ),
        (
            lambda: ops.concat([Tensor(X)], 1, axis=1),
            "concat(a list of them, axis); got 2 by position and axis by name",
        ),
        (lambda: ops.sum(None), "sum: x must be an array, got None"),
        (lambda: Tensor(X) + None, "add: y must be an array, got None"),
        (lambda: ops.affine(X, None), "affine: W must be an array, got None"),
        (lambda: ops.concat(X, None), "concat: xs[1] must be an array, got None"),
        (lambda: ops.cross_entropy(X, [0, 1], None, None, 0), "mask=None, *, axis=-1); got 5 by position"),
    ],
)
def test_how_an_operation_is_called(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.concat(X, X, 1), "concat takes arrays of as many axes each, got shapes [(2, 3), (2, 3), ()]"),
        (lambda: ops.concat([X, W], 0), "concat: all the input array dimensions"),
        (lambda: ops.stack([X, W], 1), "stack: all input arrays must have the same shape; got xs[0]"),
        (lambda: ops.pad(X, 1), "widths must have a pair (before, after) for each of 2 axes, got 1"),
        (lambda: ops.pad(X, ((1, 1),)), "for each of 2 axes, got ((1, 1),)"),
    ],
)
def test_what_does_not_fit_is_no_wrong_call(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


def test_none_is_blamed_for_nothing_but_itself():
    with pytest.raises(IndexError, match="targets"):
        ops.affine_cross_entropy(X.T, W.T, None, [0, 9])


def test_options_keep_their_names_where_one_that_must_be_given_stands_behind_one_that_need_not():
    @differentiable
    def scale(x, *, power=2, factor):
        return factor * x**power, lambda dy: (dy * factor * power * x ** (power - 1),)

    assert str(inspect.signature(scale)) == "(x, *, power=2, factor)"
    assert scale([3.0], factor=2).tolist() == [18.0]
    with pytest.raises(TypeError, match=r"called as scale\(x, \*, power=2, factor\); got 2 by position"):
        scale([3.0], 2)


@pytest.mark.parametrize("name", rules.__all__)
def test_help_says_what_an_operation_is_and_what_may_be_given(name):
    op = getattr(ops, name)
    assert inspect.getdoc(op) and "wanted" not in inspect.signature(op).parameters


def test_options_do_not_follow_arrays_that_may_be_left_out():
    """Or an option would be taken for an array."""
    assert str(inspect.signature(ops.sum)) == "(x, axis=None, keepdims=False)"
    assert str(inspect.signature(ops.matmul)) == "(x, y)"
    assert str(inspect.signature(ops.gru_step)) == "(a, h_prev, W_hh, b_hn=None, *, reset_after=True)"
    assert str(inspect.signature(ops.concat)) == "(*xs, axis=0)"
    assert str(inspect.signature(rules.sum)) == "(x, *, axis=None, keepdims=False)"


def test_a_list_is_an_array_where_others_may_follow():
    @differentiable
    def first(x, *others):
        return x * 1.0, lambda dy: (dy, *(None for _ in others))

    assert first([1.0, 2.0]).numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["mean", "sum", "max", "std"])
def test_a_function_of_numpy_that_calls_a_method_says_what_to_write(name):
    with pytest.raises(
        TypeError, match=rf"^np.{name} has called a tensor's method .* write x.{name}\(\): {name} is called"
    ):
        getattr(np, name)(Tensor([1.0, 2.0]))
