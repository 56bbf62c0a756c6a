"""How long may a sequence be? Memory and time of whole, checkpointed and truncated BPTT over thousands of steps.

    python benchmarks/long_sequences.py
    python benchmarks/long_sequences.py --steps 10000 --runs 5 --streams 10000 100000 1000000

A character LSTM (65 characters, H = 128, B = 16, float32) gives one loss per step, so that what is measured is what
backpropagation through time keeps, and not what is asked of it. Memory is the peak above what imports, parameters and
the text itself take. The three ways compute the same outputs; whole and checkpointed BPTT compute the same gradient,
which is compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from math import isqrt
from pathlib import Path

import numpy as np
from harness import contest, machine, peak_memory, print_table, report

from minirnn import ops, to_numpy
from minirnn.arrays import random_generator
from minirnn.rules.combinators import checkpoint
from minirnn.tape import Tensor, rule_of

V, H, B = 65, 128, 16


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


def play(way: str, steps: int, every: int) -> None:
    """One process: all steps there and back, once, and a report."""
    weights, states = parameters(), [np.zeros((H, B), "float32")] * 2
    rule = rule_of(losses)
    warm = text(2)
    rule(warm[:-1], warm[1:], *states, *weights)[1](*(np.zeros(s, "float32") for s in ((2, B), (H, B), (H, B))))
    whole = text(steps) if way != "stream" else None
    before = peak_memory()
    start = time.perf_counter()
    if whole is not None:
        way_through = checkpoint(rule, every) if way == "checkpoint" else rule
        outputs, pullback = way_through(whole[:-1], whole[1:], *states, *weights)
        *_, dW_hh, _, _ = pullback(np.full((steps, B), 1 / (steps * B), "float32"), *(np.zeros_like(s) for s in states))
        loss = float(outputs[0].mean())
    else:  # windows of a text that never stands in memory as a whole: what training does
        dW_hh, loss = np.zeros_like(weights[1]), 0.0
        for first in range(0, steps, every):
            window = text(every, first)
            (ys, *states), pullback = rule(window[:-1], window[1:], *states, *weights)
            *_, dW_hh_part, _, _ = pullback(np.full(ys.shape, 1 / (steps * B), "float32"), *(0 * s for s in states))
            dW_hh += dW_hh_part
            loss += float(ys.sum()) / (steps * B)
    seconds = time.perf_counter() - start
    report(
        seconds=seconds,
        memory=peak_memory() - before,
        loss=loss,
        gradient=[float(g) for g in to_numpy(dW_hh).flat[::997]],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000, help="length of the sequence that all can hold")
    parser.add_argument("--runs", type=int, default=3, help="runs of each way, in turn")
    parser.add_argument("--streams", type=int, nargs="*", default=[10_000, 100_000], help="lengths in windows")
    parser.add_argument("--play", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        return play(options.play[0], *map(int, options.play[1:]))

    script, every, T = Path(__file__), isqrt(options.steps), options.steps
    ways = {way: (["--play", way, str(T), str(every)], {}) for way in ("whole", "checkpoint")}
    found = contest(script, ways, options.runs)
    gradients = [np.array(found[way][0]["gradient"]) for way in ways]
    rows = []
    for way, name in (("whole", "whole"), ("checkpoint", f"checkpoint every {every}")):
        pairs = list(zip(found[way], found["whole"], strict=True))
        rows.append(
            {
                "BPTT": name,
                "T": f"{T:,}",
                "seconds (min)": f"{statistics.median(r['seconds'] for r in found[way]):.1f} "
                f"({min(r['seconds'] for r in found[way]):.1f})",
                "time / whole": f"{statistics.median(a['seconds'] / b['seconds'] for a, b in pairs):.2f}",
                "memory MiB": f"{statistics.median(r['memory'] for r in found[way]):.0f}",
                "memory / whole": f"{statistics.median(a['memory'] / b['memory'] for a, b in pairs):.3f}",
            }
        )
    per_step = min(run["seconds"] for run in found["whole"]) / T
    for length in options.streams:
        (run,) = contest(script, {"stream": (["--play", "stream", str(length), "100"], {})}, 1)["stream"]
        rows.append(
            {
                "BPTT": "windows of 100, one after the other",
                "T": f"{length:,}",
                "seconds (min)": f"{run['seconds']:.1f}",
                "time / whole": f"{run['seconds'] / length / per_step:.2f} per step",
                "memory MiB": f"{run['memory']:.0f}",
                "memory / whole": "",
            }
        )
    print_table(rows)
    difference = np.abs(gradients[0] - gradients[1]).max() / np.abs(gradients[0]).max()
    print(f"\nlargest relative difference of the two gradients of W_hh (of the entries sampled): {difference:.1e}")
    print(f"{machine()}; seeds 0 and 1; V = {V}, H = {H}, B = {B}, float32")


if __name__ == "__main__":
    main()
