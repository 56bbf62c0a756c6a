"""One run at a time trains in a directory: two would write into one log, and over each other's saves."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

_claimed: dict[tuple[int, int], int] = {}  # what this process holds: device and inode of the directory, and its lock


def claim(folder: str | os.PathLike[str]) -> None:
    """Makes a directory one run's own, until it is released or the process ends, in whatever way it ends.

    The lock is one of the system on the directory itself, so there is no file that a killed process could leave. Where
    there are no such locks (on Windows, on some network file systems) nobody is kept out.

    Raises
    ------
    BlockingIOError
        If it is another run's, of this process or another.
    """
    try:
        import fcntl
    except ImportError:
        return
    place = _place(folder)
    if place in _claimed:
        raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), os.fspath(folder))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # no locks here
        os.close(descriptor)
        return
    _claimed[place] = descriptor


def release(folder: str | os.PathLike[str]) -> None:
    """Leaves a directory to others; one that was not claimed, or is gone, is left as it is."""
    with suppress(OSError, KeyError):
        os.close(_claimed.pop(_place(folder)))


def _place(folder: str | os.PathLike[str]) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino
