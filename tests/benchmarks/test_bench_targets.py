"""Targets: that each finds its figure, and says rightly whether it is met; and what tables and pictures show."""

import pytest


@pytest.fixture
def targets(benchmark):
    return benchmark("targets")


def rows_of_all_sizes(benchmark, value):
    """What a full run would leave, each figure being ``value``: every case of every question."""
    by_opponent = {who: {"pairs": value, "minima": value} for who in ("torch", "torch tuned", "torch without oneDNN")}
    found = {
        "speed": by_opponent,
        "memory": {who: {"import": value, "code": value} for who in ("torch", "torch tuned")},
        "share of roof": value,
        "overhead": value,
        "exponent": {"ms": value},
        "slowness": {"numpy": {"pairs": value}},
    }
    sizes, questions = benchmark("harness").SIZES, benchmark("suite").QUESTIONS.items()
    return {
        name: [{**case, **found} for size in sizes for case in benchmark(file).SIZES.get(size, ())]
        for name, file in questions
    }


def test_every_target_finds_its_row_and_its_figure_in_a_full_run(benchmark, targets):
    assert [t.what for t in targets.TARGETS if t.measured(rows_of_all_sizes(benchmark, 0.7)) != 0.7] == []
    assert len({t.what for t in targets.TARGETS}) == len(targets.TARGETS)


def test_a_target_points_at_one_row_only(benchmark, targets):
    rows = rows_of_all_sizes(benchmark, 0.7)
    for t in targets.TARGETS:
        fitting = [row for row in rows[t.question] if all(row.get(key) == value for key, value in t.which.items())]
        assert len(fitting) == 1, t.what


@pytest.mark.parametrize(
    ("figure", "below", "verdict"), [(2.0, False, "yes"), (1.99, False, "no"), (2.0, True, "yes"), (2.01, True, "no")]
)
def test_met_or_not(targets, figure, below, verdict):
    target = targets.Target("speed", "q", {"H": 8}, "speed/torch", 2.0, below)
    assert target.row({"q": [{"H": 9, "speed": {}}, {"H": 8, "speed": {"torch": figure}}]}) == {
        "target": "speed",
        "aim": "≤ 2.00" if below else "≥ 2.00",
        "measured": f"{figure:.2f}",
        "met": verdict,
    }


@pytest.mark.parametrize("rows", [{}, {"q": []}, {"q": [{"H": 9}]}, {"q": [{"H": 8}]}, {"q": [{"H": 8, "speed": {}}]}])
def test_what_nobody_measured_is_neither_met_nor_missed(targets, rows):
    assert targets.Target("speed", "q", {"H": 8}, "speed/torch", 2.0).row(rows)["met"] == "not measured"


def test_a_table_leaves_out_columns_that_nobody_filled(benchmark):
    reporting = benchmark("reporting")
    table = {"n": "{n}", "a": "{a[ms]:.1f}", "b": "{b}", "c": "{c}"}
    rows = reporting.shown(table, [{"n": 1, "a": {"ms": 0.25}}, {"n": 2, "c": 3}])
    assert reporting.markdown(rows).splitlines() == [
        "| n | a | c |",
        "|---|---|---|",
        "| 1 | 0.2 | - |",
        "| 2 | - | 3 |",
    ]


def test_the_picture_has_a_mark_for_every_ratio(benchmark, tmp_path):
    pytest.importorskip("matplotlib")
    speeds = {"a, $H$ 1": {"torch": 0.5, "torch tuned": 2.0}, "b": {"torch": 4.0}}
    figure = benchmark("reporting").picture(speeds, tmp_path / "ratios.png")
    marks = {line.get_label(): sorted(line.get_xydata().tolist()) for line in figure.axes[0].get_lines()[1:]}
    assert marks == {"torch": [[0.5, 1], [4, 0]], "torch tuned": [[2, 1]]}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a, $H$ 1"]
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_is_said(benchmark, tmp_path):
    with pytest.raises(ValueError, match="no ratios to draw"):
        benchmark("reporting").picture({}, tmp_path / "ratios.png")
    assert not (tmp_path / "ratios.png").exists()
