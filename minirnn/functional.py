"""Questions to ask of anything differentiable: a rule, a function of tensors, or a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minirnn.arrays import Array, asarray, home_of
from minirnn.checking import GradcheckReport, check_rule
from minirnn.nn import Module
from minirnn.tape import Tensor, rule_of


def gradcheck(
    fn: Callable,
    inputs: Sequence[Any],
    *,
    method: str = "auto",
    names: Sequence[str] | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    allow_float32: bool = False,
    max_entries: int = 200,
) -> GradcheckReport:
    """Compares gradients with numbers, argument by argument, and raises where they disagree.

    Parameters
    ----------
    fn : callable
        A rule (a function of arrays that returns ``(output, pullback)``), a function of tensors, or a module, of which
        every parameter is checked too.
    inputs : sequence
        What ``fn`` takes: arrays, tensors or numbers. Floating ones are checked, in float64 unless ``allow_float32``.
    method : {"auto", "complex", "central", "forward", "richardson"}
        How the numeric derivative is made; ``"auto"`` takes the complex step wherever ``fn`` is analytic, else
        Richardson's extrapolation.
    names : sequence of str, optional
        What to call the arguments in the report.
    tolerance : float, optional
        Largest relative error allowed; by default it follows from method and dtype.
    seed : int
        Of the random cotangents and directions.
    allow_float32 : bool
        Checks float32 at loose tolerances instead of refusing it.
    max_entries : int
        How many entries of a large argument are checked one by one, besides dense random directions.

    Returns
    -------
    GradcheckReport
        Error, method and worst entry of every argument; printed, a table.

    Raises
    ------
    GradcheckError
        Naming argument, worst index, analytic and numeric value, their ratio, the tolerance, and how to reproduce it.
    ValueError
        If there is nothing to check, or an option or input cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import nn
    >>> gradcheck(lambda x: (x * x).tanh().sum(), (np.array([0.5, -1.0]),)).ok
    True
    >>> lstm = nn.LSTM(3, 4, dtype="float64")
    >>> report = gradcheck(lstm, (np.random.default_rng(0).standard_normal((5, 2, 3)),))
    >>> report.max_error < 1e-12
    True
    """
    options: dict[str, Any] = {
        "method": method,
        "tolerance": tolerance,
        "seed": seed,
        "allow_float32": allow_float32,
        "max_entries": max_entries,
    }
    if isinstance(fn, Module):
        rule, arrays, own_names = fn.as_rule(*inputs)
        return check_rule(rule, arrays, names=names or own_names, caller="gradcheck", **options)
    arrays = tuple(x.array if isinstance(x, Tensor) else _as_array(x) for x in inputs)
    return check_rule(_as_rule(fn, inputs, arrays), arrays, names=names, caller="gradcheck", **options)


def _as_array(x: Any) -> Array:
    try:
        home_of(x)
    except TypeError:
        return None if x is None else asarray(x)
    return x


def _as_rule(fn: Callable, inputs: Sequence[Any], arrays: Sequence[Array]) -> Callable:
    """``fn`` itself if it is a rule, the rule behind it if it was lifted, else the tape's rule of it."""
    if hasattr(fn, "rule"):
        return fn.rule
    if any(isinstance(x, Tensor) for x in inputs):
        return rule_of(fn)
    try:
        answer = fn(*arrays)
    except Exception:  # it may need tensors; if it fails with them too, both errors are shown
        rule_of(fn)(*arrays)
        return rule_of(fn)
    is_rule = isinstance(answer, tuple) and len(answer) == 2 and callable(answer[1])
    return fn if is_rule else rule_of(fn)
