"""A character model one character at a time: the states are kept, the memory is made once, and nothing is recorded.

The problem. A text that writes itself cannot run as a sequence: the next input is known only when the last score is.
``lm(ids, state)`` for one character is little arithmetic and much else: checks, tensors, a fresh array for every line.

The answer. All that does not change from one character to the next is done before the first. What is left is a chain
of functions, each of which writes into memory of its own, from the ids of one character per text to the scores:

    look up -> cell -> (affine -> cell) for each further layer -> affine

The look-up finds the input part of the lowest layer, ``W_ih x + b``, made for every character of the vocabulary ahead.
The cells are those of ``minirnn/rules``: the same equations, under the same numbers, by the same kernels. The weights
are copied: what training does to the model meanwhile does not reach a text that was begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minirnn.arrays import Array, xp_of
from minirnn.kernels import kernels_of
from minirnn.nn import GRU, LSTM, RNN, Embedding, Linear
from minirnn.rules.gru import columns, forward_after, forward_before
from minirnn.tape import no_grad

Step = Callable[[Sequence[int]], Array]


def stepper(lm: Any, prompts: Sequence[np.ndarray], steps: int) -> tuple[Array, Step]:
    """The scores after the prompts, and a function that goes on from there.

    Parameters
    ----------
    lm : CharLM
        Or another model that is called as ``lm(ids, state)``. It computes as in evaluation mode.
    prompts : sequence of (T_b,) arrays of int
        The ids of B texts, each of at least one character; they need not be equally long.
    steps : int
        How many steps are to come, about. It decides what is worth preparing, and changes nothing else.

    Returns
    -------
    scores : array, (V, B)
        One column per text.
    step : callable
        ``step(ids)`` takes the next character of each text, B ids in [0, V) on the host, which are not checked again,
        and gives the scores after it. They may stand where those of the last step stood.

    Notes
    -----
    Scores are those of ``lm()`` up to rounding. A model that is not a CharLM as it builds itself (another ``forward``,
    a cell with options that CharLM has none for) is called, text by text: slower, but never a different model.
    """
    with lm.evaluating(), no_grad():
        return _in_place(lm, prompts, steps) if is_plain(lm) else _by_calls(lm, prompts)


def is_plain(lm: Any) -> bool:
    """Whether the model computes what ``_in_place`` does."""
    own = all(
        getattr(getattr(lm, name, None), "__module__", "") == "minirnn.models.char_lm"
        for name in ("forward", "_scores")
    )  # neither a subclass nor an assignment put something else in their place
    if not own or [type(lm.embedding), type(lm.head)] != [Embedding, Linear] or type(lm.rnn) not in CELLS:
        return False
    rnn = lm.rnn
    unknown = rnn.bidirectional or rnn.residual or rnn.layer_norm or rnn.zoneout or rnn.through_time is not None
    return not (unknown or rnn.proj_size or getattr(rnn, "peepholes", False))


def _by_calls(lm: Any, prompts: Sequence[np.ndarray]) -> tuple[Array, Step]:
    """For any model: one call for each text and character."""
    states: list[Any] = [None] * len(prompts)

    def step(ids: Sequence[Any]) -> Array:
        scores = []
        with lm.evaluating(), no_grad():
            for b, read in enumerate(ids):
                logits, states[b] = lm(np.reshape(read, (1, -1)), states[b])
                scores.append(logits.array[0, -1])
        return xp_of(*scores).stack(scores, axis=1)

    return step(prompts), step


def _in_place(lm: Any, prompts: Sequence[np.ndarray], steps: int) -> tuple[Array, Step]:
    rnn, B, weight = lm.rnn, len(prompts), lm.embedding.weight
    states = _after(lm, prompts)
    head = _affine(lm.head.weight.array, array_of(lm.head.bias), B)

    chain: list[Callable] = []
    for layer, state in enumerate(states):
        at = f"l{layer}"
        if layer == 0 and len(weight) <= B * steps:
            chain.append(_look_up(rnn.project(weight.T)[0].array.T, B))
        else:  # many characters, few steps: to prepare every character would take longer than the text
            chain += [_look_up(weight.array, B)] if layer == 0 else []
            W_ih, b = rnn._input_weights(at)
            chain.append(_affine(W_ih.array, array_of(b), B))
        chain.append(CELLS[type(rnn)](rnn, *map(array_of, rnn._recurrent_weights(at)), *state))
    chain.append(head)

    def step(ids: Sequence[int]) -> Array:
        x: Any = ids
        for function in chain:
            x = function(x)
        return x

    return head(states[-1][0]), step


def _after(lm: Any, prompts: Sequence[np.ndarray]) -> list[tuple[Array, ...]]:
    """For each layer its states after the prompts, as columns ``(H, B)`` in memory of their own."""
    lengths = [len(ids) for ids in prompts]
    padded = np.zeros((max(lengths), len(prompts)), np.int64)
    for b, ids in enumerate(prompts):
        padded[: len(ids), b] = ids
    _, state = lm.rnn(lm.embedding(padded), lengths=lengths)
    parts = state if isinstance(state, tuple) else (state,)
    return [tuple(part.array[layer].T.copy() for part in parts) for layer in range(lm.rnn.num_layers)]


# Links of the chain, each a function that writes into the same memory at every step.


def _look_up(table: Array, B: int) -> Callable[[Sequence[int]], Array]:
    """From ids to the rows of ``table (V, F)`` that they name, as columns ``(F, B)``."""
    xp, (V, F) = xp_of(table), table.shape
    table = xp.array(table, order="C")
    if B == 1:
        vectors = table.reshape(V, F, 1)
        return lambda ids: vectors[ids[0]]  # nothing moves
    x = xp.empty((F, B), table.dtype)

    def look_up(ids: Sequence[int]) -> Array:
        x[...] = table[xp.asarray(ids)].T
        return x

    return look_up


def _affine(W: Array, b: Array | None, B: int) -> Callable[[Array], Array]:
    """From columns ``x (D, B)`` to ``W x + b``."""
    xp, product, b = xp_of(W), _product(W, B), columns(b, B)
    y = xp.empty((len(W), B), W.dtype)

    def affine(x: Array) -> Array:
        product(x, y)
        return y if b is None else xp.add(y, b, out=y)

    return affine


def _rnn(rnn: RNN, W_hh: Array, h: Array) -> Callable[[Array], Array]:
    """From the input part ``a (H, B)`` to the new ``h``, which takes the place of the old."""
    kernels, product, new = kernels_of(h), _product(W_hh, h.shape[1]), xp_of(h).empty_like(h)

    def step(a: Array) -> Array:
        nonlocal h, new
        product(h, new)
        kernels.rnn_activate(a, new, rnn.nonlinearity)  # (1, 2)
        h, new = new, h
        return h

    return step


def _lstm(rnn: LSTM, W_hh: Array, W_hr: None, peepholes: None, h: Array, c: Array) -> Callable[[Array], Array]:
    """From the input part ``a (4H, B)`` to the new ``h``; it and ``c`` take the places of the old."""
    kernels, product = kernels_of(h), _product(W_hh, h.shape[1])
    gates = xp_of(h).empty((len(W_hh), h.shape[1]), h.dtype)

    def step(a: Array) -> Array:
        product(h, gates)
        kernels.lstm_gates(a, gates, c, h, c)  # (1, 2, 3, 4)
        return h

    return step


def _gru(rnn: GRU, W_hh: Array, b_hn: Array | None, h: Array) -> Callable[[Array], Array]:
    """From the input part ``a (3H, B)`` to the new ``h``, which takes the place of the old."""
    xp, (H, B) = xp_of(h), h.shape
    W_hh = xp.array(W_hh, order=_order(W_hh, B))
    forward_of, kept = (forward_after, 4) if rnn.reset_after else (forward_before, 3)
    forward, gates, new = forward_of(W_hh, B), xp.empty((kept * H, B), h.dtype), xp.empty_like(h)
    b = columns(b_hn, B)

    def step(a: Array) -> Array:
        forward(a, h, b, gates, new)  # (1, 2, 3, 4)
        h[...] = new
        return h

    return step


CELLS: dict[type, Callable] = {RNN: _rnn, LSTM: _lstm, GRU: _gru}


def _product(W: Array, B: int) -> Callable[[Array, Array], Any]:
    """A function that writes ``W x``, for columns ``x (D, B)``, into its second argument."""
    W = xp_of(W).array(W, order=_order(W, B))
    return W.dot if B == 1 else kernels_of(W).product(W, B)  # dot takes half a microsecond less to decide than matmul


def _order(W: Array, B: int) -> str:
    """How a copy of ``W`` should lie in memory: by columns (F) for one text, if it is small, else by rows (C).

    By columns a product with one column is a sum of columns, by rows as many inner products: 512 x 128, float32, 3.4
    microseconds against 4.3. But of 2048 x 512 the copy alone takes 3500, and the product gains a tenth of its 61.
    """
    return "F" if B == 1 and W.size <= 2**17 else "C"


def array_of(x: Any) -> Array | None:
    return None if x is None else x.array
