"""What minirnn aims at, and whether it is met: each target is a figure of one row of one question, and a limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Results = dict[str, list[dict[str, Any]]]  # by question


@dataclass(frozen=True)
class Target:
    """Where a figure is found, and what it shall be.

    Parameters
    ----------
    what : str
        For people.
    question : str
        Whose rows to look at.
    which : dict
        What the row must say: its case, or part of it.
    figure : str
        Keys of the row, joined by slashes.
    limit : float
        What the figure shall be at least, or at most if ``below``.
    form : str
        How the figure is written.
    """

    what: str
    question: str
    which: dict[str, Any]
    figure: str
    limit: float
    below: bool = False
    form: str = ".2f"

    def measured(self, results: Results) -> float | None:
        """The figure, or ``None`` if nobody has measured it."""
        for row in results.get(self.question, ()):
            if all(row.get(key) == value for key, value in self.which.items()):
                found: Any = row
                for key in self.figure.split("/"):
                    found = found.get(key) if isinstance(found, dict) else None
                return found
        return None

    def met(self, figure: float) -> bool:
        return figure <= self.limit if self.below else figure >= self.limit

    def row(self, results: Results) -> dict[str, str]:
        """A row of the table."""
        figure = self.measured(results)
        verdict = "not measured" if figure is None else "yes" if self.met(figure) else "no"
        return {
            "target": self.what,
            "aim": f"{'≤' if self.below else '≥'} {self.limit:{self.form}}",
            "measured": "-" if figure is None else f"{figure:{self.form}}",
            "met": verdict,
        }


def beside_torch(what: str, question: str, which: dict[str, Any], *limits: float, below: str = "") -> Iterator[Target]:
    """One target beside PyTorch as installed, one beside PyTorch with malloc tuned."""
    for opponent, limit in zip(("torch", "torch tuned"), limits, strict=True):
        name = f"{what}, beside {opponent}"
        if below:
            yield Target(name, question, which, f"memory/{opponent}/{below}", limit, below=True)
        else:
            yield Target(name, question, which, f"speed/{opponent}/pairs", limit)


def all_targets() -> Iterator[Target]:
    for what, which, *limits in (
        ("character training step, H = 512", {"H": 512, "B": 64}, 1.5, 1.25),
        ("character training step, H = 256", {"H": 256, "B": 32}, 1.5, 1.25),
        ("the article's step, H = 128, B = 16", {"H": 128, "B": 16}, 1.2, 1.1),
    ):
        yield from beside_torch(what, "train_step", which, *limits)
    for H in (128, 256, 512):
        for cell in ("GRU", "RNN"):
            yield from beside_torch(f"{cell} sequence, H = {H}", "sequences", {"cell": cell, "H": H}, 1.3, 1.25)
    for H in (256, 512):
        yield from beside_torch(f"LSTM sequence, H = {H}", "sequences", {"cell": "LSTM", "H": H}, 1.0, 1.0)
    for attention, feed, limit in (("dot", "nothing", 1.0), ("dot", "output", 1.3), ("additive", "output", 1.3)):
        which = {"attention": attention, "feed": feed, "V": 8000}
        yield from beside_torch(f"translator's step, {attention}, {feed} fed back", "seq2seq", which, limit, limit)
    yield from beside_torch("1,000 translations, beam 5", "translating", {"sentences": 1000, "beam": 5}, 1.0, 1.0)
    for H in (128, 512):
        which, what = {"H": H, "B": 1}, f"one generated character, H = {H}"
        yield from beside_torch(what, "generation", which, 8, 8)
        yield Target(f"{what}, beside torch without oneDNN", "generation", which, "speed/torch without oneDNN/pairs", 5)
    for H in (128, 256, 512):
        which = {"H": H, "layers": 2}
        yield from beside_torch(f"peak memory above import, H = {H}", "memory", which, 0.5, 0.5, below="import")
        yield from beside_torch(f"peak memory above all code, H = {H}", "memory", which, 0.5, 0.5, below="code")
    share = "share of the roof, H = 512"
    yield Target(f"{share}, training step", "train_step", {"H": 512, "B": 64}, "share of roof", 0.85, form=".0%")
    yield Target(f"{share}, LSTM sequence", "sequences", {"H": 512, "cell": "LSTM"}, "share of roof", 0.85, form=".0%")
    hand = "tape, modules and Python in the article's step"
    yield Target(hand, "overhead", {"H": 128}, "overhead", 0.05, below=True, form=".1%")
    growing = {"grows": "T", "values": [1000, 10_000, 100_000]}
    yield Target("time over T, to 100,000 steps: exponent", "growth", growing, "exponent/ms", 1.05, True)
    yield Target("import minirnn / import numpy", "import", {}, "slowness/numpy/pairs", 1.5, True)


TARGETS = tuple(all_targets())
