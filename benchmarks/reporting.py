"""How results are shown: tables in Markdown, ratios as a picture, the machine in one line."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from minirnn.workers import blas_kernels

SET = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE"  # what changes the speed
NOTHING = "-"  # in the place of a figure that was not measured


def shown(table: dict[str, str], rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows of figures as the ``TABLE`` of their question says; columns in which nobody has anything are left out.

    Examples
    --------
    >>> table = {"T": "{T:,}", "ms": "{minirnn[ms]:.1f}", "torch": "{torch[ms]:.1f}"}
    >>> shown(table, [{"T": 1000, "minirnn": {"ms": 2}}])
    [{'T': '1,000', 'ms': '2.0'}]
    """
    cells = [{heading: _cell(form, row) for heading, form in table.items()} for row in rows]
    used = [heading for heading in table if any(row[heading] != NOTHING for row in cells)]
    return [{heading: row[heading] for heading in used} for row in cells]


def _cell(form: str, row: dict[str, Any]) -> str:
    try:
        return form.format(**row)
    except KeyError:
        return NOTHING


def markdown(rows: list[dict[str, Any]]) -> str:
    """Rows of the same keys as a table in Markdown.

    Examples
    --------
    >>> print(markdown([{"T": 1, "ms": 2.5}]))
    | T | ms |
    |---|---|
    | 1 | 2.5 |
    """
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row.values())) + " |" for row in rows)])


def machine() -> str:
    """One line on where the figures come from."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].split(":")[1].strip() if models else cpu
    versions = []
    for package in ("minirnn", "numpy", "torch", "threadpoolctl"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    load = f", load average at the end {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions += [f"BLAS kernels for {name}" for name in sorted(blas_kernels())]
    limits = "".join(f", {name}={os.environ[name]}" for name in SET if name in os.environ)
    return f"{cpu}, {os.cpu_count()} cores{load}; Python {platform.python_version()}, {', '.join(versions)}{limits}"


def picture(speeds: dict[str, dict[str, float]], path: str | os.PathLike[str]) -> Any:
    """Draws how many times as fast minirnn is: a line for each row, a mark for each opponent, on a logarithmic scale.

    Returns the figure, which also stands in the file ``path``.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    ModuleNotFoundError
        Without matplotlib, saying how to get it.
    """
    if not speeds:
        raise ValueError("there are no ratios to draw: measure beside PyTorch, with --vs torch")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ModuleNotFoundError(
            "a picture needs matplotlib: pip install '.[plot]' in the sources of minirnn"
        ) from None
    figure = Figure(figsize=(8, 1.6 + 0.28 * len(speeds)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = list(speeds)[::-1]  # the first row on top
    axes.axvline(1, color="0.4", linewidth=1)  # as fast
    for opponent, marker in zip(dict.fromkeys(who for row in speeds.values() for who in row), "osD^v", strict=False):
        points = [(row[opponent], y) for y, name in enumerate(names) if opponent in (row := speeds[name])]
        axes.plot(*zip(*points, strict=True), marker, label=opponent)
    axes.set_xscale("log", base=2)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.set_xlabel("speed of minirnn / speed of PyTorch")
    figure.legend(loc="outside upper center", ncols=2)  # within, it would hide rows
    figure.savefig(path, dpi=150)
    return figure
