"""The record of what was called, and the loop that plays the pullbacks in reverse. It knows no rule by name.

Backpropagation through time is a loop that runs backward over steps. This is the same loop for graphs: every recorded
call of a rule is a step with a serial number, and ``pull_back`` visits the steps that the loss depends on in descending
order of their numbers. All that read the output of a call are younger than the call. So when its turn comes they have
all been visited, and its cotangent, the sum of what they ask, is complete.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from minirnn.arrays import Array, xp_of
from minirnn.workers import one_blas_thread

recording: ContextVar[bool] = ContextVar("minirnn_recording", default=True)
watcher: ContextVar[Callable | None] = ContextVar("minirnn_watcher", default=None)
_serials = itertools.count()


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this block nothing is recorded: rules save nothing, and tensors may be written into.

    The switch belongs to the current context; another thread is never affected.

    Examples
    --------
    >>> from minirnn import Tensor
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     w -= 0.5
    >>> w
    Tensor([0.5, 1.5], requires_grad=True)
    """
    token = recording.set(False)
    try:
        yield
    finally:
        recording.reset(token)


@contextmanager
def watching(look: Callable[[str, Sequence[Array | None]], Any]) -> Iterator[None]:
    """Within this block ``look(what, arrays)`` is shown what every rule and every pullback returns, when it returns it.

    It must not write into the arrays. The block belongs to the current context, as that of `no_grad` does.

    Examples
    --------
    >>> from minirnn import Tensor, ops
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with watching(lambda what, arrays: print(what)):
    ...     ops.sum(ops.tanh(x)).backward()
    the output of tanh
    the output of sum
    the gradient that sum hands down
    the gradient that tanh hands down
    """
    token = watcher.set(look)
    try:
        yield
    finally:
        watcher.reset(token)


class Edge:
    """Where an input of a recorded call came from: all about the tensor but its array.

    Which arrays stay in memory until ``backward`` is for the pullbacks to say; the tape adds none to them.
    """

    __slots__ = ("dtype", "index", "leaf", "name", "node", "requires_grad", "shape")

    def __init__(self, tensor: Any):
        self.requires_grad, self.shape, self.dtype = tensor.requires_grad, tensor.shape, tensor.dtype
        self.name, self.node, self.index = tensor.name, tensor.node, tensor.index
        self.leaf = tensor if tensor.requires_grad and tensor.node is None else None


class Node:
    """One recorded call of a rule.

    It points at its inputs and never at its outputs: no cycles, so dropping the loss frees the whole graph at once.
    """

    __slots__ = ("inputs", "name", "outputs", "pullback", "saved", "serial")

    def __init__(self, name: str, inputs: Sequence[Any], pullback: Callable, outputs: Sequence[Any]):
        self.serial = next(_serials)
        self.name = name
        self.inputs = [None if t is None else Edge(t) for t in inputs]
        self.pullback: Callable | None = pullback
        self.outputs = [(t.shape, t.dtype) for t in outputs]
        self.saved = [([0], 0) if t is None else (t.writes, t.writes[0]) for t in (*inputs, *outputs)]

    def __lt__(self, other: Node) -> bool:
        return self.serial > other.serial  # a heap hands out the smallest first: let that be the youngest

    def pull(self, cotangents: Sequence[Array | None]) -> Sequence[Array | None]:
        """One cotangent per input, from one per output; an output that nobody used counts as zero."""
        if self.pullback is None:
            raise RuntimeError(
                f"an earlier backward() freed the graph behind {self.name!r}; add up what is to go through it and call "
                "backward() once, or call the earlier one as backward(retain_graph=True)"
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


@one_blas_thread()
def pull_back(
    outputs: Sequence[Any], cotangents: Sequence[Array], retain_graph: bool = False
) -> dict[int, tuple[Any, Array]]:
    """The sum of the cotangents that reach each leaf, by ``id(leaf)``; ``backward`` without its side effect."""
    leaves: dict[int, tuple[Any, Array]] = {}
    waiting: dict[Node, list[Array | None]] = {}  # one place per output of the call
    heap: list[Node] = []

    def deliver(edge: Edge, cotangent: Array) -> None:
        if cotangent.dtype != edge.dtype:
            real = cotangent.dtype.kind == "c" and edge.dtype.kind == "f"  # a real input moves along the real line only
            cotangent = (cotangent.real if real else cotangent).astype(edge.dtype)
        if edge.leaf is not None:
            if not edge.leaf.requires_grad:  # frozen since
                return
            former = leaves.get(id(edge.leaf))
            leaves[id(edge.leaf)] = (edge.leaf, cotangent if former is None else former[1] + cotangent)
        elif edge.node is not None:
            if edge.node not in waiting:
                waiting[edge.node] = [None] * len(edge.node.outputs)
                heapq.heappush(heap, edge.node)
            places = waiting[edge.node]
            former_here = places[edge.index]
            places[edge.index] = cotangent if former_here is None else former_here + cotangent

    look = watcher.get()
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
