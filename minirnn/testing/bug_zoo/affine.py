"""The affine map with the mistake that every layout of a batch invites."""

from __future__ import annotations

from collections.abc import Callable

from minirnn.arrays import xp_of
from minirnn.testing.bug_zoo.common import Where, named, refuse_unknown

FAULTS = {
    "bias summed over the wrong axis": "db sums over features where columns were meant. The shape tells it, unless "
    "there are as many columns in the batch as features: then only numbers do.",
}
PLACES = {
    "bias summed over the wrong axis": Where("b"),
}


def affine_with(fault: str = "") -> Callable:
    """A rule ``(xs (T, D, B), W (F, D), b (F,)) -> W @ xs + b`` with one mistake.

    Parameters and errors are those of `lstm_with`.
    """
    refuse_unknown(fault, FAULTS)

    def rule(xs, W, b):
        xp = xp_of(xs, W, b)

        def rule_pullback(dys):
            over = (0, 1) if fault == "bias summed over the wrong axis" else (0, 2)
            return W.T @ dys, xp.tensordot(dys, xs, axes=((0, 2), (0, 2))), dys.sum(axis=over)

        return W @ xs + b.reshape(-1, 1), rule_pullback

    return named(rule, fault, FAULTS, "The right affine map.")
