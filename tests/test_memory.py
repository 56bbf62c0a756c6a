"""Memory that is used again: only when nobody refers to it, by whatever road, in whatever thread."""

import queue
import subprocess
import sys
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import memory, rules
from minirnn.memory import HAS_LOCK, LARGE, empty, is_sole

SIZE = 20_000  # numbers of float64: enough to be kept


@pytest.fixture(autouse=True)
def no_blocks_yet(monkeypatch):
    monkeypatch.setattr(memory, "_free", defaultdict(deque))
    monkeypatch.setattr(memory, "_lent", 0)
    monkeypatch.setattr(memory, "_looked_through", 0)


def free():
    """The bytes of each block that nobody holds."""
    return sorted(block.nbytes for held in memory._free.values() for _, block in held)


def address(x):
    return x.__array_interface__["data"][0]


# What comes


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "longdouble", "int8", "bool", "M8[s]"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (40, 50, 60), (3, 70_000)])
def test_an_array_is_like_one_of_numpy(shape, dtype):
    for _ in range(2):  # new, and used again
        x, other = empty(shape, dtype), np.empty(shape, dtype)
        assert (x.shape, x.dtype, x.strides, x.nbytes) == (other.shape, other.dtype, other.strides, other.nbytes)
        assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned
        ones = np.ones(shape, dtype)
        x[...] = ones
        assert np.array_equal(x, ones)
        del x


def test_a_dtype_may_be_an_object_or_a_class():
    assert empty((SIZE,), np.dtype("float32")).dtype == empty((SIZE,), np.float32).dtype == np.float32


def test_only_what_is_large_is_kept():
    small, none = empty((LARGE - 1,), "int8"), empty((SIZE, 0), "float64")
    assert small.base is None and none.base is None
    del small, none
    assert free() == []
    large = empty((LARGE,), "int8")
    assert free() == []
    del large
    assert free() == [LARGE]


@given(st.integers(1, 2**40))
def test_a_block_is_hardly_larger_than_what_was_asked_for(size):
    rounded = memory._rounded(size)
    assert size <= rounded <= size * 9 / 8 and memory._rounded(rounded) == rounded


@given(st.integers(1, 2**40), st.integers(0, 2**20))
def test_a_larger_array_never_gets_a_smaller_block(size, more):
    assert memory._rounded(size) <= memory._rounded(size + more)


# When it comes again


