"""``minirnn lens``: every instrument on made cells and on a run, as text, JSON, pictures and pages."""

import json
import sys

import numpy as np
import pytest
from tiny_commands import TEXT

from minirnn import lens
from minirnn.cli.lens import INSTRUMENTS
from minirnn.training import load

SIZES = ["--seq-len", "6", "--hidden", "4"]
LOOKING = [name for name in INSTRUMENTS if name != "clipping"]


def records(result):
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def recorded(run, text=TEXT[:7]):
    """The loss of a run on a text, recorded without the command."""
    lm = load(run)
    ids = lm.vocabulary.encode(text)
    return lens.record(lm.loss, ids[None, :-1], ids[None, 1:], label=str(run))


@pytest.mark.parametrize("name", LOOKING)
def test_made_cells_are_specimens(cli, name):
    own = INSTRUMENTS[name]
    result = cli("lens", name, *SIZES, "--cells", "gru", "--radius", "1.2", "--seed", 3)
    made = lens.specimen("gru", hidden=4, seq_len=6, radius=1.2, seed=3, every_step=own.every_step)
    assert (result.code, result.out, result.err) == (0, f"{getattr(lens, name)(made)}\n", "")


@pytest.mark.parametrize("name", LOOKING)
def test_a_run_and_its_text(cli, finished_run, text, name):
    result = cli("lens", name, finished_run, "--text", text, "--seq-len", 6)
    more = {"tokens": TEXT[:6]} if name == "step" else {}
    assert result.code == 0 and result.out == f"{getattr(lens, name)(recorded(finished_run), **more)}\n"
    assert result.err == f"looking at the first 6 of {len(TEXT) - 1:,} characters\n"


def test_clipping_looks_at_window_after_window(cli, finished_run, text):
    (record,) = records(cli("lens", "clipping", finished_run, "--text", text, "--seq-len", 6, "--json"))
    assert record["max_norm"] == 5 and record["clip_value"] is None and len(record["before"]) == 50
    for k in (0, 1, 49):
        gradients = recorded(finished_run, TEXT[6 * k : 6 * k + 7]).gradients.values()
        assert record["before"][k] == pytest.approx(np.sqrt(sum((g**2).sum() for g in gradients)), rel=1e-5)
    limits = ["--clip-value", "1e-3", "--clip-norm", "0.1"]
    (record,) = records(cli("lens", "clipping", finished_run, "--text", text, "--seq-len", 6, "--json", *limits))
    assert (record["max_norm"], record["clip_value"]) == (0.1, 1e-3)
    (record,) = records(cli("lens", "clipping", finished_run, "--text", text, "--json", *limits[:2]))
    assert (record["max_norm"], record["clip_value"]) == (None, 1e-3)


def test_all_cells_and_radii_one_after_the_other(cli):
    found = records(cli("lens", "flow", *SIZES, "--json"))
    assert [(r["cell"], r["label"]) for r in found] == [
        (cell, f"radius {radius}") for cell in ("RNN", "LSTM", "GRU") for radius in (0.5, 0.9, 1, 1.1, 1.5)
    ]
    assert [r["cell"] for r in records(cli("lens", "gates", *SIZES, "--cells", "lstm, rnn", "--json"))] == [
        "LSTM",
        "RNN",
    ]


def test_what_the_loss_asks(cli):
    last = records(cli("lens", "flow", *SIZES, "--cells", "rnn", "--radius", "1", "--json"))[0]
    every = records(cli("lens", "flow", *SIZES, "--cells", "rnn", "--radius", "1", "--json", "--every-step"))[0]
    assert np.count_nonzero(last["places"]["l0"]["direct"]) == 1 and all(every["places"]["l0"]["direct"])


def test_a_picture_is_written_beside_the_text(cli, tmp_path):
    pytest.importorskip("matplotlib")
    result = cli("lens", "truncation", *SIZES, "-o", tmp_path / "out.svg")
    assert result.code == 0 and "cosine" in result.out and result.err == f"written: {tmp_path / 'out.svg'}\n"
    assert b"<svg" in (tmp_path / "out.svg").read_bytes() and [p.name for p in tmp_path.iterdir()] == ["out.svg"]


@pytest.fixture
def drawn(monkeypatch):
    """The results that were drawn together in a picture, one picture after the other; drawing itself takes a second."""
    pictures = []
    monkeypatch.setattr("minirnn.cli.lens.picture", lambda results, ending: pictures.append(results) or b"drawn")
    return pictures


def test_flows_share_a_picture(cli, tmp_path, drawn):
    for ending in ("png", "html"):
        assert cli("lens", "flow", *SIZES, "-o", tmp_path / f"out.{ending}").code == 0
    assert [len(results) for results in drawn] == [15, 15] and (tmp_path / "out.png").read_bytes() == b"drawn"
    assert (tmp_path / "out.html").read_text(encoding="utf-8").count("<img") == 1


def test_a_page_of_texts_and_pictures(cli, tmp_path, drawn):
    out = tmp_path / "out.html"
    result = cli("lens", "gates", *SIZES, "--cells", "gru,rnn", "-o", out)
    page = out.read_text(encoding="utf-8")
    assert result.code == 0 and [results[0].cell for results in drawn] == ["GRU", "RNN"]
    assert page.count('src="data:image/png;base64,ZHJhd24="') == page.count("<pre class=") == 2
    assert ">GRU, radius 1: how the gates stood" in page and "http:" not in page and "https:" not in page


