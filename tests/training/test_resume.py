"""Runs that are gone on with: once stopped for good, on another backend, and after kill -9.

That stopping anywhere changes no bit is the campaign ``stopping`` of ``tests/trust``.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_runs import tiny_model, tiny_stream

import minirnn
from minirnn import SGD, Callback, Checkpoint, CheckpointError, EarlyStopping, Trainer, fit, load
from minirnn.training import Plateau


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in ("last.npz", "best.npz", "log.jsonl")}


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


class Count(Callback):
    """Counts steps, from where it is told to; of a class of which a run may have several."""

    def __init__(self, start=0):
        self.count = start

    def on_step(self, trainer):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_callbacks_of_one_class_have_a_state_each(tmp_path):
    def counted(steps, *starts):
        counts, stream = [Count(start) for start in starts], tiny_stream()
        fit(tiny_model(stream), stream, steps=steps, callbacks=[*counts, Checkpoint(tmp_path, resume=True)])
        return [counter.count for counter in counts]

    assert counted(3, 10, 20, 30) == [13, 23, 33]
    assert counted(5, 0, 0, 0) == [15, 25, 35]
    with pytest.raises(CheckpointError, match="of another run: it was made with 3 callbacks Count, this run has 2"):
        counted(6, 0, 0)
    with pytest.raises(CheckpointError, match="it was made with 3 callbacks Count, this run has 1"):
        counted(6, 0)
    assert counted(6) == []
    assert counted(8, 40) == [42]  # nothing is known of it: it begins here


def test_a_run_resumed_on_the_other_backend_goes_on(backend, tmp_path):
    def trainer():
        stream = tiny_stream()
        return Trainer(tiny_model(stream, dropout=0.4), stream, lr=0.1, schedule=Plateau(1), val_split=0.25)

    with minirnn.use_backend("numpy"):
        trainer().run(steps=6, callbacks=[Checkpoint(tmp_path)])
        whole = trainer()
        whole.run(steps=9)
    resumed = trainer()
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


def test_killed_at_five_random_moments_and_resumed_the_files_are_those_of_a_run_never_stopped(tmp_path):
    steps, moments = 100, random.Random(7)
    with child(tmp_path / "whole", steps) as whole:
        assert whole.wait(timeout=60) == 0
    survived = 0
    for _ in range(5):
        with child(tmp_path / "parts", steps) as process:
            time.sleep(moments.uniform(0, 0.25))
            process.kill()
        survived += process.returncode == 0
        if (tmp_path / "parts" / "last.npz").exists():
            load(tmp_path / "parts")
    assert survived < 3  # or the moments were too late to say anything
    with child(tmp_path / "parts", steps) as process:
        assert process.wait(timeout=60) == 0
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
