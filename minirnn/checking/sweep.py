"""One line, walked in steps of many lengths to both sides: what a function shows of itself along it.

Along one line from the point, with f measured from its value there, a walk at halving steps h tells four things apart:

- The difference quotients over h make the V-curve: truncation on the right arm, rounding on the left.
- ``f(h) + f(-h)`` is the curvature, f'' h**2: at every halving a quarter is left. At a kink half is left.
- With the curvature cancelled, what remains at short steps is noise: how far f is off, whatever its dtype promises.
- The Taylor remainder ``|f(h) - h g|`` falls like h**2 if g is the slope, like h if it is not (Taylor's theorem): there
  is no step size to choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirnn.checking.differences import DOUBLE

RUN = 6  # so many halvings in a row that each leave half are no chance
CLEAR = 8.0  # times the noise: what can be trusted to be something else


class Measured(NamedTuple):
    """A slope as the shortest step of a run shows it, and how far a claim is off it, at least and at most."""

    slope: float
    least: float
    most: float


@dataclass(frozen=True)
class Sweep:
    """A function of one number around zero, where it is zero.

    Attributes
    ----------
    steps : numpy.ndarray
        Powers of two, falling.
    ahead, behind : numpy.ndarray
        ``f(h)`` and ``f(-h)`` for each of them.
    eps : float
        The precision in which f is computed.
    """

    steps: np.ndarray
    ahead: np.ndarray
    behind: np.ndarray
    eps: float = DOUBLE

    @property
    def short(self) -> float:
        """The step at which central differences are at their best: those that are longer show more of the curve."""
        return self.eps ** (1 / 3)

    @property
    def chord(self) -> float:
        """How steep the function is over its longest step: what a slope is to be compared with where all are zero."""
        return float(np.nan_to_num(np.abs([self.ahead[0], self.behind[0]]), posinf=0).max() / self.steps[0])

    @property
    def noise(self) -> float:
        """How far one value of f is off, where curve and slope no longer matter and it should show nothing.

        Differences as in Hamming's tables (1962; Moré & Wild 2011): ``e(h) - 4 e(h/2)`` of e(h) = f(h) + f(-h) is rid
        of the curvature, ``d(h) - 2 d(h/2)`` of d(h) = f(h) - f(-h) of the slope, and 70 and 10 times the variance of
        a value remain. The largest counts: values that are rounded to a grid differ at few steps.
        """
        short = self.steps <= self.short
        even, odd = (self.ahead + self.behind)[short], (self.ahead - self.behind)[short]
        remains = (even[:-1] - 4 * even[1:]) / math.sqrt(70), (odd[:-1] - 2 * odd[1:]) / math.sqrt(10)
        return float(np.abs(remains).max())

    def kink(self) -> tuple[float, float] | None:
        """The slopes to the left and to the right, if they differ at zero, or nearer to it than differences can see."""
        ends = self._ends_of_runs(self.ahead + self.behind, 0.45, 0.55)
        if not ends.size:
            return None
        h = self.steps[ends[0]]
        return float(self.behind[ends[0]] / -h), float(self.ahead[ends[0]] / h)

    def is_broken(self) -> bool:
        """Whether it jumps at zero, or rises vertically there, as the root does.

        Then it hardly falls with the step: each of the shortest leaves the same part of it, 1 at a jump, 0.7 at a root.
        """
        with np.errstate(all="ignore"):
            falls = np.array([side[1:] / side[:-1] for side in (self.ahead, self.behind)])[:, -RUN:]
        return bool(((falls > 0.6) & (np.ptp(falls, axis=1, keepdims=True) < 0.02)).all(axis=1).any())

    def taylor_slope(self, claim: float, noise: float) -> float | None:
        """How the Taylor remainder of a claimed slope falls, in log-log: see `taylor_slope`."""
        return taylor_slope(self.steps, self._remainders(claim), noise)

    def refutes(self, claim: float, noise: float) -> bool:
        """Whether the remainder falls like h, and goes on doing so to short steps."""
        slope, clear = self.taylor_slope(claim, noise), self._remainders(claim) > CLEAR * noise
        return slope is not None and slope < 1.3 and bool(clear[self.steps <= self.short].any())

    def measure(self, claim: float, rounding: float) -> Measured | None:
        """How far a claimed slope is off, if its remainder falls steadily down to short steps.

        Whatever falls so, halving after halving, and beyond that goes straight on but for rounding, has no noise: this
        sees where functions bend on a scale so short that `noise` takes the bend for it, and where they are
        differentiable only once, as ``x |x|`` at zero.
        """
        remainders, central = self._remainders(claim), (self.ahead - self.behind) / 2
        curved = self._ends_of_runs(remainders, 0.0, 0.3)
        straight = self._ends_of_runs(remainders, 0.45, 0.55)
        straight = np.intersect1d(straight, self._ends_of_runs(central, 0.0, 0.55))  # on stairs f itself stands still
        end = max(*curved, *straight, -1, -1)
        h, slope = float(self.steps[end]), float(central[end] / self.steps[end])
        if end < 0 or not (np.abs(central - self.steps * slope)[end:] <= 16 * rounding).all():
            return None
        off = float(remainders[end] / h)
        return Measured(slope, 0.0, off) if end in curved else Measured(slope, 0.9 * off, 1.1 * off)

    def _ends_of_runs(self, values: np.ndarray, least: float, most: float) -> np.ndarray:
        """The indices of short steps at which ``RUN`` halvings in a row have each left such a part of the values."""
        with np.errstate(all="ignore"):
            ratios = values[1:] / values[:-1]
            runs = np.convolve((least <= ratios) & (ratios <= most), np.ones(RUN), mode="valid") == RUN
        ends = np.flatnonzero(runs) + RUN
        return ends[self.steps[ends] <= 2 * self.short]

    def _remainders(self, claim: float) -> np.ndarray:
        return np.maximum(np.abs(self.ahead - self.steps * claim), np.abs(self.behind + self.steps * claim))

    def errors(self, claim: float, size: float) -> tuple[np.ndarray, np.ndarray]:
        """The relative errors of forward and of central differences, at every step, if the claim is true."""
        forward, central = self.ahead / self.steps, (self.ahead - self.behind) / (2 * self.steps)
        return np.abs(forward - claim) / size, np.abs(central - claim) / size


def walk(f: Callable, eps: float = DOUBLE) -> Sweep:
    """Walks along ``f`` in steps of 1/2, 1/4, ... down to 64 eps.

    Examples
    --------
    >>> walk(abs).kink()
    (-1.0, 1.0)
    >>> curve = walk(lambda t: math.exp(t))
    >>> curve.kink() is None, curve.noise < 1e-15
    (True, True)
    >>> round(curve.taylor_slope(1.0, curve.noise), 1), round(curve.taylor_slope(1.01, curve.noise), 1)
    (2.0, 1.0)
    """
    steps = 2.0 ** -np.arange(1, round(-math.log2(eps)) - 5)
    with np.errstate(all="ignore"):  # long steps may leave the domain of f
        start = f(0.0)
        ahead, behind = (np.array([f(t) - start for t in side.tolist()]) for side in (steps, -steps))
    return Sweep(steps, ahead, behind, eps)


def taylor_slope(steps: np.ndarray, remainders: np.ndarray, noise: float, last: int = RUN) -> float | None:
    """The power of h with which remainders fall, at the shortest steps at which they stand clear of the noise.

    The fit is to the ``last`` of these. 2 or more: the slope is right, and what remains is curvature. 1: it is wrong.
    ``None`` where fewer than three are clear, as along a straight line: there is no remainder at all.
    """
    clear = np.flatnonzero((remainders > CLEAR * noise) & np.isfinite(remainders))[-last:]
    if clear.size < 3:
        return None
    return float(np.polyfit(np.log(steps[clear]), np.log(remainders[clear]), 1)[0])


def quick_taylor_slope(f: Callable, claim: float, noise: float, eps: float = DOUBLE) -> float | None:
    """`taylor_slope` by eight values of ``f`` only, at steps from 1/8 down to about the root of eps.

    Examples
    --------
    >>> round(quick_taylor_slope(math.exp, 1.0, noise=DOUBLE), 1), round(quick_taylor_slope(math.exp, 0.9, DOUBLE), 1)
    (2.0, 1.0)
    """
    steps = 2.0 ** -np.rint(np.linspace(3, 0.48 * -math.log2(eps), 8))
    with np.errstate(all="ignore"):  # long steps may leave the domain of f
        start = f(0.0)
        remainders = np.array([abs(f(h) - start - h * claim) for h in steps.tolist()])
    return taylor_slope(steps, remainders, noise, last=3)
