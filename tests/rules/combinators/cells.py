"""The three cells as the tests of combinators need them: rule, step, and arguments in the required setting."""

from typing import NamedTuple

import numpy as np

from minirnn import rules
from minirnn.arrays import asarray
from minirnn.rules.combinators.form import form_of

T, D, H, B = 6, 2, 3, 4


class Cell(NamedTuple):
    rule: object
    step: object
    gates: int
    states: int
    more: tuple = ()  # shapes of further weights


CELLS = {
    "rnn": Cell(rules.rnn, rules.rnn_step, 1, 1),
    "lstm": Cell(rules.lstm, rules.lstm_step, 4, 2),
    "lstm with everything": Cell(rules.lstm, rules.lstm_step, 4, 2, ((H, H), (3, H))),
    "gru": Cell(rules.gru, rules.gru_step, 3, 1, ((H,),)),
}


def arguments(cell, T=T, B=B, seed=0):
    random = np.random.default_rng(seed)
    shapes = [(T, cell.gates * H, B), *[(H, B)] * cell.states, (cell.gates * H, H), *cell.more]
    return [asarray(random.normal(size=shape)) for shape in shapes]


def projected_arguments(cell, T=T, B=B, seed=0):
    """With ``xs, W_ih, b`` where there were pre-activations."""
    random = np.random.default_rng(seed + 100)
    xs, W_ih, b = (asarray(random.normal(size=shape)) for shape in ((T, D, B), (cell.gates * H, D), (cell.gates * H,)))
    _, *rest = arguments(cell, T, B, seed)
    return [xs, *rest[: cell.states], W_ih, b, *rest[cell.states :]]


def cotangents(outputs, seed=1):
    random = np.random.default_rng(seed)
    return [asarray(random.normal(size=y.shape)) for y in outputs]


def run(rule, inputs, seed=1, **static):
    """Outputs and gradients for random cotangents."""
    outputs, pullback = rule(*inputs, **static)
    gradients = pullback(*cotangents(outputs, seed))
    return [*outputs, *gradients[: len(inputs)]]


def numeric(xp):
    """The laws that numbers judge, where NumPy is not the judge: elsewhere it is a law that all is as on NumPy."""
    return () if xp is np else ("gradients_match_numbers", "every_subset_of_outputs")


def split(rule, inputs):
    return form_of(rule).split(inputs)
