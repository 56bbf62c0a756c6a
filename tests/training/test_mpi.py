"""Ranks that are processes: what mpiexec starts, and how a run ends when one of them fails."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minirnn.cli import main
from minirnn.training.sealed import read_sealed

pytest.importorskip("mpi4py", reason="the extra mpi is not installed")
BESIDE = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")
ALONE = ["--hidden=8", "--embed=4", "--layers=1", "--seq-len=10", "--batch-size=8", "--dropout=0.2", "--deterministic"]
SETTINGS = (*ALONE, "--data-parallel")


def start(ranks, *words):
    """The group, in a process group of its own: nobody is left over after a test."""
    command = [MPIEXEC, "-n", str(ranks), sys.executable, *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        start_new_session=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


def end_of(group):
    try:
        out, err = group.communicate(timeout=60)
    finally:
        if group.poll() is None:
            os.killpg(group.pid, signal.SIGKILL)
            group.communicate()
    return group.returncode, out, err


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text("the cat sat on the mat; a dog ate the rat.\n" * 20, encoding="utf-8")
    return path


def train(ranks, text, *words):
    return end_of(start(ranks, "-m", "minirnn", "train", text, *SETTINGS, *words))


def test_a_run_stopped_on_two_ranks_ends_on_four_with_the_bits_of_one(text, tmp_path):
    code, out, err = train(2, text, "-o", tmp_path / "some", "--steps", 5)
    assert code == 0, err
    assert out.count("trained") == 1 and err.count("processes   2 share every batch") == 1
    assert train(4, text, "-o", tmp_path / "some", "--steps", 9, "--resume")[0] == 0
    for steps in ("5", "9"):
        words = [str(text), *ALONE, "-o", str(tmp_path / "whole"), "--steps", steps, "--resume"]
        assert main(["train", *words]) == 0
    for name in ("last.npz", "samples.txt"):
        assert (tmp_path / "some" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("raises", "RuntimeError: rank 1 has had enough"),
        ("dies", "BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES"),
        ("stalls", "rank 0 of 2 has waited 1 s for the others; one of them has stalled"),
    ],
)
def test_a_rank_in_trouble_ends_all_and_the_checkpoint_is_whole(tmp_path, trouble, words):
    began = time.monotonic()
    code, out, err = end_of(start(2, Path(__file__).with_name("rank_script.py"), tmp_path / "run", trouble))
    assert code != 0 and words in out + err
    assert time.monotonic() - began < 25  # ten, and the start of the processes on a busy machine
    assert read_sealed(tmp_path / "run" / "last.npz")[1]["training"]["step"] in (2, 3)


def test_a_group_trains_more_than_once(tmp_path):
    code, out, err = end_of(start(2, Path(__file__).with_name("rank_script.py"), tmp_path / "run", "again"))
    assert code == 0, out + err
    assert read_sealed(tmp_path / "run" / "last.npz")[1]["training"]["step"] == 4


def test_an_error_of_the_command_is_said_once_and_has_its_exit_code(text, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.npz").write_bytes(b"")
    code, _, err = train(2, text, "-o", tmp_path / "run", "--steps", 2)
    assert code == 2 and err.count("holds another run") == 1


def test_an_interrupted_group_saves(text, tmp_path):
    group = start(2, "-m", "minirnn", "train", text, *SETTINGS, "-o", tmp_path / "run", "--epochs", 10**6)
    deadline = time.monotonic() + 40
    while not (tmp_path / "run" / "best.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(group.pid, signal.SIGINT)  # as a terminal does
    _, out, err = end_of(group)
    assert "interrupted: the step is finished and saved" in err, err
    assert "go on" in out
    assert read_sealed(tmp_path / "run" / "last.npz")[1]["training"]["step"] > 0


def test_processes_that_were_not_told_to_share_a_run_do_not_start(text, tmp_path):
    code, _, err = end_of(start(2, "-m", "minirnn", "train", text, *ALONE, "-o", tmp_path / "run"))
    assert code == 2 and "2 processes were started; give --data-parallel" in err
    assert not (tmp_path / "run").exists()
