"""``minirnn train-seq2seq``: a translator from a file of pairs."""

from __future__ import annotations

import argparse
from typing import Any

from minirnn.cli.launching import add_training_parser
from minirnn.cli.tables import FORCING_HELP, SCHEDULES_HELP, STEP_OPTIONS_HELP
from minirnn.cli.tasks import Pairs

PURPOSE = """Trains a model that reads one sequence and writes another, on a file with a pair on
each line: source, tab, target. After every epoch it is validated, and the best
model so far is kept as best.npz."""


def add_parser(commands: Any) -> None:
    help_ = "train a translator on a file of pairs"
    epilog = f"{STEP_OPTIONS_HELP}\n\n{SCHEDULES_HELP}\n\n{FORCING_HELP}"
    parser = add_training_parser(commands, Pairs(), help_, PURPOSE, epilog)
    parser.add_argument(
        "--input-feeding", dest="feed", action="store_const", const="output", default=argparse.SUPPRESS,
        help="tell a step of the decoder what the one before put out; short for --feed output",
    )  # fmt: skip
