"""What every cage of the zoo has: names, places, blocks of rows, and the sigmoid."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minirnn.arrays import Array, xp_of
from minirnn.checking import Place


@dataclass(frozen=True)
class Where:
    """Where a mistake is made, whatever the length of the sequence: the place at which its gradients go wrong first."""

    argument: str  # or output
    gates: str = ""
    steps: slice | None = None  # that are wrong; None without a time axis
    columns: tuple[int, ...] = ()

    def place(self, T: int) -> Place:
        """The same in a sequence of ``T`` steps, as `minirnn.checking.locate` says it."""
        steps = () if self.steps is None else tuple(range(T)[self.steps])
        return Place(self.argument, tuple(self.gates), steps, self.columns)


ALL, FIRST, BUT_LAST = slice(None), slice(0, 1), slice(0, -1)


def refuse_unknown(fault: str, faults: Mapping[str, str]) -> None:
    """Raise unless there is such a fault, or none is asked for."""
    if fault and fault not in faults:
        raise ValueError(f"fault must be empty or one of {', '.join(map(repr, faults))}, got {fault!r}")


def named(rule: Callable, fault: str, faults: Mapping[str, str], right: str) -> Callable:
    """The rule, called after its fault, with the sentence on it as docstring."""
    rule.__name__ = re.sub(r"\W+", "_", fault.replace("'", "")) or "reference"
    rule.__doc__ = faults.get(fault, right)
    return rule


def parts(a: Array, count: int) -> tuple[Array, ...]:
    """The blocks of rows, one per gate."""
    H = len(a) // count
    return tuple(a[k * H : (k + 1) * H] for k in range(count))


def sigmoid(a: Array) -> Array:
    """``1 / (1 + exp(-a))``."""
    return 0.5 * xp_of(a).tanh(0.5 * a) + 0.5
