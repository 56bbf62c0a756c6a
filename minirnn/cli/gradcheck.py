"""``minirnn gradcheck``: rules, and whole models, against numbers, or six ways to one gradient."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from minirnn import lens, rules
from minirnn.arrays import random_generator
from minirnn.checking import GradcheckError, GradcheckReport, check_rule
from minirnn.checking.gradcheck import METHODS
from minirnn.cli.building import write_file
from minirnn.cli.console import Console
from minirnn.cli.idle import ANY, Idle
from minirnn.cli.layer_options import RANDOM
from minirnn.cli.pages import Section, html, markdown
from minirnn.cli.settings import PICTURES, UsageError, file_of, meant, one_of, whole
from minirnn.functional import gradcheck
from minirnn.lens.plotting import new_figure
from minirnn.models import CharLM, Seq2Seq
from minirnn.models.char_lm import CELLS
from minirnn.nn import Module
from minirnn.nn.module import flatten
from minirnn.tape import Tensor
from minirnn.testing import oracles
from minirnn.testing.example_inputs import RECURRENT, B, D, H, T, V, example_inputs
from minirnn.text.tokens import EOS, PAD, RESERVED

GOOD = ("correct", "agree")
IDLE = (Idle({"sweep": ANY, "plot": ANY, "method": "auto"}, ("oracles", True), "it belongs to a verdict"),)
LEGEND = (
    "Every gradient is compared with numeric derivatives of the function itself, entry by entry, and along random "
    "directions if there are many entries. Taylor is the power of h with which the error of the linear approximation "
    "falls: 2 or more if the gradient is right, 1 if it is wrong."
)
ORACLES = "The same gradients made in several ways that share little: who is wrong stands alone."


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "gradcheck",
        help="compare hand-written gradients with numbers",
        description="Compares the gradients that a rule's pullback claims with numeric derivatives, argument by "
        "argument, in float64, and gives a verdict: correct, wrong, kink, too noisy or nondeterministic. Exits with 1 "
        "if one is not correct.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help=f"rules of minirnn.rules, {', '.join(MODELS)} (the recurrent rules); with --oracles one of "
        f"{', '.join(oracles.CELLS)}",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="every rule and model; with --oracles every cell")
    parser.add_argument(
        "--oracles", action="store_true",
        help="instead of a verdict a table of how far the gradients by BPTT, unrolled, RTRL, complex step, differences "
        "and PyTorch are apart",
    )  # fmt: skip
    parser.add_argument(
        "--method", type=one_of(*METHODS), default="auto", metavar="{" + ",".join(METHODS) + "}",
        help="how the numeric derivative is made (auto: the complex step where the rule is analytic)",
    )  # fmt: skip
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of inputs and cotangents (0)")
    parser.add_argument("--sweep", action="store_true", help="draw the V-curve: errors of differences over their step")
    parser.add_argument("--plot", type=file_of(PICTURES), metavar="FILE", help="the V-curves as a picture")
    parser.add_argument("--markdown", type=file_of((".md",)), metavar="FILE", help="the findings as Markdown")
    parser.add_argument("--html", type=file_of((".html",)), metavar="FILE", help="the findings as one page")
    parser.add_argument("--json", action="store_true", help="one JSON object per rule")
    parser.set_defaults(run=run, idle=IDLE)


@dataclass(frozen=True)
class Found:
    """What came of one name: the verdict, as text, as data, and as a part of a page."""

    name: str
    verdict: str
    text: str
    record: dict[str, Any]
    section: Section
    report: GradcheckReport | None = None


def run(options: argparse.Namespace, console: Console) -> int:
    names = chosen(options)
    find = side_by_side if options.oracles else judged
    found = []
    for name in names:
        found.append(find(name, options))
        if found[-1].verdict == "skipped" and len(names) == 1:
            raise UsageError(found[-1].text)
        console.say(f"{found[-1].text}\n")
        console.record(**found[-1].record)
    conclusions = conclude(found)
    console.say("\n".join(conclusions))
    for path, content in files(options, found, conclusions):
        write_file(path, content, console)
    return 0 if all(f.verdict in (*GOOD, "skipped") for f in found) else 1


def chosen(options: argparse.Namespace) -> list[str]:
    """The names to check; refuses what is not known, or cannot be done, before anything is."""
    if options.all and options.names:
        raise UsageError(f"--all checks every one; leave it out to check {', '.join(options.names)} alone")
    if options.plot is not None:
        try:
            new_figure()
        except ImportError as error:
            raise UsageError(f"nothing was checked: {error}") from error
    known = [*oracles.CELLS] if options.oracles else [*rules.__all__, *MODELS]
    names = known if options.all else options.names or [*(CELLS if options.oracles else RECURRENT)]
    unknown = [name for name in names if name not in known]
    if unknown:
        what = "cell" if options.oracles else "rule"
        raise UsageError(f"no {what} is called {unknown[0]!r}; {meant(unknown[0], known)}")
    return names


def judged(name: str, options: argparse.Namespace) -> Found:
    """The verdict on a rule or model."""
    again = f"minirnn gradcheck {name} --method {options.method} --seed {options.seed}"
    sweep = options.sweep or options.plot is not None
    try:
        report = check(name, options.method, options.seed, sweep=sweep, raises=False)
    except ValueError as error:  # this rule has no complex step
        text = f"gradient check of {name} skipped: {error}"
        return Found(name, "skipped", text, {"rule": name, "ok": None, "skipped": str(error)}, Section(text))
    record = {**report.to_dict(), "rule": name, "again": again}
    title = f"{name}, seed {report.seed}: {report.verdict}"
    sentences = [report.reason, *report.notes(), *report.suspicions(), f"again: {again}"]
    wrong = [argument.describe() for argument in report.arguments if not argument.ok]
    curves = [f"{argument.name}: {argument.v_curve}" for argument in report.arguments if argument.v_curve]
    section = Section(title, report.rows() if report.arguments else [], [*filter(None, sentences)], [*wrong, *curves])
    if report.ok:
        return Found(name, report.verdict, str(report), record, section, report)
    message = report.describe_failure()
    return Found(name, report.verdict, f"{message}\nagain: {again}", {**record, "message": message}, section, report)


def side_by_side(name: str, options: argparse.Namespace) -> Found:
    """How far the gradients of a cell are apart, by all oracles."""
    table = oracles.compare(name, seed=options.seed)
    again = f"minirnn gradcheck {name} --oracles --seed {options.seed}"
    missing = [f"Without {oracle}: {reason}" for oracle, reason in table.missing.items()]
    section = Section(table.title, table.rows(), [table.verdict, *missing, f"again: {again}"])
    return Found(name, "agree" if table.ok else "disagree", str(table), {**table.to_dict(), "again": again}, section)


def conclude(found: Sequence[Found]) -> list[str]:
    """One line on what is good, then one for every other verdict."""
    good = [f for f in found if f.verdict in GOOD]
    errors = [f.report.max_error for f in good if f.report]
    worst = f"; largest relative error {max(errors):.1e}" if errors else ""
    whom = "with each other" if any(f.report is None for f in good) else "with the numbers"
    lines = [f"{len(good)} of {len(found)} agree {whom}{worst}"]
    for verdict in sorted({f.verdict for f in found} - {*GOOD}):
        label = verdict if verdict == "skipped" else verdict.upper()
        lines.append(f"{label}: {', '.join(f.name for f in found if f.verdict == verdict)}")
    return lines


def files(options: argparse.Namespace, found: Sequence[Found], conclusions: list[str]) -> Iterator[tuple[Path, bytes]]:
    """What is to be written where."""
    sections = [Section("Summary", [], [ORACLES if options.oracles else LEGEND, *conclusions])]
    sections += [f.section for f in found]
    for path, page in ((options.markdown, markdown), (options.html, html)):
        if path is not None:
            yield path, page("minirnn gradcheck", sections).encode()
    if options.plot is not None:
        picture = io.BytesIO()
        reports = [f.report for f in found if f.report]
        lens.v_curves(reports).savefig(picture, format=options.plot.suffix[1:].lower())
        yield options.plot, picture.getvalue()


def check(
    name: str, method: str = "auto", seed: int = 0, *, sweep: bool = False, raises: bool = True
) -> GradcheckReport:
    """Checks one rule, or a model, on built-in inputs."""
    options: dict[str, Any] = {"method": method, "seed": seed, "sweep": sweep, "raises": raises}
    if name in MODELS:
        return MODELS[name](**options)
    inputs, static = example_inputs(name, seed)
    return check_rule(getattr(rules, name), inputs, static, **options)


def check_char_lm(
    cell: str, layers: int = 2, of_layers: Mapping[str, Any] | None = None, *, seed: int = 0, **options: Any
) -> GradcheckReport:
    """Checks a small float64 copy of the model that ``minirnn train`` trains, by all its parameters and its state.

    The code is that of training, from the loss of a window back to the embedding, with a state that is not zero; and
    with the options ``of_layers`` that draw nothing.
    """
    lm = CharLM(V, D, H, layers, cell=cell, seed=seed, dtype="float64", **_small(of_layers))
    rng = random_generator(seed, "char-lm")
    inputs, targets = rng.integers(V, size=(2, B, T))
    parts = [rng.standard_normal(part.shape) for part in flatten(lm(inputs)[1])]
    state = parts[0] if len(parts) == 1 else tuple(parts)
    states = ("h_0", "c_0")[: len(parts)]
    return _check_loss(f"char-lm-{cell}", lm, (inputs, targets, state), states, seed, **options)


def check_seq2seq(
    cell: str = "lstm",
    attention: str = "additive",
    feed: str = "output",
    of_layers: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> GradcheckReport:
    """Checks a small float64 copy of the model that ``minirnn train-seq2seq`` trains, by all its parameters.

    The code is that of training, from the loss of ragged sentences back to both embeddings.
    """
    own: dict[str, Any] = {"attention": attention, "feed": feed, "seed": seed, "dtype": "float64"}
    model = Seq2Seq(RESERVED + 3, RESERVED + 2, D, H - 2, cell=cell, **own, **_small(of_layers))
    rng = random_generator(seed, "seq2seq")
    sources, targets = rng.integers(RESERVED, RESERVED + 2, size=(2, 2, T))
    targets[:, -1] = EOS
    for ids in (sources, targets):  # the second sentence is one shorter
        ids[1, -2:] = ids[1, -1], PAD
    return _check_loss("seq2seq", model, (sources, targets), (), seed, **options)


def _small(of_layers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of layers that draw nothing, for a small model."""
    certain = {name: value for name, value in (of_layers or {}).items() if name not in RANDOM}
    return certain | ({"proj_size": H - 1} if certain.get("proj_size") else {})


def _check_loss(
    name: str,
    model: CharLM | Seq2Seq,
    given: tuple,
    more: Sequence[str],
    seed: int,
    method: str = "auto",
    sweep: bool = False,
    raises: bool = True,
) -> GradcheckReport:
    """Checks the loss of a model, given its arguments, by its parameters and the arguments named ``more``."""
    names = [*(name for name, _ in model.named_parameters()), *more]
    report = gradcheck(Loss(model), given, method=method, seed=seed, names=names, sweep=sweep, raises=False)
    report = replace(report, rule=name, call=report.call.replace("Loss", name))
    if raises and not report.ok:
        raise GradcheckError(report.describe_failure(), report)
    return report


class Loss(Module):
    """The loss of one batch as a function of the model's parameters, and of the state that enters if there is one."""

    def __init__(self, model: CharLM | Seq2Seq):
        self.model = model

    def forward(self, *given: Any) -> Tensor:
        loss, _ = self.model.loss(*given)
        return loss


MODELS: dict[str, Callable[..., GradcheckReport]] = {
    **{f"char-lm-{cell}": partial(check_char_lm, cell) for cell in CELLS},
    "seq2seq": check_seq2seq,
}
