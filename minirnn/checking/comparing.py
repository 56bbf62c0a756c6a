"""One argument under check: what its gradient claims, line by line, beside what the numbers say, and the verdict."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from minirnn.arrays import Array, random_generator, to_numpy
from minirnn.checking.contract import is_differentiable
from minirnn.checking.curves import VCurve
from minirnn.checking.differences import DOUBLE, best_step
from minirnn.checking.judging import Finding, examine, is_between, relative_error
from minirnn.checking.numeric import TOLERANCES, Number, most_wrong_entry, restricted, settle_method, slope
from minirnn.checking.report import ArgumentReport, gravest
from minirnn.checking.sweep import quick_taylor_slope, walk

DIRECTIONS = 8  # dense random directions through a large argument: they see the entries that a sample leaves out
SAMPLE = 32  # entries of it, drawn at random: what is small beside the rest shows in them alone
EXAMINED = 32  # lines that are looked at closely, at most
LEAVES = "a step leaves the domain of the rule, however short: its outputs are not finite there; move the point"


@dataclass
class Line:
    """One comparison, of an entry or along a dense direction: slopes by unit of the argument."""

    is_entry: bool
    place: int  # the flat index of the entry, or the number of the direction
    unit: float
    analytic: float
    numeric: float
    uncertainty: float
    size: float  # of what the analytic slope is a sum of
    finding: Finding | None = None
    passed_over: bool = False  # one kink more, among many


class Comparison:
    """The comparison for argument ``k`` of a rule.

    Parameters
    ----------
    number : Number
        The rule as one number.
    k, name, gradient : int, str, numpy.ndarray
        Which argument, what to call it, and what the pullback claims: not empty.
    method, tolerance, seed, max_entries : str, float or None, int, int
        As in `check_rule`.
    """

    def __init__(
        self,
        number: Number,
        k: int,
        name: str,
        gradient: np.ndarray,
        method: str,
        tolerance: float | None,
        seed: int,
        max_entries: int,
    ):
        started = time.perf_counter()
        self.number, self.k, self.name, self.gradient = number, k, name, gradient
        x = number.inputs[k]
        # An entry moves in proportion to its size, rounded up to a power of two so that x + t h stays exact.
        self.scale = np.exp2(np.ceil(np.log2(np.maximum(1.0, np.abs(to_numpy(x), dtype=np.float64)))))
        random = random_generator(seed, "gradcheck directions", step=k)
        probe, *self.dense = (self.scale * random.standard_normal(x.shape) for _ in range(1 + DIRECTIONS))
        self.method, self.note = settle_method(number, k, name, method, probe)
        own = max(TOLERANCES[self.method][number.eps > DOUBLE], number.tolerance_of_claims)
        self.tolerance = own if tolerance is None else tolerance
        entries = np.arange(gradient.size)
        if gradient.size > max_entries:
            entries = np.sort(random.choice(entries, min(SAMPLE, max_entries), replace=False))
        else:
            self.dense = []  # every entry has its turn
        self.lines = [self._measured(True, e) for e in entries.tolist()]
        self.lines += [self._measured(False, k) for k in range(len(self.dense))]
        self.verdict = self._judge()
        self.seconds = time.perf_counter() - started

    def report(self, sweep: bool = False) -> ArgumentReport:
        """What was found, and the evidence of the line on which the verdict rests; if it is good, of the largest entry.

        With ``sweep``, the errors of differences along that line over the step.
        """
        started, x, good = time.perf_counter(), self.number.inputs[self.k], self.verdict == "correct"
        errors = self._errors(forgiving=good)
        own = [
            k for k, line in enumerate(self.lines) if good or (line.finding and line.finding.verdict == self.verdict)
        ]
        worst = max(own, key=errors.__getitem__)
        line = self.lines[worst]
        shown = max(self._entries(), key=lambda line: abs(line.numeric)) if good else line
        disagree = [line.is_entry for line, e in zip(self.lines, self._errors(), strict=True) if e > self.tolerance]
        return ArgumentReport(
            self.name,
            x.shape,
            self.method,
            str(self.gradient.dtype),
            self.verdict,
            self.tolerance,
            max_error=float(errors[worst]),
            worst=tuple(map(int, np.unravel_index(line.place, x.shape))) if line.is_entry else None,
            analytic=line.analytic,
            numeric=line.numeric,
            uncertainty=line.uncertainty,
            taylor_slope=self._taylor_slope(shown),
            entries=len(self._entries()),
            wrong=disagree.count(True),
            directions=len(self.dense),
            wrong_directions=disagree.count(False),
            note="; ".join(filter(None, [self.note, line.finding.note if line.finding else ""])),
            v_curve=self._v_curve(shown) if sweep else None,
            seconds=self.seconds + time.perf_counter() - started,
        )

    def reference(self, completed: int) -> np.ndarray:
        """The numeric gradient: whole if it has at most ``completed`` entries, else NaN where it was not needed."""
        values = np.full(self.gradient.size, np.nan)
        for line in self._entries():
            values[line.place] = line.numeric
        if values.size <= completed:
            for e in np.flatnonzero(np.isnan(values)).tolist():
                values[e] = self._measured(True, e).numeric
        return values.reshape(self.gradient.shape)

    def _judge(self) -> str:
        """Look closely at the lines that disagree, entries first, the worst first, until one is wrong.

        Kinks disagree most, and a layer may have hundreds. They must not hide what is wrong behind them, so once it is
        clear that there are many, those that look like one are passed over.
        """
        verdicts = [line.finding.verdict for line in self.lines if line.finding]  # where numbers failed altogether
        left_out = 0
        while sum(verdict not in ("correct", "kink") for verdict in verdicts) < EXAMINED:
            line = self._most_suspicious(self._errors())
            if line is None:
                break
            if verdicts.count("kink") >= EXAMINED and self._lies_between_its_sides(line):
                line.passed_over = True
                continue
            if not line.is_entry and left_out < EXAMINED:
                left_out += self._explained_by_an_entry(line)
                continue
            verdicts.append(self._examine(line))
            if verdicts[-1] == "wrong":
                break
        line = self._most_suspicious(self._errors(forgiving=False))
        if not verdicts and self.method != "complex" and line is not None and line.is_entry:
            verdicts.append(self._examine(line))  # its error was put down to rounding: is it that?
        if self.method != "complex":
            verdicts += [self._examine(line) for line in self._entries() if self._is_cusp(line)]
        return gravest(verdicts)

    def _is_cusp(self, line: Line) -> bool:
        """Whether one side is far steeper than both together, as of the root of ``|x|`` at zero: central differences
        see nothing of it.
        """
        if line.finding or line.passed_over:
            return False
        step, largest = best_step(1, self.number.eps), line.unit * self._largest()
        side = self.number.along(self.k, self._along(line))(step) / step
        return bool(abs(side - line.unit * line.numeric) > 100 * largest + 16 * self.number.rounding / step)

    def _most_suspicious(self, errors: np.ndarray) -> Line | None:
        """Of the lines that disagree and have not been examined the worst, of entries if there are any."""
        suspects = [
            (line.is_entry, e, abs(line.analytic), k)
            for k, (line, e) in enumerate(zip(self.lines, errors, strict=True))
            if e > self.tolerance and line.finding is None and not line.passed_over
        ]
        return self.lines[max(suspects)[-1]] if suspects else None

    def _lies_between_its_sides(self, line: Line) -> bool:
        """Whether the gradient lies between the slopes to both sides, by two values: a kink, as far as they tell."""
        f, step = self.number.along(self.k, self._along(line)), best_step(1, self.number.eps)
        sides = f(step) / step, f(-step) / -step
        return is_between(line.unit * line.analytic, sides, line.unit * self.tolerance * self._largest())

    def _examine(self, line: Line) -> str:
        """Walk along a line; its numeric slope is then the one that was found to be the best."""
        size = self._largest() if line.is_entry else line.size
        claim, size = line.unit * line.analytic, line.unit * size
        found = examine(self.number, self.method, self.k, self._along(line), claim, size, self.tolerance)
        line.finding = found
        line.numeric, line.uncertainty = float(found.numeric) / line.unit, float(found.uncertainty) / line.unit
        return found.verdict

    def _explained_by_an_entry(self, line: Line) -> bool:
        """Find the entry that makes a direction disagree; if that one is not wrong, leave it out of all directions.

        Whatever there is at a kink, or too near to one for a line on which much is rounded, its entry alone can tell.
        """
        place = most_wrong_entry(self.number, self.method, self.k, self.gradient, self._along(line))
        entry = next((other for other in self._entries() if other.place == place), None)
        if entry is None:
            entry = self._measured(True, place)
            self.lines.append(entry)
        error = self._errors()[next(k for k, other in enumerate(self.lines) if other is entry)]
        if error > self.tolerance and entry.finding is None:
            return False
        for direction in self.dense:
            direction.flat[place] = 0
        self.lines = [line if line.is_entry else self._measured(False, line.place) for line in self.lines]
        return True

    def _along(self, line: Line) -> np.ndarray:
        return restricted(self.scale, line.place) if line.is_entry else self.dense[line.place]

    def _measured(self, is_entry: bool, place: int) -> Line:
        line = Line(is_entry, place, float(self.scale.flat[place]) if is_entry else 1.0, 0.0, 0.0, 0.0, 0.0)
        along = self._along(line)
        numeric, uncertainty = slope(self.number, self.method, self.k, along)
        if not np.isfinite(numeric):
            numeric, uncertainty = 0.0, np.inf  # nothing is known
            line.finding = Finding("too noisy", numeric, uncertainty, None, LEAVES)
        line.analytic, line.numeric = float(np.vdot(self.gradient, along)) / line.unit, float(numeric) / line.unit
        line.uncertainty = float(uncertainty) / line.unit
        line.size = float(np.linalg.norm(self.gradient * along)) / line.unit
        return line

    def _errors(self, forgiving: bool = True) -> np.ndarray:
        """Relative errors, with the noise of the method forgiven or not."""
        analytic, numeric, noise, size, unit = np.array(
            [(line.analytic, line.numeric, line.uncertainty, line.size, line.unit) for line in self.lines]
        ).T
        size = np.where([line.is_entry for line in self.lines], self._largest(), size)
        rounding = self.number.rounding / unit
        return relative_error(analytic, numeric, np.where(forgiving, noise, 0.0), size, self.tolerance, rounding)

    def _entries(self) -> list[Line]:
        return [line for line in self.lines if line.is_entry]

    def _largest(self) -> float:
        return max(abs(line.numeric) for line in self._entries())

    def _taylor_slope(self, line: Line) -> float | None:
        if line.finding:
            return line.finding.taylor_slope
        f = self.number.along(self.k, self._along(line))
        return quick_taylor_slope(f, line.unit * line.analytic, self.number.rounding, self.number.eps)

    def _v_curve(self, line: Line) -> VCurve:
        sweep = walk(self.number.along(self.k, self._along(line)), self.number.eps)
        size = max(abs(line.analytic), abs(line.numeric), 1e-3 * line.size) or 1.0
        return VCurve.of(sweep, line.unit * line.analytic, line.unit * size)


def unchecked(name: str, x: Array | None, gradient: np.ndarray | None) -> ArgumentReport:
    """The line of an argument that has no gradient to compare."""
    dtype = str(getattr(x, "dtype", None))
    why = "empty" if gradient is not None else "not wanted" if is_differentiable(x) else dtype
    return ArgumentReport(name, () if x is None else x.shape, "-", dtype, note=f"not checked: it is {why}")
