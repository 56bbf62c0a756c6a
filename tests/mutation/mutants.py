"""Mutants: the source of a module with one piece replaced, and the rule that comes out of it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any

from operators import OPERATORS
from subjects import AROUND_RULES, Subject, definition, reached_by, source_of

from minirnn import rules
from minirnn.arrays import home_of
from minirnn.kernels import cupy, numpy
from minirnn.testing import sequence_laws

LEFT_ALONE = ast.Raise | ast.ExceptHandler | ast.JoinedStr  # what is said of bad input has tests of its own


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change in the source of one function.

    Attributes
    ----------
    subject : Subject
    operator : str
        A key of `operators.OPERATORS`.
    start, end : int
        The bytes of the module's source that are replaced.
    new : str
        What replaces them.
    """

    subject: Subject
    operator: str
    start: int
    end: int
    new: str

    @property
    def source(self) -> str:
        """The source of the whole module, changed."""
        before = source_of(self.subject.module).encode()
        return (before[: self.start] + self.new.encode() + before[self.end :]).decode()

    @property
    def old(self) -> str:
        """What was replaced."""
        return source_of(self.subject.module).encode()[self.start : self.end].decode()

    @cached_property
    def function(self) -> CodeType:
        """The changed function alone, ready to be run in a copy of its module."""
        whole = definition(self.subject.module, self.subject.name)
        before = source_of(self.subject.module).encode().splitlines(keepends=True)
        start = sum(map(len, before[: whole.lineno - 1]))
        shorter = len(self.new.encode()) - (self.end - self.start)
        end = start + sum(map(len, before[whole.lineno - 1 : whole.end_lineno])) + shorter
        text = "from __future__ import annotations\n" + self.source.encode()[start:end].decode()
        return compile(text, f"<mutant of {self.subject.place}>", "exec")

    @cached_property
    def key(self) -> tuple[str, str, str, str]:
        """What it is known by however the lines move: place, the line it begins in, operator, change."""
        before = source_of(self.subject.module).encode()
        at = before.rfind(b"\n", 0, self.start) + 1
        line = before[at : before.find(b"\n", self.start)].decode().partition("  #")[0]
        piece = rf"(?<!\w){re.escape(self.old)}(?!\w)"
        earlier = len(re.findall(piece, before[at : self.start].decode()))  # the same, further left in the line
        which = f" ({earlier + 1})" if earlier else ""
        change = f"{_short(self.old, 40)} -> {_short(self.new, 40)}{which}"
        return self.subject.place, _short(line, 90), self.operator, change

    def __str__(self) -> str:
        place, line, operator, change = self.key
        return f"{place}, {operator}: {change}   in   {line}"


def mutants_of(subject: Subject) -> Iterator[Mutant]:
    """Every change that an operator makes anywhere in the subject, each once."""
    starts = [0]
    for line in source_of(subject.module).encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen = set()
    for node in _nodes(subject.code):
        if not hasattr(node, "end_lineno"):
            continue
        start = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        for name, operator in OPERATORS.items():
            for new in operator(node, subject.scope):
                mutant = Mutant(subject, name, start, end, new)
                if (start, end, new) not in seen and new != mutant.old:
                    seen.add((start, end, new))
                    yield mutant


def load(mutant: Mutant | None, rule: str, constants: Mapping[str, Any] | None = None) -> Callable:
    """The rule of that name in a world of its own, in which the mutant has taken the place of the original.

    Every module that the rule's backward pass runs through is made anew and wired to its like: nothing that others
    can see is touched.

    Parameters
    ----------
    mutant : Mutant or None
        ``None`` for the rule as it is.
    rule : str
        A name of `minirnn.rules`.
    constants : mapping, optional
        Values for constants at the top of those modules.
    """
    worlds = _worlds(mutant, {module for module, _ in reached_by(rule)}, constants or {})
    return worlds[getattr(rules, rule).__module__][rule]


def load_around(mutant: Mutant | None, constants: Mapping[str, Any] | None = None) -> SimpleNamespace:
    """All combinators, ``rtrl``, ``influences``, and the laws of recurrence, in a world that holds the mutant."""
    modules = {module for name in AROUND_RULES for module, _ in reached_by(name)} | {sequence_laws.__name__}
    worlds = _worlds(mutant, modules, constants or {})
    tools = {name: worlds[tool.__module__][name] for name, tool in AROUND_RULES.items()}
    return SimpleNamespace(**tools, check_sequence_laws=worlds[sequence_laws.__name__]["check_sequence_laws"])


def _worlds(mutant: Mutant | None, modules: Iterable[str], constants: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A copy of what stands in each of the modules, wired to one another and to nothing else that has a copy."""
    worlds: dict[str, dict[str, Any]] = {}
    for module in modules:
        world: dict[str, Any] = {"__name__": module, "__package__": sys.modules[module].__package__}
        exec(_compiled(source_of(module), module), world)
        if mutant is not None and module == mutant.subject.module:
            exec(mutant.function, world)  # the one function that is different
        world.update({k: v for k, v in constants.items() if k in world})
        worlds[module] = world

    def here(thing: Any) -> Any:
        if isinstance(thing, dict):  # a table of functions
            return {key: here(value) for key, value in thing.items()}
        if not isinstance(thing, FunctionType | type) or thing.__module__ not in worlds:
            return thing
        return worlds[thing.__module__].get(thing.__name__, thing)

    kernels = SimpleNamespace(**{name: here(thing) for name, thing in vars(numpy).items()})

    def kernels_of_copy(x: Any) -> Any:
        return kernels if home_of(x) == "numpy" else cupy

    for world in worlds.values():
        world.update({name: here(thing) for name, thing in world.items()})
        if "kernels_of" in world:
            world["kernels_of"] = kernels_of_copy
    return worlds


@cache
def _compiled(source: str, module: str) -> CodeType:
    return compile(source, f"<copy of {module}>", "exec")


def _nodes(code: tuple[ast.AST, ...]) -> Iterator[ast.AST]:
    """Every node, in the order of the source, but for those left alone."""
    waiting = list(reversed(code))
    while waiting:
        node = waiting.pop()
        strict = isinstance(node, ast.keyword) and node.arg == "strict"
        if not isinstance(node, LEFT_ALONE) and not strict:
            yield node
            # a call that is a statement is left out with it, and not once more
            inner = node.value if isinstance(node, ast.Expr) else node
            waiting.extend(reversed([child for child in ast.iter_child_nodes(inner) if not _only_said(inner, child)]))


def _only_said(node: ast.AST, child: ast.AST) -> bool:
    """Whether a child of a node is a type, which no program is the worse for."""
    return child in (getattr(node, "annotation", None), getattr(node, "returns", None))


def _short(text: str, most: int) -> str:
    """The text on one line, its middle left out if it is too long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"
