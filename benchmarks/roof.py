"""How fast can this machine multiply matrices? The roof under which everything else is measured.

A large product (1024 x 1024 by 1024 x 1024), and small ones in blocks of rows, as a recurrence has them (2048 x 512 by
512 x 32, in 64 blocks of 32 rows: OpenBLAS multiplies blocks this small without rearranging the weights first). Either
is played by as many Python threads as there are cores, each with one BLAS thread; the better of the two is the roof.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from threading import Thread

import numpy as np
from harness import Player, Reports, Trial, figures

from minirnn.workers import cores

SIZES = {"tiny": [{"repeats": 1}], "small": [{"repeats": 7}]}
TABLE = {
    "large product, GFLOP/s": "{roof[large]:.0f}",
    "small products, GFLOP/s": "{roof[small]:.0f}",
    "roof": "{roof[gflops]:.0f}",
}

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}


def play(repeats: int) -> dict[str, float]:
    """Best rates, in units of 1e9 floating-point operations per second, float32."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, dtype="float32")

    large, W, x = normal(1024, 1024), normal(64, 32, 512), normal(512, 32)
    rates = {
        "large": rate(lambda out: np.matmul(large, large, out=out), [np.empty_like(large) for _ in range(cores())],
                      2 * 1024**3, 3, repeats),
        "small": rate(lambda out: np.matmul(W, x, out=out), [np.empty((64, 32, 32), "float32") for _ in range(cores())],
                      2 * 2048 * 512 * 32, 60, repeats),
    }  # fmt: skip
    return {**rates, "gflops": max(rates.values())}


def rate(product: Callable, outs: list[np.ndarray], operations: int, calls: int, repeats: int) -> float:
    """The best rate of all threads together; each calls ``product`` with an ``out`` of its own."""

    def work(out: np.ndarray) -> None:
        for _ in range(calls):
            product(out)

    best = float("inf")
    for _ in range(repeats + 1):  # the first starts up and is hardly the best
        threads = [Thread(target=work, args=(out,)) for out in outs]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = min(best, time.perf_counter() - start)
    return len(outs) * calls * operations / best / 1e9


PLAYER = Player(play, {"repeats": 5}, ONE_THREAD)  # beside others, so that all share the same minutes


def share(reports: Reports, operations: float, who: str = "minirnn") -> float:
    """Which part of the roof a player reached who did so many operations, in units of 1e9; median over the pairs."""
    pairs = zip(reports[who], reports["roof"], strict=True)
    return statistics.median(operations / (run["ms"] / 1e3) / top["gflops"] for run, top in pairs)


def measure(case: dict, trial: Trial) -> dict:
    return figures(trial.contest({"roof": Player(play, case, ONE_THREAD)}))
