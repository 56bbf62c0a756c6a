"""Memory runs out at every line of a save and a load: nothing on the disk is lost, and no good file is called bad."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from itertools import product
from linecache import getline
from pathlib import Path
from types import FrameType
from typing import Any

from counting import Tried
from trial_runs import RUNS, bits, files_of

from minirnn import Checkpoint, load
from minirnn.training import CheckpointError
from minirnn.training.claiming import release

STEP = 5  # of the last save
READING = ("minirnn/training/", "numpy/lib/", "json/")  # zipfile's own lines cannot all stop half-way


class Lines:
    """Notes the lines of what reads and writes files that run in a ``with`` block; there is no memory for the Nth."""

    def __init__(self, at: int = 0):
        self.at = at
        self.seen: list[tuple[str, int]] = []
        self.callers: set[str] = set()  # functions that the Nth line is in

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Callable:
        # not in destructors: they run when it pleases Python, which says nothing of what they raise
        if event == "line" and any(part in frame.f_code.co_filename for part in READING) and not _is_destroying(frame):
            self.seen.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.seen) == self.at:
                while frame is not None:
                    self.callers.add(frame.f_code.co_name)
                    frame = frame.f_back
                raise MemoryError
        return self._trace

    @contextmanager
    def running(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def ends(self) -> list[int]:
        """Where each distinct line of what reads and writes files was run first, and where last.

        Not ``with`` lines: Python is in one again when its block is left, between the block and the cleaning up, and
        takes no memory there.
        """
        numbered = [
            (place, n) for n, place in enumerate(self.seen, 1) if not getline(*place).lstrip().startswith("with ")
        ]
        return sorted({*dict(numbered).values(), *dict(reversed(numbered)).values()})


def _is_destroying(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


class Tight(Checkpoint):
    """A checkpoint that runs out of memory at the start or at the end of a run."""

    def __init__(self, folder: Path, moment: str, lines: Lines):
        super().__init__(folder, resume=moment == "on_start")
        self.moment, self.lines = moment, lines

    def on_start(self, trainer: Any) -> None:
        with self.lines.running() if self.moment == "on_start" else nullcontext():
            super().on_start(trainer)

    def on_end(self, trainer: Any) -> None:
        with self.lines.running() if self.moment == "on_end" else nullcontext():
            super().on_end(trainer)


@cache
def bits_after(kind: str, steps: int) -> dict[str, bytes]:
    """Every bit of the parameters of a run that nothing happens to."""
    trainer = RUNS[kind]()
    trainer.run(steps=steps)
    return bits(trainer)


def save(kind: str, folder: Path, lines: Lines) -> str:
    """The last save of a run: there is the old model or the new, and no room for a copy does not end the run."""
    trainer = RUNS[kind]()
    trainer.run(steps=STEP - 1, callbacks=[Checkpoint(folder)])
    checkpoint = Tight(folder, "on_end", lines)
    checkpoint.on_start = lambda trainer: None  # goes on where the one before it has ended
    with warnings.catch_warnings(action="ignore"):
        try:
            trainer.run(steps=STEP, callbacks=[checkpoint])
        except MemoryError:
            if "write_sealed" in lines.callers:
                return "the run ended of it"
    saved = {name: array.tobytes() for name, array in load(folder / "last.npz").state_dict().items()}
    if saved == bits_after(kind, STEP):  # whether or not there was still room to take note of it
        return ""
    if saved != bits_after(kind, STEP - 1):
        return "last.npz is of neither step"
    return "it is said to be saved, and is not" if checkpoint.saved_at == STEP else ""


def read(kind: str, folder: Path, lines: Lines) -> str:
    """The loading of a model."""
    return _read(lines, lambda: _load(folder, lines))


def resume(kind: str, folder: Path, lines: Lines) -> str:
    """The start of a run that goes on with another."""
    trainer, checkpoint = RUNS[kind](), Tight(folder, "on_start", lines)
    trainer.callbacks = [checkpoint]
    try:
        return _read(lines, lambda: checkpoint.on_start(trainer))
    finally:
        release(folder)


def _load(folder: Path, lines: Lines) -> None:
    with lines.running():
        load(folder)


def _read(lines: Lines, call: Callable[[], Any]) -> str:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            call()
        except MemoryError:
            return ""
        except CheckpointError as error:
            return "" if "header that cannot be parsed" in error.reason else f"a good file was called bad: {error}"
    return "nobody heard of it" if lines.at and not warned else ""


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """Each line of the files that do the work, when it is run first and last; the quick part takes some of them."""
    for kind, (do, every) in product(RUNS, ((save, 60), (read, 60), (resume, 120))):
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent, "run")
            if do is not save:
                RUNS[kind]().run(steps=STEP - 1, callbacks=[Checkpoint(folder)])
            lines = Lines()
            assert not do(kind, folder, lines)
            before = {} if do is save else files_of(folder)
        for at in lines.ends()[seed % every :: 1 if long else every]:
            with tempfile.TemporaryDirectory() as parent:
                folder = Path(parent, "run")
                folder.mkdir()
                for name, content in before.items():
                    (folder / name).write_bytes(content)
                lines = Lines(at)
                failure = do(kind, folder, lines)
                if not failure and do is not save and files_of(folder) != before:
                    failure = "reading changed a file"
            yield Tried(
                f"{kind}, {do.__name__}: no memory at {Path(lines.seen[at - 1][0]).name}:{lines.seen[at - 1][1]}",
                failure,
            )
