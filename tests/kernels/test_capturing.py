"""Recorded functions: one launch, the same numbers as ever, and clear words for what no recording can hold."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest

from minirnn import rules
from minirnn.arrays import asarray, random_generator, to_numpy, use_backend, xp_of
from minirnn.kernels import kernels_of
from minirnn.kernels.capturing import MOST, CaptureError, captured, drawing_at
from minirnn.nn.inputs import ids_on
from minirnn.testing import counting, strict_cupy


@pytest.fixture(autouse=True)
def device():
    with strict_cupy() as cp, use_backend("cupy"):
        yield cp


def host(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_every_call_takes_effect_once_and_from_the_third_on_it_is_one_launch_and_copies_of_arguments():
    total = asarray(np.zeros((2, 4), np.float32))
    W = asarray(host(4, 3))

    def function(x, step):
        y = kernels_of(x).matrix_product(x, W.T)
        total[...] += y * step
        return y, (total.sum(axis=0), None)

    recorded, expected, launches = captured(function), np.zeros((2, 4), np.float32), []
    for k in range(5):
        x, step = host(2, 3, seed=k), np.float32(k)
        with counting() as counts:
            y, (sums, nothing) = recorded(x, np.asarray(step))
        launches.append(counts.launches)
        assert counts.syncs == 0 and nothing is None
        expected += (x @ to_numpy(W).T) * step
        np.testing.assert_allclose(to_numpy(y), x @ to_numpy(W).T, rtol=1e-6)
        np.testing.assert_allclose(to_numpy(total), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(to_numpy(sums), expected.sum(axis=0), rtol=1e-5, atol=1e-6)
    assert launches[0] > 3 and launches[1:] == [1 + 2] * 4


def test_arguments_may_lie_on_the_device_be_missing_or_be_what_the_last_call_returned():
    def function(x, h, bias):
        h += x if bias is None else x + bias
        return h

    recorded, h = captured(function), asarray(np.zeros(3, np.float32))
    for _ in range(4):
        with counting() as counts:
            h = recorded(asarray(np.ones(3, np.float32)), h, None)
    assert counts.launches == 2  # its own, and the copy of x; that of h is not needed
    assert to_numpy(h).tolist() == [4, 4, 4]
    for _ in range(3):
        with_bias = recorded(np.ones(3, np.float32), np.zeros(3, np.float32), np.full(3, 2, np.float32))
    assert to_numpy(with_bias).tolist() == [3, 3, 3]


def test_what_was_replaced_is_seen_and_recorded_anew():
    held = [asarray(np.ones(2, np.float32))]
    recorded = captured(lambda x: x * held[0], lambda: held)
    for _ in range(3):
        recorded(np.full(2, 3, np.float32))
    held[0] = asarray(np.full(2, 5, np.float32))
    assert to_numpy(recorded(np.full(2, 3, np.float32))).tolist() == [15, 15]
    held[0][...] = 7  # a write is seen by itself
    with counting() as counts:
        found = recorded(np.full(2, 3, np.float32))
    assert to_numpy(found).tolist() == [21, 21] and counts.launches == 2


def test_ids_are_checked_on_the_host_before_they_travel():
    table = asarray(host(4, 2))

    def function(ids):
        return table[ids_on("cupy", ids, 4, "ids", ndim=1)]

    recorded = captured(function)
    for _ in range(3):
        with counting() as counts:
            found = recorded(np.array([3, 1, 0], np.int32))
        assert counts.syncs == 0
        assert (to_numpy(found) == to_numpy(table)[[3, 1, 0]]).all()
        with pytest.raises(IndexError, match=r"ids must lie in 0..3, got 4"):
            recorded(np.array([3, 4, 0], np.int32))


def test_masks_are_those_of_the_clock_that_a_call_brings():
    x = host(5, 4)

    def function(clock, x):
        with drawing_at(clock):
            return rules.dropout(x, p=0.5, seed=1, stream="mask", step=2)[0]

    recorded = captured(function)
    for clock in (0, 3, 0, 2**40):
        found = recorded(np.array([clock]), x)
        expected, _ = rules.dropout(x, p=0.5, seed=1, stream="mask", step=2 + clock)
        assert (to_numpy(found) == expected).all()


REFUSED = {
    "a number that is read": (lambda x: x * float(x[0]), "D2H"),
    "numbers that are copied": (lambda x: x + asarray([1.0, 2.0], np.float32), "H2D"),
    "a choice": (lambda x: x[x > 0], "D2H"),
    "waiting": (lambda x: x + bool(xp_of(x).cuda.Device().synchronize()), "not permitted when stream is capturing"),
    "a product by cuBLAS": (lambda x: x @ x, "cuBLAS"),
    "a mask": (
        lambda x: rules.dropout(x, p=0.5, seed=1)[0],
        "'dropout' are drawn at a step that is counted on the host",
    ),
    "a random draw": (lambda x: x * random_generator(0, "mask").random(), "'mask' are drawn anew on the host"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_recording_can_hold_is_an_error_in_words(what):
    function, words = REFUSED[what]
    recorded, x = captured(function), host(2)
    for _ in range(2):  # after the error it is as if it had never been called
        with pytest.raises(CaptureError, match=f"cannot be recorded: .*{words}"):
            for _ in range(2):
                recorded(x)
    recorded.function = lambda x: x + 1  # nothing is left over
    for _ in range(3):
        assert (to_numpy(recorded(x)) == x + 1).all()


@pytest.mark.parametrize("part", ["runtime", "driver"])
def test_a_recording_that_is_spoilt_is_the_functions_fault_whoever_says_so(device, part):
    def function(x):
        raise getattr(getattr(device.cuda, part), f"CUDA{part.capitalize()}Error")(901)

    with pytest.raises(CaptureError, match=r"cannot be recorded: .*failed due to a previous error during capture"):
        captured(function)(host(2))


def test_errors_of_the_function_and_of_the_device_stay_what_they_are(device):
    def function(x):
        raise error

    for error in (ValueError("no"), device.cuda.runtime.CUDARuntimeError(700), MemoryError("full")):
        with pytest.raises(type(error), match=str(error)):
            captured(function)(host(2))


def test_of_many_forms_some_are_recorded():
    recorded = captured(lambda x: x + 1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for n in range(1, MOST + 2):
            for _ in range(3):
                assert (to_numpy(recorded(host(n))) == host(n) + 1).all()
    assert {str(w.message) for w in seen} == {f"arguments of more than {MOST} forms: further ones are not recorded"}
    with counting() as counts:
        recorded(host(1))
    assert counts.launches == 2


def test_its_memory_lives_as_long_as_it_does():
    recorded = captured(lambda x: (x + 1) * 2)
    for _ in range(2):
        y = recorded(host(3))
    gc.collect()
    recorded(host(3, seed=5))
    assert (to_numpy(y) == (host(3, seed=5) + 1) * 2).all()  # the same array, with new contents


def test_what_the_first_call_took_is_free_again_before_a_recording_takes_as_much(device, monkeypatch):
    happened = []
    monkeypatch.setattr(device.cuda.MemoryPool, "free_all_blocks", lambda pool: happened.append(pool))
    monkeypatch.setattr(device.cuda.Stream, "begin_capture", lambda stream: happened.append("begins") or 1 / 0)
    recorded = captured(lambda x: x + 1)
    recorded(host(2))
    assert happened == []
    with pytest.raises(ZeroDivisionError):
        recorded(host(2))
    assert happened[:2] == [device.get_default_memory_pool(), "begins"]


def test_memory_is_given_back_when_it_is_recorded_anew_and_when_it_goes(device, monkeypatch):
    made, init = [], device.cuda.MemoryPool.__init__
    monkeypatch.setattr(device.cuda.MemoryPool, "__init__", lambda self: (init(self), made.append(self))[0])
    held = [asarray(np.ones(2, np.float32))]
    recorded = captured(lambda x: (x + 1) * held[0], lambda: held)
    for _ in range(2):
        recorded(host(2))
    held[0] = held[0] + 1
    recorded(host(2))
    assert [pool._keeps for pool in made] == [False, True]
    del recorded
    gc.collect()
    assert [pool._keeps for pool in made] == [False, False]
