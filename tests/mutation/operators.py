"""The ways in which one place of a backward pass goes wrong: an operator reads a node and says what might stand there.

An operator is a function ``(node, scope) -> replacements``, the replacements pieces of source, the scope the names that
the function around the node can see. `OPERATORS` holds them under the names that reports use.

None of them can make a program run for ever: they change no ``while`` (there is none, and a test sees to that), and a
``for`` goes over something finite whatever its bounds.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

Scope = frozenset[str]
Operator = Callable[[ast.AST, Scope], Iterator[str]]

OPPOSITE: dict[type, type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
COMPARISONS: dict[type, type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
UFUNCS = {"add": "subtract", "subtract": "add"}
COMMUTE = {"add", "multiply", "maximum", "minimum", "max", "min", "swapaxes", "xp_of", "joint_dtype", "result_type"}
TRANSPOSES = {"T", "swapaxes", "transpose"}
KIN = ("ifgo", "rzn", "xyz", "hc")  # letters that stand for things of one kind: gates, arguments, states
TIMES = (("prev", ""), ("prevs", "nows"), ("start", "stop"), ("before", "after"))


def signs(node: ast.AST, scope: Scope) -> Iterator[str]:
    """``a + b`` for ``a - b``, ``a`` for ``-a``, and the same where a ufunc writes into ``out``."""
    match node:
        case ast.BinOp(op=ast.Add() | ast.Sub()) | ast.AugAssign(op=ast.Add() | ast.Sub()):
            yield _with(node, op=OPPOSITE[type(node.op)]())
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield _text(operand)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="xp"), attr="add" | "subtract") as f, args=[_, _]):
            yield _with(node, func=_changed(f, attr=UFUNCS[f.attr]))


def terms(node: ast.AST, scope: Scope) -> Iterator[str]:
    """One term of a sum or difference."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub(), right):
            yield _text(left)
            yield _text(right)


def factors(node: ast.AST, scope: Scope) -> Iterator[str]:
    """One factor of a product, a quotient as a product and the reverse, the base of a power."""
    match node:
        case ast.BinOp(left, ast.Mult(), right):
            yield _text(left)
            yield _text(right)
        case ast.BinOp(left, ast.Div(), right):
            yield _text(left)
            yield _with(node, op=ast.Mult())
        case ast.AugAssign(op=ast.Mult() | ast.Div()):
            yield _with(node, op=OPPOSITE[type(node.op)]())
        case ast.BinOp(left, ast.Pow(), _):
            yield _text(left)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="xp"), attr="multiply"), args=[left, right]):
            yield _with(node, args=[left, ast.Constant(1)])
            yield _with(node, args=[ast.Constant(1), right])


def names(node: ast.AST, scope: Scope) -> Iterator[str]:
    """The next gate, the other argument, the other state: a name of the same kind that is in scope."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from (name for name in _first(_kin(node.id), scope))


def times(node: ast.AST, scope: Scope) -> Iterator[str]:
    """``h`` for ``h_prev`` and ``h_prev`` for ``h``: the right thing of the wrong step."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from (name for name in _first(_at_another_time(node.id), scope))


def overwrites(node: ast.AST, scope: Scope) -> Iterator[str]:
    """``=`` for ``+=``, and for ``*=``."""
    if isinstance(node, ast.AugAssign):
        yield f"{_text(node.target)} = {_text(node.value)}"


def transposes(node: ast.AST, scope: Scope) -> Iterator[str]:
    """A matrix as it stands, where its transpose was meant."""
    match node:
        case ast.Attribute(value=value, attr="T"):
            yield _text(value)
        case ast.Call(func=ast.Attribute(value=value, attr="swapaxes" | "transpose")):
            yield _text(value)


def calls(node: ast.AST, scope: Scope) -> Iterator[str]:
    """What a call was given, in place of what it gives: no copy, no sum, no reshape, time forward and not reversed."""
    match node:
        case ast.Call(args=[ast.Starred(), *_]):
            return
        case ast.Call(func=ast.Attribute(value=ast.Name(id="xp" | "kernels"), attr=attr), args=[first, *_]):
            if attr not in ("empty", "zeros", "ones", "arange"):  # which are given a shape
                yield _text(first)
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr not in TRANSPOSES:
            if not isinstance(value, ast.Name) or value.id not in ("xp", "kernels", "itertools", "math"):
                yield _text(value)
        case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name not in ("range", "len", "isinstance", "slice"):
            yield _text(first)


def order(node: ast.AST, scope: Scope) -> Iterator[str]:
    """Two arguments the wrong way round, where the order matters."""
    match node:
        case ast.Call(func=func, args=[first, second]):
            if getattr(func, "attr", getattr(func, "id", "")) not in COMMUTE:
                yield _with(node, args=[second, first])


def constants(node: ast.AST, scope: Scope) -> Iterator[str]:
    """Another number: 1 becomes 2 and 0, others go up by one, or double; True and False trade places."""
    match node:
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value)):
            yield str(value + 1)
            if value == 1:
                yield "0"
        case ast.Constant(value=float(value)):
            yield repr(2 * value)


