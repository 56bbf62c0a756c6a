"""The numeric side of a gradient check: a rule made into one number, and its slope along any line."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from minirnn.arrays import Array, to_numpy, xp_of
from minirnn.checking.contract import call_rule, is_differentiable, takes_wanted
from minirnn.checking.differences import (
    COMPLEX_STEP,
    DOUBLE,
    along,
    best_step,
    central,
    complex_step,
    forward,
    richardson,
)

TOLERANCES = {  # with numbers in float64 and in float32: well above what the method errs by, in float64 well below 1e-4
    "complex": (1e-10, 1e-4),
    "richardson": (1e-8, 1e-3),
    "central": (1e-6, 3e-3),
    "forward": (1e-5, 1e-2),
}
FLOAT32 = 1e-4  # what a gradient in float32 may be off by, whatever the numbers are made in
NOISE = 2.0**19  # times eps: relative to a derivative, noise in float64 by which differences lose half of their digits
SAME = 1e-6  # relative difference up to which complex step and real differences tell the same
SHORTER = tuple(2.0**-k for k in range(5, 45, 5))  # times the step of a method, where that leaves the domain of a rule
_warning_filter = threading.RLock()  # the filter belongs to the process, not to the thread


@dataclass(frozen=True)
class Number:
    """The number that is differentiated: ``sum_k <cotangent_k, output_k>``, measured from its value at the inputs."""

    rule: Callable
    inputs: Sequence
    static: Mapping[str, Any]
    outputs: list[np.ndarray]
    cotangents: list[np.ndarray]
    claimed: float = DOUBLE  # eps of the gradients that are judged by it, where that is coarser than its own

    @classmethod
    def of(cls, rule: Callable, inputs: Sequence, static: Mapping[str, Any], outputs: list, cotangents: list) -> Number:
        """The number; of float32 arrays in float64, so that it is exact beside what the pullback rounds.

        Where the rule cannot be asked in float64, as if it holds weights in float32, it stays in float32.
        """
        number = cls(rule, inputs, static, outputs, cotangents)
        if number.eps == DOUBLE:
            return number
        doubled = [z.astype(np.float64) if is_differentiable(z) else z for z in inputs]
        try:
            exact = [to_numpy(y).copy() for y in call_rule(rule, doubled, static)[0]]
        except Exception:  # whatever it raises on other dtypes, it means the same
            return number
        if any(y.dtype != np.float64 for y in exact if is_differentiable(y)):
            return number
        return cls(rule, doubled, static, exact, [c.astype(np.float64) for c in cotangents], number.eps)

    def outputs_along(self, k: int, direction: np.ndarray) -> Callable:
        """Outputs of the rule as a function of t, while argument ``k`` goes to ``x + t * direction``."""
        xp = xp_of(self.inputs[k])

        def outputs(moved: Array) -> list[np.ndarray]:
            inputs = [*self.inputs[:k], xp.asarray(moved), *self.inputs[k + 1 :]]
            if moved.dtype.kind == "c":  # then all are: a rule may take the dtype of its buffers from any of them
                inputs = [_as_complex(z) if is_differentiable(z) else z for z in inputs]
            with np.errstate(all="ignore"):  # a step may leave the domain of the rule; what comes of it is looked at
                return [to_numpy(y) for y in call_rule(self.rule, inputs, self.values_only)[0]]

        return along(outputs, self.inputs[k], xp.asarray(direction.astype(self.inputs[k].dtype)))

    def along(self, k: int, direction: np.ndarray) -> Callable:
        """The number as a function of t. Outputs are subtracted first: one that stays contributes exactly nothing."""
        outputs_at = self.outputs_along(k, direction)

        def value(t):
            terms = zip(self.cotangents, outputs_at(t), self.outputs, strict=True)
            with np.errstate(all="ignore"):
                return sum(np.sum(c * (y - y_0), dtype=np.result_type(y, np.float64)) for c, y, y_0 in terms)

        return value

    def claimed_along(self, k: int, direction: np.ndarray, t: float) -> float:
        """The slope that the pullback claims along a direction, where argument ``k`` is ``x + t * direction``."""
        x = self.inputs[k]
        moved = x + xp_of(x).asarray((t * direction).astype(x.dtype))
        with np.errstate(all="ignore"):
            outputs, pullback = call_rule(self.rule, [*self.inputs[:k], moved, *self.inputs[k + 1 :]], self.static)
            gradients = pullback(*[xp_of(y).asarray(c) for y, c in zip(outputs, self.cotangents, strict=True)])
        return float(np.vdot(to_numpy(gradients[k]).astype(np.float64), direction))

    @cached_property
    def values_only(self) -> Mapping[str, Any]:
        """The keyword arguments with which the rule saves nothing, if it can be told so: no pullback is asked for."""
        return {**self.static, "wanted": (False,) * len(self.inputs)} if takes_wanted(self.rule) else self.static

    @cached_property
    def eps(self) -> float:
        """Precision of the coarsest float array that takes part."""
        return max(float(np.finfo(z.dtype).eps) for z in [*self.inputs, *self.outputs] if is_differentiable(z))

    @cached_property
    def rounding(self) -> float:
        """How far rounding of the outputs may move the number."""
        terms = zip(self.cotangents, self.outputs, strict=True)
        return self.eps * float(sum(np.abs(c * y).sum(dtype=np.float64) for c, y in terms))

    @property
    def tolerance_of_claims(self) -> float:
        """The least tolerance that the precision of the gradients allows."""
        return FLOAT32 if max(self.eps, self.claimed) > DOUBLE else 0.0

    def rounding_along(self, k: int, direction: np.ndarray) -> float:
        """The same of those outputs alone that move along a direction in argument ``k``: the others are subtracted."""
        terms = zip(self.cotangents, self.outputs, self.outputs_along(k, direction)(2.0**-8), strict=True)
        rounding = self.eps * float(sum(np.abs(c * y)[y != moved].sum(dtype=np.float64) for c, y, moved in terms))
        return rounding or self.rounding  # nothing moves, or by chance nothing did


def _as_complex(x: Array) -> Array:
    return x.astype(np.result_type(x.dtype, np.complex64))


def slope(number: Number, method: str, k: int, direction: np.ndarray, noise: float = 0.0) -> tuple[float, float]:
    """Derivative of the number along a direction in argument ``k``, and how far the method may be off.

    Values are taken to be off by ``noise``, or by the rounding of the outputs if that is more. What the gradient itself
    is rounded by counts, too. Where steps leave the domain of the rule, shorter ones are taken; if none stays in it,
    the derivative is NaN.
    """
    line, eps = number.along(k, direction), number.eps
    grain = 16 * number.rounding * max(1.0, number.claimed / eps)
    with np.errstate(all="ignore"):
        if method == "complex":
            return complex_step(line), grain
        rounding = max(number.rounding_along(k, direction), noise)

        def difference(shorter: float) -> tuple[float, float]:
            if method == "richardson":
                return richardson(line, shorter * 2.0**-4, rounding=rounding)
            step = shorter * best_step(4 if method == "central" else 1, eps)
            return (central if method == "central" else forward)(line, step), rounding / step

        value, error = difference(1.0)
        if not np.isfinite(value):
            inside = next((h for h in SHORTER if np.isfinite(difference(h)[0])), SHORTER[-1])
            value, error = difference(
                inside * 2.0**-10
            )  # well inside: at the edge of its domain a rule may bend sharply
    return value, 4 * error + grain


def why_not_analytic(number: Number, k: int, direction: np.ndarray) -> str:
    """Why the complex step cannot be used in argument ``k``; empty if it can. The pullback has no say in it.

    The evidence is the derivative along one random direction, by complex step and by real differences, and over two
    steps so short that it and rounding are all there is: noise in the real parts the complex step does not see.
    """
    try:
        with _warning_filter, warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            outputs = number.outputs_along(k, direction)(1j * COMPLEX_STEP)
            exact, rounding = slope(number, "complex", k, direction)
    except Exception as refusal:  # whatever a rule raises on complex numbers, it means the same
        return f"the rule does not take complex input ({type(refusal).__name__}: {refusal})"
    if any(is_differentiable(y) for y in outputs):
        return "the rule gives real output for complex input"
    for difference in ("central", "richardson"):  # which takes three times as many values, where the first is far off
        value, error = slope(number, difference, k, direction)
        if abs(exact - value) <= SAME * max(abs(exact), abs(value)) + error + rounding:
            break
    else:
        return f"along a random direction the complex step gives {exact:.6g}, real differences {value:.6g}"
    line = number.along(k, direction)
    noise = max(abs((line(h) - line(-h)) / 2 - h * exact) for h in (2.0**-24, 2.0**-28))
    if noise > 16 * rounding + NOISE * number.eps * max(abs(exact), abs(value)):
        return f"the values carry noise of about {noise:.1g}, which it does not see"
    return ""


def settle_method(number: Number, k: int, name: str, method: str, probe: np.ndarray) -> tuple[str, str]:
    """The method to use for argument ``k``, and why it is not the complex step where that was wished for."""
    if method not in ("auto", "complex"):
        return method, ""
    refusal = why_not_analytic(number, k, probe)
    if not refusal:
        return "complex", ""
    if method == "complex":
        raise ValueError(f"method 'complex' cannot be used for input {name!r}: {refusal}; method 'auto' can")
    return "richardson", f"no complex step, as {refusal}"


def restricted(direction: np.ndarray, kept: np.ndarray | int) -> np.ndarray:
    """The direction, zero but for the entries kept (flat indices)."""
    line = np.zeros_like(direction)
    line.flat[kept] = direction.flat[kept]
    return line


def most_wrong_entry(number: Number, method: str, k: int, gradient: np.ndarray, direction: np.ndarray) -> int:
    """Flat index of an entry that is wrong along a direction, found by bisection.

    Halve the direction, keep the half that disagrees more with the gradient, until one entry is left.
    """
    suspects = np.arange(gradient.size)
    while len(suspects) > 1:
        halves = np.array_split(suspects, 2)
        lines = [restricted(direction, half) for half in halves]
        gaps = [abs(np.vdot(gradient, line) - slope(number, method, k, line)[0]) for line in lines]
        suspects = halves[int(np.argmax(gaps))]
    return int(suspects[0])
