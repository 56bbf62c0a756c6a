"""What the tests of the command line are made of: a text, settings of a tiny model, and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import minirnn

TEXT = "the cat sat on the mat; a dog ate the rat.\n" * 20 + "\x1b[31mred\x1b[0m\n"  # the end would colour a terminal
SIZES = {"hidden": 8, "layers": 1, "embed": 4, "seq-len": 10, "batch-size": 4, "val-split": 0.1, "log-every": 5}
SMALL = ["--backend=numpy", *(f"--{name}={value}" for name, value in SIZES.items())]


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def message(self):
        """The only line on stderr, which must be an error of minirnn's."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("minirnn: "), self.err
        return lines[0]


def without_matplotlib(*arguments, **options):
    raise ImportError("No module named 'matplotlib'")


def python(*words, **options):
    """Arguments and options of ``subprocess`` for ``python WORDS`` with this minirnn."""
    path = os.pathsep.join([str(Path(minirnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONUNBUFFERED", None)  # it would hide what happens to output that waits in a buffer
    settings = {"env": env, "text": True, **options}
    return [sys.executable, *map(str, words)], settings


def minirnn_process(*words, **options):
    """``python -m minirnn WORDS``, started."""
    arguments, settings = python("-m", "minirnn", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    return subprocess.Popen(arguments, **settings)
