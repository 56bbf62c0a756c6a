"""The hostile files are what they seem to be, and good ones are read within the same bounds."""

import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hostile_files import BY_HAND, npy, seal

from minirnn.training.sealed import read_sealed, write_sealed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "last.npz"


def peak_memory(call) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_is_sealed_by_hand_is_read(path):
    path.write_bytes(seal([("a/w.npy", npy(struct.pack("<2f", 1.5, 2), shape=(2,)))]))
    arrays, meta = read_sealed(path, kind="char_lm")
    assert arrays["a/w"].tolist() == [1.5, 2.0]
    assert meta == {"kind": "char_lm"}


def test_a_careless_reader_runs_what_is_in_them(path, tmp_path):
    (tmp_path / "minirnn_canary.py").write_text("print('the canary sings')")
    path.write_bytes(BY_HAND["pickle in an object array"][0])
    careless = "import sys, numpy as np; sys.path.insert(0, sys.argv[2]); np.load(sys.argv[1], allow_pickle=True)['w']"
    words = [sys.executable, "-c", careless, path, tmp_path]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "the canary sings\n"


def test_a_good_file_is_read_in_bounded_memory(path):
    write_sealed(path, {"w": np.zeros(500_000), "v": np.zeros(500_000)}, {})
    assert peak_memory(lambda: read_sealed(path)) < 3 * path.stat().st_size


def test_json_that_grows_when_parsed_stays_within_its_bound(path):
    """Three characters make an empty list of 56 bytes and a pointer to it: the reason why the JSON is limited."""
    write_sealed(path, {}, {"lists": [[]] * 30_000})
    assert peak_memory(lambda: read_sealed(path)) < 30 * path.stat().st_size
