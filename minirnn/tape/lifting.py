"""From rules to functions of tensors that are recorded, and back: a function of tensors is a rule again."""

from __future__ import annotations

import inspect
import itertools
import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from typing import Any

import numpy as np

from minirnn.arrays import Array, asarray, xp_of
from minirnn.calling import Call
from minirnn.explaining import REFUSALS, argument_names, explain, refuse_answer
from minirnn.tape.record import Node, pull_back, recording, watcher
from minirnn.tape.tensor import Tensor
from minirnn.workers import one_blas_thread

_inside_rule: ContextVar[bool] = ContextVar("minirnn_inside_rule", default=False)

NUMBERS = (bool, int, float, complex)


def differentiable(rule: Callable) -> Callable:
    """Lifts a rule, a function of arrays that returns ``(output, pullback)``, to a recorded function of tensors.

    Parameters
    ----------
    rule : callable
        Follows the contract in ``minirnn/rules/__init__.py``.

    Returns
    -------
    callable
        Takes tensors, arrays or numbers where the rule takes arrays, by position or by name, and what is static after
        them (`minirnn.calling`); the rule itself stays at hand as ``.rule``. Of real numbers that require a gradient it
        makes no complex ones, but raises a TypeError.

    Examples
    --------
    >>> @differentiable
    ... def cube(x):
    ...     def cube_pullback(dy):
    ...         return (dy * 3 * x**2,)
    ...     return x**3, cube_pullback
    >>> x = Tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    array(12.)
    """
    name, call = rule.__name__, Call(rule)
    selective = "wanted" in inspect.signature(rule).parameters

    @wraps(rule)
    def op(*inputs: Any, **static: Any) -> Any:
        arguments, options = call.sort(inputs, static)
        tensors = lift(rule, arguments)
        wanted = tuple(t is not None and t.requires_grad and recording.get() for t in tensors)
        arrays = [None if t is None else t.array for t in tensors]
        if len({type(a) for a in arrays if a is not None}) > 1:
            xp_of(*arrays)  # raises, naming the places
        try:
            with one_blas_thread():
                answer = rule(*arrays, **options, wanted=wanted) if selective else rule(*arrays, **options)
        except REFUSALS as error:
            named = dict(zip(argument_names(rule, len(arrays)), arrays, strict=True))
            call.check(inputs, static)
            if "NoneType" in str(error):
                call.refuse_none(named)
            explain(error, name, {**named, **options})
            raise
        refuse_answer(rule, answer)
        output, pullback = answer
        several = isinstance(output, tuple)
        outputs = [Tensor.around(o) for o in (output if several else (output,))]
        if (look := watcher.get()) is not None:
            look(f"the output of {name}", [t.array for t in outputs])
        share_counts(tensors, outputs)
        if any(wanted):
            node = Node(name, tensors, pullback, outputs)
            for k, t in enumerate(outputs):
                kind = t.dtype.kind
                if kind == "f" or (kind == "c" and follows_complex(node)):
                    t.asks, t.node, t.index = True, node, k
                elif kind == "c" and not inside_rule():
                    raise TypeError(
                        f"{name}: the result of numbers that require a gradient must be real, got {t.dtype}; keep real "
                        "and imaginary parts as tensors of their own, or take x.detach(), which needs no gradient"
                    )
        return tuple(outputs) if several else outputs[0]

    op.rule, op.__signature__ = rule, call.signature  # type: ignore[attr-defined]
    return op


def follows_complex(node: Node) -> bool:
    """Whether the gradient of a complex input is asked for, as only `rule_of` does."""
    return any(edge is not None and edge.requires_grad and edge.dtype.kind == "c" for edge in node.inputs)


def lift(rule: Callable, inputs: Sequence[Any]) -> list[Tensor | None]:
    """Tensors as they are, arrays copied into tensors, Python numbers in the dtype of the tensors beside them."""
    lifted: list[Any] = [
        x if isinstance(x, Tensor) or x is None or isinstance(x, NUMBERS) else as_tensor(rule, k, x)
        for k, x in enumerate(inputs)
    ]
    if not any(isinstance(x, NUMBERS) for x in lifted if not isinstance(x, Tensor)):
        return lifted
    tensors = [x for x in lifted if isinstance(x, Tensor)]
    dtypes, home = [t.dtype for t in tensors], tensors[0].backend if tensors else None
    return [
        Tensor.around(asarray(x, np.result_type(*dtypes, x), home)) if isinstance(x, NUMBERS) else x for x in lifted
    ]


