"""What looks on while a run trains: progress on the screen, samples in a file, and the ear for Ctrl-C."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import Any

from minirnn.cli.console import Console, bits, duration
from minirnn.cli.interrupts import FirstPolite
from minirnn.cli.tasks import Task
from minirnn.training import Callback, Trainer
from minirnn.training.atomic import write_atomically


class StopWhenAsked(Callback):
    """Ends the run after the step under way, once a signal has come in."""

    everywhere = True

    def __init__(self, signals: FirstPolite):
        self.signals = signals

    def on_step(self, trainer: Trainer) -> None:
        if self.signals.signum is not None:
            trainer.stop("interrupted")


class Samples(Callback):
    """Writes what the model would write into a file: every ``every`` steps, or after every epoch.

    The length of the file is saved with the run: a resumed one cuts off what was written after the save it goes on
    from, and ends with the file of a run that never stopped.
    """

    def __init__(self, path: Path, task: Task, seed: int, every: int | None = None):
        self.path, self.task, self.seed, self.every = path, task, seed, every
        self.written = 0  # bytes
        self.sampled_at: int | None = None
        self.epoch_ended = False

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self.epoch_ended = True

    def on_step(self, trainer: Trainer) -> None:
        if self.epoch_ended if self.every is None else trainer.step % self.every == 0:
            self._write(trainer)
        self.epoch_ended = False

    def on_end(self, trainer: Trainer) -> None:
        at_its_end = trainer.stopping is None or trainer.finished  # and not one that will be gone on with
        if at_its_end and self.sampled_at != trainer.step:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        entry = f"=== step {trainer.step} ===\n{self.task.sample(trainer, self.seed)}\n\n".encode()
        try:
            before = self.path.read_bytes()[: self.written] if self.written else b""
            write_atomically(self.path, before + entry)
        except OSError as error:
            warnings.warn(
                f"could not write {self.path} ({error.strerror}); training goes on", RuntimeWarning, stacklevel=1
            )
            return
        self.written, self.sampled_at = len(before) + len(entry), trainer.step

    def state_dict(self) -> dict[str, Any]:
        return {"written": self.written, "sampled_at": self.sampled_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.written, self.sampled_at = state["written"], state["sampled_at"]


class Progress(Callback):
    """A bar that moves with every step where there is one, else a line per record; for ``--json`` the records."""

    def __init__(self, console: Console, bar: Any, end: int, minutes: float | None):
        self.console, self.bar, self.end, self.minutes = console, bar, end, minutes
        self.began, self.first, self.shown = time.monotonic(), 0, 0
        self.seconds = 0.0  # that the run has taken, once it is over

    def on_start(self, trainer: Trainer) -> None:
        self.began, self.first, self.shown = time.monotonic(), trainer.step, len(trainer.history)
        if self.bar is not None:
            self.bar.n = self.bar.initial = trainer.step

    def on_end(self, trainer: Trainer) -> None:
        self.seconds = time.monotonic() - self.began

    def on_step(self, trainer: Trainer) -> None:
        try:
            self._show(trainer)
        except BrokenPipeError:
            trainer.stop("nobody reads the output any more")
        except OSError as error:
            trainer.stop(f"the output cannot be written ({error.strerror})")

    def _show(self, trainer: Trainer) -> None:
        new, self.shown = trainer.history[self.shown :], len(trainer.history)
        for record in new:
            self.console.record(event="epoch" if "epoch" in record else "step", **record)
            if "epoch" in record:
                self.console.note(self._epoch_line(trainer, record))
            elif self.bar is None:
                self.console.note(self._step_line(trainer, record))
        if self.bar is not None:
            self.bar.set_description_str(f"epoch {trainer.epoch + 1}", refresh=False)
            recent = next((r["loss"] for r in reversed(trainer.history) if "loss" in r), trainer.loss)
            self.bar.set_postfix_str(f"{bits(recent):.2f} {per(trainer)}", refresh=False)
            self.bar.update(trainer.step - self.bar.n)

    def _epoch_line(self, trainer: Trainer, record: dict[str, Any]) -> str:
        losses = [f"{name} {bits(record[key]):.3f}" for name, key in LOSSES.items() if key in record]
        best = ", the best so far" if trainer.improved else ""
        return f"epoch {record['epoch']}: {', '.join(losses)} {per(trainer)}{best}"

    def _step_line(self, trainer: Trainer, record: dict[str, Any]) -> str:
        passed = time.monotonic() - self.began
        left = self.seconds_left(trainer, passed)
        parts = [
            f"step {record['step']}/{self.end}",
            f"{bits(record['loss']):.3f} {per(trainer)}",
            f"norm {record['norm']:.2g}",
            f"clipped {record['clipped']:.0%}" if record["clipped"] else "",
            f"{duration(left)} left",
        ]
        return "  ".join(part for part in parts if part)

    def seconds_left(self, trainer: Trainer, passed: float) -> float:
        by_steps = (self.end - trainer.step) * passed / max(1, trainer.step - self.first)
        by_clock = 60 * self.minutes - passed if self.minutes else math.inf
        return max(0.0, min(by_steps, by_clock))


def per(trainer: Trainer) -> str:
    """In what losses are shown where there is little room."""
    return {"character": "bits/char"}.get(trainer.training.unit, f"bits/{trainer.training.unit}")


LOSSES = {"training": "train_loss", "validation": "val_loss"}
