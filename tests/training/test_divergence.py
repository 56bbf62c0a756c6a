"""NaN and infinity during training: steps are refused, parameters stay, and in the end the run is given up."""

import json
import warnings

import numpy as np
import pytest
from rank_threads import on_ranks
from tiny_runs import bits, tiny_model, tiny_stream

from minirnn import CharLM, Checkpoint, DivergenceError, Trainer, differentiable, load, ops
from minirnn.nn import Module, Parameter
from minirnn.training import Plateau, Stream, loop
from minirnn.training.alone import Alone
from minirnn.training.first_bad import first_not_finite


@differentiable
def poison(x):
    """The number itself, with a gradient of NaN."""

    def poison_pullback(dy):
        return (dy * np.nan,)

    return x + 0, poison_pullback


class Poisoned(CharLM):
    """A model whose gradients are NaN at some steps, while its loss is fine."""

    bad_steps = range(0)

    def loss(self, inputs, targets, state=None):
        loss, state = super().loss(inputs, targets, state)
        return (poison(loss) if self.draws in self.bad_steps else loss), state


def poisoned_trainer(bad_steps, lanes=True, **settings):
    stream = tiny_stream(lanes=lanes)
    model = Poisoned(stream.vocabulary, 3, 4, seed=1)
    model.bad_steps = bad_steps
    return Trainer(model, stream, lr=0.01, **settings)


def test_a_run_goes_on_where_memory_does_not_suffice_to_look_for_what_is_not_finite(monkeypatch):
    def short(*given, **named):
        raise MemoryError

    monkeypatch.setattr(loop, "first_not_finite", short)
    trainer = poisoned_trainer(bad_steps=[3])
    with pytest.warns(RuntimeWarning, match="the step is refused"):
        trainer.run(steps=5)
    assert trainer.step == 5


@pytest.mark.parametrize("clipping", [{}, {"clip_norm": None}, {"clip_norm": None, "clip_value": 1.0}])
def test_a_step_with_a_bad_gradient_is_refused_and_the_run_goes_on(backend, clipping):
    trainer = poisoned_trainer(bad_steps=[3], **clipping)
    trainer.run(steps=3)
    before = bits(trainer.model), bits(trainer.optimizer)
    told = r"step 4: the gradient .*is not finite.*: the gradient that poison hands down, 1 of 1 numbers"
    with pytest.warns(RuntimeWarning, match=told):
        trainer.run(steps=4)
    assert (bits(trainer.model), bits(trainer.optimizer)) == before
    assert (trainer.step, trainer.refused) == (4, 1)
    trainer.run(steps=5)
    assert bits(trainer.model) != before[0]
    assert trainer.refused == 0


def test_a_refused_step_is_as_if_its_batch_were_not_there():
    refused, skipped = poisoned_trainer([2], lanes=False), poisoned_trainer([], lanes=False)
    with pytest.warns(RuntimeWarning):
        refused.run(steps=4)
    skipped.run(steps=2)
    skipped.step = 3
    skipped.run(steps=4)
    assert bits(refused.model) == bits(skipped.model)
    assert refused.epoch_sum == skipped.epoch_sum


def test_a_state_that_is_not_finite_is_not_carried_into_the_next_step(backend):
    trainer = poisoned_trainer(bad_steps=[])
    trainer.run(steps=1)
    trainer.state = tuple(part * np.nan for part in trainer.state)
    with pytest.warns(RuntimeWarning, match="^step 2: the loss is nan.*: the state that was carried into"):
        trainer.run(steps=2)
    trainer.run(steps=3)
    assert trainer.refused == 0 and np.isfinite(trainer.loss)


class Overflowing(Module):
    """Its loss is infinite, and that is the fault of neither the mask nor the multiplication."""

    def __init__(self):
        self.w = Parameter([1.0, 2.0])

    def seek(self, draws):
        pass

    def loss(self, inputs, targets, state=None):
        masked = ops.where(np.array([True, False]), self.w, -np.inf).max()
        return ops.exp(self.w * 1000.0).sum() + masked, state


def test_the_first_rule_that_leaves_the_numbers_is_named_and_a_mask_of_infinities_is_not():
    with np.errstate(all="raise"):
        assert first_not_finite(Overflowing(), Alone().cut(0, [0], [0], None)) == "the output of exp, 2 of 2 numbers"


def test_looking_for_what_is_not_finite_changes_nothing_and_finds_nothing_in_a_good_step():
    trainer = poisoned_trainer([])
    trainer.run(steps=3)
    before = bits(trainer.model), {name: p.grad.tobytes() for name, p in trainer.model.named_parameters()}
    inputs, targets = trainer.training.batch(0, 3)
    assert first_not_finite(trainer.model, Alone().cut(3, inputs, targets, trainer.state)) == ""
    assert before == (bits(trainer.model), {name: p.grad.tobytes() for name, p in trainer.model.named_parameters()})


def test_a_gradient_that_only_its_parameter_holds_is_named():
    trainer = poisoned_trainer([])
    clip = trainer._clip

    def struck():  # between the way back and the clipping, where no second look sees it happen
        trainer.model.head.bias.grad[1] = np.nan
        return clip()

    trainer._clip = struck
    with pytest.warns(
        RuntimeWarning, match=r"the first that is not finite: the gradient of head\.bias, 1 of 15 numbers"
    ):
        trainer.run(steps=1)


