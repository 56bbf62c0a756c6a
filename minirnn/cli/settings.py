"""The settings of a training run: one table, read from flags and from config files, and written beside the run."""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import reprlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minirnn.models.char_lm import CELLS

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
SCHEDULES = ("constant", "step", "exponential", "cosine", "plateau", "warmup")
BACKENDS = ("auto", "numpy", "cupy")
LENGTH = ("epochs", "steps", "max_minutes")
ALTERNATIVES = (LENGTH, ("clip_norm", "clip_value"))  # whoever gives one of these takes back the others given before


class UsageError(ValueError):
    """The command line, or a config file, asks for what cannot be."""


def whole(least: int, most: int = 10**12) -> Callable[[Any], int]:
    """Reads an integer from ``least`` to ``most``, from a flag or a config file."""

    def parse(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None or number < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, got {value!r}")
        if number > most:
            raise argparse.ArgumentTypeError(f"must be at most {most:,}, got {reprlib.repr(value)}")
        return number

    return parse


def real(least: float, above: bool = False, below: float = math.inf) -> Callable[[Any], float]:
    """Reads a finite number from ``least`` (or ``above`` it) to ``below``, from a flag or a config file."""
    wanted = f"a number {'above' if above else 'of at least'} {least:g}"
    wanted += f" and below {below:g}" if below < math.inf else ""

    def parse(value: Any) -> float:
        try:
            number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not least <= number < below or (above and number == least):
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {value!r}")
        return number

    return parse


def one_of(*choices: str) -> Callable[[Any], str]:
    """Reads one of ``choices``."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(choices)}, got {value!r}")
        return value

    return parse


def switch(value: Any) -> bool:
    """Reads true or false from a config file."""
    if not isinstance(value, bool):
        raise argparse.ArgumentTypeError(f"must be true or false, got {value!r}")
    return value


def some_text(value: Any) -> str:
    """Reads a string from a config file."""
    if not isinstance(value, str):
        raise argparse.ArgumentTypeError(f"must be a string, got {value!r}")
    return value


def file_of(kinds: Sequence[str]) -> Callable[[str], Path]:
    """Reads the name of a file that can be written and ends in one of ``kinds``."""

    def parse(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in kinds:
            wanted = " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
            raise argparse.ArgumentTypeError(f"must end in {wanted}, got {text!r}")
        if not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f"must be in a directory that exists, got {text!r}")
        return path

    return parse


def worker_count(value: Any) -> int | str:
    """``"auto"``, or how many threads."""
    return value if value == "auto" else whole(1, 1_024)(value)


@dataclass(frozen=True)
class Setting:
    """One flag of ``minirnn train``, and the key of the same name (with ``_`` for ``-``) in a config file."""

    name: str
    parse: Callable[[Any], Any]
    default: Any
    help: str
    metavar: str = "N"

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Adds the flag; one that is not given leaves no trace, so that the config file can speak."""
        flag = "--" + self.name.replace("_", "-")
        if self.parse is switch:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=self.help)
            return
        default = "" if self.default is None else f" ({self.default})"
        parser.add_argument(
            flag, type=self.parse, default=argparse.SUPPRESS, metavar=self.metavar, help=self.help + default
        )


def _choice(name: str, choices: tuple[str, ...], default: str, help: str) -> Setting:
    return Setting(name, one_of(*choices), default, help, "{" + ",".join(choices) + "}")


