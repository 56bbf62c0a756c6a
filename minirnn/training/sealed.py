"""The checkpoint file: arrays and one JSON document in an .npz under a seal.

What may happen to a file, and what stands against it:

- The process dies while saving, or the disk is full: it is written aside and put in place by one rename (atomic.py).
- A bit flips, a copy is cut short: the last 64 characters of the file are the SHA-256 of everything before them
  (``head -c -64 FILE | sha256sum``), and they are compared before anything is parsed.
- Somebody else made it: it can hold arrays of numbers and JSON, nothing is imported, called or unpickled, and declared
  sizes are compared with the bytes really there before memory is taken.

The file is an uncompressed zip of ``.npy`` members, as ``numpy.savez`` writes it. The JSON is one more array,
``meta.json``, of its UTF-8 bytes: so every member is the same kind of thing, passes the same checks, and comes out of
a plain ``np.load``: ``json.loads(bytes(np.load(FILE)["meta.json"]))``. The seal is the comment a zip may end with.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minirnn.text.showing import visible
from minirnn.training.atomic import previous_path, write_atomically

if TYPE_CHECKING:  # slow imports, so functions import them: who neither saves nor loads does not wait for them
    import zipfile

PathLike = str | os.PathLike[str]

FORMAT_VERSION = 1
_TAG = b"minirnn-sha256:"
_DIGEST = 64  # characters of a SHA-256 in hexadecimal
_META = "meta.json"
_NAME = re.compile(r"(?=.{1,200}\Z)\w[\w.-]*(/\w[\w.-]*)*")  # no "..", nothing absolute, nothing that looks like a call
_DTYPES = {"|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"}  # alike on all machines

# A byte of a zip directory or of JSON may take some thirty bytes of memory once parsed: both are limited beforehand.
_MOST_MEMBERS = 65_535  # as in the original zip format
_LONGEST_META = 2**24
_LONGEST_HEADER = 2_000  # 64 axes, NumPy's most, take 1,500
_DEEPEST_META = 64


class CheckpointError(ValueError):
    """A file cannot be loaded as a checkpoint; it has ``path``, ``reason`` and ``hint``, and its text is all three.

    Examples
    --------
    >>> print(CheckpointError("runs/a/last.npz", "cannot be read (no such file)", "train first"))
    runs/a/last.npz: cannot be read (no such file); train first
    """

    def __init__(self, path: PathLike, reason: str, hint: str):
        super().__init__(os.fspath(path), reason, hint)
        self.path, self.reason, self.hint = os.fspath(path), reason, hint

    def __str__(self) -> str:
        return visible(f"{self.path}: {self.reason}; {self.hint}")  # names in the file may be anything


def write_sealed(
    path: PathLike, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], *, keep_previous: bool = False
) -> None:
    """Write ``arrays`` and ``meta`` as a sealed npz, whole or not at all; the same content gives the same bytes.

    Parameters
    ----------
    path : path
        The file, created or replaced; its directory must exist.
    arrays : mapping of str to numpy.ndarray
        Booleans, integers, or floats of at most 64 bits. Order, dtype and C or Fortran layout come back; numbers are
        stored little-endian, arrays with gaps in C layout. Names are words of letters, digits and ``_``, ``.``, ``-``,
        joined by ``/``.
    meta : mapping
        Dicts with string keys, lists, strings, booleans, integers, finite floats, ``None``. All else is refused, so
        that what is read equals what was written: tuples would return as lists, and NaN is not JSON (write ``None``).
    keep_previous : bool
        Keep the former file beside it: ``last.npz`` as ``last.previous.npz``.

    Raises
    ------
    TypeError, ValueError
        If ``arrays`` or ``meta`` hold something that the format does not; no file is touched.
    OSError
        If the disk is full or fails: the file under ``path`` is unchanged, the temporary one removed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sealed(f"{folder}/last.npz", {"W": np.eye(2)}, {"kind": "demo", "step": 7})
    ...     arrays, meta = read_sealed(f"{folder}/last.npz", kind="demo")
    >>> arrays["W"].tolist(), meta
    ([[1.0, 0.0], [0.0, 1.0]], {'kind': 'demo', 'step': 7})
    """
    write_atomically(path, _seal(arrays, meta), keep_previous=keep_previous)


def read_sealed(
    path: PathLike, *, kind: str | tuple[str, ...] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read back what :func:`write_sealed` wrote, fresh and writable.

    Parameters
    ----------
    path : path
    kind : str or tuple of str, optional
        What ``meta["kind"]`` must be, or one of what it may be.

    Raises
    ------
    CheckpointError
        Whatever is wrong: no such file, one of another program, kind or newer minirnn, one cut short, changed, or made
        to do harm. Memory stays below three times the size of the file, plus thirty times its JSON (at most 16 MiB).
    MemoryError
        If there is not that much.
    """
    import hashlib

    blob = _read_file(Path(path))
    if hashlib.sha256(memoryview(blob)[:-_DIGEST]).hexdigest().encode() != blob[-_DIGEST:]:
        raise CheckpointError(path, "damaged: its bytes are not those that were written", _other_copy(path))
    try:
        return _unseal(path, blob, kind)
    except (CheckpointError, MemoryError):  # which says nothing of the file
        raise
    except Exception as error:  # zipfile, NumPy, ast and json have a dozen ways to say no, and no common base
        why = [*str(error).splitlines(), type(error).__name__][0][:200]
        reason = f"sealed, but not as minirnn does it ({why})"
        raise CheckpointError(path, reason, "load only what minirnn wrote") from error


