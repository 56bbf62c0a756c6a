"""``minirnn demo``: what a newcomer sees, in which order, and that what it says works."""

import io
import shlex
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest

from minirnn.cli import demo as module
from minirnn.cli import main

STAGES = (
    "Are the gradients right?",
    "What to beat",
    "Before training",
    "Training",
    "After training",
    "What was reached",
    "What next",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Output and directory of one quick demo."""
    out = tmp_path_factory.mktemp("demo") / "run"
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        code = main(["demo", "--quick", "--out", str(out), "--seed", "3"])
    assert code == 0, stderr.getvalue()
    return stdout.getvalue(), stderr.getvalue(), out


def test_the_stages_come_in_order(demo):
    out, _, _ = demo
    places = [out.index(f"\n{stage}") for stage in STAGES]
    assert places == sorted(places)


def test_it_shows_what_it_promises(demo):
    out, err, directory = demo
    assert "rnn.weight_hh_l0" in out and "WRONG" not in out
    assert "bits per character" in out and "entropy of single characters" in out
    assert out.count("  | The ") == 2  # a sample before and one after
    assert "bits/char" in err
    assert (directory / "config.toml").exists() and (directory / "corpus.txt").exists()


def test_the_loss_fell(demo):
    out, _, _ = demo
    along_the_way = out.split("Loss along the way, in bits per character:\n")[1].splitlines()[0]
    losses = [float(word) for word in along_the_way.split()]
    assert len(losses) == 12 and losses[-1] < losses[0] - 1


def test_nothing_in_it_is_wider_than_a_terminal_or_obeyed_by_one(demo):
    out, err, directory = demo
    lines = [line for line in (out + err).splitlines() if str(directory) not in line]
    assert max(map(len, lines)) <= 80
    assert all(c.isprintable() or c == "\n" for c in out + err)


def test_the_commands_that_it_prints_work(demo, cli):
    out, _, directory = demo
    command = next(line.split("minirnn ")[1] for line in out.splitlines() if line.startswith("write more"))
    assert cli(*shlex.split(command), "--length", 5).out.startswith("The ")
    assert cli("generate", directory, "--memorised", "--length", 5).code == 0


def test_the_picture(demo):
    out, _, directory = demo
    pytest.importorskip("matplotlib")
    assert (directory / "loss.png").stat().st_size > 5000
    assert f"look at        {directory / 'loss.png'}" in out


def test_it_overwrites_nothing_unasked(demo, cli, tmp_path):
    _, _, directory = demo
    result = cli("demo", "--quick", "--out", directory)
    assert result.code == 2 and "--overwrite" in result.message
    (tmp_path / "corpus.txt").write_text("mine")
    assert cli("demo", "--quick", "--out", tmp_path).code == 2
    assert (tmp_path / "corpus.txt").read_text() == "mine"


def test_samples_are_made_to_fit_and_harmless(monkeypatch):
    monkeypatch.setattr("minirnn.cli.tasks.generate", lambda model, prompt, **settings: "x" * 100 + "\x1b[31m\n\nend")
    shown = module.sample(SimpleNamespace(model=None), seed=1)
    assert shown.splitlines() == ["  | " + "x" * 76, "  | " + "x" * 24 + "\\x1b[31m", "  |", "  | end"]
