"""Processes that read and write the same files; run by ``sharing_campaign.py`` in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
from apart import child, ended, report
from trial_runs import RUNS, TEXT, files_of

from minirnn import Checkpoint, Trainer
from minirnn.cli import USAGE, main
from minirnn.training import Callback, RunDirectoryError
from minirnn.training.atomic import previous_path, write_atomically
from minirnn.training.sealed import read_sealed, write_sealed


def reads_while_written(path: Path, reads: int) -> None:
    """Reads a file, and the one before it, while another process replaces them as fast as it can."""
    files = []
    for step in range(3):
        write_sealed(path, {"w": np.full(20_000, step)}, {"step": step}, keep_previous=True)
        files.append(path.read_bytes())

    def write() -> None:
        for step in range(10**9):
            write_atomically(path, files[step % 3], keep_previous=True)

    writer, seen = child(write), set()
    for number in range(reads):
        each = path if number % 2 else previous_path(path)
        try:
            arrays, meta = read_sealed(each)
            seen.add(meta["step"])
            failure = "" if (arrays["w"] == meta["step"]).all() else "it is mixed of two files"
        except ValueError as error:
            failure = str(error)
        report(f"read {number} of {each.name}", failure)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    report("the writer wrote meanwhile", "" if seen == {0, 1, 2} else f"only the files {seen} were seen")


class Hold(Callback):
    """Says that a run is under way, and holds it until its process is killed."""

    def __init__(self, pipe: int):
        self.pipe = pipe

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == 3:
            os.write(self.pipe, b"!")
            signal.pause()


def second_run(folder: Path, kind: str) -> None:
    """A run in a directory where another process trains; and once more, when that was killed."""
    ours, theirs = os.pipe()
    first = child(lambda: RUNS[kind]().run(steps=9, callbacks=[Checkpoint(folder, every=1), Hold(theirs)]))
    os.read(ours, 1)
    before = files_of(folder)
    for settings in ({"resume": True}, {"overwrite": True}):
        try:
            RUNS[kind]().run(steps=9, callbacks=[Checkpoint(folder, **settings)])
            failure = "it was let in"
        except RunDirectoryError as error:
            failure = "" if f"another run is under way in {folder}" in str(error) else str(error)
        report(f"a second run of {kind} with {settings}", failure or "it changed files" * (files_of(folder) != before))
    data = folder.parent / "text.txt"
    data.write_text(TEXT)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as heard:
        code = main(
            ["train", str(data), "-o", str(folder), "--overwrite", "--seq-len=5", "--batch-size=2", "--val-split=0"]
        )
    right = code == USAGE and "another run is under way in" in heard.getvalue() and files_of(folder) == before
    report(f"minirnn train over a run of {kind}", "" if right else f"exit code {code}: {heard.getvalue()}")
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    code = ended(lambda: RUNS[kind]().run(steps=9, callbacks=[Checkpoint(folder, resume=True)]) and 0)
    step = read_sealed(folder / "last.npz")[1]["training"]["step"]
    report(f"going on with a run of {kind} that was killed", "" if (code, step) == (0, 9) else f"{code}, step {step}")


def main_of(long: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reads_while_written(Path(folder, "last.npz"), 20_000 if long else 200)
        for kind in RUNS:
            second_run(Path(folder, kind), kind)


if __name__ == "__main__":
    main_of(sys.argv[1] == "long")
