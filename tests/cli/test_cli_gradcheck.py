"""``minirnn gradcheck``: every rule can be named, and a wrong one is found."""

import functools
import json

import numpy as np
import pytest
from tiny_commands import without_matplotlib

from minirnn import rules
from minirnn.cli import gradcheck
from minirnn.cli.gradcheck import check_char_lm, check_seq2seq
from minirnn.models.char_lm import CELLS
from minirnn.testing import oracles
from minirnn.testing.bug_zoo import BUGS
from minirnn.testing.example_inputs import example_inputs


def records(result):
    return [json.loads(line) for line in result.out.splitlines()]


def test_without_a_name_the_recurrent_rules(cli):
    result = cli("gradcheck")
    assert result.code == 0 and result.err == ""
    assert "gradient check of lstm, seed 0" in result.out and "W_hh" in result.out
    assert "6 of 6 agree with the numbers" in result.out


def test_all(cli):
    found = records(cli("gradcheck", "--all", "--json"))
    assert [r["rule"] for r in found] == [*rules.__all__, "char-lm-rnn", "char-lm-lstm", "char-lm-gru", "seq2seq"]
    assert all(r["ok"] for r in found)


@pytest.mark.parametrize("method", ["complex", "central", "forward", "richardson"])
def test_methods(cli, method):
    (record,) = records(cli("gradcheck", "tanh", "--method", method, "--json"))
    assert record["ok"] and record["arguments"][0]["method"] == method


def test_the_seed_changes_inputs_and_cotangents(cli, monkeypatch):
    seeds = []
    monkeypatch.setattr(
        gradcheck, "example_inputs", lambda name, seed: seeds.append(seed) or example_inputs(name, seed)
    )
    reports = [records(cli("gradcheck", "tanh", "--seed", seed, "--json"))[0] for seed in (1, 2, 2)]
    first, second, again = (report["arguments"][0]["analytic"] for report in reports)
    assert first != second == again and seeds == [1, 2, 2]


def test_a_wrong_rule_is_exit_code_1(cli, monkeypatch):
    bug, wrong = next(iter(BUGS.items()))
    monkeypatch.setattr(rules, "lstm", wrong)
    result = cli("gradcheck", "lstm", "tanh", "--seed", 5)
    assert result.code == 1, bug
    assert "WRONG: lstm" in result.out and "1 of 2 agree" in result.out
    assert "again: minirnn gradcheck lstm --method auto --seed 5" in result.out
    first, second = records(cli("gradcheck", "lstm", "tanh", "--json"))
    assert (first["verdict"], second["verdict"]) == ("wrong", "correct")
    assert first["guesses"][0]["text"] in result.out
    assert first["again"] == "minirnn gradcheck lstm --method auto --seed 0"
    assert first["ok"] is False and "the gradient check of" in first["message"] and second["ok"]


def test_no_complex_step_where_there_is_none(cli, monkeypatch):
    def real_only(x):
        """The identity of real numbers, which drops an imaginary part."""
        return x.real.copy(), lambda dy: (dy,)

    monkeypatch.setattr(rules, "abs", real_only)
    result = cli("gradcheck", "abs", "--method", "complex")
    assert result.code == 2 and "complex" in result.message
    result = cli("gradcheck", "abs", "tanh", "--method", "complex")
    assert result.code == 0 and "skipped: abs" in result.out


@pytest.mark.parametrize("cell", CELLS)
def test_the_model_by_every_parameter_and_its_state(cell):
    report = check_char_lm(cell, layers=2)
    names = {argument.name for argument in report.arguments}
    assert {"embedding.weight", "rnn.weight_hh_l0", "rnn.weight_hh_l1", "head.bias", "h_0"} < names
    assert report.rule == f"char-lm-{cell}" and report.max_error < 1e-11


@pytest.mark.parametrize(
    "settings", [("gru", "general", "nothing"), ("rnn", "dot", "context"), ("lstm", "none", "nothing")]
)
def test_a_translator_by_every_parameter(settings):
    report = check_seq2seq(*settings)
    names = {argument.name for argument in report.arguments}
    assert {"source_embedding.weight", "bridge.0.bias", "encoder.weight_hh_l0_reverse", "head.bias"} < names
    assert report.rule == "seq2seq" and report.max_error < 1e-11


