"""Writing into what forward saved: refused when it happens or named by backward; a wrong gradient never."""

import numpy as np
import pytest

from minirnn import ops
from minirnn.tape import Tensor, differentiable, no_grad

NUMBERS = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])


def saved_leaf(requires_grad=True):
    """A tensor whose array the pullback of ``square`` needs."""
    return Tensor(NUMBERS, requires_grad=requires_grad, name="w")


def square_loss(w):
    return (w * w).sum()


# Ways that are refused when they are tried: what ``data`` shows is read-only

REFUSED = {
    "data[...] = 0": lambda t: t.data.__setitem__(..., 0),
    "data += 1": lambda t: t.data.__iadd__(1),
    "data.flat[0] = 9": lambda t: t.data.flat.__setitem__(0, 9),
    "np.add(out=data)": lambda t: np.add(t.data, 1, out=t.data),
    "np.copyto(data, 0)": lambda t: np.copyto(t.data, 0),
    "np.put(data, 0, 9)": lambda t: np.put(t.data, 0, 9),
    "np.add.at(data, 0, 1)": lambda t: np.add.at(t.data, 0, 1),
    "data.sort()": lambda t: t.data.sort(),
    "data.fill(0)": lambda t: t.data.fill(0),
    "data.partition(1)": lambda t: t.data.partition(1),
    "data.T[...] = 0": lambda t: t.data.T.__setitem__(..., 0),
    "data.reshape(-1)[0] = 9": lambda t: t.data.reshape(-1).__setitem__(0, 9),
    "data.ravel().sort()": lambda t: t.data.ravel().sort(),
    "data[0][1] = 9": lambda t: t.data[0].__setitem__(1, 9),
    "data.byteswap(inplace=True)": lambda t: t.data.byteswap(inplace=True),
    "np.random.shuffle(data)": lambda t: np.random.default_rng(0).shuffle(t.data),
    "memoryview(data)": lambda t: memoryview(t.data).cast("B").__setitem__(0, 1),
    "np.asarray(t, copy=False)": lambda t: np.asarray(t, copy=False),
    "np.from_dlpack(t)": lambda t: np.from_dlpack(t),
    "np.add(out=t)": lambda t: np.add(1, 1, out=t),
    "t[...] = 0": lambda t: t.__setitem__(..., 0),
    "t += 1": lambda t: t.__iadd__(1),
    "t[0] -= 1": lambda t: t[0].__isub__(1),
    "view of t *= 2": lambda t: t.reshape(-1).__imul__(2),
}


@pytest.mark.parametrize("way", REFUSED)
def test_refused(way):
    w = saved_leaf()
    loss = square_loss(w)
    with pytest.raises((ValueError, RuntimeError, TypeError, BufferError)):
        REFUSED[way](w)
    assert np.array_equal(w.numpy(), NUMBERS)
    loss.backward()
    assert np.array_equal(w.grad, 2 * NUMBERS)


def test_the_refusal_of_a_tensor_says_what_to_do(backend):
    w = saved_leaf()
    for way in (REFUSED["t[...] = 0"], REFUSED["t += 1"]):
        with pytest.raises(RuntimeError, match=r"w requires a gradient, and a write .* use no_grad\(\)"):
            way(w)


# Ways that are open, under no_grad or through tensors without a gradient, and that backward then names

DETECTED = {
    "t[...] = 0": lambda t: t.__setitem__(..., 0),
    "t[0, 1] = 0": lambda t: t.__setitem__((0, 1), 0),
    "t += 1": lambda t: t.__iadd__(1),
    "t -= 1": lambda t: t.__isub__(1),
    "t *= 2": lambda t: t.__imul__(2),
    "t /= 2": lambda t: t.__itruediv__(2),
    "t[0] += 1": lambda t: t[0].__iadd__(1),
    "t.reshape(-1)[0] = 0": lambda t: t.reshape(-1).__setitem__(0, 0),
    "t.T[...] = 0": lambda t: t.T.__setitem__(..., 0),
    "t[:, 1:][...] = 0": lambda t: t[:, 1:].__setitem__(..., 0),
    "t.swapaxes(0, 1) *= 2": lambda t: t.swapaxes(0, 1).__imul__(2),
    "a half of t += 1": lambda t: ops.split(t, sections=2)[1].__iadd__(1),
    "t.T[0][...] = 0": lambda t: t.T[0].__setitem__(..., 0),
    "flip(t) += 1": lambda t: ops.flip(t).__iadd__(1),
    "t.detach() += 1": lambda t: t.detach().__iadd__(1),
    "t.detach().reshape(-1)[0] = 0": lambda t: t.detach().reshape(-1).__setitem__(0, 0),
    "row by row": lambda t: [row.__imul__(0) for row in t],
}


