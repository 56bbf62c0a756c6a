"""Workers: how many there are and for whom, what they see, what happens if they fail, and the BLAS beneath them."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import numpy as np
import pytest

import minirnn
from minirnn import ops, workers
from minirnn.arrays import BackendError, current_backend, use_backend
from minirnn.tape import Tensor, no_grad
from minirnn.testing import strict_cupy
from minirnn.workers import is_automatic, one_blas_thread, spread, use_workers

SOON = 20  # seconds after which a test that waits for another thread gives up


class Library:
    """A BLAS as threadpoolctl shows it, which counts how often it is told a number of threads."""

    def __init__(self, threads=4):
        self.threads, self.told = threads, []

    def get_num_threads(self):
        time.sleep(0)  # lets other threads in
        return self.threads

    def set_num_threads(self, number):
        time.sleep(0)
        self.threads = number
        self.told.append(number)


@pytest.fixture
def library(monkeypatch):
    """The only BLAS there is, of four threads."""
    blas, library = workers._Blas(), Library()
    blas.libraries = [library]
    monkeypatch.setattr(workers, "_blas", blas)
    return library


@pytest.fixture
def without_threadpoolctl(monkeypatch):
    """A machine on which nothing can limit the BLAS, and nobody has."""
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setattr(workers, "_blas", workers._Blas())
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def in_a_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(SOON)


# How many, and for whom


@pytest.mark.parametrize("number", [0, -1, True, False, 2.0, "2", "all", None, np.ones(2), [2]], ids=repr)
def test_what_is_no_number_of_workers_is_refused_and_changes_nothing(number):
    with use_workers(3):
        with pytest.raises(ValueError, match=r"^workers must be 'auto' or a positive integer, got "):
            use_workers(number)
        assert workers.workers() == 3


@pytest.mark.parametrize("number", [1, 2, 7, np.int64(2), np.uint8(2)])
def test_a_number_is_taken_as_it_is(number):
    with use_workers(number):
        assert workers.workers() == number and type(workers.workers()) is int and not is_automatic()


def test_automatic_is_one_for_each_core(library, monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 5)
    with use_workers("auto"):
        assert workers.workers() == 5 and is_automatic()


def test_who_can_limit_no_blas_has_one_worker(without_threadpoolctl):
    with use_workers("auto"):
        assert workers.workers() == 1
        told = "2 workers need a BLAS of one thread each: install threadpoolctl .*'fast'.* OPENBLAS_NUM_THREADS=1"
        with pytest.raises(BackendError, match=told):
            use_workers(2)
        assert is_automatic()
    with use_workers(1):
        assert workers.workers() == 1
    assert not workers.blas_has_one_thread()


@pytest.mark.parametrize("name", ["OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"])
def test_a_blas_set_to_one_thread_needs_no_limit(without_threadpoolctl, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with pytest.raises(BackendError):
        use_workers(2)
    monkeypatch.setenv(name, "1")
    with use_workers(2):
        assert workers.workers() == 2 and workers.blas_has_one_thread()
        assert spread(lambda x: x + 1, [1, 2]) == [2, 3]


@pytest.mark.parametrize(
    ("openblas", "mkl", "omp", "one"),
    [
        ("", "", "1", True),  # what says nothing leaves it to the one that all of them know
        ("0", "", "1", True),
        ("many", "-1", "1", True),
        ("", "", "1,4", True),  # the threads at the outermost level
        (" +1 ", "", "8", True),  # its own comes first
        ("4", "", "1", False),
        ("1", "4", "", False),  # and which of them is there, nobody knows
        ("4,1", "", "", False),
        ("10", "", "", False),
        ("", "", "0", False),
        ("", "", "", False),
    ],
)
def test_how_the_variables_of_a_blas_are_read(without_threadpoolctl, monkeypatch, openblas, mkl, omp, one):
    for name, value in zip(("OPENBLAS", "MKL", "OMP"), (openblas, mkl, omp), strict=True):
        monkeypatch.setenv(f"{name}_NUM_THREADS", value)
    with use_workers("auto"):
        assert (workers.workers() > 1) == (one and workers.cores() > 1) and workers.blas_has_one_thread() == one


def test_a_choice_lasts_until_the_next_or_until_its_block_ends():
    def steps():
        use_workers(2)
        yield workers.workers()
        with use_workers(3):
            yield workers.workers()
            with use_workers(1):
                yield workers.workers()
            yield workers.workers()
        yield workers.workers()
        with pytest.raises(ZeroDivisionError), use_workers(4):
            1 / 0  # noqa: B018
        yield workers.workers()

    assert copy_context().run(lambda: list(steps())) == [2, 3, 1, 3, 2, 2]


def test_another_thread_is_not_affected():
    with use_workers(3):
        assert in_a_thread(is_automatic)

        def choose():
            use_workers(2)
            return workers.workers()

        assert in_a_thread(choose) == 2 and workers.workers() == 3


def test_it_is_a_public_name():
    assert minirnn.use_workers is use_workers


# What they do


def test_all_parts_are_done_side_by_side_and_come_in_their_order():
    """The last part ends first: each waits for the one behind it, and none could if they took turns."""
    ended = [threading.Event() for _ in range(5)]
    ended[4].set()

    def task(k):
        assert ended[k + 1].wait(SOON)
        ended[k].set()
        return k, threading.current_thread().name

    with use_workers(4):
        found = spread(task, [0, 1, 2, 3])
    assert [k for k, _ in found] == [0, 1, 2, 3]
    names = [name for _, name in found]
    assert names[0] == threading.current_thread().name and len(set(names)) == 4
    assert all(name.startswith("minirnn-worker") for name in names[1:])


@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_there_may_be_more_parts_than_workers(number):
    with use_workers(number):
        assert spread(lambda x: x * x, range(7)) == [0, 1, 4, 9, 16, 25, 36]


def test_threads_are_kept_for_the_next_time():
    with use_workers(3):
        before = set(spread(lambda _: threading.get_ident(), range(20)))
        after = set(spread(lambda _: threading.get_ident(), range(20)))
    assert len(before | after) <= 3


@pytest.mark.parametrize("bad", [[0], [1], [1, 2], [0, 2], [0, 1, 2, 3]])
def test_the_first_error_is_raised_after_all_have_ended(bad):
    started, ended = threading.Event(), []

    def task(k):
        if k == 3:
            started.set()
            time.sleep(0.05)  # the others do not wait for it, but the caller does
        assert started.wait(SOON)
        try:
            if k in bad:
                raise KeyError(k)
        finally:
            ended.append(k)

    with use_workers(4):
        with pytest.raises(KeyError) as caught:
            spread(task, range(4))
        assert sorted(ended) == [0, 1, 2, 3] and caught.value.args == (bad[0],)
        assert spread(str, [1, 2]) == ["1", "2"] and workers.workers() == 4


def test_workers_see_what_the_caller_sees():
    """Backend, error handling, and whether anything is recorded; and what they choose stays with them."""
    x = Tensor([1.0], requires_grad=True)

    def task(k):
        seen = current_backend(), np.geterr()["over"], ops.tanh(x).requires_grad
        if k:  # the first is done by the caller
            use_backend("numpy")
            np.seterr(over="warn")
        return seen

    with strict_cupy(), use_backend("cupy"), np.errstate(over="raise"), no_grad(), use_workers(3):
        x = Tensor([1.0], requires_grad=True)
        assert spread(task, range(3)) == [("cupy", "raise", False)] * 3
        assert current_backend() == "cupy" and np.geterr()["over"] == "raise"
    with use_workers(3):
        x = Tensor([1.0], requires_grad=True)
        assert [recorded for _, _, recorded in spread(task, range(3))] == [True] * 3


def test_a_worker_has_no_workers():
    def inner(part):
        return part, workers.workers(), threading.get_ident()

    def task(part):
        assert workers.workers() == 1
        found = spread(inner, [part, part + 10])
        with use_workers(5):  # whoever asks for more within a worker gets none
            found += spread(inner, [part + 20, part + 30])
        assert {ident for *_, ident in found} == {threading.get_ident()}
        return [(part, number) for part, number, _ in found]

    with use_workers(3):
        assert spread(task, [1, 2, 3]) == [[(k + more, 1) for more in (0, 10, 20, 30)] for k in (1, 2, 3)]
        assert workers.workers() == 3


def test_threads_that_need_the_same_pool_at_once_make_it_once(monkeypatch):
    made, together = [], threading.Barrier(4)

    class SlowlyMade:
        def __init__(self, number, **options):
            time.sleep(0.02)
            made.append(number)

    def ask(_):
        together.wait(SOON)
        return workers._pool(6)

    monkeypatch.setattr(workers, "_pools", {})
    with ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", SlowlyMade)
        assert len(set(pool.map(ask, range(4)))) == 1 and made == [6]


def test_callers_in_many_threads_share_workers():
    def caller(k):
        with use_workers(2):
            return [spread(lambda x: x + k, [0, 1, 2]) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for k, found in enumerate(pool.map(caller, range(8), timeout=SOON)):
            assert found == [[k, k + 1, k + 2]] * 20


# The BLAS beneath them


@pytest.mark.parametrize(
    ("kernels", "pay"), [("SkylakeX", True), ("Cooperlake", True), ("Haswell", False), ("Zen", False), (None, False)]
)
def test_blocks_pay_where_the_blas_is_known_to_take_them_as_they_lie(library, kernels, pay):
    if kernels:
        library.architecture = kernels
    with use_workers(2):
        assert workers.blocks_are_quicker() == pay


def test_nobody_knows_of_a_blas_that_is_not_found(without_threadpoolctl, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert workers.blas_has_one_thread() and not workers.blocks_are_quicker()


def test_the_blas_is_kept_to_one_thread_and_gets_back_what_it_had(library, monkeypatch):
    for name in ("OPENBLAS", "MKL", "OMP"):
        monkeypatch.delenv(f"{name}_NUM_THREADS", raising=False)
    with use_workers(1), one_blas_thread():
        assert library.threads == 4 and not workers.blas_has_one_thread()
    with use_workers(2):
        with one_blas_thread():
            assert library.threads == 1 and workers.blas_has_one_thread()
        assert library.threads == 4
        assert spread(lambda _: library.threads, range(2)) == [1, 1] and library.threads == 4
    assert library.told == [1, 4] * 2


def test_every_blas_gets_back_its_own(library):
    other = Library(threads=2)
    workers._blas.libraries.append(other)
    with use_workers(2), one_blas_thread():
        assert (library.threads, other.threads) == (1, 1)
    assert (library.threads, other.threads) == (4, 2)


def test_it_gets_it_back_after_errors(library):
    def task(k):
        raise KeyError(k)

    with use_workers(2):
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            1 / 0  # noqa: B018
        assert library.threads == 4
        for parts in ([0, 1], [1, 0]):
            with pytest.raises(KeyError):
                spread(task, parts)
            assert library.threads == 4


def test_nested_blocks_limit_it_once(library):
    with use_workers(2), one_blas_thread():
        with one_blas_thread():
            spread(lambda _: None, range(2))
        assert library.threads == 1
    assert library.told == [1, 4]


def test_a_block_limits_it_each_time_that_it_decorates_a_function(library):
    @one_blas_thread()
    def threads():
        return library.threads

    with use_workers(2):
        assert [threads(), threads()] == [1, 1] and library.told == [1, 4, 1, 4]


def test_blocks_of_several_threads_limit_it_until_the_last_is_left(library):
    entered, leave = threading.Event(), threading.Event()

    def other():
        with use_workers(2), one_blas_thread():
            entered.set()
            assert leave.wait(SOON)

    with ThreadPoolExecutor(1) as pool:
        with use_workers(2), one_blas_thread():
            future = pool.submit(other)
            assert entered.wait(SOON)
        assert library.threads == 1  # this one is left, the other is not
        leave.set()
        future.result(SOON)
    assert library.threads == 4 and library.told == [1, 4]


def test_many_threads_that_come_and_go_never_see_more_than_one(library, restless_threads):
    def come_and_go(_):
        with use_workers(2):
            for _ in range(200):
                with one_blas_thread():
                    assert library.threads == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come_and_go, range(8), timeout=SOON))
    assert library.threads == 4 and not workers._blas.open


def test_without_workers_it_keeps_its_threads(library):
    with use_workers(1), one_blas_thread():
        assert library.threads == 4 and spread(lambda _: library.threads, range(2)) == [4, 4]
    assert library.told == []


def test_training_keeps_it_to_one_thread_in_every_rule_and_on_the_way_back(library):
    seen = []

    def watching(x):
        seen.append(library.threads)

        def watching_pullback(dy):
            seen.append(library.threads)
            return (dy,)

        return x, watching_pullback

    with use_workers(2):
        minirnn.differentiable(watching)(Tensor([1.0], requires_grad=True)).sum().backward()
    assert seen == [1, 1] and library.threads == 4


def test_the_real_blas_is_limited_and_restored():
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads():
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        with use_workers(2), one_blas_thread():
            assert threads() <= {1} and workers.blas_has_one_thread()
        assert threads() == before


# Processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_workers_and_memory_of_its_own():
    """Though its parent had threads, one of which held every lock when it was forked."""
    script = """
        import os, sys, threading
        import numpy as np
        from minirnn import memory, workers
        from minirnn.tape import tensor
        from minirnn.workers import spread, use_workers

        use_workers(2)
        assert spread(abs, [-1, -2]) == [1, 2]
        held, done = threading.Event(), threading.Event()

        def hold():
            with workers._making, workers._blas.lock, tensor._adding:
                held.set()
                done.wait(20)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(20)
        child = os.fork()
        if child == 0:
            threading.Timer(10, os._exit, [3]).start()  # a child that hangs is a failure
            right = spread(abs, [-3, -4]) == [3, 4] and memory.empty((100, 200), "float64").shape == (100, 200)
            x = tensor.Tensor(1.0, requires_grad=True)
            (x * 3.0).backward()
            right = right and x.grad == 3
            os._exit(0 if right else 4)
        _, status = os.waitpid(child, 0)
        done.set()
        thread.join()
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_where_no_thread_starts_any_more_the_parts_are_done_here(monkeypatch):
    """As in a thread that outlives the main one, or in a function that runs at the interpreter's end."""

    class Closed:
        def submit(self, *_):
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(workers, "_pool", lambda number: Closed())
    with use_workers(3):
        assert spread(lambda k: k * k, [2, 3, 4]) == [4, 9, 16]


