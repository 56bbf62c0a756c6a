"""What the README shows runs: its Python from the first line to the last, and its commands are commands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from minirnn import cli
from minirnn.cli.idle import refuse_idle
from minirnn.text import generated

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [
    line.partition("#")[0].partition("&& mpiexec -n 2 ")[2] or line.partition("#")[0]
    for block in blocks("sh")
    for line in block.splitlines()
    if "minirnn " in line.partition("#")[0] and not line.startswith("python3")
]


def test_all_python_runs(tmp_path):
    lines = "".join(f"It was {english}, {french}.\n" for english, french in generated("article").train)
    (tmp_path / "book.txt").write_text(lines * 20, encoding="utf-8")
    program = "\n".join(blocks("python")).replace("epochs=10", "epochs=1")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gradient check of tanh, seed 0: correct")
    assert done.stdout.count(": correct") == 5 and (tmp_path / "lesson.html").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command):
    verb, *words = shlex.split(command)
    assert verb == "minirnn"
    options = cli._parser().parse_args(words)
    refuse_idle(options.idle if "idle" in options else (), options.given, vars(options))
