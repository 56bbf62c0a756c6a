"""Operators and methods of tensors: NumPy's results, dtypes and errors, whatever stands on the other side."""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minirnn.arrays import asarray, to_numpy
from minirnn.tape import Tensor

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4)


@st.composite
def pairs(draw):
    """Two arrays whose shapes broadcast, of one of two floating dtypes each; no zeros, to divide by."""
    found = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    seed = draw(st.integers(0, 2**16))
    dtypes = draw(st.tuples(*[st.sampled_from(["float32", "float64"])] * 2))
    random = np.random.default_rng(seed)
    return [
        np.asarray(random.uniform(0.5, 2, shape) * random.choice([-1, 1], shape), d)
        for shape, d in zip(found, dtypes, strict=True)
    ]


def same(tensor, expected):
    """Same bits, dtype and shape as NumPy's answer."""
    expected = np.asarray(expected)
    assert isinstance(tensor, Tensor)
    assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(tensor.numpy(), expected)


@pytest.mark.parametrize("op", ARITHMETIC + COMPARISONS)
@given(xy=pairs())
def test_operators_are_numpys(backend, op, xy):
    x, y = xy
    same(op(Tensor(x), Tensor(y)), op(x, y))


@pytest.mark.parametrize("op", ARITHMETIC)
@given(xy=pairs())
def test_gradients_have_shape_and_dtype_of_the_argument(backend, op, xy):
    """Broadcast axes are summed up again, and a float32 argument of a float64 result gets a float32 gradient."""
    x, y = (Tensor(a, requires_grad=True) for a in xy)
    op(x, y).sum().backward()
    a, b = (array.astype("float64") for array in xy)
    ones = np.ones(np.broadcast_shapes(a.shape, b.shape))
    dx, dy = {
        "add": (ones, ones),
        "sub": (ones, -ones),
        "mul": (ones * b, ones * a),
        "truediv": (ones / b, -ones * a / b**2),
    }[op.__name__]
    for tensor, d in ((x, dx), (y, dy)):
        assert (tensor.grad.shape, tensor.grad.dtype) == (tensor.shape, tensor.dtype)
        expected = d.sum(axis=tuple(range(d.ndim - tensor.ndim)))
        expected = expected.sum(axis=tuple(k for k, n in enumerate(tensor.shape) if n == 1), keepdims=True)
        assert np.allclose(to_numpy(tensor.grad), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", ARITHMETIC)
@given(xy=pairs())
def test_reflected_operators_with_arrays_on_the_left(op, xy):
    x, y = xy
    same(op(x, Tensor(y)), op(x, y))
    same(op(Tensor(x), y), op(x, y))


def test_arrays_of_the_backend_on_the_left_give_tensors(backend):
    t = Tensor([1.0, 2.0, 4.0], requires_grad=True)
    y = backend.ones(3) * t
    assert isinstance(y, Tensor) and y.requires_grad
    same(backend.ones((2, 3)) @ t, [7.0, 7.0])
    same(backend.ones(3) < t, [False, True, True])


@pytest.mark.parametrize("op", [*ARITHMETIC, operator.pow])
@pytest.mark.parametrize("number", [2, 0.5, -1, True, np.float64(3), np.float32(3), np.int64(2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_on_either_side(backend, op, number, dtype):
    """Python's numbers take the tensor's dtype; NumPy's scalars keep their own, as NumPy has it."""
    x = np.array([1.0, 2.0, 4.0], dtype)
    same(op(Tensor(x), number), op(x, number))
    same(op(number, Tensor(x)), op(number, x))


@pytest.mark.parametrize("other", [[1.0, 2.0, 3.0], [[1], [2]], (1, 2, 3)])
def test_lists_are_arrays(other):
    x = np.array([1.0, 2.0, 3.0])
    same(Tensor(x) * other, x * np.array(other))
    same(other - Tensor(x), np.array(other) - x)


@pytest.mark.parametrize("other", ["abc", {}, object(), {1, 2}])
def test_what_is_no_number_is_refused(other):
    with pytest.raises(TypeError, match="data must be numbers"):
        Tensor([1.0]) * other


def test_comparisons_with_anything():
    x = Tensor([1.0, 2.0])
    same(x == None, [False, False])  # noqa: E711  # the operator is what is tested
    same(x != "a", [True, True])
    same(x == x, [True, True])
    assert not (x == x).requires_grad


def test_a_tensor_stands_for_itself_in_sets_and_dicts():
    x, y = Tensor([1.0]), Tensor([1.0])
    assert len({x, y, x}) == 2 and {x: "x", y: "y"}[y] == "y"


def test_in_place_operators_keep_tensor_and_dtype(backend):
    x = Tensor([1.0, 2.0], dtype="float32")
    before = x
    x += 1
    x *= Tensor([2.0, 2.0])
    x -= 1.0
    x /= 2
    assert x is before and x.dtype == np.float32 and x.numpy().tolist() == [1.5, 2.5]


@given(st.data(), st.integers(1, 3), st.integers(0, 3))
def test_matmul_is_numpys(backend, data, x_ndim, y_extra):
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    n = data.draw(st.integers(1, 3))
    x_shape = (2, 3, n)[-x_ndim:] if x_ndim > 1 else (n,)
    y_shape = [(n,), (n, 2), (2, n, 4), (1, n, 1)][y_extra]
    x, y = random.standard_normal(x_shape), random.standard_normal(y_shape)
    result = Tensor(x) @ Tensor(y)
    assert result.shape == (x @ y).shape and np.allclose(result.numpy(), x @ y, rtol=1e-14)


def test_matmul_of_numbers_is_refused():
    with pytest.raises(ValueError, match="matmul needs arrays of at least one axis"):
        Tensor(2.0) @ Tensor([1.0])


METHODS = {
    "abs": lambda x: x.abs(),
    "neg": lambda x: -x,
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "tanh": lambda x: x.tanh(),
    "clip": lambda x: x.clip(0.5, 1.5),
    "sum": lambda x: x.sum(axis=(0, 2)),
    "sum all": lambda x: x.sum(),
    "mean": lambda x: x.mean(axis=1, keepdims=True),
    "var": lambda x: x.var(axis=-1, ddof=1),
    "std": lambda x: x.std(1, ddof=1),
    "max": lambda x: x.max(axis=0),
    "min": lambda x: x.min(),
    "reshape": lambda x: x.reshape(3, -1),
    "reshape tuple": lambda x: x.reshape((4, 6)),
    "T": lambda x: x.T,
    "transpose": lambda x: x.transpose(2, 0, 1),
    "transpose tuple": lambda x: x.transpose((1, 0, 2)),
    "transpose all": lambda x: x.transpose(),
    "transpose back": lambda x: x.transpose(-1, 0, 1),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "swapaxes": lambda x: x.swapaxes(0, -1),
    "take": lambda x: x.take([[0, 1], [1, 1]], axis=1),
    "astype": lambda x: x.astype("float32"),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_numpys(backend, name):
    x = np.random.default_rng(0).uniform(0.2, 2, (2, 3, 4))
    functions = {"abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh}
    expected = functions[name](x) if name in functions else METHODS[name](x)
    result = METHODS[name](Tensor(x, requires_grad=True))
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype) and result.requires_grad
    assert np.allclose(result.numpy(), expected, rtol=1e-14)


def test_methods_that_numpy_lacks(backend):
    x = np.random.default_rng(0).standard_normal((2, 3))
    p = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    expected = {
        "sigmoid": 1 / (1 + np.exp(-x)),
        "relu": np.maximum(x, 0),
        "softmax": p,
        "log_softmax": np.log(p),
        "logsumexp": np.log(np.exp(x).sum()),
    }
    for name, values in expected.items():
        assert np.allclose(getattr(Tensor(x), name)().numpy(), values, rtol=1e-13), name


@pytest.mark.parametrize("name", ["argmax", "argmin", "any", "all"])
def test_what_has_no_derivative_answers_without_history(backend, name):
    x = np.array([[2.0, 0.0, 3.0], [5.0, 5.0, 1.0]])
    for options in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}):
        answer = getattr(Tensor(x, requires_grad=True), name)(**options)
        same(answer, getattr(x, name)(**options))
        assert not answer.requires_grad and answer.backend == Tensor(x).backend
    with pytest.raises(ValueError, match=rf"^{name}: axis 2 is out of bounds .*; got the tensor float64 .*, axis 2, "):
        getattr(Tensor(x), name)(2)
    with pytest.raises(TypeError, match=rf"^Tensor\.{name}\(\) got an unexpected keyword argument 'dim'"):
        getattr(Tensor(x), name)(dim=0)


def test_asarray_on_the_right_of_a_tensor_is_copied(backend):
    operand = asarray([2.0])
    y = Tensor([3.0]) * operand
    operand[...] = 0
    assert y.item() == 6.0


@pytest.mark.parametrize("op", [operator.and_, operator.or_, operator.xor])
def test_what_is_compared_can_be_joined(op):
    x = np.array([-1.0, 0.5, 2.0])
    t = Tensor(x, requires_grad=True)
    same(op(t > 0, t < 1), op(x > 0, x < 1))
    same(op(t > 0, x < 1), op(x > 0, x < 1))
    same(op(x > 0, t < 1), op(x > 0, x < 1))
    same(op(True, t < 1), op(True, x < 1))
    same(~(t > 0), ~(x > 0))
    with pytest.raises(TypeError, match="not supported for the input types"):
        op(t, t)
