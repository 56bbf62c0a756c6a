"""Runs on disk: saved while they train, and gone on with to the last bit."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from minirnn.arguments import booleans, not_negative, paths, positive
from minirnn.nn import Module
from minirnn.training.atomic import previous_path, write_atomically
from minirnn.training.callbacks import Callback
from minirnn.training.claiming import claim, release
from minirnn.training.kinds import check_loadable, config_of, kind_of
from minirnn.training.loop import DivergenceError, Trainer
from minirnn.training.plausible import check_state, log_line, read_log
from minirnn.training.saving import model_arrays, model_meta, of_model, read_run
from minirnn.training.sealed import CheckpointError, PathLike, write_sealed

RUN_FILES = (
    "last.npz", "last.previous.npz", "best.npz", "best.previous.npz",
    "log.jsonl", "samples.txt", "loss.png", "config.toml",
)  # fmt: skip


class RunDirectoryError(ValueError):
    """A directory holds a run already, and nobody said what to do with it."""


class Checkpoint(Callback):
    """Keeps a run in a directory: ``last.npz``, ``best.npz`` and ``log.jsonl``, so that it can be gone on with.

    Killed at any moment and resumed, a run ends with the files of one that never stopped, byte for byte.

    Parameters
    ----------
    directory : path
        Made if it is not there.
    every : int, optional
        Steps between saves, besides those at the start, after every epoch and at the end.
    keep : int
        How many of the latest saves also stay under their steps' names, ``step-00000100.npz``.
    resume : bool
        Goes on with the run in the directory; starts a new one where there is none.
    overwrite : bool
        Deletes the files of the run in the directory, and starts a new one.
    config : str
        Written to ``config.toml`` when a new run starts.

    Raises
    ------
    RunDirectoryError
        At the start of the run, if the directory holds one and neither ``resume`` nor ``overwrite`` is given, or if
        another run is under way there.
    CheckpointError
        At the start of the run, if what is to be resumed cannot be loaded, or is of other data or another model.
    ValueError
        At the start of the run, if ``load`` would not give the model back, as ``save`` says.

    Notes
    -----
    If a save fails (a full disk, say, or too little memory), the file before it stays as it is, and training goes on
    with a warning. After the run ``saved_at`` is the step that ``last.npz`` is of: smaller than ``trainer.step`` if the
    last save failed. Ctrl-C saves the last step that was completed, and says which; one that comes in a validation
    leaves that to the run that goes on. One that comes in the moment in which parameters are changed saves nothing.
    """

    def __init__(
        self,
        directory: PathLike,
        every: int | None = None,
        keep: int = 0,
        resume: bool = False,
        overwrite: bool = False,
        config: str = "",
    ):
        paths(directory=directory)
        positive(every=1 if every is None else every)
        not_negative(keep=keep)
        booleans(resume=resume, overwrite=overwrite)
        if resume and overwrite:
            raise ValueError("give resume or overwrite, not both")
        self.directory, self.every, self.keep = Path(directory), every, keep
        self.resume, self.overwrite, self.config = resume, overwrite, config
        self.logged = 0  # records of the history that stand in the log
        self.log_bytes = 0
        self.saved_at: int | None = None
        self.epoch_ended = False
        self.claimed = False  # whether the directory is this run's

    def on_start(self, trainer: Trainer) -> None:
        check_loadable(trainer.model)
        self.others()
        self.logged, self.log_bytes, self.saved_at, self.epoch_ended = 0, 0, None, False  # of a run before this one
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            claim(self.directory)
        except BlockingIOError as error:
            raise RunDirectoryError(
                f"another run is under way in {self.directory}; wait until it has ended, or use another directory"
            ) from error
        self.claimed = True
        self._begin(trainer, self.others())  # again, now that nobody else can change it

    def _begin(self, trainer: Trainer, there: list[str]) -> None:
        if self.resume and (self.directory / "last.npz").exists():
            self.read_into(trainer)
            self._put_back()
            if self.keep:  # the run may have been killed before this save had its name
                self._guarded(lambda: self._keep(trainer.step))
            return
        if self.config:  # first: it shows, before anything is deleted, that the directory can be written to
            config = self.directory / "config.toml"
            try:
                write_atomically(config, self.config.encode())
            except OSError as error:  # which would name no file, or a temporary one
                raise OSError(error.errno, error.strerror, os.fspath(config)) from error
            there = [name for name in there if name != "config.toml"]
        for file in (*map(self.directory.joinpath, there), *self._snapshots()):
            file.unlink(missing_ok=True)
        self._save(trainer)

    def others(self) -> list[str]:
        """The files of a run that the directory holds; raises ``RunDirectoryError`` if they may not be touched."""
        if self.directory.exists() and not self.directory.is_dir():
            raise RunDirectoryError(f"{self.directory} is a file; a run needs a directory")
        there = [name for name in RUN_FILES if (self.directory / name).exists()]
        for file in (*map(self.directory.joinpath, there), *self._snapshots()):
            if not file.is_file():
                raise RunDirectoryError(f"{file} is not an ordinary file; move it away, or use another directory")
        if self.resume and "last.npz" not in there and "last.previous.npz" in there:  # that one is all there is left
            raise RunDirectoryError(
                f"{self.directory} holds a run but no last.npz ({', '.join(there)}); rename last.previous.npz to "
                "last.npz to go on from there, or give --overwrite (overwrite=True)"
            )
        if there and not (self.resume or self.overwrite):
            raise RunDirectoryError(
                f"{self.directory} holds another run ({', '.join(there)}); give --resume (resume=True) to go on with "
                "it, --overwrite (overwrite=True) to replace it, or another directory"
            )
        return there

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self.epoch_ended = True

    def on_step(self, trainer: Trainer) -> None:
        self._write_log(trainer)
        if self.epoch_ended or (self.every and trainer.step % self.every == 0):
            self._save(trainer)

    def on_end(self, trainer: Trainer) -> None:
        if self.saved_at != trainer.step:
            self._save(trainer)
        if self.saved_at != trainer.step:  # once more, with less space taken
            self._save(trainer, keep_previous=False)
        self._guarded(lambda: self._have_a_best(trainer))

    def on_interrupt(self, trainer: Trainer, interrupt: KeyboardInterrupt) -> None:
        if not self.claimed:
            return
        if trainer.whole:
            self._write_log(trainer)
            if self.epoch_ended or self.saved_at != trainer.step:
                self._save(trainer)
        else:
            interrupt.add_note("what was half done was not saved")
        if self.saved_at is not None:
            holds = f"{self.directory / 'last.npz'} holds step {self.saved_at} of the run"
            interrupt.add_note(f"{holds}; --resume (resume=True) goes on from there")

    def on_leave(self, trainer: Trainer) -> None:
        if self.claimed:
            self.claimed = False
            release(self.directory)

    def keep_as_best(self, trainer: Trainer) -> None:
        """Makes the model ``best.npz``: it is better now, within an epoch, than it was after any.

        A run that never stopped would not have looked at it here, so one that is gone on with has its former best back.
        """
        self._guarded(lambda: self._write_best(trainer.model, keep_previous=True))

    def _write_best(self, model: Module, keep_previous: bool = False) -> None:
        path = self.directory / "best.npz"
        write_sealed(path, model_arrays(model), model_meta(model), keep_previous=keep_previous)

    def _save(self, trainer: Trainer, keep_previous: bool = True) -> None:
        self._refuse_lost(trainer)
        if self.epoch_ended and trainer.improved:
            self._guarded(lambda: self._write_best(trainer.model))
        self.epoch_ended = False

        def write() -> None:
            arrays = model_arrays(trainer.model) | trainer.arrays()
            meta = model_meta(trainer.model) | {"training": trainer.books() | {"log_bytes": self.log_bytes}}
            write_sealed(self.directory / "last.npz", arrays, meta, keep_previous=keep_previous)

        if self._guarded(write):
            self.saved_at = trainer.step
            if self.keep:
                self._guarded(lambda: self._keep(trainer.step))

    def _have_a_best(self, trainer: Trainer) -> None:
        best = self.directory / "best.npz"
        # not one epoch is complete: the last is the best there is, and not one of a run that ended before
        if trainer.epoch == 0 or not best.exists():
            self._write_best(trainer.model)

    def _refuse_lost(self, trainer: Trainer) -> None:
        """Ends a run whose last step left the numbers' range: what is saved stays finite."""
        if lost := trainer.lost():
            raise DivergenceError(
                f"{lost} is no longer finite after step {trainer.step} "
                f"(a smaller learning rate may help); {self.directory / 'last.npz'} holds step {self.saved_at}"
            )

    def _keep(self, step: int) -> None:
        own, last = self.directory / f"step-{step:08d}.npz", self.directory / "last.npz"
        if not (own.exists() and own.samefile(last)):  # else a link that fails would cost the one there is
            own.unlink(missing_ok=True)
            os.link(os.path.realpath(last), own)
        for old in self._snapshots()[: -self.keep]:
            old.unlink(missing_ok=True)

    def _snapshots(self) -> list[Path]:
        return sorted(self.directory.glob("step-????????.npz"))

    def _write_log(self, trainer: Trainer) -> None:
        if len(trainer.history) > self.logged:
            self._guarded(lambda: self._log(trainer))

    def _log(self, trainer: Trainer) -> None:
        path = self.directory / "log.jsonl"
        if not path.exists():  # at the start, or because somebody has deleted it
            self.logged = self.log_bytes = 0
        lines = "".join(map(log_line, trainer.history[self.logged :])).encode()
        with open(path, "r+b" if self.log_bytes else "wb") as log:
            log.seek(self.log_bytes)
            log.write(lines)
            log.truncate()
        self.logged, self.log_bytes = len(trainer.history), self.log_bytes + len(lines)

    def _guarded(self, write: Any) -> bool:
        try:
            write()
            return True
        except (OSError, MemoryError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not enough memory"
            warnings.warn(
                f"could not write to {self.directory} ({reason}); what stood there before is unchanged, "
                "and training goes on",
                RuntimeWarning,
                stacklevel=4,
            )
            return False

    def read_into(self, trainer: Trainer) -> None:
        """Sets ``trainer`` to where the run in the directory stands; no file is changed."""
        path = self.directory / "last.npz"
        arrays, meta = read_run(path, kind_of(trainer.model))
        theirs, ours = meta["model"], config_of(trainer.model)
        names = [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)]
        other = [f"{name} {theirs.get(name)!r}, not {ours.get(name)!r}" for name in names]
        if other or meta["training"] is None:
            reason = f"of a run with {', '.join(other)}" if other else "of a model without a run"
            hint = "resume with the settings it was started with, or use another directory"
            if any(name.endswith(".seed") for name in names):  # of layers; the models of the library have one in config
                hint += "; a layer that is given no seed gets a new one each time, unless use_seed(0) comes before it"
            raise CheckpointError(path, reason, hint)
        shapes = {name: array.shape for name, array in trainer.model.state_dict().items()}
        if {name: array.shape for name, array in of_model(arrays).items()} != shapes:
            raise CheckpointError(path, "its arrays are not those of its model", "load only what minirnn wrote")
        log = self.directory / "log.jsonl"
        lines = log.read_bytes()[: meta["training"]["log_bytes"]] if log.exists() else b""
        lines = lines[: lines.rfind(b"\n") + 1]  # a power cut may have taken the end
        history = read_log(log, lines)
        before = trainer.arrays(), trainer.books()
        try:
            check_state(trainer, arrays, meta["training"])
            trainer.resume(arrays, meta["training"])
            trainer.model.load_state_dict(of_model(arrays))
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            trainer.resume(*before)  # a callback may have refused what it found, after all else was changed
            raise CheckpointError(path, f"of another run: {error}", "use another directory") from error
        trainer.history[:] = history
        self.logged, self.log_bytes, self.saved_at = len(history), len(lines), trainer.step

    def _put_back(self) -> None:
        """Undoes what a run that goes on from ``last.npz`` has not done yet, or would never have done."""
        log, best = self.directory / "log.jsonl", self.directory / "best.npz"
        if log.exists():  # it may have run ahead
            self._guarded(lambda: os.truncate(log, self.log_bytes))
        if previous_path(best).exists():  # from before ``keep_as_best``
            self._guarded(lambda: os.replace(previous_path(best), best))
