"""The V-curves of a gradient check: the error of a difference over its step, one panel for every argument."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from minirnn.checking import GradcheckReport
from minirnn.lens.plotting import GREY, LINES, new_figure, save, tidy


def v_curves(
    reports: GradcheckReport | Sequence[GradcheckReport], path: str | Path | IO[bytes] | None = None, *, title: str = ""
) -> Any:
    """Draws how far forward and central differences are from the gradient, step by step.

    On the right a difference misses the curve of the function, on the left it drowns in rounding. Where a gradient is
    wrong the curves level off at the size of the mistake.

    Parameters
    ----------
    reports : GradcheckReport or sequence of them
        Made with ``sweep=True``.
    path : path or binary file, optional
        Also writes the picture there; the ending chooses the format (.png, .svg, .pdf), a file without one gets PNG.
    title : str, optional
        In place of the picture's own; printed as it is: ``$`` begins no formula.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If no report has a V-curve.
    """
    reports = [reports] if isinstance(reports, GradcheckReport) else list(reports)
    panels = [(report, argument) for report in reports for argument in report.arguments if argument.v_curve]
    if not panels:
        raise ValueError("no report has a V-curve: check with sweep=True")
    figure = new_figure()
    columns = min(3, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    figure.set_size_inches(max(6.0, 4.2 * columns), 1.3 + 2.6 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (report, argument) in zip(grid, panels, strict=False):
        name = argument.name if len(reports) == 1 else f"{report.rule}: {argument.name}"
        _panel(axes, argument.v_curve, f"{name}: {argument.verdict}")
        axes.tick_params(labelbottom=True, labelleft=True)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    marks = grid[0].get_legend_handles_labels()
    figure.legend(*marks, loc="outside lower center", ncols=min(2, columns), frameon=False)
    first = f"gradient check of {', '.join(report.rule for report in reports)}: errors of differences over their step"
    figure.suptitle(title or first, fontsize="large", x=0.01, ha="left", parse_math=False)
    save(figure, path)
    return figure


def _panel(axes: Any, curve: Any, title: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    best = ("eps**(1/2), the best step of forward differences", "eps**(1/3), the best of central ones")
    for name, errors, step, label, colour, mark in (
        ("forward differences", curve.forward, curve.best_forward, best[0], LINES[1], "o-"),
        ("central differences", curve.central, curve.best_central, best[1], LINES[0], "s-"),
    ):
        shown = [(h, e) for h, e in zip(curve.steps, errors, strict=True) if math.isfinite(e) and e > 0]
        axes.plot([h for h, _ in shown], [e for _, e in shown], mark, color=colour, markersize=2.5, label=name)
        axes.axvline(step, color=colour, linestyle="--", linewidth=1, label=label)
    axes.axhline(1, color=GREY, linewidth=0.5)
    tidy(axes, title, "step h", "relative error")
