"""What the command line prints: results to stdout, everything else to stderr, a bar only where a person looks on."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from minirnn.text.showing import visible

_BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}<{remaining}{postfix}"


class Console:
    """Where the output of one command goes.

    Parameters
    ----------
    json : bool
        Results as one JSON object per line instead of as text for people.
    """

    def __init__(self, json: bool = False):
        self.json = json
        self.bar: Any = None
        self.first = True  # of several processes that train together; the others speak only of what ends them

    def say(self, text: str = "") -> None:
        """A line of the result, for people, or several: made harmless on a terminal, untouched in a file or a pipe."""
        if self.first and not self.json:
            print(for_stdout(text))

    def record(self, **values: Any) -> None:
        """A line of the result, for programs."""
        if self.first and self.json:
            print(to_json(values), flush=True)

    def note(self, text: str) -> None:
        """A line beside the result: where things stand. Its control characters are written out."""
        if self.first:
            self._print(text)

    def interject(self, text: str) -> None:
        """A note from a handler of signals: past all buffers, for the line of another may be half written."""
        if self.first:
            os.write(sys.stderr.fileno(), f"{'' if self.bar is None else chr(10)}{text}\n".encode())

    def _print(self, text: str) -> None:
        text = visible(text, keep="\n\t")
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def complain(self, text: str) -> None:
        """An error or a warning, on one line whatever it holds."""
        with suppress(OSError):  # who cannot be told cannot be told that, either
            self._print(f"minirnn: {visible(' '.join(text.split()))}")

    @contextmanager
    def plain_warnings(self) -> Iterator[None]:
        """Shows every warning of the ``with`` block as a line of its own, and hides those meant for programmers."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", RuntimeWarning)

            def show(message: Warning | str, *where: Any, **more: Any) -> None:
                if self.first:
                    self.complain(f"warning: {message}")

            warnings.showwarning = show
            yield

    @contextmanager
    def progress(self, total: float) -> Iterator[Any]:
        """A progress bar for ``total`` units; None where no terminal has room for one, or no tqdm: then lines do."""
        tqdm = _tqdm() if self.first and is_terminal(sys.stderr) and _has_columns(sys.stderr) else None
        if tqdm is None:
            yield None
            return
        with tqdm(total=total, bar_format=_BAR, file=sys.stderr, dynamic_ncols=True, leave=True) as self.bar:
            try:
                yield self.bar
            finally:
                bar, self.bar = self.bar, None
                bar.refresh()


def _tqdm() -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm


def is_terminal(stream: Any) -> bool:
    """Whether a person looks at ``stream``."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # replaced by something else, or closed
        return False


def _has_columns(stream: Any) -> bool:
    """False of a terminal that says it is no columns wide, as some pretended ones do."""
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except (OSError, ValueError):  # it does not say
        return True


def for_stdout(text: str) -> str:
    """Text as it may be printed: made harmless on a terminal, untouched in a file or a pipe."""
    return visible(text, keep="\n\t") if is_terminal(sys.stdout) else text


def to_json(values: Any) -> str:
    """One line of JSON; what JSON cannot say (infinity, NaN) becomes null."""
    return json.dumps(_finite(values), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def bits(nats: float | None) -> float:
    """Nats as bits; NaN where there is no number."""
    return math.nan if nats is None else nats / math.log(2)


def duration(seconds: float) -> str:
    """Seconds for people.

    Examples
    --------
    >>> duration(7.31), duration(133), duration(7384)
    ('7.3 s', '2 min 13 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def table(rows: list[tuple[str, str]]) -> str:
    """Names and what belongs to them, in two columns."""
    width = max(10, *(len(name) for name, _ in rows))
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)
