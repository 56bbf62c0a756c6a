"""What else recurrent layers are made with: ``zoneout=0.1,layer_norm=true``, as one flag and one line of a config file.

Which options there are, and which values they take, the layers say themselves.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from minirnn.cli.settings import UsageError, meant
from minirnn.models.char_lm import CELLS
from minirnn.nn.init import undrawn

FLAG = "--layer-options"
RANDOM = ("locked_dropout", "weight_drop", "zoneout")  # what draws while training


def layer_options(value: Any) -> str:
    """Reads ``NAME=VALUE,...``; nothing at all is no option."""
    pairs = [word.split("=") for word in value.split(",")] if isinstance(value, str) and value else []
    if not isinstance(value, str) or not all(len(pair) == 2 and all(map(str.strip, pair)) for pair in pairs):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE,... such as zoneout=0.1,layer_norm=true, got {value!r}")
    names = [name.strip() for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise argparse.ArgumentTypeError(f"must name each option once, got {twice[0]} twice in {value!r}")
    return value


def options_in(text: str | None) -> dict[str, Any]:
    """The options that a text names, or none.

    Examples
    --------
    >>> options_in("zoneout=0.1, layer_norm=true, init=orthogonal, proj_size=64")
    {'zoneout': 0.1, 'layer_norm': True, 'init': 'orthogonal', 'proj_size': 64}
    """
    pairs = (word.split("=") for word in (text or "").split(",") if word)
    return {name.strip(): _value(value.strip()) for name, value in pairs}


def as_text(options: Mapping[str, Any]) -> str | None:
    """The text that names some options."""
    return ",".join(f"{name}={str(value).lower()}" for name, value in options.items()) or None


def _value(word: str) -> Any:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            pass
    return word


def check_layer_options(settings: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuses options that are not among ``names``, or that such layers refuse.

    Raises
    ------
    UsageError
    """
    options, known, cell = options_in(settings["layer_options"]), list(names), settings["cell"]
    if not options:
        return
    for name in options:
        if name not in known:
            raise UsageError(f"{FLAG}: {cell} has no {name} here; {meant(name, known)}")
    try:
        with undrawn():
            CELLS[cell](1, settings["hidden"], dropout=settings["dropout"], **options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{FLAG}: {error}") from error
