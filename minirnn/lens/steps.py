"""The backward pass one step at a time: every line of the derivation with its numbers filled in.

The problem. A derivation is read in symbols and run in numbers, and between the two one gets lost: which dh is this,
where did it come from, and is it really so small?

The answer. A recorded backward pass holds everything that the rules were given, have shown and have returned. So each
line of the derivation, in ``steps_lines.py``, is written out for each unit: on its left a number that the rules have
computed, on its right the formula with their numbers in it. Nothing is computed here but the sum of the terms that are
too many to be shown, and every line can be checked by hand. The tests check them all.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minirnn import rules
from minirnn.arrays import to_numpy
from minirnn.lens.recording import Place, Recording
from minirnn.lens.results import paragraphs
from minirnn.lens.steps_filling import ALL, DIGITS, SOME, Piece, filled, number
from minirnn.lens.steps_lines import Derivation, Line, derivation_of

Values = Mapping[str, np.ndarray]  # of every name in the lines of a step: (H,), of weights and their gradients (H, H)


@dataclass(frozen=True)
class Steps:
    """A backward pass of one layer over one sequence, to be read step by step; `step` makes it.

    Attributes
    ----------
    label : str
        What was recorded.
    derivation : Derivation
        The lines of its cell.
    values : tuple of dict of str to array
        For each step, in the order of the run, the values of all names in these lines: ``(H,)``, of weights and of
        their gradients ``(H, H)``.
    units : tuple of int
        Which units are shown: all of a small state, of a large one those of which most is asked.
    tokens : tuple of str
        What the layer read at each step, in quotation marks; empty where nobody has said it.
    """

    label: str
    derivation: Derivation
    values: tuple[Values, ...]
    units: tuple[int, ...]
    tokens: tuple[str, ...] = ()

    @property
    def hidden(self) -> int:
        """How many units there are."""
        return len(self.values[0]["h_t"])

    def lines(self, t: int) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
        """The lines of step ``t``, there and back; the last step has no step after it, and starts from the ends."""
        there, back = self.derivation.there, self.derivation.back
        if t < len(self.values) - 1:
            return there, back
        ends = {"dh_prev[t+1]": "dh_T", "dc_prev[t+1]": "dc_T", "step t + 1": "whoever goes on"}
        return there, tuple(Line(*(replaced(part, ends) for part in line)) for line in back)

    def left(self, t: int, line: Line, unit: int, digits: int = DIGITS) -> str:
        """What the rules have computed for the left side of a line: a number, or a row of numbers."""
        value = self.values[t][line.left][unit]
        return (
            number(value, digits) if value.ndim == 0 else f"[{', '.join(number(value[k], digits) for k in self.units)}]"
        )

    def right(self, t: int, line: Line, unit: int, digits: int = DIGITS) -> list[Piece]:
        """The right side of a line with the numbers of a unit in it."""
        return filled(line.right, self.values[t], unit, self.units, digits)

    def both(self, t: int, line: Line, unit: int) -> str:
        """A line with the numbers of a unit on both sides, as text."""
        return f"{self.left(t, line, unit)} = {''.join(piece.text for piece in self.right(t, line, unit))}"

    def title(self, t: int) -> str:
        """Which step this is, and what was read there."""
        last = len(self.values) - 1
        which = ", the only one" if last == 0 else ", the last" if t == last else ", the first" if t == 0 else ""
        return f"step {t}{which}" + (f": read {self.tokens[t]}" if self.tokens else "")

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types: for each step its lines, and for each line the units that are shown."""

        def written(t: int, lines: Sequence[Line]) -> list[dict[str, Any]]:
            return [{**line._asdict(), "units": {str(k): self.both(t, line, k) for k in self.units}} for line in lines]

        steps = []
        for t in range(len(self.values)):
            there, back = self.lines(t)
            token = {"token": self.tokens[t]} if self.tokens else {}
            steps.append({"t": t, **token, "there": written(t, there), "back": written(t, back)})
        return {"instrument": "step", "label": self.label, "cell": self.derivation.name, "steps": steps}

    def __str__(self) -> str:
        out = [
            f"The backward pass of {self.label}, one step at a time, the last step first.",
            "Each formula is one of the derivation, with its number there. Below it stands",
            "what it says, and what it came to: on the left what the rules have computed,",
            "on the right the formula with their numbers in it.",
        ]
        if len(self.units) < self.hidden:
            out += ["Units are those of which most is asked; … is the sum of all terms not shown."]
        for t in reversed(range(len(self.values))):
            there, back = self.lines(t)
            out += ["", self.title(t), "-" * len(self.title(t)), f"{'forward':>14}  what the step saved"]
            for k in self.units:
                saved = (f"{line.left} {number(self.values[t][line.left][k])}" for line in there)
                out.append(f"{'':16}unit {k}:  {', '.join(saved)}")
            for line in back:
                label, formula = f"({line.number})" if line.number else "", f"{line.left} = {line.right}"
                out += [f"{label:>14}  {formula}", f"{'':16}{line.says}"]
                out += [" " * 16 + unbroken(f"unit {k}:  {self.both(t, line, k)}") for k in self.units]
        return paragraphs(out).replace("\xa0", " ")