def bounds(node: ast.AST, scope: Scope) -> Iterator[str]:
    """A slice that begins where it should end, is open at a side, not stepped, or shifted by one; an index, too."""
    match node:
        case ast.Slice(lower=lower, upper=upper, step=step):
            if lower is None or upper is None:
                yield from (_with(node, lower=upper, upper=lower) for _ in range(lower is not upper))
            else:
                yield from (_with(node, lower=None), _with(node, upper=None))
            if step is not None:
                yield _with(node, step=None)
            yield from (_with(node, lower=_less(lower)) for _ in range(isinstance(lower, ast.Name)))
            yield from (_with(node, upper=_less(upper)) for _ in range(isinstance(upper, ast.Name)))
        case ast.Subscript(value=value, slice=ast.Name(id="t") as index):
            yield _with(node, value=value, slice=_less(index))


def axes(node: ast.AST, scope: Scope) -> Iterator[str]:
    """The first axis, or all of them, where certain axes were named."""
    match node:
        case ast.keyword(arg="axis" | "axes", value=value):
            yield f"{node.arg}=None"
            if not (isinstance(value, ast.Constant) and value.value == 0):
                yield f"{node.arg}=0"


def statements(node: ast.AST, scope: Scope) -> Iterator[str]:
    """Nothing, in place of a statement; assignments only if the name has a value without them."""
    match node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Assign(targets=[ast.Subscript()]):
            yield "pass"


def returns(node: ast.AST, scope: Scope) -> Iterator[str]:
    """Gradients of the wrong sign, of the wrong argument, or none."""
    match node:
        case ast.Return(value=ast.Tuple(elts=entries)):
            for k, entry in enumerate(entries):
                if not (isinstance(entry, (ast.Constant, ast.Starred))):
                    yield _entries(entries, k, ast.Constant(None))
                    yield _entries(entries, k, ast.UnaryOp(ast.USub(), entry))
                if k and ast.dump(entries[k - 1]) != ast.dump(entry):
                    swapped = [*entries[: k - 1], entry, entries[k - 1], *entries[k + 1 :]]
                    yield f"return {_text(ast.Tuple(swapped, ast.Load()))}"


def conditions(node: ast.AST, scope: Scope) -> Iterator[str]:
    """A condition that always or never holds, or is turned round at its edge: flags of ``wanted``, masks, ``min``."""
    match node:
        case ast.IfExp(body=body, orelse=orelse):
            yield _text(body)
            yield _text(orelse)
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield _with(node, ops=[COMPARISONS[type(op)]()])
        case ast.BoolOp(op=op):
            yield _with(node, op=ast.And() if isinstance(op, ast.Or) else ast.Or())
        case ast.UnaryOp(op=ast.Invert() | ast.Not(), operand=operand):
            yield _text(operand)
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() as op):
            yield _with(node, op=ast.BitAnd() if isinstance(op, ast.BitOr) else ast.BitOr())
        case ast.Call(func=ast.Name(id="any" | "all" as name)):
            yield _with(node, func=ast.Name("all" if name == "any" else "any", ast.Load()))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[_, _]):
            yield _with(node, func=ast.Name("max" if name == "min" else "min", ast.Load()))


OPERATORS: dict[str, Operator] = {
    operator.__name__: operator
    for operator in (
        signs, terms, factors, names, times, overwrites, transposes, calls, order, constants, bounds, axes,
        statements, returns, conditions,
    )
}  # fmt: skip


def _text(node: ast.AST) -> str:
    """Source that may stand wherever the node's kind may: what could be torn apart by a neighbour gets parentheses."""
    loose = isinstance(node, (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda))
    return f"({ast.unparse(node)})" if loose else ast.unparse(node)


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    node = copy.copy(node)
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def _with(node: ast.AST, **fields: object) -> str:
    return _text(_changed(node, **fields))


def _entries(entries: list[ast.expr], k: int, entry: ast.expr) -> str:
    return f"return {_text(ast.Tuple([*entries[:k], entry, *entries[k + 1 :]], ast.Load()))}"


def _less(bound: ast.AST | None) -> ast.AST:
    return ast.BinOp(bound, ast.Sub(), ast.Constant(1))  # type: ignore[arg-type]  # a Name, as the callers saw to


def _first(candidates: Iterator[str], scope: Scope) -> list[str]:
    return [name for name in candidates if name in scope][:1]


def _kin(name: str) -> Iterator[str]:
    """The names that differ in one letter of a kind, the next in its alphabet first."""
    parts = name.split("_")
    for k, part in enumerate(parts):
        stem = part[1:] if len(part) > 1 and part[0] == "d" else part  # dh is to dc as h is to c
        letter, plural = stem.rstrip("s"), "s" if stem.endswith("s") else ""
        for alphabet in (a for a in KIN if letter and letter in a):
            place = alphabet.index(letter)
            for other in alphabet[place + 1 :] + alphabet[:place]:
                yield "_".join([*parts[:k], part[: len(part) - len(stem)] + other + plural, *parts[k + 1 :]])


def _at_another_time(name: str) -> Iterator[str]:
    for one, other in TIMES:
        for old, new in ((one, other), (other, one)):
            if old == "":
                yield f"{name}_{new}"
            elif name == old or name.endswith(f"_{old}"):
                yield (name.removesuffix(old) + new).rstrip("_")
