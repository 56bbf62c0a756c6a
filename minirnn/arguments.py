"""What functions ask of sizes, probabilities and flags, and how they say it when they do not get it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

INTEGERS = (int, np.integer)
NUMBERS = (*INTEGERS, float, np.floating)


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


def booleans(**flags: Any) -> None:
    """Refuses what is neither ``True`` nor ``False``, naming the first.

    Raises
    ------
    TypeError
    """
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {value!r}")


def booleans_in(**masks: Any) -> None:
    """Refuses a mask of numbers, naming the first: by other conventions 0 may stand for what counts.

    Raises
    ------
    TypeError
    """
    for name, mask in masks.items():
        if mask is not None and mask.dtype.kind != "b":
            raise TypeError(f"{name} must be boolean, got dtype {mask.dtype}")
