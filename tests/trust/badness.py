"""What a bad input is: a call that works, one argument of it put wrong, and the error that must say so.

A table of bad inputs is a list of calls. For each argument that can be wrong it has the values that must be refused,
and why. What must hold is the same for all of them:

- the error is of the type that the table names, raised by a ``raise`` of this library and not by what lies below it;
- its text names the argument, and shows the value where that is short;
- whatever the call was given is as it was, to the last byte: parameters, gradients, arrays, files, random states;
- it takes less than a second;
- and with good values in all places the call works afterwards, on the same objects.
"""

from __future__ import annotations

import linecache
import random
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from counting import Tried

from minirnn.arrays import current_backend
from minirnn.tape import Tensor
from minirnn.workers import workers

SECONDS = 1.0  # that a refusal may take, of this process: others may be waited for
SHORT = 30  # characters of a value that its message must show


class Refused(Exception):  # noqa: N818  # an outcome, not an error of the tests
    """What a command line ended with: no exception, but an exit code other than 0 and one line that explains it."""


class Bad(NamedTuple):
    """A value that must be refused, and what its error must be like."""

    why: str
    value: Any
    error: type[Exception] = ValueError
    shown: str | None = None  # how the message shows it; without, as ``repr`` does, if that is short
    named: str | None = None  # what the message calls the argument; without, by its name

    @property
    def words(self) -> str:
        """What must stand in the message of the value."""
        if self.shown is not None:
            return self.shown
        shown = repr(self.value)
        return shown if len(shown) <= SHORT else ""


@dataclass(frozen=True)
class Call:
    """A call that works, and for each of its arguments the values that must be refused.

    Parameters
    ----------
    name : str
        What is called, as its users write it.
    function : callable
        Called with ``subject``, if there is one, and the good arguments by name, one of them put wrong.
    good : dict
    bad : dict of str to list of Bad
    subject : callable, optional
        Makes what the call may change: a layer, a trainer, a directory. All cases of the call share one, for none of
        them may leave a trace.
    """

    name: str
    function: Callable[..., Any]
    good: Mapping[str, Any]
    bad: Mapping[str, Sequence[Bad]]
    subject: Callable[[], Any] | None = None

    def cases(self) -> Iterator[tuple[str, str, Bad]]:
        """The name of each case, the argument that is wrong, and how."""
        for argument, values in self.bad.items():
            for bad in values:
                yield f"{self.name}({argument}): {bad.why}", argument, bad

    def tried(self, only: str = "") -> Iterator[Tried]:
        """Every case whose name holds ``only``, and at last the call with good arguments."""
        chosen = [case for case in self.cases() if only in case[0]]
        if not chosen:
            return
        own = () if self.subject is None else (self.subject(),)
        for name, argument, bad in chosen:
            yield Tried(name, "; ".join(self._problems(own, argument, bad)))
        error, _ = self._outcome(own, {})
        if error is not None:
            yield Tried(f"{self.name}: good arguments", f"{type(error).__name__}: {error}")

    def said(self, argument: str, bad: Bad) -> Exception | None:
        """The error that a value gets."""
        own = () if self.subject is None else (self.subject(),)
        return self._outcome(own, {argument: bad.value})[0]

    def _outcome(self, own: Sequence[Any], changed: dict[str, Any]) -> tuple[Exception | None, float]:
        start = process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.function(*own, **{**self.good, **changed})
        except Exception as error:
            return error, process_time() - start
        return None, process_time() - start

    def _problems(self, own: Sequence[Any], argument: str, bad: Bad) -> Iterator[str]:
        given = [*own, dict(self.good), bad.value]
        before = picture(given)
        error, seconds = self._outcome(own, {argument: bad.value})
        if error is None:
            yield "no error"
        elif type(error) is not bad.error:
            yield f"raised {type(error).__name__}, not {bad.error.__name__}: {error}"
        else:
            yield from faults_of(error, bad.named or argument, bad.words)
        if seconds > SECONDS:
            yield f"took {seconds:.1f} s"
        if picture(given) != before:
            yield "something was changed"


