"""Pairs in three parts, as every maker of pairs gives them."""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[str, str]
Part = tuple[Pair, ...]


class Pairs(NamedTuple):
    """What to train on, what to choose a model by, and what to judge it by."""

    train: Part
    valid: Part
    test: Part


def in_parts(pairs: list[Pair], valid: int, test: int) -> Pairs:
    """The last pairs to test, those before them to validate, and the rest to train on."""
    first, second = len(pairs) - valid - test, len(pairs) - test
    return Pairs(tuple(pairs[:first]), tuple(pairs[first:second]), tuple(pairs[second:]))
