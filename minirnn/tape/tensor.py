"""Tensors: arrays that remember which recorded call made them, and `backward`, which asks that call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minirnn.arrays import Array, current_backend, home_of, module_of, read_only, to_numpy, xp_of
from minirnn.explaining import REFUSALS, explain
from minirnn.memory import is_sole
from minirnn.tape.record import Edge, Node, pull_back, recording

_adding = threading.RLock()  # of gradients: two threads may bring theirs to one leaf, and neither is to be lost


class Tensor:
    """An array that remembers how it was made, with NumPy's operators and methods.

    Parameters
    ----------
    data : array_like
        Numbers. They are copied to the current backend; a CuPy array stays where it is, copied too.
    requires_grad : bool
        Whether ``backward`` is to leave a gradient in ``grad``; needs a floating dtype.
    dtype : dtype, optional
        Converts the data. Without it arrays keep theirs and Python floats become float64.
    name : str, optional
        What error messages and pictures call it.

    Attributes
    ----------
    grad : array or None
        Sum of the gradients that ``backward`` brought here since it was last ``None``: an array in the shape of the
        tensor, in a leaf that requires a gradient, and nowhere else. Setting it to ``None`` begins anew.

    Raises
    ------
    TypeError
        If ``data`` is not made of numbers, or a gradient is asked of integers.
    ValueError
        If they go beyond what an integer ``dtype`` holds.

    Notes
    -----
    A tensor owns its array: what it is given it copies, and what it shows (``data``) is read-only on NumPy. The ways to
    change it are ``t.data = array``, ``t[index] = value``, and ``+= -= *= /=``. Writes are counted, and a pullback
    whose arrays were written into refuses to run rather than return a wrong gradient.

    Functions of NumPy refuse a tensor, whose history they would lose: for ``np.tanh(x)`` there is ``x.tanh()``.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x.data.flags.writeable
    False
    """

    __slots__ = ("__weakref__", "_grad", "array", "asks", "index", "name", "node", "writes")
    __array_ufunc__ = None  # array + tensor asks the tensor

    if TYPE_CHECKING:  # ops.py binds these: it knows the rules
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = lambda s, o: s
        __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = lambda s, o: s
        __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __getitem__ = lambda s, o: s

        def __iter__(self) -> Iterator[Tensor]: ...

        def __getattr__(self, method: str) -> Any: ...

    array: Array
    asks: bool  # what ``requires_grad`` shows
    node: Node | None  # the call that made it, ``None`` for a leaf
    index: int  # which of that call's outputs it is
    writes: list[int]  # how often its memory was written into; one list for all tensors that share the memory

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None, name: str | None = None):
        if isinstance(data, Tensor):
            raise TypeError(
                "data must be an array, got a Tensor; use .detach() to share its memory, Tensor(t.data) to copy"
            )
        try:
            dtype = None if dtype is None else np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must be one of NumPy's, got {dtype!r}") from None
        xp = module_of("cupy" if type(data).__module__.startswith("cupy") else current_backend())
        self._hold(copied("data", numbers_in("data", data, xp), dtype), name)
        self.requires_grad = requires_grad

    def _hold(self, array: Array, name: str | None = None) -> None:
        self.array, self.asks, self.name = array, False, name
        self._grad, self.node, self.index, self.writes = None, None, 0, [0]

    @classmethod
    def around(cls, array: Array) -> Tensor:
        """A tensor around an array that nobody else holds: no copy is made."""
        tensor = cls.__new__(cls)
        tensor._hold(np.asarray(array) if isinstance(array, np.generic) else array)
        return tensor

    # --- what it holds -----------------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array, for reading (read-only on NumPy). Assigning another array of the same shape replaces it."""
        return read_only(self.array)

    @data.setter
    def data(self, value: Any) -> None:
        array = self._like("data", value)
        if array.shape != self.shape:
            raise ValueError(f"data must have shape {self.shape}, got {array.shape}")
        self.array, self.writes = array, [0]

    @property
    def grad(self) -> Array | None:
        """What ``backward`` has brought here; `Tensor` says more. What is assigned fits the tensor.

        Raises
        ------
        TypeError
            If it is neither ``None`` nor an array of real numbers where the tensor lives.
        ValueError
            If it has another shape.
        """
        return self._grad

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if value is not None:
            what = f"grad of {self.name or 'a tensor'} must be None or an array of"
            if not hasattr(value, "dtype") or isinstance(value, Tensor):
                raise TypeError(f"{what} shape {self.shape}, got {type(value).__name__}")
            xp_of(self.array, value)  # raises, naming the places
            if value.dtype.kind not in "biuf":
                raise TypeError(f"{what} real numbers, got dtype {value.dtype}")
            if value.shape != self.shape:
                raise ValueError(f"{what} shape {self.shape}, got {value.shape}")
        self._grad = value

    def __getstate__(self) -> object:
        """What is copied or pickled: a leaf."""
        if self.node is not None:
            raise TypeError(
                f"a tensor that {self.node.name} made cannot be copied or pickled: its gradient would end in copies of "
                "what it was made from; x.detach() leaves its history behind"
            )
        return super().__getstate__()

    def writable(self, value: Any = None) -> Array:
        """The array itself, for ``value`` to be written into; counts as a write.

        Raises
        ------
        RuntimeError
            While recording, if the tensor or the value requires a gradient: the write could not be differentiated.
        """
        if recording.get() and (self.requires_grad or getattr(value, "requires_grad", False)):
            which = self.name or "this tensor" if self.requires_grad else "what is to be written"
            raise RuntimeError(
                f"{which} requires a gradient, and a write into an array cannot be differentiated; "
                "in a computation write y = y + x rather than y += x, elsewhere use no_grad()"
            )
        self.writes[0] += 1
        return self.array

    def written(self, call: str, write: Callable[[Array, Any], Any], value: Any) -> None:
        """Has ``write(array, value)`` change the array in place; a write that is refused has changed nothing."""
        if value is None:  # which NumPy takes for NaN
            raise TypeError("value must be numbers, got None")
        array, value = self.writable(value), self.beside(value)
        try:
            write(array, value)
        except REFUSALS as error:
            self.writes[0] -= 1
            explain(error, call, {"the tensor": array, "value": value})
            raise

    def __setitem__(self, index: Any, value: Any) -> None:
        self.written(f"[{index!r}] =", lambda array, value: array.__setitem__(bare_index(index), value), value)

    def beside(self, other: Any) -> Any:
        """``other`` as something to write into or to compare with this array: of a tensor its array.

        Raises
        ------
        TypeError
            If it is an array that lives elsewhere, naming both places, or a masked one.
        """
        other = other.array if isinstance(other, Tensor) else other
        refuse_mask("value", other)
        if hasattr(other, "dtype"):
            xp_of(self.array, other)
        return other

    @property
    def requires_grad(self) -> bool:
        """Whether ``backward`` goes here, and leaves a gradient if it is a leaf. Of a leaf it can be changed.

        One that is frozen, by False, lets go of its gradient, and no ``backward`` leaves another, whenever the graph
        was recorded: an optimizer's step passes it over.

        Raises
        ------
        TypeError
            If it is asked of integers, or neither True nor False.
        RuntimeError
            If the tensor was computed: what it was computed from says so, and ``detach()`` is without it.
        """
        return self.asks

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if not isinstance(flag, (bool, np.bool_)):
            raise TypeError(f"requires_grad must be True or False, got {flag!r}")
        if flag and self.dtype.kind != "f":
            raise TypeError(f"only floating tensors can require a gradient, got dtype {self.dtype}")
        if self.node is not None and not flag:
            raise RuntimeError(f"what {self.node.name} made requires a gradient; x.detach() is the same without")
        self.asks = bool(flag)
        if not flag:
            self.grad = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def backend(self) -> str:
        """Where the array lives: ``"numpy"`` or ``"cupy"``."""
        return home_of(self.array)

    def numpy(self) -> np.ndarray:
        """A copy of the data as a NumPy array."""
        return np.array(to_numpy(self.array))

    def item(self) -> float:
        """The number in a tensor of one element.

        Raises
        ------
        ValueError
            If it has more or fewer.
        """
        return self._number("item() needs")

    def _number(self, asked: str, instead: str = "") -> Any:
        if self.size != 1:
            raise ValueError(f"{asked} a tensor of one element, this one has shape {self.shape}{instead}")
        return self.array.item()

    def tolist(self) -> Any:
        """The numbers in lists, nested as the axes are; of a tensor without axes the number itself."""
        return to_numpy(self.array).tolist()

    def detach(self) -> Tensor:
        """The same memory without the history."""
        tensor = Tensor.around(self.array)
        tensor.writes = self.writes
        return tensor

    def __float__(self) -> float:
        return float(self._number("float() needs"))

    def __int__(self) -> int:
        return int(self._number("int() needs"))

    def __bool__(self) -> bool:
        return bool(self._number("true or false (bool, if, not, in) is asked of", "; ask .any() or .all()"))

    def __format__(self, form: str) -> str:
        return format(self._number(f"the format {form!r} is for"), form) if form else str(self)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a tensor without axes, of shape (), has no length and no rows")
        return len(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise TypeError("a tensor that requires a gradient becomes an array by .data or .numpy(), not by itself")
        if self.backend != "numpy":
            raise TypeError("a tensor on the device becomes a NumPy array by .numpy(), not by itself")
        if copy is False:
            raise ValueError("a tensor's memory is not shared with NumPy; read it through .data, or let it be copied")
        return np.array(self.array, dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:
        """A copy of the data for other array libraries: nobody outside can write into what a pullback saved."""
        if self.requires_grad:
            raise BufferError("a tensor that requires a gradient is exported by .detach() first")
        return self.array.copy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __repr__(self) -> str:
        kind = type(self).__name__
        body = np.array2string(to_numpy(self.array), separator=", ", prefix=f"{kind}(")
        dtype = "" if self.dtype in (np.float64, np.int64, np.bool_) else f", dtype={self.dtype}"
        home = "" if self.backend == "numpy" else f", backend={self.backend!r}"
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"{kind}({body}{dtype}{home}{grad})"

    # --- the way back ------------------------------------------------------------------------------------------------

    def backward(self, cotangent: Any = None, retain_graph: bool = False) -> None:
        """Adds to the ``grad`` of every leaf what this tensor asks of it.

        Several threads may do so at a time, each with a graph of its own above the same leaves.

        Parameters
        ----------
        cotangent : array_like, optional
            The derivative of the loss with respect to this tensor, of its shape; 1 for a loss of one element.
        retain_graph : bool
            Keeps what the forward pass saved, so that ``backward`` can pass through the same graph again.

        Raises
        ------
        RuntimeError
            If nothing here requires a gradient, if the graph has been freed, or if an array that the forward pass
            saved was written into. No ``grad`` is changed then.
        ValueError
            If the cotangent is missing and needed, or has another shape.

        Examples
        --------
        >>> from minirnn import ops
        >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> ops.sum(ops.multiply(x, x)).backward()
        >>> x.grad
        array([2., 4., 6.])
        """
        if not self.requires_grad:
            raise RuntimeError("backward() needs a tensor that was computed from one with requires_grad=True")
        if cotangent is None and self.size != 1:
            raise ValueError(
                f"backward() without a cotangent needs a tensor of one element, this one has shape {self.shape}"
            )
        xp = xp_of(self.array)
        seed = xp.ones(self.shape, self.dtype) if cotangent is None else self._like("cotangent", cotangent)
        if seed.shape != self.shape:
            raise ValueError(f"cotangent must have shape {self.shape}, got {seed.shape}")
        found = zip(*pull_back([self], [seed], retain_graph).values(), strict=True)
        leaves, gradients = tuple(found) or ((), ())  # all leaves may have been frozen since
        with _adding:
            for k, leaf in enumerate(leaves):
                if leaf.grad is not None:  # an array again, though NumPy adds up arrays without axes to a scalar
                    leaf.grad = xp.asarray(leaf.grad + gradients[k])
                elif is_sole(gradients, k):
                    leaf.grad = gradients[k]
                else:
                    leaf.grad = xp.array(gradients[k], order="C")

    def _like(self, name: str, value: Any) -> Array:
        """A value as a fresh array of this tensor's dtype."""
        given = numbers_in(name, value.array if isinstance(value, Tensor) else value, xp_of(self.array))
        if given.dtype.kind not in {"c": "biufc", "f": "biuf"}.get(self.dtype.kind, "biu"):
            raise TypeError(f"{name} must be numbers as the tensor's are, {self.dtype}, got dtype {given.dtype}")
        return copied(name, given, self.dtype)

    def to_dot(self) -> str:
        """The graph behind this tensor in the DOT language of Graphviz: boxes are leaves, ellipses are rules."""
        lines, seen, stack = ["digraph {", "  rankdir=LR"], set(), [Edge(self)]
        while stack:
            edge = stack.pop()
            source = dot_key(edge)
            if source in seen:
                continue
            seen.add(source)
            if edge.node is None:
                label = f"{edge.name or 'leaf'} {edge.shape}".replace("\\", "\\\\").replace('"', '\\"')
                lines.append(f'  {source} [shape=box, label="{label}"]')
                continue
            lines.append(f'  {source} [label="{edge.node.name}"]')
            for parent in edge.node.inputs:
                if parent is not None:
                    lines.append(f"  {dot_key(parent)} -> {source}")
                    stack.append(parent)
        return "\n".join([*lines, "}"])


def numbers_in(name: str, data: Any, xp: Any) -> Array:
    """The numbers in ``data`` as an array, which may be ``data`` itself; ``name`` is what an error calls it."""
    refuse_mask(name, data)
    if holds_tensor(data):
        raise TypeError(
            f"{name} must be numbers, got a {type(data).__name__} of tensors; of a recurrent layer's (output, state) "
            "pass on the output, of several ops.stack(*tensors) makes one"
        )
    try:
        array = xp.asarray(data if xp is not np else to_numpy(data))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers in a rectangular arrangement ({error})") from None
    if array.dtype.kind not in "biufc":
        of = f" of {type(data).__name__}" if array.dtype.kind == "O" else ""
        raise TypeError(f"{name} must be numbers, got dtype {array.dtype}{of}")
    return array


def copied(name: str, array: Array, dtype: np.dtype | None) -> Array:
    """A copy in C order and in ``dtype``, if any; integers beyond it are refused, for NumPy would wrap them."""
    if dtype is not None and dtype.kind in "iu" and array.dtype != dtype and array.size:
        least, most, ends = array.min(), array.max(), np.iinfo(dtype)
        if not (least >= ends.min and most <= ends.max):
            raise ValueError(f"{name} must lie between {ends.min} and {ends.max} for {dtype}, got {least} to {most}")
    return xp_of(array).array(array, dtype=dtype, order="C")


def refuse_mask(name: str, data: Any) -> None:
    """Raises of a masked array: its mask would be forgotten."""
    if hasattr(data, "filled"):
        raise TypeError(
            f"{name} must be numbers that all count, got a masked array; say what is masked: {name}.filled(0)"
        )


def holds_tensor(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) or holds_tensor(x) for x in data)


def dot_key(edge: Edge) -> str:
    if edge.node is not None:
        return f"n{edge.node.serial}"
    return f"t{id(edge if edge.leaf is None else edge.leaf)}"


def bare_index(index: Any) -> Any:
    """An index without tensors or lists in it: arrays take their place."""
    if isinstance(index, tuple):
        return tuple(bare_index(list(part) if isinstance(part, tuple) else part) for part in index)
    if isinstance(index, Tensor):
        return index.array
    if isinstance(index, list):
        return np.array(index, dtype=None if index else int)
    return index


def _new_lock() -> None:
    global _adding
    _adding = threading.RLock()  # in a process that was forked while another thread held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)
