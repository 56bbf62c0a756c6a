"""What a gradient check found: a verdict, one line per argument, and the error that carries them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minirnn.checking.curves import VCurve
from minirnn.checking.locating import Guess

VERDICTS = ("correct", "too noisy", "kink", "wrong", "nondeterministic")  # of several, the last one speaks


class GradcheckError(AssertionError):
    """A gradient check ended with another verdict than "correct".

    Attributes
    ----------
    verdict : str
        One of ``VERDICTS``.
    report : GradcheckReport or None
        All that was found; ``None`` only on its way there.
    """

    def __init__(self, message: str, report: GradcheckReport | None = None, verdict: str = "wrong"):
        super().__init__(message)
        self.report = report
        self.verdict = report.verdict if report else verdict


def gravest(verdicts: Sequence[str]) -> str:
    """Of several verdicts the one that speaks for all.

    Examples
    --------
    >>> gravest(["correct", "wrong", "kink"])
    'wrong'
    """
    return max(verdicts, key=VERDICTS.index, default="correct")


@dataclass(frozen=True)
class ArgumentReport:
    """The comparison for one argument; ``analytic`` and ``numeric`` are those of the entry that agrees least."""

    name: str
    shape: tuple[int, ...]
    method: str  # complex, central, forward, richardson, or "-" where there was nothing to differentiate
    dtype: str = "-"
    verdict: str = "correct"
    tolerance: float = 0.0  # follows from the method and from the coarsest dtype that takes part
    max_error: float = 0.0  # the largest relative error
    worst: tuple[int, ...] | None = None  # its index; None if it belongs to a random direction
    analytic: float = 0.0
    numeric: float = 0.0
    uncertainty: float = 0.0  # how far rounding, noise and truncation may have moved the numeric value, as measured
    taylor_slope: float | None = None  # there: 2 or more if the gradient is right, 1 if wrong; None: nothing remains
    entries: int = 0  # how many were compared one by one
    wrong: int = 0  # how many of them exceed the tolerance
    directions: int = 0  # how many dense random directions were compared on top
    wrong_directions: int = 0
    note: str = ""  # why this method, why skipped, what else was seen
    v_curve: VCurve | None = None  # on request: errors over the step size
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every entry and every direction agrees within the tolerance."""
        return self.verdict == "correct"

    @property
    def ratio(self) -> float:
        """analytic / numeric at the worst entry: -1 is a sign, 2 a factor, 0 a gradient that never arrived."""
        return self.analytic / self.numeric if self.numeric else math.copysign(math.inf, self.analytic)

    def describe(self) -> str:
        """What is not right here, in a few lines."""
        counts = [f"{self.wrong} of {self.entries} entries"]
        if self.directions:
            counts.append(f"{self.wrong_directions} of {self.directions} random directions")
        where = "a random direction" if self.worst is None else str(self.worst)
        lines = [
            f"argument {self.name!r} {self.shape}: {self.verdict} in {' and '.join(counts)}",
            f"  worst at {where}: analytic {self.analytic:.10g}, numeric {self.numeric:.10g} ± {self.uncertainty:.1g}, "
            f"ratio {self.ratio:.6g}",
            f"  relative error {self.max_error:.2g}, allowed {self.tolerance:.2g}, method {self.method}, {self.dtype}",
        ]
        if self.taylor_slope is not None:
            lines.append(f"  the Taylor remainder falls like h**{self.taylor_slope:.2f} (2 if right, 1 if wrong)")
        return "\n".join([*lines, f"  {self.note}"] if self.note else lines)


@dataclass(frozen=True)
class GradcheckReport:
    """The outcome of a gradient check; ``print(report)`` shows it as a table.

    Attributes
    ----------
    verdict : str
        "correct", "wrong", "kink" (no derivative exists at this point), "too noisy" (the values are too rough for any
        difference of them), or "nondeterministic" (called again, the function answers otherwise).
    reason : str
        What a rule did that ended the check before anything was compared; empty if nothing did.
    hint : str
        What may make a gradient another than that of the output on purpose: it is truncated, or clipped on its way.
    guesses : tuple of Guess
        Of a wrong gradient: where it goes wrong and what may be the cause, most likely first.
    """

    rule: str
    seed: int
    call: str  # what to type to see the same numbers again
    arguments: tuple[ArgumentReport, ...] = ()
    verdict: str = "correct"
    reason: str = ""
    hint: str = ""
    guesses: tuple[Guess, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the verdict is "correct"."""
        return self.verdict == "correct"

    @property
    def max_error(self) -> float:
        """The largest relative error of all arguments; NaN if none was compared."""
        return max((argument.max_error for argument in self.arguments), default=math.nan)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, numbers and strings, ready for JSON; what is not finite is ``None``."""
        return _plain({**asdict(self), "ok": self.ok, "max_error": self.max_error})

    def describe_failure(self) -> str:
        """The message of a failed check: what may be the cause, the worst argument, the others, then the table."""
        if self.reason:
            return f"{self.reason}\nverdict: {self.verdict}\nreproduce: {self.call}"
        bad = sorted((argument for argument in self.arguments if not argument.ok), key=lambda a: -a.max_error)
        details = [argument.describe() for argument in bad]
        first = f"the gradient check of {self.rule} failed, verdict: {self.verdict}"
        again = [f"reproduce: {self.call}", "", self._first_line(), *self._table()]
        return "\n".join([first, *self.suspicions(), *details, *again])

    def __str__(self) -> str:
        if self.reason:
            return f"{self._first_line()}\n{self.reason}"
        return "\n".join([self._first_line(), *self.suspicions(), *self._table()])

    def _first_line(self) -> str:
        return f"gradient check of {self.rule}, seed {self.seed}: {self.verdict}"

    def _table(self) -> list[str]:
        widths = [max(map(len, column)) for column in zip(*self.rows(), strict=True)]
        table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in self.rows()]
        curves = [f"\n{a.name}: {a.v_curve}" for a in self.arguments if a.v_curve]
        return [*table, *self.notes(), *curves]

    def suspicions(self) -> list[str]:
        """What may be the cause of a wrong gradient: a line each, the likeliest first."""
        return [*filter(None, [self.hint]), *(f"guess: {guess.text} ({guess.place})" for guess in self.guesses)]

    def rows(self) -> list[tuple[str, ...]]:
        """The table: its head, then a row per argument."""
        head = ("argument", "shape", "compared", "method", "max error", "tolerance", "Taylor", "worst at", "verdict")
        rows: list[tuple[str, ...]] = [head]
        for a in self.arguments:
            numbers: tuple[str, ...] = ("",) * 4
            if a.entries:
                slope = "-" if a.taylor_slope is None else f"{a.taylor_slope:.2f}"
                where = "a direction" if a.worst is None else str(a.worst)
                numbers = f"{a.max_error:.1e}", f"{a.tolerance:.0e}", slope, where
            compared = f"{a.entries} + {a.directions} directions" if a.directions else str(a.entries or "")
            verdict = a.verdict if a.ok else a.verdict.upper()
            rows.append((a.name, str(a.shape), compared, a.method, *numbers, verdict if a.entries else "-"))
        return rows

    def notes(self) -> list[str]:
        """What else is to be said: of each argument, and of float32 if it takes part."""
        notes = [f"{a.name}: {a.note}" for a in self.arguments if a.note]
        coarse = [a.tolerance for a in self.arguments if a.dtype == "float32"]
        if coarse:
            notes.append(
                f"judged in float32, by its own limits: relative errors below {max(coarse):.0e} are not seen, "
                "in float64 a thousand times smaller ones are"
            )
        return notes


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
