"""Steps on a device that the host looks at later: no step waits, and what is refused there is refused here."""

import warnings

import numpy as np
import pytest
from test_divergence import poisoned_trainer
from tiny_runs import bits

from minirnn import SGD, Adam, AdamW, DivergenceError, RMSprop
from minirnn.arrays import DeviceMemoryError
from minirnn.testing import counting, on_backend
from minirnn.testing.strict_cupy import faults
from minirnn.training import loop

MAKERS = [
    lambda p: SGD(p, 0.1),
    lambda p: SGD(p, 0.1, momentum=0.9),
    lambda p: RMSprop(p),
    lambda p: Adam(p, weight_decay=0.1),
    lambda p: AdamW(p),
]


def trainer_of(bad_steps, make=MAKERS[1], **settings):
    trainer = poisoned_trainer(bad_steps, **settings)
    trainer.optimizer = make(trainer.model.parameters())
    return trainer


@pytest.fixture
def device():
    with on_backend("strict_cupy") as cupy:
        yield cupy


def test_steps_wait_for_nobody_until_somebody_asks(device):
    trainer = trainer_of([3, 4])
    for _ in range(2):  # in the first parameters move together
        trainer.train_step()
    with counting() as counts:
        for _ in range(6):
            trainer.train_step()
    assert counts.syncs == 0 and len(trainer.unseen) == 8 and trainer.refused == 0
    with pytest.warns(RuntimeWarning, match="^step [45]: the gradient is not finite; the step is refused") as told:
        assert np.isfinite(trainer.loss)
    assert len(told) == 2 and not trainer.unseen and trainer.epoch_sum[1] == 6


def test_ten_steps_are_looked_at_by_one_glance(device):
    trainer = trainer_of([])
    trainer.run(steps=2)
    with counting() as counts:
        for _ in range(20):
            trainer.train_step()
    assert counts.syncs == 2 and trainer.since_record[3] == 22


@pytest.mark.parametrize("make", MAKERS)
def test_a_step_that_is_refused_there_changes_no_weight_and_no_moment(device, make):
    trainer = trainer_of(range(3, 6), make)
    for _ in range(3):
        trainer.train_step()
    before = bits(trainer.model), bits(trainer.optimizer)
    for _ in range(3):
        trainer.train_step()
    assert bits(trainer.model) == before[0]
    with pytest.warns(RuntimeWarning, match="the first that is not finite: the gradient that poison hands down"):
        trainer.look()
    assert bits(trainer.optimizer) == before[1]  # the number of steps among it


@pytest.mark.parametrize("lanes", [True, False])
def test_a_run_with_refused_steps_ends_as_on_the_host(lanes):
    def run(backend):
        with on_backend(backend):
            trainer = trainer_of([3, 4, 7], lanes=lanes)
            trainer.log_every = 4
            with pytest.warns(RuntimeWarning):
                trainer.run(steps=13)
            recorded = [record["step"] for record in trainer.history]
            return trainer.model.state_dict(), trainer.epoch_sum, trainer.refused, recorded

    (weights, *books), (expected, *right) = run("strict_cupy"), run("numpy")
    for name, w in expected.items():
        np.testing.assert_allclose(weights[name], w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(books[0], right[0], rtol=1e-6)
    assert books[1:] == right[1:]


def test_ten_in_a_row_end_the_run_with_the_last_good_weights(device):
    trainer = trainer_of(range(2, 40))
    trainer.run(steps=2)
    before = bits(trainer.model)
    with pytest.warns(RuntimeWarning), pytest.raises(DivergenceError, match="10 steps in a row were refused"):
        trainer.run(steps=40)
    assert bits(trainer.model) == before and trainer.step <= 12 + loop.MOST_UNSEEN


def test_a_look_that_fails_forgets_no_step(device):
    trainer = trainer_of([])
    trainer.run(steps=2)
    for _ in range(4):
        trainer.train_step()
    with pytest.raises(DeviceMemoryError, match="a look at the last steps"), faults.failing(0):
        trainer.look()
    trainer.look()
    assert trainer.since_record[3] == 6 and not trainer.unseen


def test_a_warning_that_is_an_error_forgets_no_step(device):
    trainer = trainer_of([3])
    for _ in range(3):
        trainer.train_step()
    trainer.look()
    for _ in range(4):
        trainer.train_step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="step 4: the gradient"):
            trainer.look()
    assert trainer.since_record[3] == 6 and trainer.refused == 0


class Stepping(SGD):
    """One whose own step takes no argument."""

    def step(self):
        super().step()


@pytest.mark.parametrize("backend", ["numpy", "strict_cupy"])
def test_an_optimizer_with_a_step_of_its_own_trains(backend):
    with on_backend(backend):
        trainer = trainer_of([], lambda p: Stepping(p, 0.1))
        before = bits(trainer.model)
        trainer.run(steps=3)
        assert bits(trainer.model) != before and not trainer.looks_later


class Own(SGD):
    """An optimizer of somebody's own, which has never heard of steps that are not allowed."""

    def update(self, w, g, *moments):
        w -= self.lr * g


@pytest.mark.parametrize(
    ("make", "settings"),
    [(lambda p: Own(p, 0.1), {}), (MAKERS[0], {"clip_norm": None, "clip_value": 1.0})],
)
def test_what_cannot_refuse_there_waits_for_the_host(device, make, settings):
    trainer = trainer_of([2], make, **settings)
    trainer.run(steps=2)
    before = bits(trainer.model)
    with pytest.warns(RuntimeWarning, match="step 3: the gradient is not finite"):
        trainer.train_step()
    assert bits(trainer.model) == before and not trainer.unseen
