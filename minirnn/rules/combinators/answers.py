"""What a rule that somebody wrote must answer, and its pullback: said in words where it is something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minirnn.explaining import is_answer, name_of


def refuse_answer(rule: Callable, answer: Any) -> None:
    """Raise unless a rule answered ``(output, pullback)``.

    Raises
    ------
    TypeError
        Naming the rule, and what it returned.
    """
    if not is_answer(answer):
        raise TypeError(f"{name_of(rule)} must return (output, pullback), got {_kind(answer)}")


def refuse_states(step: Callable, output: Any, names: Sequence[str], prevs: Sequence[Any]) -> None:
    """Raise unless the output of a step is the state that follows the one it had, or all of them in a tuple.

    Raises
    ------
    TypeError
        If it is not that many arrays.
    ValueError
        If one has another shape than the state before it.
    """
    news = (output,) if len(prevs) == 1 else output
    if not isinstance(news, tuple) or len(news) != len(prevs) or not all(hasattr(new, "shape") for new in news):
        how = "its new state, an array," if len(prevs) == 1 else f"a tuple of its {len(prevs)} new states"
        raise TypeError(
            f"{name_of(step)} takes {', '.join(names)} and must return {how} for output, got {_kind(output)}"
        )
    for name, prev, new in zip(names, prevs, news, strict=True):
        if new.shape != prev.shape:
            raise ValueError(f"{name_of(step)}: the new state has shape {new.shape}, {name} before it {prev.shape}")


def refuse_gradients(rule: Callable, gradients: Any, names: Sequence[str], shapes: Sequence[tuple | None]) -> None:
    """Raise unless a pullback answered with a tuple that has an entry for each argument, in its shape where wanted.

    Raises
    ------
    TypeError
        If entries are missing, or one is no array.
    ValueError
        If one has another shape. Both name the argument.
    """
    if not isinstance(gradients, tuple) or len(gradients) < len(shapes):
        raise TypeError(
            f"the pullback of {name_of(rule)} must return a tuple of {len(shapes)} gradients, one for each of "
            f"{', '.join(names[: len(shapes)])}, got {_kind(gradients)}"
        )
    for name, gradient, shape_dtype in zip(names, gradients, shapes, strict=False):
        if shape_dtype is None:
            continue
        of = f"the pullback of {name_of(rule)}: the gradient of {name}"
        if not hasattr(gradient, "shape"):
            raise TypeError(f"{of} must be an array, got {_kind(gradient)}")
        if gradient.shape != shape_dtype[0]:
            raise ValueError(f"{of} has shape {gradient.shape}, the argument {shape_dtype[0]}")


def _kind(x: Any) -> str:
    if x is None or isinstance(x, tuple):
        return "None" if x is None else f"a tuple of {len(x)}"
    return f"an array of shape {x.shape}" if hasattr(x, "shape") else type(x).__name__
