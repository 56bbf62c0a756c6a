"""Ctrl-C, SIGTERM, a terminal that is closed: the first asks a run to finish its step and save, the second stops it.

Only the command line installs handlers, and it puts back what it found.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(BaseException):
    """A signal asked the program to stop at once. No ``Exception``: nothing on the way may take it for a mistake."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class FirstPolite:
    """A handler that takes note of the first signal, and raises ``Interrupted`` at the second."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise Interrupted(signum)
        self.signum = signum


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
