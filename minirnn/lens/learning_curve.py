"""The learning curve: loss over the steps of a run, in bits per target, and where its gradients were clipped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from minirnn.lens.plotting import new_figure, save

TRAINING, VALIDATION, BASELINE, CLIPPED = "#4477aa", "#ee6677", "#777777", "#ccbb44"  # apart for all kinds of eyes


def learning_curve(
    history: Iterable[Mapping[str, Any]],
    path: str | Path | IO[bytes] | None = None,
    *,
    baseline: float | None = None,
    unit: str = "character",
    title: str = "",
) -> Any:
    """Draws the history of a run.

    Parameters
    ----------
    history : iterable of dict
        What ``fit`` returns, or the lines of ``log.jsonl``: losses in nats per target.
    path : path or binary file, optional
        Also writes the picture there; the ending chooses the format (.png, .svg, .pdf), a file without one gets PNG.
    baseline : float, optional
        A loss in bits to draw a line at: the entropy of single characters, say.
    unit : str
        What a target is.
    title : str
        Printed as it is: ``$`` begins no formula.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed, saying how to get it.
    """
    history, figure = list(history), new_figure()
    figure.set_size_inches(8, 4.5)
    axes = figure.add_subplot()
    windows = [record for record in history if "loss" in record]
    steps, losses = [r["step"] for r in windows], [r["loss"] / math.log(2) for r in windows]
    mark = "o" if len(steps) == 1 else ""  # a line needs two ends
    axes.plot(steps, losses, color=TRAINING, linewidth=1.5, marker=mark, markersize=4, label="training")
    clipped = [(step, loss, r["clipped"]) for step, loss, r in zip(steps, losses, windows, strict=True) if r["clipped"]]
    if clipped:
        at, heights, shares = zip(*clipped, strict=True)
        sizes = [6 + 40 * share for share in shares]
        label = f"gradients clipped, in {sum(shares) / len(windows):.0%} of all steps (larger: more of them)"
        axes.scatter(at, heights, sizes, color=CLIPPED, edgecolor="black", linewidth=0.4, zorder=3, label=label)
    validated = [(r["step"], r["val_loss"] / math.log(2)) for r in history if r.get("val_loss") is not None]
    if validated:
        axes.plot(*zip(*validated, strict=True), "o-", color=VALIDATION, markersize=4, label="validation")
    if baseline is not None:
        label = f"entropy of single {unit}s: {baseline:.2f}"
        axes.axhline(baseline, color=BASELINE, linestyle="--", linewidth=1, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel(f"bits per {unit}")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize="small")
    axes.set_title(title, fontsize="medium", loc="left", parse_math=False)
    save(figure, path)
    return figure
