"""A training run as commands start it: watched, saved, and summed up at the end."""

from __future__ import annotations

import io
import math
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.cli.building import last_step, model_in_words
from minirnn.cli.console import Console, bits, duration, table
from minirnn.cli.interrupts import FirstPolite, handling
from minirnn.cli.tasks import Task
from minirnn.cli.watching import Progress, Samples, StopWhenAsked
from minirnn.lens import learning_curve
from minirnn.training import Callback, Checkpoint, EarlyStopping, Trainer, evaluate
from minirnn.training.atomic import write_atomically

FILES = ("config.toml", "last.npz", "best.npz", "log.jsonl", "samples.txt", "loss.png")
NO_MATPLOTLIB = "no learning curve was drawn: that needs matplotlib (pip install matplotlib)"


def run(
    trainer: Trainer,
    settings: Mapping[str, Any],
    console: Console,
    directory: Path,
    task: Task,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> tuple[dict[str, Any], int | None]:
    """Trains until the settings, or a signal, say so; all files of the run stand in ``directory`` afterwards.

    A run that comes to its end within an epoch is validated there, too, and may be the best then. Gone on with, it
    knows nothing of that: it ends as if it had never stopped.

    Returns what ``summary_table`` shows, and the number of the signal if one ended the run.
    """
    told = "interrupted: the step is finished and saved (once more stops at once)"
    signals = FirstPolite(lambda: console.interject(told))
    config = task.table.to_toml(settings)
    checkpoint = Checkpoint(directory, settings["save_every"], settings["keep"], resume, overwrite, config)
    end = last_step(settings, trainer.training.batches_per_epoch)
    minutes = settings["max_minutes"]
    with (
        handling(signals),
        console.progress(end) as bar,
        np.errstate(all="ignore"),
    ):  # the trainer refuses what is not finite
        progress, ending = Progress(console, bar, end, minutes), _Ending(checkpoint, signals)
        curve = _Curve(directory / "loss.png", settings, task, console)
        callbacks: list[Callback] = [
            *([EarlyStopping(settings["patience"])] if settings["patience"] else []),
            Samples(directory / "samples.txt", task, settings["seed"], settings["sample_every"]),
            checkpoint,
            _Resumed(directory, config, settings["patience"], end, console),
            progress,
            StopWhenAsked(signals),
            ending,
            curve,
        ]
        trainer.run(epochs=settings["epochs"], steps=settings["steps"], max_minutes=minutes, callbacks=callbacks)
    if trainer.parallel.rank:  # the first sums up
        return {}, signals.signum
    val_loss, best = ending.losses
    summary = _summary(trainer, progress.seconds, trainer.step - progress.first)
    summary |= {"entropy": curve.entropy, "files": [name for name in FILES if (directory / name).exists()]}
    summary |= {"val_bits": val_loss and bits(val_loss), "best_bits": best and bits(best)}
    summary |= {"saved_step": checkpoint.saved_at, "directory": os.fspath(directory)}
    return summary, signals.signum


class _Resumed(Callback):
    """Brings ``config.toml`` up to what a resumed run was asked for, and lifts an early stop if patience is 0 now."""

    def __init__(self, directory: Path, config: str, patience: int, end: int, console: Console):
        self.path, self.config, self.patience, self.end = directory / "config.toml", config, patience, end
        self.console = console

    def on_start(self, trainer: Trainer) -> None:
        if not self.patience:
            trainer.stopping = trainer.finished = None
        if trainer.step:
            self.console.note(self._where(trainer))
        try:
            if not self.path.exists() or self.path.read_text(encoding="utf-8") != self.config:
                write_atomically(self.path, self.config.encode())
        except OSError as error:
            warnings.warn(f"could not write {self.path} ({error.strerror})", RuntimeWarning, stacklevel=1)

    def _where(self, trainer: Trainer) -> str:
        run = f"the run in {self.path.parent}"
        if trainer.finished:
            return f"{run} was finished at step {trainer.step:,}: {trainer.finished}; --patience 0 lets it go on"
        if trainer.step >= self.end:
            return (
                f"{run} was finished: all its {trainer.step:,} steps are taken; more --epochs or --steps let it go on"
            )
        return f"going on with {run}, after step {trainer.step:,}"


class _Ending(Callback):
    """Looks at where the run has ended, which may be within an epoch, and keeps it if no epoch was better.

    It writes, so it does that before another run may begin in the directory.
    """

    def __init__(self, checkpoint: Checkpoint, signals: FirstPolite):
        self.checkpoint, self.signals = checkpoint, signals
        self.losses: tuple[float | None, float | None] = None, None

    def on_end(self, trainer: Trainer) -> None:
        self.losses = _, best = _losses(trainer, at_its_end=self.signals.signum is None)
        if best is not None and trainer.best is not None and best < trainer.best:
            self.checkpoint.keep_as_best(trainer)


class _Curve(Callback):
    """Draws ``loss.png`` where that is possible; like all that writes, before another run may begin there."""

    def __init__(self, path: Path, settings: Mapping[str, Any], task: Task, console: Console):
        self.path, self.task, self.console = path, task, console
        data = settings[task.table.data.name] or settings["generated"]
        self.title = f"{Path(data).name}: {model_in_words(settings)}"
        self.entropy = math.nan

    def on_end(self, trainer: Trainer) -> None:
        self.entropy = self.task.entropy(trainer)
        words = {"unit": trainer.training.unit, "title": self.title}
        try:
            picture = io.BytesIO()
            learning_curve(_history(trainer), picture, baseline=self.entropy, **words)
            write_atomically(self.path, picture.getbuffer())
        except ImportError:
            self.console.note(NO_MATPLOTLIB)
        except OSError as error:
            warnings.warn(f"could not write {self.path} ({error.strerror})", RuntimeWarning, stacklevel=1)


def _losses(trainer: Trainer, at_its_end: bool) -> tuple[float | None, float | None]:
    """The latest loss in validation, and the best there was of what decides on ``best.npz``."""
    last_epoch: dict[str, Any] = next((r for r in reversed(trainer.history) if "epoch" in r), {})
    val_loss, best = last_epoch.get("val_loss"), trainer.best
    if not at_its_end or last_epoch.get("step") == trainer.step:
        return val_loss, best
    total, count = trainer.epoch_sum
    now = total / count if count else math.inf
    if trainer.validation is not None:
        now = val_loss = evaluate(trainer.model, trainer.validation)
    return val_loss, now if best is None or now < best else best


def _summary(trainer: Trainer, seconds: float, steps: int) -> dict[str, Any]:
    """Where the run stands, in bits per target."""
    training = trainer.training
    epochs = steps / training.batches_per_epoch
    losses = (r.get("loss", r.get("train_loss")) for r in reversed(_history(trainer)))
    recent = next((loss for loss in losses if loss is not None), None)  # of the last epoch, or of steps since
    return {
        "steps": trainer.step,
        "epochs": trainer.step / training.batches_per_epoch,
        "seconds": seconds,
        "unit": training.unit,
        "targets_per_second": epochs * training.targets_per_epoch / seconds if steps else None,
        "train_bits": None if recent is None else bits(recent),
        "stopped": trainer.stopping,
    }


def _history(trainer: Trainer) -> list[dict[str, Any]]:
    """The records there are, and before the first one is full what it has so far."""
    if any("loss" in record for record in trainer.history):
        return trainer.history
    return [*trainer.begun_record(trainer.step), *trainer.history]


def complain_if_not_saved(summary: Mapping[str, Any], console: Console) -> bool:
    """Whether the end of the run is on no disk, which the user must then hear of."""
    step = summary["saved_step"]
    if step == summary["steps"]:
        return False
    left = "there is no last.npz" if step is None else f"last.npz is of step {step:,}"
    console.complain(f"{summary['directory']}: the run could not be saved; {left}, not of step {summary['steps']:,}")
    return True


def summary_table(summary: Mapping[str, Any]) -> str:
    """The end of a run, for people."""
    speed, unit = summary["targets_per_second"], summary["unit"]
    pace = f" ({speed:,.0f} {unit}s/s)" if speed else ""
    last, best = summary["val_bits"], summary["best_bits"]
    validation = "" if last is None else f", {last:.3f} in validation"
    training = "not known yet" if summary["train_bits"] is None else f"{summary['train_bits']:.3f} in training"
    rows = [
        (
            "trained",
            f"{summary['steps']:,} steps, {summary['epochs']:.1f} epochs; {duration(summary['seconds'])}{pace}",
        ),
        ("loss", f"{training}{validation} (bits per {unit})"),
        *([("best", f"{best:.3f} in validation, the model in best.npz")] if last is not None and best < last else []),
        ("baseline", f"{summary['entropy']:.3f}, the entropy of single {unit}s"),
        *([("stopped", summary["stopped"])] if summary["stopped"] else []),
        ("files", " ".join(summary["files"])),
        ("directory", summary["directory"]),
    ]
    return table(rows)


def command(*words: str) -> str:
    """A command as one can type it into a shell: by its name where the shell finds it, else as this one was called."""
    called = sys.argv[0]
    program = ["minirnn"] if shutil.which("minirnn") or Path(called).name != "minirnn" else [called]
    return shlex.join([*program, *words])
