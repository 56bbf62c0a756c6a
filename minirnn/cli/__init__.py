"""The command line: ``minirnn`` and a verb, each in a file of its own, from ``demo`` to ``doctor``.

Exit codes: 0 all is well, 1 a check failed (a wrong gradient, a diverging run), 2 usage, 3 bad data, 4 a bad
checkpoint, 5 a backend that cannot be used here or fails, 130, 143 and 129 interrupted by Ctrl-C, SIGTERM
and a closed terminal, after saving.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, NoReturn

from minirnn.arrays import BackendError, device_errors
from minirnn.cli import (
    bench,
    demo,
    doctor,
    evaluate,
    generate,
    gradcheck,
    inspect,
    lens,
    train,
    train_seq2seq,
    translate,
)
from minirnn.cli.console import Console
from minirnn.cli.idle import refuse_idle
from minirnn.cli.interrupts import Interrupted, handling, stop_at_once
from minirnn.cli.settings import UsageError, meant, nearest
from minirnn.text import DataError
from minirnn.training import CheckpointError
from minirnn.training.ranks import end_all

VERBS = (demo, train, generate, train_seq2seq, translate, evaluate, gradcheck, lens, bench, inspect, doctor)
CHECK_FAILED, USAGE, BAD_DATA, BAD_CHECKPOINT, NO_BACKEND = 1, 2, 3, 4, 5
CODES: tuple[tuple[type[Exception], int], ...] = (  # the first that fits
    (DataError, BAD_DATA),
    (CheckpointError, BAD_CHECKPOINT),
    (BackendError, NO_BACKEND),
    (ValueError, USAGE),
    (MemoryError, USAGE),
)


FLAG = re.compile(r"-[^\d.]")  # how a flag begins, and no number does


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose mistakes are one line, and an error like any other; options stand anywhere, whole."""

    def __init__(self, **settings: Any):
        super().__init__(**settings, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if args is None:
            return super().parse_known_args(args, namespace)
        if self._subparsers:
            self._check_command(args)
            return super().parse_known_args(args, namespace)
        words, given = self._sorted(args)
        found, rest = super().parse_known_args(words, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        found.given = given
        return found, rest

    def _check_command(self, words: Sequence[str]) -> None:
        """Refuses a first word that is neither a flag nor a command; all behind a command is left to that."""
        (commands,) = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        what, known = str(commands.metavar).lower(), list(commands.choices)
        if not words and commands.required:
            self.error(f"no {what} given; there are {', '.join(known)}")
        for word in words[:1]:
            if word.startswith("-") and word not in self._option_string_actions:
                self._refuse_flag(word, f"; options stand behind the {what}")
            if not word.startswith("-") and word not in known:
                self.error(f"there is no {what} {word!r}; {meant(word, known)}")

    def _refuse_flag(self, word: str, hint: str = "") -> NoReturn:
        near = nearest(word, self._option_string_actions)
        self.error(f"unrecognized arguments: {word}{f'; did you mean {near}?' if near else hint}")

    def _sorted(self, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Words in an order that argparse takes, and the options among them: by name the words they were given with.

        It gives up at a second group of positional arguments. So all of them come first, or, if there is a ``--``, all
        behind it: a flag before it would take one for its value.
        """
        options: list[str] = []
        others: list[str] = []
        given: dict[str, str] = {}
        left = list(words)
        while left and left[0] != "--":
            word = left.pop(0)
            if not FLAG.match(word):
                others.append(word)
                continue
            options.append(word)
            flag, attached, _ = word.partition("=")
            if flag not in self._option_string_actions and not word.startswith("--"):
                flag, attached = word[:2], word[2:]  # -oruns/a
                if FLAG.match(attached):
                    self.error(f"{word} has no space before {attached}; if that is a name, give {flag} ./{attached}")
            action = self._option_string_actions.get(flag)
            if action is None:
                self._refuse_flag(flag)
            if given.setdefault(action.dest, flag) != flag:
                self.error(f"give {given[action.dest]} or {flag}, not both")
            if attached or not left or left[0] == "--":
                continue
            if action.nargs is None or (action.nargs == "?" and (left[0] == "-" or not left[0].startswith("-"))):
                options.append(left.pop(0))
        return [*options, "--", *others, *left[1:]] if left else [*others, *options], given

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, and returns its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Words after ``minirnn``; those of the process without it.
    """
    code = _command(sys.argv[1:] if argv is None else list(argv))
    end_all(code)
    return code


def _command(argv: list[str]) -> int:
    console = Console()
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by whoever started this process
                setattr(sys, name, stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
                stack.callback(setattr, sys, name, None)
        stack.enter_context(handling(stop_at_once))
        stack.enter_context(console.plain_warnings())
        for stream in (sys.stdout, sys.stderr):
            stack.enter_context(_never_failing_to_encode(stream))
        try:
            code = _run(argv, console)
            sys.stdout.flush()
            return code
        except Interrupted as signal:
            console.complain("; ".join(["interrupted", *getattr(signal, "__notes__", ())]))
            return 128 + signal.signum
        except BrokenPipeError:  # whoever reads our output has seen enough
            _discard_output()
            return 0
        except Exception as error:
            if not console.first:
                time.sleep(1)  # the first may have the same to say, and ends all
            if os.environ.get("MINIRNN_TRACEBACK"):
                traceback.print_exc()
            console.complain(_explained(error))
            if isinstance(error, OSError):
                _discard_output()
            return next((code for kind, code in CODES if isinstance(error, kind)), CHECK_FAILED)


def _run(argv: list[str], console: Console) -> int:
    try:
        options = _parser().parse_args(argv)
    except SystemExit as done:  # --help and --version have printed what was asked for
        return int(done.code or 0)
    if options.command is None:
        raise UsageError("no command given; begin with minirnn demo, or see minirnn --help")
    console.json = getattr(options, "json", False)
    refuse_idle(getattr(options, "idle", ()), options.given, vars(options))
    with device_errors(f"minirnn {options.command}"):
        return options.run(options, console)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="minirnn",
        description="Recurrent networks with explicit backpropagation through time. Begin with: minirnn demo",
        epilog="Exit codes: 0 ok, 1 a check failed, 2 usage, 3 bad data, 4 bad checkpoint, 5 backend unavailable, "
        "130, 143 and 129 interrupted, after saving.",
    )
    version = doctor.version_of("minirnn") or "(not installed)"
    parser.add_argument("--version", action="version", version=f"minirnn {version}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    for verb in VERBS:
        verb.add_parser(commands)
    return parser


def _explained(error: Exception) -> str:
    """One sentence about an error, whatever it is."""
    if isinstance(error, MemoryError) and not isinstance(error, BackendError):
        return f"not enough memory: {error}; a smaller model or batch may fit"
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror or error}"
    if isinstance(error, (*(kind for kind, _ in CODES), ArithmeticError)):
        return str(error)
    return f"a mistake in minirnn itself: {type(error).__name__}: {error} (MINIRNN_TRACEBACK=1 shows where)"


def _discard_output() -> None:
    """Sends what is buffered and cannot be written nowhere: Python would try it at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError, AttributeError):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _never_failing_to_encode:  # noqa: N801  # used in a with statement
    """Writes characters that a stream cannot encode as escapes, instead of failing half-way."""

    def __init__(self, stream: Any):
        self.stream, self.errors = stream, getattr(stream, "errors", None)

    def __enter__(self) -> None:
        if self.errors == "strict" and hasattr(self.stream, "reconfigure"):
            self.stream.reconfigure(errors="backslashreplace")

    def __exit__(self, *exc: object) -> None:
        if self.errors == "strict" and hasattr(self.stream, "reconfigure"):
            with suppress(OSError, ValueError):
                self.stream.reconfigure(errors=self.errors)
