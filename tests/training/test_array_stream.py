"""Arrays as batches: every row once an epoch, with what belongs to it, the same ones whenever they are asked for."""

import re

import numpy as np
import pytest
from tiny_runs import bits

from minirnn import ArrayStream, Checkpoint, CheckpointError, Tensor, evaluate, fit, ops
from minirnn.nn import Linear, Module

N = 11
INPUTS = np.random.default_rng(0).normal(size=(N, 4, 3))
TARGETS = INPUTS.sum(axis=1)  # so that whoever mixes up rows is found out


class Sums(Module):
    def __init__(self):
        self.head = Linear(3, 3, dtype="float64", seed=0)

    def loss(self, xs, targets, state=None):
        return ops.mean((self.head(ops.sum(Tensor(xs), axis=1)) - Tensor(targets)) ** 2), None


def rows_of(stream, epoch):
    """The numbers of the rows of an epoch, as they come."""
    batches = [stream.batch(epoch, k) for k in range(stream.batches_per_epoch)]
    for inputs, targets in batches:
        np.testing.assert_array_equal(inputs.sum(axis=1), targets)
    found = np.concatenate([inputs for inputs, _ in batches])
    return [int(np.flatnonzero((row == INPUTS).all(axis=(1, 2))).item()) for row in found]


@pytest.mark.parametrize("batch_size", [1, 4, 11, 20])
def test_every_row_comes_once_an_epoch_in_another_order(batch_size):
    stream = ArrayStream(INPUTS, TARGETS, batch_size)
    epochs = [rows_of(stream, epoch) for epoch in range(3)]
    assert all(sorted(rows) == list(range(N)) for rows in epochs)
    assert len({*map(tuple, epochs)}) == 3
    assert rows_of(stream, 1) == epochs[1] == rows_of(ArrayStream(INPUTS, TARGETS, batch_size), 1)
    assert rows_of(ArrayStream(INPUTS, TARGETS, batch_size, seed=1), 0) != epochs[0]
    sizes = [len(stream.batch(0, k)[0]) for k in range(stream.batches_per_epoch)]
    assert sizes == [batch_size] * (N // batch_size) + [N % batch_size] * (N % batch_size > 0)


def test_arrays_are_not_copied_and_batches_are():
    stream = ArrayStream(INPUTS, TARGETS, 20)
    assert np.shares_memory(stream.inputs, INPUTS) and np.shares_memory(stream.targets, TARGETS)
    assert not any(map(np.shares_memory, stream.batch(0, 0), (INPUTS, TARGETS)))


def test_a_part_is_held_out():
    training, validation = ArrayStream(INPUTS, TARGETS, 4, seed=2).split(0.3)
    assert (training.batch_size, training.seed) == (validation.batch_size, validation.seed) == (4, 2)
    held_out = rows_of(validation, 0)
    assert len(held_out) == 3 and sorted(rows_of(training, 0) + held_out) == list(range(N))
    assert sorted(held_out) not in ([*range(3)], [*range(8, 11)])  # drawn, and not an end
    whole = ArrayStream(INPUTS, TARGETS)
    assert whole.split(0) == (whole, None)
    for val_split, count in ((0.01, 0), (0.99, 11)):
        with pytest.raises(ValueError, match=f"val_split {val_split} holds out {count} of 11 rows; at least one"):
            whole.split(val_split)


def test_a_loss_is_the_mean_over_all_rows_though_the_last_batch_is_short():
    expected = Sums().loss(INPUTS, TARGETS)[0].item()
    assert evaluate(Sums(), ArrayStream(INPUTS, TARGETS, 4)) == pytest.approx(expected, rel=1e-12)


def run(directory, steps, inputs=INPUTS, **settings):
    model = Sums()
    checkpoint = Checkpoint(directory, resume=True)
    fit(model, ArrayStream(inputs, TARGETS, 4, **settings), steps=steps, callbacks=[checkpoint])
    return bits(model)


def test_a_run_goes_on_as_if_it_had_never_stopped(tmp_path):
    run(tmp_path / "parts", 3)
    assert run(tmp_path / "parts", 8) == run(tmp_path / "whole", 8)
    other = INPUTS.copy()
    other[5, 0, 0] += 1
    for change, told in (
        ({"inputs": other}, "trained on another text, other pairs or arrays"),
        ({"seed": 1}, "seed 0"),
    ):
        with pytest.raises(CheckpointError, match=told):
            run(tmp_path / "parts", 9, **change)


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "told"),
    [
        (INPUTS, TARGETS[:-1], ValueError, "as many of both, got (11, 4, 3) and (10, 3)"),
        (INPUTS, np.float64(1), ValueError, "as many of both, got (11, 4, 3) and ()"),
        (np.float64(1), np.float64(1), ValueError, "a row for each example, as many of both, got () and ()"),
        (INPUTS[:0], TARGETS[:0], ValueError, "must not be empty, got shapes (0, 4, 3) and (0, 3)"),
        ([[1.0], [1.0, 2.0]], TARGETS[:2], TypeError, "inputs must be an array of real numbers, got list"),
        (INPUTS, ["a"] * N, TypeError, "targets must be an array of real numbers, got dtype <U1"),
        (INPUTS, None, TypeError, "targets must be an array of real numbers"),
    ],
)
def test_what_are_no_rows_is_refused(inputs, targets, error, told):
    with pytest.raises(error, match=re.escape(told)):
        ArrayStream(inputs, targets)
