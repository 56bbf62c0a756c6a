"""The index of the library: every rule, lifted by the tape to a function of tensors, from ``add`` to a whole LSTM.

They are called as functions of NumPy are: ``sum(x, 0)``, and for any number of arrays ``concat([x, y], 1)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn import rules
from minirnn.arrays import asarray
from minirnn.explaining import REFUSALS, explain
from minirnn.tape import Tensor, bare_index, differentiable

__all__ = rules.__all__


def __dir__() -> list[str]:
    return list(__all__)


# arithmetic, with broadcasting
add = differentiable(rules.add)
subtract = differentiable(rules.subtract)
multiply = differentiable(rules.multiply)
divide = differentiable(rules.divide)
power = differentiable(rules.power)
negative = differentiable(rules.negative)

# functions of one number
abs = differentiable(rules.abs)
exp = differentiable(rules.exp)
log = differentiable(rules.log)
sqrt = differentiable(rules.sqrt)
tanh = differentiable(rules.tanh)
sigmoid = differentiable(rules.sigmoid)
relu = differentiable(rules.relu)
clip = differentiable(rules.clip)
astype = differentiable(rules.astype)

# choices
maximum = differentiable(rules.maximum)
minimum = differentiable(rules.minimum)
where = differentiable(rules.where)
dropout = differentiable(rules.dropout)

# sums over axes
sum = differentiable(rules.sum)
mean = differentiable(rules.mean)
var = differentiable(rules.var)
std = differentiable(rules.std)
max = differentiable(rules.max)
min = differentiable(rules.min)
logsumexp = differentiable(rules.logsumexp)
softmax = differentiable(rules.softmax)
log_softmax = differentiable(rules.log_softmax)
layer_norm = differentiable(rules.layer_norm)

# shapes
reshape = differentiable(rules.reshape)
transpose = differentiable(rules.transpose)
swapaxes = differentiable(rules.swapaxes)
expand_dims = differentiable(rules.expand_dims)
squeeze = differentiable(rules.squeeze)
broadcast_to = differentiable(rules.broadcast_to)
concat = differentiable(rules.concat)
stack = differentiable(rules.stack)
split = differentiable(rules.split)
unstack = differentiable(rules.unstack)
take = differentiable(rules.take)
pad = differentiable(rules.pad)
flip = differentiable(rules.flip)
move = differentiable(rules.move)
getitem = differentiable(rules.getitem)

# products with weights
matmul = differentiable(rules.matmul)
affine = differentiable(rules.affine)
embedding = differentiable(rules.embedding)
embedding_columns = differentiable(rules.embedding_columns)

# attention
dot_scores = differentiable(rules.dot_scores)
additive_scores = differentiable(rules.additive_scores)
attention_weights = differentiable(rules.attention_weights)
attention_contexts = differentiable(rules.attention_contexts)

# losses
mean_squared_error = differentiable(rules.mean_squared_error)
cross_entropy = differentiable(rules.cross_entropy)
affine_cross_entropy = differentiable(rules.affine_cross_entropy)

# recurrence: one step of BPTT, and BPTT
rnn_step = differentiable(rules.rnn_step)
rnn = differentiable(rules.rnn)
lstm_step = differentiable(rules.lstm_step)
lstm = differentiable(rules.lstm)
gru_step = differentiable(rules.gru_step)
gru = differentiable(rules.gru)


# --- what a tensor's operators and methods call


def _at(x: Tensor, index: Any) -> Any:
    """``x[index]``; what the index holds is copied beside ``x``, for the pullback keeps it. Mere ids are looked up."""
    parts = bare_index(index)
    if hasattr(parts, "dtype") and parts.dtype.kind in "iu" and parts.ndim:
        return take(x, parts)
    beside = tuple(
        asarray(part, backend=x.backend) if hasattr(part, "dtype") and not isinstance(part, np.generic) else part
        for part in (parts if isinstance(parts, tuple) else (parts,))
    )
    return getitem(x, index=beside if isinstance(parts, tuple) else beside[0])


def _named(name: str, doc: str | None) -> Any:
    """Has a method go by the name that it has in `Tensor`."""

    def named(method: Any) -> Any:
        method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", doc
        return method

    return named


@_named("reshape", reshape.__doc__)
def _reshape(x: Tensor, *shape: Any) -> Any:
    return reshape(x, shape=shape[0] if len(shape) == 1 else shape)


@_named("transpose", transpose.__doc__)
def _transpose(x: Tensor, *axes: Any) -> Any:
    return transpose(x, axes=(axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes) or None)


def _in_place(name: str, sign: str) -> Any:
    def write(self: Tensor, other: Any) -> Tensor:
        self.written(sign, lambda array, value: getattr(array, name)(value), other)
        return self

    return write


def _rows(x: Tensor) -> Any:
    """All rows by one rule: the graph of so many ``x[k]`` would go back through as many arrays as large as ``x``."""
    return iter(unstack(x) if len(x) else ())


def _ask(x: Tensor, name: str, *value: Any, **options: Any) -> Any:
    """What has no derivative: the answer of the array's own method, without history."""
    try:
        answer = getattr(x.array, name)(*value, **options)
    except REFUSALS as error:
        explain(error, name, {"the tensor": x.array, **dict(zip(["value"], value, strict=False)), **options})
        raise
    return answer if answer is NotImplemented else Tensor.around(answer)


def _compare(name: str) -> Any:
    return lambda x, other: _ask(x, name, x.beside(other))


def _reduce(name: str) -> Any:
    @_named(name, f"``{name}`` of the elements over ``axis``; of all without it. The answer has no history.")
    def reduce(x: Tensor, axis: Any = None, keepdims: bool = False) -> Any:
        return _ask(x, name, axis=axis, keepdims=keepdims)

    return reduce


_METHODS = {
    "__add__": add,
    "__radd__": lambda x, y: add(y, x),
    "__sub__": subtract,
    "__rsub__": lambda x, y: subtract(y, x),
    "__mul__": multiply,
    "__rmul__": lambda x, y: multiply(y, x),
    "__truediv__": divide,
    "__rtruediv__": lambda x, y: divide(y, x),
    "__pow__": power,
    "__rpow__": lambda x, y: power(y, x),
    "__matmul__": matmul,
    "__rmatmul__": lambda x, y: matmul(y, x),
    "__neg__": negative,
    "__abs__": abs,
    "__getitem__": _at,
    "__iter__": _rows,
    "__iadd__": _in_place("__iadd__", "+="),
    "__isub__": _in_place("__isub__", "-="),
    "__imul__": _in_place("__imul__", "*="),
    "__itruediv__": _in_place("__itruediv__", "/="),
    **{name: _compare(name) for name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__")},
    **{f"__{side}{name}__": _compare(f"__{side}{name}__") for name in ("and", "or", "xor") for side in ("", "r")},
    "__invert__": lambda x: _ask(x, "__invert__"),
    "__hash__": object.__hash__,  # a tensor stands for itself, whatever its numbers
    **{name: _reduce(name) for name in ("argmax", "argmin", "any", "all")},
    "abs": abs,
    "exp": exp,
    "log": log,
    "sqrt": sqrt,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "clip": clip,
    "astype": astype,
    "to": move,
    "sum": sum,
    "mean": mean,
    "var": var,
    "std": std,
    "max": max,
    "min": min,
    "logsumexp": logsumexp,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "reshape": _reshape,
    "transpose": _transpose,
    "T": property(transpose),
    "swapaxes": swapaxes,
    "squeeze": squeeze,
    "take": take,
}
for _name in _METHODS:
    setattr(Tensor, _name, _METHODS[_name])
