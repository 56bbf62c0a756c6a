"""Files with a valid seal, made to do harm: each is refused, in bounded memory, and nothing in them is run."""

import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from minirnn.training.sealed import CheckpointError, read_sealed, write_sealed


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


def npy(data: bytes, descr="<f4", shape=(1,), order=False, version=(1, 0), header=None) -> bytes:
    """A .npy member made by hand, with any header."""
    text = repr({"descr": descr, "fortran_order": order, "shape": shape}) if header is None else header
    text = text.encode("latin1") + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text + data


def meta_npy(text: str | bytes | None = None) -> bytes:
    data = text if isinstance(text, bytes) else (text or '{"format_version": 1, "kind": "char_lm"}').encode()
    return npy(data, "|u1", (len(data),))


def seal(members, compression=zipfile.ZIP_STORED, meta=None, tamper=lambda blob: blob) -> bytes:
    """A zip of ``members`` under a valid seal, with the metadata unless it is among them; built without the module."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        if meta is not False:
            archive.writestr("meta.json.npy", meta_npy(meta), compress_type=zipfile.ZIP_STORED)
        for name, content in members:
            archive.writestr(name, content)
        archive.comment = b"minirnn-sha256:" + bytes(64)
    blob = tamper(file.getvalue())[:-64]
    return blob + hashlib.sha256(blob).hexdigest().encode()


class Trap:
    """Unpickled, it runs the canary."""

    def __reduce__(self):
        return exec, ("import minirnn_canary",)


def object_member(protocol=2) -> bytes:
    return npy(pickle.dumps(np.array([Trap()], object), protocol), "|O")


def entry(name: bytes, content: bytes, offset: int) -> tuple[bytes, bytes]:
    """The header of a zip member, and its entry in the directory."""
    common = struct.pack("<4HIII", 0, 0, 0, 33, zlib.crc32(content), len(content), len(content))
    header = b"PK\3\4" + struct.pack("<H", 20) + common + struct.pack("<HH", len(name), 0) + name
    listed = b"PK\1\2" + struct.pack("<HH", 20, 20) + common + struct.pack("<5HII", len(name), 0, 0, 0, 0, 0, offset)
    return header, listed + name


def finish(members: bytes, directory: bytes) -> bytes:
    """``members`` and ``directory`` as a sealed zip."""
    end = struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, 0, 0, len(directory), len(members), 79)
    blob = members + directory + end + b"minirnn-sha256:"
    return blob + hashlib.sha256(blob).hexdigest().encode()


def overlapping(copies=50, size=20_000) -> bytes:
    """Many arrays over the same bytes: the data of each holds all the members after it."""
    name, content, members, places = b"meta.json.npy", meta_npy(), bytes(size), []
    for k in range(copies):
        members = entry(name, content, 0)[0] + content + (members if k == 0 else b"")
        places.append((name, content, len(members)))
        name, content = b"w%d.npy" % k, npy(members, "|u1", (len(members),))
    directory = b"".join(entry(name, content, len(members) - distance)[1] for name, content, distance in places)
    return finish(members, directory)


def huge_directory(entries=70_000) -> bytes:
    """A directory that takes ten times its size once parsed."""
    return finish(b"", entry(b"w", b"", 0)[1] * entries)


GOOD = npy(bytes(4))
HOSTILE = {
    # name: (file, words of the reason)
    "pickle in an object array": (seal([("w.npy", object_member())]), "dtype"),
    "pickle in an object array of protocol 0": (seal([("w.npy", object_member(0))]), "dtype"),
    "pickle as a member": (seal([("w.npy", pickle.dumps(Trap()))]), "magic"),
    "pickle as a member, not .npy": (seal([("w.pkl", pickle.dumps(Trap()))]), "cannot be the name"),
    "pickle as the JSON": (seal([], meta=pickle.dumps(Trap())), "decode"),
    "python as a member": (seal([("minirnn_canary.py", b"import os")]), "cannot be the name"),
    "shape bomb": (seal([("w.npy", npy(b"", shape=(10**12,)))]), "declares shape"),
    "shape bomb of many axes": (seal([("w.npy", npy(b"", shape=(2**31,) * 8))]), "declares shape"),
    "shape bomb with a zero": (seal([("w.npy", npy(b"", shape=(0, 10**30)))]), "sealed"),
    "shape one too small": (seal([("w.npy", npy(bytes(8)))]), "8 bytes are stored"),
    "negative shape": (seal([("w.npy", npy(bytes(4), shape=(-1, -1)))]), "declares shape"),
    "shape of strings": (seal([("w.npy", npy(bytes(4), shape=("1",)))]), "shape"),
    "compressed bomb": (
        seal([("w.npy", npy(bytes(10**6), "|u1", (10**6,)))], zipfile.ZIP_DEFLATED),
        "declares more data",
    ),
    "compressed": (seal([("w.npy", npy(os.urandom(500), "|u1", (500,)))], zipfile.ZIP_DEFLATED), "compressed"),
    "overlapping members": (overlapping(), "declares more data"),
    "huge directory": (huge_directory(), "more than 65535"),
    "..": (seal([("../w.npy", GOOD)]), "cannot be the name"),
    ".. inside": (seal([("a/../../w.npy", GOOD)]), "cannot be the name"),
    "absolute": (seal([("/etc/w.npy", GOOD)]), "cannot be the name"),
    "drive": (seal([("C:w.npy", GOOD)]), "cannot be the name"),
    "a directory": (seal([("w/", b"")]), "cannot be the name"),
    "code for a name": (seal([("__import__('minirnn_canary').npy", GOOD)]), "cannot be the name"),
    "control characters": (seal([("\x1b[31mw.npy", GOOD)]), r"'\x1b[31mw.npy'"),
    "duplicates": (
        seal([("w.npy", GOOD), ("v.npy", GOOD)], tamper=lambda b: b.replace(b"v.npy", b"w.npy")),
        "two arrays",
    ),
    "two metas": (seal([("meta_json.npy", GOOD)], tamper=lambda b: b.replace(b"a_j", b"a.j")), "two arrays"),
    "same name with and without .npy": (seal([("w.npy", GOOD), ("w", GOOD)]), "two arrays"),
    "huge header": (seal([("w.npy", npy(bytes(4), header="{" + " " * 60_000 + "}"))]), "Header info length"),
    "nested header": (seal([("w.npy", npy(bytes(4), header="(" * 1_900))]), "sealed"),
    "minuses in the header": (seal([("w.npy", npy(bytes(4), header="-" * 1_900 + "1"))]), "sealed"),
    "code in the header": (seal([("w.npy", npy(bytes(4), header="__import__('minirnn_canary')"))]), "sealed"),
    "header cut short": (seal([("w.npy", npy(bytes(4))[:20])]), "sealed"),
    "empty member": (seal([("w.npy", b"")]), "sealed"),
    "npy version 3": (seal([("w.npy", npy(bytes(4), version=(3, 0)))]), "npy format 1.0"),
    "structured": (seal([("w.npy", npy(bytes(8), [("a", "<f4"), ("b", "<i4")]))]), "dtype"),
    "subarray": (seal([("w.npy", npy(bytes(8), ("<f4", (2,))))]), "sealed"),
    "complex": (seal([("w.npy", npy(bytes(8), "<c8"))]), "dtype"),
    "big-endian": (seal([("w.npy", npy(bytes(4), ">f4"))]), "dtype"),
    "long double": (seal([("w.npy", npy(bytes(16), "<f16"))]), "dtype"),
    "text": (seal([("w.npy", npy(bytes(4), "<U1"))]), "dtype"),
    "void": (seal([("w.npy", npy(bytes(4), "|V4"))]), "dtype"),
    "encrypted": (
        seal([("w.npy", GOOD)], tamper=lambda b: b.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")),
        "encrypt",
    ),
    "wrong CRC": (seal([("w.npy", npy(b"abcd"))], tamper=lambda b: b.replace(b"abcd", b"abce")), "CRC"),
    "sealed text": (seal([], tamper=lambda b: b"no zip at all minirnn-sha256:" + bytes(64)), "not a zip"),
    "no meta": (seal([("w.npy", GOOD)], meta=False), "no meta.json"),
    "nothing": (seal([], meta=False), "no meta.json"),
    "meta of floats": (seal([("meta.json.npy", npy(bytes(4)))], meta=False), "sealed"),
    "deep JSON": (seal([], meta='{"format_version": 1, "a": ' + "[" * 100_000), "recursion"),
    "JSON of 100 levels": (seal([], meta='{"format_version": 1, "a": ' + "[" * 100 + "]" * 100 + "}"), "64 levels"),
    "JSON with NaN": (seal([], meta='{"format_version": 1, "best": NaN}'), "meta['best'] is nan"),
    "JSON with infinity": (seal([], meta='{"format_version": 1, "best": 1e999}'), "meta['best'] is inf"),
    "JSON with a long integer": (seal([], meta='{"format_version": 1, "step": ' + "9" * 5_000 + "}"), "4300 digits"),
    "JSON that is a list": (seal([], meta="[1]"), "format_version is None"),
    "JSON that is none": (seal([], meta="{kind: 1}"), "Expecting property name"),
    "JSON that is not UTF-8": (seal([], meta=b'{"format_version": 1, "k": "\xff"}'), "utf-8"),
    "JSON of great length": (seal([], meta='{"format_version": 1}' + " " * (2**24 + 3_000)), "longer than"),
    "no format version": (seal([], meta='{"kind": "char_lm"}'), "format_version is None"),
    "format version as text": (seal([], meta='{"format_version": "1"}'), "format_version is '1'"),
    "format version true": (seal([], meta='{"format_version": true}'), "format_version is True"),
    "format version 0": (seal([], meta='{"format_version": 0}'), "format_version is 0"),
    "a newer format": (
        seal([("w.npy", npy(bytes(8), "<c8"))], meta='{"format_version": 2}'),
        "written by a newer minirnn: format 2, this one reads 1",
    ),
}


def test_the_helper_seals_what_is_accepted(path):
    path.write_bytes(seal([("a/w.npy", npy(struct.pack("<2f", 1.5, 2), shape=(2,)))]))
    arrays, meta = read_sealed(path, kind="char_lm")
    assert arrays["a/w"].tolist() == [1.5, 2.0]
    assert meta == {"kind": "char_lm"}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_bounded_memory(path, case):
    blob, words = HOSTILE[case]
    path.write_bytes(blob)
    reasons = []

    def load():
        with pytest.raises(CheckpointError) as caught:
            read_sealed(path)
        reasons.append(caught.value.reason)

    assert peak_memory(load) < 3 * len(blob) + 2**20
    assert words in reasons[0]
    assert reasons[0].isprintable()
    assert len(reasons[0]) < 300


def test_a_good_file_is_read_in_bounded_memory(path):
    write_sealed(path, {"w": np.zeros(500_000), "v": np.zeros(500_000)}, {})
    assert peak_memory(lambda: read_sealed(path)) < 3 * path.stat().st_size


def test_json_that_grows_when_parsed_stays_within_its_bound(path):
    """Three characters make an empty list of 56 bytes and a pointer to it: the reason why the JSON is limited."""
    write_sealed(path, {}, {"lists": [[]] * 30_000})
    assert peak_memory(lambda: read_sealed(path)) < 30 * path.stat().st_size


LOADING_UNDER_WATCH = """
import sys
from pathlib import Path
from minirnn.training.sealed import CheckpointError, read_sealed

