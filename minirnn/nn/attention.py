"""Attention: what queries find in a memory, and how they are compared with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minirnn import ops
from minirnn.arguments import positive
from minirnn.arrays import Array, asarray, float_dtype
from minirnn.nn.init import uniform_by_fan
from minirnn.nn.inputs import floats_like, tensor_of
from minirnn.nn.module import Module, Parameter
from minirnn.nn.sequences import checked_lengths
from minirnn.seeds import own_seed
from minirnn.tape import Tensor

KINDS = ("dot", "scaled_dot", "general", "additive")


class Attention(Module):
    """What queries find in a memory: scores, their softmax, and the mean of the memory under it.

    Parameters
    ----------
    query_size, memory_size : int
        Sizes ``Q`` of a query and ``F`` of what is remembered of a word.
    kind : {"general", "dot", "scaled_dot", "additive"}
        How a query is compared with a word; ``minirnn/rules/attention.py`` has the equations. The dots need queries and
        memory of one size, and have no weights.
    attention_size : int, optional
        Hidden units ``A`` of additive scores; ``query_size`` of them without it.
    dtype : dtype
        float32 or float64.
    seed : int, optional
        Draws the initial weights; without it the next of `minirnn.use_seed`.

    Attributes
    ----------
    weight_key : Parameter
        ``(A, F)``; A is ``query_size`` for general scores. None for dots.
    weight_query : Parameter
        ``(A, Q)``, of additive scores only, as is the next.
    v : Parameter
        ``(A,)``.

    Examples
    --------
    >>> import numpy as np
    >>> attention = Attention(query_size=4, memory_size=6, kind="additive")
    >>> queries, memory = np.ones((3, 2, 4), "float32"), np.ones((4, 2, 6), "float32")  # 3 queries, 4 words, 2 columns
    >>> contexts, weights = attention(queries, memory, lengths=[4, 2])
    >>> contexts.shape, weights.shape, weights.numpy()[0].tolist()
    ((3, 2, 6), (3, 2, 4), [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])
    """

    FIXED = ("query_size", "memory_size", "kind", "attention_size", "seed")

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        kind: str = "general",
        attention_size: int | None = None,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ):
        positive(query_size=query_size, memory_size=memory_size)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        if attention_size is not None:
            positive(attention_size=attention_size)
            if kind != "additive":
                raise ValueError(f"attention_size is of kind 'additive' only, got {attention_size} for {kind!r}")
        if kind in ("dot", "scaled_dot") and query_size != memory_size:
            raise ValueError(
                f"kind {kind!r} needs query_size and memory_size to be the same, got {query_size} and {memory_size}; "
                "'general' compares any two"
            )
        self.query_size, self.memory_size, self.kind = int(query_size), int(memory_size), str(kind)
        self.attention_size = None if attention_size is None else int(attention_size)
        Q, F, A, dtype = self.query_size, self.memory_size, self.attention_size or self.query_size, float_dtype(dtype)
        self.scale = 1 / math.sqrt(Q) if kind == "scaled_dot" else 1.0
        shapes: dict[str, tuple[int, ...]] = {}
        if kind == "general":
            shapes = {"weight_key": (Q, F)}
        elif kind == "additive":
            shapes = {"weight_key": (A, F), "weight_query": (A, Q), "v": (A,)}
        self.weight_key = self.weight_query = self.v = None
        self.seed = own_seed(seed)
        for name, shape in shapes.items():
            setattr(self, name, Parameter(uniform_by_fan(shape, shape[-1], self.seed, name), dtype, name))

    def keys(self, memory: Tensor) -> Tensor:
        """What queries are compared with, ``(S, A, B)`` of a memory ``(S, F, B)``: once for all that look into it."""
        return memory if self.weight_key is None else ops.affine(memory, self.weight_key)

    def run(self, queries: Tensor, keys: Tensor, memory: Tensor, mask: Array | None) -> tuple[Tensor, Tensor]:
        """Contexts ``(T, F, B)`` and weights ``(T, S, B)``, all in columns.

        Parameters
        ----------
        queries : Tensor
            ``(T, Q, B)``.
        keys, memory : Tensor
            ``(S, A, B)`` from `keys`, and ``(S, F, B)``. What stands in the padding must be numbers.
        mask : array of bool or None
            ``(S, B)``, True where a token is real.
        """
        if self.kind == "additive":
            scores = ops.additive_scores(ops.affine(queries, self.weight_query), keys, self.v)
        else:
            scores = ops.dot_scores(queries, keys, scale=self.scale)
        weights = ops.attention_weights(scores, mask)
        return ops.attention_contexts(weights, memory), weights

    def forward(self, queries: Any, memory: Any, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """What each query finds, and where it looked.

        Parameters
        ----------
        queries : Tensor or array
            ``(T, B, Q)``.
        memory : Tensor or array
            ``(S, B, F)``.
        lengths : list, array or tensor of int, optional
            ``(B,)``: how many words of each memory are real, at least 1. What comes after them is never read.

        Returns
        -------
        contexts : Tensor
            ``(T, B, F)``.
        weights : Tensor
            ``(T, B, S)``, in each row one in all; 0 past the end of the memory.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or backend does not fit, or a length does not lie in 1..S.
        """
        like = tensor_of(queries, "queries") if self.weight_key is None else self.weight_key
        if like.dtype.kind not in "fc":
            raise TypeError(f"queries must be floating-point numbers, got dtype {like.dtype}")
        queries = floats_like(like, queries, "queries", ("T", "B", self.query_size))
        memory = floats_like(like, memory, "memory", ("S", queries.shape[1], self.memory_size))
        memory, mask = real_part(memory.swapaxes(1, 2), lengths)
        contexts, weights = self.run(queries.swapaxes(1, 2), self.keys(memory), memory, mask)
        return contexts.swapaxes(1, 2), weights.swapaxes(1, 2)


def real_part(memory: Tensor, lengths: Any, name: str = "memory") -> tuple[Tensor, Array | None]:
    """The memory ``(S, F, B)`` with zeros past the end of each column, and the mask ``(S, B)`` of what is real."""
    if memory.shape[0] == 0:
        raise ValueError(f"{name} must have at least one word, got none")
    if lengths is None:
        return memory, None
    S, _, B = memory.shape
    mask = real_tokens(checked_lengths(lengths, B, S), S, memory.backend)
    return ops.where(mask[:, None], memory, 0.0), mask


def real_tokens(lengths: np.ndarray, S: int, backend: str) -> Array:
    """The mask ``(S, B)``, True where a token is real."""
    return asarray(np.arange(S)[:, None] < lengths, backend=backend)
