"""What NumPy refuses is said of the call, once; what somebody has explained already stays as it is."""

import numpy as np
import pytest

from minirnn import Tensor, differentiable, ops
from minirnn.explaining import argument_names, explain


def test_an_operation_that_fails_is_said_of_the_call():
    with pytest.raises(ValueError, match=r"^add: operands .*; got x float32 \(2,\), y float64 \(3,\)$") as caught:
        ops.add(np.ones(2, "float32"), np.ones(3))
    assert "broadcast" in str(caught.value.__cause__)


def test_static_arguments_and_arrays_without_a_name_are_shown_too():
    with pytest.raises(ValueError, match=r"got xs\[0\] int64 \(1,\), xs\[1\] int64 \(1,\), axis 5$"):
        ops.stack(np.array([1]), np.array([2]), axis=5)


X = np.ones((2, 3))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.sum(X, 0), "sum takes x by position and axis, keepdims by name: sum(x, axis=0)"),
        (lambda: ops.reshape(Tensor(X), (3, 2)), "reshape takes x by position and shape by name: reshape(x, shape=(3"),
        (lambda: ops.astype(X, "float32"), ": astype(x, dtype='float32')"),
        (lambda: ops.take(X, [0], 1), "take takes x, ids by position and axis by name: take(x, ids, axis=1)"),
        (lambda: ops.multiply(X, X, X), "multiply takes x, y by position, got 3 by position"),
        (lambda: ops.matmul(X), "matmul takes x, y by position, got 1 by position"),
        (lambda: ops.sum(X, dim=0), "and axis, keepdims by name, got 1 by position and dim by name"),
        (lambda: ops.sum(x=Tensor(X)), "and axis, keepdims by name, got x by name"),
        (lambda: ops.stack(X, dim=0), "stack takes *xs by position and axis by name, got 1 by position and dim"),
        (lambda: ops.concat(X, X, 1), "concat takes *xs by position and axis by name: concat(*xs, axis=1)"),
        (lambda: Tensor(X).sum(dim=0), "Tensor.sum() got an unexpected keyword argument 'dim'"),
        (lambda: ops.concat([X, X]), "concat takes arrays one by one, got a list: concat(*xs, axis=0) in place of"),
        (lambda: ops.stack((Tensor(X), Tensor(X)), 1), "stack takes arrays one by one, got a tuple: stack(*xs"),
    ],
)
def test_how_an_operation_is_called(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert message in str(caught.value)


def test_functions_of_numpy_that_raise_in_python_are_no_explanation():
    with pytest.raises(ValueError, match=r"^split: array split does not .*; got x float64 \(3,\), sections 2$"):
        ops.split(np.ones(3), sections=2)


def test_a_list_is_an_array_where_others_may_follow():
    @differentiable
    def first(x, *others):
        return x * 1.0, lambda dy: (dy, *(None for _ in others))

    assert first([1.0, 2.0]).numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("kind", [ValueError, TypeError, IndexError])
def test_a_raise_is_an_explanation(kind):
    error = kind("x must be odd")

    @differentiable
    def odd(x):
        raise error

    with pytest.raises(kind) as caught:
        odd(np.ones(2))
    assert caught.value is error


def test_who_asks_for_floating_point_errors_gets_them():
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        ops.divide(np.ones(2), np.zeros(2))


@pytest.mark.parametrize(
    "operation, kind",
    [
        (lambda: {}[0], ValueError),
        (lambda: None.shape, TypeError),
        (lambda: 1 // 0, ValueError),
        (lambda: [][0], IndexError),
    ],
)
def test_kinds_of_errors(operation, kind):
    with pytest.raises((AttributeError, LookupError, ZeroDivisionError)) as caught:
        operation()
    with pytest.raises(kind, match=r"^call: .*; got nothing$"):
        explain(caught.value, "call", {})


def test_long_values_are_cut():
    with pytest.raises(ValueError, match=r"got value '(a{76})\.\.\.$"):
        try:
            1 // 0  # noqa: B018
        except ZeroDivisionError as error:
            explain(error, "call", {"value": "a" * 1000})


def test_a_write_that_is_refused_does_not_count():
    w = Tensor([1.0, 2.0], requires_grad=True)
    x = Tensor([3.0, 4.0])
    loss = (w * x).sum()
    for write in (
        lambda: x.__setitem__(0, [1.0, 2.0]),
        lambda: x.__iadd__([1.0, 2.0, 3.0]),
        lambda: x.__setitem__(9, 1.0),
    ):
        with pytest.raises((ValueError, IndexError), match="got the tensor float64"):
            write()
    loss.backward()
    assert w.grad.tolist() == [3.0, 4.0]


def test_names_come_from_the_signature():
    def rule(x, /, y, *rest, scale=1):
        pass

    assert argument_names(rule, 2) == ["x", "y"]
    assert argument_names(rule, 4) == ["x", "y", "rest[0]", "rest[1]"]
    assert argument_names(lambda *xs: None, 2) == ["xs[0]", "xs[1]"]
    assert argument_names(max, 2) == ["argument 0", "argument 1"]
