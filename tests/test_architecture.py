"""The house keeps its floors: what a file may import, what rules may name, and what every rule looks like."""

from pathlib import Path

import pytest
from floors import (
    against_the_order,
    badly_formed_rules,
    banned_constructs,
    broken_floors,
    named_in_rules,
    rules_defined,
)

import minirnn
from minirnn import ops, rules

HOUSE = Path(minirnn.__file__).parent


def test_floors():
    assert broken_floors(HOUSE) == []


def test_the_reading_order_of_the_readme():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert list(against_the_order(HOUSE, readme)) == []
    tape = next(line for line in readme.splitlines(keepends=True) if line.startswith("| `minirnn/tape/`"))
    without = readme.replace(tape, "")
    assert "tape.__init__ is missing from the reading order" in against_the_order(HOUSE, without)
    assert "ops is read before tape.__init__, which it imports" in against_the_order(HOUSE, f"{without}\n{tape}")


def test_no_star_imports_pickles_evaluated_strings_other_programs_or_network():
    assert banned_constructs(HOUSE) == []


def test_rules_name_no_dtype_and_no_device():
    assert list(named_in_rules(HOUSE / "rules")) == []


def test_form_of_rules():
    assert badly_formed_rules(HOUSE / "rules") == []


def test_every_rule_is_public_and_lifted_under_its_name():
    lifted = {name: op.rule for name, op in vars(ops).items() if hasattr(op, "rule")}
    assert sorted(rules_defined(HOUSE / "rules")) == sorted(rules.__all__) == sorted(lifted)
    assert all(rule is getattr(rules, name) and rule.__name__ == name for name, rule in lifted.items())


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("arrays.py", "from minirnn.tape import Tensor", "arrays imports tape"),
        ("rules/a.py", "def f():\n    import minirnn.nn.layers", "rules.a imports nn.layers"),
        ("rules/a.py", "from minirnn import checking", "rules.a imports checking.__init__"),
        ("rules/a.py", "import minirnn", "rules.a imports __init__"),
        ("rules/a.py", "from ..nn import layers", "rules.a imports nn.layers"),
        ("checking/a.py", "def f():\n    from minirnn import tape", "checking.a must not import tape"),
        ("kernels/a.py", "from minirnn import text", "kernels.a imports text.__init__"),
        ("nn/a.py", "import importlib\nimportlib.import_module('minirnn.models')", "nn.a imports models.__init__"),
        ("nn/layers.py", "from minirnn.nn import module", "imports go in a circle"),
        ("nn/layers.py", "def f():\n    from .module import Module", "imports go in a circle"),
        ("attic.py", "", "attic stands on no floor"),
    ],
)
def test_a_broken_floor_is_seen(tmp_path, file, text, complaint):
    plant(tmp_path)
    assert broken_floors(tmp_path) == []
    plant(tmp_path, file, text)
    assert [line for line in broken_floors(tmp_path) if complaint in line]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("from minirnn.arrays import *", "arrays imports everything from minirnn.arrays"),
        ("def f():\n    import pickle", "arrays imports pickle"),
        ("from pickle import loads", "arrays imports pickle"),
        ("x = eval('1')", "arrays calls eval"),
        ("exec('1')", "arrays calls exec"),
        ("compile('1', '', 'exec')", "arrays calls compile"),
        ("__import__('re')", "arrays calls __import__"),
        ("import numpy\nnumpy.load('f', allow_pickle=True)", "arrays allows pickles"),
        ("import builtins\nbuiltins.exec('1')", "arrays names builtins.exec"),
        ("from builtins import eval as e", "arrays names builtins.eval"),
        ("import os\nos.system('ls')", "arrays names os.system"),
        ("import os\nrun = os.execvp", "arrays names os.execvp"),
        ("from os import popen", "arrays names os.popen"),
        ("import subprocess", "arrays imports subprocess"),
        ("run('ls', shell=True)", "arrays asks for a shell"),
        ("import urllib.request", "arrays imports urllib.request"),
        ("from http.client import HTTPConnection", "arrays imports http.client"),
        ("import socket", "arrays imports socket"),
        ("from importlib import import_module\nimport_module(name)", "arrays imports what a variable names"),
    ],
)
def test_a_banned_construct_is_seen(tmp_path, text, complaint):
    plant(tmp_path, "arrays.py", text)
    assert banned_constructs(tmp_path) == [complaint]


def test_only_the_emulator_starts_a_compiler_and_it_opens_no_network(tmp_path):
    for file in ("testing/cuda_emulator/__init__.py", "testing/laws.py"):
        plant(tmp_path, file, "import subprocess, ctypes, socket")
    assert sorted(banned_constructs(tmp_path)) == [
        "testing.cuda_emulator.__init__ imports socket",
        *(f"testing.laws imports {name}" for name in ("ctypes", "socket", "subprocess")),
    ]


@pytest.mark.parametrize(
    "text",
    ["import cupy", "x = xp.float32", "x = y.astype('float64')", "x = zeros(3, device=cuda)", "import numpy as np"],
)
def test_a_dtype_or_device_in_a_rule_is_seen(tmp_path, text):
    plant(tmp_path, "rules/a.py", f'"""float32 may stand in prose."""\n{text}')
    assert len(set(named_in_rules(tmp_path / "rules"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    def g_pullback(dy):\n        return (dy,)\n    return x, g_pullback",
        "def f(x):\n    def f_pullback(dy):\n        return (dy,)\n    return f_pullback",
        "def f(x):\n    def f_pullback(dy):\n        return (dy,)\n    return f_pullback, x",
        "def f(x):\n    def f_pullback(dy):\n        return (dy,)\n    return x\n    return x, f_pullback",
    ],
)
def test_a_badly_formed_rule_is_seen(tmp_path, text):
    plant(tmp_path, "rules/a.py", text)
    assert badly_formed_rules(tmp_path / "rules")
    assert list(rules_defined(tmp_path / "rules")) == ["f"]


def plant(house, file=None, text=""):
    """A small house in order; with a file, that file has ``text`` in it."""
    contents = {
        "__init__.py": "from minirnn import rules\nfrom minirnn.nn import layers",
        "arrays.py": "import numpy as np",
        "tape.py": "from minirnn.arrays import xp_of",
        "kernels/__init__.py": "from minirnn.kernels import numpy",
        "kernels/numpy.py": "from minirnn.arrays import xp_of",
        "text/__init__.py": "",
        "checking/__init__.py": "",
        "rules/__init__.py": "from minirnn.rules.a import f",
        "rules/a.py": "from minirnn.kernels import kernels_of",
        "nn/__init__.py": "from minirnn.nn.layers import Linear",
        "nn/layers.py": "from minirnn.nn.module import Module",
        "nn/module.py": "from ..tape import Tensor",
        "models/__init__.py": "from minirnn import nn, rules",
    }
    if file == "nn/layers.py":
        contents["nn/module.py"] = "from minirnn.nn import layers"
    for path, old in contents.items() if file is None else [*contents.items(), (file, text)]:
        (house / path).parent.mkdir(parents=True, exist_ok=True)
        (house / path).write_text(old)
