"""What a rule that somebody wrote must answer, and its pullback: said in words where it is something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def refuse_answer(rule: Callable, answer: Any) -> None:
    """Raise unless a rule answered ``(output, pullback)``.

    Raises
    ------
    TypeError
        Naming the rule, and what it returned.
    """
    if not (isinstance(answer, tuple) and len(answer) == 2 and callable(answer[1])):
        raise TypeError(f"{name_of(rule)} must return (output, pullback), got {_kind(answer)}")


def refuse_states(step: Callable, answer: Any, names: Sequence[str], prevs: Sequence[Any]) -> None:
    """Raise unless the output of a step is the state that follows the one it had, or all of them in a tuple.

    Raises
    ------
    TypeError
        If it is not that many arrays.
    ValueError
        If one has another shape than the state before it.
    """
    refuse_answer(step, answer)
    news = (answer[0],) if len(prevs) == 1 else answer[0]
    how = "its new state, an array," if len(prevs) == 1 else f"a tuple of its {len(prevs)} new states"
    if not isinstance(news, tuple) or len(news) != len(prevs) or not all(hasattr(new, "shape") for new in news):
        raise TypeError(
            f"{name_of(step)} takes {', '.join(names)} and must return {how} for output, got {_kind(answer[0])}"
        )
    for name, prev, new in zip(names, prevs, news, strict=True):
        if new.shape != prev.shape:
            raise ValueError(f"{name_of(step)}: the new state has shape {new.shape}, {name} before it {prev.shape}")


def refuse_gradients(rule: Callable, gradients: Any, names: Sequence[str], count: int) -> None:
    """Raise unless a pullback answered with a tuple that has an entry for each of the ``count`` arguments.

    Raises
    ------
    TypeError
        Naming the arguments, and what was returned.
    """
    if not isinstance(gradients, tuple) or not count <= len(gradients):
        raise TypeError(
            f"the pullback of {name_of(rule)} must return a tuple of {count} gradients, one for each of "
            f"{', '.join(names[:count])}, got {_kind(gradients)}"
        )


def refuse_shapes(rule: Callable, gradients: Any, names: Sequence[str], expected: Sequence[tuple | None]) -> None:
    """Raise unless every gradient that is wanted is an array in the shape of its argument.

    Raises
    ------
    TypeError
        If one is no array.
    ValueError
        If one has another shape. Both name the argument.
    """
    refuse_gradients(rule, gradients, names, len(expected))
    for name, gradient, shape_dtype in zip(names, gradients, expected, strict=False):
        if shape_dtype is None:
            continue
        of = f"the pullback of {name_of(rule)}: the gradient of {name}"
        if not hasattr(gradient, "shape"):
            raise TypeError(f"{of} must be an array, got {_kind(gradient)}")
        if gradient.shape != shape_dtype[0]:
            raise ValueError(f"{of} has shape {gradient.shape}, the argument {shape_dtype[0]}")


def name_of(rule: Callable) -> str:
    """Its name, or that of the rule in a ``functools.partial``."""
    return getattr(rule, "__name__", "") or name_of(rule.func)  # type: ignore[attr-defined]


def _kind(x: Any) -> str:
    if x is None or isinstance(x, tuple):
        return "None" if x is None else f"a tuple of {len(x)}"
    return f"an array of shape {x.shape}" if hasattr(x, "shape") else type(x).__name__
