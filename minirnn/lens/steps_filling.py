"""A formula with numbers in the places of its names: for one unit, as far as it can be read.

The formulas are those of the derivations, and what stands in them is all that this file knows:

    c_t, dhs[t], tanh       a name, or a function
    W_hi h_prev             a product with a weight, for unit k the sum over j of W_hi[k, j] * h_prev[j]
    W_hi.T da_i             the same with its transpose: the sum over j of W_hi[j, k] * da_i[j]
    da_i h_prev.T           an outer product, for unit k the row da_i[k] * h_prev

In a product with a weight, and in an outer product, (da_n * r) may stand for a name. All else stays as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

DIGITS = 4
ALL, SOME = (
    8,
    4,
)  # of a sum over more units than the first number, the terms shown are as many as the second: the largest

_TERM = r"(?:[a-z]\w*|\([^()]*\))"
_TOKEN = re.compile(
    rf"(?P<transposed>W_\w+)\.T (?P<asked>{_TERM})"
    rf"|(?P<weight>W_\w+) (?P<read>{_TERM})"
    rf"|(?P<rows>{_TERM}) (?P<columns>{_TERM})\.T"
    r"|(?P<function>tanh|sigmoid|relu)"
    r"|(?P<name>[A-Za-z_]\w*(?:\[[^\]]*\])?)"
)
_OPENING = "(", "[", ", ", "…"  # behind these a negative number needs no brackets


class Piece(NamedTuple):
    """A piece of a filled formula: a number and what it is, or what stands between numbers and has no name."""

    text: str
    name: str = ""


def filled(
    formula: str, values: Mapping[str, np.ndarray], unit: int, units: Sequence[int], digits: int = DIGITS
) -> list[Piece]:
    """The pieces of a formula with numbers in it.

    Parameters
    ----------
    formula : str
    values : dict of str to array
        Of every name: ``(H,)``, of weights ``(H, H)``.
    unit : int
        Whose numbers.
    units : sequence of int
        The columns of an outer product that are shown.
    digits : int
        Significant digits of each number.

    Examples
    --------
    >>> values = {"dh": np.array([2.0, -3.0]), "z": np.array([0.5, 0.25]), "W_hz": np.array([[1.0, 2.0], [3.0, 4.0]])}
    >>> "".join(piece.text for piece in filled("dh * (1 - z) + W_hz.T dh", values, 1, [0, 1]))
    '-3 * (1 - 0.25) + 2 * 2 + 4 * (-3)'
    """
    pieces, end = [], 0
    for token in _TOKEN.finditer(formula):
        pieces += [Piece(formula[end : token.start()]), *_number_for(token, values, unit, units, digits)]
        end = token.end()
    pieces = [piece for piece in (*pieces, Piece(formula[end:])) if piece.text]
    before, after = ["(", *(piece.text for piece in pieces)], [*(piece.text for piece in pieces[1:]), ""]
    return [in_brackets(*three) for three in zip(before, pieces, after, strict=False)]


def _number_for(
    token: re.Match, values: Mapping[str, np.ndarray], unit: int, units: Sequence[int], digits: int
) -> Iterator[Piece]:
    def product(term: str, k: int) -> list[Piece]:
        """A name, or names times each other in brackets, for unit ``k``."""
        factors = [Piece(number(values[name][k], digits), f"{name}, unit {k}") for name in names_in(term)]
        return joined([[factor] for factor in factors], " * ")

    if token["function"]:
        yield Piece(token["function"])
    elif token["name"]:
        yield from product(token["name"], unit)
    elif token["rows"]:
        row = joined([product(token["columns"], k) for k in units], ", ")
        yield from (*product(token["rows"], unit), Piece(" * ["), *row, Piece("]"))
    else:
        name, term = token["transposed"] or token["weight"], token["asked"] or token["read"]
        W = values[name].T if token["transposed"] else values[name]
        terms = W[unit] * np.prod([values[factor] for factor in names_in(term)], axis=0)
        largest = np.sort(np.argsort(-abs(terms), kind="stable")[: SOME if len(terms) > ALL else None]).tolist()
        at = {k: f"{name}[{k}, {unit}]" if token["transposed"] else f"{name}[{unit}, {k}]" for k in largest}
        shown = [[Piece(number(W[unit, k], digits), at[k]), Piece(" * "), *product(term, k)] for k in largest]
        if len(largest) < len(terms):
            rest = np.delete(terms, largest)
            what = f"the sum of the other {len(rest)} terms of {token[0]}"
            shown.append([Piece("…"), Piece(number(rest.sum(), digits), what)])
        yield from joined(shown, " + ")


def names_in(term: str) -> list[str]:
    """The names in ``"da_i"``, or in ``"(da_n * r)"``."""
    return term.strip("()").split(" * ")


def joined(parts: Sequence[list[Piece]], by: str) -> list[Piece]:
    """The parts one after the other, with ``by`` between them."""
    return [piece for k, part in enumerate(parts) for piece in ([Piece(by)] if k else []) + part]


def in_brackets(before: str, piece: Piece, after: str) -> Piece:
    """A piece in brackets, if it is a negative number and stands where it needs them."""
    needed = piece.text.startswith("-") and (not before.endswith(_OPENING) or after.startswith("**"))
    return Piece(f"({piece.text})", piece.name) if needed else piece


def number(x: Any, digits: int = DIGITS) -> str:
    """A number with so many significant digits; near 1, where gates saturate, ``1 - x`` has about so many, too.

    Examples
    --------
    >>> number(0.123456), number(-1e-7), number(-0.0), number(0.99912)
    ('0.1235', '-1e-07', '0', '0.99912')
    """
    x = float(x) + 0.0
    more = min(int(-math.log10(1 - abs(x))), 12) if 0.9 < abs(x) < 1 else 0
    return f"{x:.{digits + more}g}"
