"""How an operation is called: with arrays, then with what is static, by position or by name, as NumPy has it.

The signature of a rule says which of its arguments have a derivative: those by position. Who calls it as an operation
need not think of that: ``sum(x, 0)``, ``matmul(x=x, y=y)`` and ``concat([x, y], 1)`` are sorted here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Form:
    """The form of the calls of a rule that has been lifted to tensors.

    Static arguments may follow by position where no array can be left out, so that none is taken for an array; and
    where a rule takes any number of arrays, all alike, they may come as a list.

    Attributes
    ----------
    signature : inspect.Signature
        What may be given: all but ``wanted``, which is for the tape to say.

    Examples
    --------
    >>> from minirnn import rules
    >>> form = Form(rules.sum)
    >>> form.signature
    <Signature (x, axis=None, keepdims=False)>
    >>> form.sort(("an array", 0), {"keepdims": True})
    (['an array'], {'axis': 0, 'keepdims': True})
    >>> Form(rules.concat).sort((["an array", "another"],), {"axis": 1})
    (['an array', 'another'], {'axis': 1})
    """

    def __init__(self, rule: Callable):
        signature = inspect.signature(rule)
        parameters = [p for p in signature.parameters.values() if p.name != "wanted"]
        self.name = rule.__name__
        self.arrays = [p.name for p in parameters if p.kind in POSITIONAL]
        self.any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.alike = self.any_number and not self.arrays
        static = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        required = all(p.default is p.empty for p in parameters if p.kind in POSITIONAL)
        self.following = static if required else []
        if required and not self.any_number:
            parameters = [p.replace(kind=POSITIONAL[1]) if p.name in static else p for p in parameters]
        self.signature = signature.replace(parameters=parameters)

    def sort(self, inputs: Sequence[Any], static: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arrays by position, and all else by name, whichever way they were given.

        Raises
        ------
        TypeError
            If too many are given, or one of them twice.
        """
        if self.alike and inputs and _is_list_of_arrays(*inputs):
            arrays, extra = list(inputs[0]), inputs[1:]
        elif self.any_number or (len(inputs) <= len(self.arrays) and static.keys().isdisjoint(self.arrays)):
            return inputs, static
        else:
            arrays, extra = list(inputs[: len(self.arrays)]), inputs[len(self.arrays) :]
        following = dict(zip(self.following, extra, strict=False))
        taken = [*following, *self.arrays[: len(arrays)]]
        if len(following) < len(extra) or not static.keys().isdisjoint(taken):
            raise self.refusal(inputs, static)
        static = {**following, **static}
        named = [k for k, name in enumerate(self.arrays) if name in static]
        arrays += [static.pop(name, None) for name in self.arrays[len(arrays) : max(named, default=-1) + 1]]
        return arrays, static

    def check(self, inputs: Sequence[Any], static: Mapping[str, Any]) -> None:
        """Raises a TypeError that says how the operation is called, if that is not how."""
        try:
            self.signature.bind(*inputs, **static)
        except TypeError:
            raise self.refusal(inputs, static) from None
        if self.any_number and self.following and inputs and isinstance(inputs[-1], int):  # where something failed
            raise self.refusal(inputs, static)

    def refusal(self, inputs: Sequence[Any], static: Mapping[str, Any]) -> TypeError:
        """What to raise of a call of another form."""
        by_name = f" and {', '.join(static)} by name" if static else ""
        how = f"{self.name} is called as {self.name}{self.signature}"
        return TypeError(f"{how}; got {len(inputs)} by position{by_name}")


def _is_list_of_arrays(first: Any, *others: Any) -> bool:
    """Whether ``first`` holds all the arrays; a list of numbers with something behind it is an array itself."""
    return isinstance(first, (list, tuple)) and (not others or any(hasattr(x, "shape") for x in first))
