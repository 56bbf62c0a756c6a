"""Ctrl-C, SIGTERM, a terminal that is closed: the first asks a run to finish its step, the second breaks that off.

Either way the run saves its last whole step.

Only the command line installs handlers, and it puts back what it found.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to stop at once: what Ctrl-C is to Python, whichever signal it was."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class FirstPolite:
    """A handler that takes note of the first signal, which it tells somebody, and raises ``Interrupted`` at others."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self.signum: int | None = None
        self.tell = tell

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise Interrupted(signum)
        self.signum = signum
        with suppress(OSError, ValueError):  # there may be no terminal any more
            self.tell()


def stop_at_once(signum: int, frame: FrameType | None) -> None:
    """The handler of everything that has nothing to save."""
    raise Interrupted(signum)


@contextmanager
def handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Sends ``SIGNALS`` to ``handler`` for the length of a ``with`` block.

    A signal that the process was started to ignore stays ignored: a shell does so for jobs in the background. Outside
    of the main thread Python allows no handlers, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {s: signal.getsignal(s) for s in SIGNALS if signal.getsignal(s) != signal.SIG_IGN}
    for s in former:
        signal.signal(s, handler)
    try:
        yield
    finally:
        for s, was in former.items():
            signal.signal(s, signal.SIG_DFL if was is None else was)  # None: set by something that is not Python