good, *hostile = sorted(Path(sys.argv[1]).iterdir())
read_sealed(good)  # the standard library loads its own codecs the first time
sys.path.insert(0, sys.argv[2])  # where the canary sits
before, events = set(sys.modules), []
watched = ("import", "exec", "pickle.", "marshal.", "os.system", "os.exec", "subprocess.", "ctypes.", "socket.")
sys.addaudithook(lambda event, args: events.append((event, args)) if event.startswith(watched) else None)
read_sealed(good)
for path in hostile:
    try:
        read_sealed(path)
    except CheckpointError:
        continue
    print("accepted", path)
print(events, set(sys.modules) - before)
"""


def test_loading_imports_and_calls_nothing(tmp_path):
    """The canary would sing: it is there to be imported, and unpickling a trap in the open does import it."""
    files, cage = tmp_path / "files", tmp_path / "cage"
    files.mkdir()
    cage.mkdir()
    (cage / "minirnn_canary.py").write_text("print('the canary sings')")
    write_sealed(files / "000.npz", {"w": np.zeros(2)}, {"kind": "char_lm"})
    for number, (blob, _) in enumerate(HOSTILE.values(), start=1):
        (files / f"{number:03}.npz").write_bytes(blob)

    def output(program, *arguments):
        return subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=60
        ).stdout

    careless = "import sys, numpy as np; sys.path.insert(0, sys.argv[2]); np.load(sys.argv[1], allow_pickle=True)['w']"
    assert output(careless, files / "001.npz", cage) == "the canary sings\n"
    assert output(LOADING_UNDER_WATCH, files, cage) == "[] set()\n"
