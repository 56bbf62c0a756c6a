"""The laws that every rule keeps, as functions to call on any rule, one's own included.

A gradient check compares one pullback with numbers at one point. The laws around it catch what that leaves open: a
pullback that writes into the loss's gradient, that is right only if all outputs are used, that turns float32 into
float64, that reads memory in the wrong order, or that keeps arrays nobody asked for.

Each law takes ``(rule, inputs, static)``, as `minirnn.checking.check_rule` does, and raises an ``AssertionError`` that
names the law and the argument. `check_laws` goes through all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from minirnn.arrays import Array, home_of, to_numpy, xp_of
from minirnn.checking import check_rule
from minirnn.testing.captured import arrays_in
from minirnn.testing.variants import LAYOUTS, cotangents_like, each, in_float32, on_numpy, only_outputs

Static = Mapping[str, Any]


def check_laws(
    rule: Callable, inputs: Sequence, static: Static | None = None, *, without: Sequence[str] = (), seed: int = 0
) -> None:
    """Raise unless ``rule`` keeps every law at ``inputs``.

    Parameters
    ----------
    rule : callable
        ``rule(*arrays, **static) -> (output, pullback)``.
    inputs : sequence of arrays
        Float64, integer or boolean arrays; ``None`` for an optional argument that is not given. They should be generic:
        random, distinct, not zero, away from kinks.
    static : mapping, optional
        Keyword arguments of the rule.
    without : sequence of str
        Names of laws that the rule is not meant to keep, such as ``"float32_stays_float32"`` for a cast.
    seed : int
        Of the random cotangents.

    Raises
    ------
    AssertionError
        Naming the law and the argument or output.

    Examples
    --------
    >>> from minirnn import rules
    >>> check_laws(rules.tanh, (np.array([0.5, -1.0]),))
    >>> def mean(x):
    ...     return x.mean(), lambda dy: (np.full(x.shape, dy / x.size, "float64"),)
    >>> check_laws(mean, (np.array([0.5, -1.0]),))
    Traceback (most recent call last):
    AssertionError: law float32_stays_float32, rule mean: the gradient of 'x' became float64
    """
    unknown = set(without) - {law.__name__ for law in LAWS}
    if unknown:
        raise ValueError(f"without must name laws ({', '.join(law.__name__ for law in LAWS)}), got {sorted(unknown)}")
    for law in LAWS:
        if law.__name__ not in without:
            law(rule, inputs, static, seed=seed)


def gradients_match_numbers(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """The pullback gives the derivative that numbers give: complex step where the rule is analytic, else differences."""
    check_rule(rule, inputs, static, seed=seed)


def linear_in_the_cotangent(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """``pullback(2 u - 3 v) = 2 pullback(u) - 3 pullback(v)``."""
    outputs, pullback = _call(rule, inputs, static)
    u, v = cotangents_like(outputs, seed), cotangents_like(outputs, seed + 1)
    mixed = pullback(*(2 * c - 3 * d for c, d in zip(u, v, strict=True)))
    apart = [None if p is None else 2 * p - 3 * q for p, q in zip(pullback(*u), pullback(*v), strict=True)]
    _refuse_different("linear_in_the_cotangent", rule, mixed, apart, "is not linear in the cotangent", rounded=outputs)


def pure(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Called twice, rule and pullback give the same bits, and write into nothing: inputs, outputs, cotangents."""
    given = [None if x is None else x.copy() for x in inputs]
    before = _bits(given)
    outputs, pullback = _call(rule, given, static)
    outputs_before = _bits(outputs)
    again, _ = _call(rule, given, static)
    for k, (first, second) in enumerate(zip(outputs_before, _bits(again), strict=True)):
        _refuse(first != second, "pure", rule, f"called twice it gives other bits in output {k}")
    cotangents = cotangents_like(outputs, seed)
    cotangents_before = _bits(cotangents)
    first = _bits(pullback(*cotangents))
    second = _bits(pullback(*cotangents))
    for name, p, q in zip(_names(rule, len(first)), first, second, strict=True):
        _refuse(p != q, "pure", rule, f"its pullback called twice gives other bits for {name!r}")
    for name, p, q in zip(_names(rule, len(given)), before, _bits(given), strict=True):
        _refuse(p != q, "pure", rule, f"the input {name!r} was written into")
    for what, kept, now in (("output", outputs_before, outputs), ("cotangent", cotangents_before, cotangents)):
        for k, (p, q) in enumerate(zip(kept, _bits(now), strict=True)):
            _refuse(p != q, "pure", rule, f"its pullback wrote into {what} {k}")


