"""Clipping: how long gradients are afterwards, where they point, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import Tensor, clip_grad_norm_, clip_grad_value_, ops
from minirnn.arrays import asarray, to_numpy
from minirnn.testing.strategies import generators, shapes
from minirnn.training import NonFiniteGradientError

limits = st.floats(1e-3, 1e3)
several_shapes = st.lists(shapes(), min_size=1, max_size=4)
both = pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])


def with_gradients(*gradients):
    """Tensors of zeros that have these gradients; ``None`` for none."""
    tensors = []
    for k, g in enumerate(gradients):
        like = np.zeros(2) if g is None else g
        tensors.append(Tensor(np.zeros_like(like), requires_grad=True, name=f"W{k}"))
        tensors[-1].grad = None if g is None else asarray(g)
    return tensors


def gradients_of(tensors):
    return [None if t.grad is None else to_numpy(t.grad) for t in tensors]


def joint(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


def bits(tensors):
    return [None if g is None else g.tobytes() for g in gradients_of(tensors)]


@given(several_shapes, generators(), limits)
def test_afterwards_no_longer_than_the_limit_and_in_the_same_direction(backend, forms, random, limit):
    before = [random.normal(size=shape) for shape in forms]
    tensors = with_gradients(*before)
    norm = clip_grad_norm_(tensors, limit)
    assert norm == pytest.approx(np.linalg.norm(joint(before)), rel=1e-14)
    after = joint(gradients_of(tensors))
    assert np.linalg.norm(after) <= limit * (1 + 1e-14)
    factor = limit / norm if norm > limit else 1
    np.testing.assert_allclose(after, factor * joint(before), rtol=1e-14)


@given(several_shapes, generators(), st.floats(1, 100))
def test_below_the_limit_not_a_bit_changes(backend, forms, random, slack):
    tensors = with_gradients(*(random.normal(size=shape) for shape in forms))
    before = bits(tensors)
    norm = clip_grad_norm_(tensors, 1e9)
    assert bits(tensors) == before
    clip_grad_norm_(tensors, slack * norm or 1.0)
    assert bits(tensors) == before


@given(several_shapes, generators(), limits)
def test_clipping_twice_is_clipping_once(forms, random, limit):
    tensors = with_gradients(*(random.normal(size=shape) for shape in forms))
    clip_grad_norm_(tensors, limit)
    once = joint(gradients_of(tensors))
    assert clip_grad_norm_(tensors, limit) <= limit * (1 + 1e-14)
    np.testing.assert_allclose(joint(gradients_of(tensors)), once, rtol=1e-14)


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-5), ("float32", 1e-5)])  # PyTorch adds 1e-6 to the norm
@given(several_shapes, generators(), st.floats(0.1, 10))
def test_equals_pytorch(dtype, rtol, forms, random, limit):
    torch = pytest.importorskip("torch")
    gradients = [random.normal(size=shape).astype(dtype) for shape in forms]
    ours, theirs = with_gradients(*gradients), [torch.zeros(shape, requires_grad=True) for shape in forms]
    for t, g in zip(theirs, gradients, strict=True):
        t.data, t.grad = t.data.to(getattr(torch, dtype)), None
        t.grad = torch.tensor(g)
    assert clip_grad_norm_(ours, limit) == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, limit)), rel=1e-6)
    for a, b in zip(gradients_of(ours), theirs, strict=True):
        np.testing.assert_allclose(a, b.grad.numpy(), rtol=rtol)
        assert a.dtype == dtype


@given(several_shapes, generators(), st.floats(0.1, 2))
def test_values_are_limited_one_by_one(backend, forms, random, limit):
    before = [random.normal(size=shape) for shape in forms]
    tensors = with_gradients(*before)
    norm = clip_grad_value_(tensors, limit)
    assert norm == pytest.approx(np.linalg.norm(joint(before)), rel=1e-14)
    for old, new in zip(before, gradients_of(tensors), strict=True):
        assert np.array_equal(new, np.clip(old, -limit, limit))
    once = bits(tensors)
    clip_grad_value_(tensors, limit)
    assert bits(tensors) == once


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_is_refused_by_name_and_nothing_changes(backend, clip, bad, dtype):
    tensors = with_gradients(*(np.full((2, 3), 5.0, dtype) for _ in range(3)), None)
    tensors[1].grad[0, 2] = bad
    before = bits(tensors)
    with pytest.raises(NonFiniteGradientError, match=r"gradient of W1 \(2, 3\) has 1 of 6 entries"):
        clip(tensors, 1.0)
    assert bits(tensors) == before


@both
def test_a_nameless_parameter_is_named_by_its_place(clip):
    tensors = with_gradients(np.ones(2), np.array([1.0, np.nan]))
    tensors[1].name = None
    with pytest.raises(NonFiniteGradientError, match="gradient of parameter 1"):
        clip(tensors, 1.0)


@pytest.mark.parametrize(
    "dtype, size",
    [
        *(("float32", size) for size in (1e30, 3e38, 3e-19, 6e-22, 2e-25)),
        *(("float64", size) for size in (1e200, 1e-170)),
    ],
)
def test_gradients_whose_squares_leave_the_range_of_numbers_are_clipped_all_the_same(backend, dtype, size):
    tensors = with_gradients(np.array([3 * size / 5, -4 * size / 5], dtype), np.zeros(2, dtype))
    assert clip_grad_norm_(tensors, size / 2) == pytest.approx(size, rel=1e-6, abs=0)
    np.testing.assert_allclose(gradients_of(tensors)[0], [0.3 * size, -0.4 * size], rtol=1e-6)
    assert gradients_of(tensors)[0].dtype == dtype


def test_all_gradients_count_as_one_vector(backend):
    tensors = with_gradients(np.array([3.0]), np.array([[4.0]]), None)
    assert clip_grad_norm_(iter(tensors), 1.0) == 5.0  # any iterable
    assert [g.item() for g in gradients_of(tensors)[:2]] == pytest.approx([0.6, 0.8])
    assert tensors[2].grad is None


@both
def test_nothing_to_clip(clip):
    assert clip([], 1.0) == 0.0
    assert clip(with_gradients(None), 1.0) == 0.0
    assert clip(with_gradients(np.zeros((0, 3))), 1.0) == 0.0


@both
def test_a_gradient_clipped_is_one_that_backward_made(backend, clip):
    x = Tensor(np.array([1.0, -2.0, 3.0]), requires_grad=True)
    ops.sum(x * x).backward()
    assert clip([x], 1.0) == pytest.approx(np.sqrt(56))
    expected = np.array([2, -4, 6]) / np.sqrt(56) if clip is clip_grad_norm_ else [1, -1, 1]
    np.testing.assert_allclose(to_numpy(x.grad), expected, rtol=1e-14)
    assert x.numpy().tolist() == [1, -2, 3]


@both
@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("-inf"), "1", None, True])
def test_bad_limits_are_named_and_nothing_changes(clip, limit):
    tensors = with_gradients(np.full(3, 9.0))
    before = bits(tensors)
    name = "max_norm" if clip is clip_grad_norm_ else "clip_value"
    with pytest.raises(ValueError, match=f"{name} must be a positive number, got {limit!r}"):
        clip(tensors, limit)
    assert bits(tensors) == before


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_parameters_that_are_no_list_are_explained(clip):
    w = Tensor([3.0, 4.0], requires_grad=True, name="w")
    w.grad = w.data * 1.0
    with pytest.raises(TypeError, match="must be a list of tensors, got one tensor"):  # its rows have no gradients
        clip(w, 1.0)
    with pytest.raises(TypeError, match="must be tensors, got int"):
        clip([w, 3], 1.0)
    clip([w, w], 1.0)  # named twice, clipped once
    assert np.allclose(w.grad, [0.6, 0.8] if clip is clip_grad_norm_ else [1.0, 1.0])


@both
def test_a_limit_that_is_a_number_of_numpys_leaves_single_precision_as_it_is(backend, clip):
    tensors = with_gradients(np.full(3, 9, "float32"))
    norm = clip(tensors, np.float64(1))
    assert type(norm) is float and {g.dtype.name for g in gradients_of(tensors)} == {"float32"}


def test_an_infinite_limit_only_looks():
    tensors = with_gradients(np.array([3.0, 4.0]))
    before = bits(tensors)
    assert clip_grad_norm_(tensors, math.inf) == 5 and bits(tensors) == before
    with pytest.raises(ValueError, match="clip_value must be a positive number, got inf"):
        clip_grad_value_(tensors, math.inf)
