"""Every recurrent cell with every choice of its own, and a way to run a layer there and back."""

import numpy as np

from minirnn.arrays import asarray, to_numpy
from minirnn.nn import GRU, LSTM, RNN
from minirnn.tape import Tensor

CELLS = {
    "rnn": (RNN, {}),
    "rnn relu": (RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "lstm projection": (LSTM, {"proj_size": 2}),
    "lstm peepholes": (LSTM, {"peepholes": True}),
    "lstm both": (LSTM, {"proj_size": 2, "peepholes": True}),
    "gru": (GRU, {}),
    "gru reset before": (GRU, {"reset_after": False}),
}


def layer_of(cell, D=3, H=4, layers=1, **options):
    """A layer; those of the same shapes start equal unless ``options`` say otherwise."""
    cls, own = CELLS[cell]
    return cls(D, H, layers, **{"dtype": "float64", "seed": 0, **own, **options})


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def parts(state):
    """The tensors of a state."""
    return state if isinstance(state, tuple) else (state,)


def state_for(layer, B, seed=0):
    """Random states, none like the other."""
    places = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = {"h": layer.proj_size or layer.hidden_size, "c": layer.hidden_size}
    drawn = tuple(numbers(places, B, sizes[name], seed=[seed, k]) for k, name in enumerate(layer.STATES))
    return drawn if len(drawn) > 1 else drawn[0]


def played(layer, x, state=None, lengths=None, cotangent=None):
    """Outputs and gradients by name, for random cotangents: ``cotangent`` of the outputs, others of the last states."""
    layer.zero_grad()
    x = Tensor(x, requires_grad=True)
    given = () if state is None else tuple(Tensor(part, requires_grad=True) for part in parts(state))
    out, ends = layer(x, None if state is None else given if len(given) > 1 else given[0], lengths)
    ends = dict(zip(layer.STATES, parts(ends), strict=True))
    loss = (out * asarray(numbers(*out.shape, seed=1) if cotangent is None else cotangent)).sum()
    for k, end in enumerate(ends.values()):
        loss = loss + (end * asarray(numbers(*end.shape, seed=2 + k))).sum()
    loss.backward()
    found = {"out": out.numpy(), "d x": to_numpy(x.grad)}
    found |= {f"{name}_n": end.numpy() for name, end in ends.items()}
    found |= {f"d {name}_0": to_numpy(part.grad) for name, part in zip(layer.STATES, given, strict=False)}
    return found | {f"d {name}": to_numpy(p.grad) for name, p in layer.named_parameters()}


def assert_equal(mine, other, tolerance=1e-12):
    """The same names, shapes and numbers, to a relative error; with 0 the same bits."""
    assert mine.keys() == other.keys()
    for name, value in mine.items():
        assert value.shape == other[name].shape, name
        error = np.abs(value - other[name]).max()
        assert error <= tolerance * np.abs(other[name]).max(), f"{name}: error {error}"
