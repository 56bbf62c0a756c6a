"""Second derivatives of a rule: its Hessian times a vector, by one complex step through the pullback.

The Hessian holds the derivatives of the gradient, and H v is the derivative of the gradient along v. The gradient is a
function like any other, so whatever differentiates functions along a line gives H v. Differences of gradients lose half
of the digits. But the pullback of an analytic rule is analytic too, and so the complex step of ``differences.py`` is
exact to rounding, with no pullback of a pullback to write:

    H v = Im gradient(x + i h v) / h
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minirnn.arrays import Array, to_numpy, xp_of
from minirnn.checking.contract import call_rule, is_differentiable
from minirnn.checking.differences import COMPLEX_STEP
from minirnn.checking.slopes import refuse_wrong_slopes
from minirnn.explaining import argument_names, name_of, refuse_gradients


def hessian_product(
    rule: Callable,
    arrays: Sequence[Array | None],
    vectors: Sequence[Array | None],
    *,
    names: Sequence[str] | None = None,
    check: bool = True,
) -> tuple[Array | None, ...]:
    """The Hessian of a rule with one number for output, times a vector given in one part per argument.

    Parameters
    ----------
    rule : callable
        ``rule(*arrays) -> (output, pullback)``.
    arrays, vectors : sequence of arrays
        The arguments, floating ones in float64, and for each its part of the vector; ``None`` for zeros.
    names : sequence of str, optional
        What to call the arguments in errors.
    check : bool
        Compare every entry with differences of gradients, after a look whether the gradient is the same twice.

    Returns
    -------
    tuple
        One array per floating argument, ``None`` for the others.

    Raises
    ------
    TypeError, ValueError
        As ``minirnn.hvp`` does.

    Examples
    --------
    >>> def cubes(x):
    ...     return (x**3).sum(), lambda dy: (3 * x**2 * dy,)
    >>> hessian_product(cubes, (np.array([1.0, 2.0]),), (np.array([1.0, 10.0]),))
    (array([  6., 120.]),)
    """
    names = names or argument_names(rule, len(arrays))
    vectors = _fitting(arrays, vectors, names)
    length = max(_largest(vectors), np.finfo(float).tiny)
    directions = [None if v is None else v / length for v in vectors]
    floating = [name for name, u in zip(names, directions, strict=True) if u is not None]

    def gradient_at(t: complex) -> tuple[float, list[Array]]:
        """Value and gradient, by floating arguments only, with these moved by ``t`` times their direction."""
        moved = arrays
        if t:
            moved = [x if u is None else x + t * u for x, u in zip(arrays, directions, strict=True)]
        value, gradient = _gradient(rule, moved, names)
        return value, [g for g, u in zip(gradient, directions, strict=True) if u is not None]

    if check:
        value, gradient = gradient_at(0.0)
        _refuse_not_finite(gradient, floating)
        for name, g, again in zip(floating, gradient, gradient_at(0.0)[1], strict=True):
            if to_numpy(g).tobytes() != to_numpy(again).tobytes():
                raise ValueError(
                    f"{name_of(rule)} called twice gives other bits in the gradient of {name!r}; second derivatives "
                    "need a function that answers alike every time: put layers with dropout in evaluation mode"
                )
    slopes = _slopes(gradient_at, floating)
    if check:
        unit = max(1.0, _largest(arrays))
        refuse_wrong_slopes(floating, slopes, value, gradient, lambda t: gradient_at(t)[1], unit)
    products = iter(slopes)
    return tuple(None if u is None else xp_of(u).asarray(next(products) * length) for u in directions)


def _gradient(rule: Callable, arrays: Sequence[Array | None], names: Sequence[str]) -> tuple[float, Sequence[Array]]:
    """The one number that the rule returns, or its real part, and its gradient."""
    outputs, pullback = call_rule(rule, arrays, {})
    if len(outputs) != 1 or outputs[0].size != 1:
        shapes = ", ".join(str(y.shape) for y in outputs)
        raise ValueError(f"a Hessian belongs to a function with one output of one element, got {shapes}")
    y = outputs[0]
    if y.dtype not in (np.float64, np.complex128):
        raise TypeError(f"the output is {y.dtype}; second derivatives are taken in float64 throughout")
    gradient = pullback(xp_of(y).ones(y.shape, y.dtype))
    refuse_gradients(rule, gradient, names, [None if x is None or x.dtype.kind in "iub" else x.shape for x in arrays])
    gradient = gradient[: len(arrays)]
    for x, g in zip(arrays, gradient, strict=True):
        lost = x is not None and x.dtype.kind == "c" and not y.dtype.kind == g.dtype.kind == "c"
        if lost and to_numpy(g).any():  # a gradient of zeros has lost nothing: the output is constant
            raise TypeError(f"the imaginary part is lost: the output became {y.dtype}, a gradient {g.dtype}")
    return float(to_numpy(y).real.item()), gradient


def _slopes(gradient_at: Callable, names: Sequence[str]) -> list[Array]:
    """How fast the gradient changes, by one complex step."""
    try:
        _, gradient = gradient_at(1j * COMPLEX_STEP)
    except Exception as refusal:
        gradient_at(0.0)  # raises again what is not the complex numbers' fault
        raise TypeError(
            "second derivatives need a function of complex numbers, and this one does not take them "
            f"({type(refusal).__name__}: {refusal})"
        ) from refusal
    _refuse_not_finite(gradient, names)
    return [g.imag / COMPLEX_STEP for g in gradient]


def _refuse_not_finite(gradient: Sequence[Array], names: Sequence[str]) -> None:
    for name, x in zip(names, gradient, strict=True):
        finite = np.isfinite(to_numpy(x))
        if not finite.all():
            first = tuple(map(int, np.argwhere(~finite)[0]))
            raise ValueError(
                f"the gradient of {name!r} is not finite at this point, first at {first}: no second derivative is there"
            )


def _fitting(
    arrays: Sequence[Array | None], vectors: Sequence[Array | None], names: Sequence[str]
) -> list[Array | None]:
    """The vectors in float64, zeros for what is missing, ``None`` where an argument has no derivative."""
    if len(vectors) != len(arrays):
        raise ValueError(f"vectors must have {len(arrays)} parts, for {', '.join(names)}; got {len(vectors)}")
    fitting: list[Array | None] = []
    for name, x, v in zip(names, arrays, vectors, strict=True):
        if x is None or x.dtype.kind in "iub":
            if v is not None:
                kind = "not given" if x is None else x.dtype
                raise ValueError(f"the vector's part for {name!r} must be None, because the input is {kind}")
            fitting.append(None)
            continue
        if x.dtype != np.float64:
            raise TypeError(f"input {name!r} is {x.dtype}; second derivatives are taken in float64: convert it")
        v = xp_of(x).zeros_like(x) if v is None else v
        xp_of(x, v)  # raises where they live in different places
        if v.dtype.kind not in "fiub":
            raise TypeError(f"the vector's part for {name!r} must be real, got dtype {v.dtype}")
        if v.shape != x.shape:
            raise ValueError(
                f"the vector's part for {name!r} must have the shape of the input, {x.shape}, got {v.shape}"
            )
        for what, numbers in (("input", x), ("the vector's part for", v)):
            if not np.isfinite(to_numpy(numbers)).all():
                raise ValueError(f"{what} {name!r} holds values that are not finite")
        fitting.append(v.astype(x.dtype))
    if all(v is None for v in fitting):
        raise ValueError("nothing to differentiate: no input is a float array")
    return fitting


def _largest(arrays: Sequence[Array | None]) -> float:
    """The largest absolute value among floating arrays."""
    return max((float(np.abs(to_numpy(x)).max(initial=0)) for x in arrays if is_differentiable(x)), default=0.0)
