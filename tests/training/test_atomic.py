"""A file is replaced whole or not at all, whatever the file system, the user or the machine does in between."""

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minirnn.training import atomic
from minirnn.training.atomic import previous_path, write_atomically
from minirnn.training.sealed import read_sealed

OLDER, OLD, NEW = b"older " * 100, b"old " * 200, b"new " * 300


class FailingOs:
    """The ``os`` module, but the Nth of the calls that change the disk fails, and short writes are the rule."""

    COUNTED = ("open", "write", "fsync", "close", "link", "replace")

    def __init__(self, failing=0, error: BaseException | None = None, stays=False):
        self.failing, self.error, self.stays, self.calls = failing, error, stays, []

    def __getattr__(self, name):
        return self._counted(name) if name in self.COUNTED else getattr(os, name)

    def _counted(self, name):
        def call(*args):
            self.calls.append(name)
            number = len(self.calls)
            fails = self.error is not None and (number == self.failing or (self.stays and number > self.failing))
            if name == "close":  # a failing close still gives the descriptor back
                os.close(*args)
            if fails:
                raise self.error
            if name == "write":
                return os.write(args[0], args[1][:500])
            return None if name == "close" else getattr(os, name)(*args)

        return call


def assert_no_temporaries(folder: Path):
    assert [name for name in os.listdir(folder) if name.endswith(".tmp")] == []


def names(folder: Path):
    return sorted(os.listdir(folder))


def test_creates_and_replaces(tmp_path):
    path = tmp_path / "last.npz"
    for content in (OLD, NEW, b""):
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert names(tmp_path) == ["last.npz"]


def test_the_former_file_is_kept(tmp_path):
    path = tmp_path / "last.npz"
    write_atomically(path, OLDER, keep_previous=True)
    assert names(tmp_path) == ["last.npz"]
    for former, content in ((OLDER, OLD), (OLD, NEW)):
        write_atomically(path, content, keep_previous=True)
        assert path.read_bytes() == content
        assert previous_path(path).read_bytes() == former
        assert names(tmp_path) == ["last.npz", "last.previous.npz"]


def test_the_former_file_is_copied_where_links_are_impossible(tmp_path, monkeypatch):
    path = tmp_path / "last.npz"
    path.write_bytes(OLD)
    files = FailingOs()
    files.link = lambda *args: (_ for _ in ()).throw(OSError(errno.EPERM, "no hard links here"))
    monkeypatch.setattr(atomic, "os", files)
    write_atomically(path, NEW, keep_previous=True)
    assert (path.read_bytes(), previous_path(path).read_bytes()) == (NEW, OLD)
    assert_no_temporaries(tmp_path)


@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("keep", [False, True], ids=["replace", "keep previous"])
@pytest.mark.parametrize("code", ["ENOSPC", "EIO", "EDQUOT", "EACCES"])
def test_each_call_may_fail(tmp_path, monkeypatch, code, keep, stays):
    path = tmp_path / "last.npz"

    def attempt(failing):
        path.write_bytes(OLD)
        previous_path(path).write_bytes(OLDER)
        error = OSError(getattr(errno, code), os.strerror(getattr(errno, code))) if failing else None
        files = FailingOs(failing, error, stays)
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "os", files)
            try:
                write_atomically(path, NEW, keep_previous=keep)
                raised = None
            except OSError as caught:
                raised = caught
        return files.calls, raised

    calls, raised = attempt(0)
    assert raised is None
    assert calls[:6] == ["open", "write", "write", "write", "fsync", "close"]  # all on the disk before any rename
    assert calls.count("replace") == 1 + keep
    last_rename = len(calls) - calls[::-1].index("replace")
    assert calls[last_rename:] == ["open", "fsync", "close"]  # of the directory

    for failing in range(1, len(calls) + 1):
        _, raised = attempt(failing)
        harmless = failing > last_rename or (calls[failing - 1] == "link" and not stays)
        if harmless:
            assert raised is None
            assert path.read_bytes() == NEW
        else:
            assert raised is not None, f"call {failing}, {calls[failing - 1]}, failed silently"
            assert raised.errno == getattr(errno, code)
            assert path.read_bytes() == OLD
        assert previous_path(path).read_bytes() in ((OLD, OLDER) if keep else (OLDER,))
        assert_no_temporaries(tmp_path)


def test_a_failure_between_the_two_renames_can_be_repeated(tmp_path, monkeypatch):
    """Then both names are links to one file, and renaming one onto the other does nothing: no temporary may stay."""
    path = tmp_path / "last.npz"
    path.write_bytes(OLD)
    for _ in range(2):
        files = FailingOs()
        real = files._counted("replace")
        files.replace = lambda a, b, real=real: (
            real(a, b) if b != path else (_ for _ in ()).throw(OSError(errno.EIO, ""))
        )
        with monkeypatch.context() as patch, pytest.raises(OSError):
            patch.setattr(atomic, "os", files)
            write_atomically(path, NEW, keep_previous=True)
        assert path.read_bytes() == previous_path(path).read_bytes() == OLD
        assert_no_temporaries(tmp_path)
    write_atomically(path, NEW, keep_previous=True)
    assert (path.read_bytes(), previous_path(path).read_bytes()) == (NEW, OLD)
    assert names(tmp_path) == ["last.npz", "last.previous.npz"]


def test_an_interrupt_at_each_call_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "last.npz"
    seen = set()
    for failing in range(1, 30):
        path.write_bytes(OLD)
        files = FailingOs(failing, KeyboardInterrupt())
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "os", files)
            try:
                write_atomically(path, NEW, keep_previous=True)
            except KeyboardInterrupt:
                seen.add(path.read_bytes())
            else:
                assert len(files.calls) < failing  # an interrupt is never swallowed
                break
        assert path.read_bytes() in (OLD, NEW)
        assert_no_temporaries(tmp_path)
    else:
        pytest.fail("the write never came to its end")
    assert OLD in seen


