"""Evaluation mode for the length of a block: of the modules below, in this context, and of nothing else."""

import contextvars
import copy
import pickle
import threading

import numpy as np
import pytest

from minirnn.nn import LSTM, Dropout, Linear, Module

X = np.ones((2, 3))


class Model(Module):
    def __init__(self):
        self.linear, self.drop = Linear(3, 4, dtype="float64"), Dropout(0.5)

    def forward(self, x):
        return self.drop(self.linear(x))


def modes(*modules):
    return [m.training for m in modules]


def in_threads(*functions):
    """What the functions return, each run in a thread of its own."""
    found = [None] * len(functions)

    def run(k):
        found[k] = functions[k]()

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    return found


def test_modes_within_and_after():
    model, other = Model(), Model()
    model.drop.eval()
    with model.evaluating():
        assert modes(model, model.linear, model.drop, other, other.drop) == [False, False, False, True, True]
        with other.evaluating(), model.linear.evaluating():
            assert modes(model, model.linear, model.drop, other, other.drop) == [False] * 5
        assert modes(model, model.linear, model.drop, other, other.drop) == [False, False, False, True, True]
    assert modes(model, model.linear, model.drop) == [True, True, False]
    with pytest.raises(ArithmeticError), model.evaluating():
        raise ArithmeticError
    assert modes(model, model.linear, model.drop) == [True, True, False]


def test_what_is_switched_within_counts_from_the_end_on():
    model = Model()
    with model.evaluating():
        model.eval()
    assert modes(model, model.drop) == [False, False]
    with model.evaluating():
        model.train()
        assert modes(model, model.drop) == [False, False]
    assert modes(model, model.drop) == [True, True]


def test_blocks_of_several_threads_that_overlap_leave_the_mode_as_it_was():
    """Each thread enters before any leaves: who saves the mode and puts it back would save that of another block."""
    model, n = Model(), 4
    entered, left = threading.Barrier(n, timeout=5), threading.Barrier(n, timeout=5)
    expected = model.linear(X).numpy()

    def evaluate():
        with model.evaluating():
            entered.wait()
            found = model(X).numpy()
        left.wait()
        return np.array_equal(found, expected), model.training, model.drop.training

    assert in_threads(*[evaluate] * n) == [(True, True, True)] * n
    assert modes(model, model.linear, model.drop) == [True] * 3


def test_another_thread_is_not_affected():
    model, evaluating, done = Model(), threading.Event(), threading.Event()

    def evaluate():
        with model.evaluating():
            evaluating.set()
            return done.wait(5), model(X).numpy().all()

    def train():
        assert evaluating.wait(5)
        found = modes(model, model.drop), (model(X).numpy() == 0).any()
        done.set()
        return found

    assert in_threads(evaluate, train) == [(True, True), ([True, True], True)]


def test_a_context_copied_within_a_block_stays_in_it():
    """Its modules are held, so that no later one is taken for them."""
    model = Model()
    with model.evaluating():
        context = contextvars.copy_context()
    assert context.run(modes, model, model.drop) == [False, False] and modes(model, model.drop) == [True, True]
    del model
    others = [Dropout() for _ in range(100)]
    assert all(context.run(modes, *others))


def test_a_module_as_a_rule_is_in_the_mode_of_its_context():
    model = Model()
    rule, arrays, _ = model.as_rule(X)
    expected = model.linear(X).numpy()
    assert not np.array_equal(rule(*arrays)[0][0], expected)
    with model.evaluating():
        assert np.array_equal(rule(*arrays)[0][0], expected)
    model.eval()
    assert np.array_equal(rule(*arrays)[0][0], expected)


@pytest.mark.parametrize("way", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy], ids=["pickle", "deepcopy"])
@pytest.mark.parametrize("make", [Model, lambda: LSTM(3, 4, 2, dropout=0.5)], ids=["model", "lstm"])
def test_a_copy_takes_the_mode_along(make, way):
    module = make()
    assert modes(way(module), way(module.eval())) == [True, False]
    assert way(module).train().training and not module.training
