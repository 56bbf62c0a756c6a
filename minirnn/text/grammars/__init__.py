"""Pairs that are always there: made by rules, so that a model can learn them without a mistake."""

from __future__ import annotations

from functools import cache

from minirnn.text.grammars import dates, english_french, strings
from minirnn.text.grammars.parts import Pairs

__all__ = ["Pairs", "generated"]

ARTICLE = (
    ("hello", "bonjour"),
    ("good morning", "bon matin"),
    ("thank you", "merci"),
    ("goodbye", "au revoir"),
    ("how are you", "comment allez vous"),
    ("i love you", "je t aime"),
    ("welcome", "bienvenue"),
    ("good night", "bonne nuit"),
)


MAKERS = {
    "english-french": english_french.pairs,
    "dates": dates.pairs,
    "reversal": strings.reversals,
    "copy": strings.copies,
    "article": lambda: Pairs(ARTICLE, ARTICLE, ARTICLE),
}


@cache
def generated(name: str) -> Pairs:
    """Pairs of a name, the same every time.

    Parameters
    ----------
    name : str
        - ``"english-french"``: sentences of a small grammar (:mod:`minirnn.text.grammars.english_french`), in words.
        - ``"dates"``: dates as people write them, to ISO 8601 (:mod:`minirnn.text.grammars.dates`), in characters.
        - ``"reversal"``, ``"copy"``: letters with spaces between, backwards or as they are.
        - ``"article"``: eight phrases, the smallest example there is; only here all three parts are the same.

    Returns
    -------
    Pairs
        The target is a function of the source, so every pair of the test can be got right. Its sources are new
        combinations of what the training has in others; the module of each name says which.

    Raises
    ------
    ValueError
        If there is no such name.

    Examples
    --------
    >>> pairs = generated("reversal")
    >>> len(pairs.train), len(pairs.valid), len(pairs.test)
    (6000, 500, 500)
    """
    if name not in MAKERS:
        raise ValueError(f"name must be one of {', '.join(MAKERS)}; got {name!r}")
    return MAKERS[name]()
