"""What is mutated: every pullback of `minirnn.rules`, and every helper that a pullback reaches by name.

The functions are found, not listed. A rule is a public name of `minirnn.rules`; its backward part is the function
inside it that is called ``..._pullback``, and the assignments before it whose names the pullback alone reads. From
there every name is followed that stands for a function in ``minirnn/rules`` or ``minirnn/kernels`` (those of NumPy).

Combinators are not among them: what they return is a rule, but they are none themselves.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import FunctionType, ModuleType

from minirnn import rules
from minirnn.kernels import kernels_of, numpy

HOMES = ("minirnn.rules", "minirnn.kernels")


@dataclass(frozen=True, eq=False)
class Subject:
    """The backward part of one rule, or one helper."""

    module: str
    name: str
    code: tuple[ast.AST, ...]
    scope: frozenset[str]
    rules: tuple[str, ...]  # whose gradients go wrong with it

    @property
    def place(self) -> str:
        """Its name in reports: file and function."""
        return f"{self.module.removeprefix('minirnn.')}.{self.name}"


@cache
def subjects() -> tuple[Subject, ...]:
    """All of them, in the order of files and lines."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in rules.__all__:
        for function in reached_by(rule):
            found.setdefault(function, []).append(rule)
    ordered = sorted(found, key=lambda function: (function[0], definition(*function).lineno))
    return tuple(Subject(*place, *_backward_part(*place), tuple(found[place])) for place in ordered)


@cache
def reached_by(rule: str) -> tuple[tuple[str, str], ...]:
    """The functions, as (module, name), that take part in the backward pass of a rule: itself first."""
    start = getattr(rules, rule)
    found = [(start.__module__, start.__name__)]
    for place in found:  # which grows
        found += [other for other in _names_followed(*place) if other not in found]
    return tuple(found)


@cache
def source_of(module: str) -> str:
    return inspect.getsource(sys.modules[module])


@cache
def definition(module: str, name: str) -> ast.FunctionDef:
    """The syntax tree of a function at the top of a module."""
    return next(f for f in _tree(module).body if isinstance(f, ast.FunctionDef) and f.name == name)


def function_in(holder: ModuleType, name: str) -> FunctionType | None:
    """What ``name`` stands for in ``holder``, if that is a function of a rule's or a kernel's file."""
    function = getattr(holder, name, None)
    at_home = isinstance(function, FunctionType) and function.__module__.startswith(HOMES)
    return function if at_home and function is not kernels_of else None


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(source_of(module))


def _names_followed(module: str, name: str) -> Iterator[tuple[str, str]]:
    code, _ = _backward_part(module, name)
    for node in (node for part in code for node in ast.walk(part)):
        match node:
            case ast.Name(id=called):
                function = function_in(sys.modules[module], called)
            case ast.Attribute(value=ast.Name(id="kernels"), attr=called):
                function = function_in(numpy, called)
            case _:
                continue
        if function is not None:
            yield function.__module__, function.__name__


def _backward_part(module: str, name: str) -> tuple[tuple[ast.AST, ...], frozenset[str]]:
    """The statements that make up the backward part of a function, and the names that they can see."""
    function = definition(module, name)
    inner = [f for f in function.body if isinstance(f, ast.FunctionDef)]
    pullbacks = [f for f in inner if f.name.endswith("_pullback")]
    scope = frozenset(_names_bound(function))
    if not pullbacks:  # a helper, or a rule whose pullback a helper makes
        return tuple(function.body), scope
    forward = [statement for statement in function.body if statement not in inner]
    prepared = [
        statement
        for statement in forward
        if isinstance(statement, ast.Assign)
        and _names_bound(statement).isdisjoint(_names_read([s for s in forward if s is not statement]))
    ]
    called = _names_read(pullbacks)
    helpers = [f for f in inner if f not in pullbacks and f.name in called]
    return (*prepared, *(s for f in (*helpers, *pullbacks) for s in f.body)), scope


def _names_bound(code: ast.AST) -> set[str]:
    """Names that are given a value in ``code``, arguments included, functions left out."""
    arguments = {node.arg for node in ast.walk(code) if isinstance(node, ast.arg)}
    return arguments | {n.id for n in ast.walk(code) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _names_read(code: list) -> set[str]:
    nodes = (node for part in code for node in ast.walk(part))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
