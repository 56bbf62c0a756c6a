"""The benchmark for devices, as far as it can be tried without one: its rows, workers, table and clocks."""

import json
import sys
from itertools import count, product

import pytest

from minirnn import rules
from minirnn.arrays import use_backend
from minirnn.kernels import decoders, sequences, writing
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
    assert found[: len(first)] == first and len(first) == 14
    assert [row["precision"] for row in first] == ["ieee"] * 5 + ["tf32"] * 5 + ["default"] * 4
    assert [row["task"] for row in first[:5]] == ["char", "layer", "layer", "layer", "write"]
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
    ours = set(rows.ways(row))
    assert ours == {0: {"minirnn", "recorded", "whole"}, 2: {"minirnn", "whole"}, 7: set()}.get(
        k, {"minirnn", "whole", "grid"}
    )
    assert set(found["error"]) == {"torch"} | ours and found["absent"] == {}
    assert 0 < found["error"]["torch"] < (0.1 if alone else 1e-5) and found["torch"]["ms"] > 0
    if not alone:
        coarse = 1e-3 if row["precision"] == "tf32" else 1e-5
        assert found["difference"] < 1e-12 and found["error"]["minirnn"] < 1e-5
        assert all(0 < found["error"][name] < coarse for name in ours)
    assert ("speed" in found) == (row["precision"] in rows.CLASSES)
    assert found["kernels"] and found["torch"]["tokens_per_s"] > 0


def test_a_way_that_fails_is_left_out_of_its_row_and_named(rows, clocks, rehearsing, monkeypatch):
    monkeypatch.setattr(clocks, "REPETITIONS", 1)
    monkeypatch.setattr(clocks, "LEAST", 1)
    monkeypatch.setattr(sequences, "plan", lambda *sizes: None)  # no kernel fits
    monkeypatch.setattr(clocks.Place, "kernels", lambda *steps: 1 / 0)
    found = rows.measure({**rows.layer("RNN", 3, 2, 3, D=2), "precision": "ieee"}, rehearsing)
    assert found["absent"].pop("kernels") == "ZeroDivisionError: division by zero" and found["kernels"] == []
    words = "UserWarning: no sequence of rnn fits hidden size 3 on this device: steps are taken one at a time"
    assert found["absent"] == dict.fromkeys(("whole", "grid", "3xtf32"), words)
    assert set(found["error"]) == {"minirnn", "torch"} and found["speed"] > 0
    monkeypatch.setattr(rows, "layer_in_torch", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # without PyTorch there is no row
        rows.measure({**rows.layer("RNN", 3, 2, 3, D=2), "precision": "ieee"}, rehearsing)


def test_a_kernel_that_gave_up_while_it_was_timed_is_no_figure(rows, clocks, rehearsing, monkeypatch):
    def contest(contestants):
        sequences.stalled_word().fill(1)

    monkeypatch.setattr(rows, "contest", contest)
    with pytest.raises(sequences.StalledError):
        rows.measure({**rows.layer("RNN", 3, 2, 3, D=2), "precision": "ieee"}, rehearsing)


@pytest.mark.parametrize("k", range(3, 13))
def test_trials_pass_on_the_stand_ins(benchmark, rehearsing, k, monkeypatch):
    monkeypatch.setattr(sequences, "WARPS", 4)
    monkeypatch.setattr(decoders, "WARPS", 4)
    monkeypatch.setattr(writing, "WARPS", 4)
    monkeypatch.setitem(sys.modules["cupy"].cuda.Device.attributes, "MultiProcessorCount", 2)
    trials = benchmark("gpu_trials")
    names = list(trials.trials(tiny=True))
    assert len(names) == 13
    for name in [names[k], *(names[:3] if k == 3 else [])]:
        found = trials.measure({"what": name}, rehearsing)
        assert found["passed"], (name, found)


def test_a_trial_that_finds_other_numbers_or_no_kernel_is_none_that_passed(benchmark, rehearsing, monkeypatch):
    trials = benchmark("gpu_trials")
    right = rules.rnn
    monkeypatch.setattr(rules, "rnn", lambda a, *others: right(a * (1 + 1e-3 * (a.dtype == "f")), *others))
    found = trials.measure({"what": "rnn, step by step"}, rehearsing)
    assert not found["passed"] and found["error"] > found["allowed"]
    calls = count()
    monkeypatch.setattr(rules, "rnn", lambda a, *others: right(a * (1 + 1e-7 * (next(calls) % 3)), *others))
    found = trials.measure({"what": "rnn, step by step"}, rehearsing)
    assert not found["passed"] and found["error"] == float("inf")
    with pytest.raises(UserWarning, match="fits hidden size 5"):  # one processor makes no cluster
        trials.measure({"what": "rnn in one launch, float32, cluster"}, rehearsing)


def test_on_a_device_every_cell_is_tried_in_every_way(benchmark):
    names = list(benchmark("gpu_trials").trials(tiny=False))
    assert len(names) == 3 + 2 + 3 * 4 * 2 + 2 and names[0] == "lstm, step by step"
    assert "gru in one launch, bf16, grid" in names


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


def test_a_worker_that_does_not_even_die_is_left_alone(gpu, monkeypatch):
    monkeypatch.setattr(gpu, "PATIENCE", 0.1)
    worker = gpu.Worker([sys.executable, "-S", "-c", SLEEPS], {})
    with monkeypatch.context() as patch:
        patch.setattr(worker.process, "kill", lambda: None)
        worker.end()
    assert worker.process.poll() is None
    worker.end()
    assert worker.process.poll() is not None


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
    leaves_a_child = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {SLEEPS!r}])"
    endless = gpu.check("d", [*python, leaves_a_child], 0.5)  # which keeps its output open
    assert not endless["passed"] and endless["seconds"] < 30


