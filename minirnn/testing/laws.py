"""The laws that every rule keeps, as functions to call on any rule, one's own included.

A gradient check compares one pullback with numbers at one point. The laws around it catch what that leaves open: a
pullback that writes into the loss's gradient, that is right only if all outputs are used, that turns float32 into
float64, that reads memory in the wrong order, or that keeps arrays nobody asked for.

Each law takes ``(rule, inputs, static)``, as `minirnn.checking.check_rule` does, and raises an ``AssertionError`` that
names the law and the argument. `check_laws` goes through all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from minirnn.arrays import home_of, to_numpy, xp_of
from minirnn.checking import check_rule
from minirnn.explaining import argument_names
from minirnn.testing.captured import arrays_in
from minirnn.testing.inner_laws import keeps_what_it_reads, passes_complex_numbers, probes_see_the_truth
from minirnn.testing.variants import LAYOUTS, cotangents_like, each, in_float32, on_numpy, only_outputs
from minirnn.testing.verdicts import bits, gradients_with_names, refuse, refuse_different, refuse_other_bits, sentence

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
        Draws the random cotangents.

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
    """The pullback gives the derivative that numbers give: complex step if the rule is analytic, else differences."""
    check_rule(rule, inputs, static, seed=seed)


def linear_in_the_cotangent(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """``pullback(2 u - 3 v) = 2 pullback(u) - 3 pullback(v)``."""
    outputs, pullback = _call(rule, inputs, static)
    u, v = cotangents_like(outputs, seed), cotangents_like(outputs, seed + 1)
    mixed = pullback(*(2 * c - 3 * d for c, d in zip(u, v, strict=True)))
    apart = [None if p is None else 2 * p - 3 * q for p, q in zip(pullback(*u), pullback(*v), strict=True)]
    refuse_different("linear_in_the_cotangent", rule, mixed, apart, "is not linear in the cotangent", rounded=outputs)


def pure(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Called twice, rule and pullback give the same bits, and write into nothing: inputs, outputs, cotangents."""
    inputs = each(lambda x: x.copy(), inputs)
    inputs_before = bits(inputs)
    outputs, pullback = _call(rule, inputs, static)
    outputs_before = bits(outputs)
    refuse_other_bits(
        rule, outputs_before, _call(rule, inputs, static)[0], "called twice it gives other bits in output"
    )
    cotangents = cotangents_like(outputs, seed)
    cotangents_before = bits(cotangents)
    gradients = bits(pullback(*cotangents))  # now: a pullback may use its buffers again
    again = pullback(*cotangents)
    names = argument_names(rule, len(gradients))
    refuse_other_bits(rule, gradients, again, "its pullback called twice gives other bits for", names)
    refuse_other_bits(rule, inputs_before, inputs, "it or its pullback wrote into", names)
    refuse_other_bits(rule, outputs_before, outputs, "its pullback wrote into output")
    refuse_other_bits(rule, cotangents_before, cotangents, "its pullback wrote into cotangent")


