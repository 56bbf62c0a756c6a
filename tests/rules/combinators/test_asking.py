"""What combinators ask of the rule inside: what is wanted and no more, even if it does not know how to be asked."""

from inspect import signature

import numpy as np
import pytest
from cells import CELLS, T, arguments, cotangents, projected_arguments, run

from minirnn import rules
from minirnn.rules.combinators import checkpoint, projected, ragged, reverse, shard, truncate
from minirnn.rules.combinators.asking import add_to
from minirnn.testing import saved_bytes
from minirnn.workers import use_workers

LENGTHS = [3, 0, 6, 2]


def unasked(a_xs, h_0, W_hh, *, nonlinearity="tanh"):
    """The RNN without the keyword ``wanted``."""
    return rules.rnn(a_xs, h_0, W_hh, nonlinearity=nonlinearity)


def asked_for(make, inputs, wanted, **static):
    """What a rule inside is asked for, call by call: an x for every gradient wanted."""
    seen = []

    def spy(a_xs, h_0, W_hh, *, wanted=(True,) * 3):
        seen.append("".join("x" if flag else "-" for flag in wanted))
        return rules.rnn(a_xs, h_0, W_hh, wanted=wanted)

    outputs, pullback = make(spy)(*inputs, wanted=tuple(flag == "x" for flag in wanted), **static)
    pullback(*cotangents(outputs))
    return seen


@pytest.mark.parametrize(
    ("make", "wanted", "expected"),
    [
        (ragged, "--x", ["--x", "-xx", "-xx"]),  # the first run is not asked what it wants of the first states
        (ragged, "---", ["---", "---", "---"]),
        (lambda rule: truncate(rule, 3), "x--", ["x--", "xx-"]),
        (lambda rule: checkpoint(rule, 3), "--x", ["---", "---", "-xx", "--x"]),  # on the way there nothing is kept
        (lambda rule: checkpoint(rule, 3), "---", ["---", "---"]),
        (projected, "----x", ["--x"]),
        (projected, "---x-", ["x--"]),
        (projected, "--x--", ["x--"]),
    ],
)
def test_a_rule_is_asked_for_what_is_wanted_and_no_more(make, wanted, expected):
    cell = CELLS["rnn"]
    inputs = projected_arguments(cell) if make is projected else arguments(cell)
    static = {"lengths": LENGTHS} if make is ragged else {}
    assert asked_for(make, inputs, wanted, **static) == expected


@pytest.mark.parametrize("make", [reverse, ragged, lambda rule: checkpoint(rule, 2)])
def test_a_rule_that_does_not_know_wanted_can_be_combined(make):
    inputs, combined = arguments(CELLS["rnn"]), make(unasked)
    static = {"nonlinearity": "relu", **({"lengths": LENGTHS} if make is ragged else {})}
    for x, y in zip(run(combined, inputs, **static), run(make(rules.rnn), inputs, **static), strict=True):
        np.testing.assert_array_equal(x, y)
    assert combined.__name__.endswith("(unasked)") and [*signature(combined).parameters][:3] == ["a_xs", "h_0", "W_hh"]
    outputs, pullback = combined(*inputs, wanted=(False, True, False), **static)
    full = combined(*inputs, **static)[1](*cotangents(outputs))
    da, dh_0, dW = pullback(*cotangents(outputs))
    assert da is dW is None and (dh_0 == full[1]).all()
    outputs, pullback = combined(*inputs, wanted=(False,) * 3, **static)
    assert saved_bytes(pullback) == 0 and set(pullback(*cotangents(outputs))) == {None} and len(outputs[0]) == T


@pytest.mark.parametrize("make", [shard, ragged, lambda rule: truncate(rule, 2)])
def test_a_gradient_that_a_rule_keeps_is_not_added_to(make):
    """In every part of the sequence or of the batch this one returns the very same array."""
    kept, asked = np.ones((2, 2)), []

    def keeping(a_xs, h_0, W_hh):
        def keeping_pullback(dys, dh):
            asked.append(len(dys))
            return dys, dh, kept

        return (a_xs, h_0), keeping_pullback

    static = {"lengths": LENGTHS} if make is ragged else {}
    with use_workers(2):
        outputs, pullback = make(keeping)(np.ones((T, 2, 4)), np.ones((2, 4)), np.ones((2, 2)), **static)
        for _ in range(2):  # called again it finds the same
            asked.clear()
            total = pullback(*cotangents(outputs))[2]
            assert len(asked) > 1 and (total == len(asked)).all()
    assert (kept == 1).all()


def test_a_sum_is_written_where_it_stands_unless_somebody_looks_or_it_does_not_fit():
    totals, parts = [None, None, None, np.ones(3)], [np.ones(3), None, np.ones(3), 1j * np.ones(3)]
    for k, part in enumerate(parts):
        add_to(totals, k, part)
    assert totals[0] is parts[0] and totals[1] is None and (totals[3] == 1 + 1j).all()
    add_to(totals, 0, parts[2])
    assert totals[0].tolist() == [2, 2, 2] and parts[0].tolist() == [1, 1, 1]  # parts look
    where = totals[0].ctypes.data
    add_to(totals, 0, parts[0])
    assert totals[0].tolist() == [3, 3, 3] and totals[0].ctypes.data == where
