"""Gradient flow: how large the gradient of the loss is at each state, step by step back through time.

BPTT carries dh, all that is asked of h_t, from step to step. In an RNN one step takes dh to W_hh.T (slope * dh), and no
slope of tanh or relu exceeds one. So with sigma, the largest singular value of W_hh, and what the loss asks directly,

    |dh_t| <= |direct_t| + sigma * |dh_{t+1}|                the bound

holds for every loss and every input (Pascanu et al. 2013). The spectral radius rho <= sigma, the largest absolute
eigenvalue, bounds no single step. It is the pace in the long run: |(W^n)|**(1/n) tends to rho, so

    pace_t = |direct_t| + rho * pace_{t+1}                   the pace

is what a long chain comes near to as long as all slopes are one. With a loss at the last step only, k steps back it is
rho**k. Where W_hh is normal, such as a multiple of an orthogonal matrix, bound and pace are the same. LSTM and GRU
carry gradients past the matrix, through their gates: neither line is a bound there, and none is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minirnn.arrays import to_numpy
from minirnn.lens.plotting import GREY, LINES, heatmap, hold, literal, magnitudes, shades, tidy
from minirnn.lens.recording import Place, Recording
from minirnn.lens.results import Reading, norms, number, paragraphs


@dataclass(frozen=True)
class FlowAt:
    """The flow through one layer in one direction. Steps stand in the order of time.

    Attributes
    ----------
    norms : dict of str to array
        Of each state, ``"h"`` and for an LSTM ``"c"``, the norm of its gradient over units and columns, ``(T,)``.
    units : dict of str to array
        The same by unit: norms over columns, ``(T, H)``.
    direct : array, (T,)
        The norm of what is asked of h_t other than by the next step: by the loss, or by the layer above.
    radius, sigma : dict of str to float
        Spectral radius and largest singular value of the square blocks of ``W_hh``, by gate.
    bound, pace : array, (T,), or None
        Of an RNN's dh, as above.
    reverse : bool
        Whether the layer reads from the end: gradients flow towards later steps then.
    """

    norms: dict[str, np.ndarray]
    units: dict[str, np.ndarray]
    direct: np.ndarray
    radius: dict[str, float]
    sigma: dict[str, float]
    bound: np.ndarray | None
    pace: np.ndarray | None
    reverse: bool

    def ends(self, state: str) -> tuple[float, float]:
        """Norms where the way back begins and where it ends."""
        first, last = self.norms[state][0], self.norms[state][-1]
        return (float(first), float(last)) if self.reverse else (float(last), float(first))


@dataclass(frozen=True)
class Flow(Reading):
    """What the loss asks of the states of every layer, step by step; see `flow`."""

    places: dict[str, FlowAt]

    def __str__(self) -> str:
        lines = [f"{self.title}: how large the gradient of the loss is at every state, on its way back through time"]
        for name, at in self.places.items():
            alone = np.count_nonzero(at.direct) <= 1
            for state in at.norms:
                start, end = at.ends(state)
                lines.append(
                    f"  {name}: |dL/d{state}| is {start:.3g} where the way back begins, {end:.3g} where it ends"
                )
                lines[-1] += f": {fate(start, end, len(at.direct) - 1)}" if alone else ""
            if not alone:
                lines.append(
                    "    (it is asked for at many steps, so each norm is that of a sum; lens.lags takes it apart)"
                )
            lines.append(f"    spectral radius of W_hh {listed(at.radius)}; largest singular value {listed(at.sigma)}")
            if at.pace is not None:
                lines.append("    no |dL/dh| can exceed the bound that the singular value sets;")
                lines[-1] += f" the pace of the radius would leave {at.pace[-1 if at.reverse else 0]:.3g}"
                lines[-1] += " if every slope were one"
        return paragraphs(lines)

    def draw(self, figure: Any) -> str:
        """A row for every place: the norms over time, and each unit's."""
        figure.set_size_inches(8.5, 3.6 * len(self.places) + 0.4)
        grid = figure.subplots(len(self.places), 2, squeeze=False, width_ratios=(1.1, 1))
        for (name, at), (curve, heat) in zip(self.places.items(), grid, strict=True):
            for (state, values), colour in zip(at.norms.items(), LINES, strict=False):
                curve.plot(positive(values), color=colour, linewidth=1.8, label=f"gradient at {state}")
            if at.bound is not None and at.pace is not None:
                curve.plot(positive(at.bound), "--", color=GREY, linewidth=1, label="bound (singular value of W_hh)")
                curve.plot(positive(at.pace), ":", color=GREY, linewidth=1.4, label="pace of the spectral radius")
            curve.set_yscale("log")
            hold(curve, *(positive(x) for x in (*at.norms.values(), at.pace) if x is not None))
            tidy(curve, f"{name}: size of the gradient at each step", "step t", "norm, logarithmic")
            curve.legend(frameon=False, fontsize="small")
            heatmap(
                heat,
                magnitudes(at.units["h"]).T,
                f"{name}: gradient at h, unit by unit",
                "step t",
                "unit",
                "log10 of its size",
            )
        return f"How the gradient flows back through time: {self.title}"

    @staticmethod
    def draw_several(figure: Any, flows: Sequence[Flow]) -> str:
        """A panel for every cell, a line for every recording of it: of its last layer, forward."""
        cells, explained = list(dict.fromkeys(flow.cell for flow in flows)), None
        figure.set_size_inches(max(3 * len(cells), 5), 3.8)
        for cell, axes in zip(cells, figure.subplots(1, len(cells), sharey=True, squeeze=False)[0], strict=True):
            own = [flow for flow in flows if flow.cell == cell]
            for flow, colour in zip(own, shades(len(own)), strict=True):
                at = [at for at in flow.places.values() if not at.reverse][-1]
                axes.plot(positive(at.norms["h"]), color=colour, linewidth=1.8, label=literal(flow.label or cell))
                if at.pace is not None:
                    axes.plot(positive(at.pace), ":", color=colour, linewidth=1)
            axes.set_yscale("log")
            tidy(axes, cell + (" (dotted: the pace of its radius)" if cell == "RNN" else ""), "step t")
            labels = [flow.label for flow in own]
            if labels != explained:
                axes.legend(frameon=False, fontsize="small")
                explained = labels
        figure.axes[0].set_ylabel("norm of the gradient at h, logarithmic")
        return "How the gradient flows back through time"


