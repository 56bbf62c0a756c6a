"""``minirnn translate``: what a trained model makes of sentences, and where it looked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from minirnn import lens
from minirnn.arrays import use_backend
from minirnn.cli.building import load_reader, read_source, write_file
from minirnn.cli.console import Console, is_terminal
from minirnn.cli.idle import ANY, Idle
from minirnn.cli.lens import picture
from minirnn.cli.settings import BACKENDS, PICTURES, UsageError, file_of, one_of, place, real, whole
from minirnn.decoding import Translation, translate
from minirnn.models import Seq2Seq
from minirnn.text import DataError
from minirnn.text.tokens import UNK

NAMED = 5  # unknown tokens that are named
IDLE = (Idle({"scores": ANY}, ("json", True), "every object holds its score"),)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "translate",
        help="let a trained model translate",
        description="Translates texts, or the lines of stdin: one line out for each line in, and an empty one for an "
        "empty one. The rest goes to stderr.",
    )
    parser.add_argument(
        "checkpoint", type=place, metavar="RUN", help="directory of a run (its best.npz), or a .npz file"
    )
    parser.add_argument("text", nargs="*", metavar="TEXT", help="what to translate; without any, the lines of stdin")
    add_search_options(parser)
    parser.add_argument("--n-best", type=whole(1), default=1, metavar="N", help="lines for each text (1)")
    parser.add_argument(
        "--scores", action="store_true",
        help="before each translation its score, and a tab: its log-probability in nats, with the penalties",
    )  # fmt: skip
    parser.add_argument(
        "--replace-unknown", action="store_true", help="instead of <unk>, write the source token looked at most"
    )
    parser.add_argument(
        "--attention-plot", type=file_of((*PICTURES, ".html")), metavar="F",
        help=f"draw where the model looked: a page of all translations (.html), or a picture of one "
        f"({', '.join(PICTURES)})",
    )  # fmt: skip
    parser.add_argument(
        "--backend", type=one_of(*BACKENDS), default="auto", metavar="{auto,numpy,cupy}", help="where to compute (auto)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per text")
    parser.set_defaults(run=run, idle=IDLE)


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Adds what a search can be told."""
    search = parser.add_argument_group("search")
    search.add_argument("--beam", type=whole(1, 1_000), default=5, metavar="N", help="hypotheses kept; 1: greedy (5)")
    search.add_argument(
        "--length-penalty", type=real(0, below=10), default=1.0, metavar="X",
        help="0 ranks by probability alone, which favours what is short (1)",
    )  # fmt: skip
    search.add_argument(
        "--coverage-penalty", type=real(0, below=10), default=0.0, metavar="X",
        help="price of tokens that were not looked at (0)",
    )  # fmt: skip
    search.add_argument(
        "--max-length", type=whole(1, 100_000), metavar="N",
        help="longest translation, in tokens (10 and twice as many as the text has)",
    )  # fmt: skip
    search.add_argument(
        "--block-ngrams", type=whole(0, 1_000), default=0, metavar="N", help="no N tokens in a row twice; 0: allow (0)"
    )


def search_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the search was told."""
    names = ("beam", "length_penalty", "coverage_penalty", "max_length", "block_ngrams")
    return {name: getattr(options, name) for name in names}


def run(options: argparse.Namespace, console: Console) -> int:
    lines = options.text or _lines_of_stdin(console)
    texts = [line for line in lines if options.text or line.strip()]
    plot = options.attention_plot
    if plot is not None and plot.suffix.lower() in PICTURES and len(texts) != 1:
        raise UsageError(f"a picture shows one translation, got {len(texts)} texts; --attention-plot F.html shows all")
    with use_backend(options.backend):
        model = load_reader(options.checkpoint, Seq2Seq.KIND)
        for k, text in enumerate(texts, start=1):
            if not model.source_vocabulary.encode(text):
                raise DataError(f"TEXT {k} holds no token: there is nothing to translate in {text!r}; leave it out")
        needing = {"--replace-unknown": options.replace_unknown, "--attention-plot": plot}
        check_attends(model, {**needing, "--coverage-penalty": options.coverage_penalty})
        extra = {"n_best": options.n_best, "replace_unknown": options.replace_unknown}
        made = translate(model, texts, **search_settings(options), **extra)
    translations = iter(made)
    for line in lines:
        _say(next(translations) if options.text or line.strip() else None, options.scores, console)
    _complain(model, made, console)
    if plot is not None:
        write_file(plot, _drawn([lens.attention(model, each) for each in made], plot.suffix.lower()), console)
    return 0


def check_attends(model: Seq2Seq, asked: dict[str, Any]) -> None:
    """Refuses flags that make no sense for a model without attention."""
    for flag, value in asked.items():
        if value and model.attention == "none":
            raise UsageError(f"{flag} needs a model that attends; this one was trained with --attention none")


def _lines_of_stdin(console: Console) -> list[str]:
    if is_terminal(sys.stdin):
        console.note("reading lines from the terminal; Ctrl-D ends them")
    return read_source("-").removesuffix("\n").split("\n")


def _say(best: Translation | None, scores: bool, console: Console) -> None:
    """A line for each translation of a text; an empty one for none."""
    if best is None:
        console.say()
        console.record(source="", text="", others=[])
        return
    for each in (best, *best.others):
        score = f"{each.hypothesis.score:.4f}\t" if scores else ""
        console.say(score + each.text.replace("\n", " "))  # byte pairs can make a line end, too
    first, *others = ({"text": each.text, **_numbers(each)} for each in (best, *best.others))
    console.record(source=best.source, **first, others=others)


def _numbers(translation: Translation) -> dict[str, Any]:
    return {name: getattr(translation.hypothesis, name) for name in ("score", "log_probability", "ended")}


def _complain(model: Any, made: Sequence[Translation], console: Console) -> None:
    """Says what the model could not read, and what it did not bring to an end."""
    vocabulary = model.source_vocabulary
    unknown: dict[str, None] = {}  # in the order of the texts
    for each in made:
        ids = vocabulary.encode(each.source)
        if UNK in ids:
            shown = vocabulary.split(each.source)
            unknown |= dict.fromkeys(token for token, id_ in zip(shown, ids, strict=True) if id_ == UNK)
    if unknown:
        more = ", ..." if len(unknown) > NAMED else ""
        names = ", ".join(map(repr, list(unknown)[:NAMED])) + more
        console.note(f"the model does not know {len(unknown):,} of the tokens: {names}")
    cut = sum(not each.hypothesis.ended for each in made)
    if cut:
        console.note(f"{cut:,} of {len(made):,} translations came to no end and were cut; see --max-length")


def _drawn(seen: Sequence[lens.Attention], ending: str) -> bytes:
    if ending == ".html":
        return lens.attention_page(seen).encode()
    try:
        return picture(seen, ending[1:])
    except ImportError as error:
        raise UsageError(f"no picture was written: {error}; --attention-plot F.html needs none") from error
