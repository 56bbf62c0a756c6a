"""Variations on what a rule is called with: other cotangents, fewer outputs, other precision, layout or home."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minirnn.arrays import Array, asarray, home_of, random_generator, to_numpy, xp_of


def cotangents_like(outputs: Sequence[Array], seed: int = 0) -> list[Array]:
    """One array of normal random numbers per output, with its shape, dtype and home."""
    random = random_generator(seed, "cotangents of laws")
    drawn = [np.asarray(random.standard_normal(y.shape)).astype(y.dtype) for y in outputs]
    return [asarray(c, backend=home_of(y)) for c, y in zip(drawn, outputs, strict=True)]


def only_outputs(rule: Callable, used: Sequence[int]) -> Callable:
    """The rule that returns, of the outputs of ``rule``, those that ``used`` lists."""

    def restricted(*inputs, **static):
        outputs, pullback = rule(*inputs, **static)

        def restricted_pullback(*cotangents):
            given = dict(zip(used, cotangents, strict=True))
            zeros = (xp_of(y).zeros(y.shape, y.dtype) for y in outputs)
            return pullback(*(given.get(k, zero) for k, zero in enumerate(zeros)))

        return tuple(outputs[k] for k in used), restricted_pullback

    restricted.__name__ = rule.__name__
    restricted.__signature__ = inspect.signature(rule)  # type: ignore[attr-defined]  # so that reports name its arguments
    return restricted


def _sliced(x: Array) -> Array:
    """``x`` as every other element, along every axis, of a larger array whose other elements are NaN or 1."""
    between = np.nan if x.dtype.kind == "f" else 1
    larger = xp_of(x).full(tuple(2 * size for size in x.shape), between, x.dtype)
    every_other = (..., *(slice(None, None, 2),) * x.ndim)
    larger[every_other] = x
    return larger[every_other]


def _reversed(x: Array) -> Array:
    """``x`` as a view that reads the memory of another array backwards, along every axis."""
    backwards = (..., *(slice(None, None, -1),) * x.ndim)
    return x[backwards].copy()[backwards]


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": lambda x: x.copy(order="F"),
    "slices": _sliced,
    "negative strides": _reversed,
}


def each(change: Callable[[Array], Array], arrays: Sequence) -> list:
    """``change`` of every array; ``None`` stays."""
    return [None if x is None else change(x) for x in arrays]


def in_float32(arrays: Sequence) -> list:
    """The arrays, those of floats rounded to float32."""
    return each(lambda x: x.astype(np.float32) if x.dtype.kind == "f" else x, arrays)


def on_numpy(thing: Any) -> Any:
    """The same with every array in it on the host."""
    if isinstance(thing, (tuple, list)):
        return type(thing)(on_numpy(part) for part in thing)
    if isinstance(thing, Mapping):
        return {key: on_numpy(part) for key, part in thing.items()}
    return to_numpy(thing) if hasattr(thing, "dtype") else thing
