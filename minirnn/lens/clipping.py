"""Clipping: the ledger of what it does to gradients, step by step.

Clipping by norm (Pascanu et al. 2012) scales the whole gradient: it makes a step shorter and keeps its direction.
Clipping by value limits every entry by itself: the direction changes, and the angle says by how much. Either is a step
of training, and a clipped gradient is not the gradient; the ledger says how often that was so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minirnn.arguments import positive_number
from minirnn.arrays import to_numpy
from minirnn.lens.plotting import GREY, LINES, tidy
from minirnn.lens.recording import Recording
from minirnn.lens.results import Result, paragraphs, plural
from minirnn.tape import Tensor


@dataclass(frozen=True)
class Clipping(Result):
    """What clipping did to the gradients of some steps; see `clipping`. Arrays are ``(steps,)``.

    Attributes
    ----------
    max_norm, clip_value : float or None
        The limits.
    before : array
        Norm of the gradient, all parameters as one vector.
    by_norm, by_value : array or None
        Norm after clipping to ``max_norm``, and after clipping entries to ``clip_value``.
    entries : array or None
        The share of entries beyond ``clip_value``.
    degrees : array or None
        The angle by which clipping to ``clip_value`` turned the gradient. Clipping by norm turns nothing.
    """

    max_norm: float | None
    clip_value: float | None
    before: np.ndarray
    by_norm: np.ndarray | None
    by_value: np.ndarray | None
    entries: np.ndarray | None
    degrees: np.ndarray | None

    def __str__(self) -> str:
        n = len(self.before)
        middle, most = np.median(self.before), self.before.max()
        lines = [f"{plural(n, 'gradient')}: median norm {middle:.3g}, largest {most:.3g}"]
        if self.by_norm is not None and self.max_norm is not None:
            share, left = np.mean(self.by_norm < self.before), self.by_norm.max() / (most or 1.0)
            lines.append(f"  max_norm={self.max_norm:g} shortens {share:.0%} of them, the longest to {left:.2g} of its")
            lines[-1] += " length, and keeps their directions"
        if self.degrees is not None and self.entries is not None and self.by_value is not None:
            share, turned, entries = np.mean(self.entries > 0), self.degrees, self.entries.mean()
            lines.append(f"  clip_value={self.clip_value:g} changes {share:.0%} of them, {entries:.2%} of all entries,")
            lines[-1] += f" and turns them by {np.median(turned):.1f} degrees (median), {turned.max():.1f} at most"
        return paragraphs(lines)

    def draw(self, figure: Any) -> str:
        """Norms before and after, step by step, and the angle of the turn."""
        figure.set_size_inches(8.5, 4)
        norms, turn = figure.subplots(1, 2, width_ratios=(1.3, 1))
        norms.plot(self.before, color="black", linewidth=1.4, label="before")
        none = np.zeros(len(self.before))
        if self.by_norm is not None and self.max_norm is not None:
            norms.plot(self.by_norm, color=LINES[0], linewidth=1.2, label=f"clipped to norm {self.max_norm:g}")
            norms.axhline(self.max_norm, color=GREY, linestyle="--", linewidth=1)
            turn.plot(none, color=LINES[0], linewidth=1.4, label="clipped by norm")
        if self.degrees is not None and self.entries is not None and self.by_value is not None:
            norms.plot(self.by_value, color=LINES[1], linewidth=1.2, label=f"entries clipped to {self.clip_value:g}")
            turn.plot(self.degrees, color=LINES[1], linewidth=1.4, label="clipped by value")
        norms.set_yscale("log")
        tidy(norms, "Length of the gradient", "training step", "norm, logarithmic")
        tidy(turn, "By how much clipping turns it", "training step", "degrees")
        turn.set_ylim(bottom=min(-1, turn.get_ylim()[0]))
        for axes in (norms, turn):
            axes.legend(frameon=False, fontsize="small")
        return "What clipping does to gradients"


def clipping(gradients: Iterable[Any], *, max_norm: float | None = None, clip_value: float | None = None) -> Clipping:
    """What clipping would do, or does, to the gradients of some steps.

    Parameters
    ----------
    gradients : iterable
        One entry for each step: a `Recording`, gradients by name, or parameters whose ``grad`` is looked at when the
        entry comes by. A generator that trains may yield ``model.parameters()`` between ``backward()`` and clipping.
    max_norm, clip_value : float, optional
        The limits, as `minirnn.clip_grad_norm_` and `minirnn.clip_grad_value_` take them; at least one of the two.

    Returns
    -------
    Clipping

    Raises
    ------
    ValueError
        If no limit is given, one is not a positive number, there is no gradient, or one is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import lens
    >>> print(lens.clipping([{"w": np.array([3.0, 4.0])}, {"w": np.array([0.6, 0.8])}], max_norm=1.0, clip_value=3.0))
    2 gradients: median norm 3, largest 5
      max_norm=1 shortens 50% of them, the longest to 0.2 of its length, and keeps
          their directions
      clip_value=3 changes 50% of them, 25.00% of all entries, and turns them by 4.1
          degrees (median), 8.1 at most
    """
    limits = {"max_norm": max_norm, "clip_value": clip_value}
    given = {name: value for name, value in limits.items() if value is not None}
    positive_number(**given)
    if not given:
        raise ValueError("clipping needs a limit: max_norm, clip_value, or both")
    rows = [row(vector_of(entry, k), max_norm, clip_value) for k, entry in enumerate(gradients)]
    if not rows:
        raise ValueError("clipping needs at least one gradient, got none")
    before, by_norm, by_value, entries, degrees = np.array(rows).T
    of_norm = None if max_norm is None else by_norm
    of_value = (None, None, None) if clip_value is None else (by_value, entries, degrees)
    return Clipping(max_norm, clip_value, before, of_norm, *of_value)


def row(g: np.ndarray, max_norm: float | None, clip_value: float | None) -> tuple[float, ...]:
    """A line of the ledger: norms before, clipped by norm, by value; share of entries clipped; the turn in degrees."""
    norm = float(np.linalg.norm(g))
    limited = g if clip_value is None else np.clip(g, -clip_value, clip_value)
    after, share = float(np.linalg.norm(limited)), float(np.mean(limited != g))
    degrees = 0.0
    if share:  # from the sine: the arc cosine of what is nearly one would lose half of the digits
        across = limited - g * ((limited @ g) / (norm * norm))
        degrees = float(np.degrees(np.arcsin(min(1.0, float(np.linalg.norm(across)) / after))))
    return norm, norm if max_norm is None else min(norm, max_norm), after, share, degrees


def vector_of(entry: Any, k: int) -> np.ndarray:
    """The gradients of step ``k`` as one vector, in float64."""
    if isinstance(entry, Recording):
        entry = entry.gradients
    held = list(entry) if isinstance(entry, Iterable) else [entry]
    if not isinstance(entry, Mapping) and not all(isinstance(p, Tensor) for p in held):
        kind = type(entry).__name__
        raise TypeError(f"gradients[{k}] must be a Recording, gradients by name, or parameters, got {kind}")
    arrays = entry.values() if isinstance(entry, Mapping) else [p.grad for p in held if p.grad is not None]
    parts = [to_numpy(x).ravel().astype(np.float64) for x in arrays]
    g = np.concatenate(parts) if parts else np.zeros(0)
    if not g.size or not np.isfinite(g).all():
        what = "has an entry that is not finite" if g.size else "has no entry"
        raise ValueError(f"the gradient of step {k} {what}")
    return g
