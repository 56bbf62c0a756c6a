"""What a campaign is: many cases of one kind of trouble, each of which must end as it should, counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple


class Tried(NamedTuple):
    """One case: what was tried, so that it can be found again, and what did not hold; nothing if all did."""

    what: str
    failure: str = ""


Campaign = Callable[..., Iterator[Tried]]  # (long: bool, seed: int); what is random is drawn from the seed


def campaigns() -> dict[str, Campaign]:
    """The function ``campaign`` of every file ``NAME_campaign.py`` beside this one, by name."""
    files = sorted(Path(__file__).parent.glob("*_campaign.py"))
    return {file.stem.removesuffix("_campaign"): import_module(file.stem).campaign for file in files}


def failures(tried: Iterator[Tried]) -> tuple[int, list[Tried]]:
    """How many cases there were, and those that failed."""
    cases = list(tried)
    return len(cases), [case for case in cases if case.failure]
