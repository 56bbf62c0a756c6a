"""Inputs that must be refused, by group; ``python tests/trust/bad_inputs_campaign.py WORDS`` shows what they are told.

WORDS are looked for in the names of the cases: ``"nn.Linear(x)"``, ``"turned round"``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from counting import Tried

GROUPS = {  # and how many cases each has to have
    "shapes": 240,
    "hyperparameters": 180,
    "ids": 150,
    "dtypes": 120,
    "lengths": 110,
    "nonfinite": 100,
    "files": 100,
    "empties": 90,
    "misuse": 90,
    "command_lines": 60,
}


def tried_of(group: str, only: str = "") -> Iterator[Tried]:
    """The cases of one group whose names hold ``only``; those of good arguments, if they fail, among them."""
    for call in import_module(f"bad_{group}").calls():
        yield from (Tried(f"{group}: {case.what}", case.failure) for case in call.tried(only))


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """All groups; nothing is drawn at random, and all are tried every time."""
    for group in GROUPS:
        yield from tried_of(group)


def main(only: str) -> None:
    """Prints the cases whose names hold ``only``, and the error that each gets."""
    for group in (group for group in GROUPS if (Path(__file__).parent / f"bad_{group}.py").exists()):
        for call in import_module(f"bad_{group}").calls():
            for name, argument, bad in call.cases():
                if only in name:
                    error = call.said(argument, bad)
                    print(f"{group}: {name}\n    {type(error).__name__}: {error}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
