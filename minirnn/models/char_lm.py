"""A language model of characters: given a text so far, what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from minirnn import ops
from minirnn.arguments import chosen, flag, not_negative, positive
from minirnn.nn import GRU, LSTM, RNN, Embedding, Linear, Module
from minirnn.nn.inputs import ids_on
from minirnn.nn.recurrent import State
from minirnn.nn.weights import options_of, refuse_unknown
from minirnn.tape import Tensor
from minirnn.text import Vocabulary

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
DECIDED = ("input_size", "bidirectional", "batch_first", "through_time")  # options of a layer that are the model's own


class CharLM(Module):
    """Embedding, stacked recurrent layers, and a linear layer that gives every character a score.

    Parameters
    ----------
    vocab_size : int or Vocabulary
        How many characters there are; with a vocabulary the model also knows which, and can be given text.
    embedding_size, hidden_size, num_layers : int
        Sizes ``E`` and ``H``, and how many recurrent layers.
    cell : {"rnn", "lstm", "gru"}
        Which recurrence.
    dropout : float
        Between recurrent layers and before the scores, while training.
    tie_weights : bool
        Uses the embedding as the weight of the scores too (Press & Wolf 2017); needs ``embedding_size == hidden_size``.
    seed : int
        Draws initial weights and dropout masks: models of the same options and seed are the same.
    dtype : dtype
        float32 or float64.
    **options
        What else the recurrent layers take, such as ``zoneout``, ``layer_norm``, ``residual`` or ``proj_size``: see
        `minirnn.nn.LSTM`, `minirnn.nn.GRU` and `minirnn.nn.RNN`. All but ``bidirectional``, ``batch_first`` and
        ``through_time``. ``locked_dropout`` holds before the scores, too.

    Attributes
    ----------
    vocabulary : Vocabulary or None
        Characters of the ids.
    dropout : float
        May be set again at any time, as other options of training may be in ``rnn``.

    Examples
    --------
    >>> import numpy as np
    >>> lm = CharLM(vocab_size=65, embedding_size=8, hidden_size=16)
    >>> ids = np.array([[1, 2, 3, 4]])
    >>> logits, state = lm(ids)
    >>> logits.shape
    (1, 4, 65)
    >>> loss, state = lm.loss(ids[:, :-1], ids[:, 1:])
    >>> loss.backward()
    """

    KIND = "char_lm"  # what its checkpoints are of
    FIXED = ("embedding_size", "hidden_size", "num_layers", "cell", "tie_weights", "seed")

    def __init__(
        self,
        vocab_size: int | Vocabulary,
        embedding_size: int = 64,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
        tie_weights: bool = False,
        seed: int = 0,
        dtype: Any = "float32",
        **options: Any,
    ):
        self.vocabulary = vocab_size if isinstance(vocab_size, Vocabulary) else None
        V: int = len(vocab_size) if isinstance(vocab_size, Vocabulary) else vocab_size
        positive(vocab_size=V, embedding_size=embedding_size, hidden_size=hidden_size, num_layers=num_layers)
        self.tie_weights = flag(tie_weights=tie_weights)
        not_negative(seed=seed)
        check_cell(cell)
        check_options(CharLM, cell, options)
        self.embedding_size, self.hidden_size = int(embedding_size), int(hidden_size)
        self.num_layers, self.cell = int(num_layers), str(cell)
        self.seed = int(seed)  # of all parts: whatever is drawn for one has a name that no other's has
        self.embedding = Embedding(V, embedding_size, dtype=dtype, seed=seed)
        own = {"dropout": dropout, "dtype": dtype, "seed": seed}
        self.rnn = CELLS[cell](embedding_size, hidden_size, num_layers, **own, **options)
        read = self.rnn._sizes["h"]
        if tie_weights and embedding_size != read:
            size = "proj_size" if self.rnn.proj_size else "hidden_size"
            raise ValueError(f"tie_weights needs embedding_size == {size}, got {embedding_size} and {read}")
        self.head = Linear(read, V, dtype=dtype, seed=seed)
        if tie_weights:
            self.head.weight = self.embedding.weight
        for name, parameter in self.named_parameters():
            parameter.name = name  # what errors call it

    @property
    def vocab_size(self) -> int:
        return self.embedding.weight.shape[0]

    @property
    def dropout(self) -> float:
        """With which probability units are dropped between recurrent layers and before the scores, while training."""
        return self.rnn.dropout

    @dropout.setter
    def dropout(self, p: float) -> None:
        self.rnn.dropout = p

    @property
    def config(self) -> dict[str, Any]:
        """What builds such a model again as it is now, in plain values, without what its layers have by default."""
        own = {name: getattr(self, name) for name in signature(CharLM).parameters if name not in ("options", "dtype")}
        options = {name: value for name, value in chosen(self.rnn).items() if name not in (*own, *DECIDED)}
        return own | options | {"dtype": str(self.head.weight.dtype)}

    def vocabulary_to_plain(self) -> str | None:
        """The vocabulary as JSON can say it."""
        return None if self.vocabulary is None else self.vocabulary.characters

    def vocabulary_from_plain(self, plain: str | None) -> None:
        """Takes over what ``vocabulary_to_plain`` returned.

        Raises
        ------
        ValueError
            If it is no vocabulary, or one of another size.
        """
        found = None if plain is None else Vocabulary(plain)
        if found is not None and len(found) != self.vocab_size:
            raise ValueError(f"a vocabulary of {self.vocab_size} cannot be one of {len(found)} characters")
        self.vocabulary = found

    def _scores(self, ids: Any, state: State | None) -> tuple[Tensor, State]:
        """Scores as columns, ``(T, V, B)``, for ``ids (T, B)``, and the state after the last."""
        weight = self.embedding.weight
        if self.vocab_size <= min(ids.size, 2 * weight.shape[1]):
            # project the V vectors of the table once, then look characters up in the result; the way back is a product
            # with V rows for every character, so of a larger table it would take longer than to project all of them
            hs, state = self.rnn.run(self.rnn.project(weight.T), ids, state)
        else:
            out, state = self.rnn(ops.embedding(weight, ids), state)
            hs = out.swapaxes(1, 2)
        if self.training and self.dropout:
            self.draws += 1
            over = (0,) if self.rnn.locked_dropout else ()
            hs = ops.dropout(hs, p=self.dropout, seed=self.seed, stream="dropout_head", step=self.draws, over=over)
        return ops.affine(hs, self.head.weight, self.head.bias), detached(state)

    def forward(self, ids: Any, state: State | None = None) -> tuple[Tensor, State]:
        """Scores for the character after each of ``ids``.

        Parameters
        ----------
        ids : array of int
            ``(B, T)``.
        state : (h, c), or h where the cell has no c; optional
            From an earlier call, each ``(num_layers, B, H)``; zeros without it.

        Returns
        -------
        logits : Tensor
            ``(B, T, V)``.
        state : (h, c), or h
            After the last character, detached: no gradient flows into the window before.

        Raises
        ------
        IndexError
            If an id lies outside ``[0, V)``.
        TypeError, ValueError
            If ids are not integers ``(B, T)``, or the state does not fit.
        """
        ids = ids_on(self.embedding.weight.backend, ids, self.vocab_size, "ids", ndim=2)
        scores, state = self._scores(ids.T, state)
        return scores.transpose(2, 0, 1), state

    def loss(self, inputs: Any, targets: Any, state: State | None = None) -> tuple[Tensor, State]:
        """Mean cross-entropy, in nats per character, of ``targets (B, T)`` given ``inputs (B, T)``; and the state."""
        inputs, targets = (
            ids_on(self.embedding.weight.backend, ids, self.vocab_size, name, ndim=2)
            for ids, name in ((inputs, "inputs"), (targets, "targets"))
        )
        if inputs.shape != targets.shape:
            raise ValueError(f"targets must have the shape of inputs, {inputs.shape}, got {targets.shape}")
        scores, state = self._scores(inputs.T, state)
        return ops.cross_entropy(scores, targets.T, axis=1), state


def check_cell(cell: Any) -> None:
    """Refuses what is no name of a cell.

    Raises
    ------
    ValueError
    """
    if not isinstance(cell, str) or cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")


def check_options(model: type, cell: str, options: Mapping[str, Any]) -> None:
    """Refuses options that neither the model nor its recurrent layers have, or that the model decides on itself.

    Raises
    ------
    TypeError
    """
    refuse_unknown(model, options, (name for name in options_of(CELLS[cell]) if name not in DECIDED))


def detached(state: State) -> State:
    """A recurrent state, one tensor or several, without its history."""
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)
