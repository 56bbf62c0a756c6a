"""Every call on a file fails, one after the other: nothing that stood on the disk is lost, and the run goes on."""

from __future__ import annotations

import errno
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from counting import Tried
from file_calls import FileCalls
from trial_runs import RUNS, bits, files_of, temporaries

from minirnn import Checkpoint
from minirnn.training import Callback, CheckpointError
from minirnn.training.sealed import read_sealed

CODES = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES")


@dataclass
class Moment:
    """A part of a run whose calls fail: from one event, before the checkpoint has heard of it, to another, after."""

    begins: str
    ends: str
    step: int  # at which it lies
    resumes: bool = False
    may_raise: tuple[type[Exception], ...] = ()  # besides that, there are warnings only


MOMENTS = {
    "start": Moment("on_start", "on_start", 0, may_raise=(OSError,)),
    "resume": Moment("on_start", "on_start", 2, resumes=True, may_raise=(OSError, CheckpointError)),
    "save": Moment("on_epoch", "on_step", 0),  # of the first epoch
    "end": Moment("on_end", "on_end", 5),
}
LAST = 5  # step of every run, within its second epoch


class At(Callback):
    """Calls a function at one event of a run."""

    def __init__(self, event: str, call: Callable[[], None]):
        setattr(self, event, lambda trainer, *rest: call())


@dataclass
class Run:
    """What became of a run whose calls failed at a moment."""

    calls: list[str] = field(default_factory=list)
    spoiled: list[str] = field(default_factory=list)
    before: dict[str, bytes] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)  # the moment
    end: dict[str, bytes] = field(default_factory=dict)
    bits: dict[str, bytes] = field(default_factory=dict)
    saved_at: int | None = None
    warned: list[str] = field(default_factory=list)
    error: BaseException | None = None


def run(kind: str, moment: Moment, at: int = 0, code: str = "EIO", stays: bool = False) -> Run:
    """Trains in a directory that is there for this run only."""

    def fail(name: str) -> None:
        raise OSError(number, os.strerror(number))

    def arm() -> None:
        if not layer.calls:  # the first time only
            found.before, layer.armed = files_of(folder), True

    def disarm() -> None:
        if layer.armed:
            layer.armed = False
            found.after = files_of(folder)

    number, found = getattr(errno, code), Run()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "run")
        if moment.resumes:
            RUNS[kind]().run(steps=moment.step, callbacks=[Checkpoint(folder, keep=2)])
        layer = FileCalls(folder, at, fail, stays)
        layer.armed = False
        trainer, checkpoint = RUNS[kind](), Checkpoint(folder, keep=2, resume=moment.resumes)
        callbacks = [At(moment.begins, arm), checkpoint, At(moment.ends, disarm)]
        with layer, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                trainer.run(steps=LAST, callbacks=callbacks)
            except Exception as error:
                found.error = error
                disarm()
        found.calls, found.spoiled, found.end, found.bits = layer.calls, layer.spoiled, files_of(folder), bits(trainer)
        found.saved_at, found.warned = checkpoint.saved_at, [str(each.message) for each in warned]
    return found


def wrong(moment: Moment, found: Run, whole: Run) -> str:
    """What does not hold of a run, beside one in which nothing failed."""
    if found.error is not None and not isinstance(found.error, moment.may_raise):
        return f"it ended with {found.error!r}"
    for name in {*found.before, *found.after}:
        if problem := _changed(name, found, whole):
            return problem
    left = temporaries(found.after) + temporaries(found.end)
    if left and "unlink" not in found.spoiled:
        return f"temporary files stay: {', '.join(left)}"
    if found.error is not None:
        return "what was to be gone on with is another" if moment.resumes and found.after != found.before else ""
    if found.bits != whole.bits:
        return "training went another way"
    missing = any(
        found.after.get(name) != content for name, content in whole.after.items()
    )  # a snapshot more is no loss
    if missing and not found.warned:
        return "there was no warning"
    if found.saved_at == LAST:
        return (
            "" if (found.end["last.npz"], _log(found)) == (whole.end["last.npz"], _log(whole)) else "its end is another"
        )
    return "" if moment.begins == "on_end" else f"the last save is of step {found.saved_at}"


def _changed(name: str, found: Run, whole: Run) -> str:
    """What happened to a file that is neither what it was nor what it was to become."""
    content, former, new = found.after.get(name), found.before.get(name), whole.after.get(name)
    if content in (former, new) or name.endswith(".tmp"):
        return ""
    if name == "log.jsonl" and content is not None:  # grows in place, and is cut back to what a save knows of
        return "" if content.startswith(former or b"") else "the log has lost lines"
    if name == "last.previous.npz" and content == found.before.get("last.npz"):
        return ""
    if content and new and _told(content) == _told(new):  # it knows of fewer lines of the log
        return ""
    return f"{name} is neither the old one nor the new"


def _told(sealed: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """What stands in a checkpoint, but for the length of the log."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(sealed)
        arrays, meta = read_sealed(file.name)
    return {name: array.tobytes() for name, array in arrays.items()}, _without_log(meta)


def _without_log(meta: dict[str, Any]) -> dict[str, Any]:
    training = {name: value for name, value in (meta["training"] or {}).items() if name != "log_bytes"}
    return {**meta, "training": training}


def _log(found: Run) -> bytes | None:
    return found.end.get("log.jsonl")


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """The saves at the start of a run, after an epoch and at its end, and the reading of what is gone on with."""
    for kind, (name, moment) in product(RUNS, MOMENTS.items()):
        whole = run(kind, moment)
        assert not wrong(moment, whole, whole) and not whole.warned
        every = 1 if long or (kind, name) == ("characters", "save") else 5
        for at in range(1 + seed % every, len(whole.calls) + 1, every):
            several = product(CODES, (False, True)) if long else [(CODES[at % len(CODES)], at % 2 == 0)]
            for code, stays in several:
                what = f"{kind}, {name}, call {at} ({whole.calls[at - 1]}): {code}{', and all after it' * stays}"
                yield Tried(what, wrong(moment, run(kind, moment, at, code, stays), whole))