def test_compute_sanitizer_is_used_where_it_is(gpu, monkeypatch):
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None)
    assert len(gpu.checks(quick=False)) == 1
    monkeypatch.setattr(gpu.shutil, "which", lambda name: f"/opt/{name}")
    (_, suite), (_, watched) = gpu.checks(quick=False)
    assert watched[0] == "/opt/compute-sanitizer" and suite[1:3] == ["-m", "pytest"]
    ((_, some),) = gpu.checks(quick=True)
    assert "cupy and not strict_cupy" in some and all((gpu.HOUSE / folder).is_dir() for folder in gpu.ON_CUPY)


def player(ms):
    return {"ms": ms, "min_ms": ms, "wall_ms": ms, "us_per_step": 1e3 * ms, "tokens_per_s": 100.0}


def test_the_report_shows_wins_losses_and_failures(gpu, rows):
    common = {"error": {"minirnn": 1e-7, "torch": 2e-4}, "peak_mib": {"minirnn": 10.0, "torch": 20.0}, "absent": {}}
    common |= {"kernels": [{"name": "lstm_kernel", "count": 3, "us": 5}]}
    won = {**rows.layer("LSTM", 256, 64, 128), "precision": "ieee", "minirnn": player(1.0), "torch": player(3.0)}
    won |= {"graph": player(2.0), "speed": 2.0, "wall speed": 1.9, **common}
    lost = {**rows.layer("GRU", 512, 16, 32), "precision": "ieee", "minirnn": player(4.0), "torch": player(2.0)}
    lost |= {"speed": 0.5, "wall speed": 0.6, **common, "absent": {"whole": "StalledError: in vain"}}
    alone = {**rows.layer("LSTM", 256, 64, 128), "precision": "bf16", "torch": player(0.5), **common}
    bad = {**rows.layer("RNN", 128, 16, 32), "precision": "tf32", "failed": "OutOfMemoryError: no"}
    checked = {"check": "the suite", "passed": False, "seconds": 3.2, "last words": ["1 failed"]}
    tried = [
        {"what": "texts", "error": 1e-7, "allowed": 1e-4, "passed": True, "seconds": 2.0},
        {"what": "rnn", "error": 1e-3, "allowed": 1e-4, "passed": False, "seconds": 2.0},
        {"what": "gru", "failed": "not done after 45 s", "seconds": 45.0},
    ]
    results = {"machine": "a machine", "rehearsal": False, "device": {"device": "H200"}, "checks": [checked]}
    results["trials"] = tried
    text = gpu.report({**results, "rows": [won, lost, alone, bad]})
    assert "device H200; a machine" in text and "- the suite: FAILED in 3 s; 1 failed" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5 and "| 2.00 | 1.90 |" in lines[2] and "lstm_kernel" in lines[2]
    assert "ieee: minirnn is quicker in 1 of 2 rows, the slowest first: layer GRU 32, 16, 512" in text
    assert "- not measured: layer, RNN, 1, 32, 16, 128, 128, tf32: OutOfMemoryError: no" in text
    assert "rehearsal" not in text
    assert "- without whole: layer, GRU, 1, 32, 16, 512, 512, ieee: StalledError: in vain" in text
    assert "- texts: passed, error 1.0e-07 of 1e-04 allowed in 2 s" in text and "- rnn: FAILED, error 1.0e-03" in text
    assert "- gru: FAILED, not done after 45 s in 45 s" in text


