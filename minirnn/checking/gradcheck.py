"""The gradient check: what a rule's pullback says, entry by entry, against numbers that know nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from minirnn.arrays import random_generator, to_numpy
from minirnn.checking.contract import argument_names, is_differentiable, name_of, pull_back, refuse_bad_inputs
from minirnn.checking.differences import DOUBLE, best_step, has_kink
from minirnn.checking.numeric import Number, most_wrong_entry, restricted, slope, why_not_analytic
from minirnn.checking.report import ArgumentReport, GradcheckError, GradcheckReport

METHODS = ("auto", "complex", "central", "forward", "richardson")
TOLERANCES = {  # in float64 and float32: well above what the method errs by, in float64 well below 1e-4
    "complex": (1e-10, 1e-4),
    "richardson": (1e-7, 1e-3),
    "central": (1e-6, 3e-3),
    "forward": (1e-5, 1e-2),
}
DIRECTIONS = 8  # dense random directions: they see the entries that a sample leaves out


def check_rule(
    rule: Callable,
    inputs: Sequence,
    static: Mapping[str, Any] | None = None,
    *,
    method: str = "auto",
    names: Sequence[str] | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    allow_float32: bool = False,
    max_entries: int = 200,
    caller: str = "check_rule",
) -> GradcheckReport:
    """Compare the pullback of ``rule`` with numeric derivatives, argument by argument, and raise if they disagree.

    A random cotangent c_k per output turns the rule into one number, ``sum_k <c_k, output_k>``. Its gradient with
    respect to every argument is what ``pullback(c_1, c_2, ...)`` claims; the check differentiates the number itself.
    The contract of a rule is watched on the way: the form of what it returns, no writes, the same bits twice.

    Parameters
    ----------
    rule : callable
        ``rule(*arrays, **static) -> (output, pullback)``, the output an array or a tuple of arrays.
    inputs : sequence of arrays
        The positional arguments. Float arrays are checked; for integers, booleans and ``None`` the pullback must
        return ``None``. Choose them random and distinct, as no fault shows where everything is zero.
    static : mapping, optional
        Keyword arguments of the rule.
    method : {"auto", "complex", "central", "forward", "richardson"}
        How the numeric derivative is made; see `minirnn.checking.differences`. ``"auto"`` takes the complex step for
        every argument in which the rule proves analytic, else Richardson's extrapolation.
    names : sequence of str, optional
        What to call the arguments; by default the names of the rule's parameters.
    tolerance : float, optional
        Largest relative error allowed; by default 1e-10 for the complex step, 1e-7 for Richardson, 1e-6 for central
        and 1e-5 for forward differences.
    seed : int
        Draws cotangents, sampled entries and directions.
    allow_float32 : bool
        Accept float32 inputs, which are otherwise refused: differences in float32 are good to 6e-6 at best, and the
        default tolerances become 1e-4 (complex step), 1e-3 (Richardson), 3e-3 (central) and 1e-2 (forward).
    max_entries : int
        An argument with more entries is checked at this many, drawn at random, and along 8 dense random directions,
        which see every entry. If only these disagree, bisection finds the entry.
    caller : str
        The function that the report names when it says how to repeat the check.

    Returns
    -------
    GradcheckReport
        The numbers, one line per argument when printed.

    Raises
    ------
    GradcheckError
        If a gradient is wrong or the rule breaks its contract.
    ValueError
        If there is nothing to check, or an option or input cannot be used.
    TypeError
        If an input is not an array.

    Notes
    -----
    The relative error of an entry is ``|analytic - numeric| / max(|analytic|, |numeric|, floor)``. The floor is a
    thousandth of the largest entry of the argument's numeric gradient, so that an entry that is really zero among
    large ones raises no alarm; it is higher where the numeric method rounds more than the tolerance forgives.
    Differences move an entry in proportion to max(1, its size): a rule that bends on a scale of 1e-6 wants other units.

    Examples
    --------
    >>> def square(x):
    ...     return x * x, lambda dy: (2 * x * dy,)
    >>> check_rule(square, (np.array([1.0, -2.0, 3.0]),)).ok
    True
    >>> def wrong(x):
    ...     return x * x, lambda dy: (x * dy,)
    >>> check_rule(wrong, (np.array([1.0, -2.0, 3.0]),))
    Traceback (most recent call last):
    minirnn.checking.report.GradcheckError: the gradient check of wrong failed
    argument 'x' (3,): wrong in 3 of 3 entries
    ...
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if tolerance is not None and not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie between 0 and 1, got {tolerance!r}")
    if max_entries < 1:
        raise ValueError(f"max_entries must be at least 1, got {max_entries!r}")
    static = static or {}
    names = argument_names(rule, len(inputs)) if names is None else names
    refuse_bad_inputs(inputs, names, allow_float32)

    outputs, cotangents, gradients = pull_back(rule, inputs, static, names, seed)
    number = Number(rule, inputs, static, outputs, cotangents)
    arguments = tuple(
        _check_argument(number, k, name, gradients[k], method, tolerance, seed, max_entries)
        for k, name in enumerate(names)
    )
    options = {"method": method, "tolerance": tolerance, "seed": seed, "allow_float32": allow_float32 or None}
    given = [f"{option}={value!r}" for option, value in options.items() if value is not None]
    call = ", ".join([name_of(rule), "inputs", *(["static"] if static else []), *given, f"max_entries={max_entries}"])
    report = GradcheckReport(name_of(rule), seed, f"{caller}({call})", arguments)
    if not report.ok:
        raise GradcheckError(report.describe_failure(), report)
    return report