def as_tensor(rule: Callable, k: int, x: Any) -> Tensor:
    """A tensor of argument ``k`` of a rule; if none can be made, the error says of which."""
    try:
        return Tensor(x)
    except TypeError as error:
        raise TypeError(f"{argument_names(rule, k + 1)[k]}: {error}") from None


def share_counts(inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
    """Lets every output that is a view count its writes together with whatever it shares memory with."""
    for k, view in enumerate(outputs):
        shares = xp_of(view.array).may_share_memory if view.array.base is not None else operator.is_
        for other in itertools.chain(inputs, itertools.islice(outputs, k)):  # no list for each of many views
            if other is not None and shares(view.array, other.array):
                view.writes = other.writes
                break


def rule_of(function: Callable) -> Callable:
    """A function of tensors as a rule: its pullback is the tape's.

    With it the largest scale is the same kind of thing as the smallest: a whole model can be gradient-checked, or used
    inside another rule, like ``tanh``. It takes ``wanted``, and where nothing is wanted nothing is recorded. Complex
    arrays are differentiated too, as if they were real: a complex step through this pullback is a second derivative
    (``minirnn.hvp``).
    """

    @wraps(function)
    def rule(*arrays: Array | None, wanted: Sequence[bool] | None = None) -> tuple[Any, Callable]:
        n = len(arrays)
        wanted = (True,) * n if wanted is None else wanted
        inputs = [None if a is None else Tensor.around(a) for a in arrays]
        for t, flag in zip(inputs, wanted, strict=True):
            if t is not None:
                t.asks = flag and t.dtype.kind in "fc"
        record, inside = recording.set(any(wanted)), _inside_rule.set(True)
        try:
            output = function(*inputs)
        except TypeError as error:
            if "does not support ufuncs" not in str(error):
                raise
            raise TypeError(
                "a function of tensors applies a function of NumPy to one, which would keep no history; use "
                "x.tanh() or ops.tanh(x) in place of np.tanh(x)"
            ) from error
        finally:
            _inside_rule.reset(inside)
            recording.reset(record)
        outputs = list(output) if isinstance(output, (tuple, list)) else [output]
        if not all(isinstance(t, Tensor) for t in outputs):
            raise TypeError(
                f"a function of tensors must return a tensor or a tuple of them, got {type(output).__name__}"
            )
        saved = (inputs, outputs) if any(wanted) else None

        def rule_pullback(*cotangents: Array) -> tuple[Array | None, ...]:
            if saved is None:
                return (None,) * n
            inputs, outputs = saved
            used = [(t, c) for t, c in zip(outputs, cotangents, strict=True) if t.requires_grad]
            leaves = pull_back([t for t, _ in used], [c for _, c in used], retain_graph=True)
            asked = [t if t is not None and t.requires_grad else None for t in inputs]
            zeros = {id(t): (t, xp_of(t.array).zeros(t.shape, t.dtype)) for t in asked if t is not None}
            return tuple({**zeros, **leaves}.get(id(t), (t, None))[1] for t in asked)

        values = tuple(t.array for t in outputs)
        return values if isinstance(output, (tuple, list)) else values[0], rule_pullback

    with suppress(ValueError):  # of builtins without a signature, or if ``wanted`` is one of the arrays
        form = inspect.signature(function)
        own = inspect.Parameter("wanted", inspect.Parameter.KEYWORD_ONLY, default=None)
        places = [p for p in form.parameters.values() if p.kind is not p.VAR_KEYWORD]
        rule.__signature__ = form.replace(parameters=[*places, own])  # type: ignore[attr-defined]
    return rule


def inside_rule() -> bool:
    """Whether the call comes from a rule made by `rule_of`: only there complex numbers stand for real ones."""
    return _inside_rule.get()
