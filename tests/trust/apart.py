"""Campaigns in a process of their own: one that is watched, or killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
