"""One argument's gradient at the place where it is wrong first: the evidence that hypotheses are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirnn.checking.anatomy import Cell, Cotangent, Grid, Place, differs, last_part, named


class Finding(NamedTuple):
    """What a hypothesis says: its name, one sentence, and how sure it is, from 0 to 1."""

    pattern: str
    text: str
    score: float


@dataclass(frozen=True)
class Suspect:
    """One argument, at the step where its gradient is wrong first, and what is known of the others.

    Time runs backward, so the first wrong step is the latest; what is wrong before it may be so in consequence.
    """

    place: Place
    grid: Grid
    grids: Mapping[str, Grid]
    cell: Cell | None
    step: int
    gates: tuple[int, ...]  # those that are wrong at that step, by number
    cotangent: Cotangent | None  # what alone can be wrong if just these gates are
    shown: tuple[int, ...]  # the gates in which that shows, else all that are wrong

    @property
    def found(self) -> np.ndarray:
        """(gates, rows, columns) at that step."""
        return self._part(self.grid.found)

    @property
    def right(self) -> np.ndarray:
        return self._part(self.grid.right)

    @property
    def wrong(self) -> np.ndarray:
        return self._part(self.grid.wrong)

    def _part(self, x: np.ndarray) -> np.ndarray:
        columns = list(self.place.columns) or slice(None)
        return x[self.step][list(self.shown)][:, :, columns]

    def agree(self, found: np.ndarray, right: np.ndarray, loose: float = 1.0) -> bool:
        """Whether two arrays are the same wherever the second is known, and that somewhere."""
        return not np.isnan(right).all() and not differs(found, right, loose * self.grid.tolerance).any()

    @property
    def factor(self) -> float:
        """The number that, times what is right, comes nearest to what was found in the entries that are wrong."""
        found, right = self.found[self.wrong], self.right[self.wrong]
        return float(found @ right / (right @ right)) if right.any() else 0.0

    @property
    def has_one_factor(self) -> bool:
        """Whether that number explains all of them."""
        return self.agree(self.found[self.wrong], self.factor * self.right[self.wrong])

    def length(self, axis: str) -> int:
        """How many ``"time"`` steps or batch ``"columns"`` there are, as far as any argument tells; else 0."""
        lengths = (grid.right.shape[0 if axis == "time" else 3] for grid in self.grids.values() if axis in grid.axes)
        return next(lengths, 0)

    @property
    def is_a_step(self) -> bool:
        """Whether it is the gradient of the pre-activations of a cell, made gate by gate and step by step."""
        return self.cell is not None and last_part(self.grid.name) in ("a_xs", "a")

    @property
    def later(self) -> bool:
        """Whether there is a step after, at which it is right."""
        return self.grid.timed and self.step < len(self.grid.right) - 1

    @property
    def what(self) -> str:
        """What to call it: dc, or da_f, or the gradient of W_hh in the rows of gate f; and at which step."""
        what = self._gradient() if self.cotangent is None else self.cotangent.name
        return f"{what} at step {self.step}" if self.grid.timed else what

    def _gradient(self) -> str:
        gates = self.place.gates
        some = 0 < len(gates) < len(self.grid.gates)
        if self.grid.order == 0:
            return self.grid.name
        if not self.is_a_step:
            return f"the gradient of {self.grid.name}" + (f" in the rows of {named('gate', gates)}" if some else "")
        if len(gates) == 1:
            return f"da_{gates[0]}"
        return f"da of {named('gate', gates)}" if some else "da"
