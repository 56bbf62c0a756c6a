"""Stop anywhere, resume = never stopped, bit for bit: as a state machine, and with kill -9."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tiny_runs import bits, tiny_model, tiny_stream

import minirnn
from minirnn import SGD, Adam, AdamW, Checkpoint, EarlyStopping, RMSprop, Trainer, evaluate, generate, load
from minirnn.training import Callback, Plateau, cosine, warmup

TOTAL = 19  # steps of a run: four epochs of four, and three steps
OPTIMIZERS = {
    "SGD": lambda parameters: SGD(parameters, lr=2.0, momentum=0.9),
    "RMSprop": lambda parameters: RMSprop(parameters, lr=0.05),
    "Adam": lambda parameters: Adam(parameters, lr=0.1),
    "AdamW": lambda parameters: AdamW(parameters, lr=0.1),
}
SCHEDULES = {
    "none": lambda: None,
    "cosine": lambda: warmup(3, then=cosine(TOTAL)),
    "plateau": lambda: Plateau(patience=1, gamma=0.5),
}


def fresh_run(lanes, dropout, optimizer, schedule, patience, cell="lstm"):
    """A trainer at step 0, and what looks on besides the checkpoint."""
    stream = tiny_stream(lanes=lanes)
    model = tiny_model(stream, dropout=dropout, cell=cell)
    trainer = Trainer(
        model,
        stream,
        optimizer=OPTIMIZERS[optimizer](model.parameters()),
        schedule=SCHEDULES[schedule](),
        clip_norm=0.5,
        val_split=0.25,
        log_every=3,
    )
    assert trainer.training.batches_per_epoch == 4
    return trainer, [EarlyStopping(patience)] if patience else []


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in ("last.npz", "best.npz", "log.jsonl")}


@cache
def never_stopped(items):
    with tempfile.TemporaryDirectory() as folder:
        trainer, lookers = fresh_run(**dict(items))
        trainer.run(steps=TOTAL, callbacks=[*lookers, Checkpoint(folder)])
        return files_of(Path(folder)), trainer.history, bits(trainer.model)


class Killed(BaseException):
    """What no part of a run may survive."""


class Killer(Callback):
    """Ends a run after a step: at once, or at the first rename of the save that follows."""

    def __init__(self, at, while_saving, patches):
        self.at, self.while_saving, self.patches = at, while_saving, patches

    def on_step(self, trainer):
        if trainer.step == self.at and self.while_saving:
            self.patches.enter_context(mock.patch("os.replace", side_effect=Killed))
        elif trainer.step == self.at:
            raise Killed


class StopAnywhere(RuleBasedStateMachine):
    """Trains in pieces, with everything that happens around training, and compares with a run in one piece."""

    @initialize(
        kind=st.fixed_dictionaries(
            {
                "lanes": st.booleans(),
                "dropout": st.sampled_from([0.0, 0.4]),
                "optimizer": st.sampled_from(list(OPTIMIZERS)),
                "schedule": st.sampled_from(list(SCHEDULES)),
                "patience": st.sampled_from([0, 1, 3]),
                "cell": st.sampled_from(["lstm", "gru", "rnn"]),
            }
        ),
        every=st.sampled_from([None, 1, 2, 5]),
    )
    def begin(self, kind, every):
        self.kind, self.every, self.folder = kind, every, Path(tempfile.mkdtemp())
        self.drop()

    @rule(steps=st.integers(1, 7))
    def train(self, steps):
        self.go_on(min(TOTAL, self.trainer.step + steps))

    @rule()
    def drop(self):
        """Forgets everything but the directory."""
        self.trainer, self.lookers = fresh_run(**self.kind)

    @rule(steps=st.integers(1, 7), first=st.booleans(), while_saving=st.booleans())
    def crash(self, steps, first, while_saving):
        """Dies after a step, before or after the checkpoint has heard of it, or while it is saved."""
        with suppress(Killed), ExitStack() as patches:
            killer = Killer(self.trainer.step + steps, while_saving, patches)
            self.go_on(TOTAL, **{"before" if first else "after": [killer]})
        self.drop()

    @rule()
    def look_around(self):
        evaluate(self.trainer.model, self.trainer.stream)
        generate(self.trainer.model, "the", 2, seed=self.trainer.step)

    def go_on(self, steps, before=(), after=()):
        checkpoint = Checkpoint(self.folder, every=self.every, resume=True)
        self.trainer.run(steps=steps, callbacks=[*before, *self.lookers, checkpoint, *after])

    def teardown(self):
        if hasattr(self, "trainer"):
            self.go_on(TOTAL)
            files, history, weights = never_stopped(tuple(self.kind.items()))
            assert self.trainer.history == history
            assert bits(self.trainer.model) == weights
            assert files_of(self.folder) == files
            assert not list(self.folder.glob(".*"))
            shutil.rmtree(self.folder)


StopAnywhere.TestCase.settings = settings(max_examples=20, stateful_step_count=7, deadline=None)
TestStopAnywhere = StopAnywhere.TestCase


@pytest.mark.parametrize("patience", [1, 2])
def test_a_run_that_stopped_for_good_stays_so_when_resumed(tmp_path, patience):
    def run():
        stream = tiny_stream()
        model = tiny_model(stream)
        trainer = Trainer(model, stream, optimizer=SGD(model.parameters(), lr=0.0), val_split=0.25)
        trainer.run(epochs=50, callbacks=[EarlyStopping(patience), Checkpoint(tmp_path, resume=True)])
        return trainer

    first = run()
    before = files_of(tmp_path)
    again = run()
    assert first.step == again.step == 4 * (patience + 1)
    assert again.stopping == first.stopping == f"no improvement for {patience} epochs"
    assert files_of(tmp_path) == before


def test_a_run_resumed_on_the_other_backend_goes_on(backend, tmp_path):
    with minirnn.use_backend("numpy"):
        trainer, _ = fresh_run(True, 0.4, "Adam", "plateau", 0)
        trainer.run(steps=6, callbacks=[Checkpoint(tmp_path)])
        whole, _ = fresh_run(True, 0.4, "Adam", "plateau", 0)
        whole.run(steps=9)
    resumed, _ = fresh_run(True, 0.4, "Adam", "plateau", 0)
    resumed.run(steps=9, callbacks=[Checkpoint(tmp_path, resume=True)])
    for name, array in whole.model.state_dict().items():
        assert abs(array - resumed.model.state_dict()[name]).max() < 1e-4


CHILD = """
import sys
from tiny_runs import tiny_model, tiny_stream
from minirnn import Checkpoint, EarlyStopping, Trainer
from minirnn.training import Plateau

