"""The tape: records which rules made a tensor, and plays their pullbacks in reverse. It knows no rule by name.

Backpropagation through time is a loop that runs backward over steps. This is the same loop for graphs: every recorded
call of a rule is a step with a serial number, and ``backward`` visits the steps that the loss depends on in descending
order of their numbers. A rule only ever consumes what older calls made, so no cotangent arrives late.
"""

from __future__ import annotations

import heapq
import inspect
import itertools
import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from minirnn.arrays import Array, asarray, home_of, to_numpy, xp_of
from minirnn.calling import Form
from minirnn.explaining import REFUSALS, argument_names, explain
from minirnn.memory import is_sole
from minirnn.workers import one_blas_thread

_recording: ContextVar[bool] = ContextVar("minirnn_recording", default=True)
_inside_rule: ContextVar[bool] = ContextVar("minirnn_inside_rule", default=False)
_watcher: ContextVar[Callable | None] = ContextVar("minirnn_watcher", default=None)
_serials = itertools.count()
_adding = threading.RLock()  # of gradients: two threads may bring theirs to one leaf, and neither is to be lost

NUMBERS = (bool, int, float, complex)


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this block nothing is recorded: rules save nothing, and tensors may be written into.

    The switch belongs to the current context; another thread is never affected.

    Examples
    --------
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     w -= 0.5
    >>> w
    Tensor([0.5, 1.5], requires_grad=True)
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def watching(look: Callable[[str, Sequence[Array | None]], Any]) -> Iterator[None]:
    """Within this block ``look(what, arrays)`` is shown what every rule and every pullback returns, when it returns it.

    It must not write into the arrays. The block belongs to the current context, as that of `no_grad` does.

    Examples
    --------
    >>> from minirnn import ops
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with watching(lambda what, arrays: print(what)):
    ...     ops.sum(ops.tanh(x)).backward()
    the output of tanh
    the output of sum
    the gradient that sum hands down
    the gradient that tanh hands down
    """
    token = _watcher.set(look)
    try:
        yield
    finally:
        _watcher.reset(token)


class Edge:
    """Where an input of a recorded call came from: all about the tensor but its array.

    Which arrays stay in memory until ``backward`` is for the pullbacks to say; the tape adds none to them.
    """

    __slots__ = ("dtype", "index", "leaf", "name", "node", "requires_grad", "shape")

    def __init__(self, tensor: Tensor):
        self.requires_grad, self.shape, self.dtype = tensor.requires_grad, tensor.shape, tensor.dtype
        self.name, self.node, self.index = tensor.name, tensor.node, tensor.index
        self.leaf = tensor if tensor.requires_grad and tensor.node is None else None