def test_the_page_of_steps(cli, finished_run, tmp_path):
    hostile, path, out = "a\x1b[31mred", tmp_path / "hostile.txt", tmp_path / "OUT.HTML"
    path.write_text(hostile + "\n")
    result = cli("lens", "step", finished_run, "--text", path, "--seq-len", 20, "-o", out)
    assert (result.code, result.out) == (0, "")
    page = out.read_text(encoding="utf-8")
    assert page == lens.step_page(lens.step(recorded(finished_run, hostile + "\n"), tokens=hostile))
    assert "\x1b" not in page and r"\x1b" in page


def test_text_and_json_as_files(cli, tmp_path):
    for name, out in (("gates", tmp_path / "out.txt"), ("step", tmp_path / "steps.txt")):
        said = cli("lens", name, *SIZES).out
        assert cli("lens", name, *SIZES, "-o", out).code == 0 and out.read_text(encoding="utf-8") == said
    many = ["gates", *SIZES, "--cells", "lstm,gru"]
    assert cli("lens", *many, "-o", tmp_path / "out.json").code == 0
    assert json.loads((tmp_path / "out.json").read_text()) == records(cli("lens", *many, "--json"))


def test_unknown_characters(cli, finished_run, tmp_path):
    (tmp_path / "odd.txt").write_text("the Äcat")
    assert cli("lens", "gates", finished_run, "--text", tmp_path / "odd.txt").code == 3
    (record,) = records(
        cli("lens", "step", finished_run, "--text", tmp_path / "odd.txt", "--unknown", "skip", "--json")
    )
    assert [step["token"] for step in record["steps"]] == [repr(c) for c in "the ca"]


def test_a_model_is_looked_at_as_it_predicts(cli, finished_run, text, monkeypatch):
    seen = []
    monkeypatch.setattr(lens, "record", lambda loss, *ids, label: seen.append(loss.__self__.training) or 1 / 0)
    assert cli("lens", "gates", finished_run, "--text", text).code == 1 and seen == [False]


@pytest.fixture
def no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def test_without_matplotlib_a_line_says_how_to_get_pictures(cli, tmp_path, no_matplotlib):
    arguments = ["lens", "gates", *SIZES, "--cells", "gru"]
    said = cli(*arguments).out
    result = cli(*arguments, "-o", tmp_path / "out.png")
    assert (result.code, result.out) == (2, said) and "pip install matplotlib" in result.message
    assert not list(tmp_path.iterdir())
    result = cli(*arguments, "-o", tmp_path / "out.html")
    assert result.code == 0 and "pip install matplotlib" in result.err
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<img" not in page and "how the gates stood" in page
    assert cli("lens", "step", *SIZES, "-o", tmp_path / "steps.html").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no instrument given; there are flow, lags"),
        (["glasses"], "there is no instrument 'glasses'; there are flow"),
        (["flow", "--cells", "lstm,elman"], "--cells: must be one of rnn, lstm, gru, got 'elman'"),
        (["flow", "--radius", "1,-2"], "--radius: must be a number above 0, got '-2'"),
        (["flow", "--radius", ""], "--radius: must be a number above 0, got ''"),
        (["flow", "--hidden", "0"], "--hidden: must be an integer of at least 1"),
        (["flow", "--seq-len", "0"], "--seq-len: must be an integer of at least 1"),
        (["flow", "-o", "TMP/a.doc"], "--out: must end in .png, .svg, .pdf, .html, .txt or .json, got "),
        (["flow", "-o", "TMP/no/a.png"], "--out: must be in a directory that exists, got "),
        (["step", "-o", "TMP/a.png"], "--out: must end in .html, .txt or .json, got "),
        (["step", "--cells", "rnn,gru"], "a walk shows one: give one of --cells and one --radius"),
        (["gates", "--radius", "1,2", "-o", "TMP/a.svg"], "a picture shows one: give one of --cells and one --radius"),
        (["step", "--place", "l1"], "place must be one of l0, got 'l1'"),
        (["gates", "RUN"], "say what the model is to read: --text F"),
        (["gates", "--text", "TEXT"], "--text has no effect without RUN: it belongs to a trained model"),
        (["gates", "--unknown", "skip"], "--unknown has no effect without RUN: it belongs"),
        (
            ["gates", "RUN", "--text", "TEXT", "--cells", "rnn"],
            "--cells has no effect with RUN: it belongs to cells made for looking at",
        ),
        (["gates", "RUN", "--text", "TEXT", "--no-every-step"], "--no-every-step has no effect with RUN: it belongs"),
        (["clipping"], "clipping looks at a trained model: give RUN and --text F"),
        (["clipping", "RUN", "--text", "TEXT", "--clip-norm", "0"], "--clip-norm: must be a number above 0"),
    ],
)
def test_usage(cli, finished_run, text, tmp_path, words, message):
    places = {"RUN": str(finished_run), "TEXT": str(text), "TMP": str(tmp_path)}
    for place, path in places.items():
        words = [word.replace(place, path) for word in words]
    result = cli("lens", *words)
    assert result.code == 2 and result.out == "" and message in result.message
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_bad_data_and_bad_checkpoints(cli, finished_run, text, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    result = cli("lens", "flow", finished_run, "--text", tmp_path / "a.txt")
    assert result.code == 3 and "two characters at least" in result.message
    assert cli("lens", "flow", finished_run, "--text", tmp_path / "missing.txt").code == 3
    assert cli("lens", "flow", tmp_path, "--text", text).code == 4