def test_a_limit_of_the_system_itself(tmp_path):
    """No simulation: the kernel refuses the second half of the file."""
    path = tmp_path / "last.npz"
    write_atomically(path, OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(NEW) // 2, hard))
    try:
        with pytest.raises(OSError) as caught:
            write_atomically(path, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG and str(caught.value).endswith(f": {str(path)!r}")
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["last.npz"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_that_of_an_ordinary_new_file(tmp_path, mask, mode):
    path = tmp_path / "last.npz"
    before = os.umask(mask)
    try:
        write_atomically(path, OLD)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_link_stays_and_the_file_that_it_names_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "model.npz", tmp_path / "last.npz"
    link.symlink_to(real)
    for content in (OLD, NEW):  # at first it names nothing yet
        write_atomically(link, content, keep_previous=True)
        assert (real.read_bytes(), link.readlink()) == (content, real)
    assert previous_path(link).read_bytes() == OLD
    assert names(tmp_path) == ["elsewhere", "last.npz", "last.previous.npz"]
    assert names(real.parent) == ["model.npz"]


def pipe(path):
    os.mkfifo(path)


def terminal(path):
    path.symlink_to(os.ttyname(os.openpty()[1]))


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [pipe, socket_at, terminal])
def test_what_is_no_file_is_never_replaced(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path = tmp_path / "model.npz"
    make(path)
    before = path.lstat()
    with pytest.raises(OSError, match=r"not an ordinary file: .*model\.npz"):
        write_atomically(path, NEW)
    assert path.lstat() == before
    assert names(tmp_path) == ["model.npz"]


def test_a_link_under_the_name_of_the_temporary_file_is_refused(tmp_path, monkeypatch):
    other, path = tmp_path / "other", tmp_path / "last.npz"
    other.write_bytes(OLDER)
    write_atomically(path, NEW)
    monkeypatch.setattr(atomic.os, "urandom", lambda count: bytes(count))
    (tmp_path / f".last.npz.minirnn-{os.getpid()}-00000000.new.tmp").symlink_to(other)
    with pytest.raises(FileExistsError):
        write_atomically(path, OLD)
    assert (other.read_bytes(), path.read_bytes()) == (OLDER, NEW)


def test_temporary_names_cannot_be_foreseen_and_stand_in_the_same_directory(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(atomic, "_write_new", lambda path, data: made.append(path) or path.write_bytes(data))
    for content in (OLDER, OLD, NEW):
        write_atomically(tmp_path / "last.npz", content)
    assert len({*made}) == 3 and {path.parent for path in made} == {tmp_path}
    assert all(len(path.name.split("-")[-1].split(".")[0]) == 8 for path in made)  # four random bytes


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path):
    fresh, stale = tmp_path / ".last.npz.minirnn-1-a.new.tmp", tmp_path / ".last.npz.minirnn-2-b.new.tmp"
    foreign = tmp_path / ".best.npz.minirnn-2-b.new.tmp"
    for file in (fresh, stale, foreign):
        file.write_bytes(b"half")
    for file in (stale, foreign):
        os.utime(file, (time.time() - 7200,) * 2)
    write_atomically(tmp_path / "last.npz", NEW)
    assert names(tmp_path) == sorted([foreign.name, fresh.name, "last.npz"])


def test_what_a_killed_process_left_beside_a_link_is_removed_too(tmp_path):
    (tmp_path / "disk").mkdir()
    link, real = tmp_path / "last.npz", tmp_path / "disk" / "model.npz"
    link.symlink_to(real)
    made = [tmp_path / ".last.npz.minirnn-2-b.former.tmp", tmp_path / "disk" / ".model.npz.minirnn-2-b.new.tmp"]
    for file in made:
        file.write_bytes(b"half")
        os.utime(file, (time.time() - 7200,) * 2)
    for content in (OLD, NEW):
        write_atomically(link, content, keep_previous=True)
    assert not any(file.exists() for file in made)
    assert link.is_symlink() and real.read_bytes() == NEW and atomic.previous_path(link).read_bytes() == OLD


def test_a_missing_directory_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "last.npz", NEW)


SAVING_IN_A_LOOP = """
import itertools, sys
from pathlib import Path
import numpy as np
from minirnn.training.atomic import write_atomically
from minirnn.training.sealed import write_sealed

path = Path(sys.argv[1])
files = []  # sealed beforehand, so that nearly all the time goes into replacing
for step in range(4):
    write_sealed(path, {"w": np.full(200_000, step)}, {"step": step})
    files.append(path.read_bytes())
path.unlink()
for saves in itertools.count():
    write_atomically(path, files[saves % 4], keep_previous=True)
    print(saves, flush=True)
"""


def test_kill_9_while_saving(tmp_path):
    path = tmp_path / "last.npz"
    stopped_inside = 0
    for delay in np.random.default_rng(9).uniform(0.0, 0.1, size=8):
        command = [sys.executable, "-c", SAVING_IN_A_LOOP, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()  # the first save is done
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            reported = [0, *map(int, process.stdout.read().split())][-1]
        stopped_inside += any(name.endswith(".tmp") for name in names(tmp_path))
        expected = {path: reported, previous_path(path): reported - 1}
        for file, save in expected.items():
            if save >= 0:
                arrays, meta = read_sealed(file)
                assert meta["step"] in (save % 4, (save + 1) % 4)  # one save may be done and not yet reported
                assert (arrays["w"] == meta["step"]).all()
        for file in tmp_path.iterdir():
            file.unlink()
    assert stopped_inside > 0, "no kill fell into a save: the test shows nothing"
