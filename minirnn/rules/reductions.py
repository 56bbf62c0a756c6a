"""Functions that sum up axes: sums, means, extrema, the softmax family, and layer normalisation."""

from __future__ import annotations

import math
from numbers import Real

from numpy.lib.array_utils import normalize_axis_index

from minirnn.arguments import at_least_0
from minirnn.arrays import xp_of


def kept_shape(x, axis):
    """The shape of a reduction of ``x`` over ``axis`` (``None``, an integer or a tuple) if it kept its axes as ones."""
    if axis is None:
        return (1,) * x.ndim
    try:
        axes = {normalize_axis_index(k, x.ndim) for k in (axis if isinstance(axis, tuple) else (axis,))}
    except TypeError:
        raise TypeError(f"axis must be None, an integer or a tuple of integers, got {axis!r}") from None
    return tuple(1 if k in axes else size for k, size in enumerate(x.shape))


def count(x, axis):
    """How many elements one result of a reduction over ``axis`` sums up."""
    return math.prod(size for size, kept in zip(x.shape, kept_shape(x, axis), strict=True) if kept == 1)


def refuse_empty(rule, x, axis):
    """Raises where a result over ``axis`` would have no elements to be made of."""
    if count(x, axis) == 0:
        raise ValueError(f"{rule} needs at least one element; x has shape {x.shape} and axis is {axis}")


def sum(x, *, axis=None, keepdims=False):
    """The sum over ``axis`` (an integer or a tuple); over all axes without it."""
    xp, shape, kept = xp_of(x), x.shape, kept_shape(x, axis)

    def sum_pullback(dy):
        return (xp.broadcast_to(dy.reshape(kept), shape),)

    return x.sum(axis=axis, keepdims=keepdims), sum_pullback


def mean(x, *, axis=None, keepdims=False):
    """The mean over ``axis``; over all axes without it."""
    refuse_empty("mean", x, axis)
    xp, shape, kept, n = xp_of(x), x.shape, kept_shape(x, axis), count(x, axis)

    def mean_pullback(dy):
        return (xp.broadcast_to(dy.reshape(kept) / n, shape),)

    return x.sum(axis=axis, keepdims=keepdims) / n, mean_pullback


def var(x, *, axis=None, keepdims=False, ddof=0):
    """Variance: the sum of the squared distances from the mean, divided by ``n - ddof``."""
    at_least_0(ddof=ddof)
    n, kept = count(x, axis) - float(ddof), kept_shape(x, axis)  # a number of NumPy's would widen single precision
    if n <= 0:
        raise ValueError(f"var needs more than ddof={ddof} elements; x has shape {x.shape} and axis is {axis}")
    centred = x - x.sum(axis=axis, keepdims=True) / count(x, axis)

    def var_pullback(dy):  # nothing is asked of the mean: the centred values sum to zero
        return (dy.reshape(kept) * (2 / n) * centred,)

    return (centred * centred).sum(axis=axis, keepdims=keepdims) / n, var_pullback


def std(x, *, axis=None, keepdims=False, ddof=0):
    """Standard deviation, the root of `var`; with derivative 0 where all elements are equal."""
    xp = xp_of(x)
    variance, var_pullback = var(x, axis=axis, keepdims=keepdims, ddof=ddof)
    y = xp.sqrt(variance)
    equal = x.max(axis=axis, keepdims=keepdims) == x.min(axis=axis, keepdims=keepdims)  # where y may be a mere rounding

    def std_pullback(dy):
        return var_pullback(dy / xp.where(equal | (y == 0), xp.inf, 2 * y))

    return y, std_pullback


def max(x, *, axis=None, keepdims=False):
    """The largest element, NaN if any is; equal ones share the cotangent."""
    refuse_empty("max", x, axis)
    y = x.max(axis=axis, keepdims=keepdims)

    def max_pullback(dy):
        return (_to_equals(dy, x, y, axis),)

    return y, max_pullback


def min(x, *, axis=None, keepdims=False):
    """The smallest element, NaN if any is; equal ones share the cotangent."""
    refuse_empty("min", x, axis)
    y = x.min(axis=axis, keepdims=keepdims)

    def min_pullback(dy):
        return (_to_equals(dy, x, y, axis),)

    return y, min_pullback