def _seal(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> memoryview:
    import hashlib
    import zipfile

    for name, array in arrays.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == _META:
            raise ValueError(f"arrays: {name!r} cannot be a name; words of letters, digits and _.- joined by / can")
        if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("<").str not in _DTYPES:
            found = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"arrays[{name!r}] must be a NumPy array of bool, int, uint or float, got {found}")
    try:
        with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
            for name, array in {_META: np.frombuffer(_to_json(meta), np.uint8), **arrays}.items():
                member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980-01-01, whatever the clock says
                member.create_system = 3  # and made under Unix, wherever it was
                member.file_size = array.nbytes  # tells zipfile which members need the 64-bit form
                with archive.open(member, "w") as stream:
                    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                    np.lib.format.write_array(stream, little, version=(1, 0), allow_pickle=False)
            archive.comment = _TAG + bytes(_DIGEST)
    except ValueError as error:
        if isinstance(error.__context__, MemoryError):  # zipfile says that a member is unfinished, and not why
            raise error.__context__ from None
        raise
    blob = file.getbuffer()
    blob[-_DIGEST:] = hashlib.sha256(blob[:-_DIGEST]).hexdigest().encode()
    return blob


def _to_json(meta: Mapping[str, Any]) -> bytes:
    if "format_version" in meta:
        raise ValueError("meta must not have the key 'format_version', which is added here")
    _check_plain(dict(meta))
    text = json.dumps({"format_version": FORMAT_VERSION, **meta}).encode()
    if len(text) > _LONGEST_META:
        raise ValueError(f"meta takes {len(text)} bytes as JSON, at most {_LONGEST_META} are allowed; use an array")
    return text


def _check_plain(value: Any, where: tuple[str | int, ...] = ()) -> None:
    """Raise unless ``value``, found in meta at the keys ``where``, passes through JSON unchanged."""
    problem = ""
    if isinstance(value, float) and not math.isfinite(value):
        problem = f"is {value}, which JSON cannot say; use None"
    elif value is not None and not isinstance(value, (dict, list, str, int, float)):  # a bool is an int
        problem = f"is {reprlib.repr(value)}; use dict, list, str, bool, int, float or None"
    elif isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        problem = f"has keys that are not strings: {reprlib.repr(list(value))}"
    elif len(where) > _DEEPEST_META:
        problem = f"is nested more than {_DEEPEST_META} levels deep, or holds itself"
    if problem:
        raise ValueError("meta" + "".join(f"[{reprlib.repr(key)}]" for key in where[:6]) + " " + problem)
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_plain(item, (*where, key))


