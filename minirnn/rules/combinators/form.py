"""What a combinator has to know of a rule: which of its arguments are sequences, states and weights; who made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from itertools import takewhile
from numbers import Integral
from typing import Any, NamedTuple

from minirnn.arrays import Array, xp_of
from minirnn.explaining import kind_of, name_of

# what a rule may look into besides: arguments that stand behind the states, a column for every sequence as they have
MEMORY = ("keys", "values", "mask")


class Form(NamedTuple):
    """How many sequences and how many states a rule takes before its weights."""

    sequences: int
    states: int

    def split(self, arguments: Sequence) -> tuple[tuple, tuple, tuple]:
        """Arguments, or gradients, as (sequences, states, weights)."""
        end = self.sequences + self.states
        return tuple(arguments[: self.sequences]), tuple(arguments[self.sequences : end]), tuple(arguments[end:])

    def with_states(self, wanted: Sequence[bool]) -> tuple[bool, ...]:
        """What a part of the sequence after the first has to find: of the states too, as soon as anything is wanted."""
        xs, states, weights = self.split(wanted)
        return *xs, *(any(wanted) for _ in states), *weights


def parameters_of(rule: Callable) -> list[Parameter]:
    """The parameters of a rule.

    Raises
    ------
    TypeError
        If it is none: an operation on tensors, a layer, or something else.
    """
    if hasattr(rule, "rule"):
        raise TypeError(
            f"expected a rule, a function of arrays, got an operation on tensors; use rules.{rule.__name__}"
        )
    if not callable(rule) or not (hasattr(rule, "__name__") or hasattr(rule, "func")):
        raise TypeError(f"expected a rule, a function of arrays that returns (output, pullback), got {rule!r}")
    return list(signature(rule).parameters.values())


def positional(rule: Callable) -> list[str]:
    """Names of the positional parameters of a rule."""
    return [p.name for p in parameters_of(rule) if p.kind is p.POSITIONAL_OR_KEYWORD]


def form_of(rule: Callable, ending: str = "_0", memory: bool = False) -> Form:
    """The form of a sequence rule; of a step rule with ``ending="_prev"``.

    Raises
    ------
    TypeError
        If the names of the parameters do not tell it, or tell of a ``MEMORY`` that ``memory`` does not allow.

    Examples
    --------
    >>> from minirnn import rules
    >>> form_of(rules.lstm)
    Form(sequences=1, states=2)
    """
    names = positional(rule)
    places = [k for k, name in enumerate(names) if name.endswith(ending)]
    if not places or places != list(range(places[0], places[-1] + 1)) or places[0] == 0:
        is_a_step = ending == "_0" and any(name.endswith("_prev") for name in names)
        hint = f"; of a step, scan({name_of(rule)}) makes such a rule" if is_a_step else ""
        raise TypeError(
            f"{name_of(rule)} must take (*sequences, *states, *weights), the states and they alone named ...{ending}; "
            f"its positional parameters are {', '.join(names) or 'none'}{hint}"
        )
    form = Form(places[0], len(places))
    looked_into = memory_of(names, form)
    if looked_into and not memory:
        raise TypeError(
            f"{name_of(rule)} looks into a memory ({', '.join(looked_into)}) and returns more than (ys, *ends); "
            "of the combinators only shard takes such a rule"
        )
    return form


def memory_of(names: Sequence[str], form: Form) -> list[str]:
    """Names of the positional parameters that are a ``MEMORY``."""
    return list(takewhile(MEMORY.__contains__, names[sum(form) :]))


def named(combinator: str, combined: Callable, parameters: Iterable[str], rule: Callable, /, **static: Any) -> Callable:
    """What ``combined`` computes, as a rule named ``combinator(rule)``: every combinator ends here.

    Parameters
    ----------
    combinator : str
        Its name; without one the rule keeps its own.
    combined : callable
        ``(*arguments, wanted, **static) -> (output, pullback)``.
    parameters : iterable of str
        Names of the positional arguments. Reports and error messages take them from the signature.
    rule : rule
        What it was made of, whose static arguments it takes.
    **static
        Static arguments of its own, with their defaults.
    """
    inherited = {p.name: p for p in parameters_of(rule) if p.kind is p.KEYWORD_ONLY}
    inherited |= {key: Parameter(key, Parameter.KEYWORD_ONLY, default=value) for key, value in static.items()}
    inherited["wanted"] = Parameter("wanted", Parameter.KEYWORD_ONLY, default=None)
    names = list(parameters)
    required = len(names) - sum(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is None for p in parameters_of(rule))
    places = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=Parameter.empty if k < required else None)
        for k, name in enumerate(names)
    ]

    def made(*arguments: Any, wanted: Sequence[bool] | None = None, **static: Any) -> tuple[Any, Callable]:
        arrays = all(x is None or hasattr(x, "shape") for x in arguments)
        if not (arrays and required <= len(arguments) <= len(names)):
            raise TypeError(f"{made.__name__} takes the arrays {', '.join(names)}; got {kind_of(arguments)}")
        output, pullback = combined(*arguments, wanted=wanted or (True,) * len(arguments), **static)
        outputs = output if isinstance(output, tuple) else (output,)
        shapes = [y.shape for y in outputs]
        of_counts = {k: xp_of(y).zeros_like(y) for k, y in enumerate(outputs) if y.dtype.kind in "biu"}  # nothing

        def made_pullback(*cotangents: Array) -> tuple:
            cotangents = tuple(of_counts.get(k, dy) for k, dy in enumerate(cotangents))
            if [getattr(dy, "shape", None) for dy in cotangents] != shapes:  # NumPy would stretch what is too small
                asked = f"a cotangent of each output, in shapes {', '.join(map(str, shapes))}"
                raise ValueError(f"the pullback of {made.__name__} takes {asked}; got {kind_of(cotangents)}")
            return pullback(*cotangents)

        made_pullback.__name__ = pullback.__name__
        return output, made_pullback

    made.__name__ = made.__qualname__ = f"{combinator}({name_of(rule)})" if combinator else name_of(rule)
    made.__signature__ = Signature([*places, *inherited.values()])  # type: ignore[attr-defined]
    made.combinators = (combinator, *combinators_of(rule))  # type: ignore[attr-defined]
    return made


def combinators_of(rule: Callable) -> tuple[str, ...]:
    """The combinators that made a rule, the outermost first."""
    return getattr(rule, "combinators", ())


def refuse_inside(combinator: str, rule: Callable, **why: str) -> None:
    """Raise if a combinator named in ``why`` made the rule: what would come out would not be what its name says.

    Raises
    ------
    TypeError
        Saying why, and which order to write.
    """
    for inner in combinators_of(rule):
        if inner in why:
            raise TypeError(f"{combinator}({name_of(rule)}): {why[inner]}; write {inner}({combinator}(...))")


def checked_lengths(
    static: Mapping[str, Any], xs: Sequence[Array], states: Sequence[Array]
) -> tuple[dict[str, Any], list[int] | None]:
    """The static arguments with ``lengths`` as integers of their own, and these; ``None`` if there are none.

    Raises
    ------
    ValueError
        If lengths are not one integer from 0 to T for each column, or sequences and states differ in columns.
    """
    lengths, (T, *_, B) = static.get("lengths"), xs[0].shape
    if lengths is None:
        return dict(static), None
    if any(x.shape[-1] != B for x in (*xs, *states)):
        columns = ", ".join(str(x.shape[-1]) for x in (*xs, *states))
        raise ValueError(f"sequences and states must have the same number of columns, got {columns}")
    found = list(lengths) if hasattr(lengths, "__iter__") else []
    if len(found) != B or not all(isinstance(n, Integral) and n is not True and 0 <= int(n) <= T for n in found):
        raise ValueError(f"lengths must be {B} integers from 0 to {T}, got {lengths}")
    found = [int(n) for n in found]
    return {**static, "lengths": found}, found


def part_of(static: Mapping[str, Any], now: slice, takes_first: bool) -> dict[str, Any]:
    """Static arguments as the steps ``now`` of a sequence have to see them: those that count steps count from there."""
    there, probe = dict(static), static.get("probe")
    if static.get("lengths") is not None:
        there["lengths"] = [min(max(n - now.start, 0), now.stop - now.start) for n in static["lengths"]]
    if probe is not None:
        there["probe"] = lambda name, t, array: probe(name, t + now.start, array)
    if takes_first:
        there["first"] = static.get("first", 0) + now.start
    return there
