"""What a pullback keeps alive: the arrays that its closure can reach, and the bytes behind them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

from minirnn.arrays import Array, home_of


def arrays_in(thing: Any) -> list[Array]:
    """Every array within reach of ``thing``: through closures, defaults, containers and attributes of objects.

    Modules and classes are not entered: what hangs on them was there before.
    """
    return list(_walk(thing, set()))


def saved_bytes(pullback: Callable) -> int:
    """Bytes of memory that ``pullback`` keeps alive: what backpropagation has to store for this call of the rule.

    Memory is counted once, however many arrays look at it, and whole, however small the part that they show: a view
    keeps all of the array it was cut from.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import rules
    >>> x = np.ones((10, 10))
    >>> y, tanh_pullback = rules.tanh(x)  # saves y
    >>> y, sum_pullback = rules.sum(x)  # saves a shape
    >>> saved_bytes(tanh_pullback), saved_bytes(sum_pullback)
    (800, 0)
    """
    owners = {id(owner): owner for owner in map(_owner, arrays_in(pullback))}
    return sum(owner.nbytes for owner in owners.values())


def _owner(x: Array) -> Array:
    while _is_array(getattr(x, "base", None)):
        x = x.base
    return x


def _is_array(thing: Any) -> bool:
    try:
        home_of(thing)
    except TypeError:
        return False
    return hasattr(thing, "nbytes")


def _walk(thing: Any, seen: set[int]) -> Iterator[Array]:
    if id(thing) in seen or isinstance(thing, (str, bytes, int, float, complex, type, ModuleType, type(None))):
        return
    seen.add(id(thing))
    if _is_array(thing):
        yield thing
        return
    for part in _parts(thing):
        yield from _walk(part, seen)


def _parts(thing: Any) -> Iterator[Any]:
    """What ``thing`` refers to and its maker put there."""
    if isinstance(thing, FunctionType):
        for cell in thing.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # a name that was never given a value
                continue
        yield from thing.__defaults__ or ()
        yield from (thing.__kwdefaults__ or {}).values()
    elif isinstance(thing, MethodType):
        yield thing.__self__
        yield thing.__func__
    elif isinstance(thing, functools.partial):
        yield thing.func
        yield from thing.args
        yield from thing.keywords.values()
    elif isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, (tuple, list, set, frozenset)):
        yield from thing
    else:
        yield from getattr(thing, "__dict__", {}).values()
        yield from (
            getattr(thing, name) for kind in type(thing).__mro__ for name in _slots(kind) if hasattr(thing, name)
        )


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
