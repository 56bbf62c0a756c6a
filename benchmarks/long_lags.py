"""Up to which lag does each cell learn? RNN, LSTM and GRU on the adding and the copy task, solved or not, by seed.

    python benchmarks/long_lags.py [--tasks adding copy] [--cells RNN LSTM GRU "RNN orthogonal" "LSTM bias 4"]
        [--lags 10 20 50 100 200] [--seeds 0 1 2] [--limit 3000] [--workers 2] [--json FILE] [--plot FILE.png]

adding  ``lag`` numbers from [0, 1), of which one in the first half and one in the second are marked; the answer, asked
        for at the end, is the sum of these two (Hochreiter & Schmidhuber 1997). Mean squared error of answering 1
        whatever comes: 1/6 = 0.167; of knowing one of the numbers: 1/12 = 0.083. Solved: below 0.01, out of reach
        unless both are known, and known well.
copy    5 symbols of an alphabet of 8, then ``lag`` steps of blanks, the last of which says go, then 5 more blanks, at
        which the symbols are to be named in order (Hochreiter & Schmidhuber 1997, Arjovsky et al. 2016). The loss
        counts these 5 answers only. Knowing nothing: 1 of 8 right, log 8 = 2.08 nats. Solved: 99 % right.

One layer, then a linear one; Adam, gradients clipped by norm. Batches are drawn afresh, so that no sequence is seen
twice. Every 50 steps held-out sequences tell whether the task is solved; if it is, the training ends. It is then a line
of the file ``--json``, and not run again if it is found there: an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from reporting import machine, markdown

import minirnn as mr
from minirnn import nn, ops
from minirnn.arrays import random_generator

SYMBOLS, ALPHABET = 5, 8
HIDDEN, BATCH, MAX_NORM, CHECK_EVERY, HELD_OUT = 64, 32, 1.0, 50, 256


class Cell(NamedTuple):
    layer: type
    lr: float  # tried at small lags: see NOTES.md
    options: dict[str, Any]
    colour: str
    line: str = "-"


# Initial weights are PyTorch's but for the forget gate's bias. The last two start where a state stays nearly whole from
# step to step: every eigenvalue of W_hh on the unit circle, every forget gate at 0.98.
CELLS = {
    "RNN": Cell(nn.RNN, 0.003, {}, "#4477aa"),
    "LSTM": Cell(nn.LSTM, 0.01, {"forget_bias": 1.0}, "#ee6677"),
    "GRU": Cell(nn.GRU, 0.01, {}, "#228833"),
    "RNN orthogonal": Cell(nn.RNN, 0.003, {"init": "orthogonal"}, "#4477aa", "--"),
    "LSTM bias 4": Cell(nn.LSTM, 0.01, {"forget_bias": 4.0}, "#ee6677", "--"),
}


class Task(NamedTuple):
    draw: Callable  # (generator, lag, B) -> inputs (T, B, features), and targets of the last ``answers`` steps
    features: int
    answers: int
    outputs: int
    loss: Callable
    error: Callable[[np.ndarray, np.ndarray], float]  # of scores and targets
    solved_at: float  # the error


def adding(rng: np.random.Generator, lag: int, B: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs ``(lag, B, 2)``, numbers and marks, and the sums ``(1, B, 1)``."""
    xs, columns, half = np.zeros((lag, B, 2), "float32"), np.arange(B), lag // 2
    xs[:, :, 0] = rng.random((lag, B))
    xs[rng.integers(0, half, B), columns, 1] = 1
    xs[rng.integers(half, lag, B), columns, 1] = 1
    return xs, (xs[:, :, 0] * xs[:, :, 1]).sum(axis=0).reshape(1, B, 1)


def copy(rng: np.random.Generator, lag: int, B: int) -> tuple[np.ndarray, np.ndarray]:
    """One-hot inputs ``(lag + 10, B, 10)``, after the alphabet blank and go, and the symbols ``(5, B)``."""
    symbols, blank, go = rng.integers(0, ALPHABET, (SYMBOLS, B)), ALPHABET, ALPHABET + 1
    ids = np.full((SYMBOLS + lag + SYMBOLS, B), blank)
    ids[:SYMBOLS] = symbols
    ids[SYMBOLS + lag - 1] = go
    return np.eye(ALPHABET + 2, dtype="float32")[ids], symbols


