"""Functions of single numbers, applied to every element, with NumPy's broadcasting."""

from __future__ import annotations

import math

from numpy.lib.array_utils import normalize_axis_index

from minirnn.arguments import booleans_in, not_negative
from minirnn.arrays import xp_of
from minirnn.kernels import kernels_of

ROWS = 64  # are added up one by one


def sum_to(dy, shape):
    """Broadcasting undone: sums ``dy`` over every axis along which ``shape`` was stretched.

    An element that was stretched had many readers, and what they ask of it adds up.

    Examples
    --------
    >>> import numpy as np
    >>> sum_to(np.ones((4, 2, 3)), (2, 1)).tolist()
    [[12.0], [12.0]]
    """
    if dy.shape == shape:
        return dy
    xp = xp_of(dy)
    for _ in range(dy.ndim - len(shape)):
        dy = sum_rows(dy)
    for k in reversed(range(len(shape))):
        if shape[k] == 1:
            dy = sum_rows(xp.moveaxis(dy, k, 0))
    return dy.reshape(shape)


def sum_rows(x):
    """The sum over the first axis, of runs of rows first and then of the runs.

    NumPy adds up an axis that is not the innermost in memory one row after the other, and rounding grows with their
    number: of 64,000 rows alike in float32 a thousandth of the sum is lost, by runs 4e-6, in the same time.
    """
    if len(x) <= ROWS or x.strides[0] == x.itemsize:
        return x.sum(axis=0)
    run = math.isqrt(len(x))
    whole = len(x) // run * run
    return x[:whole].reshape(-1, run, *x.shape[1:]).sum(axis=1).sum(axis=0) + x[whole:].sum(axis=0)


def add(x, y):
    """``x + y``."""
    x_shape, y_shape = x.shape, y.shape  # the pullback captures two shapes, not two arrays

    def add_pullback(dz):
        return sum_to(dz, x_shape), sum_to(dz, y_shape)

    return x + y, add_pullback


def subtract(x, y):
    """``x - y``."""
    x_shape, y_shape = x.shape, y.shape

    def subtract_pullback(dz):
        return sum_to(dz, x_shape), sum_to(-dz, y_shape)

    return x - y, subtract_pullback


def multiply(x, y, *, wanted=(True, True)):
    """``x * y``."""
    x_shape, y_shape = x.shape, y.shape
    x_saved, y_saved = (x if wanted[1] else None), (y if wanted[0] else None)

    def multiply_pullback(dz):
        dx = sum_to(dz * y_saved, x_shape) if wanted[0] else None
        dy = sum_to(dz * x_saved, y_shape) if wanted[1] else None
        return dx, dy

    return x * y, multiply_pullback


def divide(x, y, *, wanted=(True, True)):
    """``x / y``."""
    x_shape, y_shape, z = x.shape, y.shape, x / y
    y_saved, z_saved = (y if any(wanted) else None), (z if wanted[1] else None)

    def divide_pullback(dz):
        dx = dz / y_saved if any(wanted) else None
        dy = sum_to(-dx * z_saved, y_shape) if wanted[1] else None
        return sum_to(dx, x_shape) if wanted[0] else None, dy

    return z, divide_pullback


def power(x, p, *, wanted=(True, True)):
    """``x**p``; the derivative by ``p`` is taken as 0 where ``x`` is 0, and that of ``x**0`` is 0 everywhere."""
    xp = xp_of(x, p)
    x_shape, p_shape, z = x.shape, p.shape, x**p
    x_saved, p_saved, z_saved = (x if any(wanted) else None), (p if wanted[0] else None), (z if wanted[1] else None)

    def power_pullback(dz):
        dx = dp = None
        if wanted[0]:
            exponent = xp.where(p_saved == 0, p_saved, p_saved - 1)  # 0 * x**0 rather than 0 * x**-1
            dx = sum_to(dz * p_saved * x_saved**exponent, x_shape)
        if wanted[1]:
            dp = sum_to(dz * z_saved * xp.log(xp.where(x_saved == 0, xp.ones_like(x_saved), x_saved)), p_shape)
        return dx, dp

    return z, power_pullback


def negative(x):
    """``-x``."""

    def negative_pullback(dy):
        return (-dy,)

    return -x, negative_pullback


def abs(x):
    """``|x|``, with derivative 0 at the kink; written so that it is analytic on either side of it."""
    xp = xp_of(x)

    def abs_pullback(dy):
        return (dy * xp.sign(x.real),)

    return xp.where(x.real < 0, -x, x), abs_pullback


def exp(x):
    """``e**x``."""
    y = xp_of(x).exp(x)

    def exp_pullback(dy):
        return (dy * y,)

    return y, exp_pullback


def log(x):
    """The natural logarithm."""

    def log_pullback(dy):
        return (dy / x,)

    return xp_of(x).log(x), log_pullback


def sqrt(x):
    """The square root, with an infinite derivative at 0."""
    y = xp_of(x).sqrt(x)

    def sqrt_pullback(dy):
        return (dy / (2 * y),)

    return y, sqrt_pullback


