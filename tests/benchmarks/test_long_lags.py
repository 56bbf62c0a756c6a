"""The adding and the copy task: that they ask for memory, what counts as solved, and what is said of it."""

import importlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def long_lags(monkeypatch):
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    module = importlib.import_module("long_lags")
    monkeypatch.setattr(module, "HIDDEN", 16)
    return module


@pytest.mark.parametrize("lag", [2, 3, 10])
def test_adding_marks_a_number_in_each_half_and_asks_for_their_sum(long_lags, lag):
    xs, sums = long_lags.adding(np.random.default_rng(0), lag, 50)
    numbers, marks = xs[:, :, 0], xs[:, :, 1]
    assert xs.shape == (lag, 50, 2) and sums.shape == (1, 50, 1)
    assert ((numbers >= 0) & (numbers < 1)).all() and set(marks.ravel()) <= {0, 1}
    assert (marks[: lag // 2].sum(axis=0) == 1).all() and (marks[lag // 2 :].sum(axis=0) == 1).all()
    for column, answer in zip(xs.transpose(1, 0, 2), sums.ravel(), strict=True):
        assert answer == column[column[:, 1] == 1, 0].sum()


def test_every_place_is_marked_sometimes(long_lags):
    xs, _ = long_lags.adding(np.random.default_rng(0), 10, 500)
    assert xs[:, :, 1].any(axis=1).all()


@pytest.mark.parametrize("lag", [1, 10])
def test_copy_asks_for_the_symbols_after_the_lag(long_lags, lag):
    xs, symbols = long_lags.copy(np.random.default_rng(0), lag, 50)
    assert xs.shape == (lag + 10, 50, 10) and symbols.shape == (5, 50)
    assert (xs.sum(axis=-1) == 1).all() and set(symbols.ravel()) == set(range(8))
    shown, blank, go = xs.argmax(axis=-1), 8, 9
    assert (shown[:5] == symbols).all()
    assert (shown[5 : 5 + lag - 1] == blank).all()
    assert (shown[5 + lag - 1] == go).all()
    assert (shown[-5:] == blank).all()


def test_without_memory_the_errors_are_those_that_are_stated(long_lags):
    xs, sums = long_lags.adding(np.random.default_rng(0), 10, 50_000)
    second = (xs[5:, :, 0] * xs[5:, :, 1]).sum(axis=0).reshape(sums.shape)
    assert long_lags.squared(np.ones_like(sums), sums) == pytest.approx(1 / 6, rel=0.02)
    assert long_lags.squared(second + 0.5, sums) == pytest.approx(1 / 12, rel=0.02)
    assert long_lags.squared(sums, sums) == 0
    _, symbols = long_lags.copy(np.random.default_rng(0), 10, 5000)
    always_the_first, right = np.eye(8)[np.zeros_like(symbols)], np.eye(8)[symbols]
    assert long_lags.share_wrong(always_the_first, symbols) == pytest.approx(7 / 8, rel=0.01)
    assert long_lags.share_wrong(right, symbols) == 0


def test_a_training_ends_when_its_task_is_solved_and_is_the_same_each_time(long_lags):
    record = long_lags.train("adding", "GRU", 2, 0, 300)
    assert record["solved"] and not record["diverged"] and record["steps"] < 300
    assert record["steps"] == 50 * len(record["errors"])
    assert record["errors"][-1] <= 0.01 and all(error > 0.01 for error in record["errors"][:-1])
    assert long_lags.train("adding", "GRU", 2, 0, 300) == record
    assert long_lags.train("adding", "GRU", 2, 1, 300)["losses"] != record["losses"]


@pytest.mark.parametrize("cell", ["RNN", "LSTM", "RNN orthogonal", "LSTM bias 4"])
def test_a_training_that_does_not_solve_its_task_says_so(long_lags, cell):
    record = long_lags.train("copy", cell, 5, 0, 50)
    assert not record["solved"] and record["steps"] == 50
    (loss,) = record["losses"]
    assert 0.3 < loss < np.log(8)


def test_a_training_that_diverges_says_so(long_lags, monkeypatch):
    def refuse(parameters, max_norm):
        raise long_lags.mr.NonFiniteGradientError("not finite")

    monkeypatch.setattr(long_lags.mr, "clip_grad_norm_", refuse)
    record = long_lags.train("adding", "RNN", 10, 0, 300)
    assert record["diverged"] and not record["solved"] and record["steps"] == 1
    assert long_lags.summary([record], 1) == "0 of 1, 1 diverged"


def test_an_interrupted_run_goes_on_where_it_was(long_lags, monkeypatch, tmp_path):
    ran = []

    def train(*which):
        ran.append(which)
        outcome = {"solved": False, "diverged": False, "steps": 50, "losses": [1.0], "errors": [1.0]}
        return long_lags.identity(*which) | outcome

    monkeypatch.setattr(long_lags, "train", train)
    monkeypatch.setattr(long_lags, "ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(workers))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # so that it is put back
    path, trainings = tmp_path / "runs.jsonl", [("copy", "RNN", 10, seed, 50) for seed in range(3)]
    first = long_lags.run_all(trainings, 1, path)
    assert ran == trainings and len(first) == 3
    path.write_text(path.read_text()[:-10])  # killed while it wrote the last line
    again = long_lags.run_all(trainings, 1, path)
    assert ran == [*trainings, trainings[2]]
    assert again == first == [json.loads(line) for line in path.read_text().splitlines()]
    long_lags.run_all([("copy", "RNN", 10, 0, 100)], 1, path)  # another limit is another training
    assert ran[-1] == ("copy", "RNN", 10, 0, 100)


def test_a_field_of_the_table_tells_solved_from_unsolved(long_lags):
    runs = [
        {"solved": True, "diverged": False, "steps": 100, "losses": [0.1, 0.004]},
        {"solved": True, "diverged": False, "steps": 300, "losses": [0.1, 0.004]},
        {"solved": False, "diverged": False, "steps": 500, "losses": [0.2, 0.15, 0.17]},
    ]
    assert long_lags.summary(runs, 3) == "2 of 3, 200 steps, else loss 0.150"
    assert long_lags.summary(runs[:2], 3) == "2 of 2 (1 not run), 200 steps"
    assert long_lags.summary(runs[2:], 1) == "0 of 1, loss 0.150"
    assert long_lags.summary([], 3) == "not run"


def test_the_picture_sets_the_unsolved_apart(long_lags):
    pytest.importorskip("matplotlib")
    records = [
        {"task": "adding", "cell": "GRU", "lag": 10, "solved": True, "steps": 150},
        {"task": "adding", "cell": "GRU", "lag": 10, "solved": False, "steps": 500},
    ]
    figure = long_lags.draw(records, ["adding"], ["GRU"], [10, 20], 500)
    marks = {line.get_marker(): list(line.get_ydata()) for line in figure.axes[0].get_lines() if len(line.get_ydata())}
    assert marks["o"] == [150] and len(marks["x"]) == 1 and marks["x"][0] > 500


def test_the_command_prints_a_table_and_writes_its_files(tmp_path):
    pytest.importorskip("matplotlib")
    words = ["--cells", "RNN", "GRU", "--lags", "2", "3", "--seeds", "0", "--limit", "50", "--workers", "1"]
    words += ["--json", "runs.jsonl", "--plot", "picture.png"]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HOUSE / "benchmarks" / "long_lags.py"), *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    assert [field.strip() for field in rows[0]] == ["task", "lag", "RNN", "GRU"]
    assert {len(row) for row in rows} == {4} and len(rows) == 2 + 2 * 2
    assert all(field.startswith((" 0 of 1, loss ", " 1 of 1, 50 steps")) for row in rows[2:] for field in row[2:])
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == len(done.stderr.splitlines()) == 8
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
