"""Small translators, a batch to train them on, and ways to run them there and back, and step by step."""

import numpy as np
import pytest

from minirnn.arrays import to_numpy
from minirnn.models import Seq2Seq
from minirnn.models.seq2seq import ATTENTION, CONTEXTS
from minirnn.nn.attentive import FEEDS
from minirnn.tape import no_grad
from minirnn.text import BOS, PAD

SOURCES = np.array([[5, 4, 7, 8], [6, 4, 0, 0], [4, 5, 5, 0]])
TARGETS = np.array([[4, 7, 2, 0, 0], [5, 2, 0, 0, 0], [4, 5, 6, 7, 2]])
LENGTHS = np.array([3, 2, 5])  # of the targets
WAYS = [(kind, feed, "last") for kind in ATTENTION if kind != "none" for feed in FEEDS]
WAYS += [("none", "nothing", context) for context in CONTEXTS]
FEW = [  # every cell, kind, feed and context at least once
    {"cell": "lstm", "attention": "general", "feed": "output", "num_layers": 2},
    {"cell": "gru", "attention": "additive", "feed": "context", "num_layers": 2, "bidirectional": False},
    {"cell": "rnn", "attention": "scaled_dot", "feed": "nothing"},
    {"cell": "lstm", "attention": "dot", "feed": "output", "bidirectional": False},
    {"cell": "lstm", "attention": "none", "context": "last", "num_layers": 2},
    {"cell": "gru", "attention": "none", "context": "mean", "num_layers": 2},
    {"cell": "rnn", "attention": "none", "context": "max", "num_layers": 2, "bidirectional": False},
]
few = pytest.mark.parametrize("options", FEW, ids=lambda options: "-".join(map(str, options.values())))


def model(factor=3.0, **options):
    """Weights three times as large as at first, or it would hardly matter what was read before."""
    sizes = {"source_vocabulary": 9, "target_vocabulary": 8, "embedding_size": 4, "hidden_size": 5}
    made = Seq2Seq(**{**sizes, "dtype": "float64", "seed": 1, **options})
    made.load_state_dict({name: factor * array for name, array in made.state_dict().items()})
    return made


def gradients(translator):
    return {f"d {name}": to_numpy(p.grad) for name, p in translator.named_parameters()}


def played(translator, sources=SOURCES, targets=TARGETS):
    """The loss, all scores and all gradients, by name; both passes draw alike."""
    translator.zero_grad()
    draws = translator.draws
    loss, state = translator.loss(sources, targets)
    assert state is None
    loss.backward()
    translator.seek(draws)
    return {"loss": loss.numpy(), "scores": translator(sources, targets).numpy(), **gradients(translator)}


def same_bits(mine, other):
    return mine.keys() == other.keys() and all(np.array_equal(mine[name], other[name]) for name in other)


def started(translator, sources):
    with translator.evaluating(), no_grad():
        return translator.start(sources)


def written(translator, state, targets):
    """Scores ``(N, T, V)``, weights ``(N, T, S)`` and the last state of a writer who is told what the targets are."""
    scores, weights, ids = [], [], np.full(len(targets), BOS)
    with translator.evaluating(), no_grad():
        for following in targets.T:
            logits, looked, state = translator.step(state, ids)
            assert len(state) == len(targets)
            scores.append(to_numpy(logits))
            weights.append(None if looked is None else to_numpy(looked))
            ids = following
    return np.stack(scores, 1), None if looked is None else np.stack(weights, 1), state


def nats(scores, targets=TARGETS):
    """``-log p`` of each target that is real."""
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(log_p, targets[..., None], -1)[targets != PAD]
