"""Ends runs in the middle of what they do, and goes on with them; run by ``kills_campaign.py`` in a process of its own.

Every run is a child of this process, which imports minirnn once and does nothing else itself.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from unittest import mock

from apart import ended, report
from file_calls import FileCalls
from trial_runs import PAIRS, RUNS, TEXT, files_of, temporaries

from minirnn import Checkpoint, load
from minirnn.cli import main, running

STEPS = 6
CHANGING = ("open", "write", "fsync", "close", "link", "replace", "unlink", "mkdir", "truncate")  # what a kill can part
SIZES = {"hidden": 4, "layers": 1, "embed": 3, "batch-size": 4, "val-split": 0.2, "log-every": 2, "steps": STEPS}
COMMANDS = {
    "train": ["--seq-len=5", "--save-every=2"],
    "train-seq2seq": ["--units=words", "--vocab-size=99", "--save-every=2"],
}
SIGNALS = {"SIGKILL": [signal.SIGKILL], "SIGTERM": [signal.SIGTERM], "SIGINT twice": [signal.SIGINT] * 2}


class Trial:
    """A run in a directory, which can be started, stopped and gone on with."""

    def __init__(self, folder: Path):
        self.folder, self.run = folder, folder / "run"

    def go_on(self) -> int | None:
        """Trains to the end, from wherever the run stands."""
        raise NotImplementedError

    def spoiled(self, at: int, signals: list[int]) -> int:
        """The run, with signals to itself in place of the Nth call that changes the disk; returns how it ended."""

        def kill(name: str) -> None:
            for each in signals:
                os.kill(os.getpid(), each)

        def call() -> int | None:
            with FileCalls(self.run, at, kill, names=CHANGING):
                return self.go_on()

        return ended(call)

    def calls(self) -> int:
        """How many calls there are."""
        count = self.folder / "count"

        def call() -> None:
            with FileCalls(self.run, names=CHANGING) as layer:
                self.go_on()
            count.write_text(str(len(layer.calls)))

        assert ended(call) == 0
        return int(count.read_text())

    def clear(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)


class Trained(Trial):
    """A run of Python's."""

    def __init__(self, folder: Path, kind: str):
        super().__init__(folder)
        self.kind = kind

    def go_on(self) -> None:
        RUNS[self.kind]().run(steps=STEPS, callbacks=[Checkpoint(self.run, every=2, keep=2, resume=True)])


class Commanded(Trial):
    """A run of the command line."""

    def __init__(self, folder: Path, verb: str):
        super().__init__(folder)
        data = folder / "data.txt"
        data.write_text(TEXT if verb == "train" else "\n".join(map("\t".join, PAIRS)) + "\n")
        sizes = [f"--{name}={value}" for name, value in SIZES.items()]
        self.words = [verb, str(data), "-o", str(self.run), "--resume", "--backend=numpy", *sizes, *COMMANDS[verb]]

    def go_on(self) -> int:
        for each in (signal.SIGINT, signal.SIGTERM):  # whatever this process was started with
            signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.default_int_handler)
        with mock.patch.object(running, "learning_curve", side_effect=ImportError("too slow for a thousand runs")):
            return main(self.words)


def lost(trial: Trial) -> str:
    """What of a run that was stopped cannot be read any more."""
    for name in files_of(trial.run):
        if name.endswith(".npz"):
            try:
                load(trial.run / name)
            except ValueError as error:
                return f"{name} cannot be loaded: {error}"
    return ""


def resumed(trial: Trial, whole: dict[str, bytes]) -> str:
    """Whether the run, gone on with, ends with the files of one that was never stopped."""
    if code := ended(trial.go_on):
        return f"it could not be gone on with: exit code {code}"
    found = files_of(trial.run)
    other = [name for name in whole if found.get(name) != whole[name]]
    more = {*found} - {*whole} - {*temporaries(found)}
    return f"after going on {', '.join([*other, *more])} are others" if other or more else ""


def at_every_call(trial: Trial, what: str, names: tuple[str, ...], every: int, seed: int) -> dict[str, bytes]:
    """Stops a run at each of its calls, and returns the files of one that was not stopped."""
    calls = trial.calls()
    whole = files_of(trial.run)
    for name in names:
        for at in range(1 + seed % every, calls + 1, every):
            trial.clear()
            code = trial.spoiled(at, SIGNALS[name])
            expected = (-9,) if name == "SIGKILL" else (0, 128 + SIGNALS[name][0])
            failure = "" if code in expected else f"it ended with code {code}"
            if name != "SIGKILL" and temporaries(files_of(trial.run)):
                failure = f"temporary files stay: {temporaries(files_of(trial.run))}"
            report(f"{what}, {name} at call {at} of {calls}", failure or lost(trial) or resumed(trial, whole))
    return whole


def at_random(trial: Trial, what: str, whole: dict[str, bytes], kills: int, draw: random.Random) -> None:
    """Kills one run again and again; a timer of the system does it, which asks no one and counts CPU time only."""

    def call() -> int | None:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        return trial.go_on()

    trial.clear()
    for number in range(kills):
        seconds = draw.uniform(0.001, 0.06)
        code = ended(call)
        failure = "" if code in (0, -signal.SIGPROF) else f"it ended with code {code}"
        report(
            f"{what}, kill {number} of {kills}, after {seconds:.3f} s{' (too late)' * (not code)}",
            failure or lost(trial),
        )
    report(f"{what}, gone on with after {kills} kills", resumed(trial, whole))


def main_of(long: bool, seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for kind in RUNS:
            at_every_call(Trained(Path(folder), kind), f"a run of {kind}", ("SIGKILL",), 1 if long else 9, seed)
            Trial(Path(folder)).clear()
        for verb in COMMANDS:
            trial = Commanded(Path(folder), verb)
            whole = at_every_call(trial, f"minirnn {verb}", tuple(SIGNALS), 3 if long else 80, seed)
            for _ in range(10 if long else 1):
                at_random(trial, f"minirnn {verb}", whole, 20 if long else 2, draw)
            trial.clear()


if __name__ == "__main__":
    main_of(sys.argv[1] == "long", int(sys.argv[2]))