def test_every_rank_finds_what_is_not_finite_in_the_piece_where_it_is():
    with pytest.warns(RuntimeWarning) as warned:  # of step 4 the second piece, with random masks of its own
        on_ranks(2, lambda parallel: poisoned_trainer([2 * 3 + 1], parallel=parallel).run(steps=5))
    assert len(warned) == 2
    for warning in warned:
        assert "the first that is not finite: the gradient that poison hands down" in str(warning.message)


def test_moments_that_are_not_finite_are_not_saved(tmp_path):
    trainer = poisoned_trainer([])
    trainer.run(steps=2)
    trainer.optimizer.state[0]["v"].flat[0] = np.inf  # the parameter stays finite, and never moves again
    with pytest.raises(DivergenceError, match=r"the optimizer's moment v of embedding\.weight is no longer finite"):
        trainer.run(steps=3, callbacks=[Checkpoint(tmp_path)])


def test_after_too_many_refusals_in_a_row_the_run_is_given_up():
    trainer = poisoned_trainer(range(2, 100))
    trainer.run(steps=2)
    before = bits(trainer.model), bits(trainer.optimizer)
    with pytest.warns(RuntimeWarning) as warned, pytest.raises(DivergenceError, match="10 steps in a row"):
        trainer.run(steps=100)
    assert len(warned) == loop.MOST_REFUSED - 1
    assert trainer.step == 2 + loop.MOST_REFUSED
    assert (bits(trainer.model), bits(trainer.optimizer)) == before


def test_a_refused_step_at_the_end_of_a_record_costs_no_record(backend):
    trainer = poisoned_trainer([2, 5, 8, 11])  # counted from 0
    trainer.log_every = 3
    with pytest.warns(RuntimeWarning):
        trainer.run(steps=12)
    assert [record["step"] for record in trainer.history if "loss" in record] == [3, 6, 9, 12]


@pytest.mark.parametrize("what", ["inputs", "targets"])
def test_a_batch_that_is_not_finite_is_named(what):
    class Halves(Stream):
        batches_per_epoch = 1

        def batch(self, epoch, k):
            return (np.ones(2), np.array([1.0, np.nan]))[:: 1 if what == "targets" else -1]

    class Scale(Module):
        def __init__(self):
            self.w = Parameter([1.0, 2.0])

        def loss(self, xs, ys, state=None):
            return ops.mean((self.w * xs - ys) ** 2), None

    with pytest.warns(RuntimeWarning, match=f"the first that is not finite: the {what} of the batch, 1 of 2 numbers"):
        Trainer(Scale(), Halves()).run(steps=1)


def test_refusals_that_are_not_in_a_row_do_not_add_up():
    trainer = poisoned_trainer(range(0, 60, 2))
    with pytest.warns(RuntimeWarning):
        trainer.run(steps=60)
    assert trainer.step == 60


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["embedding.weight", "rnn.weight_hh_l0", "head.bias"])
def test_a_bad_weight_is_never_spread(backend, bad, where):
    stream = tiny_stream()
    model = tiny_model(stream)
    weights = model.state_dict()
    weights[where].flat[:] = bad
    model.load_state_dict(weights)
    before = bits(model)
    told = f"step 1: the loss is (nan|inf).*: the parameter {where}, {weights[where].size} of"
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match=told):
        Trainer(model, stream).run(steps=1)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"), pytest.raises(DivergenceError):
        Trainer(model, stream).run(steps=50)
    assert bits(model) == before


@pytest.mark.parametrize("dtype, lr", [("float32", 3e37), ("float64", 1e307)])
def test_a_huge_learning_rate_ends_the_run_with_finite_weights(dtype, lr):
    stream = tiny_stream()
    model = tiny_model(stream, embedding_size=32, hidden_size=32, dtype=dtype)
    trainer = Trainer(model, stream, lr=lr)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="is refused"), pytest.raises(DivergenceError):
        trainer.run(steps=100)
    assert all(np.isfinite(array).all() for array in model.state_dict().values())


def test_a_run_saves_through_an_epoch_of_refused_steps(tmp_path):
    """An epoch without a single good step has no loss; every file must still be one that can be read."""
    schedule = Plateau(patience=1)
    trainer = poisoned_trainer(range(5), schedule=schedule)
    with pytest.warns(RuntimeWarning, match="refused"):
        trainer.run(epochs=2, callbacks=[Checkpoint(tmp_path)])
    assert schedule.best == trainer.best < 10
    assert np.isfinite(load(tmp_path).state_dict()["head.bias"]).all()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["train_loss"] for record in records] == [None, trainer.best]
    assert np.isnan(trainer.history[0]["train_loss"])


def test_a_validation_loss_that_is_not_finite_breaks_no_file(tmp_path, monkeypatch):
    stream = tiny_stream(batch_size=2)
    trainer = Trainer(tiny_model(stream), stream, lr=1e-9, val_split=0.25, schedule=Plateau())
    monkeypatch.setattr(loop, "evaluate", lambda model, stream: float("nan"))
    with np.errstate(all="ignore"):
        history = trainer.run(epochs=2, callbacks=[Checkpoint(tmp_path)])
    assert len(history) == 2 and all(np.isnan(record["val_loss"]) for record in history)
    resumed = Trainer(tiny_model(stream), stream, lr=1e-9, val_split=0.25, schedule=Plateau())
    np.testing.assert_equal(resumed.run(epochs=2, callbacks=[Checkpoint(tmp_path, resume=True)]), history)
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
