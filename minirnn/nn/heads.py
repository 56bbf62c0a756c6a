"""Many looks at once, and looks with a question that is learned: heads, and words pooled to documents."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from minirnn import ops
from minirnn.arguments import flag, positive, share
from minirnn.arrays import Array, asarray, float_dtype, xp_of
from minirnn.nn.attention import real_part, real_tokens
from minirnn.nn.init import glorot, uniform_by_fan
from minirnn.nn.inputs import floats_like, integers, tensor_of
from minirnn.nn.layers import Linear
from minirnn.nn.module import Module, Parameter
from minirnn.nn.recurrent import GRU
from minirnn.seeds import own_seed, seed_of
from minirnn.tape import Tensor


class MultiheadAttention(Module):
    """Several looks at once, each through a projection of its own (Vaswani et al. 2017), as PyTorch has it.

    A head is a column: ``num_heads`` times as many columns of ``embed_dim / num_heads`` features run through the rules
    that serve one.

    Parameters
    ----------
    embed_dim, num_heads : int
        Size ``E``, and into how many parts of equal size it is cut.
    dropout : float
        Probability, below 1, with which a weight is dropped, while training; may be set again at any time.
    bias : bool
        Whether there are ``in_proj_bias`` and ``out_proj.bias``.
    batch_first : bool
        Whether inputs and outputs are ``(B, T, ...)`` rather than ``(T, B, ...)``.
    dtype : dtype
        float32 or float64.
    seed : int, optional
        Draws the initial weights, and masks of dropout: others if it is set again. Without it the next of
        `minirnn.use_seed`.

    Attributes
    ----------
    in_proj_weight, in_proj_bias : Parameter
        ``(3E, E)`` and ``(3E,)``: what makes queries, keys and values, one above the other.
    out_proj : Linear
        From ``E`` to ``E``.

    Examples
    --------
    >>> import numpy as np
    >>> attention, x = MultiheadAttention(embed_dim=6, num_heads=2), np.ones((5, 4, 6), "float32")
    >>> y, weights = attention(x, x, x)  # self-attention
    >>> y.shape, weights.shape
    ((5, 4, 6), (5, 4, 5))
    >>> y, weights = attention(x, x, x, mask=np.tri(5, dtype=bool))  # in which no word sees a later one
    >>> weights.numpy()[:2, 0].tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0]]
    """

    FIXED = ("embed_dim", "num_heads", "bias", "batch_first")
    CHECKED: ClassVar = {"dropout": share, "seed": own_seed}

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        batch_first: bool = False,
        dtype: Any = "float32",
        seed: int | None = None,
    ):
        positive(embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(f"num_heads must divide embed_dim, {embed_dim}, got {num_heads}")
        self.embed_dim, self.num_heads, self.dropout = int(embed_dim), int(num_heads), dropout
        self.bias, self.batch_first = flag(bias=bias), flag(batch_first=batch_first)
        E, dtype, self.seed = self.embed_dim, float_dtype(dtype), own_seed(seed)
        self.in_proj_weight = Parameter(glorot((3 * E, E), self.seed, "in_proj_weight"), dtype, "in_proj_weight")
        self.in_proj_bias = Parameter(np.zeros(3 * E), dtype, "in_proj_bias") if bias else None
        self.out_proj = Linear(E, E, bias, dtype=dtype, seed=seed_of("out_proj", self.seed))
        if bias:
            self.out_proj.bias = Parameter(np.zeros(E), dtype, "bias")

    def forward(self, query: Any, key: Any, value: Any, lengths: Any = None, mask: Any = None) -> tuple[Tensor, Tensor]:
        """What each query finds, and where it looked.

        Parameters
        ----------
        query : Tensor or array
            ``(T, B, E)``; with ``batch_first`` ``(B, T, E)``, and so on.
        key, value : Tensor or array
            ``(S, B, E)``; with ``query``, ``key`` and ``value`` the same, this is self-attention.
        lengths : list, array or tensor of int, optional
            ``(B,)``: how many keys of each column are real, at least 1. What comes after them is never looked at.
        mask : array or tensor of bool, optional
            ``(T, S)``: True where query t may look at key s. A query that may look at none finds zeros.

        Returns
        -------
        out : Tensor
            ``(T, B, E)``.
        weights : Tensor
            ``(T, B, S)``, the mean over heads; as in PyTorch after dropout.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or backend does not fit, a length does not lie in 1..S, or the mask is not boolean.
        """
        E, n = self.embed_dim, self.num_heads
        query = self._columns(query, "query", "T", "B")
        T, _, B = query.shape
        key, real = real_part(self._columns(key, "key", "S", B), lengths, "key")
        value, _ = real_part(self._columns(value, "value", len(key), B), lengths)
        queries, keys, values = (self._heads(k, xs) for k, xs in enumerate((query, key, value)))
        scores = ops.dot_scores(queries, keys, scale=1 / math.sqrt(E // n))
        weights = ops.attention_weights(scores, self._seen(real, mask, scores.shape))
        if self.training and self.dropout:
            self.draws += 1
            weights = ops.dropout(weights, p=self.dropout, seed=self.seed, stream="weights", step=self.draws)
        found = ops.attention_contexts(weights, values).reshape(T, E // n, n, B)
        out = self.out_proj(found.transpose(0, 3, 2, 1).reshape(T, B, E))
        looks = weights.reshape(T, -1, n, B).mean(axis=2).swapaxes(1, 2)
        return (out.swapaxes(0, 1), looks.swapaxes(0, 1)) if self.batch_first else (out, looks)

    def _columns(self, x: Any, name: str, N: int | str, B: int | str) -> Tensor:
        """A checked input as ``(N, E, B)``."""
        shape = (B, N, self.embed_dim) if self.batch_first else (N, B, self.embed_dim)
        x = floats_like(self.in_proj_weight, x, name, shape)
        return x.transpose(1, 2, 0) if self.batch_first else x.transpose(0, 2, 1)

    def _heads(self, k: int, xs: Tensor) -> Tensor:
        """What the k-th projection makes of ``(T, E, B)``, a head a column: ``(T, E / n, n B)``."""
        (T, E, B), n = xs.shape, self.num_heads
        rows = slice(k * E, (k + 1) * E)
        b = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        ys = ops.affine(xs, self.in_proj_weight[rows], b)
        return ys.reshape(T, n, E // n, B).swapaxes(1, 2).reshape(T, E // n, n * B)

    def _seen(self, real: Array | None, mask: Any, shape: tuple[int, ...]) -> Array | None:
        """What queries may look at, ``(S, n B)`` or ``(T, S, n B)``: keys that are real, and that the mask allows."""
        (T, S, _), real = shape, None if real is None else xp_of(real).tile(real, (1, self.num_heads))
        if mask is None:
            return real
        mask = tensor_of(mask, "mask")
        if mask.dtype.kind != "b":
            raise TypeError(f"mask must be boolean, True where a query may look, got dtype {mask.dtype}")
        if mask.shape != (T, S):
            raise ValueError(f"mask must have shape ({T}, {S}), a row for each query, got {mask.shape}")
        allowed = asarray(mask.array, backend=self.in_proj_weight.backend)[:, :, None]
        return xp_of(allowed).broadcast_to(allowed if real is None else allowed & real, shape)


class HierarchicalPooling(Module):
    """A vector for a document: of each sentence the words that matter, of those the sentences (Yang et al. 2016).

    On either level a bidirectional GRU reads, and a learned query looks: ``u = tanh(W h + b)``, weights are the softmax
    of ``v . u``, and the vector is the mean of the h under them.

    Parameters
    ----------
    input_size, hidden_size : int
        Size ``D`` of a word, and ``H`` of each direction.
    dtype : dtype
        float32 or float64.
    seed : int, optional
        Draws the initial weights; without it the next of `minirnn.use_seed`.

    Examples
    --------
    >>> import numpy as np
    >>> pooling, words = HierarchicalPooling(input_size=3, hidden_size=4), np.ones((2, 3, 5, 3), "float32")
    >>> documents, of_sentences, of_words = pooling(words, lengths=[[5, 2, 1], [4, 0, 0]])  # of the second, 1 sentence
    >>> documents.shape, of_sentences.shape, of_words.shape
    ((2, 8), (2, 3), (2, 3, 5))
    """

    FIXED = ("input_size", "hidden_size", "seed")

    def __init__(self, input_size: int, hidden_size: int, *, dtype: Any = "float32", seed: int | None = None):
        positive(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.seed = D, H, seed = int(input_size), int(hidden_size), own_seed(seed)
        F = 2 * H
        self.words = GRU(D, H, bidirectional=True, dtype=dtype, seed=seed_of("words", seed))
        self.sentences = GRU(F, H, bidirectional=True, dtype=dtype, seed=seed_of("sentences", seed))
        self.of_words = LearnedQuery(F, dtype=dtype, seed=seed_of("of_words", seed))
        self.of_sentences = LearnedQuery(F, dtype=dtype, seed=seed_of("of_sentences", seed))

    def forward(self, words: Any, lengths: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of documents, the weights of their sentences, and of the words in these.

        Parameters
        ----------
        words : Tensor or array
            ``(B, N, L, D)``: documents of N sentences of L words.
        lengths : list or array of int
            ``(B, N)``: how many words of a sentence are real. 0 where there is no sentence, which are the last.

        Returns
        -------
        documents : Tensor
            ``(B, 2H)``.
        of_sentences, of_words : Tensor
            ``(B, N)`` and ``(B, N, L)``; 0 where nothing is real.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or backend does not fit, there is no sentence or word, lengths are not integers from 0 to
            L, or a document has no sentence or one after an empty one.
        """
        like = self.of_words.weight
        words = floats_like(like, words, "words", ("B", "N", "L", self.input_size))
        B, N, L, D = words.shape
        if not N * L:
            raise ValueError(f"words must hold at least one sentence of one word, got shape {words.shape}")
        lengths = _sentence_lengths(lengths, B, N, L)
        columns = words.transpose(2, 3, 0, 1).reshape(L, D, B * N)
        mask = real_tokens(lengths.reshape(-1), L, like.backend)
        columns = ops.where(mask[:, None], columns, 0.0)  # where there is no sentence, the first word is read
        hs, _ = self.words(columns.swapaxes(1, 2), lengths=np.maximum(lengths.reshape(-1), 1))
        sentences, of_words = self.of_words(hs.swapaxes(1, 2), mask)
        counts = (lengths > 0).sum(axis=1)
        hs, _ = self.sentences(sentences.T.reshape(B, N, 2 * self.hidden_size).swapaxes(0, 1), lengths=counts)
        documents, of_sentences = self.of_sentences(hs.swapaxes(1, 2), real_tokens(counts, N, like.backend))
        return documents.T, of_sentences.T, of_words.T.reshape(B, N, L)


