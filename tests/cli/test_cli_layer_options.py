"""``--layer-options``: what else recurrent layers are made with, in a run, gone on with, rehearsed, and refused."""

import re
import tomllib

import numpy as np
import pytest
from tiny_commands import SMALL

from minirnn.cli import tasks
from minirnn.cli.layer_options import as_text, options_in
from minirnn.cli.tasks import Characters, Pairs
from minirnn.models.char_lm import CELLS
from minirnn.training import load
from minirnn.training.sealed import read_sealed

GIVEN = "zoneout=0.2,layer_norm=true,learned_state=true"
TINY = ["--generated=article", "--backend=numpy", "--units=words", "--hidden=8", "--embed=4", "--batch-size=4"]


@pytest.mark.parametrize("task", [Characters(), Pairs()], ids=lambda task: task.table.command)
def test_help_shows_every_option_that_there_is_and_no_other(cli, task):
    shown = cli(task.table.command, "--help").out.split("options of the recurrent layers")[1].split("\n\n")[0]
    names = re.findall(r"^  (\w+)=", shown, re.MULTILINE)
    assert len(names) == len(set(names))
    assert set(names) == {name for cell in CELLS for name in task.layer_options(cell)}


def test_a_text_of_options_is_read_and_written():
    options = {"zoneout": 0.2, "layer_norm": True, "bias": False, "init": "orthogonal", "proj_size": 7}
    assert as_text(options) == "zoneout=0.2,layer_norm=true,bias=false,init=orthogonal,proj_size=7"
    assert options_in(as_text(options)) == options_in(" bias = False," + as_text(options).replace("bias=false,", ""))
    assert options_in(None) == options_in("") == {} and as_text({}) is None


def test_a_run_has_its_options_and_goes_on_with_them(cli, text, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train = "train", text, *SMALL, "--layer-options", GIVEN
    assert cli(*train, "-o", whole, "--steps=9").code == 0
    result = cli(*train, "-o", parts, "--steps=4")
    assert f"lstm, 1 layer of 8, float32, {GIVEN}" in result.err
    assert tomllib.loads((parts / "config.toml").read_text())["layer_options"] == GIVEN
    assert cli("train", "-o", parts, "--resume", "--steps=6").code == 0  # by config.toml
    (parts / "config.toml").unlink()
    result = cli("train", text, "-o", parts, "--resume", "--steps=9", "--val-split=0.1", "--log-every=5")
    assert result.code == 0 and tomllib.loads((parts / "config.toml").read_text())["layer_options"] == GIVEN
    arrays, others = (read_sealed(run / "last.npz")[0] for run in (whole, parts))
    assert arrays.keys() == others.keys() and all(np.array_equal(arrays[name], others[name]) for name in arrays)
    model = load(parts)
    assert (model.rnn.zoneout, model.rnn.layer_norm, model.rnn.learned_state) == (0.2, True, True)
    assert "zoneout 0.2, layer_norm True, learned_state True" in cli("inspect", parts).out
    assert cli("generate", parts, "--length=3").code == 0
    result = cli("train", "-o", parts, "--resume", "--layer-options=")
    assert result.code == 4 and "of a run with zoneout 0.2, not None" in result.err


def test_rehearsals_leave_out_what_draws_and_check_the_rest(cli, text, tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(tasks, "check_char_lm", spy(tasks.check_char_lm, checked))
    monkeypatch.setattr(tasks, "check_seq2seq", spy(tasks.check_seq2seq, checked))
    given = "--layer-options=locked_dropout=true,weight_drop=0.3,proj_size=5,zoneout=0.2,init=orthogonal"
    result = cli("train", text, *SMALL, given, "--dropout=0.4", "--dry-run")
    assert result.code == 0 and "agree with numbers" in result.out
    assert cli("train-seq2seq", *TINY, "--layer-options=peepholes=true", "--dry-run").code == 0
    of_chars, of_pairs = ([argument.name for argument in report.arguments] for report in checked)
    assert "rnn.weight_hr_l1" in of_chars and "encoder.peepholes_l0" in of_pairs
    result = cli("train", text, *SMALL, given, "--dropout=0.4", "--overfit", "--lr=0.05", "--steps=300")
    assert result.code == 0 and result.out.startswith("learned")


def spy(check, reports):
    def checked(*given, **named):
        reports.append(check(*given, **named))
        return reports[-1]

    return checked


def test_a_projection_is_what_tied_weights_must_fit(cli, text, tmp_path):
    words = "train", text, *SMALL, "--tie-weights", "--steps=1", "--layer-options=proj_size=4"
    assert cli(*words, "-o", tmp_path / "run").code == 0  # --embed is 4
    result = cli(*words, "--embed=8", "-o", tmp_path / "other")
    assert result.code == 2 and "--tie-weights needs --embed and proj_size to be equal, got 8 and 4" in result.message


@pytest.mark.parametrize(
    "command, options, message",
    [
        ("train", "zoneut=0.1", "lstm has no zoneut here; did you mean zoneout?"),
        ("train", "batch_first=true", "lstm has no batch_first here; there are bias, proj_size, peepholes, "),
        ("train", "dropout=0.1", "lstm has no dropout here; there are"),
        ("train", "reset_after=false", "lstm has no reset_after here; there are"),
        ("train", "zoneout=2", "zoneout must be a number from 0 to below 1, got 2"),
        ("train", "zoneout=many", "zoneout must be a number from 0 to below 1, got 'many'"),
        ("train", "layer_norm=1", "layer_norm must be True or False, got 1"),
        ("train", "peepholes=true,layer_norm=true", "peepholes=True and layer_norm=True exclude each other"),
        ("train", "proj_size=8", "proj_size must be smaller than hidden_size, 8, got 8"),
        ("train", "zoneout", "must be NAME=VALUE,... such as zoneout=0.1,layer_norm=true, got 'zoneout'"),
        ("train", "zoneout=", "must be NAME=VALUE,..."),
        ("train", "=0.1", "must be NAME=VALUE,..."),
        ("train", "zoneout=0.1,", "must be NAME=VALUE,..."),
        ("train", "zoneout=0.1=2", "must be NAME=VALUE,..."),
        ("train", "zoneout=0.1,zoneout=0.2", "must name each option once, got zoneout twice"),
        ("train-seq2seq", "zoneout=0.1", "lstm has no zoneout here; there are bias, peepholes, forget_bias, "),
    ],
)
def test_what_no_layer_takes_is_refused_before_anything_is_read(cli, tmp_path, command, options, message):
    sizes = SMALL if command == "train" else []
    result = cli(command, tmp_path / "missing", "-o", tmp_path / "new", *sizes, f"--layer-options={options}")
    assert result.code == 2 and message in result.message
    assert not list(tmp_path.iterdir())
