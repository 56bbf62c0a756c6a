"""The learning curve: what is drawn, and that its text is taken as it is."""

import math
import sys

import pytest

from minirnn.lens import learning_curve

HISTORY = [
    {"step": 50, "loss": 2.0, "norm": 1.0, "clipped": 0.5, "lr": 0.1},
    {"step": 60, "epoch": 1, "train_loss": 1.9, "val_loss": 1.8},
    {"step": 100, "loss": 1.5, "norm": 1.0, "clipped": 0.0, "lr": 0.1},
    {"step": 120, "epoch": 2, "train_loss": 1.5, "val_loss": 1.6},
    {"step": 180, "epoch": 3, "train_loss": 1.4, "val_loss": None},  # was not finite
]


@pytest.fixture(autouse=True)
def with_matplotlib():
    pytest.importorskip("matplotlib")


def lines(figure):
    return {line.get_label().split(":")[0]: line.get_xydata().tolist() for line in figure.axes[0].get_lines()}


def test_losses_are_drawn_in_bits_per_character():
    drawn = lines(learning_curve(HISTORY, baseline=4.5))
    assert drawn["training"] == [[50, pytest.approx(2 / math.log(2))], [100, pytest.approx(1.5 / math.log(2))]]
    assert drawn["validation"] == [[60, pytest.approx(1.8 / math.log(2))], [120, pytest.approx(1.6 / math.log(2))]]
    assert [y for _, y in drawn["entropy of single characters"]] == [4.5, 4.5]


def test_clipped_steps_are_marked_where_there_are_any():
    (marks,) = learning_curve(HISTORY).axes[0].collections
    assert marks.get_offsets().tolist() == [[50, pytest.approx(2 / math.log(2))]]
    assert "25% of all steps" in marks.get_label()
    assert not learning_curve(HISTORY[2:]).axes[0].collections


def test_one_record_is_a_point_and_more_are_a_line():
    assert [learning_curve(HISTORY[:n]).axes[0].get_lines()[0].get_marker() for n in (1, 3)] == ["o", ""]


def test_losses_are_of_whatever_unit():
    axes = learning_curve(HISTORY, baseline=2, unit="token").axes[0]
    assert axes.get_ylabel() == "bits per token"
    assert [line.get_label() for line in axes.get_lines()][-1] == "entropy of single tokens: 2.00"


@pytest.mark.parametrize("history", [[], HISTORY[:1], HISTORY[1:2]])
def test_short_histories(history, tmp_path):
    learning_curve(history, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 0


@pytest.mark.parametrize("title", ["costs $_$ and $\\frac{$", "Größe 大.txt", "a_b^c"])
def test_a_title_is_no_formula(title, tmp_path):
    figure = learning_curve(HISTORY, tmp_path / "loss.png", title=title)
    shown = figure.axes[0].get_title(loc="left")
    assert shown == title and (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_pyplot_is_left_alone():
    before = "matplotlib.pyplot" in sys.modules
    learning_curve(HISTORY)
    assert ("matplotlib.pyplot" in sys.modules) == before
