"""The strict fake records graphs as CuPy does: nothing runs, nothing waits, and a launch makes the same calls again."""

from __future__ import annotations

import gc
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from minirnn.kernels.launching import launch
from minirnn.testing import counting, strict_cupy
from minirnn.testing.strict_cupy.capture import MemoryPool

REFUSED = {
    "float(x[0, 0])": "D2H transfers are disallowed",
    "bool((x > 0).all())": "D2H transfers are disallowed",
    "x.get()": "D2H transfers are disallowed",
    "cp.asarray([1.0])": "H2D transfers are disallowed",
    "x.set(np.ones((2, 3)))": "H2D transfers are disallowed",
    "x[[0, 1]]": "H2D transfers are disallowed",
    "x[x > 0]": "D2H transfers are disallowed",
    "cp.concatenate([x[0]] * 9)": "H2D transfers are disallowed",
    "stream.synchronize()": "not permitted when stream is capturing",
    "cp.cuda.Device().synchronize()": "not permitted when stream is capturing",
    "cp.cuda.runtime.deviceSynchronize()": "not permitted when stream is capturing",
    "cp.cuda.Stream().begin_capture()": "not permitted when stream is capturing",
    "x @ x.T": "calling cuBLAS API during stream capture is currently unsupported",
    "cp.matmul(x, x.T)": "calling cuBLAS API",
    "np.matmul(x, x.T)": "calling cuBLAS API",
    "x.dot(x.T)": "calling cuBLAS API",
    "cp.tensordot(x, x)": "calling cuBLAS API",
    "cp.linalg.inv(x[:, :2])": "calling cuSOLVER API",
    "gemm('N', 'T', x, x)": "calling cuBLAS API",
    "cp.random.default_rng(0).random(3)": "calling cuRAND API",
}


@pytest.fixture(autouse=True)
def pools(monkeypatch):
    """Pools give back what is free in them when a test ends."""
    made, init = [], MemoryPool.__init__
    monkeypatch.setattr(MemoryPool, "__init__", lambda self: (init(self), made.append(self))[0])
    yield made
    for pool in made:
        pool.free_all_blocks()


@contextmanager
def recording(cp, pool, graphs):
    """A block that is recorded; its graph is appended."""
    stream = cp.cuda.Stream(non_blocking=True)
    with stream, cp.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        assert stream.is_capturing()
        try:
            yield stream
        except BaseException:
            with suppress(RuntimeError):
                stream.end_capture()
            raise
        graphs.append(stream.end_capture())
    assert not stream.is_capturing()


@pytest.mark.parametrize("line", REFUSED)
def test_what_cupy_refuses_is_refused_and_afterwards_all_is_as_before(line):
    from minirnn.testing.strict_cupy.linalg import cublas

    with strict_cupy() as cp:
        x, pool, graphs = cp.ones((2, 3)), cp.cuda.MemoryPool(), []
        names = {"cp": cp, "np": np, "x": x, "gemm": lambda *given: cublas.gemm(*given)}
        refused = pytest.raises(RuntimeError, match=REFUSED[line])  # NotImplementedError is one
        with refused, recording(cp, pool, graphs) as stream:
            eval(line, names | {"stream": stream})
        if "begin_capture" not in line:
            eval(line.replace("inv(x[:, :2])", "inv(cp.eye(2))"), names | {"stream": stream})
        assert float((x @ x.T).sum()) == 12


def test_nothing_runs_until_the_graph_is_launched_and_then_all_of_it_as_one_launch():
    with strict_cupy() as cp:
        x, w, graphs, pool = cp.asarray(np.arange(6.0).reshape(2, 3)), cp.ones((2, 3)), [], cp.cuda.MemoryPool()
        ids, rate = cp.asarray([2, 0]), cp.ones(1)
        with counting() as counts, recording(cp, pool, graphs):
            y = 2 * cp.exp(x)
            w += y
            rows = w[:, ids]
            top = y.max(axis=0, keepdims=True)[0]
            w[0, 0] = 7
            filled = cp.zeros(3)
            filled.fill(4)
            launch("optimizers", "sgd", (1,), (32,), w, x, None, rate, 0.0, None, 6)
            kept = w.copy()
        assert counts.launches == counts.syncs == 0
        assert np.isnan(y.get()).all() and np.isnan(rows.get()).all() and np.isnan(kept.get()).all()
        assert (w.get() == 1).all() and (x.get() == np.arange(6).reshape(2, 3)).all()

        expected = np.ones((2, 3))
        for at in (x.get(), np.full((2, 3), 0.5)):
            x[...] = cp.asarray(at)
            with counting() as counts:
                graphs[0].launch()
            assert (counts.launches, counts.syncs) == (1, 0)
            expected = expected + 2 * np.exp(at)
            assert (rows.get() == expected[:, [2, 0]]).all()
            expected[0, 0] = 7
            expected -= at
            assert (w.get() == expected).all() and (kept.get() == expected).all()
            assert (top.get() == 2 * np.exp(at).max(axis=0)).all() and (filled.get() == 4).all()


def test_a_recording_that_waited_is_spoilt_and_one_that_was_refused_something_is_not():
    with strict_cupy() as cp:
        x, stream = cp.ones(3), cp.cuda.Stream(non_blocking=True)
        for line, spoilt in (("stream.synchronize()", True), ("float(x[0])", False)):
            with stream:
                stream.begin_capture()
                with pytest.raises(RuntimeError):
                    eval(line, {"stream": stream, "x": x})
                if spoilt:
                    with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureInvalidated"):
                        stream.end_capture()
                else:
                    stream.end_capture().launch()
            assert not stream.is_capturing() and float(x[0]) == 1


def test_other_streams_run_as_ever_meanwhile():
    with strict_cupy() as cp:
        x, graphs, pool = cp.ones(3), [], cp.cuda.MemoryPool()
        with recording(cp, pool, graphs):
            with cp.cuda.Stream():
                y = x + 1
                assert y.get().tolist() == [2, 2, 2]
            x += 1
        assert x.get().tolist() == [1, 1, 1]


def test_memory_must_come_from_a_pool_and_the_pool_must_outlive_the_graph(pools):
    with strict_cupy() as cp:
        x, graphs, pool = cp.ones(3), [], cp.cuda.MemoryPool()
        stream = cp.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            with pytest.raises(RuntimeError, match="a pool of its own"):
                x + 1
            stream.end_capture()
        with recording(cp, pool, graphs):
            y = x + 1
        graphs[0].launch()
        assert y.get().tolist() == [2, 2, 2]
        pools.clear()
        with pytest.warns(ResourceWarning, match="a pool is gone, and what was free in it stays taken"):
            del pool
            gc.collect()
        with pytest.raises(RuntimeError, match="illegal memory access"):
            graphs[0].launch()


def test_a_recording_that_nobody_ends_ends_with_the_block():
    with strict_cupy() as cp:
        stream = cp.cuda.Stream()
        stream.begin_capture()
    assert not stream.is_capturing()
    with strict_cupy() as cp:
        assert float(cp.ones((2, 2)).dot(cp.ones(2))[0]) == 2


def test_the_default_stream_captures_nothing_and_graphs_are_not_made_by_hand():
    with strict_cupy() as cp:
        with pytest.raises(RuntimeError, match="cannot capture on the default"):
            cp.cuda.Stream.null.begin_capture()
        with pytest.raises(RuntimeError, match="not permitted"):
            cp.cuda.Stream().end_capture()
        with pytest.raises(NotImplementedError, match="must be created via stream capture"):
            cp.cuda.Graph()
