"""Two rehearsals of a training run that write nothing: does everything fit, and can the model learn at all?"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.cli.building import last_step
from minirnn.cli.console import Console, bits, duration, table
from minirnn.cli.tables import LENGTH
from minirnn.cli.tasks import Task
from minirnn.cli.watching import per
from minirnn.training import Checkpoint, Trainer, evaluate

OVERFIT_STEPS = 1000
LEARNED = 0.1  # the share of the first loss that may be left, above what no model can learn


def dry_run(
    trainer: Trainer,
    settings: Mapping[str, Any],
    task: Task,
    console: Console,
    out: Path | None,
    resume: bool,
) -> int:
    """Builds everything, checks the gradient of a small copy, takes a few steps to time them, and forgets all of it."""
    if out is not None and resume and (out / "last.npz").exists():
        Checkpoint(out, resume=True).read_into(trainer)
    left = last_step(settings, trainer.training.batches_per_epoch) - trainer.step
    report = task.gradients(settings)
    trainer.train_step()  # the first pays for imports and buffers
    loss, unit = trainer.loss, trainer.training.unit
    started = time.perf_counter()
    for _ in range(TIMED := 3):
        trainer.train_step()
    per_step = (time.perf_counter() - started) / TIMED
    validation = 0.0
    if trainer.validation is not None:
        started = time.perf_counter()
        evaluate(trainer.model, trainer.validation)
        validation = (time.perf_counter() - started) / trainer.training.batches_per_epoch
    seconds = min(left * (per_step + validation), 60 * (settings["max_minutes"] or math.inf))
    console.say(
        table(
            [
                ("gradients", f"agree with numbers; largest relative error {report.max_error:.1e}"),
                ("first loss", f"{bits(loss):.3f} bits per {unit}; {math.log2(task.blind(trainer)):.3f} is "
                               "guessing blindly"),
                ("time", f"{1000 * per_step:.1f} ms per step, about {duration(seconds)} in all"),
                ("written", "nothing: this was a dry run"),
            ]
        )
    )  # fmt: skip
    console.record(
        event="dry run",
        max_gradient_error=report.max_error,
        first_loss_bits=bits(loss),
        seconds_per_step=per_step,
        seconds=seconds,
    )
    return 0


def overfit(settings: Mapping[str, Any], data: Any, task: Task, console: Console) -> int:
    """Trains on the first batch only: a model and a training step that work learn it by heart."""
    steps = settings["steps"] or OVERFIT_STEPS
    length = dict.fromkeys(LENGTH) | {"steps": steps}
    certain, one_batch = task.one_batch(settings, data)
    trainer = task.trainer({**settings, **length, **certain}, one_batch)
    least = _least_loss(trainer.training)
    count, unit = trainer.training.targets_per_epoch, trainer.training.unit
    console.note(f"one batch of {count:,} {unit}s, up to {steps:,} steps, without dropout; nothing is written")
    first = math.nan
    with console.progress(steps) as bar, np.errstate(all="ignore"):
        while trainer.step < steps:
            trainer.train_step()
            first = trainer.loss if trainer.step == 1 else first
            learned = trainer.loss - least < LEARNED * (first - least)
            if bar is not None:
                bar.set_postfix_str(f"{bits(trainer.loss):.3f} {per(trainer)}", refresh=False)
                bar.update()
            elif trainer.step % 100 == 0 or learned:
                console.note(f"step {trainer.step}/{steps}  {bits(trainer.loss):.3f} {per(trainer)}")
            if learned:
                break
    console.record(
        event="overfit",
        learned=learned,
        steps=trainer.step,
        first_bits=bits(first),
        last_bits=bits(trainer.loss),
        least_bits=bits(least),
    )
    path = f"from {bits(first):.3f} to {bits(trainer.loss):.3f} bits per {unit} in {trainer.step:,} steps"
    if learned:
        console.say(f"learned: the loss fell {path}")
        return 0
    console.say(
        f"NOT learned: the loss went {path}; it should fall to a tenth. Try another --lr, or more --steps; "
        "if neither helps, something is broken"
    )
    return 1


def _least_loss(stream: Any) -> float:
    """The loss in nats below which no model can fall: rows that begin alike and go on differently."""
    inputs, targets = stream.batch(0, 0)
    if not hasattr(stream, "seq_len"):  # of pairs: the whole source is known from the beginning
        return 0.0
    total = 0.0
    for t in range(inputs.shape[1]):
        beginnings = Counter(row[: t + 1].tobytes() for row in inputs)
        continued = Counter((row[: t + 1].tobytes(), int(y)) for row, y in zip(inputs, targets[:, t], strict=True))
        total -= sum(n * math.log(n / beginnings[start]) for (start, _), n in continued.items())
    return total / inputs.size
