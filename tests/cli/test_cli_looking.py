"""``evaluate``, ``inspect`` and ``doctor``: numbers about a model, a file, a machine."""

import json
import math
import sys

import numpy as np
import pytest
from tiny_commands import TEXT

from minirnn.cli import doctor
from minirnn.tape import no_grad
from minirnn.training import load, save


def test_evaluate_is_the_mean_over_every_character(cli, finished_run, text):
    record = json.loads(cli("evaluate", finished_run, text, "--json").out)
    lm = load(finished_run)
    ids = lm.vocabulary.encode(TEXT)
    with no_grad():
        loss, _ = lm.loss(ids[None, :-1], ids[None, 1:])
    assert record["characters"] == len(TEXT) - 1
    assert record["nats"] == pytest.approx(loss.item(), rel=1e-5)
    assert record["bits"] == pytest.approx(record["nats"] / math.log(2))
    assert record["perplexity"] == pytest.approx(math.exp(record["nats"]))


def test_evaluate_for_people(cli, finished_run, text):
    result = cli("evaluate", finished_run, text)
    assert result.code == 0 and result.err == ""
    assert [line.split()[0] for line in result.out.splitlines()] == ["characters", "nats", "bits", "perplexity"]


@pytest.mark.parametrize("count", [1, 2, 1599, 1600, 1601, 3199, 5000])
def test_evaluate_leaves_out_no_character(cli, finished_run, tmp_path, count):
    text = (TEXT * 6)[: count + 1]
    (tmp_path / "text.txt").write_text(text)
    record = json.loads(cli("evaluate", finished_run, tmp_path / "text.txt", "--json").out)
    lm, in_lanes = load(finished_run), count // 1600 * 1600
    ids, total = lm.vocabulary.encode(text), 0.0
    pieces = [ids[k : k + in_lanes // 16 + 1] for k in range(0, in_lanes, in_lanes // 16 or 1)]
    with no_grad():
        for piece in (*pieces, ids[in_lanes:]):
            if len(piece) > 1:
                total += lm.loss(piece[None, :-1], piece[None, 1:])[0].item() * (len(piece) - 1)
    assert record["characters"] == count and record["nats"] == pytest.approx(total / count, rel=1e-5)


def test_evaluate_can_leave_out_unknown_characters(cli, finished_run, text, tmp_path):
    (tmp_path / "more.txt").write_text(TEXT.replace("cat", "cÄat"))
    assert cli("evaluate", finished_run, tmp_path / "more.txt").code == 3
    skipped = cli("evaluate", finished_run, tmp_path / "more.txt", "--unknown", "skip")
    assert (skipped.code, skipped.out) == (0, cli("evaluate", finished_run, text).out)


def test_inspect(cli, finished_run):
    record = json.loads(cli("inspect", finished_run, "--json").out)
    lm = load(finished_run)
    assert record["seal"] == "ok" and record["vocabulary"] == lm.vocabulary.characters
    assert record["model"] == lm.config and record["training"]["step"] == 30
    for name, parameter in lm.named_parameters():
        found = record["parameters"][name]
        assert tuple(found["shape"]) == parameter.shape and found["finite"]
        assert found["norm"] == pytest.approx(np.linalg.norm(parameter.numpy()), rel=1e-6)


def test_inspect_for_people_holds_nothing_that_a_terminal_obeys(cli, finished_run):
    result = cli("inspect", finished_run)
    assert result.code == 0 and "seal        ok" in result.out and "\\x1b" in result.out
    assert all(c.isprintable() or c == "\n" for c in result.out)


def test_inspect_a_model_without_a_run(cli, finished_run, tmp_path):
    lm = load(finished_run)
    lm.head.bias.array = lm.head.bias.array * np.float32(np.nan)
    save(lm, tmp_path / "model.npz")
    shown = cli("inspect", tmp_path / "model.npz").out
    assert "a model and no run" in shown and "NOT FINITE" in shown


def test_doctor_finds_all_well(cli):
    record = json.loads(cli("doctor", "--json").out)
    assert record["ok"] is True and record["numpy"] == np.__version__
    assert "agrees with numbers" in record["gradients"] and "GFLOP/s" in record["matmul"]


def test_doctor_says_which_kernels_the_blas_has_and_who_chose_them(cli, monkeypatch):
    monkeypatch.setattr(doctor, "blas_kernels", lambda: {"Haswell"})
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    of_itself = json.loads(cli("doctor", "--json").out)["blas"]
    assert of_itself.endswith(", kernels for Haswell")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    told = json.loads(cli("doctor", "--json").out)["blas"]
    assert told.startswith(of_itself + ", as OPENBLAS_CORETYPE says: without it OpenBLAS goes by the processor")


def test_doctor_says_how_to_get_what_is_missing(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    result = cli("doctor")
    assert result.code == 0 and "pip install '.[progress]'" in result.out


def test_doctor_finds_what_is_broken(cli, monkeypatch):
    monkeypatch.setattr(doctor, "check", lambda name: {}["lstm"])
    result = cli("doctor")
    assert result.code == 1 and "BROKEN: gradients" in result.out


def test_doctor_without_a_disk_to_write_to(cli, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", full)
    result = cli("doctor")
    assert result.code == 1 and "BROKEN: disk" in result.out and "No space left on device" in result.out