def test_memory_is_used_again_when_its_array_is_gone():
    x = empty((SIZE,), "float64")
    where = address(x)
    del x
    y = empty((SIZE // 2, 2, 1), "complex64")  # of the same size in bytes
    assert address(y) == where and free() == []
    z = empty((SIZE - 100,), "float64")  # of about the same size, while y is still there
    assert not np.shares_memory(y, z)
    del y
    assert address(empty((SIZE - 200,), "float64")) == where
    assert len(free()) == 1


def test_a_size_of_another_class_has_its_own_block():
    where = address(empty((SIZE,), "float64"))
    assert address(empty((2 * SIZE,), "float64")) != where
    assert len(free()) == 2


def saved_by_a_closure(x):
    part = x[3:5]
    return lambda: part


HOLDERS = {
    "the array": lambda x: x,
    "a slice": lambda x: x[100:101],
    "a view of a view of a view": lambda x: x.reshape(-1, 4)[::2].T[1:],
    "another dtype": lambda x: x.view("int32"),
    "a list of rows": lambda x: list(x.reshape(2, -1)),
    "a closure": saved_by_a_closure,
    "a generator": lambda x: (row for row in x.reshape(2, -1)),
    "a memoryview": memoryview,
    "a buffer": lambda x: np.frombuffer(x, "int8"),
    "DLPack": np.from_dlpack,
    "a subclass": lambda x: x.view(np.recarray),
    "an iterator": lambda x: x.flat,
    "a stretched view": lambda x: np.broadcast_to(x, (3, SIZE)),
    "strides of one's own": lambda x: np.lib.stride_tricks.as_strided(x, (2, 2), (8, 8)),
    "a pullback": lambda x: rules.multiply(x[:7], 2.0 * x[:7])[1],
    "a bound method": lambda x: x.sum,
    "a record": lambda x: {"saved": deque([x])},
    "the loan": lambda x: x.base,
    "a slice of the loan": lambda x: x.base[100:101],
    "an array around the loan": lambda x: x.base.view(np.ndarray),
}


@pytest.mark.parametrize("how", HOLDERS)
def test_memory_is_not_used_again_as_long_as_anything_refers_to_it(how):
    x = empty((SIZE,), "float64")
    x.fill(1)  # a rule would warn of the squares of whatever was there
    where, holder = address(x), HOLDERS[how](x)
    del x
    others = [empty((SIZE,), "float64") for _ in range(3)]
    assert free() == [] and where not in map(address, others)
    del holder
    assert address(empty((SIZE,), "float64")) == where


def test_a_copy_of_a_loan_is_no_loan():
    x = empty((SIZE,), "float64")
    copies = x.base.copy(), np.zeros_like(x.base)
    del copies
    assert free() == []


def test_what_an_argument_or_a_variable_of_another_thread_holds_is_held():
    taken, go = queue.SimpleQueue(), queue.SimpleQueue()

    def hold():
        x = empty((SIZE,), "float64")
        x[...] = 7
        taken.put(address(x))
        go.get(timeout=20)
        return bool((x == 7).all())

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(hold)
        where = taken.get(timeout=20)
        mine = empty((SIZE,), "float64")
        mine[...] = 8
        go.put(None)
        assert address(mine) != where and future.result(20)


def test_threads_never_get_what_another_has(restless_threads):
    """Eight threads take arrays, write into them, hand some on, and find in each what was written into it."""
    passed, wrong = queue.SimpleQueue(), []

    def work(k):
        random, mine = np.random.default_rng(k), []
        for step in range(250):
            size, pattern = int(random.integers(LARGE // 4, LARGE)), 1000 * k + step
            x = empty((size,), "int32")
            x[...] = pattern
            (mine.append if random.random() < 0.5 else passed.put)((pattern, x[:: int(random.integers(1, 9))]))
            del x
            if random.random() < 0.4 and mine:
                check(*mine.pop(int(random.integers(len(mine)))))
            if random.random() < 0.6 and not passed.empty():
                try:
                    check(*passed.get_nowait())
                except queue.Empty:  # another was quicker
                    continue
        for pattern, view in mine:
            check(pattern, view)

    def check(pattern, view):
        if not (view == pattern).all():
            wrong.append(pattern)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8), timeout=60))
    while not passed.empty():
        check(*passed.get())
    assert wrong == []
    assert len(free()) < 8 * 250 / 2  # most were used again


# When it is given back


def test_a_block_that_nobody_wanted_for_long_is_given_back(monkeypatch):
    monkeypatch.setattr(memory, "KEPT_FOR", 10)
    held, unwanted = empty((2 * SIZE,), "float64"), empty((4 * SIZE,), "float64")
    held[...] = 3
    del unwanted
    for _ in range(9):
        empty((SIZE,), "float64")  # one block, again and again
    assert len(free()) == 2
    for _ in range(12):
        empty((SIZE,), "float64")  # nothing new is wanted, and yet the others are looked through
    assert free() == [memory._rounded(8 * SIZE)]
    assert (held == 3).all()  # not wanted either, but not for us to give back


def test_what_nobody_holds_is_given_back_when_asked_for():
    held, gone = empty((2 * SIZE,), "float64"), empty((4 * SIZE,), "float64")
    view = gone[::2]
    del gone
    assert memory.release() == 0
    view[...] = 5
    del held
    assert memory.release() == memory._rounded(2 * SIZE * 8)
    assert free() == [] and (view == 5).all()
    x = empty((2 * SIZE,), "float64")
    x[...] = 6
    assert (view == 5).all()


def test_the_same_steps_again_and_again_take_no_more_blocks():
    def step():
        saved = [empty((SIZE + 50 * k,), "float32") for k in range(6)]
        for x in saved:
            x[...] = 1
        return saved

    step()
    after_one = len(free())
    for _ in range(20):
        step()
    assert len(free()) == after_one == 6


# With rules


def test_what_a_rule_returned_stays_as_it_was(monkeypatch):
    """Whatever runs later: outputs, what pullbacks saved, and gradients, with every array from the pool."""
    monkeypatch.setattr(memory, "LARGE", 1)
    random = np.random.default_rng(0)
    inputs = [random.normal(size=shape) for shape in ((6, 12, 4), (3, 4), (3, 4), (12, 3))]

    def run():
        outputs, pullback = rules.lstm(*inputs)
        return [*outputs, *(g for g in pullback(*outputs) if g is not None)], pullback

    found, pullback = run()
    before = [x.copy() for x in found]
    for _ in range(5):
        rules.gru(random.normal(size=(6, 9, 4)), inputs[1], inputs[3][:9])[1](found[0], found[1])
        run()
    again = [g for g in pullback(*found[:3]) if g is not None]
    for x, y in zip([*found, *again], [*before, *before[3:]], strict=True):
        np.testing.assert_array_equal(x, y)
    assert free()


def test_arrays_that_are_held_when_python_ends_end_without_a_word():
    script = "from minirnn import memory; x = memory.empty((200, 200), 'float64'); memory.held = [x, memory]; sys = x"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_blocks_are_given_back_while_others_take_and_return_them(monkeypatch, restless_threads):
    monkeypatch.setattr(memory, "KEPT_FOR", 1)

    def work(k):
        for step in range(300):
            x, y = empty((SIZE,), "int32"), empty((SIZE * (1 + (k + step) % 3),), "int32")
            x[...], y[...] = k, -k
            memory.release()
            assert (x == k).all() and (y == -k).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4), timeout=60))


