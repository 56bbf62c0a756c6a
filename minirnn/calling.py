"""How an operation is called: with arrays, then with what is static, by position or by name, as NumPy has it.

The signature of a rule says which of its arguments have a derivative: those by position. Who calls it as an operation
need not think of that: ``sum(x, 0)``, ``matmul(x=x, y=y)`` and ``concat([x, y], 1)`` are sorted here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Call:
    """How a rule that has been lifted to tensors is called.

    Static arguments may follow by position where no array can be left out, so that none is taken for an array, and
    where none that must be given stands behind one that need not. Where a rule takes any number of arrays, all alike,
    a list of them may come first and alone; static arguments follow it by position too. An array alone is one array,
    not a list of its rows: ``concat(*parts)`` may have one part.

    Attributes
    ----------
    signature : inspect.Signature
        What may be given: all but ``wanted``, which is for the tape to say.

    Examples
    --------
    >>> from minirnn import rules
    >>> call = Call(rules.sum)
    >>> call.signature
    <Signature (x, axis=None, keepdims=False)>
    >>> call.sort(("an array", 0), {"keepdims": True})
    (['an array'], {'axis': 0, 'keepdims': True})
    >>> Call(rules.concat).sort((["an array", "another"], 1), {})
    (['an array', 'another'], {'axis': 1})
    """

    def __init__(self, rule: Callable):
        signature = inspect.signature(rule)
        parameters = [p for p in signature.parameters.values() if p.name != "wanted"]
        self.name = rule.__name__
        self.arrays = [p.name for p in parameters if p.kind in POSITIONAL]
        self.required = {p.name for p in parameters if p.kind in POSITIONAL and p.default is p.empty}
        self.any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.alike = self.any_number and not self.arrays
        static = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        may_follow = static == sorted(static, key=lambda p: p.default is not p.empty)  # a stable sort
        self.following = [p.name for p in static if may_follow and len(self.required) == len(self.arrays)]
        if not self.any_number:
            parameters = [p.replace(kind=POSITIONAL[1]) if p.name in self.following else p for p in parameters]
        self.signature = signature.replace(parameters=parameters)

    def sort(self, inputs: Sequence[Any], static: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arrays by position, and all else by name, whichever way they were given.

        Raises
        ------
        TypeError
            If too many are given, or one of them twice.
        """
        if self.alike and inputs and _holds_all_arrays(*inputs):
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

    def refuse_none(self, arrays: Mapping[str, Any]) -> None:
        """Raises a TypeError that names an array that must be given, if it is ``None``: for where that has failed."""
        for name, array in arrays.items():
            if array is None and (self.alike or name in self.required):
                raise TypeError(f"{self.name}: {name} must be an array, got None")

    def refusal(self, inputs: Sequence[Any], static: Mapping[str, Any]) -> TypeError:
        """What to raise of a call of another form."""
        by_name = f" and {', '.join(static)} by name" if static else ""
        how = f"{self.name} is called as {self.name}{self.signature}"
        if self.alike:
            how += f" or {self.name}({', '.join(['a list of them', *self.following])})"
        if "out" in static and "out" not in self.signature.parameters:
            how = f"np.{self.name} has called a tensor's method with more than it takes; write x.{self.name}(): {how}"
        return TypeError(f"{how}; got {len(inputs)} by position{by_name}")


def _holds_all_arrays(first: Any, *others: Any) -> bool:
    """Whether ``first`` is a list of all; a list or an array behind it says that each is an array of its own."""
    apart = any(isinstance(x, (list, tuple)) or hasattr(x, "shape") for x in others)
    return isinstance(first, (list, tuple)) and not apart
