"""How long may a sequence be? Memory and time of whole, checkpointed and windowed BPTT over thousands of steps.

A character LSTM (65 characters, H = 128, B = 16, float32) gives one loss per step, so that what is measured is what
backpropagation through time keeps, and not what is asked of it. Memory is the peak above what imports, parameters and
the text itself take. Checkpoints every root of T steps compute the same gradient as the whole, which is compared.
Windows of 100, one after the other, are what training does: the text never stands in memory as a whole, and gradients
end at their borders.
"""

from __future__ import annotations

import time
from math import isqrt
from typing import Any

import numpy as np
from harness import DisagreementError, Player, Trial, figures, ratio
from measuring import PAGE, peak_memory

from minirnn import ops, to_numpy
from minirnn.arrays import random_generator
from minirnn.rules.combinators import checkpoint
from minirnn.tape import Tensor, rule_of

V, H, B = 65, 128, 16
WINDOW = 100
WAYS = "whole", "checkpoints", "windows"
SIZES = {
    "tiny": [{"T": 4, "ways": WAYS}],
    "small": [{"T": 1000, "ways": WAYS}],
    "medium": [{"T": 10_000, "ways": WAYS}],
    "large": [{"T": 100_000, "ways": WAYS[2:]}],
}
TABLE = {
    "T": "{T:,}",
    **{f"{way}: ms per step": f"{{{way}[ms_per_step]:.3f}}" for way in WAYS},
    **{f"{way}: MiB": f"{{{way}[mib]:,.0f}}" for way in WAYS},
    "time of checkpoints / whole": "{slowness:.2f}",
    "memory": "{memory:.3f}",
    "gradients differ by": "{difference:.0e}",
}


def parameters() -> list[np.ndarray]:
    """Table of projected characters, recurrent weights, weights and biases of the scores; float32."""
    random = random_generator(0, "long sequences")
    shapes = (4 * H, V), (4 * H, H), (V, H), (V,)
    return [random.uniform(-0.09, 0.09, shape).astype("float32") for shape in shapes]


def text(steps: int, first: int = 0) -> np.ndarray:
    """Characters ``first`` to ``first + steps`` and one more, ``(steps + 1, B)``, as bytes."""
    rows = [random_generator(1, "characters", step=first + t).integers(V, size=B, dtype=np.uint8) for t in range(steps)]
    return np.stack([*rows, rows[0]])


def losses(
    id_xs: Tensor, target_xs: Tensor, h_0: Tensor, c_0: Tensor, table: Tensor, W_hh: Tensor, W: Tensor, b: Tensor
):
    """The sequence ``(T, B)`` of losses, and the states at its end: ``rule_of`` makes a sequence rule of it."""
    ids, targets = (x.array.astype(np.int64) for x in (id_xs, target_xs))
    hs, h_T, c_T = ops.lstm(ops.embedding_columns(table, ids), h_0, c_0, W_hh)
    scores = ops.affine(hs, W, b)  # (T, V, B)
    steps, columns = np.ogrid[: len(ids), :B]
    return scores.logsumexp(axis=1) - scores[steps, targets, columns], h_T, c_T


def play(way: str, T: int) -> dict[str, Any]:
    """All steps there and back, once."""
    weights, states = parameters(), [np.zeros((H, B), "float32")] * 2
    rule = rule_of(losses)
    warm = text(2)
    rule(warm[:-1], warm[1:], *states, *weights)[1](*(np.zeros(s, "float32") for s in ((2, B), (H, B), (H, B))))
    whole = text(T) if way != "windows" else None
    before = peak_memory()
    start = time.perf_counter()
    if whole is not None:
        through = checkpoint(rule, isqrt(T)) if way == "checkpoints" else rule
        _, pullback = through(whole[:-1], whole[1:], *states, *weights)
        *_, dW_hh, _, _ = pullback(np.full((T, B), 1 / (T * B), "float32"), *(np.zeros_like(s) for s in states))
    else:
        dW_hh = np.zeros_like(weights[1])
        for first in range(0, T, WINDOW):
            window = text(min(WINDOW, T - first), first)
            (ys, *states), pullback = rule(window[:-1], window[1:], *states, *weights)
            *_, dW_hh_part, _, _ = pullback(np.full(ys.shape, 1 / (T * B), "float32"), *(0 * s for s in states))
            dW_hh += dW_hh_part
    seconds = time.perf_counter() - start
    return {
        "ms_per_step": 1e3 * seconds / T,
        "mib": peak_memory() - before,
        "gradient": [float(g) for g in to_numpy(dW_hh).flat[::997]],
    }


def measure(case: dict[str, Any], trial: Trial) -> dict[str, Any]:
    reports = trial.contest({way: Player(play, {"way": way, "T": case["T"]}) for way in case["ways"]})
    gradients = {way: [np.array(run.pop("gradient")) for run in runs] for way, runs in reports.items()}
    found: dict[str, Any] = {**figures(reports), "runs": reports}
    if "whole" in gradients:
        again, exact = gradients["checkpoints"][0], gradients["whole"][0]
        found["difference"] = float(np.linalg.norm(again - exact) / np.linalg.norm(exact))
        if not found["difference"] < 1e-5:
            raise DisagreementError(f"checkpoints change the gradient: it differs by {found['difference']:.1e}")
        found["slowness"] = ratio(reports, "checkpoints", "whole", "ms_per_step")
        found["memory"] = found["checkpoints"]["mib"] / max(found["whole"]["mib"], PAGE)
    return found
