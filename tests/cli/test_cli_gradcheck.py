"""``minirnn gradcheck``: every rule can be named, and a wrong one is found."""

import json

import pytest

from minirnn import rules
from minirnn.cli import gradcheck
from minirnn.cli.gradcheck import check_char_lm
from minirnn.models.char_lm import CELLS
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
    assert [r["rule"] for r in found] == [*rules.__all__, "char-lm-rnn", "char-lm-lstm", "char-lm-gru"]
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
