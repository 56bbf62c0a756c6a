"""Jacobians: what a change of the state at one step does to the state at a later one, exactly.

With s_t all that a cell hands on (h_t; for an LSTM h_t above c_t), the chain rule gives

    ds_T/ds_k = J_T J_{T-1} ... J_{k+1}          J_t = ds_t/ds_{t-1}

The J_t come from the pullbacks of the steps, one column of the batch at a time. The singular values of the product say
how much a change in the best and in the worst direction is stretched on its way from k to T, and so by how much a
gradient is on its way back. None can exceed the product of the largest singular values of the factors; and of an RNN no
factor's exceeds sigma, that of W_hh, for no slope of tanh or relu exceeds one.

Their growth per step, over many steps, is the spectrum of Lyapunov exponents: negative where changes die out, positive
where they grow (chaos). It is estimated by QR, as products of many matrices would lose all directions but one:
J_t Q_{t-1} = Q_t R_t, and exponent i is the mean of log |R_t[i, i]| (Benettin et al. 1980; for RNNs Engelken et al.
2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minirnn.arrays import to_numpy
from minirnn.lens.plotting import GREY, LINES, hold, tidy
from minirnn.lens.recording import Place, Recording
from minirnn.lens.results import Reading, number, paragraphs, plural


@dataclass(frozen=True)
class JacobianAt:
    """The Jacobians of one layer in one direction. Steps and states count in the order of its run.

    Attributes
    ----------
    steps : array, (T, S, S)
        ``steps[t]`` is J of step t, from the state that enters it to the one that leaves it; S is H, for an LSTM 2 H.
    log10_singular : array, (T, S)
        Row k: log10 of the singular values of ds_T/ds_k, from the largest; -inf where all are zero, NaN where one is
        too small beside the largest for rounding to show it.
    log10_bound : array, (T,)
        log10 of the product of the largest singular values of the steps from k on.
    log10_weight_bound : array, (T,), or None
        The same with sigma of ``W_hh`` for every step; of an RNN.
    lyapunov : array, (S,)
        Exponents, the largest first, in nats per step.
    """

    steps: np.ndarray
    log10_singular: np.ndarray
    log10_bound: np.ndarray
    log10_weight_bound: np.ndarray | None
    lyapunov: np.ndarray

    def between(self, k: int, t: int) -> np.ndarray:
        """ds_t/ds_k, ``(S, S)``: from the state that enters step k to the one that enters step t; t = T is the end."""
        product = np.eye(self.steps.shape[-1], dtype=self.steps.dtype)
        for step in self.steps[k:t]:
            product = step @ product
        return product


@dataclass(frozen=True)
class Jacobian(Reading):
    """How states depend on earlier ones, along one column of the batch; see `jacobian`."""

    column: int
    places: dict[str, JacobianAt]

    def __str__(self) -> str:
        lines = [f"{self.title}: what a change of the first state becomes on its way to the last"]
        for name, at in self.places.items():
            T, S = at.log10_singular.shape
            largest, bound = at.log10_singular[0, 0], at.log10_bound[0]
            lines.append(f"  {name}: after {plural(T, 'step')} a change in the most sensitive direction is")
            lines[-1] += f" multiplied by 10**{largest:.1f}" if np.isfinite(largest) else " lost altogether"
            lines.append(f"    no direction could be stretched more than 10**{bound:.1f}, by the norms of the steps")
            if at.log10_weight_bound is not None:
                lines[-1] += f", or 10**{at.log10_weight_bound[0]:.1f}, by that of W_hh"
            fate = "changes die out" if at.lyapunov[0] < 0 else "some changes grow: chaos"
            lines.append(f"    largest Lyapunov exponent {number(at.lyapunov[0])} per step: {fate}")
            lines[-1] += f"; {int((at.lyapunov > -0.05).sum())} of {S} directions lose less than 5 % a step"
        return paragraphs(lines)

    def draw(self, figure: Any) -> str:
        """For every place the singular values of ds_T/ds_k over k with their bounds, and the Lyapunov exponents."""
        figure.set_size_inches(8.5, 3.6 * len(self.places) + 0.4)
        grid = figure.subplots(len(self.places), 2, squeeze=False, width_ratios=(1.3, 1))
        for (name, at), (curve, spectrum) in zip(self.places.items(), grid, strict=True):
            shown = np.where(np.isfinite(at.log10_singular), at.log10_singular, np.nan)  # no line through -inf
            curve.plot(shown[:, 1:], color=LINES[0], linewidth=0.6, alpha=0.4)
            curve.plot(shown[:, 0], color=LINES[0], linewidth=1.8, label="most sensitive direction (thin: others)")
            curve.plot(at.log10_bound, "--", color=GREY, linewidth=1, label="bound: norms of the steps")
            if at.log10_weight_bound is not None:
                curve.plot(at.log10_weight_bound, ":", color=GREY, linewidth=1.4, label="bound: norm of W_hh")
            tidy(curve, f"{name}: stretched from step k to the end", "step k", "singular values, log10")
            hold(curve, shown)
            curve.legend(frameon=False, fontsize="small")
            spectrum.axhline(0, color=GREY, linestyle="--", linewidth=1)
            spectrum.plot(np.where(np.isfinite(at.lyapunov), at.lyapunov, np.nan), "o", color=LINES[1], markersize=3)
            tidy(spectrum, "Lyapunov exponents (above 0: grows)", "direction", "growth per step, log")
        return f"What becomes of a change of the state: {self.title}"


def jacobian(recording: Recording, *, column: int = 0) -> Jacobian:
    """The true Jacobians of one column: ds_T/ds_k for every k, what they stretch, and their growth in the long run.

    Parameters
    ----------
    recording : Recording
    column : int
        Which sequence of the batch. A ragged one is followed to its own end.

    Returns
    -------
    Jacobian

    Raises
    ------
    ValueError
        If there is no such column.

    Notes
    -----
    Every step costs some decompositions of an S x S matrix: of an LSTM with H = 128, seconds for 100 steps.

    Examples
    --------
    >>> from minirnn import lens
    >>> seen = lens.jacobian(lens.specimen("lstm", hidden=4, seq_len=20)).places["l0"]
    >>> seen.between(0, 20).shape, bool((seen.log10_singular[:, 0] <= seen.log10_bound + 1e-9).all())
    ((8, 8), True)
    """
    if not isinstance(column, (int, np.integer)) or isinstance(column, bool) or not 0 <= column < recording.columns:
        raise ValueError(f"column must be an integer from 0 to {recording.columns - 1}, got {column!r}")
    places = {name: jacobian_at(place, int(column)) for name, place in recording.places.items()}
    return Jacobian(recording.cell, recording.label, int(column), places)


def jacobian_at(place: Place, column: int) -> JacobianAt:
    """The Jacobians of one place."""
    T = len(place.walk.pullbacks) if place.walk.lengths is None else place.walk.lengths[column]
    steps = np.stack([to_numpy(place.walk.jacobian(t, column)) for t in range(T)])
    with np.errstate(divide="ignore"):  # the logarithm of zero is what it should be, -inf
        bound = np.log10([np.linalg.norm(step, 2) for step in steps])[::-1].cumsum()[::-1]
        weight = None
        if place.gates == ("a",):
            weight = np.log10(np.linalg.norm(place.blocks()["a"], 2)) * np.arange(T, 0, -1)
        return JacobianAt(steps, log10_singular_values(steps), bound, weight, exponents(steps))


def log10_singular_values(steps: np.ndarray) -> np.ndarray:
    """Of the products of the steps from k on, for all k; the size of a product is kept apart, lest it overflow."""
    T, S, _ = steps.shape
    found, product, log10 = np.empty((T, S)), np.eye(S, dtype=steps.dtype), 0.0
    visible = S * np.finfo(steps.dtype).eps
    for k in reversed(range(len(steps))):
        product = product @ steps[k]
        size = np.linalg.norm(product)
        product, log10 = product / (size or 1.0), log10 + np.log10(size)
        values = np.linalg.svd(product, compute_uv=False)
        found[k] = np.log10(np.where(values < visible * values[0], np.nan, values)) + log10
    return found


def exponents(steps: np.ndarray) -> np.ndarray:
    """Lyapunov exponents, the largest first."""
    Q, growth = np.eye(steps.shape[-1], dtype=steps.dtype), np.zeros(steps.shape[-1])
    for step in steps:
        Q, R = np.linalg.qr(step @ Q)
        growth += np.log(np.abs(np.diag(R)))
    return np.sort(growth / len(steps))[::-1]
