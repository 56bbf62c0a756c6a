"""``minirnn evaluate``: how well a model predicts a text."""

from __future__ import annotations

import argparse
import math
from typing import Any

from minirnn.arrays import use_backend
from minirnn.cli.building import read_source
from minirnn.cli.console import Console, bits, table
from minirnn.cli.settings import BACKENDS, UsageError, one_of
from minirnn.text import DataError, TextStream, entropy_of_characters
from minirnn.text.vocabulary import POLICIES
from minirnn.training import evaluate, load

LANES, WINDOW = 16, 100  # a longer text is read in 16 places at once: a few hundred characters at most are left out


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure how well a model predicts a text",
        description="The mean loss per character of a text: in nats, in bits, and as perplexity.",
    )
    parser.add_argument("checkpoint", metavar="RUN", help="directory of a run (its last.npz), or a .npz file")
    parser.add_argument("text", metavar="TEXT", help="a text file, or - for stdin")
    parser.add_argument(
        "--unknown", type=one_of(*POLICIES), default="error", metavar="{error,skip,replace}",
        help="what to do with characters that the model has never seen (error)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", type=one_of(*BACKENDS), default="auto", metavar="{auto,numpy,cupy}", help="where to compute (auto)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> int:
    text = read_source(options.text)
    with use_backend(options.backend):
        lm = load(options.checkpoint)
        if lm.vocabulary is None:
            raise UsageError(f"{options.checkpoint} has no vocabulary, so it cannot read text")
        targets = len(lm.vocabulary.encode(text, options.unknown)) - 1
        if targets < 1:
            raise DataError("the text needs two characters at least, one to be predicted from the other")
        lanes, window = (LANES, WINDOW) if targets >= LANES * WINDOW else (1, targets)
        stream = TextStream(text, window, lanes, vocabulary=lm.vocabulary, unknown=options.unknown)
        nats = evaluate(lm, stream)
    counted = stream.batches_per_epoch * lanes * window
    perplexity = math.exp(nats) if nats < 700 else math.inf
    entropy = entropy_of_characters(stream.ids)
    console.record(characters=counted, nats=nats, bits=bits(nats), perplexity=perplexity, entropy_of_characters=entropy)
    console.say(
        table(
            [
                ("characters", f"{counted:,}"),
                ("nats", f"{nats:.4f} per character"),
                ("bits", f"{bits(nats):.4f} per character; the entropy of single characters is {entropy:.4f}"),
                ("perplexity", f"{perplexity:.3f}"),
            ]
        )
    )
    return 0
