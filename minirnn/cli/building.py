"""What commands read and build: texts, pairs, models; a directory looked at, an optimizer, a schedule, a trainer."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from minirnn.cli.console import Console
from minirnn.cli.settings import UsageError
from minirnn.text import DataError, read_pairs, read_text
from minirnn.text.pairs import pairs_in
from minirnn.text.reading import text_in
from minirnn.training import (
    SGD,
    Adam,
    AdamW,
    Checkpoint,
    CheckpointError,
    Plateau,
    RMSprop,
    Trainer,
    cosine,
    exponential,
    load,
    step_decay,
    warmup,
)
from minirnn.training.atomic import write_atomically
from minirnn.training.kinds import MODULE
from minirnn.training.saving import read_run
from minirnn.training.schedules import Schedule

STDIN = "standard input"
OPTIMIZERS: dict[str, Callable] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "rmsprop": RMSprop}


def read_source(name: str) -> str:
    """The text of a file, or of stdin for ``-``."""
    return text_in(_stdin(), STDIN) if name == "-" else read_text(name)


def read_pairs_of(name: str) -> list[tuple[str, str]]:
    """The pairs of a file, or of stdin for ``-``."""
    return pairs_in(_stdin(), STDIN) if name == "-" else read_pairs(name)


def _stdin() -> bytes:
    """All of standard input: of a file, a pipe, a terminal, a socket, or of nothing at all."""
    if sys.stdin is None:
        raise DataError(f"{STDIN} is closed; there is nothing to read")
    try:
        with open(0, "rb", closefd=False) as file:
            if stat.S_ISCHR(os.fstat(0).st_mode) and not file.isatty() and file.read(1):
                raise DataError(f"{STDIN} is a device that may never end; name a file in place of -")
            return file.read()
    except OSError as error:
        raise DataError(f"{STDIN} cannot be read: {error.strerror}; name a file in place of -") from error


def load_model(checkpoint: str, kind: str | None = None) -> Any:
    """The model of a run or a file; of a module, which only a program of one's own can build, it says so."""
    try:
        return load(checkpoint, kind)
    except CheckpointError as error:
        with suppress(CheckpointError):
            name = read_run(checkpoint, MODULE)[1]["model"]["class"]
            reason = f"holds the parameters of a {name}, which no command can build"
            hint = f"a program that has the class can: minirnn.load({checkpoint!r}, into={name}(...))"
            error = CheckpointError(error.path, reason, hint)
        raise error


def load_reader(checkpoint: str, kind: str | None = None) -> Any:
    """As `load_model`; refuses one that was saved without its vocabulary."""
    model = load_model(checkpoint, kind)
    if model.vocabulary_to_plain() is None:
        raise UsageError(f"{checkpoint} has no vocabulary, so it cannot read text")
    return model


def check_directory(directory: Path, resume: bool = False, overwrite: bool = False) -> None:
    """Refuses, before anything is computed, a directory that a run may not be written to."""
    Checkpoint(directory, resume=resume, overwrite=overwrite).others()
    there = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    why = "is not a directory"
    if there.is_dir():
        try:  # only this shows what the system will say: /proc, too, is a directory that root may change
            os.rmdir(tempfile.mkdtemp(prefix=".minirnn-", dir=there))
            return
        except OSError as error:
            why = f"does not let itself be changed ({error.strerror})"
    raise UsageError(f"{directory} cannot be written to: {there} {why}; name a directory that you may change")


def write_file(path: Path, content: bytes, console: Console) -> None:
    """Writes what a command was asked to write beside its output, and says so."""
    try:
        write_atomically(path, content)
    except OSError as error:
        words = f"cannot be written ({error.strerror}); name a file in a directory that you may change"
        raise OSError(error.errno, words, os.fspath(path)) from error
    console.note(f"written: {os.fspath(path)}")


def build_trainer(settings: Mapping[str, Any], model: Any, stream: Any, **options: Any) -> Trainer:
    """A trainer with the optimizer, the clipping and the schedule of the settings."""
    trainer = Trainer(
        model,
        stream,
        optimizer=OPTIMIZERS[settings["optimizer"]](model.parameters(), lr=settings["lr"]),
        clip_norm=settings["clip_norm"] or None,
        clip_value=settings["clip_value"],
        val_split=settings["val_split"] or 0.0,
        log_every=settings["log_every"],
        **options,
    )
    trainer.schedule = _schedule(settings, trainer.training.batches_per_epoch)
    return trainer


def last_step(settings: Mapping[str, Any], batches_per_epoch: int) -> int:
    """The step at which the run is over, if the clock does not end it before."""
    ends = [settings["steps"], settings["epochs"] and settings["epochs"] * batches_per_epoch]
    return min(end for end in ends if end)


def _schedule(settings: Mapping[str, Any], epoch: int) -> Schedule | None:
    """The schedule of the settings, with ``epoch`` as the number of steps per epoch."""
    kind, N, F = (settings[name] for name in ("schedule", "schedule_steps", "schedule_factor"))
    if kind == "cosine":
        return cosine(N or last_step(settings, epoch), F or 0.0)
    F = 0.5 if F is None else F
    makers: dict[str, Callable[[], Schedule | None]] = {
        "constant": lambda: None,
        "step": lambda: step_decay(N or epoch, F),
        "exponential": lambda: exponential(F ** (1 / (N or epoch))),
        "plateau": lambda: Plateau(N or 3, F),
        "warmup": lambda: warmup(N or 100),
    }
    return makers[kind]()


def model_in_words(settings: Mapping[str, Any]) -> str:
    """The model in half a line."""
    layers, more = settings["layers"], f", {settings['layer_options']}" if settings["layer_options"] else ""
    size = f"{layers} layer{'s' if layers > 1 else ''} of {settings['hidden']}"
    return f"{settings['cell']}, {size}, {settings['dtype']}{more}"