class LearnedQuery(Module):
    """The mean of a memory under what fits a query that is a parameter: ``v . tanh(W m + b)``, b being the query."""

    FIXED = ("memory_size",)

    def __init__(self, memory_size: int, *, dtype: Any = "float32", seed: int):
        self.memory_size, dtype = memory_size, float_dtype(dtype)
        F = memory_size
        self.weight = Parameter(uniform_by_fan((F, F), F, seed, "weight"), dtype, "weight")
        self.bias = Parameter(uniform_by_fan((F,), F, seed, "bias"), dtype, "bias")
        self.v = Parameter(uniform_by_fan((F,), F, seed, "v"), dtype, "v")

    def forward(self, memory: Tensor, mask: Array | None) -> tuple[Tensor, Tensor]:
        """Of a memory ``(S, F, B)`` what is found in it ``(F, B)``, and the weights ``(S, B)``."""
        query = ops.broadcast_to(self.bias.reshape(1, -1, 1), shape=(1, *memory.shape[1:]))
        weights = ops.attention_weights(ops.additive_scores(query, ops.affine(memory, self.weight), self.v), mask)
        return ops.attention_contexts(weights, memory)[0], weights[0]


def _sentence_lengths(lengths: Any, B: int, N: int, L: int) -> np.ndarray:
    form = f"of shape ({B}, {N}), one for every sentence"
    found = integers(lengths, "lengths", form)
    if found.shape != (B, N):
        raise ValueError(f"lengths must be {form}, got {found.shape}")
    if found.min(initial=0) < 0 or found.max(initial=0) > L:
        raise ValueError(f"lengths must lie in 0..{L}, the number of words, got {found.min()}..{found.max()}")
    real = found > 0
    wrong = ~real[:, 0] | (real[:, 1:] > real[:, :-1]).any(axis=1)
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(f"lengths must be 0 after the last sentence only, got {found[k].tolist()} for document {k}")
    return found.astype(np.int64)
