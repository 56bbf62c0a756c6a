"""What a gradient check found: one line per argument, the whole as a table, and the error that carries it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


class GradcheckError(AssertionError):
    """A rule breaks its contract, or its pullback disagrees with the numeric derivative.

    Attributes
    ----------
    report : GradcheckReport or None
        All numbers, where the check got as far as comparing them.
    """

    def __init__(self, message: str, report: GradcheckReport | None = None):
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class ArgumentReport:
    """The comparison for one argument; ``analytic`` and ``numeric`` are those of the entry that agrees least."""

    name: str
    shape: tuple[int, ...]
    method: str  # complex, central, forward, richardson, or "-" where there was nothing to differentiate
    tolerance: float = 0.0
    max_error: float = 0.0  # the largest relative error
    worst: tuple[int, ...] | None = None  # its index; None if it belongs to a random direction
    analytic: float = 0.0
    numeric: float = 0.0
    uncertainty: float = 0.0  # how far rounding and truncation may have moved the numeric value
    entries: int = 0  # how many were compared one by one
    wrong: int = 0  # how many of them exceed the tolerance
    directions: int = 0  # how many dense random directions were compared on top
    wrong_directions: int = 0
    note: str = ""  # why this method, why skipped, what else was seen
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every entry and every direction agrees within the tolerance."""
        return self.wrong == self.wrong_directions == 0

    @property
    def ratio(self) -> float:
        """analytic / numeric at the worst entry: -1 is a sign, 2 a factor, 0 a gradient that never arrived."""
        return self.analytic / self.numeric if self.numeric else math.copysign(math.inf, self.analytic)

    def describe(self) -> str:
        """What is wrong here, in four lines."""
        counts = [f"{self.wrong} of {self.entries} entries"]
        if self.directions:
            counts.append(f"{self.wrong_directions} of {self.directions} random directions")
        where = "a random direction" if self.worst is None else str(self.worst)
        lines = [
            f"argument {self.name!r} {self.shape}: wrong in {' and '.join(counts)}",
            f"  worst at {where}: analytic {self.analytic:.10g}, numeric {self.numeric:.10g} ± {self.uncertainty:.1g}, "
            f"ratio {self.ratio:.6g}",
            f"  relative error {self.max_error:.2g}, allowed {self.tolerance:.2g}, method {self.method}",
        ]
        return "\n".join([*lines, f"  {self.note}"] if self.note else lines)


@dataclass(frozen=True)
class GradcheckReport:
    """The outcome of a gradient check; ``print(report)`` shows it as a table."""

    rule: str
    seed: int
    call: str  # what to type to see the same numbers again
    arguments: tuple[ArgumentReport, ...]

    @property
    def ok(self) -> bool:
        """Whether every argument's gradient agrees with the numbers."""
        return all(argument.ok for argument in self.arguments)

    @property
    def max_error(self) -> float:
        """The largest relative error of all arguments."""
        return max(argument.max_error for argument in self.arguments)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, numbers and strings, ready for JSON."""
        arguments = [
            {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(argument).items()}
            for argument in self.arguments
        ]
        return {**asdict(self), "ok": self.ok, "max_error": self.max_error, "arguments": arguments}

    def describe_failure(self) -> str:
        """The message of a failed check: the worst argument first, then the others that are wrong, then the table."""
        wrong = sorted((argument for argument in self.arguments if not argument.ok), key=lambda a: -a.max_error)
        details = [argument.describe() for argument in wrong]
        return "\n".join(
            [f"the gradient check of {self.rule} failed", *details, f"reproduce: {self.call}", "", str(self)]
        )

    def __str__(self) -> str:
        rows = [("argument", "shape", "method", "compared", "max error", "tolerance", "worst at", "verdict")]
        for a in self.arguments:
            compared = f"{a.entries} + {a.directions} directions" if a.directions else str(a.entries)
            numbers = (
                compared,
                f"{a.max_error:.1e}",
                f"{a.tolerance:.0e}",
                "a direction" if a.worst is None else str(a.worst),
            )
            verdict = "ok" if a.ok else "WRONG"
            rows.append((a.name, str(a.shape), a.method, *(numbers if a.entries else ("", "", "", "")), verdict))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        notes = [f"{a.name}: {a.note}" for a in self.arguments if a.note]
        return "\n".join([f"gradient check of {self.rule}, seed {self.seed}", *table, *notes])