def _read_file(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a terminal might never end
            raise CheckpointError(path, "not an ordinary file", "name the .npz file itself")
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _DIGEST - len(_TAG)))
            if file.read(len(_TAG)) != _TAG:  # looked at first: a wrong file may be larger than the memory
                raise CheckpointError(path, "not a minirnn checkpoint, or one that was cut short", _other_copy(path))
            file.seek(0)
            return file.read()
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({error.strerror})", "check its name and permissions") from error


def _other_copy(path: PathLike) -> str:
    previous = previous_path(path)
    return f"the one before it is {previous}" if previous.exists() else "copy it again from where it came"


def _unseal(path: PathLike, blob: bytes, kind: str | tuple[str, ...] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    import zipfile

    if blob.count(b"PK\x01\x02") > _MOST_MEMBERS:  # each entry of a zip directory starts so: none is parsed yet
        raise ValueError(f"more than {_MOST_MEMBERS} arrays")
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError("two arrays of the same name")
        if sum(member.file_size for member in members.values()) > len(blob):  # they can declare anything, and overlap
            raise ValueError("declares more data than it holds")
        if _META not in members:
            raise ValueError(f"no {_META}")
        meta = _read_meta(archive, members.pop(_META))  # first, for all the rest may differ in another format
        if meta["format_version"] > FORMAT_VERSION:
            reason = f"written by a newer minirnn: format {meta['format_version']}, this one reads {FORMAT_VERSION}"
            raise CheckpointError(path, reason, "upgrade minirnn")
        kinds = (kind,) if isinstance(kind, str) else kind
        if kinds is not None and meta.get("kind") not in kinds:
            wanted = " or ".join(map(repr, kinds))
            reason = f"of kind {reprlib.repr(meta.get('kind'))}, where {wanted} is wanted"
            raise CheckpointError(path, reason, "name another file, or the command that made this one")
        del meta["format_version"]
        return {name: _read_array(archive, member) for name, member in members.items()}, meta


def _read_meta(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> dict[str, Any]:
    if member.file_size > _LONGEST_META + _LONGEST_HEADER:
        raise ValueError(f"{_META} is longer than {_LONGEST_META} bytes")
    meta = json.loads(_read_array(archive, member).tobytes().decode())
    version = meta.get("format_version") if isinstance(meta, dict) else None
    if type(version) is not int or not 1 <= version < 2**31:
        raise ValueError(f"format_version is {reprlib.repr(version)}, not a positive integer")
    _check_plain(meta)  # Python's json reads NaN, and 1e999 as infinity
    return meta


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    shown = reprlib.repr(member.filename)
    if not member.filename.endswith(".npy") or not _NAME.fullmatch(member.filename.removesuffix(".npy")):
        raise ValueError(f"{shown} cannot be the name of an array")
    if member.compress_type != archive.compression:  # which is zipfile's default, none
        raise ValueError(f"{shown} is compressed, which minirnn never does")
    with archive.open(member) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError(f"{shown} is not in the npy format 1.0")
        try:
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_LONGEST_HEADER)
        except MemoryError as error:  # so Python's parser speaks of what is nested too deep
            raise ValueError(f"{shown} has a header that cannot be parsed") from error
        stored = member.file_size - stream.tell()
    if dtype.str not in _DTYPES:
        raise ValueError(f"{shown} is of dtype {reprlib.repr(str(dtype))}, not bool, int, uint or float")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != stored:
        raise ValueError(f"{shown} declares shape {reprlib.repr(shape)}, but {stored} bytes are stored")
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False, max_header_size=_LONGEST_HEADER)
