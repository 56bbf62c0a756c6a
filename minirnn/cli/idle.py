"""Options that change nothing beside others: refused, for whoever gives them expects something of them.

Switches and choices make others idle. A number at the end of its scale does not: ``--temperature 0`` is a temperature,
and whoever tries several of them gives the same ``--seed`` with all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from minirnn.cli.settings import UsageError

ANY = object()  # whatever the value


class Idle(NamedTuple):
    """A row of a command's table.

    Parameters
    ----------
    options : dict of str to object
        What has no effect, each with the value that holds there anyway, which may be given: ``ANY`` is no value.
    beside : tuple of str and object
        The option that leaves them none, and its value; ``ANY`` if it only has to be given.
    why : str
        Why, or what to give instead.
    """

    options: Mapping[str, Any]
    beside: tuple[str, Any]
    why: str


def refuse_idle(rows: Iterable[Idle], given: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Refuses the first option that has no effect.

    Parameters
    ----------
    rows : iterable of Idle
    given : dict of str to str
        The options on the command line, by name: the words they were given with.
    values : dict of str to object
        What all options are, given or not.

    Raises
    ------
    UsageError

    Examples
    --------
    >>> row = Idle({"minutes": ANY}, ("quick", True), "it takes as long as it takes")
    >>> refuse_idle([row], {"minutes": "--minutes"}, {"minutes": 3.0, "quick": True})
    Traceback (most recent call last):
    ...
    minirnn.cli.settings.UsageError: --minutes has no effect with --quick: it takes as long as it takes
    """
    for idle, (name, value), why in rows:
        if values[name] is None if value is ANY else values[name] != value:
            continue
        for option, anyway in idle.items():
            if option in given and values[option] != anyway:
                raise UsageError(f"{given[option]} has no effect {_with(name, value)}: {why}")


def _with(name: str, value: Any) -> str:
    """An option and its value in words."""
    flag = {"checkpoint": "RUN"}.get(name, f"--{name.replace('_', '-')}")
    if value is None:
        return f"without {flag}"
    return f"with {flag}" if value is ANY or value is True else f"with {flag} {value}"