stream = tiny_stream()
trainer = Trainer(tiny_model(stream, dropout=0.3), stream, lr=0.02, schedule=Plateau(2), val_split=0.25, log_every=3)
print("ready", flush=True)
checkpoint = Checkpoint(sys.argv[1], every=1, keep=2, resume=True)
trainer.run(steps=int(sys.argv[2]), callbacks=[EarlyStopping(99), checkpoint])
"""


def child(folder, steps):
    """The same run in a process of its own, about to take its first step."""
    paths = [str(Path(minirnn.__file__).parents[1]), str(Path(__file__).parent)]
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(steps)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def test_killed_at_ten_random_moments_and_resumed_the_files_are_those_of_a_run_never_stopped(tmp_path):
    steps, moments = 100, random.Random(7)
    with child(tmp_path / "whole", steps) as whole:
        assert whole.wait(timeout=60) == 0
    survived = 0
    for _ in range(10):
        with child(tmp_path / "parts", steps) as process:
            time.sleep(moments.uniform(0, 0.25))
            process.kill()
        survived += process.returncode == 0
        if (tmp_path / "parts" / "last.npz").exists():
            load(tmp_path / "parts")
    assert survived < 5  # or the moments were too late to say anything
    with child(tmp_path / "parts", steps) as process:
        assert process.wait(timeout=60) == 0
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
