"""Switching recording off, cutting history, and threads that never disturb each other."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minirnn import ops
from minirnn.nn import LSTM
from minirnn.tape import Tensor, no_grad


def test_nothing_is_recorded_under_no_grad(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    with no_grad():
        y = (x * 2.0).tanh()
    assert y.node is None and not y.requires_grad and x.requires_grad
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        y.sum().backward()
    assert (x * 2.0).requires_grad


def test_no_grad_ends_after_an_error_and_nests():
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    with no_grad():
        with no_grad():
            pass
        assert not (x * x).requires_grad
    assert (x * x).requires_grad


def test_no_grad_decorates():
    @no_grad()
    def value(x):
        return x * 2.0

    x = Tensor([1.0], requires_grad=True)
    assert not value(x).requires_grad and not value(x).requires_grad
    assert (x * 2.0).requires_grad


def test_inference_returns_the_same_bits():
    """Without recording the LSTM keeps one set of gates for all its steps: another way through its code."""
    lstm, x = LSTM(3, 4, dtype="float64"), np.random.default_rng(0).standard_normal((5, 2, 3))
    recorded, _ = lstm(x)
    with no_grad():
        plain, _ = lstm(x)
    assert np.array_equal(recorded.numpy(), plain.numpy())


def test_detach_shares_memory_and_cuts_history(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * 3.0
    cut = y.detach()
    assert cut.array is y.array and cut.node is None and not cut.requires_grad
    (y * cut).sum().backward()
    assert (x.grad == 3 * cut.array).all()  # as if cut were a constant


def test_no_grad_of_one_thread_does_not_affect_another():
    x = Tensor([1.0], requires_grad=True)
    inside, looked, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait(10)
        seen.append((x * x).requires_grad)
        with no_grad():
            seen.append((x * x).requires_grad)
        looked.set()

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.set()
        assert looked.wait(10)
        assert not (x * x).requires_grad
    thread.join(10)
    assert seen == [True, False] and (x * x).requires_grad


def train(seed):
    """A few steps of a small net; its final weights."""
    random = np.random.default_rng(seed)
    lstm, W = (
        LSTM(3, 4, num_layers=2, dropout=0.3, seed=seed),
        Tensor(random.standard_normal((4, 2)), requires_grad=True),
    )
    for _ in range(4):
        out, _ = lstm(random.standard_normal((6, 2, 3)).astype("float32"))
        loss = ops.mean_squared_error(out @ W, Tensor(random.standard_normal((6, 2, 2)))) + (W * W).mean()
        loss.backward()
        for t in (*lstm.parameters(), W):
            with no_grad():
                t -= 0.1 * t.grad
            t.grad = None
    return b"".join([W.numpy().tobytes(), *(a.tobytes() for a in lstm.state_dict().values())])


def test_eight_threads_give_the_bits_of_the_serial_run():
    serial = [train(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(train, range(16))) == serial
    assert len(set(serial)) == 16


def test_one_graph_can_be_built_by_several_threads():
    """Nodes are numbered across threads, so a loss that joins their parts is walked in the right order."""
    x = Tensor(np.linspace(0.1, 1, 5), requires_grad=True)

    def part(k):
        y = x
        for _ in range(20):
            y = y * 0.9 + x * float(k)
        return y.sum()

    expected = sum(part(k) for k in range(8))
    expected.backward()
    serial, x.grad = x.grad, None
    with ThreadPoolExecutor(8) as pool:
        sum(pool.map(part, range(8))).backward()
    assert np.allclose(x.grad, serial, rtol=1e-12)  # which thread comes first decides in which order x is summed up


def test_no_gradient_is_lost_where_threads_share_a_leaf():
    """Each has a graph of its own above it, and brings its gradient while the other still adds up."""

    class Slow(np.ndarray):
        def __add__(self, other):
            time.sleep(0.1)
            return super().__add__(other)

    w, gate = Tensor([1.0, 1.0], requires_grad=True), threading.Barrier(2)
    w.grad = np.zeros(2).view(Slow)

    def bring(k):
        loss = (w * k).sum()
        gate.wait(10)
        loss.backward()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(bring, [1.0, 2.0], timeout=20))
    assert w.grad.tolist() == [3, 3]
