"""The judge: what a disagreement between a gradient and the numbers is, once its line has been walked along.

Most lines agree within the tolerance and are acquitted without being looked at. Here are the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minirnn.checking.differences import best_step
from minirnn.checking.numeric import SAME, Number, slope
from minirnn.checking.sweep import quick_taylor_slope, walk

NEAR, FAR = (2.0, 8.0, 64.0), (2.0**14, 2.0**16, 2.0**18, 2.0**20)  # steps beyond those of differences, in units


@dataclass(frozen=True)
class Finding:
    """What a closer look at one line found: a verdict, the numbers that it rests on, and a sentence."""

    verdict: str
    numeric: float
    uncertainty: float
    taylor_slope: float | None
    note: str = ""


def examine(
    number: Number, method: str, k: int, direction: np.ndarray, claim: float, size: float, tolerance: float
) -> Finding:
    """Why the slope claimed along a direction of argument ``k`` is not that of the number.

    Parameters
    ----------
    claim, size : float
        The slope claimed, and what it is relative to: the size of the largest.
    tolerance : float
        The relative error that is allowed.
    """
    line = number.along(k, direction)
    if method == "complex":  # no noise is to blame, as nothing is subtracted; but is the rule analytic here, too?
        numeric, uncertainty = slope(number, method, k, direction)
        real, error = slope(number, "richardson", k, direction)
        if abs(numeric - real) <= SAME * abs(real) + error:
            return Finding("wrong", numeric, uncertainty, quick_taylor_slope(line, claim, number.rounding, number.eps))
        method = "richardson"
    sweep = walk(line, number.eps)
    rounding = number.rounding_along(k, direction)
    noise = max(rounding, sweep.noise)
    falls = sweep.taylor_slope(claim, noise)
    if sweep.is_broken():
        return Finding("kink", 0.0, np.inf, falls, "the rule jumps here, or rises vertically; move the point")
    if kink := sweep.kink():
        mean = (kink[0] + kink[1]) / 2
        sides = f"the rule has a kink here: slope {kink[0] + 0.0:.3g} on one side, {kink[1] + 0.0:.3g} on the other"
        if is_between(claim, kink, tolerance * size):
            return Finding("kink", mean, 0.0, falls, f"{sides}; move the point")
        sides += ", and the gradient lies outside of them"
        if is_right_beside(number, k, direction, tolerance * size):
            why = "though it is right a step beside: it is wrong at this very point, or several kinks meet there"
            return Finding("kink", mean, 0.0, falls, f"{sides}, {why}; move the point to check the rest")
        return Finding("wrong", mean, 0.0, falls, sides)
    measured = sweep.measure(claim, rounding)
    if measured:
        noise = rounding
        scale = abs(claim) if abs(claim) > measured.most else sweep.chord  # of a zero slope what there is in its place
        if measured.most <= tolerance * max(1e-3 * size, scale):
            return Finding("correct", measured.slope, measured.most, falls)
    numeric, uncertainty = slope(number, method, k, direction, noise)
    uncertainty *= 2  # of many lines the one that is most off is looked at
    a, n, u, s, r = np.array([claim, numeric, uncertainty, size, number.rounding])
    error = float(relative_error(a, n, u, s, tolerance, r))
    noisy = noise > 8 * number.rounding
    drowned = size <= uncertainty
    known = is_constant(line, number.rounding) if drowned else uncertainty <= tolerance * size or not noisy
    if error <= tolerance and known:
        return Finding("correct", numeric, uncertainty, falls)
    if measured and abs(claim - numeric) > measured.most + uncertainty:
        verdict, note = "too noisy", "the rule bends too sharply here for the method; scale the inputs up"
        if measured.least > tolerance * max(size, abs(claim)):
            verdict, note = "wrong", ""
        return Finding(verdict, measured.slope, measured.most - measured.least, falls, note)
    if abs(claim - numeric) > uncertainty or sweep.refutes(claim, noise):
        return Finding("wrong", numeric, uncertainty, falls)
    note = "the numeric derivative is too uncertain to judge: "
    if not noisy:
        return Finding("too noisy", numeric, uncertainty, falls, note + "take a better method or other inputs")
    note += f"values carry noise of about {noise:.1g}, of which rounding explains {number.rounding:.1g}; "
    note += "is a part computed in lower precision, rounded, or stopped short of convergence?"
    return Finding("too noisy", numeric, uncertainty, falls, note)


def is_between(claim: float, slopes: tuple[float, float], allowed: float) -> bool:
    """Whether a claim lies between the slopes to both sides of a point, or hardly outside."""
    left, right = sorted(slopes)
    slack = max(allowed, 0.1 * (right - left))  # the kink may lie a sixteenth of a step away
    return left - slack <= claim <= right + slack


def is_right_beside(number: Number, k: int, direction: np.ndarray, allowed: float) -> bool:
    """Whether what the pullback claims a short step to either side of a kink is what central differences give there."""
    line, step = number.along(k, direction), 8 * best_step(2, number.eps)
    short = step / 4  # the kink is not between the two values
    allowed = max(allowed, 4 * number.rounding_along(k, direction) / short)
    claims = np.array([number.claimed_along(k, direction, at) for at in (step, -step)])
    slopes = np.array([(line(at + short) - line(at - short)) / (2 * short) for at in (step, -step)])
    return bool((np.abs(claims - slopes) <= np.maximum(allowed, 64 * short**2 * np.abs(slopes))).all())


def is_constant(line: Callable, rounding: float) -> bool:
    """Whether a function stays where it is to one side, but for rounding, over steps far beyond those of differences.

    A slope of one unit of rounding would show as 64 of them. A thousandth of it shows where the function goes straight
    on, as no rounding does. Steps that leave the domain do not count.
    """
    near, far = (np.abs([[line(side * h) for h in steps] for side in (1, -1)]) for steps in (NEAR, FAR))
    slopes = far / FAR
    stays = np.isfinite(near).any(axis=1) & ~(near > 16 * rounding).any(axis=1)
    straight = (far[:, 0] > 16 * rounding) & (slopes.max(axis=1) < 1.1 * slopes.min(axis=1))
    return bool((stays & ~straight).any())


def relative_error(
    analytic: np.ndarray,
    numeric: np.ndarray,
    noise: np.ndarray,
    size: np.ndarray,
    tolerance: float,
    rounding: np.ndarray,
) -> np.ndarray:
    """``|analytic - numeric| / max(|analytic|, |numeric|, floor)``.

    The floor is a thousandth of ``size``, the largest entry of the gradient: a zero among large entries is a rounded
    zero. It is higher where the numeric method's own noise would exceed the tolerance. Noise is forgiven up to 1e-5
    of ``size`` (or the tolerance, if that is looser), so that in float64 a fault of 1e-4 is seen there however noisy
    the method; beyond that only if the whole gradient drowns in it and what is claimed is itself of the size of
    ``rounding``, as when a sum cancels to zero.
    """
    drowned = (size <= noise) & (np.abs(analytic) <= 2 * rounding)
    forgiven = np.where(drowned, noise, np.minimum(noise, max(1e-5, tolerance) * size))
    floor = np.maximum(1e-3 * size, forgiven / tolerance)
    largest = np.maximum(np.maximum(np.abs(analytic), np.abs(numeric)), floor)
    return np.abs(analytic - numeric) / np.maximum(largest, np.finfo(float).tiny)
