"""What all results have in common: they become plain data, and words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from textwrap import TextWrapper
from typing import Any

import numpy as np


class Result:
    """What an instrument saw: arrays with names. ``str()`` of it says in words what they mean."""

    def to_dict(self) -> dict[str, Any]:
        """Its fields as JSON knows them, and under ``"instrument"`` its name; NaN and infinity become ``None``."""
        return {"instrument": type(self).__name__.lower(), **plain(self)}


@dataclass(frozen=True)
class Reading(Result):
    """What was read off one recording, of which it keeps cell and label."""

    cell: str
    label: str

    @property
    def title(self) -> str:
        """Cell and label."""
        return titled(self.cell, self.label)


def titled(cell: str, label: str) -> str:
    """What texts and pictures call a recording."""
    return f"{cell}, {label}" if label else cell


def plural(n: int, noun: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def paragraphs(lines: Iterable[str]) -> str:
    """A text of these lines, in which none is wider than a terminal of 80: the rest of a line is indented below it.

    Examples
    --------
    >>> print(paragraphs(["RNN: a line", "  that fits, and " + "another " * 8 + "that does not"]))
    RNN: a line
      that fits, and another another another another another another another another
          that does not
    """
    text = TextWrapper(80, break_long_words=False, break_on_hyphens=False)
    out = list[str]()
    for line in lines:
        text.initial_indent = line[: len(line) - len(line.lstrip())]
        text.subsequent_indent = text.initial_indent + " " * 4
        out += text.wrap(line.lstrip()) or [""]
    return "\n".join(out)


def plain(value: Any) -> Any:
    """Dataclasses, dictionaries, tuples and arrays as dictionaries, lists, strings and numbers of Python."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def norms(array: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Euclidean norms over ``axis``, in float64; no square of a large number overflows."""
    sizes = np.abs(array.astype(np.float64, copy=False))
    largest = sizes.max(axis=axis, keepdims=True, initial=0)
    largest = np.where((largest > 0) & np.isfinite(largest), largest, 1)
    return np.sqrt(((sizes / largest) ** 2).sum(axis=axis)) * np.squeeze(largest, axis=axis)


def number(value: float) -> str:
    """Three digits, in words where there is none."""
    return "none" if value is None or math.isnan(value) else f"{value:.3g}"
