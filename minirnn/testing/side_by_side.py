"""Several answers to one question in a table of how far any two of them are apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SideBySide:
    """The gradients that several oracles give for the same arguments.

    Two of them are apart by the largest difference between their entries, relative to the largest entry of either,
    argument by argument. They agree if that is within what the less accurate of the two can give.

    Attributes
    ----------
    title : str
        What they are the gradients of.
    gradients : dict
        Oracle -> argument -> array.
    accuracy : dict
        Oracle -> argument -> how far it may be off, relative to the largest entry.
    missing : dict
        Oracles that have no answer -> why.
    """

    title: str
    gradients: Mapping[str, Mapping[str, np.ndarray]]
    accuracy: Mapping[str, Mapping[str, float]]
    missing: Mapping[str, str]

    @property
    def oracles(self) -> list[str]:
        """Those that have an answer."""
        return list(self.gradients)

    @property
    def arguments(self) -> list[str]:
        return list(next(iter(self.gradients.values()), {}))

    def of(self, *arguments: str) -> SideBySide:
        """The same for these arguments alone.

        Raises
        ------
        ValueError
            If there is no such argument.
        """
        if unknown := [name for name in arguments if name not in self.arguments]:
            raise ValueError(f"argument must be one of {', '.join(self.arguments)}, got {unknown[0]!r}")

        def chosen(by_oracle: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
            return {oracle: {name: answers[name] for name in arguments} for oracle, answers in by_oracle.items()}

        return replace(self, gradients=chosen(self.gradients), accuracy=chosen(self.accuracy))

    @cached_property
    def apart(self) -> np.ndarray:
        """(oracles, oracles): how far any two are apart, in the argument in which they are furthest."""
        return self._pairs(lambda x, y, name: relative_difference(self.gradients[x][name], self.gradients[y][name]))

    @cached_property
    def disagree(self) -> np.ndarray:
        """(oracles, oracles): which two are further apart, in any argument, than either may be off."""

        def differ(x: str, y: str, name: str) -> bool:
            difference = relative_difference(self.gradients[x][name], self.gradients[y][name])
            return not difference <= max(self.accuracy[x][name], self.accuracy[y][name])

        return self._pairs(differ)

    def _pairs(self, measure: Callable[[str, str, str], float]) -> np.ndarray:
        pairs = [[[measure(x, y, name) for name in self.arguments] for y in self.oracles] for x in self.oracles]
        return np.max(pairs, axis=-1)  # NaN if any is

    @property
    def ok(self) -> bool:
        """Whether all agree."""
        return not self.disagree.any()

    @property
    def camps(self) -> list[list[str]]:
        """The oracles in groups that agree, the largest first; one that agrees with several is in the largest."""
        camps: list[list[int]] = []
        for k in range(len(self.oracles)):
            fitting = [camp for camp in camps if not self.disagree[k, camp].any()]
            if fitting:
                max(fitting, key=len).append(k)
            else:
                camps.append([k])
        return [[self.oracles[k] for k in camp] for camp in sorted(camps, key=len, reverse=True)]

    @property
    def verdict(self) -> str:
        """Who agrees with whom, in one sentence."""
        if self.ok:
            return f"all {len(self.oracles)} agree"
        wrong = [name for name in self.arguments if not self.of(name).ok]
        return f"in {', '.join(wrong)} they fall apart: {' | '.join(', '.join(camp) for camp in self.camps)}"

    def rows(self) -> list[list[str]]:
        """The table, a heading first; an asterisk marks two that disagree."""
        rows = [["", *self.oracles, "may be off by"]]
        for k, oracle in enumerate(self.oracles):
            pairs = zip(self.apart[k], self.disagree[k], strict=True)
            numbers = [f"{apart:.1e}{' *' if disagree else ''}" for apart, disagree in pairs]
            rows.append([oracle, *numbers[:k], "-", *numbers[k + 1 :], f"{max(self.accuracy[oracle].values()):.0e}"])
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([self.title, self._legend(), *table, *self._notes()])

    def to_markdown(self) -> str:
        """The same as a table of Markdown."""
        heading, *rows = self.rows()
        lines = [heading, ["---"] * len(heading), *rows]
        table = [f"| {' | '.join(line)} |".replace(" *", r" \*") for line in lines]
        return "\n\n".join([self.title, self._legend(), "\n".join(table), *self._notes()]) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dicts, lists, numbers and strings, ready for JSON; argument by argument too."""
        return {
            "title": self.title,
            "ok": self.ok,
            "verdict": self.verdict,
            "oracles": self.oracles,
            "missing": dict(self.missing),
            "camps": self.camps,
            "apart": self.apart.tolist(),
            "disagree": self.disagree.tolist(),
            "arguments": {name: self.of(name).apart.tolist() for name in self.arguments},
        }

    def _legend(self) -> str:
        return f"how far they are apart in {', '.join(self.arguments)}, relative to the largest entry of each"

    def _notes(self) -> Sequence[str]:
        return [self.verdict, *(f"without {oracle}: {reason}" for oracle, reason in self.missing.items())]


def relative_difference(x: np.ndarray, y: np.ndarray) -> float:
    """The largest difference between two arrays, relative to the largest entry of either.

    >>> relative_difference(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
    0.2
    """
    largest = max(np.abs(x).max(initial=0), np.abs(y).max(initial=0))
    return float(np.abs(x - y).max(initial=0) / largest) if largest else 0.0
