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
from minirnn.training.sealed import read_sealed


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


@pytest.mark.parametrize("order", [1, -1], ids=["restored after it begins", "restored before"])
def test_early_stopping_and_a_plateau_begin_anew_with_every_run_and_go_on_with_one_that_is_resumed(tmp_path, order):
    def run(stopping, plateau, name, steps=None):
        stream = tiny_stream()
        model = tiny_model(stream)
        trainer = Trainer(model, stream, optimizer=SGD(model.parameters(), lr=0.0), val_split=0.25, schedule=plateau)
        callbacks = [stopping, Checkpoint(tmp_path / name, resume=True)][::order]
        trainer.run(epochs=50, steps=steps, callbacks=callbacks)
        return trainer.step, stopping.state_dict(), plateau.state_dict(), files_of(tmp_path / name)

    used = EarlyStopping(3), Plateau(2)
    first = run(*used, "first")
    assert run(*used, "second") == first and first[0] == 16  # epochs of four steps
    run(*used, "parted", steps=8)
    assert run(EarlyStopping(3), Plateau(2), "parted") == first


def test_after_an_early_stop_the_same_trainer_can_be_told_to_go_on_and_be_resumed(tmp_path):
    stream = tiny_stream()
    trainer = Trainer(tiny_model(stream), stream)
    trainer.stop("enough", for_good=True)
    trainer.run(steps=2, callbacks=[Checkpoint(tmp_path, resume=True)])
    assert trainer.finished is None
    trainer.run(steps=3, callbacks=[Checkpoint(tmp_path, resume=True)])
    assert trainer.step == 3


@pytest.mark.parametrize("step", [1, 4, 5])  # before any save but the first, in an epoch, at the start of another
@pytest.mark.parametrize("at", ["there", "back"])
def test_ctrl_c_saves_the_last_step_and_the_run_goes_on_as_if_it_had_never_stopped(tmp_path, monkeypatch, step, at):
    def run(name, *others):
        stream = tiny_stream()
        trainer = Trainer(tiny_model(stream, dropout=0.2), stream, lr=0.01, log_every=2)
        trainer.run(epochs=3, callbacks=[EarlyStopping(9), Checkpoint(tmp_path / name, resume=True), *others])

    def interrupted(*args):
        raise KeyboardInterrupt

    class Interrupt(Callback):
        def on_step(self, trainer):
            if trainer.step == step:
                patch.setattr(*((trainer.model, "loss") if at == "there" else (trainer, "_clip")), interrupted)

    run("whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as caught:
        run("parted", Interrupt())
    last = tmp_path / "parted" / "last.npz"
    (note,) = caught.value.__notes__
    assert note == f"{last} holds step {step} of the run; --resume (resume=True) goes on from there"
    run("parted")
    assert files_of(tmp_path / "parted") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("at", ["validation", "best model", "last model"])
def test_ctrl_c_at_the_end_of_an_epoch_loses_nothing_of_it(tmp_path, at):
    def run(name, *others):
        stream, checkpoint = tiny_stream(), Checkpoint(tmp_path / name, resume=True)
        model = tiny_model(stream, dropout=0.2)
        trainer = Trainer(model, stream, lr=0.01, schedule=Plateau(1), val_split=0.25, log_every=3)
        trainer.run(steps=11, callbacks=[EarlyStopping(9), checkpoint, *others])  # epochs of four steps
        return trainer.history

    class Interrupt(Callback):
        def on_step(self, trainer):
            if trainer.step == 5:
                checkpoint = trainer.callbacks[1]
                once(*{
                    "validation": (trainer.validation, "batch"),
                    "best model": (checkpoint, "_write_best"),
                    "last model": (trainer, "books"),
                }[at])  # fmt: skip

    def once(holder, method):
        def interrupted(*args, **settings):
            delattr(holder, method)
            raise KeyboardInterrupt

        setattr(holder, method, interrupted)

    history = run("whole")
    with pytest.raises(KeyboardInterrupt) as caught:
        run("parted", Interrupt())
    (note,) = caught.value.__notes__
    assert "last.npz holds step 8 of the run; --resume (resume=True) goes on from there" in note
    assert run("parted") == history and [record["step"] for record in history if "epoch" in record] == [4, 8]
    assert files_of(tmp_path / "parted") == files_of(tmp_path / "whole")


def test_ctrl_c_saves_nothing_that_is_half_done(tmp_path, monkeypatch):
    stream = tiny_stream()
    trainer = Trainer(tiny_model(stream), stream, val_split=0.25)

    def interrupted(*args):
        raise KeyboardInterrupt

    class Interrupt(Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                monkeypatch.setattr(trainer.optimizer, "update", interrupted)

    with pytest.raises(KeyboardInterrupt) as caught:
        trainer.run(epochs=2, callbacks=[Checkpoint(tmp_path, every=2), Interrupt()])
    half, kept = caught.value.__notes__
    assert half == "what was half done was not saved"
    assert kept == f"{tmp_path / 'last.npz'} holds step 2 of the run; --resume (resume=True) goes on from there"
    assert read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 2


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
