"""All questions by the names that ``minirnn bench`` knows, in its order, and their answers together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from harness import Trial
from reporting import machine, markdown, shown
from targets import TARGETS

QUESTIONS = {  # name: file
    "train_step": "train_step",
    "sequences": "sequences",
    "seq2seq": "seq2seq",
    "translating": "translating",
    "generation": "generation",
    "memory": "memory",
    "overhead": "overhead",
    "unrolled": "unrolled",
    "growth": "growth",
    "long_sequences": "long_sequences",
    "scaling": "scaling",
    "gradient_check": "gradient_check",
    "import": "import_time",
    "roof": "roof",
}

NEEDS = {"scaling": "mpi4py"}  # packages of extras; who asks everything is not asked what cannot be measured

EFFORT = "steps", "texts", "characters", "times", "repeats"  # of a case: how long is measured, and not what


def measurable() -> list[str]:
    """The questions whose packages are installed."""
    return [name for name in QUESTIONS if name not in NEEDS or find_spec(NEEDS[name])]


@dataclass
class Answers:
    """Rows of figures by question, one after the other as they are measured."""

    trial: Trial
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def ask(self, name: str, sizes: Sequence[str]) -> str:
        """Measures what a question has in these sizes; returns the question and its table, for people."""
        question, rows = import_module(QUESTIONS[name]), self.rows.setdefault(name, [])
        for size, case in [(which, case) for which in sizes for case in question.SIZES.get(which, ())]:
            label = ", ".join(f"{key} {value}" for key, value in case.items() if key not in EFFORT)
            about = f"{name} {size} ({label})" if label else name
            trial = replace(self.trial, note=lambda line, about=about: self.trial.note(f"{about}: {line}"))
            rows.append({"size": size, "label": label, **case, **question.measure(case, trial)})
        there = "there is nothing in these sizes, only in " + ", ".join(question.SIZES)
        table = markdown(shown(question.TABLE, rows)) if rows else there
        return f"## {question.__doc__.partition(chr(10))[0]}\n\n{table}\n"

    def targets(self) -> str:
        """The table of what was aimed at and measured, for people; empty if none of it was measured."""
        measured = [target for target in TARGETS if target.measured(self.rows) is not None]
        if not measured:
            return ""
        met = sum(target.met(target.measured(self.rows)) for target in measured)
        count = f"{met} of {len(measured)} targets met; {len(TARGETS) - len(measured)} not measured"
        return f"## Targets\n\n{markdown([target.row(self.rows) for target in measured])}\n\n{count}\n"

    def speeds(self) -> dict[str, dict[str, float]]:
        """How many times as fast as each opponent minirnn is, by row: what `reporting.picture` draws."""
        return {
            f"{name}: {row['label']}": {who: speed["pairs"] for who, speed in row["speed"].items() if "torch" in who}
            for name, rows in self.rows.items()
            for row in rows
            if any("torch" in who for who in row.get("speed", ()))
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, of such as JSON can say; under ``"runs"`` each row has what every process reported."""
        targets = [{**asdict(t), "measured": t.measured(self.rows)} for t in TARGETS]
        return {"machine": machine(), "pairs": self.trial.pairs, "questions": self.rows, "targets": targets}

    def conditions(self) -> str:
        """One line on how and where all this was measured."""
        return f"runs of each, in turn: {self.trial.pairs}; medians (minima); {machine()}"
