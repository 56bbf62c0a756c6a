"""A checkpoint comes back as it was written, and what would not is refused before a file is touched."""

import errno
import hashlib
import json
import os
import zipfile

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirnn.training import atomic
from minirnn.training.sealed import read_sealed, write_sealed

ARRAYS = {"lstm.weight_hh_l0": np.arange(6, dtype=np.float32).reshape(2, 3), "adam/step": np.array(7)}
META = {"kind": "char_lm", "step": 7, "vocabulary": ["a", "é", "\n"], "best": None, "config": {"lr": 2e-3}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "last.npz"


# -------------------------------------------------------------------------------- what was written, is read

NAMES = st.from_regex(r"[a-zé_][a-z0-9_.-]{0,8}(/[a-z][a-z0-9_.]{0,8}){0,2}", fullmatch=True).filter(
    lambda n: n != "meta.json"
)
DTYPES = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
)
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
LAYOUTS = st.sampled_from(
    [np.ascontiguousarray, np.asfortranarray, lambda x: x.T, lambda x: x[..., ::-1] if x.ndim else x]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def any_arrays(draw):
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    return {name: draw(LAYOUTS)(draw(npst.arrays(draw(DTYPES), draw(SHAPES)))) for name in names}


def assert_same_arrays(read, written):
    assert list(read) == list(written)
    for name, array in written.items():
        assert read[name].dtype == array.dtype.newbyteorder("<")
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.astype(read[name].dtype).tobytes()  # bits: NaN payloads, -0.0
        assert read[name].flags.writeable
        if array.flags.f_contiguous:
            assert read[name].flags.f_contiguous
        if array.flags.c_contiguous:
            assert read[name].flags.c_contiguous


@settings(deadline=None)
@given(
    arrays=any_arrays(), meta=st.dictionaries(st.text().filter(lambda key: key != "format_version"), PLAIN, max_size=4)
)
def test_round_trip(tmp_path_factory, arrays, meta):
    path = tmp_path_factory.getbasetemp() / "round_trip.npz"
    write_sealed(path, arrays, meta)
    read, read_meta = read_sealed(path)
    assert_same_arrays(read, arrays)
    assert json.dumps(read_meta) == json.dumps(meta)  # order of keys, and 1 apart from 1.0 and True
    with np.load(path, allow_pickle=False) as plain:
        assert set(plain.files) == {"meta.json", *arrays}
        assert json.loads(bytes(plain["meta.json"])) == {"format_version": 1, **meta}
        assert_same_arrays({name: plain[name] for name in arrays}, arrays)


def test_the_seal_is_the_digest_of_all_before_it(path):
    write_sealed(path, ARRAYS, META)
    blob = path.read_bytes()
    assert blob[-64:].decode() == hashlib.sha256(blob[:-64]).hexdigest()
    with zipfile.ZipFile(path) as archive:
        assert archive.comment == b"minirnn-sha256:" + blob[-64:]
        assert archive.testzip() is None
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


def test_same_content_same_bytes(path, monkeypatch):
    write_sealed(path, ARRAYS, META)
    first = path.read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    write_sealed(path, {name: array.copy() for name, array in ARRAYS.items()}, json.loads(json.dumps(META)))
    assert path.read_bytes() == first
    write_sealed(path, ARRAYS, {**META, "step": 8})
    assert path.read_bytes() != first


FORMAT_1_DIGEST = "93b1c99447636ee9b0d50fa58ab2585bd2f8584a1c206490ab41b98eda1aea42"


def test_bytes_of_format_1_never_change(path):
    """Files out there must stay readable: a change of these bytes is a new format version."""
    write_sealed(path, {"w": np.array([1.5, -2.0], np.float32)}, {"kind": "demo"})
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FORMAT_1_DIGEST
    assert read_sealed(path, kind="demo")[1] == {"kind": "demo"}


def test_keep_previous(path):
    for step in (1, 2, 3):
        write_sealed(path, ARRAYS, {"step": step}, keep_previous=True)
    assert read_sealed(path)[1] == {"step": 3}
    assert read_sealed(path.with_name("last.previous.npz"))[1] == {"step": 2}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_save_changes_nothing(path, monkeypatch, error):
    write_sealed(path, ARRAYS, META)
    before = path.read_bytes()

    class FullDisk:
        def __getattr__(self, name):
            return getattr(os, name)

        def write(self, descriptor, data):
            if os.write(descriptor, data[:100]) == 100 and os.fstat(descriptor).st_size > 300:
                raise error
            return 100

    monkeypatch.setattr(atomic, "os", FullDisk())
    with pytest.raises(type(error)):
        write_sealed(path, ARRAYS, {**META, "step": 8})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["last.npz"]


# -------------------------------------------------------------------------------- what cannot be written

SELF = []
SELF.append(SELF)
BAD_META = {
    "nan": ({"best": float("nan")}, "meta['best'] is nan, which JSON cannot say; use None"),
    "inf": ({"best": [1.0, float("-inf")]}, "meta['best'][1] is -inf, which JSON cannot say"),
    "tuple": ({"betas": (0.9, 0.999)}, "meta['betas'] is (0.9, 0.999); use dict, list"),
    "NumPy scalar": ({"a": {"lr": np.float32(1)}}, "meta['a']['lr'] is np.float32(1.0)"),
    "array": ({"w": np.zeros(2)}, "meta['w'] is array([0., 0.])"),
    "object": ({"fn": print}, "meta['fn'] is <built-in function print>"),
    "integer keys": ({"ids": {3: "a"}}, "meta['ids'] has keys that are not strings: [3]"),
    "cycle": ({"self": SELF}, "nested more than 64 levels deep, or holds itself"),
    "reserved key": ({"format_version": 2}, "meta must not have the key 'format_version'"),
    "too long": ({"text": "x" * 2**24}, "at most 16777216 are allowed"),
}
BAD_ARRAYS = {
    "object": ({"w": np.array([{}])}, "arrays['w'] must be a NumPy array of bool, int, uint or float, got object"),
    "complex": ({"w": np.zeros(2, complex)}, "got complex128"),
    "text": ({"w": np.array(["a"])}, "got <U1"),
    "time": ({"w": np.array(["2020"], "M8[Y]")}, "got datetime64[Y]"),
    "structured": ({"w": np.zeros(2, "f4,i4")}, "got [('f0', '<f4'), ('f1', '<i4')]"),
    "list": ({"w": [1.0]}, "got list"),
    "name of the JSON": ({"meta.json": np.zeros(2)}, "'meta.json' cannot be a name"),
    **{
        f"name {name!r}": ({name: np.zeros(2)}, f"arrays: {name!r} cannot be a name")
        for name in ("", "../w", "/w", "a//b", "a/../b", ".", "C:w", "a\\b", "w\n", "f(x)", "x" * 201, 3)
    },
}


@pytest.mark.parametrize("case", BAD_META)
def test_meta_that_json_would_change_is_refused(path, case):
    meta, message = BAD_META[case]
    with pytest.raises(ValueError) as caught:
        write_sealed(path, ARRAYS, meta)
    assert message in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_the_format_does_not_hold_are_refused(path, case):
    arrays, message = BAD_ARRAYS[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        write_sealed(path, arrays, META)
    assert message in str(caught.value)
    assert not path.exists()
