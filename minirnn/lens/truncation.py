"""Truncation: what becomes of the gradient when BPTT is cut into windows.

Truncated BPTT with windows of n steps treats the state that enters each window as a constant. What comes out points
elsewhere than the gradient does. By how much, the cosine between the two says: 1 is the same direction, 0 is no
relation, below 0 a step along it goes uphill. The ratio of their lengths says what is missing. From the length of the
sequence on nothing is cut, and both are 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minirnn.arguments import positive
from minirnn.lens.plotting import GREY, LINES, literal, tidy
from minirnn.lens.recording import Recording
from minirnn.lens.results import Reading, number, paragraphs
from minirnn.rules.combinators import truncate

ALL = "all together"


@dataclass(frozen=True)
class Truncation(Reading):
    """The truncated gradient beside the whole; see `truncation`.

    Attributes
    ----------
    windows : array of int, (n,)
    cosine, ratio : dict of str to array
        By the name of a parameter, and of all together: cosine with the whole gradient, and ratio of norms, for each
        window; NaN where a gradient is zero.
    """

    windows: np.ndarray
    cosine: dict[str, np.ndarray]
    ratio: dict[str, np.ndarray]

    def __str__(self) -> str:
        lines = [f"{self.title}: the gradient of BPTT that is cut into windows, beside the whole one"]
        for window, cosine, ratio in zip(self.windows, self.cosine[ALL], self.ratio[ALL], strict=True):
            lines.append(f"  windows of {window:4d}: cosine {number(cosine):>7}, {number(ratio):>7} of its length")
        lines.append("A cosine of 1 is the same direction, 0 no relation; below 0 a step goes uphill.")
        return paragraphs(lines)

    def draw(self, figure: Any) -> str:
        """Direction and length over the window: of recurrent weights and of all parameters together."""
        figure.set_size_inches(8.5, 4)
        shown = [ALL, *(name for name in self.cosine if "weight_hh" in name)][: len(LINES)]
        for axes, values, title, y in zip(
            figure.subplots(1, 2),
            (self.cosine, self.ratio),
            ("Does it point the same way?", "How long is it?"),
            ("cosine with the whole gradient", "length, whole gradient = 1"),
            strict=True,
        ):
            axes.axhline(1, color=GREY, linestyle="--", linewidth=1)
            for name, colour in zip(shown, ("black", *LINES), strict=False):
                axes.plot(self.windows, values[name], "o-", color=colour, markersize=3, label=literal(name))
            axes.set_xscale("log")
            axes.set_xticks(self.windows, [str(window) for window in self.windows])
            axes.minorticks_off()
            tidy(axes, title, "steps in a window", y)
        axes.legend(frameon=False, fontsize="small")
        return f"What truncated BPTT computes: {self.title}"


def truncation(recording: Recording, windows: Iterable[int] | None = None) -> Truncation:
    """How direction and length of the gradient change when BPTT is cut into windows; one way there and back for each.

    The parameters are those of the recurrent stack. The sequence begins with a window: one that is as long as T or
    longer cuts nothing.

    Parameters
    ----------
    recording : Recording
    windows : iterable of int, optional
        Steps; without it 1, 2, 5, 10, ..., and T.

    Raises
    ------
    TypeError, ValueError
        If there is no window, or one is no positive number of steps.

    Examples
    --------
    >>> from minirnn import lens
    >>> seen = lens.truncation(lens.specimen("lstm", hidden=4, seq_len=20))
    >>> seen.windows.tolist(), round(float(seen.cosine["all together"][-1]), 12)
    ([1, 2, 5, 10, 20], 1.0)
    """
    T = recording.steps
    steps = [n * 10**k for k in range(len(str(T))) for n in (1, 2, 5)]
    chosen = [n for n in steps if 1.5 * n <= T] + [T] if windows is None else _checked(windows)
    found = [recording.gradients_through(partial(truncate, window=window)) for window in chosen]
    names = list(found[0]) if found else []
    cosine, ratio = {}, {}
    for name in (ALL, *names):
        parts = names if name == ALL else [name]
        whole = together(recording.gradients, parts)
        cut = [together(gradients, parts) for gradients in found]
        cosine[name] = np.array([cosine_of(x, whole) for x in cut])
        ratio[name] = np.array([over(np.linalg.norm(x), np.linalg.norm(whole)) for x in cut])
    return Truncation(recording.cell, recording.label, np.array(chosen, int), cosine, ratio)


def _checked(windows: Any) -> list[int]:
    if not isinstance(windows, Iterable):
        raise TypeError(f"windows must be numbers of steps, such as [1, 10, 100], got {windows!r}")
    chosen = list(windows)
    if not chosen:
        raise ValueError("windows must hold at least one number of steps, got none")
    positive(**{f"windows[{k}]": window for k, window in enumerate(chosen)})
    return chosen


def together(gradients: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    """Some gradients as one vector, in float64."""
    return np.concatenate([gradients[name].ravel().astype(np.float64) for name in names])


def cosine_of(x: np.ndarray, y: np.ndarray) -> float:
    """The cosine of the angle between two vectors; NaN where one of them is zero."""
    return over(x @ y, np.linalg.norm(x) * np.linalg.norm(y))


def over(x: Any, y: Any) -> float:
    """A quotient; NaN where it is none."""
    return float(x / y) if y else float("nan")