def flow(recording: Recording) -> Flow:
    """How large the gradient of the loss is at every state: does it vanish, explode, or keep its size on the way back?

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    Flow

    Examples
    --------
    >>> from minirnn import lens
    >>> seen = lens.flow(lens.specimen("rnn", radius=0.5, hidden=8, seq_len=50))
    >>> norms = seen.places["l0"].norms["h"]
    >>> bool(norms[0] < 1e-12 * norms[-1])
    True
    """
    return Flow(recording.cell, recording.label, {name: flow_at(place) for name, place in recording.places.items()})


def flow_at(place: Place) -> FlowAt:
    """The flow through one place."""
    states = [name for name in ("h", "c") if f"d{name}" in place.record.names]
    gradients = {name: to_numpy(place.record[f"d{name}"]) for name in states}
    direct, end, *_ = (norms(to_numpy(d), -2) for d in place.walk.asked)  # (T, B) and (B,)
    square = {gate: block for gate, block in place.blocks().items() if block.shape[0] == block.shape[1]}
    radius = {gate: float(np.abs(np.linalg.eigvals(block)).max()) for gate, block in square.items()}
    sigma = {gate: float(np.linalg.norm(block, 2)) for gate, block in square.items()}
    lengths = place.walk.lengths or [len(direct)] * len(end)
    bound, pace = (
        norms(place.in_time(carried(direct, end, factor["a"], lengths)), 1) if "a" in factor else None
        for factor in (sigma, radius)
    )
    return FlowAt(
        {name: norms(d, (1, 2)) for name, d in gradients.items()},
        {name: norms(d, 2) for name, d in gradients.items()},
        norms(place.in_time(direct), 1),
        radius,
        sigma,
        bound,
        pace,
        place.reverse,
    )


def carried(direct: np.ndarray, end: np.ndarray, factor: float, lengths: Sequence[int]) -> np.ndarray:
    """``direct[t]`` and ``factor`` times what comes from step t + 1, ``(T, B)``; ``end`` joins at a column's end."""
    line, following = np.zeros_like(direct), np.zeros_like(end)
    with np.errstate(over="ignore"):  # a bound may be infinite
        for t in reversed(range(len(direct))):
            following = direct[t] + np.where(np.equal(lengths, t + 1), end, factor * following)
            line[t] = following
    return line


def fate(start: float, end: float, steps: int) -> str:
    """In words what became of a norm on its way."""
    if not start or not end or not steps:
        return "nothing arrives" if not end else "nothing was asked there" if not start else "one step"
    factor = (end / start) ** (1 / steps)
    limits = {1e-3: "it vanishes", 0.1: "it shrinks", 10: "it keeps its order of size", 1e3: "it grows"}
    words = next((words for limit, words in limits.items() if end < limit * start), "it explodes")
    return f"{words}, a factor of {factor:.3f} each step"


def listed(values: dict[str, float]) -> str:
    """Numbers by gate."""
    if not values:
        return "none, its blocks are not square"
    return ", ".join(number(value) if gate == "a" else f"{gate} {number(value)}" for gate, value in values.items())


def positive(values: np.ndarray) -> np.ndarray:
    """For a logarithmic axis: gaps where a value is zero, or larger than an axis with room around it can hold."""
    return np.where((values > 0) & (values < 1e250), values, np.nan)
