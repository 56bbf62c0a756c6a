"""One step at a time: cells equal torch's, and in a loop they equal the layers."""

import numpy as np
import pytest
from recurrent_cases import numbers, parts

from minirnn.arrays import asarray, to_numpy
from minirnn.checking import check_rule
from minirnn.nn import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from minirnn.tape import Tensor

CELLS = {
    "tanh": (RNNCell, RNN, {}),
    "relu": (RNNCell, RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTMCell, LSTM, {}),
    "gru": (GRUCell, GRU, {}),
    "gru reset before": (GRUCell, GRU, {"reset_after": False}),
}
every_cell = pytest.mark.parametrize("name", CELLS)


def cell_of(name, **options):
    cls, _, own = CELLS[name]
    return cls(3, 4, dtype="float64", **own, **options)


def state_for(cell, B=2):
    drawn = tuple(numbers(B, 4, seed=k) for k in range(len(cell.STATES)))
    return drawn if len(drawn) > 1 else drawn[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("given_state", [True, False])
@pytest.mark.parametrize("name", ["tanh", "relu", "lstm", "gru"])
def test_cells_equal_torch(backend, name, bias, given_state):
    torch = pytest.importorskip("torch")
    cell = cell_of(name, bias=bias)
    theirs = getattr(torch.nn, type(cell).__name__)(3, 4, bias=bias, dtype=torch.float64, **CELLS[name][2])
    cell.load_state_dict(theirs.state_dict())
    inputs = [numbers(2, 3), *(parts(state_for(cell)) if given_state else ())]
    mine, other = ([make(x) for x in inputs] for make in (leaf, lambda x: torch.tensor(x, requires_grad=True)))
    news = parts(cell(mine[0], state_of(mine)))
    expected = parts(theirs(other[0], state_of(other)))
    for k, (new, their) in enumerate(zip(news, expected, strict=True)):
        assert np.abs(new.numpy() - their.detach().numpy()).max() < 1e-14
        new.backward(asarray(numbers(2, 4, seed=10 + k)), retain_graph=True)
        their.backward(torch.tensor(numbers(2, 4, seed=10 + k)), retain_graph=True)
    gradients = [(a.grad, b.grad) for a, b in zip(mine, other, strict=True)]
    gradients += [(p.grad, getattr(theirs, key).grad) for key, p in cell.named_parameters()]
    assert len(gradients) == len(inputs) + (4 if bias else 2)
    for gradient, their in gradients:
        assert np.abs(to_numpy(gradient) - their.numpy()).max() < 1e-13


def leaf(x):
    return Tensor(x, requires_grad=True)


def state_of(inputs):
    return None if len(inputs) == 1 else tuple(inputs[1:]) if len(inputs) > 2 else inputs[1]


@every_cell
@pytest.mark.parametrize("bias", [True, False])
def test_a_loop_of_cells_is_the_layer(backend, name, bias):
    cell, (_, layer_class, own) = cell_of(name, bias=bias), CELLS[name]
    layer = layer_class(3, 4, bias=bias, dtype="float64", **own)
    layer.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()})
    x, state = numbers(5, 2, 3), state_for(cell)
    before = tuple(part[None] for part in parts(state))
    out, ends = layer(x, before if len(before) > 1 else before[0])
    for t, x_t in enumerate(x):
        state = cell(x_t, state)
        assert np.allclose(parts(state)[0].numpy(), out.numpy()[t], rtol=1e-13)
    for mine, other in zip(parts(state), parts(ends), strict=True):
        assert np.allclose(mine.numpy(), other.numpy()[0], rtol=1e-13)


@every_cell
def test_gradients_are_those_of_complex_step(backend, name):
    cell = cell_of(name)
    state = state_for(cell)
    given = tuple(asarray(part) for part in state) if isinstance(state, tuple) else asarray(state)
    rule, arrays, names = cell.as_rule(asarray(numbers(2, 3)), given)
    assert check_rule(rule, arrays, names=names).ok
    assert names[:4] == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


@every_cell
def test_no_state_is_zeros_and_float32_stays(backend, name):
    cls, _, own = CELLS[name]
    cell, x = cls(3, 4, **own), numbers(2, 3).astype("float32")
    zeros = tuple(np.zeros((2, 4), "float32") for _ in cell.STATES)
    for none, zero in zip(parts(cell(x)), parts(cell(x, zeros if len(zeros) > 1 else zeros[0])), strict=True):
        assert none.dtype == np.float32 and np.array_equal(none.numpy(), zero.numpy())


def test_a_cell_without_bias_has_none():
    cell = GRUCell(3, 4, bias=False)
    assert cell.bias_ih is None and [name for name, _ in cell.named_parameters()] == ["weight_ih", "weight_hh"]
    values = np.concatenate([p.numpy().ravel() for p in LSTMCell(3, 4).parameters()])
    assert np.abs(values).max() <= 0.5 and len(np.unique(values)) == len(values)
