"""A tagger: every word of a sentence gets a tag, read off what stands before it and what comes after."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn import ops
from minirnn.arguments import not_negative, positive
from minirnn.arrays import Array, asarray, to_numpy
from minirnn.models.char_lm import CELLS, check_cell, check_options
from minirnn.nn import Embedding, Linear, Module
from minirnn.nn.inputs import ids_on, integers
from minirnn.nn.sequences import checked_lengths
from minirnn.tape import Tensor, no_grad


class Tagger(Module):
    """Embedding, recurrent layers that read both ways, and a linear layer that gives every word a score for each tag.

    Sentences stand in the rows of one array, as ``nn.pad_sequences(sentences, batch_first=True)`` makes it. What stands
    after the end of a sentence is never read: it may hold anything, and there may be any amount of it.

    Parameters
    ----------
    vocab_size, num_tags : int
        ``V`` words and ``K`` tags.
    embedding_size, hidden_size, num_layers : int
        Sizes ``E`` and ``H``, and how many recurrent layers.
    cell : {"rnn", "lstm", "gru"}
        Which recurrence.
    bidirectional : bool
        Whether every layer also reads from the end. Without it a tag can only be told from the words up to its own.
    dropout : float
        Between recurrent layers and before the scores, while training.
    seed : int
        Draws initial weights and dropout masks: models of the same options and seed are the same.
    dtype : dtype
        float32 or float64.
    **options
        What else the recurrent layers take, such as ``locked_dropout``, ``layer_norm``, ``residual`` or ``proj_size``:
        see `minirnn.nn.LSTM`, `minirnn.nn.GRU` and `minirnn.nn.RNN`. All but ``batch_first`` and ``through_time``.
        ``locked_dropout`` holds before the scores, too.

    Examples
    --------
    >>> from minirnn.nn import pad_sequences
    >>> tagger = Tagger(vocab_size=9, num_tags=3, embedding_size=4, hidden_size=5, seed=1)
    >>> ids, lengths = pad_sequences([[3, 1, 8, 2], [5, 0]], batch_first=True)
    >>> tags, _ = pad_sequences([[0, 2, 1, 1], [2, 2]], batch_first=True)
    >>> tagger(ids, lengths).shape
    (2, 4, 3)
    >>> loss, _ = tagger.loss((ids, lengths), tags)
    >>> tagger.predict(ids, lengths).shape
    (2, 4)

    ``fit`` trains it on a stream of such batches, which counts the words that are real:

    >>> from minirnn.training import Stream, fit
    >>> class Sentences(Stream):
    ...     batches_per_epoch = 1
    ...     def batch(self, epoch, k):
    ...         return (ids, lengths), tags
    ...     def counted(self, tags):
    ...         return lengths.sum()
    >>> history = fit(tagger, Sentences(), epochs=40, lr=0.1)
    >>> tagger.predict(ids, lengths)
    array([[ 0,  2,  1,  1],
           [ 2,  2, -1, -1]])
    """

    FIXED = ("embedding_size", "hidden_size", "num_layers", "cell", "bidirectional", "seed")

    def __init__(
        self,
        vocab_size: int,
        num_tags: int,
        embedding_size: int = 64,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: str = "lstm",
        bidirectional: bool = True,
        dropout: float = 0.0,
        seed: int = 0,
        dtype: Any = "float32",
        **options: Any,
    ):
        positive(vocab_size=vocab_size, num_tags=num_tags, embedding_size=embedding_size)
        not_negative(seed=seed)
        check_cell(cell)
        check_options(Tagger, cell, options)
        self.seed = int(seed)  # of all parts: whatever is drawn for one has a name that no other's has
        self.embedding = Embedding(vocab_size, embedding_size, dtype=dtype, seed=seed)
        self.rnn = CELLS[cell](
            embedding_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            dtype=dtype,
            seed=seed,
            **options,
        )
        self.embedding_size, self.hidden_size = int(embedding_size), self.rnn.hidden_size
        self.num_layers, self.cell, self.bidirectional = self.rnn.num_layers, str(cell), self.rnn.bidirectional
        self.head = Linear(self.rnn._sizes["h"] * self.rnn._directions, num_tags, dtype=dtype, seed=seed)
        for name, parameter in self.named_parameters():
            parameter.name = name  # what errors call it

    @property
    def vocab_size(self) -> int:
        return self.embedding.weight.shape[0]

    @property
    def num_tags(self) -> int:
        return self.head.weight.shape[0]

    @property
    def dropout(self) -> float:
        """With which probability units are dropped between recurrent layers and before the scores, while training."""
        return self.rnn.dropout

    @dropout.setter
    def dropout(self, p: float) -> None:
        self.rnn.dropout = p

    def _scores(self, ids: Array, lengths: np.ndarray | None) -> Tensor:
        """``(T, B, K)`` for checked ``ids (B, T)``; past the end of a sentence they say nothing."""
        hs, _ = self.rnn(ops.embedding(self.embedding.weight, ids.T), lengths=lengths)
        if self.training and self.dropout:
            self.draws += 1
            over = (0,) if self.rnn.locked_dropout else ()
            hs = ops.dropout(hs, p=self.dropout, seed=self.seed, stream="dropout_head", step=self.draws, over=over)
        return self.head(hs)

    def forward(self, ids: Any, lengths: Any = None) -> Tensor:
        """Scores of all tags for every word.

        Parameters
        ----------
        ids : array of int
            ``(B, T)``, one sentence a row.
        lengths : list, array or tensor of int, optional
            ``(B,)``: how many words of each row are real; all without it.

        Returns
        -------
        Tensor
            ``(B, T, K)``, zero past the end of a sentence.

        Raises
        ------
        IndexError
            If an id of a real word lies outside ``[0, V)``.
        TypeError, ValueError
            If ids are not integers ``(B, T)``, or lengths not B integers in 1..T.
        """
        found = rows_of(ids, "ids")
        lengths, real = real_words(found, lengths)
        scores = self._scores(self._on_device(found, real, self.vocab_size, "ids"), lengths).swapaxes(0, 1)
        if real is None:
            return scores
        scores = ops.where(asarray(real[..., None], backend=scores.backend), scores, 0.0)
        return ops.pad(scores, widths=((0, 0), (0, found.shape[1] - real.shape[1]), (0, 0)))

    def loss(self, inputs: Any, tags: Any, state: None = None) -> tuple[Tensor, None]:
        """Mean cross-entropy in nats per real word, of whatever sentence it is.

        Parameters
        ----------
        inputs : array of int, or tuple of two
            Ids ``(B, T)``, or ids and lengths as ``forward`` takes them.
        tags : array of int
            ``(B, T)``.
        state : None
            For the training loop: sentences carry no state.

        Returns
        -------
        loss : Tensor
            One number.
        state : None

        Raises
        ------
        IndexError
            If the id of a real word lies outside ``[0, V)``, or its tag outside ``[0, K)``.
        TypeError, ValueError
            As from ``forward``, for tags too; or if tags do not have the shape of ids, inputs are a tuple of something
            else, or there is a state.
        """
        if state is not None:
            raise TypeError(
                f"state must be None, got {type(state).__name__}; lengths are given as (ids, lengths), tags"
            )
        if isinstance(inputs, tuple) and len(inputs) != 2:
            raise ValueError(f"inputs must be ids, or a tuple of ids and lengths, got a tuple of {len(inputs)}")
        ids, lengths = inputs if isinstance(inputs, tuple) else (inputs, None)
        found, wanted = rows_of(ids, "ids"), rows_of(tags, "tags")
        if found.shape != wanted.shape:
            raise ValueError(f"tags must have the shape of ids, {found.shape}, got {wanted.shape}")
        lengths, real = real_words(found, lengths)
        words = self._on_device(found, real, self.vocab_size, "ids")
        targets = self._on_device(wanted, real, self.num_tags, "tags")
        mask = None if real is None else asarray(real.T, backend=self.head.weight.backend)
        return ops.cross_entropy(self._scores(words, lengths), targets.T, None, mask), None

    def predict(self, ids: Any, lengths: Any = None) -> np.ndarray:
        """The tag of highest score for every word, without dropout.

        Returns
        -------
        array of int
            ``(B, T)``, on the host; -1 past the end of a sentence, where there is no tag.

        Raises
        ------
        IndexError, TypeError, ValueError
            As from ``forward``.
        """
        with self.evaluating(), no_grad():
            best = to_numpy(self(ids, lengths).array.argmax(axis=-1))
        if lengths is None:
            return best
        return np.where(np.arange(best.shape[1]) < checked_lengths(lengths, *best.shape)[:, None], best, -1)

    def _on_device(self, values: np.ndarray, real: np.ndarray | None, size: int, name: str) -> Array:
        """Ids or tags beside the weights, those of real words in range, cut to the longest sentence, zero elsewhere."""
        if real is not None:
            values = values[:, : real.shape[1]].copy()
            values[~real] = 0
        return ids_on(self.embedding.weight.backend, values, size, name)


def rows_of(values: Any, name: str) -> np.ndarray:
    """``values`` as an array ``(B, T)`` on the host.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If they have another number of axes, or are empty, or a list of rows of different lengths.
    """
    found = integers(values, name, "(B, T)", "; nn.pad_sequences(..., batch_first=True) pads them")
    if found.ndim != 2 or found.size == 0:
        raise ValueError(f"{name} must be a non-empty array of 2 axes, (B, T), got shape {found.shape}")
    return found


def real_words(ids: np.ndarray, lengths: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The lengths, checked, and where ``ids``, cut to the longest, hold real words; ``None`` twice where all are."""
    if lengths is None:
        return None, None
    found = checked_lengths(lengths, *ids.shape)
    return found, np.arange(found.max()) < found[:, None]
