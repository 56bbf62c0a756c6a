"""Training by several workers: repeatable to the last bit, and the same steps as by one but for rounding."""

import numpy as np
import pytest
from tiny_runs import bits, tiny_model, tiny_stream

from minirnn.arrays import asarray, to_numpy
from minirnn.tape import Tensor
from minirnn.testing import in_pieces
from minirnn.training import SGD, Adam, fit, optimizers

OPTIMIZERS = {
    "SGD": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda parameters: Adam(parameters, lr=0.01, weight_decay=0.01),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(optimizers, "PIECE", 7)


def trained(name, workers):
    """A model and its optimizer after some steps on a small text."""
    stream = tiny_stream()
    model = tiny_model(stream, dtype="float64", dropout=0.2)
    optimizer = OPTIMIZERS[name](model.parameters())
    with in_pieces(workers):
        fit(model, stream, optimizer=optimizer, steps=7, clip_norm=1.0)
    return model, optimizer


@every_optimizer
def test_two_workers_train_the_same_bits_every_time(small_pieces, name):
    first, *others = (trained(name, 2) for _ in range(3))
    for model, optimizer in others:
        assert bits(model) == bits(first[0]) and bits(optimizer) == bits(first[1])


@every_optimizer
def test_steps_are_those_of_one_worker(small_pieces, name):
    one, *others = (trained(name, workers)[0].state_dict() for workers in (1, 2, 3))
    for model in others:
        for key, weight in one.items():
            np.testing.assert_allclose(model[key], weight, rtol=1e-9, atol=1e-12, err_msg=key)


@every_optimizer
@pytest.mark.parametrize("piece", [1, 7, 10**6])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_an_update_is_the_same_bits_whoever_makes_it_and_in_what_pieces(backend, monkeypatch, name, piece, workers):
    def updated():
        random = np.random.default_rng(0)
        parameters = [Tensor(random.normal(size=shape), requires_grad=True) for shape in ((3, 5), (4,), (), (0, 2))]
        optimizer = OPTIMIZERS[name](parameters)
        for _ in range(3):
            for p in parameters[:3]:
                p.grad = asarray(random.normal(size=p.shape))
            optimizer.step()
        return [to_numpy(p.array) for p in parameters]

    expected = updated()
    monkeypatch.setattr(optimizers, "PIECE", piece)
    with in_pieces(workers):
        for found, weight in zip(updated(), expected, strict=True):
            np.testing.assert_array_equal(found, weight)
