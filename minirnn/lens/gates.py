"""Gates: how much of the time each is open, closed, or saturated, and so passes next to no gradient to its inputs.

A sigmoid gate above 0.9 counts as open and below 0.1 as closed, as in Karpathy et al. (2015). A tanh beyond 0.9 or -0.9
is saturated: its slope, 1 - y**2, is below 0.19. A relu unit at 0 is silent, and passes no gradient at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minirnn.arrays import to_numpy
from minirnn.lens.plotting import LINES, tidy
from minirnn.lens.recording import Place, Recording
from minirnn.lens.results import Reading, paragraphs

SIGMOID, TANH, RELU = (0.1, 0.9), (-0.9, 0.9), (0.0, np.inf)  # below the first low, above the second high
KINDS = {"i": SIGMOID, "f": SIGMOID, "o": SIGMOID, "r": SIGMOID, "z": SIGMOID, "g": TANH, "n": TANH}
KEEPS = ("f", "z")  # what they multiply is the state before the step
LOW, BETWEEN, HIGH = "#d55e00", "#dddddd", "#0072b2"
WORDS = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
    "h": "state h",
}


@dataclass(frozen=True)
class Gate:
    """One gate of one place. Arrays are ``(T, H)``, by step, in the order of time, and unit; T is the longest column's.

    Attributes
    ----------
    limits : tuple of float
        What counts as low and as high.
    low, high : array
        The share of columns at or beyond either limit: closed and open, or saturated on either side.
    mean : array
        Over columns.
    half_life : array, (H,), or None
        Of the gates that keep what is stored, ``f`` and ``z``: in how many steps a unit loses half of it, by the
        geometric mean of its gate.
    """

    limits: tuple[float, float]
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    half_life: np.ndarray | None


@dataclass(frozen=True)
class Gates(Reading):
    """How the gates of every layer stood; see `gates`. ``places[place][gate]`` is a `Gate`."""

    places: dict[str, dict[str, Gate]]

    def __str__(self) -> str:
        lines = [f"{self.title}: how the gates stood, over all steps, units and columns"]
        for name, found in self.places.items():
            lines += [f"  {name} {WORDS[gate]}: {in_words(of)}" for gate, of in found.items()]
        return paragraphs(lines)

    def draw(self, figure: Any) -> str:
        """For every place the shares of each gate, its mean over time, and the mean of each unit."""
        figure.set_size_inches(9.5, 3.2 * len(self.places) + 0.5)
        grid = figure.subplots(len(self.places), 3, squeeze=False, width_ratios=(1.1, 1.2, 1))
        for (name, found), (shares, curve, units) in zip(self.places.items(), grid, strict=True):
            for k, ((gate, of), colour) in enumerate(zip(found.items(), LINES, strict=False)):
                low, high = of.low.mean(), of.high.mean()
                shares.barh(k, low, color=LOW, label=None if k else "closed, or saturated low")
                shares.barh(k, 1 - low - high, left=low, color=BETWEEN, label=None if k else "between")
                shares.barh(k, high, left=1 - high, color=HIGH, label=None if k else "open, or saturated high")
                curve.plot(of.mean.mean(axis=1), color=colour, linewidth=1.4, label=gate)
                units.plot(np.sort(of.mean.mean(axis=0)), color=colour, linewidth=1.4, label=gate)
            tidy(shares, f"{name}: share of the time", "share")
            shares.set_yticks(range(len(found)), [WORDS[gate] for gate in found])
            shares.invert_yaxis()
            shares.margins(x=0)
            shares.legend(frameon=False, fontsize="x-small", loc="upper center", bbox_to_anchor=(0.4, -0.18))
            tidy(curve, "mean of all units", "step t")
            tidy(units, "mean of each unit, sorted", "unit")
            units.legend(frameon=False, fontsize="small")
        return f"How the gates stood: {self.title}"


def in_words(of: Gate) -> str:
    """What a gate did, for a line of text."""
    low, high = of.low.mean(), of.high.mean()
    if of.limits == RELU:
        return f"silent {low:.0%} of the time, and passes no gradient then"
    if of.limits == TANH:
        return f"saturated (beyond 0.9) {low + high:.0%} of the time"
    words = f"open (above 0.9) {high:.0%}, closed (below 0.1) {low:.0%}, mean {of.mean.mean():.2f}"
    if of.half_life is None:
        return words
    middle, longest = np.median(of.half_life), of.half_life.max()
    return f"{words}; half of what is stored is lost in {middle:.3g} steps (median unit; slowest: {longest:.3g})"


def gates(recording: Recording) -> Gates:
    """How much each gate was open, closed or saturated, by unit and step; of an RNN its states.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    Gates

    Examples
    --------
    >>> from minirnn import lens
    >>> seen = lens.gates(lens.specimen("gru", hidden=4, seq_len=20)).places["l0"]
    >>> sorted(seen), seen["z"].high.shape
    (['n', 'r', 'z'], (20, 4))
    """
    found = {name: gates_at(place) for name, place in recording.places.items()}
    return Gates(recording.cell, recording.label, found)


def gates_at(place: Place) -> dict[str, Gate]:
    """The gates of one place."""
    if place.gates == ("a",):
        relu = place.walk.static.get("nonlinearity") == "relu"
        return {"h": gate_of(place, "h", RELU if relu else TANH)}
    return {name: gate_of(place, name, KINDS[name]) for name in place.gates}


def gate_of(place: Place, name: str, limits: tuple[float, float]) -> Gate:
    """One gate: shares over those columns that have the step."""
    values = to_numpy(place.record[name]).astype(np.float64)
    lengths = np.array(place.walk.lengths or [len(values)] * values.shape[2])
    values = values[: lengths.max()]
    there = np.arange(len(values))[:, None, None] < lengths  # (T, 1, B)
    low, high, mean = (
        (x * there).sum(axis=2) / there.sum(axis=2) for x in (values <= limits[0], values >= limits[1], values)
    )
    half_life = None
    if name in KEEPS:
        with np.errstate(divide="ignore"):  # a gate that was shut once keeps nothing
            logs = np.log(values, where=there, out=np.zeros_like(values)).sum(axis=(0, 2)) / there.sum()
            half_life = np.log(0.5) / logs
    return Gate(limits, low, high, mean, half_life)
