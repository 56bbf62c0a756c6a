"""The gradient check: what a rule's pullback says, entry by entry, against numbers that know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

from minirnn.arguments import positive
from minirnn.checking.comparing import Comparison, unchecked
from minirnn.checking.contract import pull_back, refuse_bad_inputs
from minirnn.checking.locating import Guess, locate
from minirnn.checking.numeric import Number
from minirnn.checking.report import GradcheckError, GradcheckReport, gravest
from minirnn.explaining import argument_names, name_of

METHODS = ("auto", "complex", "central", "forward", "richardson")
COMPLETED = 20  # times max_entries: a numeric gradient of at most so many entries is made whole, to see a pattern in it
GUESSES = 3


def check_rule(
    rule: Callable,
    inputs: Sequence,
    static: Mapping[str, Any] | None = None,
    *,
    method: str = "auto",
    names: Sequence[str] | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    max_entries: int = 200,
    sweep: bool = False,
    raises: bool = True,
    caller: str = "check_rule",
    hint: str = "",
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
        return ``None``. Choose them random and distinct, as no fault shows where everything is zero. Integers among the
        outputs, such as a count of steps, are asked for nothing.
    static : mapping, optional
        Keyword arguments of the rule.
    method : {"auto", "complex", "central", "forward", "richardson"}
        How the numeric derivative is made; see `minirnn.checking.differences`. ``"auto"`` takes the complex step for
        every argument in which the rule proves analytic, else Richardson's extrapolation.
    names : sequence of str, optional
        What to call the arguments; by default the names of the rule's parameters.
    tolerance : float, optional
        Largest relative error allowed. By default it follows from method and dtype: in float64 1e-10 (complex step),
        1e-8 (Richardson), 1e-6 (central) and 1e-5 (forward); a gradient in float32 may be off by 1e-4.
    seed : int
        Draws cotangents, sampled entries and directions.
    max_entries : int
        An argument of at most so many is checked entry by entry. A larger one is checked at 32, drawn at random (or
        at ``max_entries``, if that is less), and along 8 dense random directions, which see every entry: a relative
        error of 1e-4 in one of 10,000. If only these disagree, bisection finds the entry.
    sweep : bool
        Add to the report the V-curve of every argument: the errors of differences over the step size.
    raises : bool
        Whether another verdict than "correct" raises; else the report is returned whatever it says.
    caller : str
        The function that the report names when it says how to repeat the check.
    hint : str
        What may make a gradient another than the output's on purpose. If it is wrong, the report says so first.

    Returns
    -------
    GradcheckReport
        The verdict and the numbers, one line per argument when printed.

    Raises
    ------
    GradcheckError
        If the verdict is not "correct": a gradient is wrong, the rule breaks its contract or answers otherwise when
        called again, the point is a kink, the values are too noisy. The error carries the report.
    ValueError
        If there is nothing to check, an option or input cannot be used, or an output is not finite at the inputs.
    TypeError
        If an input is not an array.

    Notes
    -----
    The relative error of an entry is ``|analytic - numeric| / max(|analytic|, |numeric|, floor)``. The floor is a
    thousandth of the largest entry of the argument's numeric gradient, so that an entry that is really zero among
    large ones raises no alarm; it is higher where the numeric method rounds more than the tolerance forgives.
    The numbers that judge a gradient in float32 are made in float64, where the rule can be asked so; else in float32,
    and the tolerances of differences are 1e-3 (Richardson), 3e-3 (central) and 1e-2 (forward).
    Differences move an entry in proportion to max(1, its size): a rule that bends on a scale of 1e-6 wants other units.

    Where the two disagree, the line is walked along in steps of many lengths before the verdict is given: at a kink the
    slopes to both sides differ, and a gradient between them (zero for relu at 0) is neither right nor wrong, nor is one
    outside of them that is right a step beside the point, as where several kinks meet; at a jump there is none; values
    that are off by more than their dtype says leave no difference to be trusted, nor does a gradient that is less than
    the rounding of the output; all else is wrong. At a kink the mean of both slopes agrees with every symmetric
    difference, and passes. Where steps leave the domain of the rule, shorter ones are taken.

    Examples
    --------
    >>> import numpy as np
    >>> def square(x):
    ...     return x * x, lambda dy: (2 * x * dy,)
    >>> check_rule(square, (np.array([1.0, -2.0, 3.0]),)).verdict
    'correct'
    >>> def relu(x):
    ...     return np.maximum(x, 0), lambda dy: (dy * (x > 0),)
    >>> check_rule(relu, (np.array([1.0, 0.0]),), raises=False).verdict
    'kink'
    >>> def wrong(x):
    ...     return x * x, lambda dy: (x * dy,)
    >>> check_rule(wrong, (np.array([1.0, -2.0, 3.0]),))
    Traceback (most recent call last):
    minirnn.checking.report.GradcheckError: the gradient check of wrong failed, verdict: wrong
    guess: the gradient of x is 0.5 times what it should be, in all 3 entries: halved? (x)
    ...
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if tolerance is not None and not (isinstance(tolerance, Real) and 0 < tolerance < 1):
        raise ValueError(f"tolerance must be a number between 0 and 1, got {tolerance!r}")
    positive(max_entries=max_entries)
    static = static or {}
    names = argument_names(rule, len(inputs)) if names is None else names
    refuse_bad_inputs(inputs, names)

    options = {"method": method, "tolerance": tolerance, "seed": seed, "max_entries": max_entries}
    given = [f"{option}={value!r}" for option, value in options.items() if value is not None]
    call = ", ".join([name_of(rule), "inputs", *(["static"] if static else []), *given])
    report = GradcheckReport(name_of(rule), seed, f"{caller}({call})")
    try:
        outputs, cotangents, gradients = pull_back(rule, inputs, static, names, seed)
        number = Number.of(rule, inputs, static, outputs, cotangents)
        compared = [
            None if g is None or not g.size else Comparison(number, k, name, g, method, tolerance, seed, max_entries)
            for k, (name, g) in enumerate(zip(names, gradients, strict=True))
        ]
    except GradcheckError as breach:
        report = replace(report, verdict=breach.verdict, reason=str(breach))
    else:
        arguments = tuple(
            unchecked(name, x, g) if comparison is None else comparison.report(sweep)
            for name, x, g, comparison in zip(names, inputs, gradients, compared, strict=True)
        )
        verdict = gravest([argument.verdict for argument in arguments])
        report = replace(report, arguments=arguments, verdict=verdict)
        if verdict == "wrong":
            guesses = _guesses([c for c in compared if c], COMPLETED * max_entries)
            report = replace(report, hint=hint, guesses=guesses)
    if raises and not report.ok:
        raise GradcheckError(report.describe_failure(), report)
    return report


def _guesses(compared: Sequence[Comparison], completed: int) -> tuple[Guess, ...]:
    """Where the gradients go wrong, and what the cause may be: the likeliest first."""
    gradients = {comparison.name: comparison.gradient for comparison in compared}
    references = {comparison.name: comparison.reference(completed) for comparison in compared}
    tolerance = max(1e-6, *(comparison.tolerance for comparison in compared))
    guesses = locate(gradients, references, tolerance=tolerance)
    return tuple(guess for guess in guesses[:GUESSES] if guess.score >= guesses[0].score / 2)
