"""Rules that are wrong on purpose: the classic mistakes of backpropagation through time, to be hunted with the check.

Every one has at least once been somebody's honest work. The code is the textbook's, with a switch per mistake: beside
each wrong line stands the right one. `ZOO` maps the name of a mistake to a `Bug`: the rule that makes it, a sentence on
it, the right rule, inputs in the required setting, the oracle by which it dies, and the place where it is made.

    >>> from minirnn.checking import check_rule
    >>> bug = ZOO["h_t for h_prev"]
    >>> inputs, static = bug.inputs(seed=0)
    >>> check_rule(bug.right, inputs, static).ok
    True
    >>> try:
    ...     check_rule(bug.rule, inputs, static)
    ... except AssertionError as error:
    ...     [argument.name for argument in error.report.arguments if not argument.ok]
    ['W_hh']

Most die by the gradient check. It is blind where forward and backward err together: there another oracle is named.

    >>> sorted(name for name, bug in ZOO.items() if bug.dies_by is not gradient_check)
    ['padding leaks into the state', 'reset gate on the wrong side', 'truncation window off by one']

The setting matters more than the tolerance. With one step, states of zero that count as constants, and the loss
``sum(h_T)``, half of the mistakes in an LSTM pass as right. With T >= 3, B >= 2, random states, h_0 unlike c_0, and a
random weight on every output none does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from minirnn.testing.bug_zoo import affine, gru, lstm, rnn
from minirnn.testing.bug_zoo.affine import affine_with
from minirnn.testing.bug_zoo.common import Where
from minirnn.testing.bug_zoo.gru import gru_with
from minirnn.testing.bug_zoo.lstm import FAULTS, lstm_with
from minirnn.testing.bug_zoo.oracles import frozen_gradient_check, gradient_check, known_cell, without_padding
from minirnn.testing.bug_zoo.rnn import rnn_with

__all__ = [
    "BUGS",
    "FAULTS",
    "ZOO",
    "Bug",
    "Where",
    "affine_with",
    "gru_with",
    "lstm_with",
    "reference",
    "rnn_with",
]

T, B, D, H = 5, 3, 2, 4


@dataclass(frozen=True)
class Bug:
    """One mistake.

    Attributes
    ----------
    rule, right : callable
        The rule that makes the mistake, and the one that does not.
    sentence : str
        What the mistake is.
    dies_by : callable
        The oracle of `minirnn.testing.bug_zoo.oracles` that tells one from the other.
    shapes : tuple
        The shapes of the arguments.
    static : dict
        Keyword arguments with which the mistake matters.
    where : Where
        At what argument, gates, steps and columns its gradients are wrong first.
    """

    rule: Callable
    right: Callable
    sentence: str
    dies_by: Callable
    shapes: tuple[tuple[int, ...], ...]
    static: dict[str, Any]
    where: Where

    def inputs(self, seed: int = 0) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Random arguments in the required setting, and static ones."""
        random = np.random.default_rng(seed)
        return [random.normal(size=shape) for shape in self.shapes], dict(self.static)


OTHER_ORACLES = {
    "reset gate on the wrong side": known_cell,
    "truncation window off by one": frozen_gradient_check,
    "padding leaks into the state": without_padding,
}
STATIC: dict[str, dict[str, Any]] = {
    "truncation window off by one": {"window": 2},
    "padding leaks into the state": {"lengths": (5, 2, 3)},
    "padding leaks into the gradient": {"lengths": (5, 2, 3)},
}


def _cage(make: Callable, cage: ModuleType, *shapes: tuple[int, ...]) -> dict[str, Bug]:
    return {
        fault: Bug(
            make(fault), make(), text, OTHER_ORACLES.get(fault, gradient_check), shapes, STATIC.get(fault, {}),
            cage.PLACES[fault],
        )
        for fault, text in cage.FAULTS.items()
    }  # fmt: skip


ZOO: dict[str, Bug] = {
    **_cage(lstm_with, lstm, (T, 4 * H, B), (H, B), (H, B), (4 * H, H)),
    **_cage(gru_with, gru, (T, 3 * H, B), (H, B), (3 * H, H)),
    **_cage(rnn_with, rnn, (T, H, B), (H, B), (H, H)),
    **_cage(affine_with, affine, (T, D, B), (B, D), (B,)),  # as many features as columns
}
reference = lstm_with()
BUGS = {fault: ZOO[fault].rule for fault in FAULTS}  # those of the LSTM
