"""``minirnn train``: a character model of any text."""

from __future__ import annotations

from typing import Any

from minirnn.cli.launching import add_training_parser
from minirnn.cli.tables import OPTIONS_HELP, SCHEDULES_HELP
from minirnn.cli.tasks import Characters


def add_parser(commands: Any) -> None:
    purpose = "Trains a character model on a text."
    epilog = f"{OPTIONS_HELP}\n\n{SCHEDULES_HELP}"
    add_training_parser(commands, Characters(), "train a character model on a text file", purpose, epilog)