@pytest.fixture
def session(gpu, rows, benchmark, tmp_path, monkeypatch):
    """Runs the benchmark where workers answer as ``answer(row)`` says, and returns what it wrote and what was asked."""

    def run(answer, *options, of=2):
        asked, first = [], rows.rehearsal()[:of]
        monkeypatch.setattr(rows, "rehearsal", lambda: first)
        monkeypatch.setattr(benchmark("gpu_trials"), "trials", lambda tiny: ["a trial"])

        def measure(self, row, seconds):
            asked.append((row, seconds))
            return answer(row) if row["task"] != "describe" else {"device": "made up"}

        monkeypatch.setattr(gpu.Crew, "measure", measure)
        code = gpu.main(["--rehearse", "-o", str(tmp_path), *options])
        return code, json.loads((tmp_path / "gpu_vs_torch.json").read_text()), asked

    return run


FINE = {"torch": player(1.0), "error": {}, "peak_mib": {}, "kernels": [], "absent": {}}
PASSED = {"error": 0.0, "allowed": 1.0, "passed": True}


def test_a_rehearsal_writes_both_files_and_says_what_it_is(session, tmp_path, capsys):
    code, written, asked = session(lambda row: PASSED if row["task"] == "trial" else {**FINE})
    assert code == 0 and len(written["rows"]) == 2 and written["trials"][0]["passed"]
    assert [row["task"] for row, _ in asked] == ["describe", "trial", "char", "write"]
    text = (tmp_path / "gpu_vs_torch.md").read_text()
    assert "A rehearsal without a GPU" in text and text.strip() in capsys.readouterr().out


def test_a_row_that_fails_is_measured_again_without_what_nothing_else_needs(session, rows):
    def answer(row):
        if row["task"] == "trial":
            return PASSED
        return {"failed": "a fault"} if not row["plain"] else {**FINE, "absent": {}}

    code, written, asked = session(answer, of=6)  # char, write, two translators, layers
    assert [(row["task"], row["plain"]) for row, _ in asked[2:]] == [
        ("char", False),
        ("char", True),
        ("write", False),  # there is no other way
        ("seq2seq", False),
        ("seq2seq", True),
        ("seq2seq", False),
        ("layer", True),  # ieee, where it was so before
        ("layer", False),
        ("layer", True),
    ]
    failed = [row.get("failed") or row["absent"].get("all other ways") for row in written["rows"]]
    assert code == 1 and failed == ["a fault"] * 4 + [None, "a fault"]


def test_trials_that_do_not_pass_are_an_error(session):
    for bad in ({"failed": "a fault"}, {**PASSED, "passed": False}):
        code, written, _ = session(lambda row, bad=bad: bad if row["task"] == "trial" else {**FINE})
        assert code == 1 and len(written["rows"]) == 2


def test_without_a_device_nothing_else_is_asked(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu.Crew, "measure", lambda self, row, seconds: {"failed": f"no {row['task']}"})
    assert gpu.main(["--quick", "-o", str(tmp_path)]) == 1
    assert "no device: no describe" in capsys.readouterr().err
    assert json.loads((tmp_path / "gpu_vs_torch.json").read_text())["device"] == {"failed": "no describe"}


def test_nothing_takes_longer_than_all_may_take(session, gpu, monkeypatch):
    def late(row):
        now[0] += 50
        return PASSED if row["task"] == "trial" else {**FINE}

    now = [0.0]
    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])
    _, written, asked = session(late, "--quick", "--minutes", "2", of=4)
    # half for who comes first, and reads libraries from the disk; half of what is left then; all that is left
    assert [seconds for _, seconds in asked] == [60, 60, 70, 20]
    assert [row.get("failed") for row in written["rows"]] == [None, None, *["the minutes are over"] * 2]


@pytest.mark.parametrize("quick", [True, False])
def test_a_quick_run_measures_first_and_tests_in_what_is_left(gpu, rows, benchmark, tmp_path, monkeypatch, quick):
    done = []
    monkeypatch.setattr(rows, "rows", lambda quick: rows.rehearsal()[:1])
    monkeypatch.setattr(benchmark("gpu_trials"), "trials", lambda tiny: {})
    monkeypatch.setattr(gpu.Crew, "measure", lambda self, row, seconds: done.append(row["task"]) or {**FINE})
    monkeypatch.setattr(gpu, "checks", lambda quick: [("some", ["command"])])
    took = {"passed": True, "seconds": 1.0, "last words": []}
    monkeypatch.setattr(
        gpu, "check", lambda name, command, seconds: done.append((name, round(seconds))) or {"check": name, **took}
    )
    assert gpu.main([*["--quick"] * quick, "--minutes", "2", "-o", str(tmp_path)]) == 0
    assert done == (["describe", "char", ("some", 120)] if quick else ["describe", ("some", 48), "char"])
