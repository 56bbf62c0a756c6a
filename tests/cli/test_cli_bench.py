"""``minirnn bench``: it asks what it is told to, writes what it found, and refuses beforehand what cannot be done."""

import importlib.util
import json
import sys

import pytest

from minirnn.cli import bench


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speeed"], "no question is called 'speeed'; there are train_step, sequences"),
        (["sequence"], "no question is called 'sequence'; did you mean sequences?"),
        (["--vs", "jax"], "--vs: must be one of torch, got 'jax'"),
        (["--sizes", "small,huge"], "--sizes: must be one of small, medium, large, got 'huge'"),
        (["--pairs", "0"], "--pairs: must be an integer of at least 1"),
        (["--quick", "--pairs", "2"], "--pairs has no effect with --quick: it measures the smallest rows once"),
        (["--plot", "x.png"], "--plot has no effect without --vs: it draws ratios"),
        (["--vs", "torch", "--plot", "NOWHERE/x.png"], "--plot: must be in a directory that exists, got"),
        (["--vs", "torch", "--plot", "x.doc"], "--plot: must end in .png, .svg or .pdf, got 'x.doc'"),
        (["roof", "--json", "NOWHERE/x.json"], "No such file or directory"),
    ],
)
def test_usage(cli, tmp_path, words, message):
    result = cli("bench", *(word.replace("NOWHERE", str(tmp_path / "nowhere")) for word in words))
    assert result.code != 0 and result.out == ""
    assert message in result.message


@pytest.mark.parametrize(("package", "extra"), [("torch", "bench"), ("matplotlib", "plot")])
def test_a_missing_package_is_named_with_the_way_to_get_it(cli, tmp_path, monkeypatch, package, extra):
    there = importlib.util.find_spec
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == package else object())
    result = cli("bench", "--vs", "torch", "--plot", tmp_path / "x.png")
    assert result.code == 2 and result.message.endswith(
        f"{package} is not installed; pip install '.[{extra}]' in the sources of minirnn"
    )
    assert importlib.util.find_spec is there


def test_without_the_sources_it_says_what_is_missing(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "BENCHMARKS", tmp_path / "benchmarks")
    result = cli("bench", "roof")
    assert result.code == 2 and result.out == ""
    assert "bench needs the sources of minirnn" in result.message and str(tmp_path / "benchmarks") in result.message


def test_one_question_from_processes_to_targets(cli, tmp_path):
    result = cli("bench", "import", "--quick", "--json", tmp_path / "figures.json")
    assert result.code == 0 and result.err == "import: run 1 of 1\n"
    heading, _, head, _, row, _, targets, *_ = result.out.splitlines()
    assert heading == "## How long does ``import minirnn`` take beside ``import numpy``, which is part of it?"
    assert head.startswith("| numpy, ms (min) | minirnn, ms (min) |") and len(row.split("|")) == len(head.split("|"))
    assert targets == "## Targets" and "| import minirnn / import numpy | ≤ 1.50 |" in result.out
    assert " of 1 targets met; " in result.out
    assert result.out.splitlines()[-1].startswith("runs of each, in turn: 1; ")
    found = json.loads((tmp_path / "figures.json").read_text())
    (measured,) = found["questions"]["import"]
    assert measured["minirnn"]["ms"] > 0 and len(measured["runs"]["numpy"]) == found["pairs"] == 1
    (target,) = [t for t in found["targets"] if t["measured"] is not None]
    assert target["measured"] == measured["slowness"]["numpy"]["pairs"]


def test_sizes_that_a_question_does_not_have_are_said(cli):
    result = cli("bench", "roof", "--sizes", "large")
    assert result.code == 0 and "there is nothing in these sizes, only in tiny, small" in result.out


def test_the_path_of_imports_is_left_as_it_was(cli):
    before = list(sys.path)
    cli("bench", "roof", "--sizes", "large")
    cli("bench", "speeed")
    assert sys.path == before