MODEL = (
    _choice("cell", tuple(CELLS), "lstm", "the recurrence"),
    Setting("hidden", whole(1, 1_000_000), 128, "size of the hidden state"),
    Setting("layers", whole(1, 1_000), 2, "recurrent layers on top of each other"),
    Setting("embed", whole(1, 1_000_000), 64, "size of the vector of a character"),
    Setting("dropout", real(0, below=1), 0.0, "share of numbers dropped between layers while training", "P"),
    Setting("tie_weights", switch, False, "use the embedding for the scores, too (needs --embed = --hidden)"),
    _choice("dtype", ("float32", "float64"), "float32", "precision"),
)
DATA = (
    Setting("seq_len", whole(1), 50, "characters per window: how far back in time gradients flow"),
    Setting("batch_size", whole(1), 16, "windows per step"),
    Setting(
        "random_windows", switch, False, "windows from anywhere, each with a fresh state, instead of a carried one"
    ),
    Setting("val_split", real(0, below=1), 0.05, "share of the text held out at its end for validation; 0: none", "P"),
)
TRAINING = (
    Setting("epochs", whole(1), 10, "passes over the text"),
    Setting("steps", whole(1), None, "steps instead of epochs; with both, whichever is over first"),
    Setting(
        "max_minutes", real(0, above=True), None, "minutes of this call; with others, whichever is over first", "M"
    ),
    Setting("patience", whole(0), 5, "epochs without a better loss after which to stop; 0: never"),
    _choice("optimizer", OPTIMIZERS, "adam", "how a gradient becomes a step"),
    Setting("lr", real(0, above=True), 2e-3, "learning rate", "X"),
    _choice("schedule", SCHEDULES, "constant", "how the learning rate changes, see below"),
    Setting("schedule_steps", whole(1), None, "the N of the schedule"),
    Setting("schedule_factor", real(0, below=1_000), None, "the F of the schedule", "F"),
    Setting("clip_norm", real(0), 5.0, "longest gradient; 0: no clipping", "X"),
    Setting("clip_value", real(0, above=True), None, "largest entry of a gradient, instead of --clip-norm", "X"),
    Setting("seed", whole(0, 2**63 - 1), 1, "of weights, dropout, windows and samples"),
    _choice("backend", BACKENDS, "auto", "where to compute; auto takes a GPU if there is one"),
    Setting("workers", worker_count, "auto", "threads that share a batch; auto: all cores, if it is large enough"),
)
BOOKKEEPING = (
    Setting("save_every", whole(1), None, "steps between saves, besides one per epoch"),
    Setting("keep", whole(0), 0, "latest saves to keep under names of their own"),
    Setting("sample_every", whole(1), None, "steps between samples, instead of one per epoch"),
    Setting("log_every", whole(1), 50, "steps per line of the log"),
)
TEXT = Setting("text", some_text, None, "the text to train on", "TEXT")
GROUPS = {"data": DATA, "model": MODEL, "training": TRAINING, "bookkeeping": BOOKKEEPING}
SETTINGS = {s.name: s for s in (TEXT, *DATA, *MODEL, *TRAINING, *BOOKKEEPING)}

SCHEDULE_HELP = """schedules of the learning rate:
  constant     stays as it is
  step         times F (0.5) after every N steps (one epoch)
  exponential  times F (0.5) in the course of every N steps (one epoch)
  cosine       along half a cosine to the share F (0) at step N (the last one)
  plateau      times F (0.5) when N (3) validations bring no better loss
  warmup       rises to its value over N (100) steps"""


def defaults() -> dict[str, Any]:
    """What holds where nobody says otherwise."""
    return {name: setting.default for name, setting in SETTINGS.items() if setting.default is not None}


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, later layers winning; those that no layer gives are None.

    Examples
    --------
    >>> settings = merged(defaults(), {"steps": 100, "hidden": 32}, {"hidden": 64})
    >>> settings["hidden"], settings["steps"], settings["epochs"]
    (64, 100, None)
    """
    settings: dict[str, Any] = dict.fromkeys(SETTINGS)
    for layer in layers:
        for rivals in ALTERNATIVES:
            if any(name in layer for name in rivals):
                settings.update(dict.fromkeys(rivals))
        settings.update(layer)
    return settings


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises
    ------
    UsageError
        If there is no such file, it is not TOML, or has a key or value that is not one of a setting's.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config {path} cannot be read ({error.strerror})") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"config {path} is not TOML ({error})") from error
    settings = {}
    for key, value in values.items():
        if key not in SETTINGS:
            near = difflib.get_close_matches(key.replace("-", "_"), SETTINGS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(SETTINGS)}"
            raise UsageError(f"config {path} has an unknown key {key!r}; {hint}")
        try:
            settings[key] = SETTINGS[key].parse(value)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"config {path}: {key} {error}") from error
    return settings


def to_toml(settings: Mapping[str, Any]) -> str:
    """Settings as a TOML file that ``read_config`` reads back; the text by its full path, to be found from anywhere.

    Raises
    ------
    UsageError
        If the path of the text is not Unicode.
    """
    lines = ["# All settings of this run. The same again: minirnn train --config THIS_FILE -o ANOTHER_DIRECTORY"]
    for name, value in settings.items():
        if value is None:
            continue
        if name == "text" and value != "-":
            value = os.path.abspath(value)
        # JSON's strings, numbers and booleans are TOML's, but for one control character.
        lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f"))
    text = "\n".join(lines) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the path {settings['text']!r} is not Unicode; rename the text") from error
    return text


def text_setting(parser: argparse.ArgumentParser) -> None:
    """Adds the one setting that is no flag."""
    parser.add_argument(
        "text", nargs="?", default=argparse.SUPPRESS, metavar="TEXT", help="a text file, or - for stdin"
    )
