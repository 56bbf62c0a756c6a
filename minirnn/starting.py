"""Ctrl-C while a command is still being imported: it ends as quietly as later.

Python calls ``minirnn/__init__.py`` before anything of the command line, and that takes a third of a second.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import PurePath


def is_command() -> bool:
    """Whether this process was started to run ``minirnn ...`` or ``python -m minirnn ...``."""
    if sys.argv[:1] == ["-m"]:  # as Python puts it while it looks for what is to run
        return "minirnn" in sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1]
    return bool(sys.argv) and PurePath(sys.argv[0]).stem == "minirnn"


if (
    is_command()
    and threading.current_thread() is threading.main_thread()  # no other may say what becomes of a signal
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, lambda signum, frame: os._exit(128 + signum))
