"""Models and runs on disk: saved, loaded, and gone on with to the last bit."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.arguments import booleans, not_negative, positive
from minirnn.nn import Module
from minirnn.nn.init import undrawn
from minirnn.training.atomic import previous_path, write_atomically
from minirnn.training.callbacks import Callback
from minirnn.training.claiming import claim, release
from minirnn.training.kinds import KINDS, MODULE, check_loadable, config_of, kind_of
from minirnn.training.loop import DivergenceError, Trainer
from minirnn.training.plausible import check_meta, check_state, log_line, read_log
from minirnn.training.sealed import CheckpointError, PathLike, read_sealed, write_sealed
from minirnn.version import __version__

SIZES = {  # for each kind: which sizes of its configuration stand in which axis of which array; then whose layers count
    "char_lm": ({"vocab_size": ("embedding", 0), "embedding_size": ("embedding", 1)}, "rnn", "vocab_size"),
    "seq2seq": (
        {
            "source_vocabulary": ("source_embedding", 0),
            "target_vocabulary": ("target_embedding", 0),
            "embedding_size": ("source_embedding", 1),
        },
        "encoder",
        "target_vocabulary",
    ),
}
RUN_FILES = (
    "last.npz", "last.previous.npz", "best.npz", "best.previous.npz",
    "log.jsonl", "samples.txt", "loss.png", "config.toml",
)  # fmt: skip


class RunDirectoryError(ValueError):
    """A directory holds a run already, and nobody said what to do with it."""


def save(model: Module, path: PathLike) -> None:
    """Writes a model to a file of its own: a `CharLM` or a `Seq2Seq` whole, of any other module the parameters.

    The file appears whole or not at all, and under a seal that every later change of it breaks. The whole is
    parameters, configuration and vocabulary; a class derived from one of the two comes back as that one. Which
    parameters are frozen is not kept.

    Raises
    ------
    TypeError
        If it is no module.
    ValueError
        If ``load`` would not give the model back, since layers were put into it, taken out, or made others.
    OSError
        If it cannot be written. Whatever is raised, a former file of that name is unchanged.
    """
    check_loadable(model)
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(Path(path).parent))
    write_sealed(path, _model_arrays(model), _model_meta(model))


def load(path: PathLike, kind: str | None = None, into: Module | None = None) -> Any:
    """Reads a model back, in evaluation mode and on the current backend.

    Parameters
    ----------
    path : path
        A file that ``save`` or a run has written, or the directory of a run, which stands for its best model:
        ``best.npz``, and ``last.npz`` as long as there is none.
    kind : {"char_lm", "seq2seq", "module"}, optional
        What it has to be: a `CharLM`, a `Seq2Seq`, or another module. Without it, any.
    into : Module, optional
        Takes over the parameters of another module, which only your own code can build; it stays where it is.

    Returns
    -------
    CharLM, Seq2Seq or ``into``

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged, foreign or of another kind; if it does not fit ``into``, which has
        not changed then; if ``into`` is missing, or not needed.
    TypeError
        If ``into`` is no module, or a module is given as ``kind``.
    """
    if isinstance(kind, Module):
        raise TypeError(f"kind must be a name such as 'module', got {type(kind).__name__}; give into=model")
    if into is not None and not isinstance(into, Module):
        raise TypeError(f"into must be a Module, got {type(into).__name__}")
    arrays, meta = read_run(path, kind)
    path = checkpoint_file(path)
    if meta["kind"] == MODULE:
        name = meta["model"].get("class")
        if into is None:
            reason = f"holds the parameters of a {name}, and not how it is built"
            raise CheckpointError(path, reason, f"give into={name}(...)")
        try:
            into.load_state_dict(of_model(arrays))
        except (KeyError, TypeError, ValueError) as error:
            hint = f"build it as the {name} was that was saved"
            raise CheckpointError(path, f"does not fit into this {type(into).__name__} ({error})", hint) from error
        return into.eval()
    if into is not None:
        raise CheckpointError(path, f"holds a whole {KINDS[meta['kind']].__name__}", "leave into away: load builds it")
    try:
        _check_sizes(arrays, meta)
        with undrawn():
            model = KINDS[meta["kind"]](**meta["model"])
        model.vocabulary_from_plain(meta["vocabulary"])
        model.load_state_dict(of_model(arrays))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(path, f"its model cannot be built ({error})", "load only what minirnn wrote") from error
    return model.eval()


def checkpoint_file(path: PathLike) -> Path:
    """The file itself, or the best model in a run's directory: ``best.npz``, without one ``last.npz``."""
    path = Path(path)
    best, last = path / "best.npz", path / "last.npz"
    if not path.is_dir() or path.name in (best.name, last.name):
        return path
    return best if os.path.exists(best) else last  # not Path.exists: it raises where it may not look


