"""Pages of findings: complete, escaped, and the same content in both languages."""

from html.parser import HTMLParser

from minirnn.cli.pages import Section, html, markdown

HOSTILE = '</pre></script><script>alert("x")</script> | a*b_c `d` $e$ [f](g) \n &amp;'
SECTIONS = [Section(HOSTILE, [("rule", HOSTILE), (HOSTILE, "2")], [HOSTILE], ["```\n" + HOSTILE])]


class Reader(HTMLParser):
    """The tags that a browser would see, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_html_shows_hostile_text_as_it_is_and_runs_nothing():
    page = Reader(html(HOSTILE, SECTIONS))
    assert {"script", "img", "link", "iframe"}.isdisjoint(page.tags)
    assert page.text.count(HOSTILE) == 7
    assert page.tags.count("tr") == 2 and page.tags.count("th") == 2 and page.tags.count("td") == 2
    assert "http" not in html("", SECTIONS).replace("http-equiv", "")


def test_markdown_keeps_its_form_whatever_is_in_it():
    page = markdown("Title", SECTIONS)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 2
    assert all(line.replace("\\|", "").count("|") == 3 for line in rows)
    outside = page.split("````text")[0]
    assert "<" not in outside.replace("\\<", "") and "$" not in outside.replace("\\$", "")


def test_a_drawing_with_fences_in_it_stays_inside_its_own():
    page = markdown("Title", SECTIONS)
    assert page.count("````") == 2 and page.rstrip().endswith("````")


def test_sections_may_have_sentences_alone():
    assert markdown("a", [Section("b", sentences=["c"])]) == "# a\n\n## b\n\nc\n"
    assert "<table>" not in html("a", [Section("b", sentences=["c"])])
