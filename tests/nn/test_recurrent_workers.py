"""Layers and models whose columns workers share out: the numbers of one worker, and the same bits each time."""

import numpy as np
import pytest
from recurrent_cases import CELLS, assert_equal, layer_of, numbers, played, state_for

from minirnn import CharLM
from minirnn.arrays import to_numpy
from minirnn.models import Tagger
from minirnn.rules.combinators import checkpoint, clip_through_time, truncate, truncate_randomly
from minirnn.testing import in_pieces
from minirnn.workers import use_workers

every_cell = pytest.mark.parametrize("cell", CELLS)
DROPPING = {"dropout": 0.3, "weight_drop": 0.2, "zoneout": 0.3}
LENGTHS = [5, 5, 2, 1, 4]  # in some shares all are as long as the longest


def by_workers(make, play, number):
    """What ``play`` finds of a new thing, made and played by so many workers; twice, and the same bits."""
    with in_pieces(workers=number):
        found, again = play(make()), play(make())
    assert_equal(found, again, tolerance=0)
    return found


@every_cell
@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        ({}, None),
        ({}, LENGTHS),
        (DROPPING, LENGTHS),
        ({"residual": True, "locked_dropout": True, "dropout": 0.5}, None),
    ],
)
def test_layers_do_not_depend_on_how_many_workers_there_are(cell, options, lengths):
    def make():
        return layer_of(cell, layers=2, bidirectional=True, seed=3, **options)

    def play(layer):
        return played(layer, numbers(5, 5, 3), state_for(layer, 5), lengths)

    one, *others = (by_workers(make, play, number) for number in (1, 2, 3, 8))
    for found in others:
        assert_equal(found, one, 1e-11)


@every_cell
@pytest.mark.parametrize(
    "through_time",
    [
        lambda rule: truncate(rule, 2),
        lambda rule: truncate_randomly(rule, 1, 0.5, seed=2),
        lambda rule: clip_through_time(rule, 0.1, 2),
        lambda rule: checkpoint(rule, 3),
    ],
)
def test_nor_does_what_runs_through_time(cell, through_time):
    x = numbers(5, 5, 3)
    one, two = (
        by_workers(
            lambda: layer_of(cell, through_time=through_time, bidirectional=True),
            lambda layer: played(layer, x, None, LENGTHS),
            number,
        )
        for number in (1, 2)
    )
    assert_equal(two, one, 1e-11)


def losses(model, *arguments):
    """The loss and all gradients, by name."""
    model.zero_grad()
    loss, _ = model.loss(*arguments)
    loss.backward()
    return {"loss": loss.numpy()} | {name: to_numpy(p.grad) for name, p in model.named_parameters()}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_models_do_not_depend_on_it_either(cell):
    random, options = np.random.default_rng(0), {"cell": cell, "dropout": 0.3, "dtype": "float64", "seed": 1}
    ids, targets = random.integers(0, 7, (2, 5, 4))
    for make, arguments in (
        (lambda: CharLM(7, 3, 4, 2, **options), (ids, targets)),  # tokens are looked up
        (lambda: CharLM(30, 3, 4, 2, **options), (ids, targets)),  # fewer tokens than words: their embeddings are
        (lambda: Tagger(7, 7, 3, 4, 2, **options), ((ids, np.array([4, 4, 2, 1, 3])), targets)),
    ):
        one, *others = (by_workers(make, lambda m: losses(m, *arguments), n) for n in (1, 2, 3))  # noqa: B023
        for found in others:
            assert_equal(found, one, 1e-11)


def test_a_loss_may_go_backward_where_there_are_other_workers():
    random = np.random.default_rng(0)
    model, (ids, targets) = CharLM(7, 3, 4, 2, dtype="float64"), random.integers(0, 7, (2, 5, 4))
    with use_workers(1):
        expected = losses(model, ids, targets)
    for there, here in ((3, 1), (1, 3), (2, 5)):
        model.zero_grad()
        with use_workers(there):
            loss, _ = model.loss(ids, targets)
        with use_workers(here):
            loss.backward()
        assert_equal(
            {name: to_numpy(p.grad) for name, p in model.named_parameters()} | {"loss": loss.numpy()}, expected
        )
