"""Questions to ask of anything differentiable: a rule, a function of tensors, or a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import ismethod
from typing import Any

from minirnn.arrays import Array, asarray, home_of
from minirnn.checking import GradcheckReport, check_rule
from minirnn.checking.contract import is_differentiable
from minirnn.checking.hessian import hessian_product
from minirnn.explaining import argument_names, is_answer, name_of, refuse_answer
from minirnn.nn import Module
from minirnn.rules.combinators.form import combinators_of
from minirnn.rules.combinators.windows import CUTS
from minirnn.tape import Tensor, rule_of


def gradcheck(
    fn: Callable,
    inputs: Sequence[Any],
    *,
    method: str = "auto",
    names: Sequence[str] | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    max_entries: int = 200,
    sweep: bool = False,
    raises: bool = True,
) -> GradcheckReport:
    """Compares gradients with numbers, argument by argument, and gives a verdict: raises unless it is "correct".

    Parameters
    ----------
    fn : callable
        A rule (a function of arrays that returns ``(output, pullback)``), a function of tensors, or a module or a
        method of one such as ``lm.loss``, of which every parameter is checked too. (A lambda around a module is a
        function of its inputs alone.)
    inputs : sequence
        What ``fn`` takes: arrays, tensors or numbers. Floating ones are checked, by the limits of their dtype: float64
        shows mistakes a thousand times smaller than float32 does.
    method : {"auto", "complex", "central", "forward", "richardson"}
        How the numeric derivative is made; ``"auto"`` takes the complex step wherever ``fn`` is analytic, else
        Richardson's extrapolation.
    names : sequence of str, optional
        What to call the arguments in the report.
    tolerance : float, optional
        Largest relative error allowed; by default it follows from method and dtype.
    seed : int
        Draws the random cotangents and directions.
    max_entries : int
        An argument of at most so many is checked entry by entry, a larger one at a few of them and along 8 dense
        random directions, which see every entry.
    sweep : bool
        Add to the report the V-curve of every argument: the errors of differences over the step size.
    raises : bool
        Whether another verdict than "correct" raises; else the report is returned whatever it says.

    Returns
    -------
    GradcheckReport
        Its ``verdict`` is "correct", "wrong", "kink" (there is no derivative at this point; the mean of both slopes
        agrees with every symmetric difference, and passes), "too noisy" (no difference of values this rough can be
        trusted) or "nondeterministic" (called again, ``fn`` answers otherwise). Printed, a table: error, method, Taylor
        slope and worst entry of every argument. What `truncate` or `clip_through_time` has
        made is "wrong" with a hint: its gradient is not that of its output, on purpose.

    Raises
    ------
    GradcheckError
        Naming argument, worst index, analytic and numeric value, their ratio, the tolerance, and how to reproduce it.
        The error carries the report.
    ValueError
        If there is nothing to check, or an option or input cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import nn
    >>> gradcheck(lambda x: (x * x).tanh().sum(), (np.array([0.5, -1.0]),)).verdict
    'correct'
    >>> lstm = nn.LSTM(3, 4, dtype="float64")
    >>> report = gradcheck(lstm, (np.random.default_rng(0).standard_normal((5, 2, 3)),))
    >>> report.max_error < 1e-12
    True
    >>> gradcheck(lambda x: x.detach() * x, (np.array([3.0]),), raises=False).verdict
    'wrong'
    """
    options: dict[str, Any] = {
        "method": method,
        "tolerance": tolerance,
        "seed": seed,
        "max_entries": max_entries,
        "sweep": sweep,
        "raises": raises,
    }
    rule, arrays, own_names = _as_rule(fn, inputs)
    sizes = [x.size for x in arrays if x is not None and is_differentiable(x)]
    if sizes and not any(sizes):
        raise ValueError("nothing to check: every input that has a gradient is empty")
    cuts = [f"{name} {how}" for name, how in CUTS.items() if name in combinators_of(rule)]
    hint = f"maybe on purpose: {', and '.join(cuts)}; check the rule without it" if cuts else ""
    return check_rule(rule, arrays, names=names or own_names, caller="gradcheck", hint=hint, **options)


def hvp(fn: Callable, inputs: Sequence[Any], vectors: Sequence[Any], *, check: bool = True) -> tuple[Array | None, ...]:
    """The Hessian of a function with one number for output, times a vector: exact to rounding, and never formed.

    It is how fast the gradient changes when the inputs set out along the vector, and comes from one complex step
    through the pullback (``minirnn/checking/hessian.py`` says how): the price is that of a few gradients.

    Parameters
    ----------
    fn : callable
        A rule, a function of tensors, or a module or a method of one, of which the Hessian is by all parameters and
        floating inputs, as ``Module.as_rule`` lists them. Its output must have one element.
    inputs : sequence
        What ``fn`` takes: arrays, tensors or numbers; the floating ones in float64.
    vectors : sequence
        The vector v, in one part for each input (for a module: each parameter, then each floating input), of its shape.
        ``None`` stands for zeros, and belongs to integers and masks.
    check : bool
        Compare every entry of the product with differences of gradients, for the price of four more, and refuse where
        they have nothing to do with each other, as where a function inside takes the ``.real`` or the ``abs`` of its
        numbers. Entries that stay in doubt are looked at over steps of many lengths, at up to 42 gradients.

    Returns
    -------
    tuple
        H v in the parts of v: an array for every floating input, ``None`` for the others.

    Raises
    ------
    TypeError
        If an input is not made of numbers, a floating one or the output is not float64, or ``fn`` cannot take complex
        numbers or loses their imaginary part.
    ValueError
        If the output has not one element, a vector does not fit its input, a number is not finite, or the check fails:
        ``fn`` gives other gradients when it is called again (dropout in training mode), or an entry is wrong.

    Notes
    -----
    Functions with kinks (relu, max, abs, clip) have a Hessian between the kinks, and there it is right. The check moves
    all inputs in proportion to max(1, the largest entry): a function that bends on a scale of 1e-12 wants other units.

    Examples
    --------
    >>> import numpy as np
    >>> A, x = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([0.5, -1.0])
    >>> hvp(lambda x: x @ A @ x / 2, (x,), (np.array([1.0, 0.0]),))
    (array([2., 1.]),)
    """
    rule, arrays, names = _as_rule(fn, inputs)
    parts = [_as_array(v, f"part {k} of the vector") for k, v in enumerate(vectors)]
    return hessian_product(rule, arrays, parts, names=names, check=check)


def _as_rule(fn: Callable, inputs: Sequence[Any]) -> tuple[Callable, tuple[Array | None, ...], list[str] | None]:
    """A rule that computes what ``fn`` does, its arguments, and their names if the rule does not tell them itself."""
    if not isinstance(inputs, (tuple, list)):  # the rows of an array would be taken for inputs
        raise TypeError(f"inputs must be a tuple of what fn takes, got {type(inputs).__name__}")
    if isinstance(fn, type):
        raise TypeError(
            f"fn must be a rule, a function or a module, got the class {fn.__name__}; {fn.__name__}(...) is one"
        )
    if isinstance(fn, Module):
        return fn.as_rule(*inputs)
    if ismethod(fn) and isinstance(fn.__self__, Module):
        return fn.__self__.as_rule(*inputs, method=fn.__func__)
    given = zip(argument_names(fn, len(inputs)), inputs, strict=True)
    arrays = tuple(_as_array(x, f"input {name!r}") for name, x in given)
    return _rule_behind(fn, inputs, arrays), arrays, None


def _as_array(x: Any, what: str) -> Array | None:
    """The array of a tensor, ``None`` and arrays as they are, of anything else the array of its numbers."""
    if x is None or isinstance(x, Tensor):
        return None if x is None else x.array
    try:
        array = x if hasattr(x, "dtype") else asarray(x)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be made of numbers, got {type(x).__name__} ({error})") from None
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{what} must be made of numbers, got {type(x).__name__} of dtype {array.dtype}")
    home_of(array)  # raises if it is of another library
    return array


def _rule_behind(fn: Callable, inputs: Sequence[Any], arrays: Sequence[Array]) -> Callable:
    """``fn`` itself if it is a rule, the rule behind it if it was lifted, else the tape's rule of it."""
    if hasattr(fn, "rule"):
        return fn.rule
    if combinators_of(fn):
        return fn
    of_tensors = rule_of(fn)
    if any(isinstance(x, Tensor) for x in inputs):
        return of_tensors
    try:
        answer = fn(*arrays)
    except Exception as error:  # it may need tensors
        with_arrays = f"raised {type(error).__name__}: {error}"
    else:
        if is_answer(answer):
            return fn
        if isinstance(answer, tuple) and len(answer) == 2 and answer[1] is None:
            refuse_answer(fn, answer)
        with_arrays = f"returned {type(answer).__name__}, and a rule returns a tuple (output, pullback)"
    try:
        of_tensors(*arrays)
    except Exception as error:
        error.add_note(f"that was with tensors; with arrays {name_of(fn)} {with_arrays}")
        raise
    return of_tensors
