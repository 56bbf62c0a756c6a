"""The operators of a device array, with CuPy's rules for what may stand on the other side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minirnn.testing.strict_cupy import counts
from minirnn.testing.strict_cupy.array import c_ordered, defers_to, device, launched, method, ndarray, operand

_ARITHMETIC = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}
_COMPARISONS = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
_UNARY = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}


def _binary(function: Callable, reflected: bool = False) -> Callable:
    def operator(self: ndarray, other: Any) -> Any:
        if type(other) is ndarray:
            b = other._a
        elif defers_to(other):
            return NotImplemented
        else:
            b = operand(other)
        a = self._a
        return launched(function(b, a, order="C") if reflected else function(a, b, order="C"), a, b)

    return operator


def _in_place(function: Callable) -> Callable:
    def operator(self: ndarray, other: Any) -> Any:
        if type(other) is not ndarray and defers_to(other):
            return NotImplemented
        a, b = self._a, operand(other)
        function(a, b, out=a)
        if counts.active:
            counts.record_launch(a, (b,))
        return self

    return operator


def _unary(function: Callable) -> Callable:
    def operator(self: ndarray) -> ndarray:
        return launched(function(self._a, order="C"), self._a)

    return operator


@method("__matmul__")
def _matmul(self: ndarray, other: Any) -> Any:
    if type(other) is not ndarray and defers_to(other):
        return NotImplemented
    b = device(other, "b")._a
    return launched(c_ordered(np.matmul(self._a, b)), self._a, b)


@method("__rmatmul__")
def _reflected_matmul(self: ndarray, other: Any) -> Any:
    return NotImplemented if defers_to(other) else device(other, "a")  # refused: two device arrays meet in _matmul


for _name, _arithmetic in _ARITHMETIC.items():
    method(f"__{_name}__")(_binary(_arithmetic))
    method(f"__r{_name}__")(_binary(_arithmetic, reflected=True))
    method(f"__i{_name}__")(_in_place(_arithmetic))
for _name, _comparison in _COMPARISONS.items():
    method(f"__{_name}__")(_binary(_comparison))
for _name, _unary_function in _UNARY.items():
    method(f"__{_name}__")(_unary(_unary_function))
