"""Where seeds come from that nobody has given: a layer's own, and those of the parts of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from itertools import count

from minirnn.arguments import not_negative
from minirnn.arrays import random_generator

# The seed, and the numbers of those that are to come of it. Whoever shares the context shares the numbers: no two
# threads and no two tasks take the same.
_in_use: ContextVar[tuple[int, Iterator[int]]] = ContextVar("minirnn_seeds", default=(0, count()))


class use_seed:  # noqa: N801  # called like a function, and used in a with statement
    """Begin anew the seeds of layers that are given none, until further notice or for a ``with`` block.

    The n-th of them from here on has a seed that is a function of ``seed`` and n: no two start equal, and the same
    program has the same weights each time it runs. A program begins as if it had called ``use_seed(0)``.

    Parameters
    ----------
    seed : int
        Not negative.

    Raises
    ------
    ValueError
        If it is no such integer.

    Notes
    -----
    This decides which weights a layer starts from, and nothing after that: the seed it got stands in its attribute
    ``seed``, and ``Linear(3, 4, seed=layer.seed)`` makes it once more anywhere. Its masks are a function of that seed,
    too. A model has the seed 0 unless it is given another: a run that is resumed must have the model it was begun with.

    The choice belongs to the current context: another thread is never affected. Threads that have chosen nothing share
    one count, so that no two of their layers start equal; which gets which seed, only seeds that are given decide.

    Examples
    --------
    >>> from minirnn import nn
    >>> with use_seed(1):
    ...     a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> with use_seed(1):
    ...     again = nn.Linear(1, 1)
    >>> a.seed == b.seed, a.seed == again.seed
    (False, True)
    """

    def __init__(self, seed: int):
        not_negative(seed=seed)
        self._token = _in_use.set((int(seed), count()))

    def __enter__(self) -> use_seed:
        return self

    def __exit__(self, *exc: object) -> None:
        _in_use.reset(self._token)


def own_seed(seed: int | None) -> int:
    """The seed that is given, or without one the next of those that `use_seed` began.

    Raises
    ------
    ValueError
        If it is neither ``None`` nor an integer that is not negative.
    """
    if seed is not None:
        not_negative(seed=seed)
        return int(seed)
    first, numbers = _in_use.get()
    return seed_of(f"layer {next(numbers)}", first)


def seed_of(part: str, seed: int) -> int:
    """The seed of a part, from its name and the seed of the whole: as unlike any other as two draws are.

    Below 2**53, so that any reader of JSON can tell it.
    """
    return int(random_generator(seed, f"seed of {part}").integers(2**53))