# Whose memory nobody else refers to

exactly = pytest.mark.skipif(not HAS_LOCK, reason="without Python's lock nothing is sole")


def test_without_the_lock_of_python_nothing_is_sole(monkeypatch):
    monkeypatch.setattr(memory, "HAS_LOCK", False)
    assert not is_sole([np.zeros(3)], 0)


@exactly
@pytest.mark.parametrize("size", [10, SIZE])
def test_memory_is_sole_until_anybody_else_holds_a_part_of_it(size):
    held = [empty((size,), "float64"), empty((size, 2), "float64").reshape(2, size)]
    for k in (0, 1):
        assert is_sole(held, k)
        view = held[k][..., :3]
        assert not is_sole(held, k)
        del view
        assert is_sole(held, k)
        name = held[k]
        assert not is_sole(held, k)
        del name
    held.append(held[0])
    assert not is_sole(held, 0) and not is_sole(held, 2) and is_sole(held, 1)


@exactly
@pytest.mark.parametrize("make", [np.zeros, lambda shape: empty(shape, "float64")])
def test_a_view_is_sole_only_without_the_whole(make):
    whole = make((30, 400))
    held = [whole[1:]]
    assert not is_sole(held, 0)
    del whole
    assert is_sole(held, 0)


def test_what_must_be_copied_anyway_is_not_sole():
    held = [np.zeros((3, 4)).T, np.frombuffer(bytes(24)), np.broadcast_to(np.zeros(3), (2, 3)), 1.0]
    assert not any(is_sole(held, k) for k in range(len(held)))


def test_memory_of_somebody_else_is_never_sole():
    """Of bytes that are held elsewhere, seen through one view or two: to write there would be to write into them."""
    owner = bytearray(32)
    assert not is_sole([np.frombuffer(owner)], 0)
    assert not is_sole([np.frombuffer(owner)[:]], 0)
    assert not is_sole([np.frombuffer(owner).reshape(2, 2)[:]], 0)
