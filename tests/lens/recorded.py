"""Models to look at through the lens, and a scalar linear RNN of which everything is known in closed form."""

import numpy as np

from minirnn import CharLM, Tagger, lens, ops
from minirnn.arrays import asarray, to_numpy
from minirnn.nn import GRU, LSTM, RNN

CELLS = {
    "rnn": (RNN, {}),
    "rnn relu": (RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "lstm both": (LSTM, {"proj_size": 2, "peepholes": True}),
    "gru": (GRU, {}),
    "gru reset before": (GRU, {"reset_after": False}),
}
T, B, D, H, V = 6, 3, 3, 4, 7


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def layer_of(cell, layers=1, **options):
    cls, own = CELLS[cell]
    return cls(D, H, layers, **{"dtype": "float64", "seed": 1, **own, **options})


def asking(out):
    """A loss that asks something else of every output: linear in them, so its parts add up."""
    return (out * asarray(numbers(*out.shape, seed=5))).sum()


def recorded(layer, lengths=None, ask=asking):
    xs = asarray(numbers(B, T, D) if layer.batch_first else numbers(T, B, D))
    return lens.record(layer, xs, loss=ask, lengths=lengths)


def dead():
    """A recording of units that are silent at every step, and pass no gradient."""
    layer = layer_of("rnn relu")
    silent = {name: np.full(p.shape, -1e3) for name, p in layer.named_parameters() if name.startswith("bias")}
    layer.load_state_dict({**layer.state_dict(), **silent})
    return recorded(layer)


def own_gradients(module, loss):
    """What the model's own backward pass finds, with all steps in one call."""
    module.zero_grad()
    loss.backward()
    found = {name: to_numpy(p.grad) for name, p in module.named_parameters()}
    module.zero_grad()
    return found


def close(mine, other, tolerance=1e-12):
    assert np.shape(mine) == np.shape(other)
    assert np.linalg.norm(np.subtract(mine, other)) <= tolerance * max(np.linalg.norm(other), 1e-3)


def text(seed=0, size=V):
    ids = np.random.default_rng(seed).integers(0, size, (B, T + 1))
    return ids[:, :-1], ids[:, 1:]


def char_lm(**options):
    defaults = {"embedding_size": 4, "hidden_size": 4, "num_layers": 2, "seed": 1, "dtype": "float64"}
    return CharLM(options.pop("vocab_size", V), **{**defaults, **options})


def tagger(**options):
    return Tagger(V, 3, embedding_size=4, hidden_size=4, num_layers=2, seed=1, dtype="float64", **options)


class Scalar:
    """h_t = w h_prev + x_t, all positive, so that a relu is the identity; the loss is the sum of q_t h_t."""

    def __init__(self, w, steps, at_end=False):
        self.w, self.steps = w, steps
        self.x = 0.1 + np.random.default_rng(3).random(steps)
        self.q = np.zeros(steps) if at_end else np.random.default_rng(4).standard_normal(steps)
        self.q[-1] = 1.0 if at_end else self.q[-1]
        self.layer = RNN(1, 1, nonlinearity="relu", bias=False, dtype="float64")
        self.layer.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[w]]})
        self.recording = lens.record(self.layer, self.x.reshape(-1, 1, 1), loss=self.loss)
        h, hs = 0.0, [0.0]
        for x in self.x:
            h = w * h + x
            hs.append(h)
        self.h = np.array(hs)  # h[t] enters step t

    def loss(self, out):
        return ops.sum(out * self.q.reshape(-1, 1, 1))

    def parts(self):
        """G[t, s] of the gradient of w: what is asked at t, carried back to s, times the state that entered s."""
        t, s = np.indices((self.steps, self.steps))
        return np.where(s <= t, self.q[t] * self.w ** np.maximum(t - s, 0) * self.h[s], 0.0)


def said(result):
    """What a result says, as one line."""
    return " ".join(str(result).split())
