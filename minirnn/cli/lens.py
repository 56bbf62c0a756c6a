"""``minirnn lens``: what flows backward through time, in a trained model or in a cell made for looking at."""

from __future__ import annotations

import argparse
import base64
import io
import os
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

from minirnn import lens
from minirnn.arrays import use_backend
from minirnn.cli.building import load_reader, read_source, write_file
from minirnn.cli.console import Console, to_json
from minirnn.cli.idle import ANY, Idle
from minirnn.cli.pages import page
from minirnn.cli.settings import PICTURES, UsageError, file_of, one_of, place, real, whole
from minirnn.lens import Recording
from minirnn.models.char_lm import CELLS, CharLM
from minirnn.text import DataError
from minirnn.text.showing import visible
from minirnn.text.vocabulary import POLICIES

ENDINGS = (*PICTURES, ".html", ".txt", ".json")
IDLE = (
    Idle({"text": ANY, "unknown": ANY}, ("checkpoint", None), "it belongs to a trained model"),
    Idle(
        {"cells": ANY, "radius": ANY, "hidden": ANY, "seed": ANY, "every_step": ANY}, ("checkpoint", ANY),
        "it belongs to cells made for looking at",
    ),
)  # fmt: skip
WINDOWS = 50  # of a text, that `clipping` looks at


class Instrument(NamedTuple):
    """What an instrument answers, and what it looks at unless told otherwise."""

    question: str
    cells: tuple[str, ...] = ("lstm",)
    radius: tuple[float, ...] = (1.0,)
    hidden: int = 32
    seq_len: int = 100
    every_step: bool = True


INSTRUMENTS = {
    "flow": Instrument(
        "how large the gradient of the loss is at every state, on its way back", tuple(CELLS),
        (0.5, 0.9, 1.0, 1.1, 1.5), every_step=False,
    ),
    "lags": Instrument("over how many steps the loss teaches each weight", hidden=16, seq_len=50),
    "jacobian": Instrument("what a change of the state becomes some steps later", every_step=False),
    "gates": Instrument("which gates are open, closed, saturated"),
    "truncation": Instrument("where the gradient points when BPTT is cut into windows"),
    "clipping": Instrument("how often, and in which direction, clipping changes a gradient (of a RUN)", seq_len=50),
    "step": Instrument("the backward pass one step at a time, each formula with its numbers", hidden=3, seq_len=8),
}  # fmt: skip


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "lens",
        help="look at what flows backward through time",
        description="Looks at one backward pass, recorded step by step: of a trained model on a text, or of a cell "
        "with random weights.",
    )
    instruments = parser.add_subparsers(metavar="INSTRUMENT", dest="instrument", required=True)
    for name, instrument in INSTRUMENTS.items():
        _add_options(instruments.add_parser(name, help=instrument.question), name, instrument)


def _add_options(parser: argparse.ArgumentParser, name: str, own: Instrument) -> None:
    parser.description = f"Shows {own.question}."
    model = parser.add_argument_group("a trained model")
    model.add_argument(
        "checkpoint", nargs="?", type=place, metavar="RUN", help="directory of a run (its best.npz), or a .npz file"
    )
    model.add_argument("--text", metavar="F", help="what it reads, from its beginning: a text file, or - for stdin")
    model.add_argument(
        "--unknown", type=one_of(*POLICIES), metavar="{error,skip,replace}",
        help="what to do with characters that the model has never seen (error)",
    )  # fmt: skip
    if name == "clipping":
        model.add_argument("--clip-norm", type=real(0, above=True), metavar="X", help="longest gradient (5)")
        model.add_argument("--clip-value", type=real(0, above=True), metavar="X", help="largest entry of a gradient")
    else:
        made = parser.add_argument_group("or cells made for looking at")
        made.add_argument(
            "--cells", type=several(one_of(*CELLS)), metavar="C,...", help=f"which ({','.join(own.cells)})"
        )
        radii = ",".join(f"{radius:g}" for radius in own.radius)
        made.add_argument(
            "--radius", type=several(real(0, above=True)), metavar="R,...",
            help=f"spectral radius of each block of the recurrent weights ({radii})",
        )  # fmt: skip
        made.add_argument("--hidden", type=whole(1, 10_000), metavar="N", help=f"size of the state ({own.hidden})")
        made.add_argument("--seed", type=whole(0), metavar="N", help="of weights, inputs and the loss (0)")
        made.add_argument(
            "--every-step", action=argparse.BooleanOptionalAction,
            help=f"let the loss ask of every state, not of the last alone ({'yes' if own.every_step else 'no'})",
        )  # fmt: skip
    if name == "step":
        parser.add_argument("--place", metavar="P", help="layer and direction: l0, l1, l0_reverse, ... (the last)")
    parser.add_argument(
        "--seq-len", type=whole(1, 100_000), default=own.seq_len, metavar="N", help=f"steps ({own.seq_len})"
    )
    kinds = ENDINGS[len(PICTURES) :] if name == "step" else ENDINGS
    parser.add_argument(
        "-o", "--out", type=file_of(kinds), metavar="F", help=f"write it to a file, too: {', '.join(kinds)}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per result")
    parser.set_defaults(run=run, idle=IDLE)


