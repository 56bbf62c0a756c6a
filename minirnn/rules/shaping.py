"""Functions that move elements without changing them; each pullback moves the cotangents back."""

from __future__ import annotations

import itertools
import math
from numbers import Integral

from numpy.lib.array_utils import normalize_axis_index

from minirnn.arrays import asarray, home_of, xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.elementwise import sum_to


def reshape(x, *, shape):
    """The elements in another shape, in the same order; a size of -1 is what remains."""
    old = x.shape

    def reshape_pullback(dy):
        return (dy.reshape(old),)

    return x.reshape(shape), reshape_pullback


def transpose(x, *, axes=None):
    """The axes in the order ``axes``; reversed without it."""
    order = tuple(reversed(range(x.ndim))) if axes is None else tuple(normalize_axis_index(k, x.ndim) for k in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"axes must name each of the {x.ndim} axes of x once, got {axes}")
    back = tuple(order.index(k) for k in range(x.ndim))

    def transpose_pullback(dy):
        return (dy.transpose(back),)

    return x.transpose(order), transpose_pullback


def swapaxes(x, *, axis1, axis2):
    """``x`` with two of its axes in each other's place."""
    axis1, axis2 = normalize_axis_index(axis1, x.ndim), normalize_axis_index(axis2, x.ndim)

    def swapaxes_pullback(dy):
        return (dy.swapaxes(axis1, axis2),)

    return x.swapaxes(axis1, axis2), swapaxes_pullback


def expand_dims(x, *, axis):
    """``x`` with a new axis of length 1 at ``axis``, or at each of a tuple."""
    old = x.shape

    def expand_dims_pullback(dy):
        return (dy.reshape(old),)

    return xp_of(x).expand_dims(x, axis), expand_dims_pullback


def squeeze(x, *, axis=None):
    """``x`` without ``axis``, of length 1, or each of a tuple; without all such axes if none is named."""
    old = x.shape

    def squeeze_pullback(dy):
        return (dy.reshape(old),)

    return x.squeeze(axis), squeeze_pullback


def broadcast_to(x, *, shape):
    """``x`` repeated along axes of length 1, and along new ones before the first."""
    old = x.shape

    def broadcast_to_pullback(dy):
        return (sum_to(dy, old),)

    return xp_of(x).broadcast_to(x, shape), broadcast_to_pullback


def concat(*xs, axis=0):
    """The arrays one after the other along ``axis``."""
    xp = xp_of(*xs)
    if len({x.ndim for x in xs}) > 1:
        raise ValueError(f"concat takes arrays of as many axes each, got shapes {[x.shape for x in xs]}")
    axis = normalize_axis_index(axis, xs[0].ndim)
    cuts = list(itertools.accumulate(x.shape[axis] for x in xs))[:-1]

    def concat_pullback(dy):
        return tuple(xp.split(dy, cuts, axis=axis))

    return xp.concatenate(xs, axis=axis), concat_pullback


def stack(*xs, axis=0):
    """The arrays side by side along a new ``axis``."""
    n = len(xs)

    def stack_pullback(dy):
        before = (slice(None),) * (axis % dy.ndim)
        return tuple(dy[(*before, k)] for k in range(n))

    return xp_of(*xs).stack(xs, axis=axis), stack_pullback


def split(x, *, sections, axis=0):
    """``x`` cut along ``axis``: in ``sections`` equal parts, or at the indices listed."""
    xp, axis = xp_of(x), normalize_axis_index(axis, x.ndim)

    def split_pullback(*dys):
        return (xp.concatenate(dys, axis=axis),)

    return tuple(xp.split(x, sections, axis=axis)), split_pullback


def unstack(x, *, axis=0):
    """The slices of ``x`` along ``axis``, each without that axis: ``stack`` undone."""
    xp, axis = xp_of(x), normalize_axis_index(axis, x.ndim)
    first = xp.moveaxis(x, axis, 0)

    def unstack_pullback(*dys):
        return (xp.stack(dys, axis=axis),)

    return tuple(first[k, ...] for k in range(len(first))), unstack_pullback


def getitem(x, *, index):
    """``x[index]`` for any index that NumPy takes; index arrays must live where ``x`` lives."""
    xp, shape, parts = xp_of(x), x.shape, index if isinstance(index, tuple) else (index,)
    may_repeat = not all(map(_names_nothing_twice, parts))

    def getitem_pullback(dy):
        dx = xp.zeros(shape, dy.dtype)
        if may_repeat and dy.dtype.kind == "c":  # CuPy adds no complex numbers this way
            xp.add.at(dx.real, index, dy.real)
            xp.add.at(dx.imag, index, dy.imag)
        elif may_repeat:
            xp.add.at(dx, index, dy)
        else:
            dx[index] = dy
        return (dx,)

    return x[index], getitem_pullback


def _names_nothing_twice(part):
    """Whether this part of an index is no list of positions, be it an array, a list or a tuple."""
    basic = part is None or part is Ellipsis or isinstance(part, slice | Integral)
    return basic or (hasattr(part, "dtype") and part.dtype.kind == "b")


def take(x, ids, *, axis=0):
    """The slices ``ids`` (integers of any shape) of ``x`` along ``axis``."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, got dtype {ids.dtype}")
    xp, axis = xp_of(x, ids), normalize_axis_index(axis, x.ndim)
    add_rows, n, before = kernels_of(x).add_rows, x.shape[axis], range(ids.ndim)

    def take_pullback(dy):
        slices = xp.moveaxis(dy, [axis + k for k in before], before)
        one = slices.shape[ids.ndim :]
        from_0 = xp.arange(n)[ids.ravel()]  # -1 is n - 1
        dx = add_rows(from_0, slices.reshape(ids.size, math.prod(one)), n).reshape(n, *one)
        return xp.moveaxis(dx, 0, axis), None

    return x[(slice(None),) * axis + (ids,)], take_pullback


def pad(x, *, widths, value=0):
    """``x`` with ``widths = ((before, after), ...)``, one pair per axis, of ``value`` added around it."""
    try:
        inner = tuple(slice(before, before + size) for (before, _), size in zip(widths, x.shape, strict=True))
    except (TypeError, ValueError):
        raise ValueError(f"widths must have a pair (before, after) for each of {x.ndim} axes, got {widths!r}") from None

    def pad_pullback(dy):
        return (dy[inner],)

    return xp_of(x).pad(x, widths, constant_values=value), pad_pullback


def flip(x, *, axis=None):
    """The elements in reverse order along ``axis``; along all axes without it."""
    xp = xp_of(x)

    def flip_pullback(dy):
        return (xp.flip(dy, axis),)

    return xp.flip(x, axis), flip_pullback


def move(x, *, backend):
    """``x`` copied to where ``backend`` keeps its arrays."""
    home = home_of(x)

    def move_pullback(dy):
        return (asarray(dy, backend=home),)

    return asarray(x, backend=backend), move_pullback