def faults_of(error: Exception, argument: str, shown: str) -> Iterator[str]:
    """What is wrong with an error that should explain a bad value."""
    text = str(error)
    if not re.search(rf"(?<!\w){re.escape(argument)}(?!\w)", text):
        yield f"does not name {argument}: {text}"
    if shown not in text:
        yield f"does not show {shown}: {text}"
    if not isinstance(error, Refused) and not was_raised_here(error):
        yield f"was not raised by minirnn: {text}"


def was_raised_here(error: Exception) -> bool:
    """Whether a ``raise`` of this library made the error, rather than an operation that failed."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None or not at.tb_frame.f_globals.get("__name__", "").startswith("minirnn"):
        return False
    return linecache.getline(at.tb_frame.f_code.co_filename, at.tb_lineno).lstrip().startswith("raise")


def picture(thing: Any) -> Any:
    """All that can be seen of something and of what it holds, and the random states of the process, to be compared."""
    state = np.random.get_state(legacy=False)["state"]
    return (
        _picture(thing, {}),
        {name: value.tobytes() if hasattr(value, "tobytes") else value for name, value in state.items()},
        random.getstate(),
        current_backend(),
        workers(),
        np.geterr(),
    )


def _picture(thing: Any, seen: dict[int, Any]) -> Any:
    if thing is None or isinstance(thing, (bool, int, float, complex, str, bytes, type)):
        return repr(thing)
    if id(thing) in seen:
        return "again"
    seen[id(thing)] = thing  # which keeps its id taken
    if isinstance(thing, np.ndarray):
        return str(thing.dtype), thing.shape, repr(thing.tolist()) if thing.dtype.hasobject else thing.tobytes()
    if isinstance(thing, Tensor):
        held = (thing.array, thing.grad, thing.requires_grad, thing.writes, thing.name)
        return *(_picture(part, seen) for part in held), id(thing.node)
    if isinstance(thing, Path):
        files = sorted(thing.rglob("*")) if thing.is_dir() else [thing] if thing.exists() else []
        return [(str(file), file.read_bytes() if file.is_file() else "", file.lstat().st_mode) for file in files]
    if isinstance(thing, dict):
        return [(repr(key), _picture(value, seen)) for key, value in thing.items()]
    if isinstance(thing, (list, tuple)):
        return [_picture(part, seen) for part in thing]
    if type(thing).__module__.startswith("minirnn"):
        cached = _cached(type(thing))
        return [(name, _picture(part, seen)) for name, part in vars(thing).items() if name not in cached]
    return type(thing).__name__


@cache
def _cached(kind: type) -> set[str]:
    """Attributes that a class makes when they are first asked for: they say nothing that was not there before."""
    return {name for c in kind.__mro__ for name, made in vars(c).items() if isinstance(made, cached_property)}


# --- values that are bad in the same way wherever they come


def f32(*shape: int) -> np.ndarray:
    """Numbers between -1 and 1, no two alike."""
    return np.linspace(-1, 1, int(np.prod(shape)), dtype="float32").reshape(shape)


def misshapen(x: Any, fixed: Sequence[int] = (), free: str = "", **form: Any) -> list[Bad]:
    """``x`` with an axis less, with one more, with its axes turned round, and each of the axes ``fixed`` too long.

    ``free`` leaves out some of these: ``"-"`` where an axis less is allowed, ``"+"`` for one more, ``"T"`` for turned.
    """
    x = np.asarray(x)
    shapes = {}
    if "-" not in free and x.ndim:
        shapes["an axis less"] = x[0]
    if "+" not in free:
        shapes["an axis more"] = x[None]
    if "T" not in free and x.T.shape != x.shape:
        shapes["turned round"] = x.T
    for k in fixed:
        shapes[f"axis {k} too long"] = np.concatenate([x, x.take([0], axis=k)], axis=k)
    return [Bad(why, array, **({"shown": str(array.shape)} | form)) for why, array in shapes.items()]