def tanh(x):
    """The hyperbolic tangent."""
    y = xp_of(x).tanh(x)

    def tanh_pullback(dy):
        return (dy * (1 - y * y),)

    return y, tanh_pullback


def sigmoid(x):
    """``1 / (1 + exp(-x))``, written with ``exp(-|x|)``, which cannot overflow, and exact to the smallest values.

    The gates of the cells have it as ``tanh(x / 2) / 2 + 1 / 2``, quicker and as exact beside 1.
    """
    xp = xp_of(x)
    below = x.real < 0
    e = xp.exp(xp.where(below, x, -x))
    y = xp.where(below, e, 1) / (1 + e)

    def sigmoid_pullback(dy):
        return (dy * e / (1 + e) ** 2,)

    return y, sigmoid_pullback


def relu(x):
    """``max(x, 0)``, with derivative 0 at the kink."""
    y = xp_of(x).maximum(x, 0)

    def relu_pullback(dy):
        return (xp_of(dy).where(y != 0, dy, 0),)  # and not a product: what is infinite ends here too

    return y, relu_pullback


def maximum(x, y):
    """The larger of two; where they are equal each gets half of the cotangent, where one is NaN neither gets any."""
    x_shape, y_shape, x_wins, y_wins = x.shape, y.shape, x >= y, x <= y  # two masks, not two arrays

    def maximum_pullback(dz):
        xp = xp_of(dz)
        dz = xp.where(x_wins & y_wins, 0.5 * dz, dz)
        return sum_to(xp.where(x_wins, dz, 0), x_shape), sum_to(xp.where(y_wins, dz, 0), y_shape)

    return xp_of(x, y).maximum(x, y), maximum_pullback


def minimum(x, y):
    """The smaller of two; where they are equal each gets half of the cotangent, where one is NaN neither gets any."""
    x_shape, y_shape, x_wins, y_wins = x.shape, y.shape, x <= y, x >= y

    def minimum_pullback(dz):
        xp = xp_of(dz)
        dz = xp.where(x_wins & y_wins, 0.5 * dz, dz)
        return sum_to(xp.where(x_wins, dz, 0), x_shape), sum_to(xp.where(y_wins, dz, 0), y_shape)

    return xp_of(x, y).minimum(x, y), minimum_pullback


def where(condition, x, y):
    """``x`` where ``condition`` (booleans) holds, else ``y``."""
    booleans_in(condition=condition)
    x_shape, y_shape = x.shape, y.shape

    def where_pullback(dz):
        xp = xp_of(dz)
        return None, sum_to(xp.where(condition, dz, 0), x_shape), sum_to(xp.where(condition, 0, dz), y_shape)

    return xp_of(condition, x, y).where(condition, x, y), where_pullback


def clip(x, *, min=None, max=None):
    """``x`` limited to ``[min, max]``; the cotangent passes where the limits changed nothing, and never at a NaN."""
    y = xp_of(x).clip(x, min, max)
    unchanged = x == y

    def clip_pullback(dy):
        return (xp_of(dy).where(unchanged, dy, 0),)

    return y, clip_pullback


def astype(x, *, dtype):
    """``x`` in another floating dtype; the cotangent comes back in that of ``x``.

    Complex numbers stay complex, in the precision asked for: so a complex step passes through.
    """
    old, kind = x.dtype, xp_of(x).dtype(dtype).kind
    if kind not in "biufc":
        raise TypeError(f"dtype must be one of numbers, got {dtype!r}")

    def astype_pullback(dy):
        return (dy.astype(_of_its_kind(dy, old)),)

    return x.astype(_of_its_kind(x, dtype)), astype_pullback


def _of_its_kind(x, dtype):
    """``dtype``, or the complex one of its precision for a complex ``x``."""
    xp = xp_of(x)
    return xp.result_type(xp.dtype(dtype), 1j) if x.dtype.kind == "c" else dtype


def dropout(x, *, p, seed, stream="dropout", step=0, over=(), first=0):
    """Zeroes each element with probability ``p`` and scales the others by ``1 / (1 - p)`` (Srivastava et al. 2014).

    The mask is a function of ``(seed, stream, step)`` and of the shape: both backends draw the same.
    Elements that differ only along the axes ``over`` share one mask: ``over=(0,)`` drops the same units at every step
    of a sequence ``(T, ...)`` (Gal & Ghahramani 2016).

    ``first`` is the row of a longer ``x`` at which this one begins: a window of a sequence has the mask that the whole
    sequence has there, and no rows before it are drawn. That is, ``dropout(x)[k:] = dropout(x[k:], first=k)``.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie between 0 and 1, got {p}")
    not_negative(first=first)
    p = float(p)  # a scalar of NumPy would make float64 of float32
    shared = {normalize_axis_index(axis, x.ndim) for axis in over}
    shape = tuple(1 if k in shared else n for k, n in enumerate(x.shape))
    before = 0 if 0 in shared else int(first) * math.prod(shape[1:])
    mask = kernels_of(x).kept(shape, p, seed, stream, step, before)
    scale = 1 / (1 - p) if p < 1 else 0.0

    def dropout_pullback(dy):
        return (dy * mask * scale,)

    return x * mask * scale, dropout_pullback
