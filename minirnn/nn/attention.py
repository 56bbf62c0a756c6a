"""Layers that look into a memory: attention, a decoder that attends, many heads, words pooled to documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn import ops, rules
from minirnn.arrays import Array, asarray, float_dtype, to_numpy, xp_of
from minirnn.nn.init import glorot, uniform_by_fan
from minirnn.nn.inputs import floats_like, positive, states_like, tensor_of
from minirnn.nn.layers import Linear
from minirnn.nn.module import Module, Parameter
from minirnn.nn.recurrent import GRU, LSTM, RNN
from minirnn.nn.sequences import checked_lengths
from minirnn.rules.combinators import attentive, shard
from minirnn.tape import Tensor, differentiable

KINDS = ("dot", "scaled_dot", "general", "additive")
FEEDS = ("nothing", "output", "context")
CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
STEPS = {"rnn": rules.rnn_step, "lstm": rules.lstm_step, "gru": rules.gru_step}
STEP_OPS = {"rnn": ops.rnn_step, "lstm": ops.lstm_step, "gru": ops.gru_step}
ATTEND = {cell: differentiable(shard(attentive(step))) for cell, step in STEPS.items()}


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
    seed : int
        Draws the initial weights.

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

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        kind: str = "general",
        attention_size: int | None = None,
        *,
        dtype: Any = "float32",
        seed: int = 0,
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
        self.query_size, self.memory_size, self.kind = int(query_size), int(memory_size), kind
        Q, F, A, dtype = self.query_size, self.memory_size, int(attention_size or query_size), float_dtype(dtype)
        self.scale = 1 / math.sqrt(Q) if kind == "scaled_dot" else 1.0
        shapes: dict[str, tuple[int, ...]] = {}
        if kind == "general":
            shapes = {"weight_key": (Q, F)}
        elif kind == "additive":
            shapes = {"weight_key": (A, F), "weight_query": (A, Q), "v": (A,)}
        self.weight_key = self.weight_query = self.v = None
        for name, shape in shapes.items():
            setattr(self, name, Parameter(uniform_by_fan(shape, shape[-1], seed, name), dtype, name))

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


class AttentiveDecoder(Module):
    """A recurrent layer that looks into a memory at every step: ``tanh(W_out [context; h])`` is its output.

    Parameters
    ----------
    input_size, hidden_size, memory_size : int
        Sizes ``D``, ``H``, and ``F`` of what is remembered of a word.
    cell : {"lstm", "gru", "rnn"}
        Which recurrence.
    attention : {"general", "dot", "scaled_dot", "additive"}
        How h is compared with the memory: the kind of an `Attention`.
    feed : {"nothing", "output", "context"}
        What a step is told besides its input. ``"nothing"``: the recurrence runs first, and all its steps look at once.
        ``"output"``: what the step before put out, so that it knows where it has looked (Luong et al. 2015).
        ``"context"``: what the state before it finds in the memory, which its own output reads, too (Bahdanau et al.
        2014). With either the decoder is one rule, ``minirnn/rules/combinators/attending.py``.
    dtype : dtype
        float32 or float64.
    seed : int
        Draws the initial weights.

    Attributes
    ----------
    rnn : RNN, LSTM or GRU
        The recurrence, of one layer.
    attention : Attention
    weight_out : Parameter
        ``(H, F + H)``.
    weight_fed : Parameter or None
        ``(G, K)``, with something to feed: G rows as ``rnn.weight_ih_l0`` has, and K is H or F.

    Examples
    --------
    >>> import numpy as np
    >>> decoder = AttentiveDecoder(input_size=3, hidden_size=4, memory_size=6, feed="output")
    >>> x, memory = np.ones((7, 2, 3), "float32"), np.ones((5, 2, 6), "float32")  # 7 steps, 5 words, 2 columns
    >>> outs, weights = decoder(x, memory, lengths=[5, 2])
    >>> outs.shape, weights.shape
    ((7, 2, 4), (7, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        cell: str = "lstm",
        attention: str = "general",
        feed: str = "nothing",
        *,
        dtype: Any = "float32",
        seed: int = 0,
    ):
        for name, value, known in (("cell", cell, CELLS), ("attention", attention, KINDS), ("feed", feed, FEEDS)):
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        self.attention = Attention(hidden_size, memory_size, attention, dtype=dtype, seed=seed)
        self.rnn = CELLS[cell](input_size, hidden_size, dtype=dtype, seed=seed)
        self.cell, self.feed = cell, feed
        H, F, dtype = self.rnn.hidden_size, self.attention.memory_size, float_dtype(dtype)
        self.weight_out = Parameter(uniform_by_fan((H, F + H), F + H, seed, "weight_out"), dtype, "weight_out")
        self.weight_fed = None
        if feed != "nothing":
            shape = (len(self.rnn.weight_ih_l0), H if feed == "output" else F)
            self.weight_fed = Parameter(uniform_by_fan(shape, H, seed, "weight_fed"), dtype, "weight_fed")

    def first_state(
        self, states: Sequence[Tensor], memory: Tensor, mask: Array | None, keys: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """The state before the first step, from the recurrence's own: ``h``, or ``h`` and ``c``, each ``(H, B)``.

        What is fed to the first step is in front: zeros for an output, for a context what h finds.
        """
        h = states[0]
        if self.feed == "nothing":
            return tuple(states)
        if self.feed == "output":
            return Tensor.around(xp_of(h.array).zeros(h.shape, h.dtype)), *states
        contexts, _ = self._look(h, memory, mask, keys)
        return contexts[0], *states

    def run(
        self,
        xs: Tensor,
        state: Sequence[Tensor],
        memory: Tensor,
        mask: Array | None,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Steps in columns, from a state that `first_state` made or this method left.

        Parameters
        ----------
        xs : Tensor
            ``(T, D, B)``.
        state : tuple of Tensor
            Each ``(features, B)``.
        memory : Tensor
            ``(S, F, B)``. What stands in the padding must be numbers.
        mask : array of bool or None
            ``(S, B)``, True where a token is real.
        keys : Tensor, optional
            ``attention.keys(memory)``, for those who call this often with one memory.

        Returns
        -------
        outs : Tensor
            ``(T, H, B)``.
        weights : Tensor
            ``(T, S, B)``: where the context was found that the output of the step has read.
        state : tuple of Tensor
            That after the last step.
        """
        keys = self.attention.keys(memory) if keys is None else keys
        if self.feed == "nothing":
            hs, (ends,) = self.rnn._layer(0, xs, None, [(part,) for part in state], None, None)
            contexts, weights = self.attention.run(hs, keys, memory, mask)
            return self._outs(contexts, hs), weights, tuple(ends)
        feds, hs, weights, *ends = ATTEND[self.cell](
            ops.affine(xs, *self.rnn._input_weights("l0")),
            *state,
            keys,
            memory,
            mask,
            self.weight_fed,
            self.attention.weight_query,
            self.attention.v,
            self.weight_out if self.feed == "output" else None,
            *self.rnn._recurrent_weights("l0"),
            scale=self.attention.scale,
            **self.rnn._static(),
        )
        if self.feed == "output":
            return feds, weights, tuple(ends)
        # what a step finds is for the next: the first reads what was found before
        fed, h = state[:2]
        _, first = self._look(h, memory, mask, keys)
        contexts, weights = ops.concat(fed.reshape(1, *fed.shape), feds[:-1]), ops.concat(first, weights[:-1])
        return self._outs(contexts, hs), weights, tuple(ends)

    def step(
        self,
        x: Tensor,
        state: Sequence[Tensor],
        memory: Tensor,
        mask: Array | None,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """One step in columns, operation by operation: what ``run`` does for many steps, for those who write.

        Parameters
        ----------
        x : Tensor
            ``(D, N)``, where N is B or a multiple of it: each column of the memory serves N / B neighbours, as many as
            there are translations of one sentence.
        state : tuple of Tensor
            Each ``(features, N)``.
        memory, mask, keys
            As of ``run``, of B columns.

        Returns
        -------
        out : Tensor
            ``(H, N)``.
        weights : Tensor
            ``(S, N)``.
        state : tuple of Tensor
        """
        a = ops.affine(x, *self.rnn._input_weights("l0"))
        fed, states = ((), tuple(state)) if self.feed == "nothing" else (state[:1], tuple(state[1:]))
        if fed:
            a = a + ops.affine(fed[0], self.weight_fed)
        new = STEP_OPS[self.cell](a, *states, *self.rnn._recurrent_weights("l0"), **self.rnn._static())
        new = new if isinstance(new, tuple) else (new,)
        h = new[0]
        if self.feed == "context":  # what the output reads was found by the state before
            _, weights = self._look_together(states[0], memory, mask, keys)
            found, _ = self._look_together(h, memory, mask, keys)
            return self._outs(fed[0], h), weights, (found, *new)
        context, weights = self._look_together(h, memory, mask, keys)
        out = self._outs(context, h)
        return out, weights, new if self.feed == "nothing" else (out, *new)

    def _look(self, h: Tensor, memory: Tensor, mask: Array | None, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        keys = self.attention.keys(memory) if keys is None else keys
        return self.attention.run(h.reshape(1, *h.shape), keys, memory, mask)

    def _look_together(
        self, h: Tensor, memory: Tensor, mask: Array | None, keys: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """``(F, N)`` and ``(S, N)`` for ``h (H, N)``: the neighbours that share a memory are as many queries to it."""
        keys = self.attention.keys(memory) if keys is None else keys
        (H, N), B = h.shape, memory.shape[-1]
        found = self.attention.run(h.reshape(H, B, N // B).transpose(2, 0, 1), keys, memory, mask)
        contexts, weights = (y.transpose(1, 2, 0).reshape(y.shape[1], N) for y in found)
        return contexts, weights

    def _outs(self, contexts: Tensor, hs: Tensor) -> Tensor:
        return ops.affine(ops.concat(contexts, hs, axis=-2), self.weight_out).tanh()

    def forward(self, x: Any, memory: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """Outputs of all steps, and where each of them looked.

        Parameters
        ----------
        x : Tensor or array
            ``(T, B, D)``.
        memory : Tensor or array
            ``(S, B, F)``.
        state : Tensor or array, for the LSTM a pair of them; optional
            ``h``, or ``(h, c)``, each ``(B, H)``, before the first step; zeros without it.
        lengths : list, array or tensor of int, optional
            ``(B,)``: how many words of each memory are real, at least 1. What comes after them is never read.

        Returns
        -------
        outs : Tensor
            ``(T, B, H)``.
        weights : Tensor
            ``(T, B, S)``, in each row one in all; 0 past the end of the memory.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or backend does not fit, or a length does not lie in 1..S.
        """
        like, rnn = self.weight_out, self.rnn
        x = floats_like(like, x, "x", ("T", "B", rnn.input_size))
        B, H = x.shape[1], rnn.hidden_size
        memory = floats_like(like, memory, "memory", ("S", B, self.attention.memory_size))
        memory, mask = real_part(memory.swapaxes(1, 2), lengths)
        if state is None:
            states = [Tensor.around(xp_of(like.array).zeros((H, B), like.dtype)) for _ in rnn.STATES]
        else:
            states = [part.T for part in states_like(like, state, dict.fromkeys(rnn.STATES, H), {"batch": B})]
        keys = self.attention.keys(memory)
        first = self.first_state(states, memory, mask, keys)
        outs, weights, _ = self.run(x.swapaxes(1, 2), first, memory, mask, keys)
        return outs.swapaxes(1, 2), weights.swapaxes(1, 2)


class MultiHeadAttention(Module):
    """Several looks at once, each through a projection of its own (Vaswani et al. 2017), as PyTorch has it.

    A head is a column: ``num_heads`` times as many columns of ``embed_dim / num_heads`` features run through the rules
    that serve one.

    Parameters
    ----------
    embed_dim, num_heads : int
        Size ``E``, and into how many parts of equal size it is cut.
    dtype : dtype
        float32 or float64.
    seed : int
        Draws the initial weights.

    Attributes
    ----------
    in_proj_weight, in_proj_bias : Parameter
        ``(3E, E)`` and ``(3E,)``: what makes queries, keys and values, one above the other.
    out_proj : Linear
        From ``E`` to ``E``.

    Examples
    --------
    >>> import numpy as np
    >>> attention, x = MultiHeadAttention(embed_dim=6, num_heads=2), np.ones((5, 4, 6), "float32")
    >>> y, weights = attention(x, x, x)  # self-attention
    >>> y.shape, weights.shape
    ((5, 4, 6), (5, 4, 5))
    """

    def __init__(self, embed_dim: int, num_heads: int, *, dtype: Any = "float32", seed: int = 0):
        positive(embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(f"num_heads must divide embed_dim, {embed_dim}, got {num_heads}")
        E, dtype = int(embed_dim), float_dtype(dtype)
        self.embed_dim, self.num_heads = E, int(num_heads)
        self.in_proj_weight = Parameter(glorot((3 * E, E), seed, "in_proj_weight"), dtype, "in_proj_weight")
        self.in_proj_bias = Parameter(np.zeros(3 * E), dtype, "in_proj_bias")
        self.out_proj = Linear(E, E, dtype=dtype, seed=seed)
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
        key, mask = real_part(key.swapaxes(1, 2), lengths)
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
    seed : int
        Draws the initial weights.

    Examples
    --------
    >>> import numpy as np
    >>> pooling, words = HierarchicalPooling(input_size=3, hidden_size=4), np.ones((2, 3, 5, 3), "float32")
    >>> documents, of_sentences, of_words = pooling(words, lengths=[[5, 2, 1], [4, 0, 0]])  # of the second, 1 sentence
    >>> documents.shape, of_sentences.shape, of_words.shape
    ((2, 8), (2, 3), (2, 3, 5))
    """

    def __init__(self, input_size: int, hidden_size: int, *, dtype: Any = "float32", seed: int = 0):
        positive(input_size=input_size, hidden_size=hidden_size)
        D, F = int(input_size), 2 * int(hidden_size)
        self.words = GRU(D, hidden_size, bidirectional=True, dtype=dtype, seed=seed)
        self.sentences = GRU(F, hidden_size, bidirectional=True, dtype=dtype, seed=seed + 1)
        self.of_words = LearnedQuery(F, dtype=dtype, seed=seed)
        self.of_sentences = LearnedQuery(F, dtype=dtype, seed=seed + 1)

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


def real_part(memory: Tensor, lengths: Any) -> tuple[Tensor, Array | None]:
    """The memory ``(S, F, B)`` with zeros past the end of each column, and the mask ``(S, B)`` of what is real."""
    if lengths is None:
        return memory, None
    S, _, B = memory.shape
    mask = real_tokens(checked_lengths(lengths, B, S), S, memory.backend)
    return ops.where(mask[:, None], memory, 0.0), mask


def real_tokens(lengths: np.ndarray, S: int, backend: str) -> Array:
    """The mask ``(S, B)``, True where a token is real."""
    return asarray(np.arange(S)[:, None] < lengths, backend=backend)


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
