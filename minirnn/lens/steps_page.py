"""The backward pass as a page: one step at a time, with a slider, in one file that needs no server and no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from minirnn.lens.steps import Steps
from minirnn.lens.steps_filling import Piece, number
from minirnn.lens.steps_lines import Line

GROUPS = (  # of the lines there are on the way back, by the beginning of what stands on their left
    (r"d[hc]$", "What is asked of this step"),
    (r"da", "Through the gates"),
    (r"d[hc]_prev", "What is sent on to {}"),
    (r"d[Wb]_", "What stays: this step’s part of the gradient"),
)
ROLES = (  # what a name is, for its colour
    (r"the sum of ", "rest"),
    (r"dhs", "loss"),
    (r"d[hc]_", "sent"),
    (r"d[hca]", "asked"),
    (r"d[Wb]_", "gradient"),
    (r"[Wb]_", "weight"),
    (r"(tanh|sigmoid|relu)$", ""),
    (r"", "forward"),
)
SHOWN_IN_PART = "<p>Of {} units {} are shown, those of which most is asked; … is the sum of all other terms.</p>"
TINY = 1e-300  # instead of a largest value of zero
NAME = re.compile(r"(?<!\.)\b[A-Za-z_]\w*(?:\[[^\]]*\])?")


def step_page(steps: Steps) -> str:
    """A page of HTML that walks through a backward pass: complete in itself, every token escaped.

    Parameters
    ----------
    steps : Steps
        By `minirnn.lens.step`.

    Returns
    -------
    str
        To be written to a file, in UTF-8. Without JavaScript it shows all steps, one below the other.

    Examples
    --------
    >>> from minirnn import lens
    >>> page = lens.step_page(lens.step(lens.specimen("gru", hidden=2, seq_len=3)))
    >>> page.startswith("<!doctype html>"), page.count("<section")
    (True, 3)
    """
    template = Template(files("minirnn.lens").joinpath("steps.html").read_text(encoding="utf-8"))
    last, some = len(steps.values) - 1, len(steps.units) < steps.hidden
    return template.substitute(
        title=escape(steps.label),
        steps=last + 1,
        last=last,
        dc=' and of <span class="sent">dc</span>' if "dc" in steps.values[0] else "",
        some=SHOWN_IN_PART.format(steps.hidden, len(steps.units)) if some else "",
        timeline=_timeline(steps),
        units=" ".join(f'<label><input type="radio" name="unit" value="{k}"> {k}</label>' for k in steps.units),
        sections="\n".join(_section(steps, t) for t in reversed(range(last + 1))),
    )


def _timeline(steps: Steps) -> str:
    """A bar for every step, as long as what is asked of it, and what it read."""
    names = [name for name in ("dh", "dc") if name in steps.values[0]]
    asked = [{name: float(np.linalg.norm(values[name])) for name in names} for values in steps.values]
    most = max(TINY, *(length for lengths in asked for length in lengths.values()))
    columns = []
    for t, lengths in enumerate(asked):
        bars = "".join(f'<i class="{name}" style="height:{length / most:.1%}"></i>' for name, length in lengths.items())
        sizes = ", ".join(f"length of {name} {number(length, 2)}" for name, length in lengths.items())
        token = escape(steps.tokens[t]) if steps.tokens else ""
        columns.append(
            f'<a href="#step-{t}" data-t="{t}" title="{escape(steps.title(t))}; {sizes}">'
            f'<span class="bars">{bars}</span><bdi>{token}</bdi><small>{t}</small></a>'
        )
    return "\n".join(columns)


def _section(steps: Steps, t: int) -> str:
    there, back = steps.lines(t)
    groups = [
        f"<h3>{heading.format(f'step {t - 1}' if t else 'the initial state')}</h3>\n"
        + _lines(steps, t, [line for line in back if re.match(pattern, line.left)])
        for pattern, heading in GROUPS
    ]
    title = escape(steps.title(t).replace("step", "Step", 1))
    return f"""<section id="step-{t}" data-t="{t}" aria-labelledby="title-{t}">
