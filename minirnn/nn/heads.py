"""Many looks at once, and looks with a question that is learned: heads, and words pooled to documents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minirnn import ops
from minirnn.arguments import positive
from minirnn.arrays import Array, float_dtype, to_numpy, xp_of
from minirnn.nn.attention import real_part, real_tokens
from minirnn.nn.init import glorot, uniform_by_fan
from minirnn.nn.inputs import floats_like
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
    dtype : dtype
        float32 or float64.
    seed : int, optional
        Draws the initial weights; without it the next of `minirnn.use_seed`.

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
    """

    def __init__(self, embed_dim: int, num_heads: int, *, dtype: Any = "float32", seed: int | None = None):
        positive(embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(f"num_heads must divide embed_dim, {embed_dim}, got {num_heads}")
        E, dtype = int(embed_dim), float_dtype(dtype)
        self.embed_dim, self.num_heads, self.seed = E, int(num_heads), own_seed(seed)
        self.in_proj_weight = Parameter(glorot((3 * E, E), self.seed, "in_proj_weight"), dtype, "in_proj_weight")
        self.in_proj_bias = Parameter(np.zeros(3 * E), dtype, "in_proj_bias")
        self.out_proj = Linear(E, E, dtype=dtype, seed=seed_of("out_proj", self.seed))
        self.out_proj.bias = Parameter(np.zeros(E), dtype, "bias")

    def forward(self, query: Any, key: Any, value: Any, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """What each query finds, and where it looked.

        Parameters
        ----------
        query : Tensor or array
            ``(T, B, E)``.
        key, value : Tensor or array
            ``(S, B, E)``; with ``query``, ``key`` and ``value`` the same, this is self-attention.
        lengths : list, array or tensor of int, optional
            ``(B,)``: how many keys of each column are real, at least 1. What comes after them is never looked at.

        Returns
        -------
        out : Tensor
            ``(T, B, E)``.
        weights : Tensor
            ``(T, B, S)``, the mean over heads.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or backend does not fit, or a length does not lie in 1..S.
        """
        E, n, like = self.embed_dim, self.num_heads, self.in_proj_weight
        query = floats_like(like, query, "query", ("T", "B", E))
        key = floats_like(like, key, "key", ("S", query.shape[1], E))
        value = floats_like(like, value, "value", (*key.shape[:2], E))
        key, mask = real_part(key.swapaxes(1, 2), lengths, "key")
        value, _ = real_part(value.swapaxes(1, 2), lengths)
        heads = []
        for k, xs in enumerate((query.swapaxes(1, 2), key, value)):
            rows = slice(k * E, (k + 1) * E)
            heads.append(self._as_columns(ops.affine(xs, self.in_proj_weight[rows], self.in_proj_bias[rows])))
        queries, keys, values = heads
        scores = ops.dot_scores(queries, keys, scale=1 / math.sqrt(E // n))
        weights = ops.attention_weights(scores, None if mask is None else xp_of(mask).tile(mask, (1, n)))
        (T, B, _), S = query.shape, len(keys)
        found = ops.attention_contexts(weights, values).reshape(T, E // n, n, B)
        out = self.out_proj(found.transpose(0, 3, 2, 1).reshape(T, B, E))
        return out, weights.reshape(T, S, n, B).mean(axis=2).swapaxes(1, 2)

    def _as_columns(self, xs: Tensor) -> Tensor:
        """``(T, E, B)`` as ``(T, E / n, n B)``."""
        (T, E, B), n = xs.shape, self.num_heads
        return xs.reshape(T, n, E // n, B).swapaxes(1, 2).reshape(T, E // n, n * B)


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

    def __init__(self, input_size: int, hidden_size: int, *, dtype: Any = "float32", seed: int | None = None):
        positive(input_size=input_size, hidden_size=hidden_size)
        D, F = int(input_size), 2 * int(hidden_size)
        self.seed = seed = own_seed(seed)
        self.words = GRU(D, hidden_size, bidirectional=True, dtype=dtype, seed=seed_of("words", seed))
        self.sentences = GRU(F, hidden_size, bidirectional=True, dtype=dtype, seed=seed_of("sentences", seed))
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
            If a shape, dtype or backend does not fit, lengths are not integers from 0 to L, or a document has no
            sentence or one after an empty one.
        """
        like = self.of_words.weight
        words = floats_like(like, words, "words", ("B", "N", "L", self.words.input_size))
        B, N, L, D = words.shape
        lengths = _sentence_lengths(lengths, B, N, L)
        columns = words.transpose(2, 3, 0, 1).reshape(L, D, B * N)
        mask = real_tokens(lengths.reshape(-1), L, like.backend)
        columns = ops.where(mask[:, None], columns, 0.0)  # where there is no sentence, the first word is read
        hs, _ = self.words(columns.swapaxes(1, 2), lengths=np.maximum(lengths.reshape(-1), 1))
        sentences, of_words = self.of_words(hs.swapaxes(1, 2), mask)
        counts = (lengths > 0).sum(axis=1)
        hs, _ = self.sentences(sentences.T.reshape(B, N, -1).swapaxes(0, 1), lengths=counts)
        documents, of_sentences = self.of_sentences(hs.swapaxes(1, 2), real_tokens(counts, N, like.backend))
        return documents.T, of_sentences.T, of_words.T.reshape(B, N, L)


class LearnedQuery(Module):
    """The mean of a memory under what fits a query that is a parameter: ``v . tanh(W m + b)``, b being the query."""

    def __init__(self, memory_size: int, *, dtype: Any, seed: int):
        F, dtype = memory_size, float_dtype(dtype)
        self.weight = Parameter(uniform_by_fan((F, F), F, seed, "weight"), dtype, "weight")
        self.bias = Parameter(uniform_by_fan((F,), F, seed, "bias"), dtype, "bias")
        self.v = Parameter(uniform_by_fan((F,), F, seed, "v"), dtype, "v")

    def forward(self, memory: Tensor, mask: Array | None) -> tuple[Tensor, Tensor]:
        """Of a memory ``(S, F, B)`` what is found in it ``(F, B)``, and the weights ``(S, B)``."""
        query = ops.broadcast_to(self.bias.reshape(1, -1, 1), shape=(1, *memory.shape[1:]))
        weights = ops.attention_weights(ops.additive_scores(query, ops.affine(memory, self.weight), self.v), mask)
        return ops.attention_contexts(weights, memory)[0], weights[0]


def _sentence_lengths(lengths: Any, B: int, N: int, L: int) -> np.ndarray:
    found = to_numpy(lengths.array if isinstance(lengths, Tensor) else lengths)
    if found.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, got dtype {found.dtype}")
    if found.shape != (B, N):
        raise ValueError(f"lengths must have shape ({B}, {N}), one for every sentence, got {found.shape}")
    if found.min(initial=0) < 0 or found.max(initial=0) > L:
        raise ValueError(f"lengths must lie in 0..{L}, the number of words, got {found.min()}..{found.max()}")
    real = found > 0
    wrong = ~real[:, 0] | (real[:, 1:] > real[:, :-1]).any(axis=1)
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(f"lengths must be 0 after the last sentence only, got {found[k].tolist()} for document {k}")
    return found.astype(np.int64)
