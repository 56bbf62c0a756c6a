"""What a combinator asks of the rule inside, no more than is wanted; and how the answers of its parts become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minirnn.arrays import Array, joint_dtype, xp_of
from minirnn.explaining import kind_of, name_of, refuse_answer, refuse_gradients
from minirnn.kernels import kernels_of
from minirnn.memory import is_sole
from minirnn.rules.combinators.form import Form, combinators_of, named, parameters_of, positional


def selective(rule: Callable) -> Callable:
    """The rule, to be told what is wanted: itself if it is of this library, else watched, whether it listens or not.

    What somebody else wrote is looked at wherever it answers, and made to save nothing where nothing is wanted.
    """
    names, listens = positional(rule), any(p.name == "wanted" for p in parameters_of(rule))
    if combinators_of(rule) or (listens and rule.__module__.startswith("minirnn.")):
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
        If it is not that many.
    ValueError
        If one has another shape than the state before it.
    """
    news, several = output if isinstance(output, tuple) else (output,), len(prevs) > 1
    if isinstance(output, tuple) != several or len(news) != len(prevs):
        how = f"a tuple of its {len(prevs)} new states" if several else "its new state, an array,"
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
