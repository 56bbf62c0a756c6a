"""Findings as a page for others to read: Markdown, or HTML that is complete in itself, with every token escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 1100px; margin: 24px auto; padding: 0 16px; font: 16px/1.5 system-ui, sans-serif; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 14px; }}
th, td {{ padding: 2px 12px 2px 0; text-align: left; white-space: nowrap; border-bottom: 1px solid #8884; }}
pre {{ overflow-x: auto; font-size: 13px; line-height: 1.25; }}
pre.prose {{ white-space: pre-wrap; font-size: 14px; line-height: 1.5; }}
img {{ max-width: 100%; background: white; border-radius: 6px; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|$~&"})  # in Markdown, as far as any renderer goes


@dataclass(frozen=True)
class Section:
    """One finding: a heading, a table with its head in the first row, sentences, and drawings made of characters."""

    title: str
    rows: Sequence[Sequence[str]] = ()
    sentences: Sequence[str] = ()
    drawings: Sequence[str] = ()


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The findings as Markdown.

    Examples
    --------
    >>> print(markdown("Check", [Section("a|b", [("x", "y"), ("1", "2")], ["All is *well*."])]))
    # Check
    <BLANKLINE>
    ## a\\|b
    <BLANKLINE>
    | x | y |
    |---|---|
    | 1 | 2 |
    <BLANKLINE>
    All is \\*well\\*.
    <BLANKLINE>
    """
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        if section.rows:
            head, *rows = [f"| {' | '.join(map(_plain, row))} |" for row in section.rows]
            parts.append("\n".join([head, "|" + "---|" * len(section.rows[0]), *rows]))
        parts += map(_plain, section.sentences)
        parts += map(_fenced, section.drawings)
    return "\n\n".join(parts) + "\n"


def html(title: str, sections: Sequence[Section]) -> str:
    """The findings as one HTML page that loads nothing.

    Examples
    --------
    >>> "<td>&lt;lambda&gt;</td>" in html("Check", [Section("one", [("rule",), ("<lambda>",)])])
    True
    """
    parts = []
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        if section.rows:
            rows = [_row(row, "td" if k else "th") for k, row in enumerate(section.rows)]
            parts.append("\n".join(["<div><table>", *rows, "</table></div>"]))
        parts += [f"<p>{escape(sentence)}</p>" for sentence in section.sentences]
        parts += [f"<pre>{escape(drawing)}</pre>" for drawing in section.drawings]
    return page(title, parts)


def page(title: str, parts: Sequence[str]) -> str:
    """A page of parts that are HTML already; the title is not."""
    return PAGE.format(title=escape(title), body="\n".join(parts))


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _fenced(drawing: str) -> str:
    """A drawing between fences that are longer than any in it."""
    fence = "`" * (3 + drawing.count("```"))
    return f"{fence}text\n{drawing}\n{fence}"


def _plain(text: str) -> str:
    return text.translate(SPECIAL).replace("\n", " ")
