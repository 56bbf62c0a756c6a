"""Layers without time: linear, embedding, dropout."""

from __future__ import annotations

from typing import Any, ClassVar

from minirnn import ops
from minirnn.arguments import booleans, positive, share
from minirnn.arrays import float_dtype
from minirnn.nn.init import normal, uniform_by_fan
from minirnn.nn.inputs import floats_like, ids_on, tensor_of
from minirnn.nn.module import Module, Parameter
from minirnn.seeds import own_seed
from minirnn.tape import Tensor


class Linear(Module):
    """``y = x W^T + b`` on the last axis.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis before and after.
    bias : bool
        Whether there is a ``b``.
    dtype : dtype
        float32 or float64.
    seed : int, optional
        Draws the initial weights; without it the next of `minirnn.use_seed`.

    Attributes
    ----------
    weight : Parameter
        ``(out_features, in_features)``.
    bias : Parameter or None
        ``(out_features,)``.
    """

    FIXED = ("in_features", "out_features", "seed")

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = "float32", seed: int | None = None
    ):
        positive(in_features=in_features, out_features=out_features)
        booleans(bias=bias)
        self.in_features, self.out_features = D, F = int(in_features), int(out_features)
        dtype, self.seed = float_dtype(dtype), own_seed(seed)
        self.weight = Parameter(uniform_by_fan((F, D), D, self.seed, "weight"), dtype, "weight")
        self.bias = Parameter(uniform_by_fan((F,), D, self.seed, "bias"), dtype, "bias") if bias else None

    def forward(self, x: Any) -> Tensor:
        """``x`` of shape ``(..., in_features)`` to ``(..., out_features)``."""
        x = tensor_of(x, "x")
        shape = tuple(f"n{k}" for k in range(x.ndim - 1))
        x = floats_like(self.weight, x, "x", (*shape, self.weight.shape[1]))
        if x.ndim == 1:
            return self.forward(x.reshape(1, -1))[0]
        return ops.affine(x.swapaxes(-1, -2), self.weight, self.bias).swapaxes(-1, -2)


class Embedding(Module):
    """A vector for each id.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        How many ids there are, and how long their vectors.
    dtype : dtype
        float32 or float64.
    seed : int, optional
        Draws the initial weights; without it the next of `minirnn.use_seed`.

    Attributes
    ----------
    weight : Parameter
        ``(num_embeddings, embedding_dim)``.
    """

    FIXED = ("num_embeddings", "embedding_dim", "seed")

    def __init__(self, num_embeddings: int, embedding_dim: int, *, dtype: Any = "float32", seed: int | None = None):
        positive(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = shape = int(num_embeddings), int(embedding_dim)
        dtype, self.seed = float_dtype(dtype), own_seed(seed)
        self.weight = Parameter(normal(shape, self.seed, "embedding"), dtype, "weight")

    def forward(self, ids: Any) -> Tensor:
        """``ids``, integers of any shape, to ``(*ids.shape, embedding_dim)``."""
        return ops.embedding(self.weight, ids_on(self.weight.backend, ids, self.weight.shape[0]))


class Dropout(Module):
    """While training, zeroes elements with probability ``p`` and scales the others by ``1 / (1 - p)``.

    Parameters
    ----------
    p : float
        A number from 0 to below 1.
    seed : int, optional
        Draws the masks: the n-th call the n-th mask of its stream, the same on every backend. Without it the next of
        `minirnn.use_seed`.

    Both may be set again at any time.
    """

    CHECKED: ClassVar = {"p": share, "seed": own_seed}

    def __init__(self, p: float = 0.5, *, seed: int | None = None):
        self.p, self.seed = p, seed

    def forward(self, x: Any) -> Tensor:
        x = tensor_of(x, "x")
        if not self.training or self.p == 0:
            return x
        self.draws += 1
        return ops.dropout(x, p=self.p, seed=self.seed, step=self.draws)
