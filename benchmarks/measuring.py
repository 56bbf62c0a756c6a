"""What a player measures in its own process: time, the peak of memory, and how exact its gradient is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from harness import DisagreementError

WARMUP = 2  # calls make buffers and start threads before all is as it will be
PAGE = 1 / 256  # MiB: no task takes less, so one can be divided by another
CLOSE = 1e-12  # relative difference that rounding may leave between two float64 gradients

Gradients = Mapping[str, Any]


def timed(step: Callable[[int], Any], steps: int, warmup: int = WARMUP) -> dict[str, float]:
    """Milliseconds of ``step(k)``: median and least of ``steps`` calls, after ``warmup`` that do not count."""
    for k in range(warmup):
        step(k)
    times = []
    for k in range(warmup, warmup + steps):
        start = time.perf_counter()
        step(k)
        times.append(1e3 * (time.perf_counter() - start))
    return {"ms": statistics.median(times), "min_ms": min(times)}


def peak_memory() -> float:
    """The most memory this process has used so far, in MiB.

    On Linux the system is asked for this program's own peak: ``getrusage`` would also count what the parent used
    before it became this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def relative_error(gradients: Gradients, exact: Gradients) -> float:
    """Length of the difference over the length of ``exact``, all arrays as one vector."""
    flat, true = (np.concatenate([np.asarray(g[k], np.float64).ravel() for k in exact]) for g in (gradients, exact))
    return float(np.linalg.norm(flat - true) / np.linalg.norm(true))


def training(
    step: Callable[[int], Any], steps: int, before: dict[str, float], gradient: Callable[[str], Gradients], file: str
) -> dict[str, float]:
    """The report of who trains: times, peak of memory, and the float32 gradient's error by the float64 one.

    ``before`` holds earlier peaks of memory: that after the ``"import"``, and that after one step of the smallest
    model, when all ``"code"`` is in memory that a library loads at first use. The gradients are computed after all else
    is measured; the float64 one goes to ``file``, for `agreement`.
    """
    times = timed(step, steps)
    peak = peak_memory()
    exact = gradient("float64")
    np.savez(file, **exact)
    error = relative_error(gradient("float32"), exact)
    above = {f"above_{what}_mib": max(peak - earlier, PAGE) for what, earlier in before.items()}
    earlier = {f"{what}_mib": mib for what, mib in before.items()}
    return {**times, "peak_mib": peak, **above, **earlier, "gradient_error": error}


def agreement(folder: str, ours: str, theirs: str) -> float:
    """Relative difference of two float64 gradients, from the files that `training` wrote.

    Raises
    ------
    DisagreementError
        If an array differs by more than rounding: there is no use in comparing speed then.
    """
    with np.load(f"{folder}/{ours}.npz") as mine, np.load(f"{folder}/{theirs}.npz") as other:
        errors = {name: relative_error({name: mine[name]}, {name: other[name]}) for name in {*mine, *other}}
        wrong = [f"{name} by {error:.1e}" for name, error in sorted(errors.items()) if not error <= CLOSE]
        if wrong:
            raise DisagreementError(f"float64 gradients of {ours} and of {theirs} differ: {', '.join(wrong)}")
        return relative_error(mine, other)
