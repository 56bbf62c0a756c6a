"""Attention shown: every weight at its place, tokens as they are, pages complete in themselves."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from minirnn import lens
from minirnn.text import UNK, TokenVocabulary

HOSTILE = "</bdi></script><script>alert('x')</script>&\"$\\frac{\x1b\u202e\x00"
READ, WRITTEN = ("le", "chat", "$x$", "noir"), ("the", "black", "cat")
WEIGHTS = np.array([[0.9, 0.1, 0, 0], [0.25, 0, 0, 0.75], [0, 1, 0, 0]])


def seen(read=READ, written=WRITTEN, weights=WEIGHTS):
    return lens.Attention(" ".join(read), " ".join(written), read, written, weights)


def square(*tokens):
    return seen(tokens, tokens, np.eye(len(tokens)))


class Cells(HTMLParser):
    """The tables of a page, row by row, and all its elements."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.elements, self.inside = [], [], False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.inside = tag in ("td", "th", "bdi") and bool(self.rows)

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_in_words_what_was_looked_at_most_comes_first():
    assert str(seen()).splitlines() == [
        "le chat $x$ noir -> the black cat: where each token looked",
        "  the    le 90%, chat 10%",
        "  black  noir 75%, le 25%",
        "  cat    chat 100%",
    ]
    flat = seen(written=("a",), weights=np.full((1, 4), 0.05))
    assert str(flat).endswith("at nothing for more than 10%")


def test_as_data():
    data = json.loads(json.dumps(seen().to_dict(), allow_nan=False))
    assert data == {
        "instrument": "attention",
        "source": "le chat $x$ noir",
        "text": "the black cat",
        "read": list(READ),
        "written": list(WRITTEN),
        "weights": WEIGHTS.tolist(),
    }


@pytest.mark.parametrize(
    ("units", "known", "read"),
    [
        ("words", "two", ("un", "trois")),
        ("chars", "o", ("u", "n", " ", "t", "r", "o", "i", "s")),
        ("bpe", "one", ("▁un", "▁", "t", "r", "o", "i", "s")),
    ],
)
def test_tokens_are_those_of_the_vocabularies(units, known, read):
    source, target = (TokenVocabulary.learn([text], units) for text in ("un un", "one two one"))
    weights = np.ones((len(target.encode(known)) + 1, len(read)))
    hypothesis = SimpleNamespace(ids=(*target.encode(known), UNK), attention=weights)
    model = SimpleNamespace(source_vocabulary=source, target_vocabulary=target)
    found = lens.attention(model, SimpleNamespace(source="un trois", text="...", hypothesis=hypothesis))
    assert (found.source, found.text, found.read) == ("un trois", "...", read)
    assert found.written == (*target.split(known), "<unk>") and found.weights is weights


def test_a_model_that_does_not_attend_has_nothing_to_show():
    translation = SimpleNamespace(hypothesis=SimpleNamespace(ids=(4,), attention=None))
    with pytest.raises(ValueError, match="does not attend"):
        lens.attention(None, translation)


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_has_every_weight_at_its_place():
    page = Cells(lens.attention_page(seen()))
    assert page.rows == [
        ["", *READ],
        ["the", "90", "10", "", ""],
        ["black", "25", "", "", "75"],
        ["cat", "", "100", "", ""],
    ]
    shades = [a["style"] for tag, a in page.elements if tag == "td" and "style" in a]
    assert shades == [f"--weight:{weight:.3f}" for weight in WEIGHTS.ravel()]
    titles = [a["title"] for tag, a in page.elements if "title" in a]
    assert titles[0] == "the looked at le: 90.0%" and titles[7] == "black looked at noir: 75.0%"


def test_tokens_of_a_page_are_shown_and_obeyed_by_nobody():
    text = lens.attention_page(square(HOSTILE, "$weights", "${sections}", " "))
    page = Cells(text)
    assert {tag for tag, _ in page.elements} == {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "div", "table"),
        *("tr", "th", "td", "bdi"),
    }
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert not set(text) & {"\x00", "\x1b", "\u202e"} and "default-src 'none'" in text
    assert not re.search(r"https?:|url\(|@import|src=|href=", text)
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\x00", "\\x00")
    assert page.rows[0] == ["", shown, "$weights", "${sections}", "▁"]
    assert [row[0] for row in page.rows] == page.rows[0]
    text.encode("utf-8")


def test_several_on_one_page_and_one_without_a_token():
    page = lens.attention_page([seen(), seen(written=(), weights=np.zeros((0, 4)))])
    assert page.count("<section>") == 2 and "(nothing was written)" in page
    assert Cells(page).rows[4:] == [["", *READ]]


# --- the picture -----------------------------------------------------------------------------------------------------


def drawn(seen, path=None):
    pytest.importorskip("matplotlib")
    return lens.plot(seen, path)


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_the_picture_has_sources_along_x_and_what_was_written_along_y(tmp_path):
    axes = drawn(seen(), tmp_path / "a.png").axes[0]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (labels(axes.xaxis), labels(axes.yaxis)) == (list(READ), list(WRITTEN))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("read", "written")
    assert np.array_equal(axes.get_images()[0].get_array(), WEIGHTS)
    assert axes.get_images()[0].get_clim() == (0, 1)
    assert list(axes.get_xticks()) == [0, 1, 2, 3] and list(axes.get_yticks()) == [0, 1, 2]


@pytest.mark.parametrize("tokens", [("a",), tuple("abcdefghijkl"), tuple(f"{k}{'x' * 30}" for k in range(14))])
def test_everything_in_a_picture_lies_inside_of_it(tokens):
    figure = drawn(square(*tokens))
    figure.draw_without_rendering()
    inside = figure.bbox
    texts = [figure._suptitle, *(t for axes in figure.axes for t in (axes.xaxis.label, axes.yaxis.label))]
    texts += [label for axes in figure.axes[:1] for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()]
    for text in texts:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1, text
    axes = figure.axes[0].get_window_extent()
    assert axes.width >= 20 * len(tokens) and axes.height >= 20 * len(tokens)


def test_labels_of_a_picture_are_no_formulas_and_hold_nothing_invisible(tmp_path):
    axes = drawn(square(HOSTILE, "$_$", " ", "x" * 99, "大"), tmp_path / "a.svg").axes[0]
    shown = labels(axes.xaxis)
    assert shown[1:] == ["$_$", "▁", "x" * 23 + "…", "大"] and shown == labels(axes.yaxis)
    assert len(shown[0]) == 24 and all(label.isprintable() for label in shown)
    assert "$_$" in (tmp_path / "a.svg").read_text()  # in the comments beside the glyphs


def test_a_picture_of_nothing_and_one_of_very_much():
    assert drawn(seen(written=(), weights=np.zeros((0, 4)))).axes[0].get_images()[0].get_array().shape == (1, 4)
    long = drawn(square(*["a"] * 1000))
    assert max(long.get_size_inches()) <= 60
    assert len(labels(long.axes[0].xaxis)) == 200
