"""Files with a valid seal, made to do harm: by hand, or of a real checkpoint in which one thing is another."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np


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
BY_HAND = {
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


# --- a real checkpoint, in which one thing is another ----------------------------------------------------------------

VALUES = {
    "None": None, "true": True, "-1": -1, "0": 0, "2**40": 2**40, "2**63": 2**63, "400 digits": 10**400, "1.5": 1.5,
    "-1e308": -1e308, "an empty string": "", "code": "__import__('minirnn_canary')", "a name of Python": "os.system",
    "a thousand characters": "a" * 1000, "an empty list": [], "a list": [1, "a", None], "an empty dict": {},
    "a class": {"__class__": "minirnn_canary.Trap", "__reduce__": ["exec"]}, "a deep list": [[[[[[[[[[]]]]]]]]]],
}  # fmt: skip
ARRAYS = {
    "an axis more": lambda a: a[None],
    "no axes": lambda a: np.zeros((), a.dtype),
    "empty": lambda a: np.zeros((0, *a.shape[1:]), a.dtype),
    "empty, and very long": lambda a: np.zeros((0, 10**12), a.dtype),
    "twice as long": lambda a: np.concatenate([a.reshape(-1)] * 2),
    "the other way round": lambda a: a[..., None].T,
    "booleans": lambda a: a.astype(bool),
    "bytes": lambda a: a.astype("int8"),
    "large integers": lambda a: np.full(a.shape, 2**64 - 1, "uint64"),
    "halves": lambda a: a.astype("float16"),
    "NaN": lambda a: np.full(a.shape, np.nan, "float64"),
    "beyond float32": lambda a: np.full(a.shape, 1e300),
}
Contents = tuple[dict[str, np.ndarray], dict[str, Any]]


def changed(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> Iterator[tuple[str, Contents]]:
    """What ``read_sealed`` returns of a run, with each entry gone or replaced by each of the values above."""
    for path in _paths(meta):
        where = ".".join(map(str, path))
        yield f"{where} gone", (arrays, _with(meta, path, gone=True))
        for name, value in VALUES.items():
            yield f"{where} {name}", (arrays, _with(meta, path, value))
    for key, array in arrays.items():
        others = {name: other for name, other in arrays.items() if name != key}
        yield f"{key} gone", (others, meta)
        yield f"{key} under another name", ({**others, f"{key}.x": array}, meta)
        for name, change in ARRAYS.items():
            yield f"{key} {name}", ({**others, key: change(array)}, meta)


def _paths(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where something stands in a nest of dicts and lists; of a list the first entry is enough."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def _with(meta: dict[str, Any], path: tuple, value: Any = None, gone: bool = False) -> dict[str, Any]:
    meta = copy.deepcopy(meta)
    inner: Any = meta
    for key in path[:-1]:
        inner = inner[key]
    if gone:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return meta