def read_run(path: PathLike, kind: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and meta of what a path stands for: the seal holds, and the meta says what it should."""
    path = checkpoint_file(path)
    arrays, meta = read_sealed(path, kind=(*KINDS, MODULE) if kind is None else kind)
    try:
        check_meta(arrays, meta)
    except ValueError as error:
        raise CheckpointError(path, f"not as minirnn writes it ({error})", "load only what minirnn wrote") from error
    return arrays, meta


def _model_arrays(model: Module) -> dict[str, np.ndarray]:
    return {f"model/{name}": array for name, array in model.state_dict().items()}


def of_model(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters among the arrays of a checkpoint, by name."""
    return {name.removeprefix("model/"): a for name, a in arrays.items() if name.startswith("model/")}


def _model_meta(model: Any) -> dict[str, Any]:
    kind = kind_of(model)
    return {
        "kind": kind,
        "model": config_of(model),
        "vocabulary": None if kind == MODULE else model.vocabulary_to_plain(),
        "versions": {"minirnn": __version__, "numpy": np.__version__},
        "training": None,
    }


def _check_sizes(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Compares the sizes of the configuration with the arrays really there, before memory is taken for them."""
    config, (sizes, rnn, scored) = meta["model"], SIZES[meta["kind"]]
    if any(arrays[f"model/{layer}.weight"].ndim != 2 for layer, _ in sizes.values()):
        raise ValueError("an embedding is no matrix")
    found = {name: arrays[f"model/{layer}.weight"].shape[axis] for name, (layer, axis) in sizes.items()}
    rows, read = arrays[f"model/{rnn}.weight_hh_l0"].shape
    forward = [name for name in arrays if name.startswith(f"model/{rnn}.weight_hh_l") and "reverse" not in name]
    found |= {"hidden_size": read, "num_layers": len(forward)}
    if f"model/{rnn}.weight_hr_l0" in arrays:
        found["proj_size"], found["hidden_size"] = arrays[f"model/{rnn}.weight_hr_l0"].shape
    for name, size in found.items():
        if config[name] != size:
            raise ValueError(f"{name} is {config[name]!r} in its configuration and {size} in its arrays")
    # an array may say (0, 10**12) for nothing
    shapes = {f"{rnn}.weight_hh_l{k}": (max(rows, found["hidden_size"]), read) for k in range(len(forward))}
    shapes |= {f"{rnn}.weight_ih_l0": (rows, found["embedding_size"]), "head.weight": (found[scored], read)}
    for name, shape in shapes.items():
        if arrays[f"model/{name}"].shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {arrays[f'model/{name}'].shape}")


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
            interrupt.add_note("a step was half done, so nothing was saved of it")
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
        write_sealed(path, _model_arrays(model), _model_meta(model), keep_previous=keep_previous)

    def _save(self, trainer: Trainer, keep_previous: bool = True) -> None:
        self._refuse_lost(trainer)
        if self.epoch_ended and trainer.improved:
            self._guarded(lambda: self._write_best(trainer.model))
        self.epoch_ended = False

        def write() -> None:
            arrays = _model_arrays(trainer.model) | trainer.arrays()
            meta = _model_meta(trainer.model) | {"training": trainer.books() | {"log_bytes": self.log_bytes}}
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
            os.link(last, own)
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
            raise CheckpointError(
                path, reason, "resume with the settings it was started with, or use another directory"
            )
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
