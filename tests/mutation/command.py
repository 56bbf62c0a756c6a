"""The table of what became of every mutant, and what is wrong with it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from equivalent import EQUIVALENT
from score import Score, listed_but_dead, scores

from minirnn.arrays import BackendError

COLUMNS = ("mutants", "by check", "by law", "by error", "equivalent", "survivors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if a mutant lives that is not known to be equivalent, or a known one does not."""
    parser = argparse.ArgumentParser(prog="python tests/mutation", description=__doc__.partition(".")[0])
    parser.add_argument("--rule", metavar="NAME", help="only what this rule goes back through, or this combinator")
    parser.add_argument("--list", action="store_true", help="every mutant, and what became of it")
    options = parser.parse_args(arguments)
    started, found = time.perf_counter(), []
    try:
        print(f"{'':36}" + "".join(f"{column:>11}" for column in COLUMNS))
        for score in scores(options.rule):
            found.append(score)
            print(line(score.subject.place, [score]), flush=True)
            if options.list:
                describe(score)
    except (ValueError, BackendError) as error:
        parser.error(str(error))
    print(line(f"all, {time.perf_counter() - started:.0f} s", found))
    for score in found:
        for mutant in score.survivors:
            place, text, operator, change = mutant.key
            print(f"lives:\n        {place}\n            {text}\n                {operator}: {change}")
    dead = sorted(listed_but_dead(found))
    for key in dead:
        print(f"listed as equivalent, but dead or gone: {key}")
    return int(bool(dead) or any(score.survivors for score in found))


def line(title: str, found: Sequence[Score]) -> str:
    """One row of the table: the sums over some scores."""
    parts = ("mutants", "by_check", "by_law", "by_error", "equivalent", "survivors")
    return f"{title:36}" + "".join(f"{sum(len(getattr(score, part)) for score in found):11}" for part in parts)


def describe(score: Score) -> None:
    for what, mutants in (
        ("wrong numbers", score.by_check), ("broken law", score.by_law), ("error", score.by_error),
    ):  # fmt: skip
        for mutant in mutants:
            print(f"    {what}: {mutant}")
    for mutant in score.equivalent:
        print(f"    equivalent ({EQUIVALENT[mutant.key]}): {mutant}")
