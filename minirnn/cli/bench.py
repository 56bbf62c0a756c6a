"""``minirnn bench``: how fast this is, beside PyTorch, against the targets; asks the questions of ``benchmarks/``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minirnn.cli.console import Console, to_json
from minirnn.cli.idle import ANY, Idle
from minirnn.cli.settings import PICTURES, UsageError, file_of, meant, one_of, whole

IDLE = (
    Idle({"sizes": ANY, "pairs": ANY}, ("quick", True), "it measures the smallest rows once"),
    Idle({"plot": ANY}, ("vs", None), "it draws ratios, and there are none without an opponent; give --vs torch, too"),
)
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure speed and memory, beside PyTorch",
        description="Asks the questions of benchmarks/, all or those that are named, and prints their tables in "
        "Markdown and which targets are met. Needs the sources of minirnn. Every figure is a median over runs in turn, "
        "each in a process of its own; all of it, beside PyTorch, takes an hour or two.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="questions: files of benchmarks/, or import")
    parser.add_argument("--vs", type=one_of("torch"), metavar="{torch}", help="whom to measure minirnn against")
    parser.add_argument("--sizes", type=sizes, metavar="S,...", help="of the rows (small,medium,large)")
    parser.add_argument("--pairs", type=whole(1, 1000), metavar="N", help="runs of everyone, in turn (15)")
    parser.add_argument("--quick", action="store_true", help="the smallest rows, once: whether all runs, not how fast")
    parser.add_argument("--json", dest="file", type=Path, metavar="FILE", help="also write all figures to this file")
    parser.add_argument(
        "--plot", type=file_of(PICTURES), metavar="FILE", help="also draw the ratios (needs --vs and matplotlib)"
    )
    parser.set_defaults(run=run, idle=IDLE)


def run(options: argparse.Namespace, console: Console) -> int:
    check(options)
    with importable(BENCHMARKS):
        harness, suite, reporting = (import_module(name) for name in ("harness", "suite", "reporting"))
        unknown = [name for name in options.names if name not in suite.QUESTIONS]
        if unknown:
            raise UsageError(f"no question is called {unknown[0]!r}; {meant(unknown[0], suite.QUESTIONS)}")
        asked_sizes = (harness.QUICK,) if options.quick else options.sizes or harness.SIZES
        pairs = 1 if options.quick else options.pairs or harness.Trial.pairs
        answers = suite.Answers(harness.Trial(pairs, torch=options.vs == "torch", note=console.note))
        save(answers, options.file)  # a file that cannot be written is no surprise an hour later
        for name in options.names or suite.measurable():
            console.say(answers.ask(name, asked_sizes))
            save(answers, options.file)
        console.say(answers.targets())
        console.say(answers.conditions())
        if options.plot:
            reporting.picture(answers.speeds(), options.plot)
    return 0


def sizes(text: str) -> tuple[str, ...]:
    """Reads sizes, separated by commas."""
    return tuple(one_of("small", "medium", "large")(size) for size in text.split(","))


def check(options: argparse.Namespace) -> None:
    """Refuses beforehand what could not be done."""
    if not (BENCHMARKS / "suite.py").is_file():
        raise UsageError(
            f"bench needs the sources of minirnn, and there is no {BENCHMARKS}: the questions are no part of the "
            "installed package; run it from a source checkout"
        )
    needed = {
        "torch": ("bench", options.vs),
        "matplotlib": ("plot", options.plot),
        "mpi4py": ("mpi", "scaling" in options.names),
    }
    for package, (extra, asked) in needed.items():
        if asked and find_spec(package) is None:
            raise UsageError(f"{package} is not installed; pip install '.[{extra}]' in the sources of minirnn")


def save(answers: Any, path: Path | None) -> None:
    """Writes what is known so far, if anybody wants it."""
    if path is not None:
        path.write_text(to_json(answers.to_dict()) + "\n", encoding="utf-8")


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Lets files of ``folder`` be imported by their names."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
