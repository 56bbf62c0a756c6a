"""A model of sentences without weights: every choice has a random score that depends on all that came before."""

from contextlib import nullcontext

import numpy as np

from minirnn.text import BOS, EOS, PAD

V = 6  # PAD, BOS, EOS, UNK and two words


class FakeTranslator:
    """What :func:`beam_search` asks of a model. ``change(source, prefix, logits)`` may spoil or bend what it says."""

    def __init__(self, seed=0, size=V, attends=True, change=None, xp=np, dtype="float64"):
        self.seed, self.size, self.attends, self.change = seed, size, attends, change
        self.xp, self.dtype = xp, dtype
        self.columns = []  # how many at each step

    def evaluating(self):
        return nullcontext()

    def start(self, sources):
        return FakeState(len(sources[0]), [(tuple(int(i) for i in row if i != PAD), None) for row in sources])

    def step(self, state, ids):
        beginning = [prefix is None for _, prefix in state.columns]
        read = [
            (source, () if first else (*prefix, int(i)))
            for (source, prefix), i, first in zip(state.columns, ids, beginning, strict=True)
        ]
        assert all({PAD, BOS, EOS}.isdisjoint(prefix) for _, prefix in read), "what has ended is over"
        assert all((i == BOS) == first for i, first in zip(ids, beginning, strict=True))
        self.columns.append(len(read))
        logits = self.xp.asarray(np.array([self.logits(*column) for column in read], self.dtype))
        weights = np.zeros((len(read), state.width))
        for row, (source, prefix) in zip(weights, read, strict=True):
            row[: len(source)] = self.weights(source, prefix)
        return logits, self.xp.asarray(weights) if self.attends else None, FakeState(state.width, read)

    def logits(self, source, prefix):
        logits = 2 * self._draw(0, source, prefix).normal(size=self.size)
        return logits if self.change is None else self.change(source, prefix, logits)

    def log_probabilities(self, source, prefix):
        logits = self.logits(source, prefix)
        return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())

    def weights(self, source, prefix):
        e = np.exp(2 * self._draw(1, source, prefix).normal(size=len(source)))
        return e / e.sum()

    def _draw(self, what, source, prefix):
        return np.random.default_rng([self.seed, what, *source, 1000, *prefix])


class FakeState:
    def __init__(self, width, columns):
        self.width, self.columns = width, columns

    def __len__(self):
        return len(self.columns)

    def take(self, rows):
        return FakeState(self.width, [self.columns[k] for k in rows])


def never_ends(source, prefix, logits):
    logits[EOS] = -np.inf
    return logits
