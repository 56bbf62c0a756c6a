"""Replacing a file in one step: whoever opens it, after whatever accident, finds the old content or the new."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

_STALE = 3600.0  # seconds after which a temporary file that nobody writes to was left by a process that was killed


def previous_path(path: str | os.PathLike[str]) -> Path:
    """Where ``keep_previous=True`` leaves the former file.

    Examples
    --------
    >>> previous_path("runs/a/last.npz").as_posix()
    'runs/a/last.previous.npz'
    """
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_atomically(path: str | os.PathLike[str], data: bytes | memoryview, *, keep_previous: bool = False) -> None:
    """Replace the file at ``path`` by ``data``, whole or not at all.

    If it returns, the new content stands; if it raises an ``OSError``, the old. An interrupt leaves either of the two.
    Only a process killed outright can leave its temporary file (``.NAME.minirnn-PID-...``) behind; a later write to the
    same path removes it. A symbolic link stays where it is, and the file that it names is replaced.

    Parameters
    ----------
    path : path
        The file, created or replaced; its directory must exist.
    data : bytes
        The new content.
    keep_previous : bool
        Keep the former file under :func:`previous_path`. It is there before the new one takes its place, so the former
        content has a name at every instant.

    Raises
    ------
    OSError
        If the file system refuses a step: the disk is full, fails, or may not be written to. If ``path`` is a device, a
        pipe or a socket, which stays what it is.
    """
    given = Path(path)
    path = Path(os.path.realpath(given))
    if path.exists() and not (path.is_file() or path.is_dir()):  # a directory refuses by itself
        raise OSError(errno.EINVAL, "not an ordinary file", os.fspath(given))
    _remove_stale(path)
    if given.is_symlink():
        _remove_stale(given)
    own = f"{os.getpid()}-{os.urandom(4).hex()}"
    new = path.with_name(f"{_temporary_prefix(path)}{own}.new.tmp")
    former = given.with_name(f"{_temporary_prefix(given)}{own}.former.tmp")
    try:
        _write_new(new, data)
        if keep_previous and path.exists():
            try:
                os.link(path, former)
            except OSError:  # not every file system has hard links
                _write_new(former, path.read_bytes())
            os.replace(former, previous_path(given))
        os.replace(new, path)
    except OSError as error:  # whoever reads of it has named this path, and no other
        error.filename = os.fspath(given)
        del error.filename2  # that of a second file
        raise
    finally:
        # Also on success: renaming one hard link of a file onto another of that file succeeds and does nothing.
        for temporary in (new, former):
            with suppress(OSError):
                os.unlink(temporary)
    # The new file is whole and in place. Should this sync fail, a power cut may bring back the old one, whole as well.
    with suppress(OSError):
        _sync_directory(path.parent)


def _write_new(path: Path, data: bytes | memoryview) -> None:
    binary = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o666)  # less the umask, as for any file
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)  # before the rename, or a power cut could leave the new name on an empty file
    finally:
        os.close(descriptor)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary_prefix(path: Path) -> str:
    return f".{path.name}.minirnn-"


def _remove_stale(path: Path) -> None:
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(_temporary_prefix(path)) and entry.stat().st_mtime < time.time() - _STALE:
                os.unlink(entry)
