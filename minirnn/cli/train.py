"""``minirnn train``: a character model of any text."""

from __future__ import annotations

from typing import Any

from minirnn.cli.launching import add_training_parser
from minirnn.cli.tables import SCHEDULES_HELP
from minirnn.cli.tasks import Characters


def add_parser(commands: Any) -> None:
    purpose = "Trains a character model on a text."
    add_training_parser(commands, Characters(), "train a character model on a text file", purpose, SCHEDULES_HELP)
