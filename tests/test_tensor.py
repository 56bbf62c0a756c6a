"""What a tensor is made from, what it keeps, and how it leaves the library: dtypes, conversions, representation."""

import numpy as np
import pytest

from minirnn import ops
from minirnn.arrays import current_backend, to_numpy, use_backend
from minirnn.nn import Parameter
from minirnn.tape import Tensor, no_grad
from minirnn.testing import counting, strict_cupy

# Making


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1.5, "float64", ()),
        (3, "int64", ()),
        (True, "bool", ()),
        ([1, 2], "int64", (2,)),
        ([[1.0], [2.0]], "float64", (2, 1)),
        (np.float32(1), "float32", ()),
        (np.zeros((2, 0), "float32"), "float32", (2, 0)),
        (range(3), "int64", (3,)),
        (1 + 2j, "complex128", ()),
    ],
)
def test_data_keeps_its_dtype(backend, data, dtype, shape):
    t = Tensor(data)
    assert (t.dtype, t.shape, t.ndim, t.size) == (np.dtype(dtype), shape, len(shape), int(np.prod(shape)))
    assert t.backend == current_backend() and isinstance(t.array, backend.ndarray)
    assert t.grad is None and not t.requires_grad


def test_dtype_converts(backend):
    assert Tensor([1, 2], dtype="float32").dtype == np.float32


@pytest.mark.parametrize("data", ["abc", None, {}, [[1, 2], [3]], ["1"], object(), np.array("2020", "M8"), [None, 1.0]])
def test_what_is_not_numbers_is_refused(data):
    with pytest.raises(TypeError, match="data must be numbers"):
        Tensor(data)


def test_tensors_are_not_data():
    t = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"\.detach\(\)"):
        Tensor(t)
    with pytest.raises(TypeError, match=r"got a list of tensors; .* ops\.stack\(\*tensors\) makes one"):
        Tensor([[t, t]])


@pytest.mark.parametrize("data", [1, [1, 2], True, np.zeros(2, "uint8"), 1j])
def test_only_floats_can_require_a_gradient(data):
    with pytest.raises(TypeError, match="only floating tensors can require a gradient, got dtype"):
        Tensor(data, requires_grad=True)


def test_requires_grad_is_asked_of_leaves(backend):
    W, x = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0])
    W.requires_grad, x.requires_grad = False, True
    (W * x).sum().backward()
    assert W.grad is None and to_numpy(x.grad).tolist() == [1.0, 2.0]
    for flag in ("yes", 1, None):
        with pytest.raises(TypeError, match=rf"requires_grad must be True or False, got {flag!r}"):
            x.requires_grad = flag
    with pytest.raises(TypeError, match="only floating tensors can require a gradient, got dtype int64"):
        Tensor([1, 2]).requires_grad = True
    y = x * 2.0
    with pytest.raises(RuntimeError, match=r"what multiply made requires a gradient; x\.detach\(\)"):
        y.requires_grad = False
    y.requires_grad = True
    assert y.node is not None and x.requires_grad is True


def test_replacing_the_data(backend):
    t = Tensor([1.0, 2.0], dtype="float32")
    t.data = [3, 4]
    assert t.dtype == np.float32 and t.numpy().tolist() == [3.0, 4.0]
    t.data = Tensor([5.0, 6.0])
    assert t.numpy().tolist() == [5.0, 6.0]
    with pytest.raises(ValueError, match=r"data must have shape \(2,\), got \(3,\)"):
        t.data = [1.0, 2.0, 3.0]
    for value, message in (
        ([1j, 2.0], "float32, got dtype complex128"),
        ("ab", "dtype <U2"),
        (None, "dtype object"),
    ):
        with pytest.raises(TypeError, match=message):
            t.data = value
    counts = Tensor([1, 2])
    with pytest.raises(TypeError, match="data must be numbers as the tensor's are, int64, got dtype float64"):
        counts.data = [1.5, 2.5]
    with pytest.raises(TypeError, match="data must be numbers that all count, got a masked array"):
        t.data = np.ma.array([1.0, 2.0], mask=[False, True])
    assert t.numpy().tolist() == [5.0, 6.0] and counts.numpy().tolist() == [1, 2]


