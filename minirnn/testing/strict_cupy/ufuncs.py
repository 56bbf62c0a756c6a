"""CuPy's universal functions: fewer keywords, fewer methods, and nothing but device arrays and scalars as operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.testing.strict_cupy import counts, indexing
from minirnn.testing.strict_cupy.array import (
    c_ordered,
    device,
    index_array,
    launched,
    launched_into,
    ndarray,
    on_device,
    operand,
)

_OTHER_NAMES = {"divide": "true_divide", "degrees": "rad2deg", "radians": "deg2rad"}  # what CuPy calls them
_REDUCIBLE = frozenset({"add", "multiply"})
_SCATTERABLE = frozenset({"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"})
_NAMES = """
    absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_count bitwise_or bitwise_xor
    cbrt ceil conjugate copysign cos cosh deg2rad degrees divide divmod equal exp exp2 expm1 fabs float_power floor
    floor_divide fmax fmin fmod frexp gcd greater greater_equal heaviside hypot invert isfinite isinf isnan lcm ldexp
    left_shift less less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor
    maximum minimum modf multiply negative nextafter not_equal positive power rad2deg radians reciprocal remainder
    right_shift rint sign signbit sin sinh sqrt square subtract tan tanh trunc
    abs acos acosh asin asinh atan atan2 atanh bitwise_invert bitwise_left_shift bitwise_not bitwise_right_shift conj
    mod pow true_divide
"""


class ufunc:  # noqa: N801  # the name is CuPy's
    """A universal function on device arrays."""

    __slots__ = ("_function", "name", "nargs", "nin", "nout", "types")

    def __init__(self, function: np.ufunc):
        self._function = function
        self.name = f"cupy_{_OTHER_NAMES.get(function.__name__, function.__name__)}"
        self.nin, self.nout, self.nargs = function.nin, function.nout, function.nargs
        self.types = function.types

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args: Any, out: Any = None, **options: Any) -> Any:
        unknown = {name: value for name, value in options.items() if name not in ("dtype", "casting")}
        if unknown:
            raise TypeError(f"Wrong arguments {unknown}")
        if len(args) not in (self.nin, self.nargs):
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. It must be either {self.nin} or {self.nargs} "
                f"(with outputs), but given {len(args)}."
            )
        if len(args) > self.nin:
            out = args[self.nin :] if self.nout > 1 else args[-1]
        operands = [operand(x) for x in args[: self.nin]]
        if out is None:
            result = self._function(*operands, order="C", **options)
            if self.nout == 1:
                return launched(result, *operands)
            return launched(result[0], *operands), *map(on_device, result[1:])
        outs = out if isinstance(out, tuple) else (out,)
        targets = tuple(self._target(x, operands) for x in outs)
        self._function(*operands, out=targets, **options)
        if counts.active:
            counts.record_launch(targets[0], tuple(operands))
        return out

    def _target(self, out: Any, operands: list[Any]) -> np.ndarray:
        if type(out) is not ndarray:
            raise TypeError("Output arguments type must be cupy.ndarray")
        shapes = [getattr(x, "shape", ()) for x in operands]
        if out.shape not in shapes and out.shape != np.broadcast_shapes(*shapes):
            raise ValueError("Out shape is mismatched")
        return out._a

    def reduce(
        self, array: ndarray, axis: Any = 0, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False
    ) -> ndarray:
        a = self._supported("reduce", _REDUCIBLE, array)
        return launched_into(out, c_ordered(self._function.reduce(a, axis, dtype, keepdims=keepdims)), a)

    def accumulate(self, array: ndarray, axis: int = 0, dtype: Any = None, out: ndarray | None = None) -> ndarray:
        a = self._supported("accumulate", _REDUCIBLE, array)
        return launched_into(out, c_ordered(self._function.accumulate(a, axis, dtype)), a)

    def outer(self, A: ndarray, B: ndarray, **kwargs: Any) -> ndarray:
        a, b = device(A, "A"), device(B, "B")
        return self(a.reshape(*a.shape, *(1,) * b.ndim), b, **kwargs)

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """Accumulate into ``a`` where ``indices`` say, in an order that is random, as it is on the device."""
        target = self._supported("at", _SCATTERABLE, a)
        if self._function is np.add and target.dtype.char not in "iIlLqQefd":
            raise TypeError(
                "cupy.add.at only supports int32, int64, float16, float32, float64, uint32, uint64 as data type"
            )
        parts = indices if isinstance(indices, tuple) else (indices,)
        parts = tuple(index_array(x) if isinstance(x, (ndarray, np.ndarray, list)) else x for x in parts)
        parts = indexing.wrap(parts, target.shape)
        where, values = indexing.shuffled_targets(target, parts, operand(b))
        self._function.at(indexing.flat_or_whole(target), where, values)
        if counts.active:
            counts.record_launch(target, (values,))

    def _supported(self, method: str, names: frozenset[str], array: Any) -> np.ndarray:
        if self._function.__name__ not in names:
            raise NotImplementedError(f"`{self.name}.{method}` is not supported yet")
        return device(array, "array")._a


def all_ufuncs() -> dict[str, ufunc]:
    """Every universal function under each of its names."""
    functions = {name: getattr(np, name) for name in _NAMES.split()}
    ufuncs = {function: ufunc(function) for function in functions.values()}
    return {name: ufuncs[function] for name, function in functions.items()}
