"""Attention: where a model looked while it wrote, as words, as a picture and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from minirnn.lens.plotting import heatmap
from minirnn.lens.results import Result
from minirnn.lens.steps import readable

NOTEWORTHY = 0.1  # of the attention: in words, what got less is not worth a word
LONGEST = 24  # characters of a label in a picture
SPACING, LARGEST = 0.3, 60.0  # inches from label to label, and of the longest side of a picture: 7,200 dots


@dataclass(frozen=True)
class Attention(Result):
    """Where a model looked while it wrote a text; see `attention`.

    Attributes
    ----------
    source, text : str
        What was read, and what was written.
    read, written : tuple of str
        Their tokens, ``S`` and ``T``, as people read them.
    weights : ndarray, (T, S)
        Row t says how the attention was shared out among what was read when token t was written.
    """

    source: str
    text: str
    read: tuple[str, ...]
    written: tuple[str, ...]
    weights: np.ndarray

    def __str__(self) -> str:
        lines = [f"{readable(self.source)} -> {readable(self.text)}: where each token looked"]
        read, written = _labels(self.read), _labels(self.written)
        width = max(map(len, written), default=0)
        for token, row in zip(written, self.weights, strict=True):
            most = [s for s in np.argsort(-row, kind="stable") if row[s] >= NOTEWORTHY]
            looked = ", ".join(f"{read[s]} {row[s]:.0%}" for s in most) or f"at nothing for more than {NOTEWORTHY:.0%}"
            lines.append(f"  {token:<{width}}  {looked}")
        return "\n".join(lines)

    def draw(self, figure: Any) -> str:
        """The weights, what was read along the top, what was written down the side."""
        read, written = ([_short(label) for label in _labels(tokens)] for tokens in (self.read, self.written or ("",)))
        weights = self.weights if self.written else np.zeros((1, len(read)))
        wide, high = (0.08 * max(map(len, labels)) for labels in (written, read))  # the labels themselves
        wide, high = wide + SPACING * len(read) + 1.5, high + SPACING * len(written) + 1.2
        figure.set_size_inches(min(LARGEST, max(5.0, wide)), min(LARGEST, max(2.5, high)))
        axes = figure.add_subplot()
        heatmap(axes, weights, "", "read", "written", "weight", vmin=0, vmax=1)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        for axis, labels in ((axes.xaxis, read), (axes.yaxis, written)):
            every = int(np.ceil(SPACING * len(labels) / LARGEST)) or 1
            axis.set_ticks(range(0, len(labels), every), labels[::every])
            for label in axis.get_ticklabels():
                label.set_parse_math(False)  # "$" is a token like any other
        axes.tick_params(length=0)
        upright = max(map(len, read)) > 3
        axes.tick_params(axis="x", labelrotation=90 if upright else 0)
        return "Where the model looked"


def attention(model: Any, translation: Any) -> Attention:
    """Where a model looked while it wrote.

    Parameters
    ----------
    model : Seq2Seq
        That has written it, with its vocabularies.
    translation : Translation
        By `minirnn.decoding.translate`.

    Returns
    -------
    Attention
        Prints as a list; ``lens.plot`` makes a picture of it, and `attention_page` a page.

    Raises
    ------
    ValueError
        If the model does not attend.

    Examples
    --------
    >>> import minirnn as mr
    >>> from minirnn import lens
    >>> from minirnn.text import TokenVocabulary
    >>> words = TokenVocabulary.learn(["the red cat"], "words")
    >>> model = mr.Seq2Seq(words, words, 4, 8)
    >>> seen = lens.attention(model, mr.translate(model, ["red cat"], max_length=3)[0])
    >>> seen.read, seen.weights.shape == (len(seen.written), 2)
    (('red', 'cat'), True)
    """
    hypothesis = translation.hypothesis
    if hypothesis.attention is None:
        raise ValueError("the model does not attend: it has no weights to be shown")
    read = model.source_vocabulary.split(translation.source)
    written = model.target_vocabulary.shown(hypothesis.ids)
    return Attention(translation.source, translation.text, tuple(read), tuple(written), hypothesis.attention)


def attention_page(seen: Attention | Sequence[Attention]) -> str:
    """A page of HTML with a table of weights for each: complete in itself, every token escaped.

    Parameters
    ----------
    seen : Attention, or sequence of Attention

    Returns
    -------
    str
        To be written to a file, in UTF-8.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import lens
    >>> page = lens.attention_page(lens.Attention("a<b", "c", ("a<b",), ("c",), np.ones((1, 1))))
    >>> page.startswith("<!doctype html>"), "a&lt;b" in page, "a<b" in page
    (True, True, False)
    """
    seen = [seen] if isinstance(seen, Attention) else seen
    template = Template(files("minirnn.lens").joinpath("attention.html").read_text(encoding="utf-8"))
    return template.substitute(sections="\n".join(map(_section, seen)))


def _section(seen: Attention) -> str:
    read, written = _labels(seen.read), _labels(seen.written)
    head = "".join(f'<th scope="col"><bdi>{escape(token)}</bdi></th>' for token in read)
    rows = "\n".join(
        f'<tr><th scope="row"><bdi>{escape(token)}</bdi></th>{_cells(token, row, read)}</tr>'
        for token, row in zip(written, seen.weights, strict=True)
    )
    return f"""<section>
<h2><bdi>{escape(readable(seen.text)) or "(nothing was written)"}</bdi></h2>
<p>read: <bdi>{escape(readable(seen.source))}</bdi></p>
<div><table>
<tr><td></td>{head}</tr>
{rows}
</table></div>
</section>"""


def _cells(token: str, row: np.ndarray, read: Sequence[str]) -> str:
    """The weights of one token as percentages, the darker the larger; the smallest without a number."""
    cells = []
    for weight, looked_at in zip(row, read, strict=True):
        shown = f"{100 * weight:.0f}" if weight >= 0.005 else ""
        dark = " class=dark" if weight >= 0.5 else ""
        title = escape(f"{token} looked at {looked_at}: {weight:.1%}")
        cells.append(f'<td{dark} style="--weight:{weight:.3f}" title="{title}">{shown}</td>')
    return "".join(cells)


def _labels(tokens: Sequence[str]) -> list[str]:
    """Tokens as they can be read, also where one is a blank."""
    return [readable(token).replace(" ", "▁") for token in tokens]


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"