def _to_equals(dy, x, y, axis):
    """The cotangent ``dy`` of the extremum ``y`` in equal shares for the elements of ``x`` that equal it."""
    kept = kept_shape(x, axis)
    xp, winners = xp_of(x), x == y.reshape(kept)
    return xp.where(winners, dy.reshape(kept) / winners.sum(axis=axis, keepdims=True, dtype=x.dtype), 0)


def logsumexp(x, *, axis=None, keepdims=False):
    """``log(sum(exp(x)))``, with the largest element taken out first so that nothing overflows.

    Its derivative is ``softmax(x)``. Where all are ``-inf`` so is the result, and each gets a derivative of 0.
    """
    refuse_empty("logsumexp", x, axis)
    xp, kept = xp_of(x), kept_shape(x, axis)
    largest = x.max(axis=axis, keepdims=True)
    p = xp.exp(x - xp.where(xp.isinf(largest), 0, largest))  # inf - inf would be nan
    total = p.sum(axis=axis, keepdims=True)
    total = xp.where(total == 0, 1, total)
    p /= total
    y = xp.log(total) + largest

    def logsumexp_pullback(dy):
        return (dy.reshape(kept) * p,)

    return y if keepdims else y.squeeze(axis), logsumexp_pullback


def softmax(x, *, axis=-1):
    """``exp(x) / sum(exp(x))`` along ``axis``.

    The Jacobian along the axis is diag(y) - y y.T: each x raises its own y, and lowers all by way of the sum. So

        dx = y * (dy - sum(y * dy))
    """
    refuse_empty("softmax", x, axis)
    y = xp_of(x).exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)

    def softmax_pullback(dy):
        return (y * (dy - (dy * y).sum(axis=axis, keepdims=True)),)

    return y, softmax_pullback


def log_softmax(x, *, axis=-1):
    """``x - logsumexp(x)`` along ``axis``; ``dx = dy - softmax(x) * sum(dy)``."""
    refuse_empty("log_softmax", x, axis)
    xp = xp_of(x)
    shifted = x - x.max(axis=axis, keepdims=True)
    y = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))

    def log_softmax_pullback(dy):
        return (dy - xp.exp(y) * dy.sum(axis=axis, keepdims=True),)

    return y, log_softmax_pullback


def layer_norm(
    x,
    weight,  # (F,), F the length of the axis
    bias,  # (F,)
    *,
    axis=-1,
    eps=1e-5,
):
    """Standardises ``x`` along ``axis``, then scales and shifts each feature (Ba et al. 2016).

        u = (x - mean(x)) / s,   s = sqrt(var(x) + eps)     (1)
        y = weight * u + bias                               (2)

    Backward, with du = weight * dy. An x acts on its own u, and on all of them by way of the mean and of s:

        dx = (du - mean(du) - u * mean(du * u)) / s         (1)
    """
    xp, axis = xp_of(x, weight, bias), normalize_axis_index(axis, x.ndim)
    along = tuple(-1 if k == axis else 1 for k in range(x.ndim))
    others = tuple(k for k in range(x.ndim) if k != axis)
    n = x.shape[axis]
    if not isinstance(eps, Real) or not 0 <= eps < math.inf:
        raise ValueError(f"eps must be a number from 0, got {eps!r}")
    if weight.shape != (n,) or bias.shape != (n,):
        got = f"got x {x.shape}, weight {weight.shape}, bias {bias.shape}"
        raise ValueError(f"layer_norm needs x (...) of length F along axis {axis}, weight (F,) and bias (F,); {got}")

    def average(v):
        return v.sum(axis=axis, keepdims=True) / n

    centred = x - average(x)
    s = xp.sqrt(average(centred * centred) + float(eps))  # one of NumPy would widen single precision
    u = centred / s  # (1)

    def layer_norm_pullback(dy):
        du = weight.reshape(along) * dy  # (2)
        dx = (du - average(du) - u * average(du * u)) / s  # (1)
        return dx, (dy * u).sum(axis=others), dy.sum(axis=others)

    return weight.reshape(along) * u + bias.reshape(along), layer_norm_pullback  # (2)