<h2 id="title-{t}">{title}</h2>
<div class="columns">
<div>
{"".join(groups)}
</div>
<aside>
<h3>The step that is undone</h3>
{_lines(steps, t, there)}
{_so_far(steps, t)}
</aside>
</div>
</section>"""


def _lines(steps: Steps, t: int, lines: Iterable[Line]) -> str:
    return f"<ul>{''.join(_line(steps, t, line) for line in lines)}</ul>"


def _line(steps: Steps, t: int, line: Line) -> str:
    """The formula, in colours, what it says, and what it came to for every unit."""
    label = f"({line.number})" if line.number else ""
    formula = NAME.sub(lambda name: _coloured(name[0], name[0]), f"{line.left} = {line.right}")
    formula = formula.replace(" - ", "&nbsp;-&nbsp;")
    units = "".join(
        f'<div class="filled" data-unit="{k}"><span class="unit">unit {k}</span><code>'
        f"{_coloured(steps.left(t, line, k), line.left)} = {_filled(steps.right(t, line, k))}</code></div>"
        for k in steps.units
    )
    says = f'<code class="formula">{formula}</code><p>{escape(line.says)}</p>'
    return f'<li><span class="number">{label}</span><div>{says}{units}</div></li>'


def _filled(pieces: Sequence[Piece]) -> str:
    written, before = [], ""
    for text, name in pieces:
        shown = _coloured(text, name, f' title="{escape(name)}"') if name else _typeset(text)
        # a weight and what it meets stay on one line
        written.append(shown.replace(" ", "&nbsp;") if before.startswith("W_") else shown)
        before = name
    return "".join(written)


def _so_far(steps: Steps, t: int) -> str:
    """The gradients of the weights as far as they have come: the sum of the parts of this step and all after it."""
    tables = []
    for name in (name for name in steps.values[t] if name.startswith("dW_")):
        parts = np.stack([values[name] for values in steps.values])[:, steps.units][:, :, steps.units]
        summed, most = parts[t:].sum(axis=0), max(TINY, abs(parts.sum(axis=0)).max())
        head = "".join(f"<th scope=col>{k}</th>" for k in steps.units)
        body = "".join(
            f"<tr><th scope=row>{k}</th>{''.join(_cell(x, most) for x in row)}</tr>"
            for k, row in zip(steps.units, summed, strict=True)
        )
        caption = _coloured(name.removesuffix("[t]"), name)
        tables.append(f"<table><caption>{caption}</caption><tr><td></td>{head}</tr>{body}</table>")
    last = len(steps.values) - 1
    since = f"The sum of the parts of steps {t} to {last}" if t < last else "The part of the last step alone"
    of = since if t else "The whole gradient, of all steps"
    return f'<h3>The gradient so far</h3><p>{of}.</p><div class="tables">{"".join(tables)}</div>'


def _cell(x: float, most: float) -> str:
    sign = "plus" if x >= 0 else "minus"
    return f'<td class="{sign}" style="--share:{min(abs(x) / most, 1):.2f}">{_typeset(number(x, 2))}</td>'


def _coloured(text: str, name: str, more: str = "") -> str:
    """A text in the colour of what ``name`` is."""
    return f'<b class="{_role(name)}"{more}>{_typeset(text)}</b>' if _role(name) else _typeset(text)


def _role(name: str) -> str:
    return next(role for pattern, role in ROLES if re.match(pattern, name))


def _typeset(text: str) -> str:
    """A piece of a formula as in a book, escaped."""
    for plain, printed in ("**2", "²"), (" * ", " · "), (" - ", "\xa0−\xa0"), ("-", "−"), ("…", "…\N{WORD JOINER}"):
        text = text.replace(plain, printed)
    return escape(text)
