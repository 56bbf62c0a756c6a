"""A layer between minirnn and the file system: it counts the calls that touch a directory, and spoils the Nth."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

COUNTED = (
    "open", "write", "fsync", "close", "link", "replace", "unlink", "mkdir", "stat", "scandir", "truncate",
)  # fmt: skip


class FileCalls:
    """Within a ``with`` block every call on a file of ``folder`` is counted, as long as the layer is ``armed``.

    Parameters
    ----------
    folder : path
        Calls on files elsewhere are left alone.
    at : int
        The call that is spoiled, from 1; 0 spoils none.
    spoil : callable, optional
        Called in place of that call, with its name. A write has written half of its bytes by then, and a close has
        closed: so do those that fail.
    stays : bool
        Spoils all calls after that one, too.
    names : tuple of str
        The calls that are counted.
    """

    def __init__(
        self,
        folder: Path,
        at: int = 0,
        spoil: Callable[[str], Any] | None = None,
        stays: bool = False,
        names: tuple[str, ...] = (*COUNTED, "read"),
    ):
        self.folder, self.at, self.spoil, self.stays, self.names = os.fspath(folder), at, spoil, stays, names
        self.armed, self.calls, self.spoiled = True, [], []
        self._real, self._own, self._patches = {name: getattr(os, name) for name in COUNTED}, set(), ExitStack()

    def __enter__(self) -> FileCalls:
        for name in COUNTED:
            self._patches.enter_context(mock.patch.object(os, name, self._call_of(name)))
        real = io.open
        for module in (builtins, io):
            self._patches.enter_context(mock.patch.object(module, "open", lambda *a, **k: self._file(real, *a, **k)))
        return self

    def __exit__(self, *exc: object) -> None:
        self._patches.close()

    def count(self, name: str) -> None:
        """One more call of that name; the Nth does not come back from here."""
        if not self.armed or name not in self.names:
            return
        self.calls.append(name)
        if self.spoil is not None and (len(self.calls) == self.at or (self.stays and len(self.calls) > self.at > 0)):
            self.spoiled.append(name)
            self.spoil(name)

    def spoils_next(self) -> bool:
        """Whether the next call will be spoiled."""
        n = len(self.calls) + 1
        return self.armed and self.spoil is not None and (n == self.at or (self.stays and n > self.at > 0))

    def _call_of(self, name: str) -> Callable:
        real = self._real[name]

        def call(what: Any, *rest: Any, **options: Any) -> Any:
            if not self._is_own(what):
                return real(what, *rest, **options)
            if name == "write" and self.spoils_next():
                written = real(what, rest[0][: len(rest[0]) // 2])
                self.count(name)
                return written
            if name == "close":
                self._own.discard(what)
                real(what)
            self.count(name)
            if name == "close":
                return None
            result = real(what, *rest, **options)
            if name == "open":
                self._own.add(result)
            return result

        return call

    def _is_own(self, what: Any) -> bool:
        if isinstance(what, int):
            return what in self._own
        return isinstance(what, (str, os.PathLike)) and os.fspath(what).startswith(self.folder)

    def _file(self, real: Callable, file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not self._is_own(file):
            return real(file, mode, *rest, **options)
        self.count("open")
        if "b" not in mode:
            return real(file, mode, *rest, **options)
        raw = _CountedFile(file, mode.replace("b", ""))
        raw.layer = self
        kind = io.BufferedRandom if "+" in mode else io.BufferedReader if "r" in mode else io.BufferedWriter
        return kind(raw)


class _CountedFile(io.FileIO):
    """A file whose reads, writes and cuts go through the layer."""

    layer: FileCalls

    def write(self, data: Any) -> int:
        half = self.layer.spoils_next()
        written = super().write(memoryview(data)[: len(data) // 2]) if half else 0
        self.layer.count("write")
        return written if half else super().write(data)

    def readinto(self, buffer: Any) -> int:
        self.layer.count("read")
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self.layer.count("read")
        return super().readall()

    def truncate(self, size: int | None = None) -> int:
        self.layer.count("truncate")
        return super().truncate(size)

    def close(self) -> None:
        was_open = not self.closed
        super().close()
        if was_open:
            self.layer.count("close")