def squared(scores: np.ndarray, sums: np.ndarray) -> float:
    return float(np.mean((scores - sums) ** 2))


def share_wrong(scores: np.ndarray, symbols: np.ndarray) -> float:
    return float(np.mean(scores.argmax(axis=-1) != symbols))


TASKS = {
    "adding": Task(adding, 2, 1, 1, ops.mean_squared_error, squared, 0.01),
    "copy": Task(copy, ALPHABET + 2, SYMBOLS, ALPHABET, ops.cross_entropy, share_wrong, 0.01),
}


def train(task: str, cell: str, lag: int, seed: int, limit: int) -> dict[str, Any]:
    """One training, up to the first check that finds its task solved, or through ``limit`` steps."""
    what, how = TASKS[task], CELLS[cell]
    layer, head = how.layer(what.features, HIDDEN, seed=seed, **how.options), nn.Linear(HIDDEN, what.outputs, seed=seed)
    parameters = [*layer.parameters(), *head.parameters()]
    adam = mr.Adam(parameters, lr=how.lr)

    def answers(xs: np.ndarray) -> mr.Tensor:
        return head(layer(xs)[0][-what.answers :])

    held_out, wanted = what.draw(random_generator(seed, f"{task} held out"), lag, HELD_OUT)
    losses, errors, step, diverged = [], [math.inf], 0, False
    while errors[-1] > what.solved_at and step < limit and not diverged:
        step += 1
        xs, targets = what.draw(random_generator(seed, f"{task} training", step), lag, BATCH)
        loss = what.loss(answers(xs), targets)
        adam.zero_grad()
        loss.backward()
        try:
            mr.clip_grad_norm_(parameters, MAX_NORM)
        except mr.NonFiniteGradientError:
            diverged = True  # a result like any other
            continue
        adam.step()
        if step % CHECK_EVERY == 0:
            with mr.no_grad():
                scores = answers(held_out)
                losses.append(round(what.loss(scores, wanted).item(), 5))
            errors.append(round(what.error(scores.numpy(), wanted), 5))
    outcome = {"solved": errors[-1] <= what.solved_at, "diverged": diverged, "steps": step}
    return {**identity(task, cell, lag, seed, limit), **outcome, "losses": losses, "errors": errors[1:]}


def identity(task: str, cell: str, lag: int, seed: int, limit: int) -> dict[str, Any]:
    """What a training is, so that the same one is not run twice."""
    setting = {"hidden": HIDDEN, "batch": BATCH, "max_norm": MAX_NORM, "lr": CELLS[cell].lr}
    which = {"task": task, "cell": cell, "lag": lag, "seed": seed, "limit": limit}
    return which | {"setting": setting | CELLS[cell].options}