@pytest.mark.parametrize(
    "dtype, data, message",
    [
        ("int8", [300, 1], "data must lie between -128 and 127 for int8, got 1 to 300"),
        ("uint8", [-1, 1], "data must lie between 0 and 255 for uint8, got -1 to 1"),
        ("uint64", [-1, 1], "data must lie between 0 and 18446744073709551615 for uint64, got -1 to 1"),
    ],
)
def test_integers_are_not_wrapped(backend, dtype, data, message):
    t = Tensor([1, 2], dtype=dtype)
    t.data = [3, 4]
    with pytest.raises(ValueError, match=message):
        t.data = data
    with pytest.raises(ValueError, match=message):
        Tensor(data, dtype=dtype)
    assert t.numpy().tolist() == [3, 4] and Tensor([], dtype=dtype).size == 0


def test_a_write_that_does_not_fit_is_none():
    t = Tensor([1, 2], dtype="int8")
    with pytest.raises(ValueError, match="300 out of bounds for int8; got the tensor"):
        t[0] = 300
    assert t.writes == [0] and t.numpy().tolist() == [1, 2]


@pytest.mark.parametrize(
    "data, message",
    [
        (None, "got dtype object of NoneType"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), r"masked array; .*\.filled"),
    ],
)
def test_what_is_no_data_is_named(data, message):
    with pytest.raises(TypeError, match=message):
        Tensor(data)


# float32 stays float32, unless it meets float64


def test_float32_stays_float32(backend):
    x, W = Tensor(np.ones((2, 3), "float32"), requires_grad=True), Parameter(np.ones((3, 3)), "float32")
    with counting() as counts:
        y = (x @ W * 2 + 1.0 - 0.5 * x) / 3
        y = (2 - (-y).tanh().sigmoid() ** 2).softmax() * True
        loss = y.mean() + y.var() + ops.maximum(y, 0.1).sum()
        loss.backward()
    assert {t.dtype.name for t in (y, loss)} == {"float32"} == {x.grad.dtype.name, W.grad.dtype.name}
    assert counts.float64_results == 0


def test_mixed_dtypes_promote_and_gradients_come_back_in_their_own(backend):
    x = Tensor(np.ones(3, "float32"), requires_grad=True)
    y = Tensor(np.full(3, 2.0), requires_grad=True)
    z = x * y
    assert z.dtype == np.float64
    z.sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)
    (Tensor([1, 2, 3]) * x).sum().backward()
    assert x.grad.dtype == np.float32 and to_numpy(x.grad).tolist() == [3.0, 4.0, 5.0]


def test_results_in_integers_require_no_gradient(backend):
    x = Tensor([1.5, 2.5], requires_grad=True)
    assert not (x > 2).requires_grad and not x.astype("int64").requires_grad
    assert not (Tensor([1, 2]) + 1).requires_grad


def test_casts_carry_the_gradient_back(backend):
    x = Tensor(np.ones(3, "float32"), requires_grad=True)
    y = x.astype("float64") * 3.0
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32 and to_numpy(x.grad).tolist() == [3.0] * 3


# Leaving


def test_numbers_come_out(backend):
    t = Tensor([[2.5]])
    assert (t.item(), float(t), int(t), bool(t)) == (2.5, 2.5, 2, True)
    assert not bool(Tensor(0.0))
    assert f"{t:.3f} {t.sum():6.1e}" == "2.500 2.5e+00" and f"{t}" == repr(t)
    assert t.tolist() == [[2.5]] and t.sum().tolist() == 2.5