@pytest.mark.parametrize(
    "rule, verdict",
    [
        (lambda x: (np.abs(x) * (x != x[0, 0, 0]), lambda dy: (dy * np.sign(x),)), "WRONG"),
        (lambda x: (np.maximum(x - x[0, 0, 0].real, 0), lambda dy: (dy * 0,)), "WRONG"),
        (lambda x: (x + np.random.default_rng().random(), lambda dy: (dy,)), "NONDETERMINISTIC"),
        (lambda x: (np.round(np.tanh(x), 6), lambda dy: (dy * (1 - np.tanh(x) ** 2),)), "TOO NOISY"),
    ],
)
def test_every_verdict_but_correct_is_exit_code_1(cli, monkeypatch, rule, verdict):
    monkeypatch.setattr(rules, "tanh", rule)
    result = cli("gradcheck", "tanh")
    assert result.code == 1 and f"{verdict}: tanh" in result.out


def test_a_kink_is_exit_code_1(cli, monkeypatch):
    monkeypatch.setattr(gradcheck, "example_inputs", lambda name, seed: ((np.array([0.0, 1.0]),), {}))
    result = cli("gradcheck", "relu")
    assert result.code == 1 and "KINK: relu" in result.out and "slope 0 on one side" in result.out.replace("-0 ", "0 ")


def test_a_sweep_draws_the_v_curve(cli):
    assert "relative error over the step h" not in cli("gradcheck", "tanh").out
    assert "best steps: 2 eps**(1/2), 3 eps**(1/3)" in cli("gradcheck", "tanh", "--sweep").out
    (record,) = records(cli("gradcheck", "tanh", "--sweep", "--json"))
    assert min(record["arguments"][0]["v_curve"]["central"]) < 1e-9


def test_a_picture_of_it(cli, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "v.svg"
    result = cli("gradcheck", "tanh", "matmul", "--plot", path)
    assert result.code == 0 and result.err == f"written: {path}\n"
    assert path.read_bytes().startswith(b"<?xml")


def test_without_matplotlib_nothing_is_checked(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(gradcheck, "new_figure", without_matplotlib)
    result = cli("gradcheck", "tanh", "--plot", tmp_path / "v.png")
    assert result.code == 2 and result.out == "" and "nothing was checked: No module named" in result.message


def test_pages_hold_what_is_printed(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "lstm", BUGS["dc overwritten"])
    page, text = tmp_path / "a.html", tmp_path / "a.md"
    result = cli("gradcheck", "lstm", "tanh", "--sweep", "--html", page, "--markdown", text)
    assert result.code == 1 and result.err.splitlines() == [f"written: {text}", f"written: {page}"]
    for content in (page.read_text(), text.read_text()):
        plain = content.replace("\\", "")
        for part in (
            "WRONG: lstm",
            "1 of 2 agree",
            "tanh, seed 0: correct",
            "again: minirnn gradcheck lstm",
            "dc at step",
        ):
            assert part in plain
        assert "relative error over the step h" in plain


def test_oracles_side_by_side(cli, tmp_path):
    page = tmp_path / "o.html"
    result = cli("gradcheck", "rnn", "--oracles", "--html", page)
    assert result.code == 0 and "complex step" in result.out and "1 of 1 agree with each other" in result.out
    assert "<td>unrolled</td>" in page.read_text()
    (record,) = records(cli("gradcheck", "rnn", "--oracles", "--json", "--seed", 3))
    assert record["ok"] and record["again"] == "minirnn gradcheck rnn --oracles --seed 3"


def test_oracles_that_disagree_are_exit_code_1(cli, monkeypatch):
    wrong = functools.partial(oracles.compare, rule=BUGS["dc overwritten"])
    monkeypatch.setattr(gradcheck.oracles, "compare", wrong)
    result = cli("gradcheck", "lstm", "--oracles")
    assert result.code == 1 and "DISAGREE: lstm" in result.out


@pytest.mark.parametrize(
    "words, message",
    [
        (["--oracles", "--sweep"], "--sweep has no effect with --oracles: it belongs to a verdict"),
        (["--oracles", "--method", "complex"], "--method has no effect with --oracles"),
        (["tanh", "--oracles"], "no cell is called 'tanh'; there are rnn, lstm"),
        (["tanh", "--all"], "--all checks every one; leave it out to check tanh alone"),
        (["--html", "page.txt"], "--html: must end in .html, got"),
        (["--plot", "nowhere/v.png"], "--plot: must be in a directory that exists"),
    ],
)
def test_what_does_not_go_together(cli, words, message):
    result = cli("gradcheck", *words)
    assert result.code == 2 and message in result.message
