"""The harness: who plays when, what is made of the reports, and that a comparison of different things is refused."""

import doctest
import importlib
import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def harness(benchmark):
    return benchmark("harness")


def scripted(harness, monkeypatch, script):
    """Players by name, who report what the script says, one after the other; and the order in which they played."""
    order, scripts = [], {name: iter(reports) for name, reports in script.items()}

    def play(player):
        order.append(player.given["name"])
        return next(scripts[player.given["name"]])

    monkeypatch.setattr(harness.Player, "play", play)
    return {name: harness.Player(print, {"name": name}) for name in script}, order


def ms(*values):
    return [{"ms": value, "min_ms": value - 1} for value in values]


def test_players_alternate(harness, monkeypatch):
    players, order = scripted(harness, monkeypatch, {"a": ms(1, 2, 3), "b": ms(4, 5, 6)})
    lines = []
    reports = harness.Trial(pairs=3, note=lines.append).contest(players)
    assert order == ["a", "b"] * 3
    assert reports == {"a": ms(1, 2, 3), "b": ms(4, 5, 6)}
    assert lines == ["run 1 of 3", "run 2 of 3", "run 3 of 3"]


def test_ratios_are_taken_pair_by_pair(harness):
    reports = {"minirnn": ms(10, 100, 10), "torch": ms(20, 200, 5), "roof": [{"gflops": 1.0}] * 3}
    assert harness.ratio(reports, "torch", "minirnn") == 2  # that of the medians would be 2 too, but of pairs 2, 2, 0.5
    reports["torch"] = ms(30, 100, 5)
    assert harness.ratio(reports, "torch", "minirnn") == 1 != 30 / 10
    assert harness.speeds(reports) == {"torch": {"pairs": 1, "minima": 4 / 9}}


def test_figures_are_medians_and_minima(harness):
    assert harness.figures({"a": ms(4, 2, 9)}) == {"a": {"ms": 4, "min_ms": 1}}


def test_memory_is_compared_above_imports_and_above_all_code(harness):
    reports = {
        "minirnn": [{"above_import_mib": 10.0, "above_code_mib": 4.0}],
        "torch": [{"above_import_mib": 40.0, "above_code_mib": 5.0}],
        "roof": [{"gflops": 1.0}],
    }
    assert harness.memories(reports) == {"torch": {"import": 0.25, "code": 0.8}}


def test_pytorch_plays_in_its_quickest_way_and_again_with_malloc_tuned(harness, monkeypatch):
    ways, order = scripted(harness, monkeypatch, {"slow": ms(5), "quick": ms(2), "middling": ms(3)})
    opponents, way = harness.Trial(torch=True).opponents(ways)
    assert way == "quick" and order == ["slow", "quick", "middling"]
    assert opponents["torch"] is ways["quick"]
    assert opponents["torch tuned"].given == ways["quick"].given
    assert opponents["torch tuned"].environment == harness.MALLOC_TUNED
    assert harness.Trial().opponents(ways) == ({}, None)


def test_a_player_has_a_process_and_an_environment_of_its_own(harness, monkeypatch, tmp_path):
    (tmp_path / "asking.py").write_text(
        "import os\n\ndef play(x):\n    print('beside the point')\n"
        "    import minirnn\n"
        "    return {'x': x, 'process': os.getpid(), 'mark': os.environ['MARK'], 'minirnn': minirnn.__file__}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = harness.Player(importlib.import_module("asking").play, {"x": [1, 2]}, {"MARK": "here"}).play()
    assert report["x"] == [1, 2] and report["mark"] == "here" and "MARK" not in os.environ
    assert report["process"] != os.getpid()
    assert Path(report["minirnn"]).parents[1] == harness.BENCHMARKS.parent


@pytest.mark.parametrize("name", ["harness", "growth", "reporting"])
def test_examples(benchmark, name):
    failed, tried = doctest.testmod(benchmark(name))
    assert tried and not failed


def test_a_share_of_the_roof_is_that_of_the_same_minute(benchmark):
    reports = {"minirnn": ms(100, 200, 100), "roof": [{"gflops": g} for g in (100, 50, 100)]}
    assert benchmark("roof").share(reports, operations=5.0) == pytest.approx(0.5)


def test_times_leave_the_warm_up_out(benchmark):
    calls = []
    times = benchmark("measuring").timed(calls.append, 3, warmup=2)
    assert calls == [0, 1, 2, 3, 4] and 0 < times["min_ms"] <= times["ms"]


def test_different_gradients_are_not_compared_for_speed(benchmark, tmp_path):
    measuring = benchmark("measuring")
    W, b = np.random.default_rng(0).standard_normal((2, 50))
    np.savez(tmp_path / "a.npz", W=W, b=b)
    np.savez(tmp_path / "b.npz", W=W * (1 + 1e-15), b=b)
    assert measuring.agreement(tmp_path, "a", "b") < 1e-14
    np.savez(tmp_path / "b.npz", W=W * 1e6, b=b)  # so long that b is nothing beside it
    np.savez(tmp_path / "a.npz", W=W * 1e6, b=b * (1 + 1e-9))
    with pytest.raises(benchmark("harness").DisagreementError, match=r"of a and of b differ: b by 1\.0e-09"):
        measuring.agreement(tmp_path, "a", "b")


def test_the_report_of_training(benchmark, tmp_path):
    measuring = benchmark("measuring")
    exact = np.random.default_rng(0).standard_normal(100)
    before = {"import": 1.0, "code": measuring.peak_memory() + 1e6}
    gradient = lambda dtype: {"W": exact.astype(dtype)}  # noqa: E731  # a gradient in one line
    report = measuring.training(lambda k: None, 2, before, gradient, tmp_path / "a.npz")
    assert 0 < report["gradient_error"] < 1e-7
    assert report["above_import_mib"] == report["peak_mib"] - 1 > 5
    assert report["above_code_mib"] == measuring.PAGE  # never nothing, which could not be divided by
    assert (np.load(tmp_path / "a.npz")["W"] == exact).all()