def step(recording: Recording, place: str = "", tokens: Sequence[str] = ()) -> Steps:
    """The backward pass of one layer, one step at a time, each formula with its numbers filled in.

    Parameters
    ----------
    recording : Recording
        Of one sequence (B = 1), by `minirnn.lens.record` or `specimen`.
    place : str, optional
        Which layer and direction: ``"l0"``, ``"l0_reverse"``, ...; the last without it. Steps count as the layer runs.
    tokens : sequence of str, optional
        What the layer read at each step, to be shown beside its number.

    Returns
    -------
    Steps
        ``str()`` of it is a text, `step_page` makes a page to walk through, ``to_dict()`` is for JSON.

    Raises
    ------
    ValueError
        If there are several sequences, no such place, not one token for each step; or an LSTM with peepholes or a
        projection, whose lines are not known here.

    Examples
    --------
    >>> from minirnn import lens
    >>> steps = lens.step(lens.specimen("rnn", hidden=2, seq_len=3))
    >>> dh, da, *_ = steps.derivation.back
    >>> da.right
    'dh * (1 - h_t**2)'
    """
    if recording.columns != 1:
        raise ValueError(f"recording must be of one sequence, got {recording.columns}: a step shows the numbers of one")
    place = place or list(recording.places)[-1]
    if place not in recording.places:
        raise ValueError(f"place must be one of {', '.join(recording.places)}, got {place!r}")
    found = recording.places[place]
    if not {"W_hr", "peepholes"}.isdisjoint(found.walk.weights):
        raise ValueError("recording must be of a plain LSTM: the lines of projections and peepholes are not shown here")
    derivation = derivation_of(recording.cell.lower(), found.walk.static, "b_hn" in found.walk.weights)
    values = _values(found, derivation)
    if tokens and len(tokens) != len(values):
        raise ValueError(f"tokens must be one for each of the {len(values)} steps, got {len(tokens)}")
    asked = np.sum([abs(at["dh"]) for at in values], axis=0)
    units = np.sort(np.argsort(-asked, kind="stable")[: SOME if len(asked) > ALL else None])
    label = f"{recording.title}, {place}" if len(recording.places) > 1 else recording.title
    return Steps(label, derivation, values, tuple(units.tolist()), tuple(quoted(token) for token in tokens))


def _values(place: Place, derivation: Derivation) -> tuple[Values, ...]:
    """For each step the values of all names in the lines, from what the rule was given, has shown and has returned."""
    walk, gates, H = place.walk, derivation.gates, len(place.walk.states[0][0])
    W, (dys, *ends), states = walk.weights, walk.asked, [name[0] for name in walk.names if name.endswith("_0")]
    a_xs = rules.affine(walk.xs[0], W["W_ih"], W.get("b"))[0] if "W_ih" in W else walk.xs[0]
    shown = {name: place.in_time(place.record[name]) for name in place.record.names}  # in the order of the run again
    asked, returned = tuple(ends), list[dict[str, Any]]()  # of each step the gradients of all that it was given
    for t in reversed(range(len(dys))):
        gradients = walk.pullbacks[t](dys[t : t + 1], *asked)
        asked = walk.form.split(gradients)[1]
        returned.insert(0, dict(zip(walk.names, gradients, strict=False)))

    def blocks(rows: Any) -> Iterator[tuple[str, np.ndarray]]:
        return zip(gates, to_numpy(rows).reshape(len(gates), H, -1), strict=True)

    found, T = [], walk.lengths[0] if walk.lengths else len(dys)
    for t in range(T):
        at = {f"{name}_t" if name in states else name: steps[t] for name, steps in shown.items()} | {"dhs[t]": dys[t]}
        for k, name in enumerate(states):
            at[f"{name}_prev"], at[f"d{name}_prev"] = walk.states[t][k], returned[t][f"{name}_0"]
            if t == T - 1:
                at[f"d{name}_T"] = ends[k]
            else:
                at[f"d{name}_prev[t+1]"] = returned[t + 1][f"{name}_0"]
        at = {name: to_numpy(column)[:, 0] for name, column in at.items()}
        at |= {f"a_xs_{gate}[t]" if gate else "a_xs[t]": block[:, 0] for gate, block in blocks(a_xs[t])}
        at |= {f"W_h{gate or 'h'}": block for gate, block in blocks(W["W_hh"])}
        at |= {f"dW_h{gate or 'h'}[t]": block for gate, block in blocks(returned[t]["W_hh"])}
        if "b_hn" in W:
            at |= {"b_hn": to_numpy(W["b_hn"]), "db_hn[t]": to_numpy(returned[t]["b_hn"])}
        found.append(at)
    return tuple(found)


def unbroken(text: str) -> str:
    """A formula in which a line may be broken before a plus alone: all other spaces become those that do not break."""
    return text.replace(" ", "\xa0").replace("\xa0+", " +")


def replaced(text: str, by: Mapping[str, str]) -> str:
    """A text with some of its parts replaced."""
    for old, new in by.items():
        text = text.replace(old, new)
    return text


def readable(token: str) -> str:
    r"""A token with what is invisible in it, or would rearrange the line, written out.

    Examples
    --------
    >>> [readable(token) for token in ("a", "\n", "\u202e", "\u0301")]
    ['a', '\\n', '\\u202e', '◌́']
    """
    dotted = f"◌{token}" if token and unicodedata.combining(token[0]) else token
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in dotted)


def quoted(token: str) -> str:
    """A token as it can be read, in quotation marks.

    Examples
    --------
    >>> quoted(" ")
    "' '"
    """
    return f"'{readable(token)}'"
