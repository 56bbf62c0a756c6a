"""What a rule must keep before its numbers are looked at: the form of its answers, and purity."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minirnn.arrays import Array, home_of, random_generator, to_numpy, xp_of
from minirnn.checking.report import GradcheckError
from minirnn.explaining import kind_of, name_of, refuse_answer, refuse_gradients


def is_differentiable(x: Array | None) -> bool:
    """Whether a gradient belongs to this argument: not to integers (ids), not to booleans (masks), not to ``None``."""
    return x is not None and x.dtype.kind == "f"


def takes_wanted(rule: Callable) -> bool:
    """Whether the rule can be told which gradients are wanted (the keyword ``wanted``)."""
    try:
        wanted = inspect.signature(rule).parameters.get("wanted")
    except ValueError:  # builtins may have no signature
        return False
    return wanted is not None and wanted.kind is wanted.KEYWORD_ONLY


def refuse_bad_inputs(inputs: Sequence, names: Sequence[str]) -> None:
    """Raise unless every input is an array that can be checked, and at least one of them has a gradient."""
    if len(names) != len(inputs):
        raise ValueError(f"names must name each of the {len(inputs)} inputs, got {len(names)}: {list(names)}")
    for name, x in zip(names, inputs, strict=True):
        if x is None:
            continue
        try:
            home_of(x)
        except TypeError as error:
            raise TypeError(f"input {name!r}: {error}") from None
        if x.dtype.kind == "c":
            raise ValueError(f"input {name!r} is {x.dtype}; gradients are checked at real points only")
        if x.dtype.kind not in "iub" and x.dtype not in (np.float32, np.float64):
            raise ValueError(f"input {name!r} is {x.dtype}; pass float64 (or integers and booleans, which are skipped)")
        if x.dtype.kind == "f" and not np.isfinite(to_numpy(x)).all():
            raise ValueError(f"input {name!r} holds values that are not finite; no derivative can be checked there")
    if not any(map(is_differentiable, inputs)):
        raise ValueError("nothing to check: no input is a float array, so none has a gradient")
    xp_of(*inputs)


def call_rule(rule: Callable, inputs: Sequence, static: Mapping[str, Any]) -> tuple[tuple, Callable]:
    """Run the rule: its outputs, always as a tuple, and its pullback."""
    answer = rule(*inputs, **static)
    try:
        refuse_answer(rule, answer)
    except TypeError as breach:
        raise GradcheckError(str(breach)) from None
    output, pullback = answer
    if isinstance(output, tuple) and not output:
        raise GradcheckError(f"{name_of(rule)} returned no output")
    return (output if isinstance(output, tuple) else (output,)), pullback


def pull_back(
    rule: Callable, inputs: Sequence, static: Mapping[str, Any], names: Sequence[str], seed: int
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray | None]]:
    """Run the rule and its pullback under watch, and give what came out as NumPy arrays.

    Returns
    -------
    outputs, cotangents, gradients : list of numpy.ndarray
        A cotangent per output, normal random numbers: with ones, a softmax whose pullback is zero would pass. Nothing
        is asked of integers: their cotangents are zeros.

    Raises
    ------
    GradcheckError
        If outputs or gradients have the wrong form (number, type, place, shape, dtype; gradients also if they are not
        finite), if rule or pullback write into what they were given, or if either gives other bits when called again.
    ValueError
        If an output is not finite: no gradient is to be found at such a point, so none is wrong.
    """
    what, wanted = name_of(rule), static.get("wanted", (True,) * len(inputs))
    asked = tuple(flag and is_differentiable(x) for flag, x in zip(wanted, inputs, strict=True))
    inputs_before = _snapshot(inputs)
    outputs, pullback = call_rule(rule, inputs, static)
    _refuse_change(inputs_before, inputs, f"{what} wrote into its input", names)
    for k, y in enumerate(outputs):
        _refuse_bad_output(what, k, y)
    if not any(map(is_differentiable, outputs)):
        raise GradcheckError(f"{what} must return a float array, and its outputs are all integers")
    outputs_before, numbers = _snapshot(outputs), range(len(outputs))
    again, _ = call_rule(rule, inputs, static)
    _refuse_another_answer(outputs_before, again, f"{what} called twice gives other bits in output", numbers)

    random = random_generator(seed, "gradcheck cotangents")
    drawn = [
        np.asarray(random.standard_normal(y.shape)).astype(y.dtype) if is_differentiable(y) else np.zeros_like(y)
        for y in outputs_before
    ]
    cotangents = [xp_of(y).asarray(c) for y, c in zip(outputs, drawn, strict=True)]
    cotangents_before = _snapshot(cotangents)
    gradients = _asked_for(rule, pullback(*cotangents), inputs, names, asked)
    gradients_before = _snapshot(gradients)  # copied now: a pullback may use its buffers again
    second = _asked_for(rule, pullback(*cotangents), inputs, names, asked)
    _refuse_change(inputs_before, inputs, f"the pullback of {what} wrote into the input", names)
    _refuse_change(outputs_before, outputs, f"the pullback of {what} wrote into output", numbers)
    _refuse_change(cotangents_before, cotangents, f"the pullback of {what} wrote into cotangent", numbers)
    _refuse_another_answer(gradients_before, second, f"the pullback of {what} called twice gives other bits for", names)
    return outputs_before, cotangents_before, gradients_before


def _refuse_bad_output(rule: str, k: int, y: Any) -> None:
    try:
        home_of(y)
    except TypeError:
        raise GradcheckError(f"output {k} of {rule} must be an array, got {kind_of(y)}") from None
    if not is_differentiable(y) and y.dtype.kind not in "iu":
        raise GradcheckError(f"output {k} of {rule} must be a float array, or of integers, got {y.dtype}")
    if not np.isfinite(to_numpy(y)).all():
        raise ValueError(f"output {k} of {rule} is not finite at the point of the check; choose other inputs")


def _asked_for(rule: Callable, gradients: Any, inputs: Sequence, names: Sequence[str], asked: Sequence[bool]) -> list:
    """The gradients asked for, ``None`` in place of others; raises unless they have the form of their arguments."""
    shapes = [x.shape if flag else None for x, flag in zip(inputs, asked, strict=True)]
    try:
        refuse_gradients(rule, gradients, names, shapes)
    except (TypeError, ValueError) as breach:
        raise GradcheckError(str(breach)) from None
    for name, x, dx, flag in zip(names, inputs, gradients, asked, strict=False):
        gradient = f"the pullback of {name_of(rule)}: the gradient of {name!r}"
        if not flag:
            told = x is not None and (is_differentiable(x) or takes_wanted(rule))  # by the tape: nobody wants it
            if dx is not None and not told:
                kind = "None" if x is None else f"{x.dtype} (pass floats to have it checked)"
                raise GradcheckError(f"{gradient} must be None, because the argument is {kind}; got {kind_of(dx)}")
            continue
        if home_of(dx) != home_of(x):
            raise GradcheckError(f"{gradient} lives on {home_of(dx)}, the argument on {home_of(x)}")
        if dx.dtype != x.dtype:
            raise GradcheckError(f"{gradient} has dtype {dx.dtype}, the argument has {x.dtype}")
        finite = np.isfinite(to_numpy(dx))
        if not finite.all():
            first = tuple(map(int, np.argwhere(~finite)[0]))
            raise GradcheckError(f"{gradient} is not finite in {finite.size - finite.sum()} entries, first at {first}")
    return [dx if flag else None for dx, flag in zip(gradients, asked, strict=False)]


def _snapshot(arrays: Sequence) -> list:
    return [None if x is None else to_numpy(x).copy() for x in arrays]


def _refuse_change(before: Sequence, now: Sequence, sentence: str, names: Sequence) -> None:
    for name, old, new in zip(names, before, now, strict=True):
        if old is not None and old.tobytes() != to_numpy(new).tobytes():
            raise GradcheckError(
                f"{sentence} {name!r}; rules and pullbacks are pure: same arguments, same bits, no writes"
            )


def _refuse_another_answer(before: Sequence, now: Sequence, sentence: str, names: Sequence) -> None:
    for name, old, new in zip(names, before, now, strict=True):
        if old is not None and old.tobytes() != to_numpy(new).tobytes():
            gap = f", off by {np.abs(old - to_numpy(new)).max():.1g} at most" if old.shape == new.shape else ""
            raise GradcheckError(
                f"{sentence} {name!r}{gap}; rules and pullbacks are pure: draw dropout masks and other random numbers "
                "from a seed, and leave nothing behind in buffers",
                verdict="nondeterministic",
            )
