"""How a law gives its verdict: arrays compared, and the sentence that names law, rule and argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from minirnn.arrays import Array, to_numpy
from minirnn.explaining import argument_names, name_of


def refuse(broken: bool, law: str, rule: Callable, what: str) -> None:
    """Raise if ``broken``."""
    if broken:
        raise AssertionError(sentence(law, rule, what))


def sentence(law: str, rule: Callable, what: str) -> str:
    """The message of a broken law."""
    return f"law {law}, rule {name_of(rule)}: {what}"


def gradients_with_names(rule: Callable, gradients: Sequence) -> Iterator[tuple[str, Array]]:
    """The gradients that are not ``None``, each with the name of its argument."""
    pairs = zip(argument_names(rule, len(gradients)), gradients, strict=True)
    return ((name, gradient) for name, gradient in pairs if gradient is not None)


def bits(arrays: Sequence) -> list[bytes | None]:
    """The contents of every array, to be compared later, when the array itself may have changed."""
    return [None if x is None else to_numpy(x).tobytes() for x in arrays]


def refuse_other_bits(rule: Callable, before: Sequence, now: Sequence, what: str, names: Sequence = ()) -> None:
    """Raise if an array no longer has the bits that it had; ``what`` happened to the one named, or numbered."""
    for k, (old, new) in enumerate(zip(before, bits(now), strict=True)):
        refuse(old != new, "pure", rule, f"{what} {repr(names[k]) if names else k}")


def refuse_different(
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

    Without a tolerance they may differ by rounding in their own precision, or in that of the arrays ``rounded``: by
    2e-10 in float64, and 1e-4 in float32, where less room is left between rounding and a mistake.
    """
    labels = [f"the gradient of {n!r}" for n in argument_names(rule, len(found))] if of == "gradient" else []
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        label = labels[k] if labels else f"output {k}"
        refuse((x is None) != (y is None), law, rule, f"{label} {what}: one is None")
        if x is None:
            continue
        refuse(x.shape != y.shape, law, rule, f"{label} {what}: shape {x.shape} in place of {y.shape}")
        eps = max(float(np.finfo(z.dtype).eps) for z in (x, *rounded))
        allowed = tolerance or eps * (2**20 if eps < 2**-50 else 2**10)
        a, b = to_numpy(x).astype(np.float64), to_numpy(y).astype(np.float64)
        size = max(1.0, np.abs(a).max(initial=0), np.abs(b).max(initial=0))
        error = np.abs(a - b).max(initial=0) / size
        refuse(not error <= allowed, law, rule, f"{label} {what}: relative error {error:.2g}, allowed {allowed:.2g}")
