"""A training run as commands start it: watched, saved, and summed up at the end."""

from __future__ import annotations

import io
import math
import os
import shlex
import shutil
import sys
import time
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

    Returns what ``summary_table`` shows, and the number of the signal if one ended the run.
    """
    signals = FirstPolite()
    config = task.table.to_toml(settings)
    checkpoint = Checkpoint(directory, settings["save_every"], settings["keep"], resume, overwrite, config)
    end = last_step(settings, trainer.training.batches_per_epoch)
    minutes = settings["max_minutes"]
    total = 60 * minutes if end == math.inf else end
    with (
        handling(signals),
        console.progress(total) as bar,
        np.errstate(all="ignore"),
    ):  # the trainer refuses what is not finite
        progress = Progress(console, bar, end, minutes)
        callbacks: list[Callback] = [
            *([EarlyStopping(settings["patience"])] if settings["patience"] else []),
            Samples(directory / "samples.txt", task, settings["seed"], settings["sample_every"]),
            checkpoint,
            _Resumed(directory, config, settings["patience"], console),
            progress,
            StopWhenAsked(signals, console),
        ]
        trainer.run(epochs=settings["epochs"], steps=settings["steps"], max_minutes=minutes, callbacks=callbacks)
        seconds = time.monotonic() - progress.began
    summary = _summary(trainer, task, seconds, trainer.step - progress.first, signals.signum is not None)
    summary |= {"saved_step": checkpoint.saved_at, "directory": os.fspath(directory)}
    summary |= {"files": _draw(trainer, directory, summary, settings, task, console)}
    return summary, signals.signum


class _Resumed(Callback):
    """Brings ``config.toml`` up to what a resumed run was asked for, and lifts an early stop if patience is 0 now."""

    def __init__(self, directory: Path, config: str, patience: int, console: Console):
        self.path, self.config, self.patience, self.console = directory / "config.toml", config, patience, console

    def on_start(self, trainer: Trainer) -> None:
        if trainer.step:
            self.console.note(f"going on with the run in {self.path.parent}, after step {trainer.step:,}")
        if not self.patience:
            trainer.stopping = trainer.finished = None
        try:
            if not self.path.exists() or self.path.read_text(encoding="utf-8") != self.config:
                write_atomically(self.path, self.config.encode())
        except OSError as error:
            warnings.warn(f"could not write {self.path} ({error.strerror})", RuntimeWarning, stacklevel=1)


def _summary(trainer: Trainer, task: Task, seconds: float, steps: int, interrupted: bool) -> dict[str, Any]:
    """Where the run stands, in bits per target."""
    training = trainer.training
    epochs = steps / training.batches_per_epoch
    last_epoch: dict[str, Any] = next((r for r in reversed(trainer.history) if "epoch" in r), {})
    total, _, _, count = trainer.since_record
    recent = next((r["loss"] for r in reversed(trainer.history) if "loss" in r), total / count if count else None)
    val_loss = last_epoch.get("val_loss")
    if trainer.validation is not None and not interrupted and last_epoch.get("step") != trainer.step:
        val_loss = evaluate(trainer.model, trainer.validation)
    return {
        "steps": trainer.step,
        "epochs": trainer.step / training.batches_per_epoch,
        "seconds": seconds,
        "unit": training.unit,
        "targets_per_second": epochs * training.targets_per_epoch / seconds if steps else None,
        "train_bits": None if recent is None else bits(recent),
        "val_bits": None if val_loss is None else bits(val_loss),
        "best_bits": None if trainer.best is None else bits(trainer.best),
        "entropy": task.entropy(trainer),
        "stopped": trainer.stopping,
    }


def _draw(
    trainer: Trainer,
    directory: Path,
    summary: dict[str, Any],
    settings: Mapping[str, Any],
    task: Task,
    console: Console,
) -> list[str]:
    """Draws ``loss.png`` where that is possible, and returns the names of the files that there are."""
    path = directory / "loss.png"
    data = settings[task.table.data.name] or settings["generated"]
    title = f"{Path(data).name}: {model_in_words(settings)}"
    try:
        picture = io.BytesIO()
        learning_curve(trainer.history, picture, baseline=summary["entropy"], unit=summary["unit"], title=title)
        write_atomically(path, picture.getbuffer())
    except ImportError:
        console.note(NO_MATPLOTLIB)
    except OSError as error:
        warnings.warn(f"could not write {path} ({error.strerror})", RuntimeWarning, stacklevel=1)
    names = ("config.toml", "last.npz", "best.npz", "log.jsonl", "samples.txt", "loss.png")
    return [name for name in names if (directory / name).exists()]


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
    validation = "" if summary["val_bits"] is None else f", {summary['val_bits']:.3f} in validation"
    training = "not known yet" if summary["train_bits"] is None else f"{summary['train_bits']:.3f} in training"
    rows = [
        (
            "trained",
            f"{summary['steps']:,} steps, {summary['epochs']:.1f} epochs; {duration(summary['seconds'])}{pace}",
        ),
        ("loss", f"{training}{validation} (bits per {unit})"),
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
