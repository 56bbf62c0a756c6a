"""Files that are damaged, missing, or something else: one exception type says what is wrong and what to do.

That no flipped bit and no cut passes is counted in tests/trust.
"""

import errno
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from minirnn.training.sealed import CheckpointError, read_sealed, write_sealed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "last.npz"


def refusal(path, **options) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read_sealed(path, **options)
    error = caught.value
    assert str(error) == f"{path}: {error.reason}; {error.hint}"
    assert error.reason
    assert error.hint
    return error


@pytest.fixture
def small_file(path):
    write_sealed(path, {"w": np.array([1, 2], np.int8)}, {"kind": "x"})
    return path


def test_a_damaged_file_points_to_the_one_before_it(path):
    for step in (1, 2):
        write_sealed(path, {}, {"step": step}, keep_previous=True)
    path.write_bytes(path.read_bytes().replace(b'"step": 2', b'"step": 3'))
    error = refusal(path)
    assert error.reason == "damaged: its bytes are not those that were written"
    assert error.hint == f"the one before it is {path.parent / 'last.previous.npz'}"


def test_a_missing_file(path):
    assert refusal(path).reason == "cannot be read (No such file or directory)"


def test_a_directory(tmp_path):
    assert refusal(tmp_path).reason == "not an ordinary file"


def test_a_pipe_does_not_block(path):
    os.mkfifo(path)
    assert refusal(path).reason == "not an ordinary file"


def test_a_file_without_permission(small_file, monkeypatch):
    def denied(*args):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("builtins.open", denied)  # root may read whatever chmod says
    assert refusal(small_file).reason == "cannot be read (Permission denied)"


def test_foreign_files(path):
    foreign = io.BytesIO()
    np.savez(foreign, w=np.zeros(3))
    for content in (b"", b"PK", b"Deep learning", b"x" * 10_000, foreign.getvalue(), pickle.dumps({"step": 1})):
        path.write_bytes(content)
        assert refusal(path).reason == "not a minirnn checkpoint, or one that was cut short"


def test_a_huge_foreign_file_is_not_read(path):
    with open(path, "wb") as file:
        file.truncate(2**40)  # a hole: a terabyte that takes no space
    assert refusal(path).reason == "not a minirnn checkpoint, or one that was cut short"


def test_another_kind(small_file):
    assert read_sealed(small_file, kind="x")[1] == {"kind": "x"}
    assert refusal(small_file, kind="char_lm").reason == "of kind 'x', where 'char_lm' is wanted"


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(CheckpointError(Path("a.npz"), "cut short", "copy it again")))
    assert (error.path, error.reason, error.hint) == ("a.npz", "cut short", "copy it again")
    assert isinstance(error, ValueError)
