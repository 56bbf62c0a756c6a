"""The parts of which the gradient of a recurrent cell is made: steps, gates, rows, columns, and the line behind each.

An argument's gradient is laid out as a grid ``(T, gates, rows, columns)``, whatever its shape: the pre-activations
``a_xs (T, 4H, B)`` have all four, ``W_hh (4H, H)`` has gates in its rows, ``h_0 (H, B)`` neither steps nor gates, and
arguments of which nothing is known are one gate of one step. On that grid a place is a few numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Place:
    """Where a gradient is wrong; what is empty is not told apart, because there is but one or all are alike.

    Examples
    --------
    >>> print(Place("a_xs", gates=("i", "f"), steps=(0, 1, 2), columns=(1,)))
    gates i f, steps 0 to 2, column 1, a_xs
    """

    argument: str
    gates: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = named("gate", self.gates), named("step", self.steps), named("column", self.columns), self.argument
        return ", ".join(filter(None, parts))


def named(noun: str, which: Sequence) -> str:
    """The noun and which of them are meant, numbers or letters; empty if none.

    >>> named("gate", "if"), named("step", (0, 1, 2)), named("column", [])
    ('gates i f', 'steps 0 to 2', '')
    """
    letters = any(isinstance(x, str) for x in which)
    return f"{noun}{'s' * (len(which) > 1)} {' '.join(which) if letters else spelled(which)}" if len(which) else ""


def spelled(numbers: Sequence[int]) -> str:
    """Ascending numbers as words.

    >>> spelled((0, 1, 2, 3)), spelled((1, 2)), spelled((0, 2, 5))
    ('0 to 3', '1 and 2', '0, 2 and 5')
    """
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return " and ".join(filter(None, [", ".join(map(str, numbers[:-1])), *map(str, numbers[-1:])]))


@dataclass(frozen=True)
class Cotangent:
    """Something that flows backward inside a step, and all gates that are made of it: if it is wrong, they are."""

    name: str
    gates: str  # those that are wrong if it is
    factor_of: str  # those of which it is a factor, so that they show what is wrong with it
    line: str  # where it comes from
    back: str  # what the step after hands back of it


@dataclass(frozen=True)
class Cell:
    """The backward pass of a cell, line by line."""

    name: str
    lines: dict[str, str]  # gate -> how its part of the gradient of the pre-activations is made
    cotangents: tuple[Cotangent, ...]
    fed_by_h: str  # the gates whose pre-activation holds W_hh h_prev as it is

    @property
    def gates(self) -> tuple[str, ...]:
        return tuple(self.lines)


ASKED = "dh = all that is asked of h_t"
CELLS = {
    "rnn": Cell(
        "a plain RNN",
        {"a": "dh * (1 - h_t**2)"},
        (Cotangent("da", "a", "a", f"da = dh * (1 - h_t**2), {ASKED}", "W_hh.T da"),),
        "a",
    ),
    "lstm": Cell(
        "an LSTM",
        {
            "i": "dc * g * i (1 - i)",
            "f": "dc * c_prev * f (1 - f)",
            "g": "dc * i * (1 - g**2)",
            "o": "dh * tanh(c_t) * o (1 - o)",
        },
        (
            Cotangent("dc", "ifg", "ifg", "dc = dh * o * (1 - tanh(c_t)**2), at the last step + dc_T", "dc * f"),
            Cotangent("dh", "ifgo", "o", ASKED, "W_hh.T da"),
        ),
        "ifgo",
    ),
    "gru": Cell(
        "a GRU",
        {
            "r": "da_n * s_n * r (1 - r)",
            "z": "dh * (h_prev - n) * z (1 - z)",
            "n": "dh * (1 - z) * (1 - n**2)",
        },
        (
            Cotangent("dn", "rn", "n", "dn = dh * (1 - z)", ""),
            Cotangent("dh", "rzn", "zn", ASKED, "dh * z + W_hh.T ds"),
        ),
        "rz",
    ),
}

# Names of arguments, of modules' parameters too -> what lies along their axes; in the order in which they are made:
# outputs, what flows backward through time, and what is made of that.
AXES = (
    {r"hs": "time rows columns", r"h_T|c_T|h|c": "rows columns"},
    {r"a_xs": "time gates columns", r"a": "gates columns", r"xs": "time rows columns"},
    {
        r"(W|weight)_[ih]h(_l\d+)?(_reverse)?": "gates inputs",
        r"b|bias_[ih]h(_l\d+)?(_reverse)?": "gates",
        r"h_0|c_0|h_prev|c_prev": "rows columns",
        r"peepholes": "gates inputs",
    },
)
AXES_OF_ANY: tuple[dict[str, str], ...] = (
    {},
    {r"(.+_)?xs": "time rows columns"},
    {r".+_(0|prev)": "rows columns"},
)  # of cells that nobody knows


@dataclass(frozen=True)
class Grid:
    """The gradient of one argument as it was found and as it should be, both as ``(T, gates, rows, columns)``."""

    name: str
    order: int  # 0 for outputs, 1 for what flows backward through time, 2 for what is made of that
    axes: list[str]
    gates: tuple[str, ...]
    shape: tuple[int, ...]  # of the argument
    found: np.ndarray
    right: np.ndarray
    tolerance: float

    @cached_property
    def wrong(self) -> np.ndarray:
        return differs(self.found, self.right, self.tolerance)

    @property
    def timed(self) -> bool:
        return "time" in self.axes

    @property
    def known(self) -> bool:
        """Whether every number of the reference is."""
        return not np.isnan(self.right).any()


def differs(found: np.ndarray, right: np.ndarray, tolerance: float) -> np.ndarray:
    """Which entries differ, by the measure of the gradient check; none does where ``right`` is NaN, that is, unknown.

    Examples
    --------
    >>> differs(np.array([1.0, 2.0, 3.0, np.nan]), np.array([1.0, 2.1, np.nan, 4.0]), 1e-6).tolist()
    [False, True, False, True]
    """
    known = ~np.isnan(right)
    size = np.abs(right[known]).max(initial=0)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        allowed = tolerance * np.maximum(np.maximum(np.abs(found), np.abs(right)), 1e-3 * size)
        return known & ~((found == right) | (np.abs(found - right) <= allowed))


def cell_of(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """The kind of cell, told from how many blocks of H rows its recurrent weights have; ``None`` if they do not tell.

    >>> cell_of({"h_0": (5, 2), "W_hh": (15, 5)}), cell_of({"x": (3, 3)})
    ('gru', None)
    """
    weights = [
        shape for name, shape in shapes.items() if re.match(r"(W|weight)_hh", last_part(name)) and len(shape) == 2
    ]
    for rows, H in weights:
        H = next((shape[0] for name, shape in shapes.items() if name in ("c_0", "c_prev")), H)
        for kind, cell in CELLS.items():
            if rows == len(cell.gates) * H:
                return kind
    return None


def last_part(name: str) -> str:
    """The name of a parameter without that of its module."""
    return name.rpartition(".")[2]


def grid_of(name: str, found: np.ndarray, right: np.ndarray, cell: str | None, tolerance: float) -> Grid:
    """The gradient of an argument on its grid: what lies where is told from its name."""
    fitting = (
        (order, axes.split())
        for order, table in enumerate(AXES if cell else AXES_OF_ANY)
        for form, axes in table.items()
        if re.fullmatch(form, last_part(name)) and len(axes.split()) == right.ndim
    )
    order, axes = next(fitting, (2, []))
    T = right.shape[0] if "time" in axes else 1
    rows = right.shape["time" in axes] if right.ndim else 1
    gates = ("i", "f", "o") if name == "peepholes" else CELLS[cell].gates if cell and "gates" in axes else ()
    if len(gates) < 2 or rows % len(gates):
        gates = ()
    shape = T, len(gates) or 1, rows // (len(gates) or 1), -1
    return Grid(name, order, axes, gates, right.shape, found.reshape(shape), right.reshape(shape), tolerance)
