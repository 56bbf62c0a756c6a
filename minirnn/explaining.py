"""What is wrong with a call or an answer, in words: which function, what it was given or returned, why that cannot be.

Most rules leave it to NumPy or CuPy to find that arrays do not fit: whoever checked beforehand would do so at every
step of every loop. What these say then ("operands could not be broadcast") names neither the function nor an argument.
So it is said again, once something has failed and there is time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What operations raise that are given nonsense. FloatingPointError is not among them: whoever asked for it wants it.
REFUSALS = (AttributeError, IndexError, OverflowError, TypeError, ValueError, ZeroDivisionError)

IN_A_PROBE = "that was in the probe"  # how a note begins on an error that is not the operation's


def explain(error: Exception, call: str, given: Mapping[str, Any]) -> None:
    """Raises an error that says what ``call`` was given, unless a ``raise`` has explained it or a probe erred.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.zeros(3), np.zeros(4)
    >>> try:
    ...     x + y
    ... except ValueError as error:
    ...     explain(error, "add", {"x": x, "y": y})
    Traceback (most recent call last):
    ...
    ValueError: add: operands could not be broadcast together with shapes (3,) (4,); got x float64 (3,), y float64 (4,)
    """
    of_a_probe = any(note.startswith(IN_A_PROBE) for note in getattr(error, "__notes__", ()))
    if not of_a_probe and not _was_raised_in_python(error):
        wrong_type = isinstance(error, (TypeError, AttributeError))
        kind = TypeError if wrong_type else IndexError if type(error) is IndexError else ValueError
        listed = ", ".join(f"{name} {_shown(x)}" for name, x in given.items())
        raise kind(f"{call}: {str(error).strip() or type(error).__name__}; got {listed or 'nothing'}") from error


def is_answer(answer: Any) -> bool:
    """Whether that is what a rule returns: ``(output, pullback)``."""
    return isinstance(answer, tuple) and len(answer) == 2 and callable(answer[1])


def refuse_answer(rule: Callable, answer: Any) -> None:
    """Raise unless a rule answered ``(output, pullback)``, the output an array or a tuple of arrays.

    Raises
    ------
    TypeError
        Naming the rule, and what it returned.
    """
    if not is_answer(answer):
        raise TypeError(f"{name_of(rule)} must return (output, pullback), got {kind_of(answer)}")
    output, _ = answer
    for y in output if isinstance(output, tuple) else (output,):
        if not hasattr(y, "dtype") or hasattr(y, "requires_grad"):  # such as a tensor
            raise TypeError(
                f"the output of {name_of(rule)} must be an array or a tuple of arrays, got {kind_of(output)}"
            )


def refuse_gradients(rule: Callable, gradients: Any, names: Sequence[str], shapes: Sequence[tuple | None]) -> None:
    """Raise unless a pullback answered with an entry for each argument, an array of its shape where that is not None.

    More entries than that belong to optional arguments that were not given.

    Raises
    ------
    TypeError
        If it is no tuple, entries are missing, one is no array, or there is one for what was not given.
    ValueError
        If one has another shape than the argument.
    """
    of, n = f"the pullback of {name_of(rule)}", len(shapes)
    if not isinstance(gradients, tuple) or len(gradients) < n or any(dx is not None for dx in gradients[n:]):
        of_each = f"a tuple of gradients, one for each of {', '.join(names[:n])}"
        raise TypeError(f"{of} must return {of_each}, got {kind_of(gradients)}")
    for name, dx, shape in zip(names, gradients, shapes, strict=False):
        if shape is not None and not hasattr(dx, "shape"):
            raise TypeError(f"{of}: the gradient of {name!r} must be an array, got {kind_of(dx)}")
        if shape is not None and dx.shape != shape:
            raise ValueError(f"{of}: the gradient of {name!r} has shape {dx.shape}, the argument has {shape}")


def kind_of(x: Any) -> str:
    """What to call something that was returned: its type, and the shape of an array, also in a tuple.

    >>> import numpy as np
    >>> kind_of((np.zeros((2, 3)), None)), kind_of([1.0])
    ('(ndarray (2, 3), None)', 'list')
    """
    if isinstance(x, tuple):
        return f"({', '.join(map(kind_of, x))}{',' * (len(x) == 1)})"
    shape = f" {x.shape}" if hasattr(x, "shape") else ""
    return "None" if x is None else f"{type(x).__name__}{shape}"


def name_of(rule: Callable) -> str:
    """What to call a rule: by its name, by that of the rule in a ``functools.partial``, or by its type."""
    while not hasattr(rule, "__name__") and hasattr(rule, "func"):
        rule = rule.func
    return getattr(rule, "__name__", type(rule).__name__)


def described(function: Callable) -> str:
    """A function by its name; a ``functools.partial`` with what it has been given.

    Examples
    --------
    >>> from functools import partial
    >>> described(print), described(partial(sorted, reverse=True))
    ('print', 'sorted(reverse=True)')
    """
    given = [*map(repr, getattr(function, "args", ()))]
    given += [f"{name}={value!r}" for name, value in getattr(function, "keywords", {}).items()]
    return f"{name_of(function)}({', '.join(given)})" if given else name_of(function)


def argument_names(rule: Callable, count: int) -> list[str]:
    """Names of the first ``count`` positional parameters of ``rule``, as its signature gives them."""
    try:
        parameters = list(inspect.signature(rule).parameters.values())
    except ValueError:  # builtins may have no signature
        return [f"argument {k}" for k in range(count)]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "argument")
    return names[:count] + [f"{rest}[{k}]" for k in range(count - len(names))]


def _was_raised_in_python(error: Exception) -> bool:
    """Whether a ``raise`` outside of NumPy and CuPy made the error, rather than an operation that failed."""
    import opcode  # only here: it is for the rare mistake

    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return True
    home = at.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    instruction = at.tb_frame.f_code.co_code[at.tb_lasti]
    return home not in ("numpy", "cupy") and opcode.opname[instruction] == "RAISE_VARARGS"


def _shown(x: Any) -> str:
    """Dtype and shape of an array, and whatever else as Python shows it, if that is short."""
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return f"{x.dtype} {x.shape}"
    shown = repr(x)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