def several(parse: Callable[[str], Any]) -> Callable[[str], tuple]:
    """Reads values with commas between them."""
    return lambda text: tuple(parse(part.strip()) for part in text.split(","))


def run(options: argparse.Namespace, console: Console) -> int:
    check(options)
    with use_backend("numpy"):
        results = list(seen(options, console))
    if options.instrument != "step" or options.out is None:  # its text is long
        console.say("\n\n".join(map(str, results)))
    for result in results:
        console.record(**result.to_dict())
    if options.out is not None:
        write_file(options.out, contents(options.out.suffix.lower(), results, console), console)
    return 0


def check(options: argparse.Namespace) -> None:
    """Refuses options that do not belong together, and fills in the defaults of the others."""
    own = INSTRUMENTS[options.instrument]
    if options.checkpoint is None and options.instrument == "clipping":
        raise UsageError("clipping looks at a trained model: give RUN and --text F")
    if options.checkpoint is not None and options.text is None:
        raise UsageError("say what the model is to read: --text F")
    for name, default in {**own._asdict(), "seed": 0, "unknown": "error"}.items():
        if getattr(options, name, None) is None:
            setattr(options, name, default)
    alone = options.instrument != "flow" and options.out is not None and options.out.suffix.lower() in PICTURES
    if (alone or options.instrument == "step") and len(options.cells) * len(options.radius) > 1:
        raise UsageError(
            f"a {'walk' if options.instrument == 'step' else 'picture'} shows one: give one of --cells and one --radius"
        )


def seen(options: argparse.Namespace, console: Console) -> Iterator[Any]:
    """What the instrument sees in each of the recordings that were asked for."""
    if options.instrument == "clipping":
        norm = 5.0 if options.clip_norm is options.clip_value is None else options.clip_norm
        recordings = (recording for recording, _ in windows(options, console, WINDOWS))
        yield lens.clipping(recordings, max_norm=norm, clip_value=options.clip_value)
        return
    for recording, tokens in recorded(options, console):
        if options.instrument == "step":
            yield lens.step(recording, options.place or "", tokens)
        else:
            yield getattr(lens, options.instrument)(recording)


def recorded(options: argparse.Namespace, console: Console) -> Iterator[tuple[Recording, str]]:
    """The recordings to look at, each with what was read, if anybody knows."""
    if options.checkpoint is not None:
        yield from windows(options, console, 1)
        return
    sizes = {"hidden": options.hidden, "seq_len": options.seq_len, "seed": options.seed}
    for cell in options.cells:
        for radius in options.radius:
            yield lens.specimen(cell, radius=radius, every_step=options.every_step, **sizes), ""


def windows(options: argparse.Namespace, console: Console, most: int) -> Iterator[tuple[Recording, str]]:
    """Recordings of the model's loss on the first windows of the text, each from a state of zeros."""
    text, lm = read_source(options.text), load_reader(options.checkpoint, CharLM.KIND)
    ids = lm.vocabulary.encode(text, options.unknown)
    T = min(options.seq_len, len(ids) - 1)
    if T < 1:
        raise DataError("the text needs two characters at least, one to be predicted from the other")
    count = min(most, (len(ids) - 1) // T)
    if count * T < len(ids) - 1:
        console.note(f"looking at the first {count * T:,} of {len(ids) - 1:,} characters")
    label = visible(os.fspath(options.checkpoint))
    with lm.evaluating():
        for k in range(0, count * T, T):
            read, due = ids[None, k : k + T], ids[None, k + 1 : k + T + 1]
            yield lens.record(lm.loss, read, due, label=label), lm.vocabulary.decode(read[0])


def contents(ending: str, results: Sequence[Any], console: Console) -> bytes:
    """What a file with this ending is to hold."""
    if ending == ".txt":
        return ("\n\n".join(map(str, results)) + "\n").encode()
    if ending == ".json":
        return (to_json([result.to_dict() for result in results]) + "\n").encode()
    if ending == ".html":
        page = lens.step_page(results[0]) if isinstance(results[0], lens.Steps) else report(results, console)
        return page.encode()
    try:
        return picture(results, ending[1:])
    except ImportError as error:
        raise UsageError(f"nothing was written: {error}") from error


def picture(results: Sequence[Any], format: str) -> bytes:
    """One picture of a result, or of several flows."""
    buffer = io.BytesIO()
    lens.plot(results[0] if len(results) == 1 else list(results)).savefig(buffer, format=format)
    return buffer.getvalue()


def report(results: Sequence[Any], console: Console) -> str:
    """Texts and pictures on one page that is complete in itself; without matplotlib the texts alone."""
    together = len(results) > 1 and isinstance(results[0], lens.Flow)
    groups = [list(results)] if together else [[result] for result in results]
    parts = []
    for group in groups:
        try:
            image = base64.b64encode(picture(group, "png")).decode()
            parts.append(f'<p><img src="data:image/png;base64,{image}" alt="The numbers are in the text below."></p>')
        except ImportError as error:
            console.note(str(error))
        parts += [f'<pre class="prose">{escape(str(result))}</pre>' for result in group]
    name = type(results[0]).__name__.lower()
    return page(f"minirnn lens {name}: {INSTRUMENTS[name].question}", parts)
