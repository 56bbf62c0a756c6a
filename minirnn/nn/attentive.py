"""A recurrent layer that looks into a memory at every step, and may be told what it saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from minirnn import ops
from minirnn.arrays import Array, float_dtype, xp_of
from minirnn.nn.attention import KINDS, Attention, real_part
from minirnn.nn.init import uniform_by_fan
from minirnn.nn.inputs import floats_like, states_like
from minirnn.nn.module import Module, Parameter
from minirnn.nn.recurrent import GRU, LSTM, RNN
from minirnn.nn.weights import options_of, refuse_unknown
from minirnn.rules.combinators import attentive, shard
from minirnn.seeds import own_seed, seed_of
from minirnn.tape import Tensor, differentiable

FEEDS = ("nothing", "output", "context")
CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
OF_A_STEP = ("bias", "nonlinearity", "peepholes", "forget_bias", "reset_after", "layer_norm", "init")


def of_a_step(layer: type) -> list[str]:
    """The options of a recurrent layer that say what one step computes, and from which weights it begins."""
    return [name for name in options_of(layer) if name in OF_A_STEP]


@cache
def lifted(step: Callable) -> tuple[Callable, Callable]:
    """A step rule, and the decoder that attends after each such step, as operations on tensors."""
    return differentiable(step), differentiable(shard(attentive(step)))


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
    seed : int, optional
        Draws the initial weights; without it the next of `minirnn.use_seed`.
    **options
        Those of the recurrence that say what one step computes and from which weights it begins: ``bias``,
        ``layer_norm``, ``init``; of an RNN ``nonlinearity``, of an LSTM ``peepholes`` and ``forget_bias``, of a GRU
        ``reset_after``.

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

    FIXED = ("input_size", "hidden_size", "memory_size", "cell", "feed", "seed")

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
        seed: int | None = None,
        **options: Any,
    ):
        for name, value, known in (("cell", cell, CELLS), ("attention", attention, KINDS), ("feed", feed, FEEDS)):
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        refuse_unknown(AttentiveDecoder, options, of_a_step(CELLS[cell]))
        self.seed = seed = own_seed(seed)
        self.attention = Attention(hidden_size, memory_size, attention, dtype=dtype, seed=seed_of("attention", seed))
        self.rnn = CELLS[cell](input_size, hidden_size, dtype=dtype, seed=seed_of("rnn", seed), **options)
        self.input_size, self.hidden_size, self.memory_size = (
            self.rnn.input_size,
            self.rnn.hidden_size,
            int(memory_size),
        )
        self.rnn.FIXED += (*self.rnn.CHECKED, "through_time")  # single steps know no layers, and no masks that last
        self.cell, self.feed = str(cell), str(feed)
        H, F, dtype = self.hidden_size, self.memory_size, float_dtype(dtype)
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
        context, _ = self._look(h, memory, mask, keys)
        return context, *states

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
        _, attend = lifted(self.rnn._cell()[0])
        feds, hs, weights, *ends = attend(
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
        contexts, weights = (ops.concat(y.reshape(1, *y.shape), ys[:-1]) for y, ys in ((fed, feds), (first, weights)))
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
        step, _ = lifted(self.rnn._cell()[0])
        new = step(a, *states, *self.rnn._recurrent_weights("l0"), **self.rnn._static())
        new = new if isinstance(new, tuple) else (new,)
        h = new[0]
        if self.feed == "context":  # what the output reads was found by the state before
            _, weights = self._look(states[0], memory, mask, keys)
            found, _ = self._look(h, memory, mask, keys)
            return self._outs(fed[0], h), weights, (found, *new)
        context, weights = self._look(h, memory, mask, keys)
        out = self._outs(context, h)
        return out, weights, new if self.feed == "nothing" else (out, *new)

    def _look(self, h: Tensor, memory: Tensor, mask: Array | None, keys: Tensor | None) -> tuple[Tensor, Tensor]:
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
        x = floats_like(like, x, "x", ("T", "B", self.input_size))
        if x.shape[0] == 0:
            raise ValueError("x must have at least one step, got none")
        B, H = x.shape[1], self.hidden_size
        memory = floats_like(like, memory, "memory", ("S", B, self.memory_size))
        memory, mask = real_part(memory.swapaxes(1, 2), lengths)
        if state is None:
            states = [Tensor.around(xp_of(like.array).zeros((H, B), like.dtype)) for _ in rnn.STATES]
        else:
            states = [part.T for part in states_like(like, state, dict.fromkeys(rnn.STATES, H), {"batch": B})]
        keys = self.attention.keys(memory)
        first = self.first_state(states, memory, mask, keys)
        outs, weights, _ = self.run(x.swapaxes(1, 2), first, memory, mask, keys)
        return outs.swapaxes(1, 2), weights.swapaxes(1, 2)