class Node:
    """One recorded call of a rule.

    It points at its inputs and never at its outputs: no cycles, so dropping the loss frees the whole graph at once.
    """

    __slots__ = ("inputs", "name", "outputs", "pullback", "saved", "serial")

    def __init__(self, name: str, inputs: Sequence[Tensor | None], pullback: Callable, outputs: Sequence[Tensor]):
        self.serial = next(_serials)
        self.name = name
        self.inputs = [None if t is None else Edge(t) for t in inputs]
        self.pullback: Callable | None = pullback
        self.outputs = [(t.shape, t.dtype) for t in outputs]
        self.saved = [([0], 0) if t is None else (t.writes, t.writes[0]) for t in (*inputs, *outputs)]

    def __lt__(self, other: Node) -> bool:
        return self.serial > other.serial  # a heap hands out the smallest, here the youngest

    def pull(self, cotangents: Sequence[Array | None]) -> Sequence[Array | None]:
        """One cotangent per input, from one per output; an output that nobody used counts as zero."""
        if self.pullback is None:
            raise RuntimeError(
                f"an earlier backward() freed the graph behind {self.name!r}; "
                "call that one as backward(retain_graph=True) to pass through the graph again"
            )
        for k, (writes, before) in enumerate(self.saved):
            if writes[0] != before:
                edge = self.inputs[k] if k < len(self.inputs) else None
                label = "the output" if edge is None else edge.name or f"input {k}"
                raise RuntimeError(
                    f"{label} of {self.name!r} was written into after the forward pass, so the gradient may be wrong; "
                    "write after backward(), or into a copy"
                )
        xp = xp_of(*cotangents)
        found = self.pullback(
            *(xp.zeros(*form) if c is None else c for c, form in zip(cotangents, self.outputs, strict=True))
        )
        if not isinstance(found, tuple):
            raise TypeError(f"the pullback of {self.name!r} must return a tuple, got {type(found).__name__}")
        n = len(self.inputs)
        if len(found) < n or any(c is not None for c in found[n:]):  # the rest: optional arguments that were not given
            raise TypeError(f"the pullback of {self.name!r} returned {len(found)} cotangents for {n} inputs")
        return found[:n]

    def free(self) -> None:
        """Lets go of everything that the forward pass saved."""
        self.pullback, self.inputs, self.saved = None, [], []


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

    Notes
    -----
    A tensor owns its array: what it is given it copies, and what it shows (``data``) is read-only on NumPy. The ways to
    change it are ``t.data = array``, ``t[index] = value``, and ``+= -= *= /=``. Writes are counted, and a pullback
    whose arrays were written into refuses to run rather than return a wrong gradient.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x.data.flags.writeable
    False
    """

    __slots__ = ("__weakref__", "array", "asks", "grad", "index", "name", "node", "writes")
    __array_ufunc__ = None  # array + tensor asks the tensor

    if TYPE_CHECKING:  # ops.py binds these: it knows the rules
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = lambda s, o: s
        __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __getitem__ = lambda s, o: s

        def __iter__(self) -> Iterator[Tensor]: ...

        def __getattr__(self, method: str) -> Any: ...

    array: Array
    asks: bool  # what ``requires_grad`` shows
    grad: Array | None
    node: Node | None  # the call that made it, ``None`` for a leaf
    index: int  # which of that call's outputs it is
    writes: list[int]  # how often its memory was written into; one list for all tensors that share the memory

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None, name: str | None = None):
        if isinstance(data, Tensor):
            raise TypeError(
                "data must be an array, got a Tensor; use .detach() to share its memory, Tensor(t.data) to copy"
            )
        if hasattr(data, "filled"):
            raise TypeError(
                "data must be numbers that all count, got a masked array; say what is masked: data.filled(0)"
            )
        if holds_tensor(data):
            raise TypeError("data must be numbers, got a list of tensors; ops.stack(*tensors) keeps their history")
        try:
            dtype = None if dtype is None else np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must be one of NumPy's, got {dtype!r}") from None
        try:
            array = asarray(data, dtype, "cupy" if type(data).__module__.startswith("cupy") else None)
        except (ValueError, TypeError) as error:
            raise TypeError(f"data must be numbers in a rectangular arrangement ({error})") from None
        if array.dtype.kind not in "biufc":
            of = f" of {type(data).__name__}" if array.dtype.kind == "O" else ""
            raise TypeError(f"data must be numbers, got dtype {array.dtype}{of}")
        self._hold(array, name)
        self.requires_grad = requires_grad

    def _hold(self, array: Array, name: str | None = None) -> None:
        self.array, self.asks, self.name = array, False, name
        self.grad, self.node, self.index, self.writes = None, None, 0, [0]

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
        if home_of(self.array) != "numpy":
            return self.array
        view = self.array.view()
        view.flags.writeable = False
        return view

    @data.setter
    def data(self, value: Any) -> None:
        array = self._like("data", value.array if isinstance(value, Tensor) else value)
        if array.shape != self.shape:
            raise ValueError(f"data must have shape {self.shape}, got {array.shape}")
        self.array, self.writes = array, [0]

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
        if _recording.get() and (self.requires_grad or getattr(value, "requires_grad", False)):
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
            If it is an array that lives elsewhere, naming both places.
        """
        other = other.array if isinstance(other, Tensor) else other
        if hasattr(other, "dtype"):
            xp_of(self.array, other)
        return other

    @property
    def requires_grad(self) -> bool:
        """Whether ``backward`` goes here, and leaves a gradient if it is a leaf. Of a leaf it can be changed.

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
        if self.size != 1:
            raise ValueError(f"a number is in a tensor of one element, this one has shape {self.shape}")
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
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if form else str(self)

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
        body = np.array2string(to_numpy(self.array), separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype in (np.float64, np.int64, np.bool_) else f", dtype={self.dtype}"
        home = "" if self.backend == "numpy" else f", backend={self.backend!r}"
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({body}{dtype}{home}{grad})"

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
        leaves, gradients = zip(*pull_back([self], [seed], retain_graph).values(), strict=True)
        for leaf in leaves:
            if leaf.grad is not None and getattr(leaf.grad, "shape", None) != leaf.shape:
                raise ValueError(f"grad of {leaf.name or 'a leaf'} must be None or an array of shape {leaf.shape}")
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
        xp = xp_of(self.array)
        try:
            given = xp.array(value, order="C")
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must be numbers in a rectangular arrangement ({error})") from None
        if given.dtype.kind not in {"c": "biufc", "f": "biuf"}.get(self.dtype.kind, "biu"):
            raise TypeError(f"{name} must be numbers as the tensor's are, {self.dtype}, got dtype {given.dtype}")
        return given.astype(self.dtype, copy=False)

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


@one_blas_thread()
def pull_back(
    outputs: Sequence[Tensor], cotangents: Sequence[Array], retain_graph: bool = False
) -> dict[int, tuple[Tensor, Array]]:
    """The sum of the cotangents that reach each leaf, by ``id(leaf)``; ``backward`` without its side effect."""
    leaves: dict[int, tuple[Tensor, Array]] = {}
    waiting: dict[Node, list[Array | None]] = {}  # one place per output of the call
    heap: list[Node] = []

    def deliver(edge: Edge, cotangent: Array) -> None:
        if cotangent.dtype != edge.dtype:
            real = cotangent.dtype.kind == "c" and edge.dtype.kind == "f"  # it moves along the real line only
            cotangent = (cotangent.real if real else cotangent).astype(edge.dtype)
        if edge.leaf is not None:
            former = leaves.get(id(edge.leaf))
            leaves[id(edge.leaf)] = (edge.leaf, cotangent if former is None else former[1] + cotangent)
        elif edge.node is not None:
            if edge.node not in waiting:
                waiting[edge.node] = [None] * len(edge.node.outputs)
                heapq.heappush(heap, edge.node)
            places = waiting[edge.node]
            former_here = places[edge.index]
            places[edge.index] = cotangent if former_here is None else former_here + cotangent

    look = _watcher.get()
    for output, cotangent in zip(outputs, cotangents, strict=True):
        deliver(Edge(output), cotangent)
    while heap:
        node = heapq.heappop(heap)
        found = node.pull(waiting.pop(node))
        if look is not None:
            look(f"the gradient that {node.name} hands down", found)
        for edge, cotangent in zip(node.inputs, found, strict=True):
            if edge is not None and edge.requires_grad:
                shape = getattr(cotangent, "shape", None)
                if cotangent is None or shape != edge.shape:
                    got = repr(cotangent) if shape is None else f"shape {shape}"
                    raise TypeError(f"the pullback of {node.name!r} returned {got} for an input of shape {edge.shape}")
                deliver(edge, cotangent)
        if not retain_graph:
            node.free()
    return leaves


def differentiable(rule: Callable) -> Callable:
    """Lifts a rule, a function of arrays that returns ``(output, pullback)``, to a recorded function of tensors.

    Parameters
    ----------
    rule : callable
        Follows the contract in ``minirnn/rules/__init__.py``.

    Returns
    -------
    callable
        Takes tensors, arrays or numbers where the rule takes arrays, by position or by name, and what is static after
        them (`minirnn.calling`); the rule itself stays at hand as ``.rule``.

    Examples
    --------
    >>> @differentiable
    ... def cube(x):
    ...     def cube_pullback(dy):
    ...         return (dy * 3 * x**2,)
    ...     return x**3, cube_pullback
    >>> x = Tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    array(12.)
    """
    name, form = rule.__name__, Form(rule)
    selective = "wanted" in inspect.signature(rule).parameters

    @wraps(rule)
    def op(*inputs: Any, **static: Any) -> Any:
        arguments, options = form.sort(inputs, static)
        tensors = lift(rule, arguments)
        wanted = tuple(t is not None and t.requires_grad and _recording.get() for t in tensors)
        arrays = [None if t is None else t.array for t in tensors]
        if len({type(a) for a in arrays if a is not None}) > 1:
            xp_of(*arrays)  # raises, naming the places
        try:
            with one_blas_thread():
                answer = rule(*arrays, **options, wanted=wanted) if selective else rule(*arrays, **options)
        except REFUSALS as error:
            form.check(inputs, static)
            names = argument_names(rule, len(arrays))
            explain(error, name, {**dict(zip(names, arrays, strict=True)), **options})
            raise
        if not (isinstance(answer, tuple) and len(answer) == 2 and callable(answer[1])):
            raise TypeError(f"a rule returns (output, pullback), but {name!r} returned {type(answer).__name__}")
        output, pullback = answer
        several = isinstance(output, tuple)
        for o in output if several else (output,):
            if not hasattr(o, "dtype"):
                raise TypeError(f"the output of {name!r} must be an array or a tuple of arrays, got {type(o).__name__}")
        outputs = [Tensor.around(o) for o in (output if several else (output,))]
        if (look := _watcher.get()) is not None:
            look(f"the output of {name}", [t.array for t in outputs])
        share_counts(tensors, outputs)
        if any(wanted):
            node = Node(name, tensors, pullback, outputs)
            for k, t in enumerate(outputs):
                kind = t.dtype.kind
                if kind == "f" or (kind == "c" and follows_complex(node)):
                    t.asks, t.node, t.index = True, node, k
        return tuple(outputs) if several else outputs[0]

    op.rule, op.__signature__ = rule, form.signature  # type: ignore[attr-defined]
    return op


def follows_complex(node: Node) -> bool:
    """Whether the gradient of a complex input is asked for, as only `rule_of` does."""
    return any(edge is not None and edge.requires_grad and edge.dtype.kind == "c" for edge in node.inputs)


def lift(rule: Callable, inputs: Sequence[Any]) -> list[Tensor | None]:
    """Tensors as they are, arrays copied into tensors, Python numbers in the dtype of the tensors beside them."""
    lifted: list[Any] = [
        x if isinstance(x, Tensor) or x is None or isinstance(x, NUMBERS) else as_tensor(rule, k, x)
        for k, x in enumerate(inputs)
    ]
    if not any(isinstance(x, NUMBERS) for x in lifted if not isinstance(x, Tensor)):
        return lifted
    tensors = [x for x in lifted if isinstance(x, Tensor)]
    dtypes, home = [t.dtype for t in tensors], tensors[0].backend if tensors else None
    return [
        Tensor.around(asarray(x, np.result_type(*dtypes, x), home)) if isinstance(x, NUMBERS) else x for x in lifted
    ]


def as_tensor(rule: Callable, k: int, x: Any) -> Tensor:
    """A tensor of argument ``k`` of a rule; if none can be made, the error says of which."""
    try:
        return Tensor(x)
    except TypeError as error:
        raise TypeError(f"{argument_names(rule, k + 1)[k]}: {error}") from None


def share_counts(inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
    """Lets every output that is a view count its writes together with whatever it shares memory with."""
    for k, view in enumerate(outputs):
        shares = xp_of(view.array).may_share_memory if view.array.base is not None else operator.is_
        for other in itertools.chain(inputs, itertools.islice(outputs, k)):  # no list for each of many views
            if other is not None and shares(view.array, other.array):
                view.writes = other.writes
                break


def rule_of(function: Callable) -> Callable:
    """A function of tensors as a rule: its pullback is the tape's.

    With it the largest scale is the same kind of thing as the smallest: a whole model can be gradient-checked, or used
    inside another rule, like ``tanh``. It takes ``wanted``, and where nothing is wanted nothing is recorded. Complex
    arrays are differentiated too, as if they were real: a complex step through this pullback is a second derivative
    (``minirnn.hvp``).
    """

    @wraps(function)
    def rule(*arrays: Array | None, wanted: Sequence[bool] | None = None) -> tuple[Any, Callable]:
        n = len(arrays)
        wanted = (True,) * n if wanted is None else wanted
        inputs = [None if a is None else Tensor.around(a) for a in arrays]
        for t, flag in zip(inputs, wanted, strict=True):
            if t is not None:
                t.asks = flag and t.dtype.kind in "fc"
        recording, inside = _recording.set(any(wanted)), _inside_rule.set(True)
        try:
            output = function(*inputs)
        except TypeError as error:
            if "does not support ufuncs" not in str(error):
                raise
            raise TypeError(
                "a function of tensors applies a function of NumPy to one, which would keep no history; use "
                "x.tanh() or ops.tanh(x) in place of np.tanh(x)"
            ) from error
        finally:
            _inside_rule.reset(inside)
            _recording.reset(recording)
        outputs = list(output) if isinstance(output, (tuple, list)) else [output]
        if not all(isinstance(t, Tensor) for t in outputs):
            raise TypeError(
                f"a function of tensors must return a tensor or a tuple of them, got {type(output).__name__}"
            )
        saved = (inputs, outputs) if any(wanted) else None

        def rule_pullback(*cotangents: Array) -> tuple[Array | None, ...]:
            if saved is None:
                return (None,) * n
            inputs, outputs = saved
            used = [(t, c) for t, c in zip(outputs, cotangents, strict=True) if t.requires_grad]
            leaves = pull_back([t for t, _ in used], [c for _, c in used], retain_graph=True)
            asked = [t if t is not None and t.requires_grad else None for t in inputs]
            zeros = {id(t): (t, xp_of(t.array).zeros(t.shape, t.dtype)) for t in asked if t is not None}
            return tuple({**zeros, **leaves}.get(id(t), (t, None))[1] for t in asked)

        values = tuple(t.array for t in outputs)
        return values if isinstance(output, (tuple, list)) else values[0], rule_pullback

    with suppress(ValueError):  # of builtins without a signature, or if ``wanted`` is one of the arrays
        form = inspect.signature(function)
        own = inspect.Parameter("wanted", inspect.Parameter.KEYWORD_ONLY, default=None)
        places = [p for p in form.parameters.values() if p.kind is not p.VAR_KEYWORD]
        rule.__signature__ = form.replace(parameters=[*places, own])  # type: ignore[attr-defined]
    return rule


def inside_rule() -> bool:
    """Whether the call comes from a rule made by `rule_of`: only there complex numbers stand for real ones."""
    return _inside_rule.get()


def _new_lock() -> None:
    global _adding
    _adding = threading.RLock()  # in a process that was forked while another thread held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)