def test_an_interruption_of_the_wait_goes_on_once_all_have_ended():
    ended, waiting = [], threading.Event()

    def task(k):
        if k == 0:
            assert waiting.wait(10)
            raise KeyboardInterrupt
        waiting.set()
        time.sleep(0.05)
        ended.append(k)

    with use_workers(2), pytest.raises(KeyboardInterrupt):
        spread(task, [0, 1])
    assert ended == [1]


def test_a_pool_that_was_interrupted_is_never_used_again(monkeypatch):
    class Interrupted:
        def submit(self, *_):
            raise KeyboardInterrupt

    monkeypatch.setattr(workers, "_pools", {1: Interrupted()})
    with use_workers(2):
        with pytest.raises(KeyboardInterrupt):
            spread(abs, [-1, -2])
        assert spread(abs, [-1, -2]) == [1, 2]


def test_a_thread_that_cannot_start_is_an_error_and_nothing_is_done_twice(monkeypatch):
    class Full:
        def submit(self, *_):
            raise RuntimeError("can't start new thread")

    done = []
    monkeypatch.setattr(workers, "_pools", {1: Full()})
    with use_workers(2), pytest.raises(RuntimeError, match="can't start new thread"):
        spread(done.append, [1, 2])
    assert done == []


def test_the_limit_ends_with_its_block_even_if_entering_it_is_interrupted(library, monkeypatch):
    def interrupted(number):
        library.threads = number
        if number == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(library, "set_num_threads", interrupted)
    with use_workers(2):
        with pytest.raises(KeyboardInterrupt), one_blas_thread():
            raise AssertionError("the block was not entered")
        assert library.threads == 4 and not workers._blas.open and not workers._blas.limited
