"""Models and streams of one's own: trained, shared out, saved and gone on with like those of the library."""

import re

import numpy as np
import pytest
from rank_threads import on_ranks
from tiny_runs import bits, tiny_model, tiny_stream

from minirnn import (
    SGD,
    Adam,
    CharLM,
    Checkpoint,
    CheckpointError,
    DataParallel,
    PrintProgress,
    Tagger,
    Tensor,
    Trainer,
    evaluate,
    fit,
    load,
    ops,
    save,
    use_seed,
)
from minirnn.nn import LSTM, Linear, Module
from minirnn.training import Callback, Plateau, RMSprop, Stream
from minirnn.training.ranks import OneRank


class Kept(Callback, dict):
    """A callback that is a dict too, whose class tells no signature."""


def test_a_callback_of_two_kinds_can_be_shown():
    assert repr(Kept()) == "Kept()"


class Waves(Stream):
    """Sines of which every row goes on from batch to batch of an epoch, six batches long."""

    batches_per_epoch, batch_size, carries_state = 6, 8, True

    def __init__(self, seed=0):
        self.seed = seed

    @property
    def identity(self):
        return {"seed": self.seed}

    def batch(self, epoch, k):
        phase = np.random.default_rng([self.seed, epoch]).uniform(0, 6, size=(self.batch_size, 1, 1))
        xs = np.sin(phase + 0.3 * (5 * k + np.arange(6)[:, None]))
        return xs[:, :-1], xs[:, 1:]


class Forecast(Module):
    def __init__(self, seed=0):
        self.lstm = LSTM(1, 5, batch_first=True, dtype="float64", seed=seed)
        self.head = Linear(5, 1, dtype="float64", seed=seed)

    def forward(self, xs, state=None):
        hs, state = self.lstm(Tensor(xs), state)
        return self.head(hs), state

    def loss(self, xs, targets, state=None):
        ys, state = self(xs, state)
        return ops.mean((ys - Tensor(targets)) ** 2), state  # with its history, which the loop cuts


class Enough:
    """A stream by what it has, derived from nothing."""

    batches_per_epoch, carries_state, unit, identity = 2, False, "", {}

    def batch(self, epoch, k):
        return Waves().batch(epoch, k)

    def counted(self, targets):
        return len(targets)

    def split(self, val_split):
        return self, None


def trained(folder, steps, model=None, **settings):
    trainer = Trainer(model or Forecast(), Waves(), lr=0.02, validation=Waves(1), log_every=2, **settings)
    trainer.run(steps=steps, callbacks=[Checkpoint(folder, resume=True)])
    return trainer


def test_a_model_of_ones_own_learns_with_its_state_carried_on(capsys):
    model = Forecast()
    history = fit(model, Waves(), epochs=10, lr=0.02, validation=Waves(1), callbacks=[PrintProgress()])
    losses = [record["val_loss"] for record in history if "val_loss" in record]
    assert losses[-1] < losses[0] / 2
    lines = capsys.readouterr().out.splitlines()
    first = next(record for record in history if "epoch" in record)
    assert lines[0] == f"epoch 1: training {first['train_loss']:.3f}, validation {first['val_loss']:.3f}"  # no bits


def test_the_state_reaches_the_next_batch():
    seen = []

    class Seen(Forecast):
        def loss(self, xs, targets, state=None):
            seen.append(state)
            return super().loss(xs, targets, state)

    fit(Seen(), Waves(), steps=8)
    assert [state is None for state in seen] == [k % 6 == 0 for k in range(8)]
    assert all(part.node is None for state in seen if state for part in state)


def test_a_stream_need_not_derive_from_anything(tmp_path):
    assert len(fit(Forecast(), Enough(), epochs=2, log_every=1, callbacks=[Checkpoint(tmp_path)])) == 6


