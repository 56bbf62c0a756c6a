"""The page of steps: well-formed, complete in itself, harmless whatever the text was, and it turns its pages."""

import json
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from minirnn import CharLM, Vocabulary, lens, nn

HOSTILE = "<script>&\"'\x00\x1b\u202e\ud7ff🙂$title</code>"
LABEL = "$x$ </script><script>"
VOID = {"meta", "input", "br", "link", "img"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@cache
def of_text(text=HOSTILE, cell="lstm"):
    lm = CharLM(Vocabulary.from_text(text), 4, 3, cell=cell, seed=2, dtype="float64")
    ids = lm.vocabulary.encode(text)
    return lens.step(lens.record(lm.loss, ids[None, :-1], ids[None, 1:], label=LABEL), tokens=text[:-1])


class Page(HTMLParser):
    """What stands in a page: texts by the way of elements to them, and every attribute."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.attributes, self.elements = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *attribute) for attribute in attributes]
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def of(self, *wanted):
        """The text in all elements that have these classes, one after the other, by step and unit."""
        found = {}
        for way, data in self.texts:
            if way and way[-1][0] not in ("style", "script") and all(any(w(*e) for e in way) for w in wanted):
                at = tuple(
                    e[1].get("data-t") or e[1].get("data-unit") for e in way if {"data-t", "data-unit"} & e[1].keys()
                )
                found[at] = found.get(at, "") + data
        return found


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_every_element_is_closed_and_nothing_comes_from_elsewhere(cell):
    text = lens.step_page(of_text("a<b", cell))
    page = Page(text)
    assert page.open == [] and text.startswith("<!doctype html>")
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2 and tags.count("section") == 2
    assert not {"img", "link", "iframe", "object", "embed", "base", "form"}.intersection(tags)
    assert all(value.startswith("#step-") for _, name, value in page.attributes if name in ("src", "href", "action"))
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert "default-src 'none'" in text and not re.search(r"https?:|url\(|@import", text)


def test_tokens_and_label_are_shown_and_obeyed_by_nobody():
    steps = of_text()
    text = lens.step_page(steps)
    page = Page(text)
    for escaped in ("'&lt;'", "'&amp;'", "&#x27;&#x27;&#x27;"):
        assert escaped.replace("'", "&#x27;") in text
    assert not set(text) & {"\x00", "\x1b", "\u202e"} and "🙂" in text and r"\x1b" in text and r"\u202e" in text
    titles = [
        "".join(data for way, data in page.texts if ("h2", {"id": f"title-{t}"}) in way)
        for t in range(len(HOSTILE) - 1)
    ]
    assert [title.lower() for title in titles] == [steps.title(t).lower() for t in range(len(titles))]
    assert "".join(data for way, data in page.texts if way[-1:] == (("strong", {}),)) == f"LSTM, {LABEL}."
    text.encode("utf-8")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_page_shows_the_lines_of_the_steps(cell):
    steps = of_text("hello", cell)
    page = Page(lens.step_page(steps))
    found = page.of(lambda tag, a: a.get("class") == "filled", lambda tag, a: tag == "code")
    assert len(found) == 4 * 3
    for (t, unit), lines in found.items():
        plain = lines.translate({0xA0: " ", ord("²"): "**2", ord("·"): "*", ord("−"): "-", 0x2060: None})
        there, back = steps.lines(int(t))
        assert plain == "".join(steps.both(int(t), line, int(unit)) for line in (*back, *there))


def test_every_number_says_what_it_is():
    steps = of_text("hello")
    titles = {value for tag, name, value in Page(lens.step_page(steps)).attributes if tag == "b" and name == "title"}
    assert {"W_hf[2, 0]", "c_prev, unit 1", "dh_prev[t+1], unit 2", "dhs[t], unit 0", "a_xs_o[t], unit 1"} <= titles


def test_the_gradient_so_far_ends_as_the_gradient():
    recording = lens.specimen("gru", hidden=2, seq_len=4)
    first = lens.step_page(lens.step(recording)).split("<section")[-1]
    cells = [cell.replace("−", "-") for cell in re.findall(r'<td class="(?:plus|minus)"[^>]*>([^<]*)</td>', first)]
    whole = recording.gradients["weight_hh_l0"]
    assert cells == [f"{x:.2g}" for x in whole.ravel()] and "The whole gradient" in first


def test_a_large_state_and_no_tokens():
    page = lens.step_page(lens.step(lens.specimen("rnn", hidden=40, seq_len=3)))
    assert "Of 40 units 4 are shown" in page and page.count('name="unit"') == 4 and "…" in page
    assert "Of " not in lens.step_page(lens.step(lens.specimen("rnn", hidden=4, seq_len=3)))


def test_nothing_is_asked():
    layer = nn.GRU(2, 3, dtype="float64")
    steps = lens.step(lens.record(layer, np.ones((3, 1, 2)), loss=lambda out: (out * 0.0).sum()))
    assert "height:0.0%" in lens.step_page(steps)


DRIVER = """<script>
const seen = [];
function look(what) {
  const units = new Set([...document.querySelectorAll("[data-unit]:not([hidden])")].map((line) => line.dataset.unit));
  seen.push([what, [...document.querySelectorAll("section")].filter((s) => s.offsetHeight > 0).map((s) => s.id),
    document.querySelector("a[aria-current]").dataset.t, slider.value, slider.getAttribute("aria-valuetext"),
    [...units], document.documentElement.scrollWidth <= document.documentElement.clientWidth]);
}
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
look("start"); press("ArrowLeft"); look("left"); press("ArrowRight"); press("ArrowRight"); look("right");
press("Home"); look("home"); press("ArrowLeft"); look("left of home"); press("End"); look("end");
slider.value = 1; slider.dispatchEvent(new Event("input")); look("slider"); back.click(); look("button");
links[2].click(); look("bar"); document.querySelectorAll("[name=unit]")[1].click(); look("unit");
for (let t = 0; t <= last; t++) { show(t); look("all"); }
document.body.innerHTML = "<pre>" + encodeURIComponent(JSON.stringify(seen)) + "</pre>";
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [500, 1400])
def test_in_a_browser_it_turns_its_pages_and_fits_the_window(tmp_path, width):
    page = lens.step_page(of_text("<&🙂\n"))
    (tmp_path / "page.html").write_text(page.replace("</body>", DRIVER), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},900", "--dump-dom", (tmp_path / "page.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()
    seen = json.loads(unquote(re.search(r"<pre>([\w%.!~*'()-]+)</pre>", dom)[1]))
    expected = {
        "start": 2,
        "left": 1,
        "right": 2,
        "home": 0,
        "left of home": 0,
        "end": 2,
        "slider": 1,
        "button": 0,
        "bar": 2,
    }
    for what, sections, current, value, said, units, fits in seen:
        if what in expected:
            t = expected[what]
            assert (what, sections, current, value) == (what, [f"step-{t}"], str(t), str(t))
            assert said.startswith(f"Step {t}") and units == ["0"]
        assert fits and len(sections) == 1
    assert [entry[5] for entry in seen if entry[0] == "unit"] == [["1"]] and len(seen) == 10 + 3


def test_without_javascript_everything_is_there():
    page = Page(lens.step_page(of_text("hello")))
    assert not any(name == "hidden" for _, name, _ in page.attributes)
