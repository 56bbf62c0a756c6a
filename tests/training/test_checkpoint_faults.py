"""A run whose disk fills up, whose log is torn, whose saves fail at any point."""

import errno
import json
import os

import pytest
from tiny_runs import bits, tiny_model, tiny_stream

from minirnn import Checkpoint, Trainer, load
from minirnn.training import Callback, CheckpointError, RunDirectoryError
from minirnn.training.sealed import read_sealed


def trainer():
    stream = tiny_stream()
    return Trainer(tiny_model(stream, dropout=0.2), stream, lr=0.01, log_every=2)


class FullDisk(Callback):
    """Lets ``os.write`` or ``os.fsync`` fail from one step to another, as on a full disk."""

    def __init__(self, call, first, last, monkeypatch):
        self.call, self.first, self.last, self.patch = call, first, last, monkeypatch
        self.works, self.seen = getattr(os, call), {}

    def on_step(self, trainer):
        if trainer.step == self.first:
            self.patch.setattr(os, self.call, self.fail)
        if trainer.step == self.last:
            self.patch.setattr(os, self.call, self.works)

    def fail(self, *args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Look(Callback):
    """Notes the file after every step."""

    def __init__(self, folder):
        self.folder, self.files = folder, {}

    def on_step(self, trainer):
        self.files[trainer.step] = (self.folder / "last.npz").read_bytes()


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
def test_a_full_disk_costs_saves_but_not_the_run(tmp_path, monkeypatch, call):
    whole = trainer()
    whole.run(steps=12, callbacks=[Checkpoint(tmp_path / "whole", every=1)])
    disk, look, full = FullDisk(call, 4, 8, monkeypatch), Look(tmp_path / "full"), trainer()
    with pytest.warns(RuntimeWarning, match="could not write to .*No space left.* training goes on"):
        full.run(steps=12, callbacks=[disk, Checkpoint(tmp_path / "full", every=1), look])
    assert bits(full.model) == bits(whole.model)
    assert look.files[3] == look.files[4] == look.files[7] != look.files[8]
    for name in ("last.npz", "log.jsonl"):
        assert (tmp_path / "full" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "full").glob(".*"))  # no temporary file stays


def test_a_disk_that_is_full_from_the_start_leaves_no_half_file(tmp_path, monkeypatch):
    disk = FullDisk("fsync", 0, 3, monkeypatch)
    monkeypatch.setattr(os, "fsync", disk.fail)
    with pytest.warns(RuntimeWarning, match="could not write"):
        trainer().run(steps=5, callbacks=[disk, Checkpoint(tmp_path, every=1)])
    assert read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 5


def test_a_snapshot_is_never_an_older_one_under_a_new_name(tmp_path, monkeypatch):
    disk = FullDisk("fsync", 2, 4, monkeypatch)
    with pytest.warns(RuntimeWarning, match="could not write"):
        trainer().run(steps=5, callbacks=[disk, Checkpoint(tmp_path, every=1, keep=9)])
    steps = {path.name: read_sealed(path)[1]["training"]["step"] for path in tmp_path.glob("step-*")}
    assert steps == {f"step-{k:08d}.npz": k for k in (0, 1, 4, 5)}


def test_a_failed_last_save_is_tried_again_at_the_end(tmp_path, monkeypatch):
    class Repair(Callback):
        def on_end(self, trainer):
            monkeypatch.setattr(os, "fsync", disk.works)

    disk = FullDisk("fsync", 5, 99, monkeypatch)
    with pytest.warns(RuntimeWarning, match="could not write"):
        trainer().run(steps=5, callbacks=[disk, Repair(), Checkpoint(tmp_path)])
    assert read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 5


def run(folder, steps, **settings):
    running = trainer()
    running.run(steps=steps, callbacks=[Checkpoint(folder, **settings)])
    return running


@pytest.mark.parametrize("cut", [1, 10, 10_000])
def test_a_torn_log_is_continued_with_whole_lines(tmp_path, cut):
    """After a power cut the log may be shorter than the checkpoint says; what is left of it stays readable."""
    run(tmp_path, 7)
    log = tmp_path / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-cut])
    resumed = run(tmp_path, 12, resume=True)
    assert [json.loads(line) for line in log.read_text().splitlines()] == resumed.history
    assert resumed.history[-1]["step"] == 12


