"""What a step of a recurrence costs a device: counted launches, no waiting, no slip into float64."""

from __future__ import annotations

import numpy as np
import pytest

from minirnn import nn, rules
from minirnn.arrays import asarray, use_backend
from minirnn.testing import counting, strict_cupy

# launches a step there and back: products and one kernel for all the gates, and no more
BUDGET = {
    "rnn": (2, 2),
    "lstm": (2, 2),
    "lstm with peepholes": (2, 2),
    "lstm with a projection": (3, 4),  # which is a product, and a sum that is kept
    "gru": (2, 2),
    "gru with reset_after=False": (4, 4),  # two products, and what stands between them
}
LENGTHS = [12, 6, 12, 4]


def arguments(case, T, B=4, H=3):
    random = np.random.default_rng(0)
    gates = {"r": 1, "l": 4, "g": 3}[case[0]]
    P = 2 if "projection" in case else H
    shapes = [(T, gates * H, B), (P, B), *([(H, B)] if gates == 4 else []), (gates * H, P)]
    given = [asarray(random.normal(size=shape).astype(np.float32)) for shape in shapes]
    if "projection" in case:
        given.append(asarray(random.normal(size=(P, H)).astype(np.float32)))
    if "peepholes" in case:
        given += [None, asarray(random.normal(size=(3, H)).astype(np.float32))]
    if case == "gru":
        given.append(asarray(random.normal(size=H).astype(np.float32)))
    return given


def costs(case, T):
    """Launches there and back of a sequence of T steps."""
    rule, static = getattr(rules, case.split()[0]), {"reset_after": False} if "reset_after" in case else {}
    given = arguments(case, T)
    with counting() as there:
        outputs, pullback = rule(*given, **static)
    cotangents = [y.copy() for y in outputs]
    with counting() as back:
        pullback(*cotangents)
    assert there.syncs == back.syncs == there.float64_results == back.float64_results == 0
    return np.array([there.launches, back.launches])


@pytest.mark.parametrize("case", BUDGET)
def test_a_step_there_and_a_step_back_take_so_many_launches(case):
    with strict_cupy(), use_backend("cupy"):
        short, long = costs(case, 6), costs(case, 16)
    assert tuple((long - short) / 10) == BUDGET[case]
    assert (short - 6 * np.array(BUDGET[case]) <= (6, 20)).all()  # once a sequence


def of_a_layer(layer, T, lengths):
    x = asarray(np.random.default_rng(0).normal(size=(T, 4, 3)).astype(np.float32))
    with counting() as there:
        out, _ = layer(x, lengths=lengths)
    with counting() as back:
        out.sum().backward()
    assert there.syncs == back.syncs == there.float64_results == back.float64_results == 0
    return np.array([there.launches, back.launches])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_layer_of_both_directions_takes_twice_as_many(kind, lengths):
    with strict_cupy(), use_backend("cupy"):
        layer = getattr(nn, kind)(3, 3, bidirectional=True)
        short = of_a_layer(layer, 12, lengths)
        long = of_a_layer(layer, 24, lengths and [2 * n for n in lengths])
    assert tuple((long - short) / 12) == (4, 4)
