"""What a combinator has to know of a rule: which of its arguments are sequences, which states, and which weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from itertools import takewhile
from numbers import Integral
from typing import Any, NamedTuple

from minirnn.arrays import Array, joint_dtype, xp_of
from minirnn.explaining import kind_of, name_of, refuse_answer, refuse_gradients
from minirnn.kernels import kernels_of
from minirnn.memory import is_sole

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


def selective(rule: Callable) -> Callable:
    """The rule, to be told what is wanted: itself if it is of this library, else watched, whether it listens or not.

    What somebody else wrote is looked at wherever it answers, and made to save nothing where nothing is wanted.
    """
    names, listens = positional(rule), any(p.name == "wanted" for p in parameters_of(rule))
    if listens and (combinators_of(rule) or rule.__module__.startswith("minirnn.")):
        return rule
    states = [k for k, name in enumerate(names) if name.endswith("_prev")]  # of a step

    def asked(*arguments: Any, wanted: Sequence[bool], **static: Any) -> tuple[Any, Callable]:
        answer = rule(*arguments, **static, **({"wanted": wanted} if listens else {}))
        refuse_answer(rule, answer)
        output, pullback = answer
        if states:
            _refuse_states(rule, output, [names[k] for k in states], [arguments[k] for k in states])
        shapes = [shape_dtype and shape_dtype[0] for shape_dtype in outline(arguments, wanted)]
        pull = pullback if any(wanted) else lambda *cotangents: (None,) * len(wanted)

        def asked_pullback(*cotangents: Any) -> tuple:
            gradients = pull(*cotangents)
            refuse_gradients(rule, gradients, names, shapes)
            return tuple(dx if flag else None for dx, flag in zip(gradients, wanted, strict=False))

        return output, asked_pullback

    return named("", asked, names, rule)


def _refuse_states(step: Callable, output: Any, names: Sequence[str], prevs: Sequence[Any]) -> None:
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
            f"{name_of(step)} takes {', '.join(names)} and must return {how} for output, got {kind_of(output)}"
        )
    for name, prev, new in zip(names, prevs, news, strict=True):
        if new.shape != prev.shape:
            raise ValueError(f"{name_of(step)}: the new state has shape {new.shape}, {name} before it {prev.shape}")


def outline(arguments: Sequence[Array | None], wanted: Sequence[bool]) -> list[tuple | None]:
    """Shape and dtype of every argument whose gradient is wanted: all that is kept of it until the way back."""
    return [
        (x.shape, x.dtype) if flag and x is not None and x.dtype.kind in "fc" else None
        for x, flag in zip(arguments, wanted, strict=True)
    ]


class Gradients:
    """Gradients of a rule's arguments, gathered from parts of the sequence: laid side by side, or added up."""

    def __init__(self, form: Form, shapes: Sequence[tuple | None], xp: Any):
        self.form, self.shapes, self.xp = form, shapes, xp
        self.found: list[Array | None] = [None] * len(shapes)

    def put(self, where: Any, gradients: Sequence[Array | None]) -> tuple:
        """Takes in what the part at index ``where`` asks of sequences and weights; returns what it asks of states."""
        after = sum(self.form)
        for k, (shape_dtype, new) in enumerate(zip(self.shapes, gradients, strict=False)):
            if shape_dtype is None or new is None or self.form.sequences <= k < after:
                continue
            if k >= after:
                add_to(self.found, k, new)
            else:
                held = self.found[k]
                if held is None:
                    held = kernels_of(new).empty(shape_dtype[0], new.dtype)
                    held.fill(0)
                self.found[k] = held.astype(joint_dtype(held, new), copy=False)  # some parts may ask in complex numbers
                self.found[k][where] = new  # type: ignore[index]
        return self.form.split(gradients)[1]

    def entries(self, dstates: Sequence[Array | None]) -> tuple[Array | None, ...]:
        """One entry per argument: zeros where no part asked for anything, ``None`` where nothing was wanted."""
        xs, _, weights = self.form.split(self.found)
        return tuple(
            None if shape_dtype is None else self.xp.zeros(*shape_dtype) if found is None else found
            for shape_dtype, found in zip(self.shapes, (*xs, *dstates, *weights), strict=True)
        )


def add_to(totals: list[Any], k: int, part: Any) -> None:
    """``totals[k] += part``, from ``None`` on: in place if nobody else refers to that array.

    If somebody does, the sum goes into memory that was used before. The pages of a fresh array would cost more than to
    add it up, which happens for each weight in each run of steps and in each share of a batch.
    """
    if totals[k] is None:
        totals[k] = part
    elif is_sole(totals, k) and totals[k].dtype == part.dtype:
        totals[k] += part
    else:
        room = kernels_of(part).empty(part.shape, joint_dtype(totals[k], part))
        totals[k] = xp_of(part).add(totals[k], part, out=room)


def named(combinator: str, combined: Callable, parameters: Iterable[str], rule: Callable, /, **static: Any) -> Callable:
    """What ``combined`` computes, as a rule named ``combinator(rule)``: every combinator ends here.

    Parameters
    ----------
    combinator : str
        Its name; without one the rule keeps its own.
    combined : callable
        ``(*arguments, wanted, **static) -> (output, pullback)``, or without ``wanted`` if it does not listen to it.
    parameters : iterable of str
        Names of the positional arguments. Reports and error messages take them from the signature.
    rule : rule
        What it was made of, whose static arguments it takes.
    **static
        Static arguments of its own, with their defaults.
    """
    inherited = {p.name: p for p in parameters_of(rule) if p.kind is p.KEYWORD_ONLY}
    inherited |= {key: Parameter(key, Parameter.KEYWORD_ONLY, default=value) for key, value in static.items()}
    listens = "wanted" in signature(combined).parameters
    if listens:
        inherited["wanted"] = Parameter("wanted", Parameter.KEYWORD_ONLY, default=None)
    names = list(parameters)
    required = len(names) - sum(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is None for p in parameters_of(rule))
    places = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=Parameter.empty if k < required else None)
        for k, name in enumerate(names)
    ]

    def made(*arguments: Any, **static: Any) -> tuple[Any, Callable]:
        if not required <= len(arguments) <= len(names):
            raise TypeError(f"{made.__name__} takes the arrays {', '.join(names)}; got {len(arguments)} of them")
        if listens:
            static["wanted"] = static.get("wanted") or (True,) * len(arguments)
        output, pullback = combined(*arguments, **static)
        count = len(output) if isinstance(output, tuple) else 1

        def made_pullback(*cotangents: Array) -> tuple:
            if len(cotangents) != count:
                asks = f"must be given a cotangent for each of its {count} outputs"
                raise TypeError(f"the pullback of {made.__name__} {asks}, got {len(cotangents)}")
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
