"""Settings of training runs: what a row of their tables is, and how they are read from flags and config files.

The tables themselves stand in ``tables.py``.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import re
import reprlib
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

BACKENDS = ("auto", "numpy", "cupy")
PICTURES = (".png", ".svg", ".pdf")
HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs: bytes of a path that are not UTF-8


class UsageError(ValueError):
    """The command line, or a config file, asks for what cannot be."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Which of the known words may have been meant, flags without their dashes."""
    bare = {name.lstrip("-").replace("-", "_"): name for name in known}
    wanted = word.lstrip("-").replace("-", "_").lower()
    begun = [name for name in bare if wanted and name.startswith(wanted)]
    near = begun or difflib.get_close_matches(wanted, bare, n=1, cutoff=0.7)
    return bare[near[0]] if near else None


def meant(word: str, known: Collection[str]) -> str:
    """What to tell who wrote a word that is not known.

    Examples
    --------
    >>> meant("trian", ["train", "generate"]), meant("play", ["train", "generate"])
    ('did you mean train?', 'there are train, generate')
    """
    near = nearest(word, known)
    return f"did you mean {near}?" if near else f"there are {', '.join(known)}"


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


def place(text: str) -> str:
    """Reads the name of a file or directory; an empty one, as of a variable that is not set, would be the current."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or a directory, got an empty name")
    return text


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
    """One flag of a command, and the key of the same name (with ``_`` for ``-``) in a config file."""

    name: str
    parse: Callable[[Any], Any]
    default: Any
    help: str
    metavar: str = "N"
    is_file: bool = False
    is_kept: bool = True  # in the config.toml of a run; what is of one call is not

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


def choice(name: str, choices: tuple[str, ...], default: str, help: str) -> Setting:
    return Setting(name, one_of(*choices), default, help, "{" + ",".join(choices) + "}")


@dataclass(frozen=True)
class Table:
    """All settings of one command, and how values from several sources come together.

    Parameters
    ----------
    command : str
        Whose settings they are.
    data : Setting
        The one that is no flag: what to train on.
    groups : dict of str to tuple of Setting
        Flags, by the headings that ``--help`` shows them under.
    alternatives : tuple of tuple of str
        Whoever gives one of these takes back the others given before.
    """

    command: str
    data: Setting
    groups: Mapping[str, tuple[Setting, ...]]
    alternatives: tuple[tuple[str, ...], ...]

    @cached_property
    def settings(self) -> dict[str, Setting]:
        return {s.name: s for s in (self.data, *(s for group in self.groups.values() for s in group))}

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Adds every setting to a command's parser."""
        name, what = self.data.metavar, self.data.help
        parser.add_argument(self.data.name, nargs="?", default=argparse.SUPPRESS, metavar=name, help=what)
        for title, settings in self.groups.items():
            group = parser.add_argument_group(title)
            for setting in settings:
                setting.add_to(group)

    def defaults(self) -> dict[str, Any]:
        """What holds where nobody says otherwise."""
        return {name: setting.default for name, setting in self.settings.items() if setting.default is not None}

    def merged(self, *layers: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, later layers winning; those that no layer gives are None.

        Examples
        --------
        >>> from minirnn.cli.tables import CHARACTERS
        >>> settings = CHARACTERS.merged(CHARACTERS.defaults(), {"steps": 100, "hidden": 32}, {"hidden": 64})
        >>> settings["hidden"], settings["steps"], settings["epochs"]
        (64, 100, None)
        """
        settings: dict[str, Any] = dict.fromkeys(self.settings)
        for layer in layers:
            for rivals in self.alternatives:
                if any(name in layer for name in rivals):
                    settings.update(dict.fromkeys(rivals))
            settings.update(layer)
        return settings

    def read_config(self, path: str | os.PathLike[str]) -> dict[str, Any]:
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
            if key not in self.settings:
                raise UsageError(f"config {path} has an unknown key {key!r}; {meant(key, self.settings)}")
            try:
                settings[key] = self.settings[key].parse(value)
            except argparse.ArgumentTypeError as error:
                raise UsageError(f"config {path}: {key} {error}") from error
        return settings

    def to_toml(self, settings: Mapping[str, Any]) -> str:
        """Settings as a TOML file that ``read_config`` reads back; files by full paths, to be found from anywhere.

        Raises
        ------
        UsageError
            If the path of a file is not Unicode.
        """
        again = f"minirnn {self.command} --config THIS_FILE -o ANOTHER_DIRECTORY"
        lines = [f"# All settings of this run. The same again: {again}"]
        for name, value in settings.items():
            if value is None or not self.settings[name].is_kept:
                continue
            if self.settings[name].is_file and value != "-":
                value = os.path.abspath(value)
            # JSON's strings, numbers and booleans are TOML's, but for one control character.
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f"))
        text = "\n".join(lines) + "\n"
        try:
            text.encode()
        except UnicodeEncodeError as error:
            bad = next(v for v in settings.values() if isinstance(v, str) and HALVES.search(v))
            raise UsageError(f"the path {bad!r} is not Unicode; rename the file") from error
        return text
