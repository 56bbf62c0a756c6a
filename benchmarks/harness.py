"""Fair comparison: each player in a process of its own, in turn (A B A B), every figure beside its opponent's.

In one process the thread pools of NumPy and PyTorch would spin against each other, and on a machine that others use too
a slow minute would fall on one of the two. So players alternate, ratios are taken pair by pair, and their medians are
quoted; ratios of minima stand beside them.

A *question* is a file of this folder. Its docstring asks it, and beside the functions that are played it has

    SIZES     what to measure: ``{"tiny": [case, ...], "small": ..., "medium": ..., "large": ...}``; a case is what
              the players are given, by name, and becomes a row
    TABLE     how a row is shown: ``{heading: format string}``
    measure   ``measure(case, trial)``: the figures of one row, as numbers

``minirnn bench`` asks them all.
"""

from __future__ import annotations

import inspect
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parent
SIZES = "small", "medium", "large"
QUICK = "tiny"  # shows that all runs, and says nothing about speed

# glibc hands large arrays back to the system at every step unless told otherwise; PyTorch gains 15 to 20 % from this
MALLOC_TUNED = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824"}

Report = dict[str, Any]  # what a player returns: "ms" and "min_ms" where speed is compared
Reports = dict[str, list[Report]]  # by player, one from each run


class DisagreementError(ArithmeticError):
    """Two that are to be compared do not compute the same: their speed means nothing."""


@dataclass(frozen=True)
class Player:
    """A function of a question's file, what it is given (such as JSON can say), and additions to its environment."""

    function: Callable[..., Report]
    given: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def play(self) -> Report:
        """The function's report, from a new process, in which minirnn is the one beside this folder."""
        question = Path(inspect.getfile(self.function)).stem
        path = os.pathsep.join([str(BENCHMARKS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, str(BENCHMARKS / "player.py"), question, self.function.__name__, json.dumps(self.given)],
            env=os.environ | {"PYTHONPATH": path} | self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Trial:
    """How a question is asked.

    Parameters
    ----------
    pairs : int
        Runs of each player, in turn.
    torch : bool
        Whether PyTorch plays too.
    note : callable
        Told where things stand, a line at a time.
    """

    pairs: int = 15
    torch: bool = False
    note: Callable[[str], None] = lambda line: None

    def contest(self, players: dict[str, Player]) -> Reports:
        """Lets all play ``pairs`` times, in turn."""
        reports: Reports = {name: [] for name in players}
        for pair in range(self.pairs):
            self.note(f"run {pair + 1} of {self.pairs}")
            for name, player in players.items():
                reports[name].append(player.play())
        return reports

    def opponents(self, ways: dict[str, Player]) -> tuple[dict[str, Player], str | None]:
        """PyTorch at its best, as installed and with malloc tuned; and which of its ways is best, by one run each."""
        if not self.torch:
            return {}, None
        best = self.quickest(ways)
        return {"torch": ways[best], "torch tuned": replace(ways[best], environment=MALLOC_TUNED)}, best

    def quickest(self, ways: dict[str, Player]) -> str:
        """The way with the least time after one run of each."""
        least = {}
        for name, player in ways.items():
            self.note(f"trying {name}")
            least[name] = player.play()["min_ms"]
        return min(least, key=least.__getitem__)


def figures(reports: Reports) -> dict[str, dict[str, float]]:
    """Of every player the medians of what it reported; of figures whose name begins with ``min_`` the least.

    Examples
    --------
    >>> figures({"minirnn": [{"ms": 3.0, "min_ms": 2.0}, {"ms": 5.0, "min_ms": 1.0}]})
    {'minirnn': {'ms': 4.0, 'min_ms': 1.0}}
    """
    return {
        name: {key: (min if key.startswith("min_") else statistics.median)(run[key] for run in runs) for key in runs[0]}
        for name, runs in reports.items()
    }


def ratio(reports: Reports, of: str, to: str, figure: str = "ms") -> float:
    """Median over the pairs of a figure of ``of`` over that of ``to``.

    Examples
    --------
    >>> ratio({"a": [{"ms": 2.0}, {"ms": 9.0}, {"ms": 4.0}], "b": [{"ms": 1.0}, {"ms": 3.0}, {"ms": 4.0}]}, "a", "b")
    2.0
    """
    pairs = zip(reports[of], reports[to], strict=True)
    return statistics.median(a[figure] / b[figure] for a, b in pairs)


def speeds(reports: Reports, ours: str = "minirnn") -> dict[str, dict[str, float]]:
    """How many times as fast as each opponent ``ours`` is: by pairs, the median, and by minima."""
    least = {name: min(run["min_ms"] for run in runs) for name, runs in reports.items() if "min_ms" in runs[0]}
    return {
        name: {"pairs": ratio(reports, name, ours), "minima": least[name] / least[ours]}
        for name in least
        if name != ours
    }


def memories(reports: Reports, ours: str = "minirnn") -> dict[str, dict[str, float]]:
    """Memory of ``ours`` over that of each opponent, above imports and above all code: medians over the pairs."""
    return {
        name: {above: ratio(reports, ours, name, f"above_{above}_mib") for above in ("import", "code")}
        for name, runs in reports.items()
        if name != ours and "above_code_mib" in runs[0]
    }
