"""The V-curve: how wrong a difference quotient is, step by step, and where its steps are best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minirnn.checking.sweep import Sweep


@dataclass(frozen=True)
class VCurve:
    """Relative errors of two difference quotients over the step, all of them powers of two, the longest first.

    Of a right gradient both errors fall with the step until rounding takes over: a V. Of a wrong one they level off, at
    the size of the mistake.

    Attributes
    ----------
    steps, forward, central : tuple of float
        The steps, and the errors of ``(f(h) - f(0)) / h`` and ``(f(h) - f(-h)) / 2h`` against the gradient.
    best_forward, best_central : float
        Where truncation meets rounding: ``eps**(1/2)`` and ``eps**(1/3)``.
    """

    steps: tuple[float, ...]
    forward: tuple[float, ...]
    central: tuple[float, ...]
    best_forward: float
    best_central: float

    @classmethod
    def of(cls, sweep: Sweep, claim: float, size: float) -> VCurve:
        """The curve of a sweep; errors are relative to ``size``."""
        steps, forward, central = (tuple(map(float, x)) for x in (sweep.steps, *sweep.errors(claim, size)))
        return cls(steps, forward, central, sweep.eps ** (1 / 2), sweep.eps ** (1 / 3))

    def __str__(self) -> str:
        """A drawing of both curves: one column per step, the longest on the right, one line per decade."""
        errors = [e for e in (*self.forward, *self.central) if math.isfinite(e) and e > 0]
        if not errors:
            return "no error at any step"
        top = round(math.log10(max(errors)))
        bottom = max(round(math.log10(min(errors))), top - 17)
        grid = [[" "] * len(self.steps) for _ in range(top - bottom + 1)]
        for mark, curve in (("f", self.forward), ("c", self.central)):
            for column, error in enumerate(curve):
                if math.isfinite(error):
                    row = top - max(bottom, round(math.log10(error))) if error else top - bottom
                    grid[row][column] = mark if grid[row][column] == " " else "*"
        lines = [f"1e{top - k:+03d} |{''.join(reversed(row))}".rstrip() for k, row in enumerate(grid)]
        axis = ["-"] * len(self.steps)
        for mark, best in (("2", self.best_forward), ("3", self.best_central)):
            axis[_nearest(self.steps, best)] = mark
        legend = (
            f"h from {self.steps[-1]:.1g} to {self.steps[0]:.1g}; f forward, c central differences, * both; "
            "best steps: 2 eps**(1/2), 3 eps**(1/3)"
        )
        return "\n".join(
            ["relative error over the step h", *lines, f"      +{''.join(reversed(axis))}", f"       {legend}"]
        )


def _nearest(steps: Sequence[float], step: float) -> int:
    return min(range(len(steps)), key=lambda k: abs(math.log(steps[k] / step)))
