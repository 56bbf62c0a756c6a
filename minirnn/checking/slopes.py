"""Whether the slopes of a gradient along a line are what differences say: entry by entry, without false alarms.

A small entry may be wrong beside large ones, so every entry is judged on its own scale. Differences are off too: by
rounding, where the gradient bends sharply, beside a kink. So one short step acquits nearly all entries, and one that it
does not is looked at over steps of many lengths, and if need be over others: what is wrong stays wrong, rounding does
not repeat itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minirnn.arrays import Array, to_numpy
from minirnn.checking.differences import DOUBLE, best_step

GROSS = 1e-3  # relative errors beyond this are no rounding of a difference
HALVINGS = (8, 13, 18, 23, 28, 33, 38)  # of the steps over which a suspicious entry is looked at


def refuse_wrong_slopes(
    names: Sequence[str],
    slopes: Sequence[Array],
    value: float,
    gradient: Sequence[Array],
    gradient_at: Callable,
    unit: float,
) -> None:
    """Raises where a slope of the gradient, in any entry, is not what differences of the gradient over real steps say.

    Parameters
    ----------
    names, slopes, gradient : sequences
        By argument: its name, what is claimed, and the gradient at the point itself.
    value : float
        The function at the point.
    gradient_at : callable
        The gradient after a step ``t`` along the line.
    unit : float
        The size of the inputs, to which the steps are in proportion.

    Raises
    ------
    ValueError
        Naming the entry that is most wrong, and both numbers.
    """
    s, g = _flat(slopes), _flat(gradient)
    floor = 4 * DOUBLE * (np.abs(g) + abs(value))  # how far the gradient is rounded at least
    with np.errstate(all="ignore"):  # a step may leave the domain of the function
        step = unit * best_step(2)
        d = (_flat(gradient_at(step)) - _flat(gradient_at(-step))) / (2 * step)
        error = np.abs(s - d) - GROSS * (np.abs(s) + np.abs(d)) - 4 * DOUBLE * np.abs(g) / step
        suspects = np.flatnonzero(~(error <= 0))
        for stretch in (1.0, 0.75, 0.6):
            if suspects.size:
                steps = unit * stretch * 2.0 ** -np.array(HALVINGS)
                ahead, behind = (
                    np.array([(_flat(gradient_at(t))[suspects] - g[suspects]) / t for t in side])
                    for side in (steps, -steps)
                )
                guilty, d_best = _disagrees(s[suspects], ahead, behind, steps, floor[suspects])
                suspects, d = suspects[guilty], d_best[guilty]
    if suspects.size:
        worst = np.argmax(np.abs(s[suspects] - d) / (np.abs(s[suspects]) + np.abs(d)))
        where = _where(int(suspects[worst]), names, slopes)
        raise ValueError(
            f"the Hessian product at {where} is {s[suspects[worst]]:.3g} by the complex step, {d[worst]:.3g} by a "
            f"difference of gradients (along the vector, its largest entry made 1), in {suspects.size} of {s.size} "
            "entries they disagree: somewhere in the function or in a pullback the imaginary part is lost, as by .real "
            "or by the abs of a complex number"
        )


def _disagrees(
    s: np.ndarray, ahead: np.ndarray, behind: np.ndarray, steps: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which slopes differences speak against, and the difference that is to be trusted most, entry by entry.

    Parameters
    ----------
    s, floor : array (N,)
        The slopes, and how far their function is rounded at least.
    ahead, behind : array (K, N)
        The differences over the ``steps``, long ones first.
    """
    # The two sides differ by the curvature, which shrinks with the step, or by rounding, which grows as it shrinks: the
    # shortest steps tell how large that is. At a kink one of the sides is right.
    bends, t = np.abs(ahead - behind), steps[:, None]
    bends[~np.isfinite(bends)] = np.inf
    rounding = floor + (bends * t)[-3:].max(axis=0)
    spread = bends + rounding / t
    best, entries = spread.argmin(axis=0), np.arange(len(s))
    sides = np.stack([ahead, behind, (ahead + behind) / 2])
    size = np.where(s == 0, np.nan, np.abs(s))
    met = ((np.abs(sides - s) <= GROSS * size) & (bends <= 0.1 * size)).any(axis=(0, 1))  # three digits are no chance
    d = sides[:, best, entries]
    d = d[np.abs(d - s).argmin(axis=0), entries]
    flat = 2.0**-44 * ~(ahead.any(axis=0) | behind.any(axis=0))  # saturated: real numbers show no slope at all
    allowed = GROSS * (np.abs(s) + np.abs(d)) + spread[best, entries] + flat
    return (np.abs(s - d) > allowed) & ~met, d


def _flat(arrays: Sequence[Array]) -> np.ndarray:
    return np.concatenate([to_numpy(x).ravel() for x in arrays])


def _where(place: int, names: Sequence[str], arrays: Sequence[Array]) -> str:
    """Name of the argument and index in it of an entry of all arguments laid end to end."""
    for name, x in zip(names, arrays, strict=True):
        if place < x.size:
            return f"{name!r} {tuple(map(int, np.unravel_index(place, x.shape)))}"
        place -= x.size
    raise IndexError(place)