def zero_gives_zero(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Cotangents of zero give gradients of exactly zero."""
    outputs, pullback = _call(rule, inputs, static)
    zeros = [xp_of(y).zeros(y.shape, y.dtype) for y in outputs]
    for name, gradient in _gradients(rule, pullback(*zeros)):
        _refuse(bool(to_numpy(gradient != 0).any()), "zero_gives_zero", rule, f"the gradient of {name!r} is not zero")


def every_subset_of_outputs(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Whichever outputs are used, zeros as cotangents of the others give the gradient of those."""
    outputs, _ = _call(rule, inputs, static)
    for size in range(1, len(outputs)):
        for used in combinations(range(len(outputs)), size):
            try:
                check_rule(only_outputs(rule, used), inputs, static, seed=seed)
            except AssertionError as error:
                what = f"with zeros for all outputs but {used}: {error}"
                raise AssertionError(_sentence("every_subset_of_outputs", rule, what)) from error


def float32_stays_float32(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Float32 in, float32 out: outputs and gradients, and near those of float64."""
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    singles, single_pullback = _call(rule, in_float32(inputs), static)
    for k, y in enumerate(singles):
        _refuse(y.dtype != np.float32, "float32_stays_float32", rule, f"output {k} became {y.dtype}")
    gradients = single_pullback(*in_float32(cotangents))
    for name, gradient in _gradients(rule, gradients):
        what = f"the gradient of {name!r} became {gradient.dtype}"
        _refuse(gradient.dtype != np.float32, "float32_stays_float32", rule, what)
    what = "is far from that of float64"
    _refuse_different("float32_stays_float32", rule, gradients, pullback(*cotangents), what, tolerance=1e-2)


def any_memory_layout(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """C order, Fortran order, every other element of a larger array, negative strides: the same numbers."""
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    gradients = pullback(*cotangents)
    for name, layout in LAYOUTS.items():
        ys, pullback = _call(rule, each(layout, inputs), static)
        _refuse_different("any_memory_layout", rule, ys, outputs, f"differs for inputs in {name}", of="output")
        found = pullback(*each(layout, cotangents))
        _refuse_different("any_memory_layout", rule, found, gradients, f"differs for inputs and cotangents in {name}")


def same_on_numpy(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Outputs and gradients are those that NumPy gives for the same numbers, and live where the inputs live."""
    if home_of(next(x for x in inputs if x is not None)) == "numpy":
        return
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    gradients = pullback(*cotangents)
    for name, gradient in _gradients(rule, gradients):
        home = home_of(gradient)
        _refuse(home == "numpy", "same_on_numpy", rule, f"the gradient of {name!r} lives on {home}")
    expected, pullback = _call(rule, *on_numpy((inputs, static)))
    _refuse_different("same_on_numpy", rule, on_numpy(outputs), expected, "differs from NumPy's", of="output")
    expected = pullback(*on_numpy(cotangents))
    _refuse_different("same_on_numpy", rule, on_numpy(gradients), expected, "differs from NumPy's")


def wanted_decides(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """``wanted`` changes no bit of what is asked for, gives ``None`` for the rest, and saves nothing for nothing.

    Rules without the keyword ``wanted`` keep this law by having no such choice.
    """
    if "wanted" not in inspect.signature(rule).parameters:
        return
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    full = pullback(*cotangents)
    names = _names(rule, len(full))
    def ask(*flags):
        ys, pullback = _call(rule, inputs, {**(static or {}), "wanted": flags})
        asked = next((name for name, flag in zip(names, flags, strict=True) if flag), "nothing")
        _refuse(_bits(ys) != _bits(outputs), "wanted_decides", rule, f"with {asked} wanted the output has other bits")
        return pullback

    for k, asked in enumerate(names):
        gradients = ask(*(j == k for j in range(len(names))))(*cotangents)
        other_bits = _bits(gradients[k : k + 1]) != _bits(full[k : k + 1])
        _refuse(other_bits, "wanted_decides", rule, f"the gradient of {asked!r} alone has other bits")
        for name, gradient in _gradients(rule, gradients):
            _refuse(name != asked, "wanted_decides", rule, f"with {asked!r} wanted there is a gradient of {name!r}")
    count = len(arrays_in(ask(*(False for _ in names))))
    _refuse(count > 0, "wanted_decides", rule, f"with nothing wanted the pullback still holds {count} arrays")


LAWS = (
    pure,
    gradients_match_numbers,
    linear_in_the_cotangent,
    zero_gives_zero,
    every_subset_of_outputs,
    float32_stays_float32,
    any_memory_layout,
    same_on_numpy,
    wanted_decides,
)


def _call(rule: Callable, inputs: Sequence, static: Static | None) -> tuple[tuple, Callable]:
    output, pullback = rule(*inputs, **(static or {}))
    return (output if isinstance(output, tuple) else (output,)), pullback


def _names(rule: Callable, count: int) -> list[str]:
    positional = [p for p in inspect.signature(rule).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    names = [p.name for p in positional if p.kind is not p.VAR_POSITIONAL]
    return [*names, *(f"argument {k}" for k in range(len(names), count))][:count]


def _gradients(rule: Callable, gradients: Sequence) -> Iterator[tuple[str, Array]]:
    pairs = zip(_names(rule, len(gradients)), gradients, strict=True)
    return ((name, gradient) for name, gradient in pairs if gradient is not None)


def _bits(arrays: Sequence) -> list[bytes | None]:
    return [None if x is None else to_numpy(x).tobytes() for x in arrays]


def _refuse_different(
    law: str,
    rule: Callable,
    found: Sequence,
    expected: Sequence,
    what: str,
    of: str = "gradient",
    tolerance: float | None = None,
    rounded: Sequence = (),
) -> None:
    """Compare arrays one by one, differences measured against the largest number in either, or one.

    Without a tolerance they may differ by rounding in their own precision, or in that of the arrays ``rounded``.
    """
    labels = [f"the gradient of {n!r}" for n in _names(rule, len(found))] if of == "gradient" else []
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        label = labels[k] if labels else f"output {k}"
        _refuse((x is None) != (y is None), law, rule, f"{label} {what}: one is None")
        if x is None:
            continue
        _refuse(x.shape != y.shape, law, rule, f"{label} {what}: shape {x.shape} in place of {y.shape}")
        allowed = tolerance or 2**20 * max(float(np.finfo(z.dtype).eps) for z in (x, *rounded))  # 2e-10 in float64
        a, b = to_numpy(x).astype(np.float64), to_numpy(y).astype(np.float64)
        size = max(1.0, np.abs(a).max(initial=0), np.abs(b).max(initial=0))
        error = np.abs(a - b).max(initial=0) / size
        _refuse(not error <= allowed, law, rule, f"{label} {what}: relative error {error:.2g}, allowed {allowed:.2g}")


def _refuse(broken: bool, law: str, rule: Callable, what: str) -> None:
    if broken:
        raise AssertionError(_sentence(law, rule, what))


def _sentence(law: str, rule: Callable, what: str) -> str:
    return f"law {law}, rule {rule.__name__}: {what}"
