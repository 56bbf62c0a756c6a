"""What an operation below refuses, said of the call above it: which function, what it was given, and why it cannot be.

Most rules leave it to NumPy or CuPy to find that arrays do not fit: whoever checked beforehand would do so at every
step of every loop. What these say then ("operands could not be broadcast") names neither the function nor an argument.
So it is said again, once something has failed and there is time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What operations raise that are given nonsense. FloatingPointError is not among them: whoever asked for it wants it.
REFUSALS = (AttributeError, IndexError, TypeError, ValueError, ZeroDivisionError)
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


def explain(error: Exception, call: str, given: Mapping[str, Any]) -> None:
    """Raises an error that says what ``call`` was given, unless somebody's ``raise`` has explained ``error`` already.

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
    if not _was_raised_in_python(error):
        wrong_type = isinstance(error, (TypeError, AttributeError))
        kind = TypeError if wrong_type else IndexError if type(error) is IndexError else ValueError
        listed = ", ".join(f"{name} {_shown(x)}" for name, x in given.items())
        raise kind(f"{call}: {str(error).strip() or type(error).__name__}; got {listed or 'nothing'}") from error


def refuse_call(rule: Callable, inputs: Sequence[Any], static: Mapping[str, Any]) -> None:
    """Says how ``rule`` is called, if that is not how: arrays by position, and all else by name.

    Examples
    --------
    >>> from minirnn import rules
    >>> refuse_call(rules.sum, [[1.0, 2.0], 0], {})
    Traceback (most recent call last):
    ...
    TypeError: sum takes x by position and axis, keepdims by name: sum(x, axis=0)
    """
    signature = inspect.signature(rule)
    kinds = {p.name: p.kind for p in signature.parameters.values() if p.name != "wanted"}
    arrays = [name for name, kind in kinds.items() if kind in (_EITHER, inspect.Parameter.POSITIONAL_ONLY)]
    others = [name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY]
    at_will = [f"*{name}" for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL]
    how = f"{rule.__name__} takes {', '.join(arrays + at_will) or 'nothing'} by position"
    how += f" and {', '.join(others)} by name" if others else ""
    extra = inputs[len(arrays) :]
    if extra and not at_will and len(extra) <= len(others):
        named = [f"{name}={_shown(x)}" for name, x in zip(others, extra, strict=False)]
        raise TypeError(f"{how}: {rule.__name__}({', '.join([*arrays, *named])})")
    if at_will and others and inputs and isinstance(inputs[-1], int):  # a number among arrays, where something failed
        raise TypeError(f"{how}: {rule.__name__}({', '.join([*arrays, *at_will])}, {others[0]}={inputs[-1]})")
    misnamed = [name for name in static if name in arrays]
    try:
        signature.bind(*inputs, **static)
    except TypeError:
        misnamed += [name for name in static if name not in kinds]
        by_name = f" and {', '.join(misnamed)} by name" if misnamed else ""
        raise TypeError(f"{how}, got {len(inputs)} by position{by_name}") from None
    if misnamed:
        raise TypeError(f"{how}, got {', '.join(misnamed)} by name")


def refuse_list(rule: Callable, inputs: Sequence[Any]) -> None:
    """Refuses a list in place of the arrays that ``rule`` takes one by one, any number of them.

    Examples
    --------
    >>> from minirnn import rules
    >>> refuse_list(rules.concat, [([1.0], [2.0])])
    Traceback (most recent call last):
    ...
    TypeError: concat takes arrays one by one, got a tuple: concat(*xs, axis=0) in place of concat(xs, axis=0)
    """
    first = inputs[0] if inputs else None
    if isinstance(first, (list, tuple)) and (len(inputs) == 1 or any(hasattr(x, "shape") for x in first)):
        several, *static = inspect.signature(rule).parameters.values()
        if several.kind is not inspect.Parameter.VAR_POSITIONAL:
            return
        named = "".join(f", {p}" for p in static if p.kind is p.KEYWORD_ONLY and p.name != "wanted")
        name, kind = rule.__name__, type(first).__name__
        raise TypeError(
            f"{name} takes arrays one by one, got a {kind}: {name}({several}{named}) in place of "
            f"{name}({several.name}{named})"
        )


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
