"""Results as pictures. They need matplotlib, the extra ``plot``; each instrument draws its own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe & Ito: apart for all kinds of eyes
GREY = "#777777"
HEAT, SIGNED, SHADES = "cividis", "PuOr", "viridis"  # of numbers from small to large, around zero, in an order


def plot(result: Any, path: str | Path | IO[bytes] | None = None, *, title: str = "") -> Any:
    """Draws what an instrument saw.

    Parameters
    ----------
    result : result of an instrument, or sequence of `Flow`
        Several flows are drawn side by side, one panel for each cell.
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
    TypeError
        If ``result`` cannot be drawn.
    """
    several = isinstance(result, Sequence)
    first = result[0] if several and result else result
    draw = getattr(first, "draw_several" if several else "draw", None)
    if draw is None or (several and any(type(other) is not type(first) for other in result)):
        raise TypeError(f"plot draws the result of an instrument, or a list of flows, got {result!r:.200}")
    figure = new_figure()
    own = draw(figure, result) if several else draw(figure)
    figure.suptitle(title or own, fontsize="large", x=0.01, ha="left", parse_math=False)
    save(figure, path)
    return figure


def save(figure: Any, path: str | Path | IO[bytes] | None) -> None:
    """Writes a figure, if there is somewhere to write it to."""
    if path is not None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # a title in a script that the font lacks
            figure.savefig(path)


def new_figure() -> Any:
    """An empty figure, without a window and without touching pyplot.

    Raises
    ------
    ImportError
        If there is no matplotlib, saying how to get it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install matplotlib, or the extra minirnn[plot]") from None
    return Figure(dpi=120, layout="constrained")


def literal(text: str) -> str:
    """Text for a label, in which ``$`` begins no formula."""
    return text.replace("$", r"\$")


def shades(n: int) -> list:
    """``n`` colours in an order that also a copy in grey shows."""
    from matplotlib import colormaps

    return [colormaps[SHADES](x) for x in np.linspace(0, 0.85, n)]


def tidy(axes: Any, title: str = "", x: str = "", y: str = "") -> None:
    """Title, names of the axes, a light grid, and no box around."""
    axes.set_title(title, fontsize="medium", loc="left", parse_math=False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def heatmap(axes: Any, values: np.ndarray, title: str, x: str, y: str, legend: str, **options: Any) -> None:
    """A picture of a matrix, row 0 on top, with its scale beside it."""
    from matplotlib.ticker import MaxNLocator

    image = axes.imshow(values, aspect="auto", interpolation="nearest", **{"cmap": HEAT, **options})
    axes.set_title(title, fontsize="medium", loc="left", parse_math=False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.figure.colorbar(image, ax=axes, label=legend, pad=0.02)


def hold(axes: Any, *shown: np.ndarray) -> None:
    """Lets the vertical axis hold these values, with some room; what else is drawn may leave the picture."""
    values = np.concatenate([np.ravel(x) for x in shown])
    values = values[np.isfinite(values)]
    if not len(values):
        return
    low, high = values.min(), values.max()
    if axes.get_yscale() == "log":
        room = 0.1 * max(np.log10(high) - np.log10(low), 3)
        axes.set_ylim(10 ** max(np.log10(low) - room, -300), 10 ** (np.log10(high) + room))
    else:
        room = 0.1 * ((high - low) or 1.0)
        axes.set_ylim(low - room, high + room)


def magnitudes(values: np.ndarray) -> np.ndarray:
    """log10, with what is zero left blank."""
    with np.errstate(divide="ignore"):
        found = np.log10(values)
    return np.where(np.isfinite(found), found, np.nan)