def _check_argument(
    number: Number,
    k: int,
    name: str,
    gradient: np.ndarray | None,
    method: str,
    tolerance: float | None,
    seed: int,
    max_entries: int,
) -> ArgumentReport:
    """Compare the gradient of argument ``k`` with the numbers: all of its entries, or a sample and dense directions."""
    started = time.perf_counter()
    x = number.inputs[k]
    if gradient is None or gradient.size == 0:
        shape = () if x is None else x.shape
        why = "empty" if gradient is not None else "not wanted" if is_differentiable(x) else getattr(x, "dtype", None)
        return ArgumentReport(name, shape, "-", note=f"not checked: it is {why}")

    # An entry moves in proportion to its size, rounded up to a power of two so that x + t h stays exact.
    scale = np.exp2(np.ceil(np.log2(np.maximum(1.0, np.abs(to_numpy(x), dtype=np.float64)))))
    random = random_generator(seed, "gradcheck directions", step=k)
    probe, *dense = (scale * random.standard_normal(x.shape) for _ in range(1 + DIRECTIONS))
    method, note = _settle_method(number, k, name, method, probe)
    tolerance = tolerance or TOLERANCES[method][number.eps > DOUBLE]

    entries = np.arange(gradient.size)
    if gradient.size > max_entries:
        entries = np.sort(random.choice(entries, max_entries, replace=False))
    else:
        dense = []  # every entry has its turn

    def compare(entries: np.ndarray) -> tuple[np.ndarray, ...]:
        """Analytic and numeric slope, its noise, and their relative error: by entry, then along the directions."""
        lines = chain((restricted(scale, e) for e in entries), dense)
        slopes = [
            (np.vdot(gradient, line), *slope(number, method, k, line), np.linalg.norm(gradient * line))
            for line in lines
        ]
        unit = np.array([*scale.flat[entries], *np.ones(len(dense))])
        analytic, numeric, noise, size = np.array(slopes).T / unit
        if not np.isfinite(numeric).all():
            raise GradcheckError(f"the numeric derivative by {name!r} is not finite: the rule is not, near the inputs")
        size[: len(entries)] = np.abs(numeric[: len(entries)]).max()
        return analytic, numeric, noise, relative_error(analytic, numeric, noise, size, tolerance)

    analytic, numeric, noise, error = compare(entries)
    if error[: len(entries)].max() <= tolerance < error.max():  # only the directions see the fault
        found = most_wrong_entry(number, method, k, gradient, dense[error[len(entries) :].argmax()])
        entries = np.append(entries, found)
        analytic, numeric, noise, error = compare(entries)

    n = len(entries)
    wrong = error > tolerance
    worst = error[:n].argmax() if wrong[:n].any() else error.argmax()
    notes = [note] if note else []
    if wrong[worst] and worst < n and method != "complex":
        line = number.along(k, restricted(scale, entries[worst]))
        if has_kink(line, best_step(4, number.eps), number.rounding):
            notes.append("the rule has a kink here, left and right derivative differ: move the point")
        elif abs(analytic[worst] - numeric[worst]) <= noise[worst]:
            notes.append("the numeric derivative is too uncertain to judge: take a better method or other inputs")
    return ArgumentReport(
        name,
        x.shape,
        method,
        tolerance,
        max_error=float(error[worst]),
        worst=tuple(map(int, np.unravel_index(entries[worst], x.shape))) if worst < n else None,
        analytic=float(analytic[worst]),
        numeric=float(numeric[worst]),
        uncertainty=float(noise[worst]),
        entries=n,
        wrong=int(wrong[:n].sum()),
        directions=len(dense),
        wrong_directions=int(wrong[n:].sum()),
        note="; ".join(notes),
        seconds=time.perf_counter() - started,
    )


def _settle_method(number: Number, k: int, name: str, method: str, probe: np.ndarray) -> tuple[str, str]:
    """The method to use for argument ``k``, and why it is not the complex step where that was wished for."""
    if method not in ("auto", "complex"):
        return method, ""
    refusal = why_not_analytic(number, k, probe)
    if not refusal:
        return "complex", ""
    if method == "complex":
        raise ValueError(f"method 'complex' cannot be used for input {name!r}: {refusal}; method 'auto' can")
    return "richardson", f"no complex step, as {refusal}"


def relative_error(
    analytic: np.ndarray, numeric: np.ndarray, noise: np.ndarray, size: np.ndarray, tolerance: float
) -> np.ndarray:
    """``|analytic - numeric| / max(|analytic|, |numeric|, floor)``.

    The floor is a thousandth of ``size``, the largest entry of the gradient: a zero among large entries is a rounded
    zero. It is higher where the numeric method's own noise would exceed the tolerance. Noise is forgiven up to 1e-5
    of ``size`` (or the tolerance, if that is looser), so that in float64 a fault of 1e-4 is seen there however noisy
    the method; beyond that only if the whole gradient drowns in it, as when a sum cancels to zero.
    """
    forgiven = np.where(size <= noise, noise, np.minimum(noise, max(1e-5, tolerance) * size))
    floor = np.maximum(1e-3 * size, forgiven / tolerance)
    largest = np.maximum(np.maximum(np.abs(analytic), np.abs(numeric)), floor)
    return np.abs(analytic - numeric) / np.maximum(largest, np.finfo(float).tiny)
