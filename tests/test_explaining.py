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


def test_functions_of_numpy_that_raise_in_python_are_no_explanation():
    with pytest.raises(ValueError, match=r"^split: array split does not .*; got x float64 \(3,\), sections 2$"):
        ops.split(np.ones(3), sections=2)


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
