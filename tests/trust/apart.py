"""Campaigns in a process of their own: one that is watched, or killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from counting import Tried

import minirnn


def apart(script: str, *words: str) -> Iterator[Tried]:
    """The cases that a script beside this file reports, and one more if it does not come to a good end."""
    paths = [str(Path(minirnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name(script)), *words]
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as process:
        yield from (Tried(*json.loads(line)) for line in process.stdout)
    if process.returncode:
        yield Tried(script, f"it ended with code {process.returncode}")


def report(what: str, failure: str = "") -> None:
    """Says, in such a script, how a case ended."""
    print(json.dumps([what, failure]), flush=True)


def child(call: Callable[[], Any]) -> int:
    """Starts a function in a child of this process, silently, and returns its number; 99 is a mistake."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        code = call() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(call: Callable[[], Any]) -> int:
    """Runs a function in a child, and returns its exit code; below 0, the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child(call), 0)[1])
