"""Lags: which loss taught which step. The gradient of a weight, taken apart by where it was asked and where used.

A weight is used at every step, and the loss looks at every output. So its gradient is a double sum,

    dL/dW = sum over t and s of G[t, s]

where G[t, s] is what the loss at the output of step t contributes by way of step s: for an RNN da_s h_{s-1}.T, with
da_s the cotangent that has come from t alone. BPTT adds all of them up as it goes. Here every t walks back by itself: T
ways back of up to T steps cost T/2 times as much as one BPTT. To remember over a lag, a network must receive gradients
over that lag; so the sums over t - s = lag say how long the memory is that is being taught.

The law: all parts add up to the gradient of the whole loss, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minirnn.arrays import to_numpy
from minirnn.lens.plotting import GREY, LINES, SIGNED, heatmap, tidy
from minirnn.lens.recording import Place, Recording
from minirnn.lens.results import Reading, norms, paragraphs

BLOCKS = {"W_hr": ("h",), "peepholes": ("i", "f", "o"), "b_hn": ("n",)}  # rows that are not one block for each gate


@dataclass(frozen=True)
class LagsOf:
    """The gradient of one weight of one place, taken apart. Steps stand in the order of time.

    Attributes
    ----------
    gates : tuple of str
        Blocks of its rows.
    norms : array, (gates, T, T)
        The norm of each part G[t, s], by gate.
    shares : array, (gates, T, T)
        What each part gives to the gradient: its length along it, as a fraction. They sum to 1; a negative one was
        outvoted.
    total : array
        The sum of all parts, in the shape of the weight.
    """

    gates: tuple[str, ...]
    norms: np.ndarray
    shares: np.ndarray
    total: np.ndarray

    def by_lag(self) -> np.ndarray:
        """Shares by lag t - s, ``(2 T - 1,)``: from T - 1 steps ahead, by 0 in the middle, to T - 1 steps back."""
        shares, T = self.shares.sum(axis=0), self.shares.shape[-1]
        return np.array([np.trace(shares, -lag) for lag in range(1 - T, T)])


@dataclass(frozen=True)
class Lags(Reading):
    """What loss t taught through step s; see `lags`. ``places[place][weight]`` is a `LagsOf`."""

    places: dict[str, dict[str, LagsOf]]

    def __str__(self) -> str:
        lines = [f"{self.title}: over how many steps the loss teaches the weights"]
        for name, weights in self.places.items():
            for weight, of in weights.items():
                if not of.total.any():
                    lines.append(f"  {name} {weight}: its gradient is zero")
                    continue
                sums = up_to_lag(of.shares.sum(axis=0))
                lines.append(
                    f"  {name} {weight}: {sums[0]:.0%} of the gradient comes from the step that is asked itself;"
                )
                lines[-1] += f" with lags up to {reach(sums)} one has it within 10 %"
        lines.append("A share is the length of a part along the whole gradient; all sum to 1.")
        lines.append("A window of BPTT shorter than the lags that matter teaches something else.")
        return paragraphs(lines)

    def draw(self, figure: Any) -> str:
        """For ``W_hh`` of every place the matrix of shares, and the shares by lag, for all gates and each alone."""
        figure.set_size_inches(8.5, 4 * len(self.places) + 0.4)
        grid = figure.subplots(len(self.places), 2, squeeze=False, width_ratios=(1, 1.1))
        for (name, weights), (matrix, curve) in zip(self.places.items(), grid, strict=True):
            of = weights["W_hh"]
            shares = of.shares.sum(axis=0)
            most = np.abs(shares).max() or 1.0
            heatmap(
                matrix,
                shares,
                f"{name}: who taught W_hh",
                "through the state at step s",
                "by the loss at step t",
                "share of the gradient",
                cmap=SIGNED,
                vmin=-most,
                vmax=most,
            )
            curve.plot(up_to_lag(shares), color="black", linewidth=2, label="all gates")
            if len(of.gates) > 1:
                for gate, part, colour in zip(of.gates, of.shares, LINES, strict=False):
                    curve.plot(up_to_lag(part), color=colour, linewidth=1.2, label=f"gate {gate}")
            curve.axhline(1, color=GREY, linestyle="--", linewidth=1)
            title, y = f"{name}: gradient of W_hh from lags up to this", "share, 1 = all of it"
            tidy(curve, title, "lag |t - s| in steps", y)
            curve.legend(frameon=False, fontsize="small")
        return f"Over how many steps the loss teaches: {self.title}"


def up_to_lag(shares: np.ndarray) -> np.ndarray:
    """What all parts with ``|t - s| <= lag`` give together, ``(T,)``, of a matrix ``(T, T)``."""
    t, s = np.indices(shares.shape)
    return np.cumsum(np.bincount(np.abs(t - s).ravel(), shares.ravel()))


def reach(sums: np.ndarray) -> int:
    """The smallest lag from which on the sums of `up_to_lag` stay between 0.9 and 1.1."""
    off = np.flatnonzero(np.abs(sums - 1) > 0.1)
    return int(off[-1]) + 1 if len(off) else 0


def lags(recording: Recording) -> Lags:
    """Takes the gradient of every weight apart: by the step whose output was asked, and the step it went through.

    The weights are those of the sequence rules: ``W_hh``, ``W_ih``, ``b`` (the gradient of either bias), and what else
    the cell has. In a stack the loss at t reaches a lower layer through all layers above.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    Lags

    Raises
    ------
    ValueError
        If a layer reads sequences of different lengths from their ends: its steps have no common order in time.

    Notes
    -----
    It walks back T times, one step at a time: some seconds for 100 steps of a layer, four times that for 200.
    Norms and shares take ``2 * gates * T**2`` numbers for each weight.

    Examples
    --------
    >>> from minirnn import lens
    >>> seen = lens.lags(lens.specimen("gru", hidden=4, seq_len=10)).places["l0"]["W_hh"]
    >>> seen.shares.shape, round(float(seen.shares.sum()), 12)
    ((3, 10, 10), 1.0)
    """
    if any(place.reverse and place.walk.lengths is not None for place in recording.places.values()):
        raise ValueError("lags of a layer that reads from the end need sequences of one length; record them one by one")
    T = recording.steps
    places = {
        name: {weight: empty(place, weight, T) for weight in place.walk.weights}
        for name, place in recording.places.items()
    }

    def take_apart(t: int, place: Place, step: int, gradients: tuple) -> None:
        s = T - 1 - step if place.reverse else step
        found = dict(zip(place.walk.names, gradients, strict=False))
        for weight, of in places[place.name].items():
            part, whole = to_numpy(found[weight]), to_numpy(place.walk.gradients[weight])
            of.total[...] += part
            part, whole = (x.reshape(len(of.gates), -1).astype(np.float64, copy=False) for x in (part, whole))
            of.norms[:, t, s] = norms(part, 1)
            of.shares[:, t, s] = (part * whole).sum(axis=1) / ((whole * whole).sum() or 1.0)

    for t in range(T):
        recording.back_from(t, partial(take_apart, t))
    return Lags(recording.cell, recording.label, places)


def empty(place: Place, weight: str, T: int) -> LagsOf:
    """What the parts of a weight's gradient go into."""
    gates, x = BLOCKS.get(weight, place.gates), place.walk.weights[weight]
    return LagsOf(gates, np.zeros((len(gates), T, T)), np.zeros((len(gates), T, T)), np.zeros(x.shape, x.dtype))