def read_records(path: Path) -> list[dict[str, Any]]:
    """The trainings that a file holds; a last line that was cut off is not one, and is taken away."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def run_all(trainings: list[tuple], workers: int, path: Path | None) -> list[dict[str, Any]]:
    """The records of all trainings: those that ``path`` holds, and those run now, which are added to it."""
    found = read_records(path) if path else []
    waiting = [t for t in trainings if not any(r | identity(*t) == r for r in found)]
    records = [r for r in found if any(r | identity(*t) == r for t in trainings)]
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the workers: there is one per core already
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(train, *t) for t in waiting]):
            record = future.result()
            records.append(record)
            if path:
                with path.open("a") as file:
                    file.write(json.dumps(record) + "\n")
            end = "solved" if record["solved"] else "diverged" if record["diverged"] else "not solved"
            words = f"{record['task']}, {record['cell']}, lag {record['lag']}, seed {record['seed']}: {end}"
            print(f"{len(records)}/{len(trainings)} {words}, {record['steps']} steps", file=sys.stderr, flush=True)
    return records


def summary(runs: list[dict[str, Any]], expected: int) -> str:
    """One field of the table: how many seeds, the median of their steps, the median of the losses of the others."""
    if not runs:
        return "not run"
    steps, others = [r["steps"] for r in runs if r["solved"]], [r for r in runs if not r["solved"]]
    words = [f"{len(steps)} of {len(runs)}" + (f" ({expected - len(runs)} not run)" if len(runs) < expected else "")]
    words += [f"{statistics.median(steps):.0f} steps"] if steps else []
    lowest = [min(r["losses"]) for r in others if r["losses"]]
    words += [f"{'else ' if steps else ''}loss {statistics.median(lowest):.3f}"] if lowest else []
    diverged = sum(r["diverged"] for r in others)
    return ", ".join(words + ([f"{diverged} diverged"] if diverged else []))


def runs_of(records: list[dict[str, Any]], *which: Any) -> list[dict[str, Any]]:
    return [r for r in records if (r["task"], r["cell"], r["lag"]) == which]


def draw(records: list[dict[str, Any]], tasks: list, cells: list, lags: list, limit: int) -> Any:
    """A panel per task: steps to the solution over the lag, a mark per seed, a line through each cell's medians."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(tasks), 4.8), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        axes.axhspan(limit * 1.2, limit * 2.6, color="#eeeeee", zorder=0)
        axes.text(lags[0] * 0.85, limit * 2.7, f"not solved in {limit} steps", fontsize="small", color="#555555")
        for number, cell in enumerate(cells):
            at = [lag * 1.05 ** (number - (len(cells) - 1) / 2) for lag in lags]  # side by side: many marks coincide
            colour, medians = CELLS[cell].colour, []
            for x, lag in zip(at, lags, strict=True):
                runs = runs_of(records, task, cell, lag)
                solved = [r["steps"] for r in runs if r["solved"]]
                others = [limit * 1.45 * 1.22**k for k in range(len(runs) - len(solved))]  # one above the other
                axes.plot([x] * len(solved), solved, "o", color=colour, markersize=4.5)
                axes.plot([x] * len(others), others, "x", color=colour, markersize=4.5)
                medians.append(statistics.median(solved + others) if runs else math.nan)
            axes.plot(at, medians, CELLS[cell].line, color=colour, alpha=0.8, label=cell)
        axes.set(xscale="log", yscale="log", xlabel="lag", ylim=(CHECK_EVERY * 0.8, limit * 3.4))
        axes.minorticks_off()
        axes.set_xticks(lags, map(str, lags))
        ticks = [n for n in (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000) if n <= limit]
        axes.set_yticks(ticks, map(str, ticks))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{task} task", fontsize="medium", loc="left")
    panels[0].set_ylabel("training steps until solved")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(cells), frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--lags", nargs="+", type=int, default=[10, 20, 50, 100, 200])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=3000, help="steps after which a training ends unsolved")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--json", type=Path, help="file of finished trainings, a line each: read, and added to")
    parser.add_argument("--plot", type=Path, help="also draw the results (extra plot)")
    options = parser.parse_args()
    if min(options.lags) < 2:
        parser.error(f"--lags must be at least 2, a number to mark in each half, got {min(options.lags)}")
    which = product(options.tasks, options.cells, options.lags, options.seeds)
    # small lags first, and the two of the article's cells that start elsewhere last
    order = sorted(which, key=lambda training: (CELLS[training[1]].line == "--", training[2]))
    records = run_all([(*t, options.limit) for t in order], options.workers, options.json)
    print(f"{machine()}\nat most {options.limit} steps, seeds {', '.join(map(str, options.seeds))}\n")
    rows = [
        {"task": task, "lag": lag}
        | {cell: summary(runs_of(records, task, cell, lag), len(options.seeds)) for cell in options.cells}
        for task, lag in product(options.tasks, options.lags)
    ]
    print(markdown(rows))
    if options.plot:
        draw(records, options.tasks, options.cells, options.lags, options.limit).savefig(options.plot)


if __name__ == "__main__":
    main()
