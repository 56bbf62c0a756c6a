"""Beam search: what a model of sentences writes, a few hypotheses at a time, for a whole batch of sentences.

At every step each living hypothesis is continued by every id, and the likeliest continuations live on, ``beam`` of each
sentence. One that ends leaves the beam, and its place is free for another. The search for a sentence is over

- when ``beam`` of its hypotheses have ended (as in Ott et al. 2019, "fairseq"), or
- when as many as are wanted have ended and the likeliest that lives could not get ahead of the last of them, even if it
  were certain of all that is to come, as long as it may be: to stop here changes nothing, or
- when the hypotheses are as long as they may be: those that live then are cut, and ranked with the others.

Then its columns leave the computation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.arguments import at_least_0, not_negative, positive
from minirnn.arrays import Array, to_numpy
from minirnn.decoding.candidates import best_candidates, place_within, repeating
from minirnn.decoding.hypotheses import Hypothesis, length_divisor, penalised
from minirnn.nn.inputs import numbers
from minirnn.tape import no_grad
from minirnn.text import BOS, EOS, PAD


def greedy(model: Any, sources: Array, max_length: int | None = None) -> list[Hypothesis]:
    """The likeliest id after the other: :func:`beam_search` with one hypothesis for each of the sources."""
    return [hypothesis for [hypothesis] in beam_search(model, sources, 1, max_length=max_length)]


def beam_search(
    model: Any,
    sources: Array,
    beam: int = 5,
    *,
    length_penalty: float = 1.0,
    coverage_penalty: float = 0.0,
    n_best: int = 1,
    max_length: int | None = None,
    block_ngrams: int = 0,
) -> list[list[Hypothesis]]:
    """The best hypotheses that a search finds for each of the sources.

    Parameters
    ----------
    model : Seq2Seq
        Or another with its ``evaluating()``, ``start(sources) -> state`` of one column for each source, and
        ``step(state, ids (N,)) -> (logits (N, V), weights (N, S) or None, state)``, whose states have
        ``take(rows) -> state``: columns chosen, repeated and reordered.
    sources : array of int, (B, S)
        Ids of sentences, padded at the end with PAD.
    beam : int
        How many hypotheses of a sentence live at a time.
    length_penalty, coverage_penalty : float
        See :func:`penalised`; they rank what has ended or was cut. Hypotheses that live are equally long, and are
        compared by their probability.
    n_best : int
        How many hypotheses of each sentence to return, at most ``beam``.
    max_length : int, optional
        The most ids of a hypothesis, without the end: one that long is cut, and not asked whether it would end.
        Default: ``2 * S + 10`` for a source of S tokens.
    block_ngrams : int
        No hypothesis holds so many ids in a row twice; 0 blocks nothing.

    Returns
    -------
    list of list of Hypothesis
        For each source, the best first; the one found first among equals. Fewer than ``n_best`` only where no more are
        possible.

    Raises
    ------
    TypeError, ValueError
        If sources are no such array, a setting is out of range, there is a coverage penalty for a model that does not
        attend, or the logits have no softmax.

    Notes
    -----
    PAD and BOS are never chosen. What is blocked or never chosen keeps its probability: the others are as likely as the
    model says.

    References
    ----------
    Sutskever et al. 2014, "Sequence to sequence learning with neural networks"; Wu et al. 2016, "Google's neural
    machine translation system".

    Examples
    --------
    >>> from minirnn.models import Seq2Seq
    >>> model = Seq2Seq(10, 9, embedding_size=4, hidden_size=8)
    >>> [[best, second]] = beam_search(model, [[4, 5, 6]], beam=3, n_best=2)
    >>> best.score > second.score, best.attention.shape == (len(best.ids), 3)
    (True, True)
    """
    positive(beam=beam, n_best=n_best, max_length=1 if max_length is None else max_length)
    at_least_0(below=10, length_penalty=length_penalty, coverage_penalty=coverage_penalty)
    if n_best > beam:
        raise ValueError(f"n_best must be at most beam, which is {beam}, got {n_best}")
    not_negative(block_ngrams=block_ngrams)
    sources, lengths = _checked(sources)
    limits = 2 * lengths + 10 if max_length is None else np.full(len(lengths), max_length)
    results = _Results(lengths, length_penalty, coverage_penalty, n_best)

    with model.evaluating(), no_grad():
        state = model.start(sources)
        sentences = np.arange(len(sources))  # whose column it is
        totals = np.zeros(len(sources))  # its log-probability so far
        written = came_by = np.empty((len(sources), 0), np.int64)  # its ids, and its column at each step before
        newest = np.full(len(sources), BOS)
        while len(sentences):
            logits, weights, state = model.step(state, newest)
            results.looks.append(weights if weights is None else to_numpy(weights))
            blocked = repeating(written, block_ngrams) if block_ngrams else None
            # Twice as many as live on: no more than ``beam`` of them can be an end, one of each hypothesis.
            found = best_candidates(logits, totals, sentences, 2 * beam, blocked)
            for k in np.flatnonzero(~np.isin(sentences, sentences[found.columns])):  # nothing may follow
                results.add(sentences[k], written[k], came_by[k], totals[k], ended=False)

            lives = found.ids != EOS
            for k in np.flatnonzero(~lives & (found.ranks < beam)):
                column = found.columns[k]
                results.add(sentences[column], written[column], came_by[column], found.totals[k], ended=True)

            columns, newest, totals = found.columns[lives], found.ids[lives], found.totals[lives]
            first = place_within(sentences[columns]) < beam
            columns, newest, totals = columns[first], newest[first], totals[first]
            sentences = sentences[columns]
            written = np.column_stack([written[columns], newest])
            came_by = np.column_stack([came_by[columns], columns])

            full = results.counts >= beam
            cut = written.shape[1] == limits
            for k in np.flatnonzero((cut & ~full)[sentences]):
                results.add(sentences[k], written[k], came_by[k], totals[k], ended=False)
            likeliest = np.full(len(sources), -np.inf)
            np.maximum.at(likeliest, sentences, totals)
            hopeless = likeliest / length_divisor(limits, length_penalty) <= results.last
            goes_on = ~(full | cut | hopeless)[sentences]
            sentences, totals, newest = sentences[goes_on], totals[goes_on], newest[goes_on]
            written, came_by, columns = written[goes_on], came_by[goes_on], columns[goes_on]
            if len(columns) and not np.array_equal(columns, np.arange(len(logits))):
                state = state.take(columns)
    return results.best


class _Results:
    """The hypotheses that have ended or were cut, the best first, and what it takes to get in among them."""

    def __init__(self, lengths: np.ndarray, length_penalty: float, coverage_penalty: float, n_best: int):
        self.lengths, self.penalties, self.n_best = lengths, (length_penalty, coverage_penalty), n_best
        self.looks: list[Any] = []  # the weights of every step, (N, S) with its own N, or None
        self.best: list[list[Hypothesis]] = [[] for _ in lengths]
        self.counts = np.zeros(len(lengths), np.int64)  # of all that were added
        self.last = np.full(len(lengths), -np.inf)  # the score of the last of the best, if there are as many as wanted

    def add(self, sentence: int, ids: np.ndarray, came_by: np.ndarray, total: float, ended: bool) -> None:
        attention = self._attention(came_by, self.lengths[sentence])
        score = penalised(float(total), len(ids), attention, *self.penalties)
        best = self.best[sentence]
        best.append(Hypothesis(tuple(ids.tolist()), score, float(total), ended, attention))
        best.sort(key=lambda hypothesis: -hypothesis.score)
        del best[self.n_best :]
        self.counts[sentence] += 1
        if len(best) == self.n_best:
            self.last[sentence] = best[-1].score

    def _attention(self, came_by: np.ndarray, length: int) -> np.ndarray | None:
        if self.looks[0] is None:
            return None
        rows = [look[column, :length] for look, column in zip(self.looks[: len(came_by)], came_by, strict=True)]
        return np.array(rows, self.looks[0].dtype).reshape(-1, length)


def _checked(sources: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sources as int64 on the host, and how long each is."""
    found = numbers(sources, "sources")
    if found.dtype.kind not in "iu":
        raise TypeError(f"sources must be integers, got dtype {found.dtype}")
    if found.ndim != 2 or not found.size:
        raise ValueError(f"sources must have shape (B, S), at least one sentence of one token, got {found.shape}")
    real = found != PAD
    lengths = real.sum(axis=1)
    wrong = (lengths == 0) | (real != (np.arange(found.shape[1]) < lengths[:, None])).any(axis=1)
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(f"sources[{k}] must be tokens and then only PAD ({PAD}), at least one token, got {found[k]}")
    return found.astype(np.int64), lengths
