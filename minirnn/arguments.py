"""What functions ask of sizes, probabilities and flags, and how they say it when they do not get it."""

from __future__ import annotations

import inspect
import math
import os
from contextlib import suppress
from typing import Any

import numpy as np

INTEGERS = (int, np.integer)
NUMBERS = (*INTEGERS, float, np.floating)
PLAIN = (bool, int, float, str, os.PathLike)


def positive(**integers: Any) -> None:
    """Refuses what is not an integer from 1 on, naming the first.

    Raises
    ------
    ValueError
    """
    for name, value in integers.items():
        if not isinstance(value, INTEGERS) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")


def not_negative(**integers: Any) -> None:
    """Refuses what is not an integer from 0 on, naming the first.

    Raises
    ------
    ValueError
    """
    for name, value in integers.items():
        if not isinstance(value, INTEGERS) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} must be an integer that is not negative, got {value!r}")


def a_batch(epoch: Any, k: Any, batches_per_epoch: int) -> None:
    """Refuses a batch that a stream does not have.

    Raises
    ------
    ValueError
    """
    not_negative(epoch=epoch, k=k)
    if k >= batches_per_epoch:
        raise ValueError(f"k must be below batches_per_epoch = {batches_per_epoch}, got {k}")


def positive_number(**values: Any) -> None:
    """Refuses what is not a finite number above 0, naming the first.

    Raises
    ------
    ValueError
    """
    for name, value in values.items():
        if not isinstance(value, NUMBERS) or isinstance(value, bool) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number, got {value!r}")


def at_least_0(below: float = math.inf, **values: Any) -> None:
    """Refuses what is not a number from 0 to below ``below``, naming the first.

    Raises
    ------
    ValueError
    """
    for name, value in values.items():
        if not isinstance(value, NUMBERS) or isinstance(value, bool) or not 0 <= value < below:
            raise ValueError(f"{name} must be a number from 0 to below {below}, got {value!r}")


def share(**value: Any) -> float:
    """A probability below 1, as a number of Python's.

    Raises
    ------
    ValueError
        As from `at_least_0`.
    """
    at_least_0(below=1, **value)
    return float(*value.values())


def paths(**places: Any) -> None:
    """Refuses what names no file or directory, naming the first.

    Raises
    ------
    TypeError
    """
    for name, value in places.items():
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError(f"{name} must be a path, a str or a Path, got {value!r:.200}")


def booleans(**flags: Any) -> None:
    """Refuses what is neither ``True`` nor ``False``, naming the first.

    Raises
    ------
    TypeError
    """
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {value!r}")


def flag(**value: Any) -> bool:
    """``True`` or ``False``, as Python has them.

    Raises
    ------
    TypeError
        As from `booleans`.
    """
    booleans(**value)
    return bool(*value.values())


def booleans_in(**masks: Any) -> None:
    """Refuses a mask of numbers, naming the first: by other conventions 0 may stand for what counts.

    Raises
    ------
    TypeError
    """
    for name, mask in masks.items():
        if mask is not None and mask.dtype.kind != "b":
            raise TypeError(f"{name} must be boolean, got dtype {mask.dtype}")


def defaults_of(kind: type) -> dict[str, Any]:
    """What the arguments of a class are by default, also those that it hands on to the classes it derives from."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__[:-1]):  # the nearest has the last word
        with suppress(ValueError):  # such as dict, which tells no signature
            found |= {name: p.default for name, p in inspect.signature(one).parameters.items()}
    return found


def chosen(thing: Any) -> dict[str, Any]:
    """What a thing keeps of its arguments under their own names, where it is plain and not the default."""
    kept = ((name, getattr(thing, name, None), default) for name, default in defaults_of(type(thing)).items())
    return {name: value for name, value, default in kept if isinstance(value, PLAIN) and value != default}


def as_called(thing: Any) -> str:
    """``Name(argument=value, ...)``, of all that was `chosen`: the ``__repr__`` of what is made by a few arguments."""
    return f"{type(thing).__name__}({', '.join(f'{name}={v!r}' for name, v in chosen(thing).items())})"
