"""Numeric derivatives of a function of one number at zero: four ways, from crude to exact.

A gradient check asks one kind of question only: how fast does a number change when the input sets out along a line?
So each method here takes a function ``f(t)`` and returns ``f'(0)``; :func:`along` lays the line through an array.
Two errors pull against each other. A long step h misses the curve (truncation, a power of h), a short one subtracts
two nearly equal numbers (rounding, about eps / h). Plotted over h they make a V. Only the complex step, which
subtracts nothing, has no left arm.

Steps are powers of two: then t h and x + t h lose nothing, and all that rounds is f itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

DOUBLE = 2.0**-52  # eps of float64: the distance from one to the next number
COMPLEX_STEP = 2.0**-80  # 1e-24: its square is lost beside any input above 1e-16, yet h f' still fits into float32
LEAP = 5  # so many halvings further on extrapolation begins again, where its value proves to be chance
NEAR = 3 * 2.0**-12  # times its step: a difference that an extrapolated value must meet, and no part of its halvings


def along(f: Callable, x: Any, direction: Any) -> Callable:
    """The function ``t -> f(x + t * direction)``; a complex ``t`` makes the point complex.

    Examples
    --------
    >>> import numpy as np
    >>> line = along(lambda x: (x**3).sum(), x=np.array([1.0, 2.0]), direction=np.array([0.0, 1.0]))
    >>> float(complex_step(line))  # 3 * 2**2
    12.0
    """
    return lambda t: f(x + t * direction)


def best_step(order: int, eps: float = DOUBLE) -> float:
    """The power of two nearest ``eps ** (1 / (order + 1))``, where rounding eps / h meets truncation h**order.

    >>> best_step(1), best_step(4)  # forward and central differences in float64: about 1.5e-8 and 1e-3
    (1.4901161193847656e-08, 0.0009765625)
    """
    return 2.0 ** round(math.log2(eps) / (order + 1))


def forward(f: Callable, step: float = 2.0**-26) -> Any:
    """One-sided difference ``(f(h) - f(0)) / h``: truncation f'' h / 2, at best about 1e-8 in float64."""
    return (f(step) - f(0.0)) / step


def central(f: Callable, step: float = 2.0**-10) -> Any:
    """Four-point central difference: truncation f⁗′ h**4 / 30, at best about 1e-12 in float64.

    ``(8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h`` (Abramowitz & Stegun 1964, table 25.2). Its inner pair has the
    error f''' h**2 / 6, the outer pair four times that; the combination cancels both.
    """
    inner, outer = f(step) - f(-step), f(2 * step) - f(-2 * step)
    return (8 * inner - outer) / (12 * step)


def complex_step(f: Callable, step: float = COMPLEX_STEP) -> Any:
    """``Im f(ih) / h``: exact to rounding, for functions that are analytic and written so that complex numbers pass.

    The Taylor series f(ih) = f(0) + ih f'(0) - h**2 f''(0) / 2 - ... keeps value and derivative in different parts of
    the number (Lyness & Moler 1967, Squire & Trapp 1998). Nothing is subtracted, so h may be as small as one likes.

    Parameters
    ----------
    f : callable
        Function of one number. ``abs``, comparisons of imaginary parts and casts to real make the answer wrong.
    step : float
        Any number whose square is lost in rounding.

    Examples
    --------
    >>> import numpy as np
    >>> float(complex_step(lambda t: np.exp(1 + t)) / np.exp(1) - 1)
    0.0
    """
    return f(1j * step).imag / step


def richardson(f: Callable, step: float = 2.0**-4, levels: int = 24, rounding: float = 0.0) -> tuple[Any, float]:
    """Central differences at halving steps, extrapolated to step zero, with an estimate of the error.

    The two-point difference D(h) has a series in h**2, so two of them cancel its first term, three the second:
    ``D[n, m] = D[n, m-1] + (D[n, m-1] - D[n-1, m-1]) / (4**m - 1)`` (Richardson 1911). Each extrapolated value is
    trusted as far as it agrees with the two that it was made from, and the most trusted one wins (Ridders 1982).
    The step thus chooses itself: where a kink lies near, the values agree only once the step is shorter than the way
    to it.

    Halving steps have a blind spot: all of them may be whole periods of a wave, or of a staircase, and agree on what
    is left without it. So the winner must meet a far shorter difference; if it does not, the search begins again
    from shorter steps.

    Parameters
    ----------
    f : callable
        Real function of one real number.
    step, levels : float, int
        The first step, and how often it may be halved, less one.
    rounding : float
        Absolute error of one value of ``f``. It enters the estimate as ``rounding / h``, so that no two short steps
        win because they happen to agree, and ends the search once shorter steps cannot help. Noise that it leaves
        out fools the estimate.

    Returns
    -------
    value, error : float, float
        The derivative, and an estimate of its absolute error, for smooth functions most often far too large.

    Examples
    --------
    >>> value, error = richardson(math.exp, rounding=2.0**-52)
    >>> abs(value - 1) < error < 1e-11
    True
    >>> value, error = richardson(lambda t: t + math.sin(32 * math.pi * t), rounding=2.0**-52)
    >>> abs(value - 1 - 32 * math.pi) < error < 1e-9
    True
    """

    @cache
    def quotient(h: float) -> Any:
        return (f(h) - f(-h)) / (2 * h)

    value, error = math.nan, math.inf
    for level in range(0, levels, LEAP):
        found, spread, h = _extrapolated(quotient, [step / 2**k for k in range(level, levels)], rounding)
        short = NEAR * h
        gap = abs(quotient(short) - found)
        met = gap <= spread + NEAR**2 * abs(quotient(h) - found) + 16 * rounding / short
        off = spread if met else gap
        if off < error:
            value, error = found, off
        if met or math.isnan(found):
            break
    return value, error


def _extrapolated(quotient: Callable, steps: Sequence[float], rounding: float) -> tuple[Any, float, float]:
    """The most trusted value of the tableau of differences, how far it is to be trusted, and its shortest step."""
    value, error, shortest = math.nan, math.inf, steps[0]
    coarser: list[Any] = []  # D[n-1, 0], D[n-1, 1], ...
    for h in steps:
        row = [quotient(h)]
        for m, parent in enumerate(coarser, start=1):
            row.append(row[-1] + (row[-1] - parent) / (4**m - 1))
            spread = max(abs(row[-1] - row[-2]), abs(row[-1] - parent)) + rounding / h
            if spread < error:
                value, error, shortest = row[-1], spread, h
        if error <= 2 * rounding / h:  # the next step would round by more than that
            break
        coarser = row
    return value, error, shortest
