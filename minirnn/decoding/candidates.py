"""Of all ids that could follow, for all hypotheses of a batch at once, the few that are worth a look.

The problem. A batch of 64 sentences with five hypotheses each and 8,000 ids makes 2.5 million scores at every step, of
which ten a sentence are wanted. To sort them, even in part, takes ten times as long as to read them.

The answer. The softmax must read them all once anyway. On the way the ids of each hypothesis are put into groups, and
the highest of each group is noted. To be among the ten best of its sentence, a score must be in a group whose highest
is among the ten best of those: only these groups are opened. Nothing is approximated, ties included.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

import numpy as np

from minirnn.arrays import Array, home_of, to_numpy, xp_of
from minirnn.kernels import kernels_of
from minirnn.text import EOS

OPERATIONS = 20  # of a softmax with each number, about: one of them is an exponential
PIECE = 2**17  # logits in work at a time on the CPU: they stay in the cache from the first line to the last


class Candidates(NamedTuple):
    """Continuations, sentence by sentence, and within a sentence the best first; all ``(C,)``."""

    columns: np.ndarray  # which hypothesis is continued
    ids: np.ndarray  # by what
    totals: np.ndarray  # log-probability of the whole, float64
    ranks: np.ndarray  # place among the candidates of the sentence, from 0


def best_candidates(
    logits: Array,  # (N, V)
    totals: np.ndarray,  # (N,) log-probabilities so far
    sentences: np.ndarray,  # (N,) whose hypotheses they are, ascending
    most: int,
    blocked: tuple[np.ndarray, np.ndarray] | None = None,  # columns and ids that must not follow them
) -> Candidates:
    """The ``most`` likeliest continuations of each sentence by any id but PAD and BOS, fewer if no more are possible.

    Among equals the earlier column comes first, then the lower id.

    Raises
    ------
    ValueError
        If the softmax of the logits is not defined.
    """
    N, V = logits.shape
    groups = max(1, min(isqrt(2 * V), V - EOS))  # about as many highest ones to compare as scores to open later
    highest, norms = _highest_and_norms(logits, groups)
    before = totals - norms

    # The bar: as many groups as candidates are wanted reach it, so as many scores do. What is blocked may be among
    # them, so the bar lies lower by as many.
    _, starts, rows, counts = np.unique(sentences, return_index=True, return_inverse=True, return_counts=True)
    most_blocked = 0 if blocked is None else int(np.bincount(rows[blocked[0]], minlength=1).max())
    scores = before[:, None] + highest
    table = np.full((len(counts), int(counts.max()), groups), -np.inf)
    table[rows, np.arange(N) - starts[rows]] = scores
    table = table.reshape(len(counts), -1)
    nth = table.shape[1] - most - most_blocked
    bar = np.full(N, -np.inf) if nth < 0 else np.partition(table, nth, axis=1)[rows, nth]

    columns, opened = np.nonzero(scores >= bar[:, None])
    ids = EOS + opened[:, None] + groups * np.arange(-(-(V - EOS) // groups))
    columns = np.broadcast_to(columns[:, None], ids.shape)[ids < V]
    ids = ids[ids < V]
    xp = xp_of(logits)
    scores = before[columns] + to_numpy(logits[xp.asarray(columns), xp.asarray(ids)])
    kept = (scores >= bar[columns]) & (scores > -np.inf)
    columns, ids, scores = columns[kept], ids[kept], scores[kept]
    if blocked is not None:
        free = ~np.isin(columns * V + ids, blocked[0] * V + blocked[1])
        columns, ids, scores = columns[free], ids[free], scores[free]

    order = np.lexsort((ids, columns, -scores, rows[columns]))
    columns, ids, scores = columns[order], ids[order], scores[order]
    ranks = place_within(rows[columns])
    first = ranks < most
    return Candidates(columns[first], ids[first], scores[first], ranks[first])


def place_within(groups: np.ndarray) -> np.ndarray:
    """The place of each element among those of its group, from 0; groups come in ascending order.

    Examples
    --------
    >>> place_within(np.array([3, 3, 5, 8, 8, 8])).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def repeating(
    ids: np.ndarray,  # (N, T) what was written so far
    n: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Columns and ids that would complete an n-gram which the column already holds.

    Examples
    --------
    >>> columns, ids = repeating(np.array([[4, 5, 6, 4, 5], [4, 5, 6, 7, 8]]), n=3)
    >>> columns.tolist(), ids.tolist()
    ([0], [6])
    """
    T = ids.shape[1]
    if n > T:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    ngrams = np.lib.stride_tricks.sliding_window_view(ids, n, axis=1)  # (N, T - n + 1, n)
    columns, places = np.nonzero((ngrams[..., :-1] == ids[:, None, T - n + 1 :]).all(axis=-1))
    return columns, ngrams[columns, places, -1]


def _highest_and_norms(logits: Array, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The highest logit of each group, ``(N, groups)``, and the log of the sum of all exponentials, ``(N,)``.

    Group g holds the ids EOS + g, EOS + g + groups, ...: so a maximum over groups compares whole rows of logits that
    stand in columns, as `Seq2Seq` makes them; others are turned over first.
    """
    xp, kernels, (N, V) = xp_of(logits), kernels_of(logits), logits.shape
    whole = EOS + (V - EOS) // groups * groups  # the ids from here on do not fill all groups
    columns, highest = xp.ascontiguousarray(logits.T), xp.empty((groups, N), logits.dtype)

    def compare(some):  # some of the groups
        columns[EOS:whole].reshape(-1, groups, N)[:, some].max(axis=0, out=highest[some])

    kernels.side_by_side(compare, groups, logits.size)
    highest[: V - whole] = xp.maximum(highest[: V - whole], columns[whole:])
    tops = xp.maximum(highest.max(axis=0), columns[:EOS].max(axis=0))
    rows = max(1, PIECE // N) if home_of(logits) == "numpy" else V

    def add_up(ids):
        total = 0
        for start in range(ids.start, ids.stop, rows):
            some = columns[start : min(start + rows, ids.stop)]
            with np.errstate(invalid="ignore"):  # seen below
                p = xp.subtract(some, tops, out=kernels.empty(some.shape, some.dtype))
                total = total + xp.exp(p, out=p).sum(axis=0)
        return total

    sums = sum(kernels.side_by_side(add_up, V, OPERATIONS * logits.size))
    with np.errstate(invalid="ignore"):
        norms = to_numpy(tops).astype(np.float64) + np.log(to_numpy(sums).astype(np.float64))
    if not np.isfinite(norms).all():
        raise ValueError("the model gave logits without a softmax: NaN, infinity or nothing but -inf; it has diverged")
    return to_numpy(highest).T, norms
