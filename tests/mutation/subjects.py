"""What is mutated: every pullback, all of every combinator and of RTRL, and every helper reached from there by name.

The functions are found, not listed. A rule is a public name of `minirnn.rules`; its backward part is the function
inside it that is called ``..._pullback``, and the assignments before it whose names the pullback alone reads. From
there every name is followed that stands for a function in ``minirnn/rules`` or ``minirnn/kernels`` (those of NumPy).

A combinator holds a function that holds a pullback, and what surrounds the pullback cuts, turns and counts: a fault
there is silent, as both ways may share it. So combinators are mutated from the first line to the last, and so are the
classes and functions that they reach in their package; and, likewise, RTRL, which has no way back that stands apart.
Of a rule that makes its gradients on the way there, all but what it refuses is mutated.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from minirnn import rules
from minirnn.kernels import kernels_of, numpy
from minirnn.rules import combinators, rtrl

HOMES = ("minirnn.rules", "minirnn.kernels")
WHOLE = ("minirnn.rules.combinators", "minirnn.rules.rtrl", "minirnn.rules.tangents")  # from the first line to the last
ON_THE_WAY_THERE = ("affine_cross_entropy",)  # rules that leave no more than a factor for the way back
WRONG_ALIKE = (*ON_THE_WAY_THERE, "cross_entropy")  # rules both of whose ways go through the same functions
AROUND_RULES: dict[str, Any] = {
    **{name: getattr(combinators, name) for name in combinators.__all__},
    "rtrl": rtrl.rtrl,
    "influences": rtrl.influences,
}
NAMES = (*rules.__all__, *AROUND_RULES)  # by which one may ask for mutants


@dataclass(frozen=True, eq=False)
class Subject:
    """The backward part of one rule, one helper, or all of one combinator."""

    module: str
    name: str
    code: tuple[ast.AST, ...]
    scope: frozenset[str]
    rules: tuple[str, ...]  # or combinators: whose gradients go wrong with it

    @property
    def place(self) -> str:
        """Its name in reports: file and function."""
        return f"{self.module.removeprefix('minirnn.')}.{self.name}"


@cache
def subjects() -> tuple[Subject, ...]:
    """All of them, in the order of files and lines."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in NAMES:
        for function in reached_by(name):
            found.setdefault(function, []).append(name)
    ordered = sorted(found, key=lambda function: (function[0], definition(*function).lineno))
    return tuple(Subject(*place, *_backward_part(*place), tuple(found[place])) for place in ordered)


@cache
def reached_by(name: str) -> tuple[tuple[str, str], ...]:
    """The functions, as (module, name), that take part in the backward pass of a rule or combinator: itself first."""
    start = AROUND_RULES[name] if name in AROUND_RULES else getattr(rules, name)
    found = [(start.__module__, start.__name__)]
    for place in found:  # which grows
        found += [other for other in dict.fromkeys(_names_followed(*place)) if other not in found]
    return tuple(found)


@cache
def source_of(module: str) -> str:
    return inspect.getsource(sys.modules[module])


@cache
def definition(module: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """The syntax tree of a function or class at the top of a module."""
    tops = (top for top in _tree(module).body if isinstance(top, ast.FunctionDef | ast.ClassDef))
    return next(top for top in tops if top.name == name)


def functions_in(holder: ModuleType, name: str, homes: tuple[str, ...] = HOMES) -> list[Any]:
    """What ``name`` stands for in ``holder``, if that is a function or class of those files, or a table of some."""
    thing = getattr(holder, name, None)
    things = thing.values() if isinstance(thing, dict) else (thing,)
    at_home = [f for f in things if isinstance(f, FunctionType | type) and f.__module__.startswith(homes)]
    return [function for function in at_home if function is not kernels_of]


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(source_of(module))


def _names_followed(module: str, name: str) -> Iterator[tuple[str, str]]:
    code, _ = _backward_part(module, name)
    # what combinators are wrapped around is looked at by itself
    homes = (*WHOLE, "minirnn.kernels") if module.startswith(WHOLE) else HOMES
    for node in (node for part in code for node in ast.walk(part)):
        match node:
            case ast.Name(id=called):
                functions = functions_in(sys.modules[module], called, homes)
            case ast.Attribute(value=ast.Name(id="kernels") | ast.Call(func=ast.Name(id="kernels_of")), attr=called):
                functions = functions_in(numpy, called)
            case _:
                continue
        yield from ((function.__module__, function.__name__) for function in functions)


@cache
def _backward_part(module: str, name: str) -> tuple[tuple[ast.AST, ...], frozenset[str]]:
    """The statements that make up the backward part of a function, and the names that they can see."""
    function = definition(module, name)
    inner = [f for f in function.body if isinstance(f, ast.FunctionDef)]
    pullbacks = [f for f in inner if f.name.endswith("_pullback")]
    scope = frozenset(_names_bound(function))
    if not pullbacks or module.startswith(WHOLE):  # a helper, a rule whose pullback a helper makes, a combinator
        return tuple(function.body), scope
    if name in ON_THE_WAY_THERE:
        return tuple(statement for statement in function.body if not isinstance(statement, ast.Expr)), scope
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
