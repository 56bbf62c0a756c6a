"""What a combinator has to know of a rule: which of its arguments are sequences, which states, and which weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter, Signature, signature
from typing import Any, NamedTuple

from minirnn.arrays import Array


class Form(NamedTuple):
    """How many sequences and how many states a rule takes before its weights."""

    sequences: int
    states: int

    def split(self, arguments: Sequence) -> tuple[tuple, tuple, tuple]:
        """Arguments, or gradients, as (sequences, states, weights)."""
        end = self.sequences + self.states
        return tuple(arguments[: self.sequences]), tuple(arguments[self.sequences : end]), tuple(arguments[end:])


def positional(rule: Callable) -> list[str]:
    """Names of the positional parameters of a rule."""
    return [p.name for p in signature(rule).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]


def form_of(rule: Callable, ending: str = "_0") -> Form:
    """The form of a sequence rule; of a step rule with ``ending="_prev"``.

    Raises
    ------
    TypeError
        If the names of the parameters do not tell it.

    Examples
    --------
    >>> from minirnn import rules
    >>> form_of(rules.lstm)
    Form(sequences=1, states=2)
    """
    names = positional(rule)
    places = [k for k, name in enumerate(names) if name.endswith(ending)]
    if not places or places != list(range(places[0], places[-1] + 1)) or places[0] == 0:
        raise TypeError(
            f"{rule.__name__} must take (*sequences, *states, *weights), the states and they alone named ...{ending}; "
            f"its positional parameters are {', '.join(names) or 'none'}"
        )
    return Form(places[0], len(places))


def selective(rule: Callable) -> Callable:
    """The rule itself if it takes ``wanted``, else one that does, and so can be told to save nothing."""
    if "wanted" in signature(rule).parameters:
        return rule

    def asked(*arguments: Any, wanted: Sequence[bool] | None = None, **static: Any) -> tuple[Any, Callable]:
        wanted = wanted or (True,) * len(arguments)
        output, pullback = rule(*arguments, **static)
        pull = pullback if any(wanted) else lambda *cotangents: (None,) * len(wanted)

        def asked_pullback(*cotangents: Any) -> tuple:
            gradients = pull(*cotangents)
            flags = (*wanted, *(False,) * (len(gradients) - len(wanted)))
            return tuple(g if flag else None for g, flag in zip(gradients, flags, strict=True))

        return output, asked_pullback

    return named(asked, rule.__name__, positional(rule), rule)


def outline(arguments: Sequence[Array | None], wanted: Sequence[bool]) -> list[tuple | None]:
    """Shape and dtype of every argument whose gradient is wanted: all that is kept of it until the way back."""
    return [
        (x.shape, x.dtype) if flag and x is not None and x.dtype.kind in "fc" else None
        for x, flag in zip(arguments, wanted, strict=True)
    ]


class Gradients:
    """Gradients of a rule's arguments, gathered from parts of the sequence: laid side by side, or added up."""

    def __init__(self, form: Form, outline: Sequence[tuple | None], xp: Any):
        self.form, self.outline, self.xp = form, outline, xp
        self.found: list[Array | None] = [None] * len(outline)

    def put(self, where: Any, gradients: Sequence[Array | None]) -> tuple:
        """Takes in what the part at index ``where`` asks of sequences and weights; returns what it asks of states."""
        after = sum(self.form)
        for k, (shape_dtype, new) in enumerate(zip(self.outline, gradients, strict=False)):
            if shape_dtype is None or new is None or self.form.sequences <= k < after:
                continue
            if k >= after:
                self.found[k] = new if self.found[k] is None else self.found[k] + new
            else:
                if self.found[k] is None:
                    self.found[k] = self.xp.zeros(shape_dtype[0], new.dtype)
                self.found[k][where] = new  # type: ignore[index]
        return self.form.split(gradients)[1]

    def entries(self, dstates: Sequence[Array | None]) -> tuple[Array | None, ...]:
        """One entry per argument: zeros where no part asked for anything, ``None`` where nothing was wanted."""
        xs, _, weights = self.form.split(self.found)
        return tuple(
            None if shape_dtype is None else self.xp.zeros(*shape_dtype) if found is None else found
            for shape_dtype, found in zip(self.outline, (*xs, *dstates, *weights), strict=True)
        )


def named(combined: Callable, name: str, parameters: Iterable[str], rule: Callable, **static: Any) -> Callable:
    """``combined`` under its name, with a signature: positional parameters, static ones of ``rule`` and its own.

    Reports and error messages take the names of arguments from it, the tape whether the rule listens to ``wanted``.
    """
    inherited = {p.name: p for p in signature(rule).parameters.values() if p.kind is p.KEYWORD_ONLY}
    inherited |= {key: Parameter(key, Parameter.KEYWORD_ONLY, default=value) for key, value in static.items()}
    inherited |= {key: p for key, p in signature(combined).parameters.items() if key == "wanted"}
    places = [Parameter(key, Parameter.POSITIONAL_OR_KEYWORD) for key in parameters]
    combined.__name__ = combined.__qualname__ = name
    combined.__signature__ = Signature([*places, *inherited.values()])  # type: ignore[attr-defined]
    return combined
