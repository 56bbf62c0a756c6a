"""Letters to copy or to turn round: nothing to understand, all to remember. They show what attention is for.

The three parts have no string in common: the letters of the test are known, their order is new.
"""

from __future__ import annotations

from minirnn.arrays import random_generator
from minirnn.text.grammars.parts import Pairs, in_parts

LETTERS = "abcdefghijklmnop"
SHORTEST, LONGEST = 3, 10
TRAIN, VALID, TEST = 6000, 500, 500


def reversals() -> Pairs:
    """Strings, and the same read backwards."""
    return in_parts([(text, text[::-1]) for text in _strings("reversal")], VALID, TEST)


def copies() -> Pairs:
    """Strings, and the same again."""
    return in_parts([(text, text) for text in _strings("copy")], VALID, TEST)


def _strings(stream: str) -> list[str]:
    """Distinct strings of letters with spaces between."""
    rng = random_generator(0, stream)
    found: dict[str, None] = {}
    while len(found) < TRAIN + VALID + TEST:
        letters = rng.integers(len(LETTERS), size=rng.integers(SHORTEST, LONGEST + 1))
        found[" ".join(LETTERS[i] for i in letters)] = None
    return list(found)