def test_a_log_that_ran_ahead_of_the_checkpoint_is_cut_back(tmp_path):
    """Killed between two saves, a run has logged steps that the resumed one has not taken yet."""
    run(tmp_path, 5)
    run(tmp_path / "whole", 7)
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 6, "loss": 9}\n{"step": 8, "lo')
    assert [record["step"] for record in run(tmp_path, 5, resume=True).history] == [2, 4, 5]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3
    run(tmp_path, 7, resume=True)
    assert (tmp_path / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()


def test_half_a_line_that_a_failed_write_left_is_written_over(tmp_path):
    class HalfWritten(Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                with open(tmp_path / "log.jsonl", "a") as log:
                    log.write('{"step": 4, "loss": 2.' + 200 * "5")

    running = trainer()
    running.run(steps=9, callbacks=[HalfWritten(), Checkpoint(tmp_path)])
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == running.history


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"every": 0}, "every must be a positive integer, got 0"),
        ({"every": 2.5}, "every must be a positive integer, got 2.5"),
        ({"keep": -1}, "keep must be an integer that is not negative, got -1"),
        ({"resume": True, "overwrite": True}, "give resume or overwrite, not both"),
    ],
)
def test_bad_settings_are_explained_and_make_nothing(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        Checkpoint(tmp_path / "a", **settings)
    assert not (tmp_path / "a").exists()


def test_a_run_in_a_directory_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        run(tmp_path / "file" / "a", 1)


def test_the_best_of_a_resumed_run_is_the_best_of_all_epochs(tmp_path):
    for folder, stops in (("whole", [25]), ("parts", [3, 8, 14, 25])):
        for stop in stops:
            run(tmp_path / folder, stop, resume=True)
    assert bits(load(tmp_path / "parts" / "best.npz")) == bits(load(tmp_path / "whole" / "best.npz"))


def test_a_disk_that_stays_full_is_remembered(tmp_path, monkeypatch):
    disk, checkpoint = FullDisk("fsync", 3, 99, monkeypatch), Checkpoint(tmp_path, every=1)
    with pytest.warns(RuntimeWarning, match="could not write"):
        trainer().run(steps=5, callbacks=[disk, checkpoint])
    assert checkpoint.saved_at == read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 2


def test_the_last_save_does_without_the_one_before_if_it_must(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Tight(Callback):
        """No room, and no links, for a second copy."""

        def on_step(self, trainer):
            monkeypatch.setattr(os, "link", fail)
            monkeypatch.setattr("pathlib.Path.read_bytes", fail)

    checkpoint = Checkpoint(tmp_path)
    with pytest.warns(RuntimeWarning, match="could not write"):
        trainer().run(steps=3, callbacks=[Tight(), checkpoint])
    monkeypatch.undo()
    assert checkpoint.saved_at == read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 3


def test_a_log_that_was_deleted_on_the_way_is_written_anew(tmp_path, recwarn):
    class Delete(Callback):
        def on_step(self, trainer):
            if trainer.step == 5:
                (tmp_path / "log.jsonl").unlink()

    running = trainer()
    running.run(steps=9, callbacks=[Delete(), Checkpoint(tmp_path)])
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == running.history
    assert not recwarn.list


def test_a_save_for_which_memory_is_short_costs_a_warning(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        monkeypatch.undo()
        raise MemoryError

    checkpoint = Checkpoint(tmp_path, every=1)
    monkeypatch.setattr("minirnn.training.checkpoint.write_sealed", fail)
    with pytest.warns(RuntimeWarning, match=r"could not write to .*\(not enough memory\).* training goes on"):
        trainer().run(steps=2, callbacks=[checkpoint])
    assert checkpoint.saved_at == read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 2


def test_a_directory_that_vanishes_costs_warnings_and_not_the_run(tmp_path):
    class Vanish(Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                (tmp_path / "run").rename(tmp_path / "elsewhere")

    whole, parted, checkpoint = trainer(), trainer(), Checkpoint(tmp_path / "run", every=1)
    whole.run(steps=5)
    with pytest.warns(RuntimeWarning, match=r"could not write to .*run \(No such file"):
        parted.run(steps=5, callbacks=[Vanish(), checkpoint])
    assert bits(parted.model) == bits(whole.model)
    assert checkpoint.saved_at == read_sealed(tmp_path / "elsewhere" / "last.npz")[1]["training"]["step"] == 2


fcntl = pytest.importorskip("fcntl", reason="directories are claimed where Unix has locks")


def test_a_directory_is_held_while_a_run_is_under_way_and_by_no_other_process(tmp_path):
    class Try(Callback):
        def on_step(self, trainer):
            with pytest.raises(BlockingIOError):  # another opening of it is as another process
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    other = os.open(tmp_path, os.O_RDONLY)
    trainer().run(steps=2, callbacks=[Checkpoint(tmp_path), Try()])
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for settings in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(RunDirectoryError, match=r"another run is under way in .*; wait until it has ended"):
            trainer().run(steps=2, callbacks=[Checkpoint(tmp_path, **settings)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    os.close(other)
    trainer().run(steps=3, callbacks=[Checkpoint(tmp_path, resume=True)])


def test_a_run_that_could_not_begin_holds_nothing(tmp_path):
    run(tmp_path, 2)
    (tmp_path / "last.npz").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError):
        run(tmp_path, 3, resume=True)
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_a_run_that_broke_off_can_be_gone_on_with_in_the_same_process(tmp_path):
    class Break(Callback):
        def on_step(self, trainer):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer().run(steps=3, callbacks=[Checkpoint(tmp_path, every=1), Break()])
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nor is the directory held any longer
    os.close(other)
    assert run(tmp_path, 2, resume=True).step == 2


def test_who_is_refused_a_directory_does_not_open_it_to_others(tmp_path):
    class Try(Callback):
        def on_step(self, trainer):
            for settings in ({}, {"resume": True}):
                with pytest.raises(RunDirectoryError):
                    run(tmp_path, 1, **settings)
                with pytest.raises(BlockingIOError):
                    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    other = os.open(tmp_path, os.O_RDONLY)
    trainer().run(steps=2, callbacks=[Checkpoint(tmp_path), Try()])
    os.close(other)


def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert run(tmp_path, 2).step == 2
