"""CuPy's products, and its ``linalg`` module."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from minirnn.testing.strict_cupy.array import c_ordered, device, launched, launched_into, method, ndarray


def matmul(a: ndarray, b: ndarray, /, *, out: ndarray | None = None, dtype: Any = None) -> ndarray:
    x, y = device(a, "a")._a, device(b, "b")._a
    return launched_into(out, c_ordered(np.matmul(x, y, dtype=dtype)), x, y)


@method("dot")
def dot(a: ndarray, b: ndarray, out: ndarray | None = None) -> ndarray:
    x, y = device(a, "a")._a, device(b, "b")._a
    return launched_into(out, c_ordered(np.dot(x, y)), x, y)


def vdot(a: ndarray, b: ndarray) -> ndarray:
    return launched(np.vdot(device(a, "a")._a, device(b, "b")._a), a._a, b._a)


def inner(a: ndarray, b: ndarray) -> ndarray:
    return launched(c_ordered(np.inner(device(a, "a")._a, device(b, "b")._a)), a._a, b._a)


def outer(a: ndarray, b: ndarray, out: ndarray | None = None) -> ndarray:
    return launched_into(out, np.outer(device(a, "a")._a, device(b, "b")._a), a._a, b._a)


def tensordot(a: ndarray, b: ndarray, axes: Any = 2) -> ndarray:
    return launched(c_ordered(np.tensordot(device(a, "a")._a, device(b, "b")._a, axes)), a._a, b._a)


def einsum(*operands: Any, **kwargs: Any) -> ndarray:
    unknown = kwargs.keys() - {"dtype", "optimize"}
    if unknown:
        raise TypeError(f"Did not understand the following kwargs: {sorted(unknown)}")
    subscripts, *arrays = operands
    raw = [device(x, "operands")._a for x in arrays]
    return launched(np.array(np.einsum(subscripts, *raw, **kwargs), order="C"), *raw)


def kron(a: ndarray, b: ndarray) -> ndarray:
    return launched(np.kron(device(a, "a")._a, device(b, "b")._a), a._a, b._a)


class linalg:  # noqa: N801  # the name is CuPy's
    """The part of ``cupy.linalg`` that recurrent networks and their Jacobians ask for."""

    @staticmethod
    def norm(x: ndarray, ord: Any = None, axis: Any = None, keepdims: bool = False) -> ndarray:
        return launched(np.linalg.norm(device(x, "x")._a, ord, axis, keepdims), x._a)

    @staticmethod
    def inv(a: ndarray) -> ndarray:
        return launched(np.linalg.inv(device(a, "a")._a), a._a)

    @staticmethod
    def det(a: ndarray) -> ndarray:
        return launched(np.linalg.det(device(a, "a")._a), a._a)

    @staticmethod
    def solve(a: ndarray, b: ndarray) -> ndarray:
        return launched(np.linalg.solve(device(a, "a")._a, device(b, "b")._a), a._a, b._a)

    @staticmethod
    def cholesky(a: ndarray) -> ndarray:
        return launched(np.linalg.cholesky(device(a, "a")._a), a._a)

    @staticmethod
    def qr(a: ndarray, mode: Any = "reduced") -> Any:
        return tuple(launched(part, a._a) for part in np.linalg.qr(device(a, "a")._a, mode))

    @staticmethod
    def svd(a: ndarray, full_matrices: Any = True, compute_uv: Any = True) -> Any:
        found = np.linalg.svd(device(a, "a")._a, full_matrices, compute_uv)
        return tuple(launched(part, a._a) for part in found) if compute_uv else launched(found, a._a)

    @staticmethod
    def eigvals(a: ndarray) -> ndarray:
        return launched(np.linalg.eigvals(device(a, "a")._a), a._a)

    @staticmethod
    def eigvalsh(a: ndarray, UPLO: Any = "L") -> ndarray:
        return launched(np.linalg.eigvalsh(device(a, "a")._a, UPLO), a._a)

    @staticmethod
    def eigh(a: ndarray, UPLO: Any = "L") -> Any:
        return tuple(launched(part, a._a) for part in np.linalg.eigh(device(a, "a")._a, UPLO))


math_modes: list[int] = []  # that cuBLAS was told to compute in, the last one counts


class cublas:  # noqa: N801  # the name is CuPy's
    """The part of ``cupy.cublas`` that accumulates, which ``matmul`` cannot. It has to be imported by that name."""

    cublas = SimpleNamespace(setMathMode=lambda handle, mode: math_modes.append(mode))  # what CuPy's file imports
    device = SimpleNamespace(get_cublas_handle=lambda: 1)

    @staticmethod
    def gemm(
        transa: str,
        transb: str,
        a: ndarray,
        b: ndarray,
        out: ndarray | None = None,
        alpha: float = 1.0,
        beta: float = 0.0,
    ) -> ndarray:
        """``alpha op(a) op(b) + beta out``, of matrices of one dtype; CuPy checks them by assertions, too."""
        assert a.ndim == b.ndim == 2
        assert a.dtype == b.dtype
        if a.dtype.char not in "fdFD":
            raise TypeError("invalid dtype")
        x, y = (
            {"N": m._a, "T": m._a.T, "H": m._a.T.conj()}[how]
            for how, m in ((transa, device(a, "a")), (transb, device(b, "b")))
        )
        assert x.shape[1] == y.shape[0]
        if 0 in (*x.shape, *y.shape):
            raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE")
        if out is None:
            return launched(np.asarray(alpha * (x @ y), order="F"), x, y)
        assert out.ndim == 2 and out.shape == (len(x), y.shape[1])
        assert out.dtype == a.dtype
        total = alpha * (x @ y) + beta * out._a if beta else alpha * (x @ y)  # what is multiplied with 0 is not read
        return launched_into(out, total.astype(a.dtype), x, y)