def zero_gives_zero(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Cotangents of zero give gradients of exactly zero."""
    outputs, pullback = _call(rule, inputs, static)
    zeros = [xp_of(y).zeros(y.shape, y.dtype) for y in outputs]
    for name, gradient in gradients_with_names(rule, pullback(*zeros)):
        refuse(bool(to_numpy(gradient != 0).any()), "zero_gives_zero", rule, f"the gradient of {name!r} is not zero")


def every_subset_of_outputs(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Whichever outputs are used, zeros as cotangents of the others give the gradient of those.

    Of one output that is the gradient that numbers give; of several the sum of those of each.
    """
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    everyone = range(len(outputs))
    if len(everyone) == 1:
        return

    def of(used: Sequence[int]) -> list:
        found = pullback(*(c if k in used else 0 * c for k, c in enumerate(cotangents)))
        return each(lambda dx: dx.copy(), found)  # now: a pullback may use its buffers again

    for k in everyone:
        try:
            check_rule(only_outputs(rule, (k,)), inputs, static, seed=seed, max_entries=8)
        except AssertionError as error:
            what = f"with zeros for all outputs but {(k,)}: {error}"
            raise AssertionError(sentence("every_subset_of_outputs", rule, what)) from error
    alone = [of((k,)) for k in everyone]
    for size in range(2, len(outputs)):
        for used in combinations(everyone, size):
            expected = [None if dxs[0] is None else sum(dxs) for dxs in zip(*(alone[k] for k in used), strict=True)]
            what = f"with zeros for all outputs but {used} is not the sum of theirs"
            refuse_different("every_subset_of_outputs", rule, of(used), expected, what, rounded=outputs)


def float32_stays_float32(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Float32 in, float32 out: outputs and gradients, and near those of float64."""
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    singles, single_pullback = _call(rule, in_float32(inputs), static)
    for k, y in enumerate(singles):
        refuse(y.dtype != np.float32, "float32_stays_float32", rule, f"output {k} became {y.dtype}")
    gradients = single_pullback(*in_float32(cotangents))
    for name, gradient in gradients_with_names(rule, gradients):
        what = f"the gradient of {name!r} became {gradient.dtype}"
        refuse(gradient.dtype != np.float32, "float32_stays_float32", rule, what)
    what = "is far from that of float64"
    refuse_different("float32_stays_float32", rule, gradients, pullback(*cotangents), what, tolerance=1e-2)


def any_memory_layout(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """C order, Fortran order, every other element of a larger array, negative strides: the same numbers."""
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    gradients = pullback(*cotangents)
    for name, layout in LAYOUTS.items():
        ys, pullback = _call(rule, each(layout, inputs), static)
        refuse_different("any_memory_layout", rule, ys, outputs, f"differs for inputs in {name}", of="output")
        found = pullback(*each(layout, cotangents))
        refuse_different("any_memory_layout", rule, found, gradients, f"differs for inputs and cotangents in {name}")


def same_on_numpy(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Outputs and gradients are those that NumPy gives for the same numbers, and live where the inputs live."""
    if home_of(next(x for x in inputs if x is not None)) == "numpy":
        return
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    gradients = pullback(*cotangents)
    for name, gradient in gradients_with_names(rule, gradients):
        home = home_of(gradient)
        refuse(home == "numpy", "same_on_numpy", rule, f"the gradient of {name!r} lives on {home}")
    expected, pullback = _call(rule, *on_numpy((inputs, static)))
    refuse_different("same_on_numpy", rule, on_numpy(outputs), expected, "differs from NumPy's", of="output")
    expected = pullback(*on_numpy(cotangents))
    refuse_different("same_on_numpy", rule, on_numpy(gradients), expected, "differs from NumPy's")


def wanted_decides(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """``wanted`` changes no bit of what is asked for, gives ``None`` for the rest, and saves nothing for nothing.

    Rules without the keyword ``wanted`` keep this law by having no such choice.
    """
    if "wanted" not in inspect.signature(rule).parameters:
        return
    static = {key: value for key, value in (static or {}).items() if key != "wanted"}
    outputs, pullback = _call(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    full = pullback(*cotangents)
    names = argument_names(rule, len(full))

    def ask(*flags):
        ys, pullback = _call(rule, inputs, {**static, "wanted": flags})
        asked = next((name for name, flag in zip(names, flags, strict=True) if flag), "nothing")
        refuse(bits(ys) != bits(outputs), "wanted_decides", rule, f"with {asked} wanted the output has other bits")
        return pullback

    for k, asked in enumerate(names):
        gradients = ask(*(j == k for j in range(len(names))))(*cotangents)
        other_bits = bits(gradients[k : k + 1]) != bits(full[k : k + 1])
        refuse(other_bits, "wanted_decides", rule, f"the gradient of {asked!r} alone has other bits")
        for name, _ in gradients_with_names(rule, gradients):
            refuse(name != asked, "wanted_decides", rule, f"with {asked!r} wanted there is a gradient of {name!r}")
    pullback = ask(*(False for _ in names))
    count = len(arrays_in(pullback))
    refuse(count > 0, "wanted_decides", rule, f"with nothing wanted the pullback still holds {count} arrays")
    gradients = pullback(*cotangents)
    short = len(gradients) != len(full)
    refuse(short, "wanted_decides", rule, f"with nothing wanted there are {len(gradients)} entries, not {len(full)}")
    for name, _ in gradients_with_names(rule, gradients):
        raise AssertionError(sentence("wanted_decides", rule, f"with nothing wanted there is a gradient of {name!r}"))


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
    keeps_what_it_reads,
    passes_complex_numbers,
    probes_see_the_truth,
)


def _call(rule: Callable, inputs: Sequence, static: Static | None) -> tuple[tuple, Callable]:
    output, pullback = rule(*inputs, **(static or {}))
    return (output if isinstance(output, tuple) else (output,)), pullback
