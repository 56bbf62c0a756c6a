"""Products of matrices on a device, by a kernel of one's own: ``cuda/products.cu``.

CuPy multiplies by cuBLAS, and lets no call of cuBLAS into a recording (``capturing.py``). So what is to be recorded
multiplies by this kernel. It is no match for cuBLAS where matrices are large; where they are small, and a step is a
thousand launches, the launches are what takes the time. No device has measured where the one becomes the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

from minirnn.arrays import Array, xp_of
from minirnn.kernels.launching import GRID, REALS, launch

SIDE, DEPTH = 16, 16  # of a block and of a slab, as in the source
EACH = (4, 1)  # rows and columns that a thread takes of a tile

_asked: ContextVar[bool] = ContextVar("minirnn_own_products", default=False)


@contextmanager
def own_products() -> Iterator[None]:
    """Within this block products on a device are taken by the kernel: of the same matrices always the same bits."""
    token = _asked.set(True)
    try:
        yield
    finally:
        _asked.reset(token)


def own_matmul(
    x,  # (..., M, K)
    y,  # (..., K, N)
    out=None,  # (..., M, N)
    add=False,
):
    """``x @ y`` of matrices, or ``out + x @ y``, into ``out`` if there is one; None unless the kernel is to take it.

    It takes float32 and float64, and what lies transposed as it lies; what lies otherwise is copied first.
    """
    if not _asked.get() or x.dtype not in REALS or y.dtype != x.dtype or (out is not None and out.dtype != x.dtype):
        return None
    (M, K), N = x.shape[-2:], y.shape[-1]
    if y.shape[-2] != K:
        raise ValueError(f"matmul needs x (..., M, K) and y (..., K, N), got x {x.shape} and y {y.shape}")
    xp = xp_of(x, y)
    leading = xp.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    many = prod(leading)
    (a, a_turned, a_many), (b, b_turned, b_many) = (_as_it_lies(m, leading) for m in (x, y))
    c = out if out is not None and out._c_contiguous else xp.empty((*leading, M, N), x.dtype)
    if add and c is not out:
        c[...] = out
    each = _each(M, N, many, xp)
    tile = SIDE * each
    grid = -(-M // tile) * -(-N // tile), min(many, GRID[1])
    shared = 2 * DEPTH * (tile + 1) * x.itemsize
    told = a, b, c, a_turned, b_turned, a_many, b_many, add, many, M, N, K
    launch("products", "matmul", grid, (SIDE, SIDE), *told, shared=shared, macros=(f"EACH={each}",))
    if out is not None and c is not out:
        out[...] = c
    return c if out is None else out


def _each(M: int, N: int, many: int, cupy: Any) -> int:
    """The largest tile that leaves no processor without one; of small products it is the smallest."""
    processors = cupy.cuda.Device().attributes["MultiProcessorCount"]
    return next((n for n in EACH if many * (M // (SIDE * n)) * (N // (SIDE * n)) >= processors), EACH[-1])


def _as_it_lies(x: Array, leading: tuple[int, ...]) -> tuple[Array, bool, bool]:
    """A matrix or many, contiguous; whether its axes are turned; and whether there are many."""
    xp = xp_of(x)
    many = prod(x.shape[:-2]) > 1
    if many and x.shape[:-2] != leading:
        x = xp.broadcast_to(x, (*leading, *x.shape[-2:]))
    turned = x.swapaxes(-1, -2)
    if not x._c_contiguous and turned._c_contiguous:
        return turned, True, many
    return xp.ascontiguousarray(x), False, many
