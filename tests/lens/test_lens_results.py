"""Results become data that JSON takes, and pictures that show what is in them; text is text."""

import json
import sys

import numpy as np
import pytest
from recorded import CELLS, dead, layer_of, numbers, recorded

from minirnn import lens

INSTRUMENTS = (lens.flow, lens.lags, lens.jacobian, lens.gates, lens.truncation)


def ledger(recording):
    return lens.clipping([recording, recording], max_norm=0.1, clip_value=0.1)


every_instrument = pytest.mark.parametrize("instrument", [*INSTRUMENTS, ledger])


@every_instrument
@pytest.mark.parametrize("cell", [*CELLS, "dead"])
def test_results_become_data(instrument, cell):
    seen = instrument(dead() if cell == "dead" else recorded(layer_of(cell, bidirectional=True)))
    data = json.loads(json.dumps(seen.to_dict(), allow_nan=False))
    assert data["instrument"] == type(seen).__name__.lower()
    if "places" in data:
        assert list(data["places"]) == list(seen.places) and data["cell"] == seen.cell
    assert len(str(seen).splitlines()) > 1 and max(map(len, str(seen).splitlines())) <= 80


def test_numbers_of_data_are_those_of_the_result():
    seen = lens.flow(recorded(layer_of("rnn")))
    assert seen.to_dict()["places"]["l0"]["norms"]["h"] == seen.places["l0"].norms["h"].tolist()
    assert lens.jacobian(dead()).to_dict()["places"]["l0"]["lyapunov"] == [None] * 4  # there is no -inf in JSON


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib")


@every_instrument
def test_pictures_are_written(instrument, tmp_path, matplotlib):
    for ending, recording in {"svg": recorded(layer_of("lstm", bidirectional=True)), "png": dead()}.items():
        path = tmp_path / f"seen.{ending}"
        figure = lens.plot(instrument(recording), path)
        assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
        for axes in figure.axes:
            assert axes.get_xlabel() or axes.get_ylabel(), "an axis without a word"


@every_instrument
def test_a_title_is_no_formula(instrument, tmp_path, matplotlib):
    label = "costs $5 and $\\frac{"
    recording = lens.record(layer_of("gru"), numbers(6, 3, 3), loss=lambda out: out.sum(), label=label)
    figure = lens.plot(instrument(recording), tmp_path / "seen.png")
    assert instrument is ledger or label in figure.get_suptitle()
    figure = lens.plot(instrument(recording), title="$x$_")
    assert figure.get_suptitle() == "$x$_"


def test_flows_side_by_side(tmp_path, matplotlib):
    flows = [lens.flow(lens.specimen(c, hidden=4, seq_len=9, radius=r)) for c in ("rnn", "gru") for r in (0.5, 1.5)]
    figure = lens.plot(flows, tmp_path / "seen.png")
    assert [axes.get_title(loc="left")[:3] for axes in figure.axes] == ["RNN", "GRU"]
    norms, pace, *_ = figure.axes[0].get_lines()
    assert np.array_equal(norms.get_ydata(), flows[0].places["l0"].norms["h"])
    assert np.array_equal(pace.get_ydata(), flows[0].places["l0"].pace)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["radius 0.5", "radius 1.5"]
    same = lens.record(layer_of("gru"), numbers(6, 3, 3), loss=lambda out: out.sum(), label="$a$")
    lens.plot([flows[0], lens.flow(same)], tmp_path / "seen.svg")
    assert "$a$" in (tmp_path / "seen.svg").read_text()  # in the comments beside the glyphs


def test_curves_show_what_is_in_the_result(matplotlib):
    recording = recorded(layer_of("rnn"))
    flow, lags = lens.flow(recording), lens.lags(recording)
    drawn = {line.get_label().split(" (")[0]: line.get_ydata() for line in lens.plot(flow).axes[0].get_lines()}
    assert np.array_equal(drawn["gradient at h"], flow.places["l0"].norms["h"])
    assert np.array_equal(drawn["bound"], flow.places["l0"].bound)
    matrix = lens.plot(lags).axes[0].get_images()[0].get_array()
    assert np.array_equal(matrix, lags.places["l0"]["W_hh"].shares[0])
    sums = lens.plot(lags).axes[1].get_lines()[0].get_ydata()
    assert sums[-1] == pytest.approx(1) and sums[0] == pytest.approx(np.trace(matrix))


@pytest.mark.parametrize("thing", [3, [], ["x"], None])
def test_what_cannot_be_drawn_is_refused(thing, matplotlib):
    with pytest.raises(TypeError, match="plot draws the result of an instrument, or a list of flows, got"):
        lens.plot(thing)
    seen = lens.gates(recorded(layer_of("gru")))
    with pytest.raises(TypeError, match="plot draws the result of an instrument, or a list of flows"):
        lens.plot([seen, seen])


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    seen = lens.flow(recorded(layer_of("gru")))
    with pytest.raises(
        ImportError, match=r"pictures need matplotlib: pip install matplotlib, or the extra minirnn\[plot"
    ):
        lens.plot(seen)


def test_pyplot_is_left_alone(matplotlib):
    before = "matplotlib.pyplot" in sys.modules
    lens.plot(lens.flow(recorded(layer_of("gru"))))
    assert ("matplotlib.pyplot" in sys.modules) == before