@pytest.mark.parametrize("stops", [[3, 14], [6, 7, 14], [14]])
def test_stopped_and_gone_on_with_it_ends_with_the_same_bytes(tmp_path, stops):
    trained(tmp_path / "whole", 14)
    for steps in stops:
        trained(tmp_path / "parts", steps)
    for name in ("last.npz", "best.npz", "log.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_state_of_more_than_two_parts_is_gone_on_with(tmp_path):
    class Twice(Forecast):
        def __init__(self):
            super().__init__()
            self.second = LSTM(5, 5, batch_first=True, dtype="float64", seed=1)

        def forward(self, xs, state=None):
            hs, below = self.lstm(Tensor(xs), state[:2] if state else None)
            hs, above = self.second(hs, state[2:] if state else None)
            return self.head(hs), (*below, *above)

    for name, stops in {"whole": [9], "parts": [3, 4, 9]}.items():
        for steps in stops:
            trained(tmp_path / name, steps, Twice())
    assert (tmp_path / "parts" / "last.npz").read_bytes() == (tmp_path / "whole" / "last.npz").read_bytes()


def test_shares_of_a_batch_train_as_the_whole_does(tmp_path):
    alone = trained(tmp_path / "alone", 8)
    for name, size, deterministic in (("two", 2, False), ("three", 3, False), ("eight", 2, True)):
        ranks = on_ranks(
            size, lambda parallel, name=name: trained(tmp_path / name, 8, parallel=parallel), deterministic
        )
        for rank in ranks:
            for own, theirs in zip(rank.model.parameters(), alone.model.parameters(), strict=True):
                np.testing.assert_allclose(own.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-12)
    one = trained(tmp_path / "one", 8, parallel=DataParallel(True, OneRank()))
    assert bits(one.model) == bits(ranks[0].model)


class Sentences(Stream):
    """Words of nine kinds, each with the tag that it has by itself, and -1 where a sentence has ended."""

    batches_per_epoch = 4

    def __init__(self, batch_size=7):
        self.batch_size = batch_size

    def batch(self, epoch, k):
        random = np.random.default_rng([epoch, k])
        ids, lengths = random.integers(0, 9, (self.batch_size, 6)), random.integers(1, 7, self.batch_size)
        return (ids, lengths), np.where(np.arange(6) < lengths[:, None], ids % 3, -1)

    def counted(self, targets):
        return int((targets >= 0).sum())


def test_a_tagger_is_trained_alone_and_shared_out_and_gone_on_with(tmp_path):
    def run(name, steps=12, parallel=None):
        model = Tagger(9, 3, 4, 5, dtype="float64", seed=1)
        trainer = Trainer(model, Sentences(), lr=0.05, validation=Sentences(), parallel=parallel)
        trainer.run(steps=steps, callbacks=[Checkpoint(tmp_path / name, resume=True)])
        return trainer

    whole = run("whole")
    losses = [record["val_loss"] for record in whole.history if "val_loss" in record]
    assert len(losses) == 3 and losses[2] < 0.5 * losses[0]
    run("parted", steps=5)
    run("parted")
    for name in ("last.npz", "best.npz", "log.jsonl"):
        assert (tmp_path / "parted" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    again = load(tmp_path / "whole", into=Tagger(9, 3, 4, 5, dtype="float64", seed=2))
    assert evaluate(again, Sentences()) == losses[2]
    for rank in on_ranks(3, lambda parallel: run("three", parallel=parallel)):
        for own, theirs in zip(rank.model.parameters(), whole.model.parameters(), strict=True):
            np.testing.assert_allclose(own.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-12)


def test_what_is_not_finite_is_found_where_a_batch_has_fewer_rows_than_pieces():
    model = Tagger(9, 3, 4, 5, dtype="float64", seed=1)
    model.head.bias.data = np.array([1.7e308, -1.7e308, -1.7e308])
    trainer = Trainer(model, Sentences(batch_size=3), parallel=DataParallel(True, OneRank()))
    found = pytest.warns(RuntimeWarning, match="the first that is not finite: the output of")
    with found, np.errstate(over="ignore", invalid="ignore"):
        trainer.run(steps=1)


@pytest.mark.parametrize("make", [Forecast, lambda seed=0: Tagger(9, 3, 4, 5, seed=seed)], ids=["own", "Tagger"])
def test_any_module_is_saved_by_its_parameters(tmp_path, make):
    model, other = make(), make(seed=1)
    save(model, tmp_path / "m.npz")
    assert load(tmp_path / "m.npz", into=other) is other and not other.training
    assert bits(other) == bits(model) != bits(make(seed=1))


@pytest.mark.parametrize("real", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "settings", "clip"),
    [
        (Adam, {"betas": (0.5, 0.75), "eps": 0.125, "weight_decay": 0.25}, "clip_norm"),
        (RMSprop, {"alpha": 0.5, "eps": 0.125, "weight_decay": 0.25}, "clip_value"),
        (SGD, {"momentum": 0.5, "weight_decay": 0.25}, "clip_norm"),
    ],
    ids=["Adam", "RMSprop", "SGD"],
)
def test_numbers_of_numpy_leave_the_same_run_as_those_of_python(tmp_path, make, settings, clip, real):
    def files(name, real, whole):
        def of(value):
            return tuple(map(real, value)) if isinstance(value, tuple) else real(value)

        model, stream = Forecast(), Waves()
        stream.batches_per_epoch = whole(3)
        optimizer = make(model.parameters(), lr=real(0.5), **{name: of(value) for name, value in settings.items()})
        options = {clip: real(0.125), "schedule": Plateau(1, real(0.5)), "log_every": whole(2)}
        trainer = Trainer(model, stream, optimizer=optimizer, **options)
        trainer.run(epochs=whole(4), callbacks=[Checkpoint(tmp_path / name, every=whole(2))])
        optimizer.lr = real(0.25)  # as it may be at any time
        trainer.run(epochs=whole(5), callbacks=[Checkpoint(tmp_path / name, overwrite=True)])
        return {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}

    assert files("numpy", real, np.int64) == files("python", float, int)


def test_a_model_in_the_place_of_the_kind_is_named(tmp_path):
    save(Forecast(), tmp_path / "m.npz")
    with pytest.raises(TypeError, match="kind must be a name such as 'module', got Forecast; give into=model"):
        load(tmp_path / "m.npz", Forecast())


def test_what_cannot_be_loaded_into_a_module_is_told_and_changes_nothing(tmp_path):
    save(Forecast(), tmp_path / "own.npz")
    save(tiny_model(tiny_stream()), tmp_path / "lm.npz")
    linear = Linear(2, 3)
    before = bits(linear)
    with pytest.raises(
        CheckpointError, match="the parameters of a Forecast, and not how it is built; give into=Forecast"
    ):
        load(tmp_path / "own.npz")
    with pytest.raises(CheckpointError, match=r"does not fit into this Linear .*; build it as the Forecast was"):
        load(tmp_path / "own.npz", into=linear)
    with pytest.raises(CheckpointError, match="holds a whole CharLM; leave into away: load builds it"):
        load(tmp_path / "lm.npz", into=linear)
    with pytest.raises(TypeError, match="into must be a Module, got type"):
        load(tmp_path / "own.npz", into=Forecast)
    with pytest.raises(CheckpointError, match="of kind 'module', where 'char_lm' is wanted"):
        load(tmp_path / "own.npz", "char_lm")
    with pytest.raises(TypeError, match="model must be a Module, such as a CharLM or a Seq2Seq, got dict"):
        save({}, tmp_path / "m.npz")
    assert bits(linear) == before and not (tmp_path / "m.npz").exists()


def test_a_run_of_another_class_or_stream_is_not_gone_on_with(tmp_path):
    class Other(Forecast):
        pass

    trained(tmp_path, 3)
    with pytest.raises(CheckpointError, match="of a run with class 'Forecast', not 'Other'"):
        trained(tmp_path, 6, Other())
    with pytest.raises(CheckpointError, match="it was made with seed 0, this run has 5"):
        fit(Forecast(), Waves(5), steps=6, validation=Waves(1), callbacks=[Checkpoint(tmp_path, resume=True)])
    for change, told in {
        "batches_per_epoch": "batches_per_epoch 6, this run has 3",  # a stream need not name them
        "batch_size": "batch_size 8, this run has 3",
        "identity": "seed 0, this run has None",
    }.items():
        other = type("Waves", (Waves,), {change: {} if change == "identity" else 3})()
        with pytest.raises(CheckpointError, match=f"it was made with {told}"):
            fit(Forecast(), other, steps=6, validation=Waves(1), callbacks=[Checkpoint(tmp_path, resume=True)])


class Stateless(Forecast):
    def loss(self, xs, targets):
        return super().loss(xs, targets)


def returning(answer):
    model = Forecast()
    model.loss = lambda xs, targets, state: answer(*Forecast.loss(model, xs, targets, state))
    return model


def varied(**attributes):
    stream = Waves()
    vars(stream).update(attributes)
    return stream


@pytest.mark.parametrize(
    ("model", "stream", "settings", "told"),
    [
        (returning(lambda loss, state: loss), Waves(), {}, "loss of Forecast must return (loss, state), got Tensor"),
        (
            returning(lambda loss, state: (loss, [*state])),
            Waves(),
            {},
            "the state of Forecast must be None, a tensor or a tuple of several, got a list (Tensor, Tensor)",
        ),
        (
            returning(lambda loss, state: (loss, (state, state))),
            Waves(),
            {},
            "the state of Forecast must be None, a tensor or a tuple of several, got "
            "((Tensor, Tensor), (Tensor, Tensor))",
        ),
        (returning(lambda loss, state: (1.0, state)), Waves(), {}, "must return (loss, state), got (float, (Tensor,"),
        (Forecast(), [1, 2], {}, "stream must be a TextStream, a PairStream, an ArrayStream, or derive from minirnn"),
        (Forecast(), Waves(), {"validation": 3}, "validation must be a TextStream, a PairStream, an ArrayStream, or"),
        (Forecast(), Waves(), {"val_split": 0.1}, "val_split must be 0 for a Waves, which has no split; give"),
        (Forecast(), varied(batches_per_epoch=0), {}, "batches_per_epoch must be a positive integer, got 0"),
        (
            Forecast(),
            varied(batch=lambda epoch, k: np.zeros((2, 5, 1))),
            {},
            "batch of Waves must return (inputs, targets), got ndarray",
        ),
        (Forecast(), Enough(), {"parallel": DataParallel(True, OneRank())}, "Enough needs a batch_size: the rows that"),
        (Linear(1, 1), Waves(), {}, "model must be a Module with a method loss, got Linear"),
        (
            returning(lambda loss, state: (loss * Tensor(np.ones(3)), state)),
            Waves(),
            {},
            "loss of Forecast must return one number as its loss, got shape (3,)",
        ),
        (
            returning(lambda loss, state: (loss.detach(), state)),
            Waves(),
            {},
            "loss of Forecast must return a loss computed from parameters that require a gradient",
        ),
        (Stateless(), Waves(), {}, "loss of Stateless must take (inputs, targets, state), it takes (xs, targets)"),
        (
            Forecast(),
            Waves(),
            {"learning_rate": 0.1},
            "fit has no setting learning_rate; there are optimizer, lr, clip_norm, ",
        ),
    ],
)  # fmt: skip
def test_what_is_not_as_training_asks_for_is_explained(model, stream, settings, told):
    before = bits(model)
    with pytest.raises((TypeError, ValueError), match=re.escape(told)):
        fit(model, stream, steps=1, **settings)
    assert bits(model) == before


def test_a_class_is_no_model():
    with pytest.raises(
        TypeError, match=r"model must be a Module, got the class Forecast; Forecast\(\.\.\.\) makes one"
    ):
        fit(Forecast, Waves(), steps=1)


def test_evaluate_asks_for_the_same():
    with pytest.raises(TypeError, match="model must be a Module with a method loss, got Linear"):
        evaluate(Linear(1, 1), Waves())
    lacking = "batch, batches_per_epoch, carries_state, counted, identity, split, unit"
    with pytest.raises(TypeError, match=f"list has no {lacking}"):
        evaluate(CharLM(3, 2, 2), [])


class Together(Stream):
    """Sequences and their lengths, side by side: what a batch gives need not be one array."""

    batches_per_epoch = 2

    def batch(self, epoch, k):
        xs, ys = Waves().batch(epoch, k)
        return (xs, [5, 4, 3, 2, 1, 5, 5, 5]), ys[:, -1]


class Summary(Forecast):
    def loss(self, given, targets, state=None):
        xs, lengths = given
        _, (h_n, _) = self.lstm(Tensor(xs), lengths=lengths)
        return ops.mean_squared_error(self.head(h_n[-1]), targets), None


def test_inputs_may_be_a_tuple():
    history = fit(Summary(), Together(), epochs=2)
    assert len(history) == 2


def test_a_run_goes_on_with_layers_of_the_same_seeds_and_options(tmp_path):
    """Else other masks would be drawn, and nothing would say so."""
    fit(Forecast(seed=1), Waves(), steps=3, callbacks=[Checkpoint(tmp_path / "run")])
    with pytest.raises(CheckpointError, match=r"of a run with lstm\.seed 1, not 2, head\.seed 1, not 2; resume with"):
        fit(Forecast(seed=2), Waves(), steps=6, callbacks=[Checkpoint(tmp_path / "run", resume=True)])
    changed = Forecast(seed=1)
    changed.lstm.weight_drop = 0.5
    with pytest.raises(CheckpointError, match=r"of a run with lstm\.weight_drop 0\.0, not 0\.5; resume with"):
        fit(changed, Waves(), steps=6, callbacks=[Checkpoint(tmp_path / "run", resume=True)])
    assert len(fit(Forecast(seed=1), Waves(), steps=6, callbacks=[Checkpoint(tmp_path / "run", resume=True)])) > 0


def test_layers_without_seeds_are_gone_on_with_after_use_seed(tmp_path):
    """As a cell of a notebook is run again."""
    for resume in (False, True):
        with use_seed(7):
            fit(Forecast(None), Waves(), steps=3, callbacks=[Checkpoint(tmp_path, resume=resume)])
    with pytest.raises(CheckpointError, match=r"of a run with lstm\.seed .* unless use_seed\(0\) comes before it"):
        fit(Forecast(None), Waves(), steps=6, callbacks=[Checkpoint(tmp_path, resume=True)])


def test_a_short_run_has_a_record_of_its_steps_which_its_log_has_not(tmp_path):
    run, history = Checkpoint(tmp_path), fit(Forecast(), Waves(), steps=4, log_every=1)
    (whole,) = fit(Forecast(), Waves(), steps=4, callbacks=[run])
    assert set(whole) == {"step", "loss", "norm", "clipped", "lr"} and whole["step"] == 4
    assert whole["loss"] == pytest.approx(np.mean([record["loss"] for record in history]), rel=1e-12)
    assert not (tmp_path / "log.jsonl").exists()  # a run gone on with has the log of one that never stopped


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda: load(None), "path must be a path, a str or a Path, got None"),
        (lambda: save(Forecast(), 3), "path must be a path, a str or a Path, got 3"),
        (lambda: Checkpoint(3), "directory must be a path, a str or a Path, got 3"),
        (
            lambda: Adam(Forecast().parameters()).load_state_dict(None),
            "optimizer state must be what state_dict returns",
        ),
    ],
)
def test_what_is_no_path_and_no_state_is_refused_by_name(asked, told):
    with pytest.raises(TypeError, match=told):
        asked()


def test_a_module_with_slots_is_refused_where_it_is_written():
    with pytest.raises(TypeError, match="Slotted must not have __slots__"):
        type("Slotted", (Module,), {"__slots__": ("head",)})
