"""The benchmark for devices, as far as it can be tried without one: its rows, workers, table and clocks."""

import json
import sys
from itertools import product

import pytest

from minirnn.arrays import use_backend
from minirnn.testing import strict_cupy


@pytest.fixture
def gpu(benchmark):
    return benchmark("gpu_vs_torch")


@pytest.fixture
def rows(benchmark):
    return benchmark("gpu_rows")


@pytest.fixture
def clocks(benchmark):
    return benchmark("gpu_clocks")


@pytest.fixture
def rehearsing(clocks, torch):
    """The stand-ins of a device; afterwards PyTorch computes float32 as before."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.rnn, torch.backends.cudnn.conv
    before = [switch.fp32_precision for switch in switches]
    with strict_cupy(), use_backend("cupy"):
        yield clocks.Place(rehearsing=True)
    for switch, precision in zip(switches, before, strict=True):
        switch.fp32_precision = precision


# Rows


def key(row):
    return tuple(sorted((name, str(value)) for name, value in row.items()))


def test_every_row_comes_once_and_the_grid_is_whole(rows):
    found = rows.rows()
    assert len({key(row) for row in found}) == len(found)
    sizes = {
        (row["cell"], row["precision"], row["H"], row["B"], row["T"])
        for row in found
        if row["task"] == "layer" and row["layers"] == 1 and row["D"] == row["H"]
    }
    for cell, precision, H, B, T in product(("RNN", "GRU", "LSTM"), rows.CLASSES, *rows.GRID.values()):
        assert (cell, precision, H, B, T) in sizes
    assert {"char", "write", "seq2seq"} <= {row["task"] for row in found}
    assert {row["precision"] for row in found} == {"ieee", "tf32", "default", "fp16", "bf16"}


def test_the_most_telling_rows_come_first(rows):
    first, found = rows.rows(quick=True), rows.rows()
    assert found[: len(first)] == first and len(first) == 12
    assert (first[0]["task"], first[0]["V"], first[0]["H"], first[0]["B"], first[0]["T"]) == ("char", 65, 128, 16, 50)
    grid = [
        row for row in found[len(first) :] if row["precision"] == "tf32" and row["D" if "D" in row else "H"] == row["H"]
    ]
    away = [rows.distance(row) for row in grid if row["task"] == "layer" and row["layers"] == 1]
    assert away == sorted(away) and away[-1] == 6  # 1024, 16 or 256, and 32 or 512 from 256, 64, 128


# A row


@pytest.mark.parametrize("k", [0, 2, 5, 7])
def test_a_row_is_measured_on_the_stand_ins(rows, clocks, rehearsing, k, monkeypatch):
    monkeypatch.setattr(clocks, "REPETITIONS", 2)
    monkeypatch.setattr(clocks, "LEAST", 2)
    row = rows.rehearsal()[k]
    found = json.loads(json.dumps(rows.measure(row, rehearsing)))
    alone = row["precision"] == "bf16"
    ours = set() if alone else {"minirnn", "recorded"} if row["task"] == "char" else {"minirnn"}
    assert set(found["error"]) == {"torch"} | ours
    assert 0 < found["error"]["torch"] < (0.1 if alone else 1e-5) and found["torch"]["ms"] > 0
    if not alone:
        assert found["difference"] < 1e-12 and all(0 < found["error"][name] < 1e-5 for name in ours)
    assert ("speed" in found) == (row["precision"] in rows.CLASSES)
    assert found["kernels"] and found["torch"]["tokens_per_s"] > 0


def test_texts_are_compared_as_they_are_written_greedily(rows, clocks, rehearsing, monkeypatch):
    monkeypatch.setattr(clocks, "REPETITIONS", 2)
    monkeypatch.setattr(clocks, "LEAST", 2)
    (row,) = (row for row in rows.rehearsal() if row["task"] == "write")
    found = json.loads(json.dumps(rows.measure({**row, "precision": "ieee"}, rehearsing)))
    assert found["error"] == {"minirnn": 0, "torch": 0} and found["difference"] == 0
    assert found["minirnn"]["ms"] > 0 < found["torch"]["ms"] and "speed" in found
    work = rows.build(row, "torch", "float32", rehearsing)
    (text,) = {line.tobytes() for line in work.gradient()["text"]}  # both columns are the same prompt
    assert work.gradient()["text"].shape == (row["B"], row["T"]) and text


def test_gradients_that_differ_are_no_row(rows, rehearsing, monkeypatch):
    right = rows.layer_in_minirnn

    def wrong(case, dtype, place):
        work = right(case, dtype, place)
        honest = work.gradient
        work.gradient = lambda: {name: g * (1 + 1e-6 * (name == "x")) for name, g in honest().items()}
        return work

    monkeypatch.setattr(rows, "layer_in_minirnn", wrong)
    row = {**rows.layer("GRU", 3, 2, 3, D=2), "precision": "ieee"}
    with pytest.raises(rows.DisagreementError, match="the float64 gradients of minirnn and PyTorch differ by"):
        rows.measure(row, rehearsing)


def test_each_switch_of_pytorch_is_set_and_its_default_is_left_alone(clocks, rehearsing):
    untouched = rehearsing.set_precision("default")
    assert rehearsing.set_precision("fp16") == untouched
    for precision in ("ieee", "tf32"):
        found = rehearsing.set_precision(precision)
        assert found == dict.fromkeys(("cuda.matmul", "cudnn.rnn", "cudnn.conv"), precision)
    assert clocks.environment("tf32") == {"CUPY_TF32": "1"}
    assert clocks.environment("ieee") == clocks.environment("default") == {"CUPY_TF32": "0"}


# Clocks


def test_contestants_take_turns_after_their_warm_ups(clocks):
    calls = []

    def contestant(name, ms):
        def clock(step, k):
            step(k)
            return ms + (k == 0), 2 * ms

        return (lambda k: calls.append((name, k))), clock

    found = clocks.contest({"a": contestant("a", 1.0), "b": contestant("b", 200.0)})
    warm, n = clocks.WARMUPS, clocks.LEAST
    assert calls[: 2 * warm] == [("a", k) for k in range(warm)] + [("b", k) for k in range(warm)]
    assert calls[2 * warm :] == [(name, k) for k in range(n) for name in "ab"]
    assert found == {
        "a": {"ms": 1.0, "min_ms": 1.0, "wall_ms": 2.0},
        "b": {"ms": 200.0, "min_ms": 200.0, "wall_ms": 400.0},
    }


def test_the_clock_of_a_device_takes_the_time_between_events(clocks):
    happened = []

    class Event:
        def record(self):
            happened.append("record")

        def synchronize(self):
            happened.append("wait")

    clock = clocks.event_clock(Event, lambda start, end: 7.0)
    ms, wall = clock(lambda k: happened.append(k), 3)
    assert happened == ["record", 3, "record", "wait"] and ms == 7.0 and wall > 0


# Workers

ECHO = "import sys, json\nfor line in sys.stdin: print(json.dumps({'H': json.loads(line)['H']}), flush=True)"
DIES_OF_13 = (
    "import sys, json\nfor line in sys.stdin:\n    H = json.loads(line)['H']\n"
    "    if H == 13: sys.exit(3)\n    print(json.dumps({'H': H}), flush=True)"
)
SLEEPS = "import time\ntime.sleep(60)"


def crew(gpu, *scripts):
    """Workers that run these scripts, one after the other."""
    waiting = list(scripts)
    return gpu.Crew(True, lambda: [sys.executable, "-S", "-c", waiting.pop(0)])


def test_a_worker_takes_all_rows_of_its_class(gpu):
    team = crew(gpu, ECHO, ECHO)
    asked = [("ieee", 1), ("tf32", 2), ("ieee", 3)]
    assert [team.measure({"precision": p, "H": H}, 30) for p, H in asked] == [{"H": 1}, {"H": 2}, {"H": 3}]
    assert len(team.workers) == 2
    team.dismiss()
    assert not team.workers


def test_a_row_that_kills_its_worker_is_reported_and_the_next_goes_to_a_new_one(gpu):
    team = crew(gpu, DIES_OF_13, DIES_OF_13)
    found = [team.measure({"precision": "ieee", "H": H}, 30) for H in (1, 13, 2)]
    team.dismiss()
    assert found == [{"H": 1}, {"failed": "the process ended with 3"}, {"H": 2}]


def test_a_row_that_never_ends_is_given_up(gpu):
    team = crew(gpu, SLEEPS, ECHO)
    found = [team.measure({"precision": "ieee", "H": 1}, seconds) for seconds in (0.2, 30)]
    team.dismiss()
    assert found == [{"failed": "not done after 0 s"}, {"H": 1}]


def test_a_worker_answers_each_row_and_survives_a_bad_one(gpu, rows, clocks, monkeypatch, capsys):
    def measured(row, place):
        print("a library talks")
        return {"H": 2 * row["H"]}

    monkeypatch.setattr(rows, "measure", measured)
    monkeypatch.setattr(sys, "stdin", iter(['{"H": 4}\n', "{}\n", '{"H": 5}\n']))
    assert gpu.work(clocks.Place(rehearsing=True)) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [{"H": 8}, {"failed": "KeyError: 'H'"}, {"H": 10}]
    assert "a library talks" in err


# Checks and the report


def test_a_check_passes_fails_or_is_given_up(gpu):
    python = [sys.executable, "-S", "-c"]
    passed = gpu.check("a", [*python, "print(1); print(2)"], 30)
    assert passed["passed"] and passed["last words"] == ["1", "2"]
    failed = gpu.check("b", [*python, "import sys; print('no'); sys.exit(1)"], 30)
    assert not failed["passed"] and failed["last words"] == ["no"]
    endless = gpu.check("c", [*python, "import time; print('x', flush=True); time.sleep(60)"], 1.0)
    assert not endless["passed"] and endless["last words"] == ["x", "not done after 1 s"]


def test_compute_sanitizer_is_used_where_it_is(gpu, monkeypatch):
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None)
    assert len(gpu.checks()) == 1
    monkeypatch.setattr(gpu.shutil, "which", lambda name: f"/opt/{name}")
    (_, suite), (_, watched) = gpu.checks()
    assert watched[0] == "/opt/compute-sanitizer" and suite[1:3] == ["-m", "pytest"]


def player(ms):
    return {"ms": ms, "min_ms": ms, "wall_ms": ms, "us_per_step": 1e3 * ms, "tokens_per_s": 100.0}


def test_the_report_shows_wins_losses_and_failures(gpu, rows):
    common = {"error": {"minirnn": 1e-7, "torch": 2e-4}, "peak_mib": {"minirnn": 10.0, "torch": 20.0}}
    common |= {"kernels": [{"name": "lstm_kernel", "count": 3, "us": 5}]}
    won = {**rows.layer("LSTM", 256, 64, 128), "precision": "ieee", "minirnn": player(1.0), "torch": player(3.0)}
    won |= {"graph": player(2.0), "speed": 2.0, "wall speed": 1.9, **common}
    lost = {**rows.layer("GRU", 512, 16, 32), "precision": "ieee", "minirnn": player(4.0), "torch": player(2.0)}
    lost |= {"speed": 0.5, "wall speed": 0.6, **common}
    alone = {**rows.layer("LSTM", 256, 64, 128), "precision": "bf16", "torch": player(0.5), **common}
    bad = {**rows.layer("RNN", 128, 16, 32), "precision": "tf32", "failed": "OutOfMemoryError: no"}
    checked = {"check": "the suite", "passed": False, "seconds": 3.2, "last words": ["1 failed"]}
    results = {"machine": "a machine", "rehearsal": False, "device": {"device": "H200"}, "checks": [checked]}
    text = gpu.report({**results, "rows": [won, lost, alone, bad]})
    assert "device H200; a machine" in text and "- the suite: FAILED in 3 s; 1 failed" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5 and "| 2.00 | 1.90 |" in lines[2] and "lstm_kernel" in lines[2]
    assert "ieee: minirnn is quicker in 1 of 2 rows, the slowest first: layer GRU 32, 16, 512" in text
    assert "- not measured: layer, RNN, 1, 32, 16, 128, 128, tf32: OutOfMemoryError: no" in text
    assert "rehearsal" not in text


def test_a_rehearsal_writes_both_files_and_says_what_it_is(gpu, rows, tmp_path, monkeypatch, capsys):
    first = rows.rehearsal()[:2]
    monkeypatch.setattr(rows, "rehearsal", lambda: first)
    answers = iter([{"failed": "a fault"}, {"torch": player(1.0), "error": {}, "peak_mib": {}, "kernels": []}])
    monkeypatch.setattr(gpu.Crew, "measure", lambda self, row, seconds: next(answers))
    assert gpu.main(["--rehearse", "-o", str(tmp_path)]) == 1  # a row failed
    written = json.loads((tmp_path / "gpu_vs_torch.json").read_text())
    assert len(written["rows"]) == 2 and written["rows"][0]["failed"] == "a fault"
    text = (tmp_path / "gpu_vs_torch.md").read_text()
    assert "A rehearsal without a GPU" in text and text.strip() in capsys.readouterr().out


def test_rows_for_which_no_time_is_left_are_named(gpu, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu.Crew, "measure", lambda self, row, seconds: pytest.fail("there was no time"))
    assert gpu.main(["--rehearse", "--hours", "0", "-o", str(tmp_path)]) == 1
    written = json.loads((tmp_path / "gpu_vs_torch.json").read_text())
    assert [row["failed"] for row in written["rows"]] == ["the hours are over"] * len(rows.rehearsal())