@pytest.mark.parametrize("way", DETECTED)
def test_detected(backend, way):
    w, other = saved_leaf(), Tensor(np.ones((2, 3)), requires_grad=True)
    loss = square_loss(w) + (other * 2.0).sum()
    with no_grad():
        DETECTED[way](w)
    with pytest.raises(RuntimeError, match="w of 'multiply' was written into after the forward"):
        loss.backward()
    assert w.grad is None and other.grad is None


@pytest.mark.parametrize("way", DETECTED)
def test_detected_in_what_was_computed_from_a_leaf(backend, way):
    """The saved array is an output, written into through a tensor that a later call made."""
    w = saved_leaf()
    y = w.tanh()
    loss = square_loss(y)
    with no_grad():
        DETECTED[way](y)
    with pytest.raises(RuntimeError, match=r"of '(multiply|tanh)' was written into"):
        loss.backward()
    assert w.grad is None


def test_detached_memory_is_watched_without_no_grad(backend):
    w = saved_leaf()
    loss, detached = square_loss(w), w.detach()
    detached += 1.0
    with pytest.raises(RuntimeError, match="w of 'multiply' was written into"):
        loss.backward()


def test_a_view_taken_before_the_forward_pass_is_watched(backend):
    w = saved_leaf()
    with no_grad():
        row = w[0]
    loss = square_loss(w)
    row += 1.0
    with pytest.raises(RuntimeError, match="written into"):
        loss.backward()


def test_views_that_one_call_returns_watch_each_other(backend):
    """h_T is the last of hs: writing into the one is writing into the other."""
    a, h_0, c_0 = Tensor(np.ones((3, 4, 2)), requires_grad=True), Tensor(np.ones((1, 2))), Tensor(np.ones((1, 2)))
    hs, h_T, _ = ops.lstm(a, h_0, c_0, Tensor(np.ones((4, 1))))
    loss = (hs * hs).sum()
    with no_grad():
        h_T += 1.0
    with pytest.raises(RuntimeError, match="written into"):
        loss.backward()


def test_a_rule_that_returns_its_argument_shares_its_memory(backend):
    @differentiable
    def identity(x):
        def identity_pullback(dy):
            return (dy,)

        return x, identity_pullback

    w = saved_leaf()
    loss = square_loss(w)
    with no_grad():
        y = identity(w)
        y += 1.0
    with pytest.raises(RuntimeError, match="w of 'multiply' was written into"):
        loss.backward()


def test_unnamed_tensors_are_named_by_their_place(backend):
    x, y = Tensor(NUMBERS, requires_grad=True), Tensor(NUMBERS)
    loss = (x * y).sum()
    y[...] = 0
    with pytest.raises(RuntimeError, match="input 1 of 'multiply'"):
        loss.backward()


@pytest.mark.parametrize("write", [lambda t, x: t.__setitem__(..., x), lambda t, x: t.__iadd__(x)], ids=["=", "+="])
def test_a_write_of_something_that_requires_a_gradient_is_refused(backend, write):
    total, x = Tensor([0.0]), Tensor([2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="what is to be written requires a gradient"):  # which would be lost
        write(total, x * 3)
    assert total.item() == 0.0
    with no_grad():
        write(total, x * 3)
    assert total.item() == 6.0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.ones((2, 2)), ValueError, r"an array of shape \(2,\), got \(2, 2\)"),
        (Tensor([1.0, 1.0]), TypeError, r"an array of shape \(2,\), got Tensor"),
        ([1.0, 1.0], TypeError, r"an array of shape \(2,\), got list"),
        (np.array([1j, 2.0]), TypeError, "an array of real numbers, got dtype complex128"),
    ],
)
def test_a_grad_that_does_not_fit_is_refused_where_it_is_set(given, error, message):
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    x.grad = before = np.array([3.0, 4.0])
    with pytest.raises(error, match=f"grad of x must be None or {message}"):
        x.grad = given
    assert x.grad is before
