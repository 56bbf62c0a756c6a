"""Fair comparison: each contestant in a process of its own, in turn (A B A B), every figure beside its opponent's.

In one process the thread pools of NumPy and PyTorch would spin against each other, and on a machine that others use too
a slow minute would fall on one of the two. So contestants alternate, ratios are taken pair by pair, and their medians
are quoted; minima stand beside them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# glibc hands large arrays back to the system at every step unless told otherwise; PyTorch gains 15 to 20 % from this
MALLOC_TUNED = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824"}


def time_steps(step: Callable[[int], None], steps: int, warmup: int = 5) -> list[float]:
    """Seconds of each of ``steps`` calls of ``step(k)``, after ``warmup`` calls that do not count."""
    for k in range(warmup):
        step(k)
    times = []
    for k in range(warmup, warmup + steps):
        start = time.perf_counter()
        step(k)
        times.append(time.perf_counter() - start)
    return times


def peak_memory() -> float:
    """The most memory this process has used so far, in MiB; on Linux.

    ``getrusage`` would also count what the parent used before it became this process.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def matmul_rate(n: int = 1024, repeats: int = 15) -> float:
    """The machine's roof: float32 operations per second, in units of 1e9, of a large matrix product in NumPy."""
    import numpy as np

    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    out, best = np.empty_like(a), float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9


def report(**figures: Any) -> None:
    """What a contestant's process prints at its end."""
    print(json.dumps(figures))


Contestants = dict[str, tuple[list[str], dict[str, str]]]


def contest(script: Path, contestants: Contestants, pairs: int) -> dict[str, list[dict]]:
    """Runs every contestant ``pairs`` times in turn: ``{name: one report per run}``.

    ``contestants`` maps a name to the arguments with which ``script`` plays it, and to what it adds to the environment.
    """
    reports: dict[str, list[dict]] = {name: [] for name in contestants}
    for _ in range(pairs):
        for name, (arguments, environment) in contestants.items():
            done = subprocess.run(
                [sys.executable, str(script), *arguments],
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            reports[name].append(json.loads(done.stdout.splitlines()[-1]))
    return reports


def ratio(reports: dict[str, list[dict]], of: str, to: str, figure: str = "median_ms") -> float:
    """Median over the pairs of ``to``'s figure over ``of``'s: above 1, ``of`` is the faster."""
    return statistics.median(b[figure] / a[figure] for a, b in zip(reports[of], reports[to], strict=True))


def machine() -> str:
    """One line on where the figures come from."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].split(":")[1].strip() if models else cpu
    versions = []
    for package in ("minirnn", "numpy", "torch"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    load = f"load average at the end {os.getloadavg()[0]:.1f}"
    return f"{cpu}, {os.cpu_count()} cores, {load}; Python {platform.python_version()}, {', '.join(versions)}"


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows of the same keys as a Markdown table."""
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