@pytest.mark.parametrize(
    "leave, message",
    [
        (float, r"float\(\) needs a tensor of one element, this one has shape \(2, 2\)$"),
        (int, r"int\(\) needs"),
        (Tensor.item, r"item\(\) needs"),
        ("{:.3f}".format, "the format '.3f' is for"),
        (bool, r"is asked of a tensor of one element, .* ask \.any\(\) or \.all\(\)$"),
        (lambda t: 3.0 in t, r"true or false \(bool, if, not, in\) is asked of"),
    ],
)
def test_only_one_number_comes_out(backend, leave, message):
    with pytest.raises(ValueError, match=message):
        leave(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert 3.0 in Tensor([1.0, 3.0])


def test_numpy_copies(backend):
    t = Tensor([1.0, 2.0])
    for copy in (t.numpy(), t.detach().numpy()):
        copy[...] = 0
    assert t.numpy().tolist() == [1.0, 2.0]


def test_conversion_to_an_array():
    t = Tensor([1.0, 2.0])
    assert np.asarray(t).tolist() == [1.0, 2.0] and np.asarray(t, dtype="float32").dtype == np.float32
    assert np.array([t, t]).shape == (2, 2)
    with pytest.raises(ValueError, match=r"\.data"):
        np.asarray(t, copy=False)
    with pytest.raises(TypeError, match=r"requires a gradient"):  # its history would be lost without a word
        np.asarray(Tensor([1.0], requires_grad=True))


def test_a_tensor_on_the_device_does_not_slip_to_the_host():
    with strict_cupy(), use_backend("cupy"):
        t = Tensor([1.0, 2.0])
        with pytest.raises(TypeError, match=r"\.numpy\(\)"):
            np.asarray(t)
        assert t.numpy().tolist() == [1.0, 2.0]


def test_dlpack_to_numpy():
    t = Tensor([[1.0, 2.0], [3.0, 4.0]], dtype="float32")
    taken = np.from_dlpack(t.T)
    assert taken.dtype == np.float32 and taken.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    with pytest.raises(BufferError, match="detach"):
        np.from_dlpack(Tensor([1.0], requires_grad=True))


def test_dlpack_to_torch():
    torch = pytest.importorskip("torch")
    t = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    taken = torch.from_dlpack(t.detach())
    taken += 1
    assert taken.dtype == torch.float64 and t.numpy().tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert taken.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Tensor([1.0, 2.5]), "Tensor([1. , 2.5])"),
        (Tensor([1, 2]), "Tensor([1, 2])"),
        (Tensor([True]), "Tensor([ True])"),
        (Tensor(2.0, requires_grad=True), "Tensor(2., requires_grad=True)"),
        (Tensor([1.0], dtype="float32"), "Tensor([1.], dtype=float32)"),
        (Tensor([[1.0], [2.0]]), "Tensor([[1.],\n        [2.]])"),
        (Parameter([[1.0], [2.0]]), "Parameter([[1.],\n           [2.]], requires_grad=True)"),
    ],
)
def test_repr(tensor, text):
    assert repr(tensor) == text


def test_repr_names_the_device():
    with strict_cupy(), use_backend("cupy"):
        assert repr(Tensor([1.0])) == "Tensor([1.], backend='cupy')"


# Between backends


def test_to_moves_and_the_gradient_moves_back():
    with strict_cupy():
        x = Tensor([1.0, 2.0], requires_grad=True)
        y = x.to("cupy") * 3.0
        assert y.backend == "cupy" and x.backend == "numpy"
        y.to("numpy").sum().backward()
        assert isinstance(x.grad, np.ndarray) and x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, y: x + y,
        lambda x, y: y * x,
        lambda x, y: x.reshape(1, 2) @ y,
        lambda x, y: ops.concat(x, y),
        lambda x, y: ops.where(x > 0, x, y),
        lambda x, y: ops.affine(x.reshape(2, 1), y.reshape(1, 2)),
        lambda x, y: x * y.data,
        lambda x, y: ops.mean_squared_error(x, y),
    ],
)
def test_mixed_backends_name_both(mix):
    with strict_cupy():
        x = Tensor([1.0, 2.0], requires_grad=True)
        y = Tensor([1.0, 2.0]).to("cupy")
        with pytest.raises(
            TypeError, match=r"different places \(argument .*numpy.*cupy|different places .*cupy.*numpy"
        ):
            mix(x, y)
        assert x.grad is None


def test_no_operation_waits_for_the_device():
    with strict_cupy(), use_backend("cupy"):
        x = Tensor(np.ones((3, 4), "float32"), requires_grad=True)
        Tensor(1.0)  # the first array tries out the device
        with counting() as counts:
            y = (x * 2.0 + 1) / 3 - x[1:2, [0, 1, 2, 3]]
            loss = (y.tanh().softmax().max(axis=0) ** 2).sum()
            loss.backward()
            with no_grad():
                x -= 0.1 * x.grad
        assert counts.syncs == 0
