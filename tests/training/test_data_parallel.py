"""Several ranks with a share of every batch each: the same training as one process with all of it."""

import re
import sys

import numpy as np
import pytest
from rank_threads import on_ranks
from tiny_runs import bits, tiny_model, tiny_stream

from minirnn import Checkpoint, EarlyStopping, Seq2Seq, Trainer, load
from minirnn.arrays import BackendError
from minirnn.text import PairStream, TokenVocabulary
from minirnn.training import Callback, DataParallel, step_decay
from minirnn.training.data_parallel import _tree_sum
from minirnn.training.ranks import OneRank
from minirnn.training.sealed import read_sealed

PAIRS = [(" ".join("abcde"[: 1 + k % 5]), " ".join("vwxyz"[k % 3 : 1 + k % 5])) for k in range(23)]
PAIRS = [(source, target or "v") for source, target in PAIRS]
VOCABULARIES = tuple(TokenVocabulary.learn(side, "words") for side in zip(*PAIRS, strict=True))


def characters(parallel=None, batch_size=8, dropout=0.0, **settings):
    stream = tiny_stream("the cat sat on the mat; a dog ate the rat. " * 8, batch_size=batch_size, **settings)
    model = tiny_model(stream, dropout=dropout, dtype="float64")
    return Trainer(model, stream, lr=0.02, clip_norm=0.5, log_every=2, val_split=0.1, parallel=parallel)


def pairs(parallel=None, dropout=0.0):
    """Of 23 pairs in batches of 9 the last batch has five: with eight pieces some are empty."""
    model = Seq2Seq(*VOCABULARIES, embedding_size=3, hidden_size=4, feed="output", dropout=dropout, dtype="float64")
    return Trainer(model, PairStream(PAIRS, *VOCABULARIES, 9), lr=0.02, clip_norm=0.5, log_every=2, parallel=parallel)


def weights(trainer):
    return np.concatenate([array.ravel() for array in trainer.model.state_dict().values()])


# The same training


@pytest.mark.parametrize("make", [characters, pairs])
@pytest.mark.parametrize("size", [2, 3])
def test_shares_of_a_batch_train_as_the_whole_does(make, size):
    alone = make()
    alone.run(steps=9)
    trainers = [make() for _ in range(size)]

    def train(parallel):
        trainer = trainers[parallel.rank]
        trainer.parallel = parallel
        trainer.run(steps=9)

    on_ranks(size, train)
    for trainer in trainers:
        np.testing.assert_allclose(weights(trainer), weights(alone), rtol=1e-9, atol=1e-12)
        assert bits(trainer.model) == bits(trainers[0].model)
    for own, whole in zip(trainers[0].history, alone.history, strict=True):
        assert own == pytest.approx(whole, rel=1e-9)


def test_one_process_trains_as_without(tmp_path):
    alone, parallel = characters(dropout=0.3), characters(DataParallel(ranks=OneRank()), dropout=0.3)
    alone.run(steps=5)
    parallel.run(steps=5)
    assert bits(alone.model) == bits(parallel.model)


@pytest.mark.parametrize("make", [characters, pairs])
def test_a_deterministic_run_has_the_same_bits_on_any_number_of_ranks(make):
    found = []
    for size in (1, 2, 4):
        trainers = on_ranks(size, lambda parallel: _trained(make(parallel, dropout=0.3)), deterministic=True)
        found += [(bits(trainer.model), bits(trainer.optimizer), trainer.history) for trainer in trainers]
    assert all(one == found[0] for one in found)
    other = make(DataParallel(ranks=OneRank()), dropout=0.3)
    other.run(steps=7)
    assert bits(other.model) != found[0][0]  # so the eight pieces did count


def _trained(trainer, steps=7, callbacks=()):
    trainer.run(steps=steps, callbacks=callbacks)
    return trainer


def test_ranks_drop_different_units():
    """Two columns with the same text: where all ranks drew one mask, both shares would have the same gradient."""
    seen = {}

    def task(parallel):
        trainer = characters(parallel, dropout=0.5)
        inputs, targets = trainer.training.batch(0, 0)
        loss, count = trainer.model.loss, []
        trainer.model.loss = lambda x, y, state: count.append(trainer.model.draws) or loss(x, y, state)
        trainer.parallel.gradients(trainer, inputs, targets, None)
        seen[parallel.rank] = count

    on_ranks(2, task)
    assert sorted(draw for draws in seen.values() for draw in draws) == [0, 1]


def test_pieces_are_added_up_as_halves_of_halves():
    numbers = np.random.default_rng(0).standard_normal(8).astype("float32")
    whole = _tree_sum(lambda k: numbers[k : k + 1].copy(), 0, 8)
    halves = [_tree_sum(lambda k: numbers[k : k + 1].copy(), first, first + 4) for first in (0, 4)]
    assert whole == halves[0] + halves[1]


# Files, callbacks and the end


def test_rank_0_owns_the_files_and_a_run_goes_on_with_another_number_of_ranks(tmp_path):
    def run(folder, sizes):
        steps = 0
        for size in sizes:
            steps += 3
            callbacks = [[Checkpoint(tmp_path / folder, resume=True)] for _ in range(size)]
            on_ranks(
                size,
                lambda parallel, steps=steps, callbacks=callbacks: _trained(
                    characters(parallel, dropout=0.2), steps, callbacks[parallel.rank]
                ),
                deterministic=True,
            )
        return (tmp_path / folder / "last.npz").read_bytes(), (tmp_path / folder / "log.jsonl").read_bytes()

    assert run("a", [1, 2, 4]) == run("b", [4, 4, 1])


def test_all_start_from_where_the_first_is():
    def task(parallel):
        trainer = characters(parallel)
        if parallel.rank:
            for p in trainer.model.parameters():
                p.data = p.data + 1
        return _trained(trainer, 2)

    first, second = on_ranks(2, task)
    assert bits(first.model) == bits(second.model)


def test_who_wants_to_stop_stops_all_after_one_more_step():
    class Stop(Callback):
        everywhere = True

        def on_step(self, trainer):
            if trainer.step == 3 and trainer.parallel.rank == 1:
                trainer.stop("enough")

    trainers = on_ranks(2, lambda parallel: _trained(characters(parallel), 20, [Stop()]))
    assert [trainer.step for trainer in trainers] == [4, 4]
    assert [trainer.stopping for trainer in trainers] == ["another process was asked to stop", "enough"]


def test_who_is_asked_to_stop_before_the_first_step_stops_all():
    class Stop(Callback):
        def on_start(self, trainer):
            trainer.stop("nothing to do")

    trainers = on_ranks(2, lambda parallel: _trained(characters(parallel), 20, [Stop()]))
    assert [(trainer.step, trainer.stopping) for trainer in trainers] == [(0, "nothing to do")] * 2


def test_no_improvement_stops_all_at_once():
    def task(parallel):
        trainer = characters(parallel)
        trainer.optimizer.lr = 0.0
        return _trained(trainer, 50, [EarlyStopping(1)])

    alone = task(None)
    assert alone.step < 50
    assert [trainer.step for trainer in on_ranks(2, task)] == [alone.step] * 2


def test_who_looks_on_at_the_first_alone_ends_a_run_for_all_where_an_epoch_ends():
    class Enough(Callback):
        def on_epoch(self, trainer, record):
            trainer.stop("good enough", for_good=True)

    trainers = on_ranks(2, lambda parallel: _trained(characters(parallel), 50, [Enough()]))
    epoch = trainers[0].training.batches_per_epoch
    assert [trainer.step for trainer in trainers] == [epoch, epoch]


def test_all_go_by_the_validation_of_the_first(monkeypatch):
    """As if the cores of each rank rounded in their own way."""
    calls = iter(range(100))
    monkeypatch.setattr("minirnn.training.loop.evaluate", lambda model, stream: float(next(calls)))
    first, second = on_ranks(2, lambda parallel: _trained(characters(parallel), 20))
    assert [r["val_loss"] for r in first.history if "val_loss" in r] == [
        r["val_loss"] for r in second.history if "val_loss" in r
    ]
    assert first.best == second.best


def test_a_saved_model_loads_without_ranks(tmp_path):
    on_ranks(2, lambda parallel: _trained(characters(parallel), 3, [Checkpoint(tmp_path)]))
    assert load(tmp_path).config["hidden_size"] == 4
    assert read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 3


# What cannot be


def test_a_rank_with_another_text_is_found():
    def task(parallel):
        stream = tiny_stream("ab" * 60 if parallel.rank else "ba" * 60)
        return _trained(Trainer(tiny_model(stream), stream, parallel=parallel), 2)

    with pytest.raises(ValueError, match="rank 1 does not train as rank 0 does"):
        on_ranks(2, task)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lr": 0.01}, r"its lr at step 1 is 0\.01, that of rank 0 0\.002"),
        ({"clip_norm": 1}, r"its clip_norm is 1\.0, that of rank 0 5\.0"),
        ({"clip_norm": None, "clip_value": 1.0}, r"its clip_norm is None, that of rank 0 5\.0"),
        ({"schedule": step_decay(3, 0.5)}, r"its lr at step 4 is 0\.001, that of rank 0 0\.002"),
    ],
)
def test_a_rank_with_other_settings_is_found(settings, told):
    def task(parallel):
        stream = tiny_stream()
        own = settings if parallel.rank == 1 else {}
        return _trained(Trainer(tiny_model(stream), stream, parallel=parallel, **own), 4)

    with pytest.raises(ValueError, match=f"^rank 1 does not train as rank 0 does: {told}$"):
        on_ranks(2, task)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: vars(t).update(teacher_forcing=lambda step: 0.5), "teacher_forcing at step 1 is 0.5, {} None"),
        (lambda t: vars(t.optimizer).update(lr=0.5), "lr at step 1 is 0.5, {} 0.02"),
        (lambda t: vars(t.optimizer).update(betas=(0.5, 0.999)), "betas is [0.5, 0.999], {} [0.9, 0.999]"),
        (lambda t: vars(t.optimizer).update(weight_decay=0.1), "weight_decay is 0.1, {} 0.0"),
        (lambda t: setattr(t.model, "dropout", 0.5), "dropout is 0.5, {} 0.0"),
        (
            lambda t: setattr(t.model.head.bias, "requires_grad", False),
            "list of frozen parameters is ['head.bias'], {} []",
        ),
    ],
)
def test_a_rank_whose_model_or_optimizer_is_set_otherwise_is_found(change, told):
    def task(parallel):
        trainer = pairs(parallel)
        if parallel.rank:
            change(trainer)
        return _trained(trainer, 2)

    told = "rank 1 does not train as rank 0 does: its " + told.format("that of rank 0")
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        on_ranks(2, task)


@pytest.mark.parametrize("make", [characters, pairs])
def test_ranks_leave_what_is_frozen(make):
    def task(parallel=None):
        trainer = make(parallel)
        trainer.model.head.bias.requires_grad = False
        return _trained(trainer, 3)

    alone = task()
    assert not np.allclose(weights(alone), weights(make()))
    for trainer in on_ranks(2, task):
        np.testing.assert_allclose(weights(trainer), weights(alone), rtol=1e-12, atol=1e-12)
        assert trainer.model.head.bias.numpy().tobytes() == make().model.head.bias.numpy().tobytes()


def test_settings_are_not_compared_beyond_the_end_of_a_run():
    def task(parallel):
        stream = tiny_stream()
        own = {"schedule": step_decay(3, 0.5)} if parallel.rank else {}
        return _trained(Trainer(tiny_model(stream), stream, parallel=parallel, **own), 3)

    first, second = on_ranks(2, task)
    assert bits(first.model) == bits(second.model)


def test_ranks_that_have_drifted_apart_are_found(monkeypatch):
    monkeypatch.setattr("minirnn.training.data_parallel.COMPARED_EVERY", 2)

    class Meddle(Callback):
        everywhere = True

        def on_step(self, trainer):
            if trainer.parallel.rank == 1 and trainer.step == 1:
                p = trainer.model.parameters()[0]
                p.data = p.data + 1e-3

    with pytest.raises(RuntimeError, match="before step 3 the ranks no longer have the same parameters"):
        on_ranks(2, lambda parallel: _trained(characters(parallel), 5, [Meddle()]))


def test_a_batch_must_have_something_for_everybody():
    with pytest.raises(ValueError, match="batch_size 2 cannot be shared out among 3 processes: 3 or more"):
        on_ranks(3, lambda parallel: _trained(characters(parallel, batch_size=2), 1))
    with pytest.raises(ValueError, match="batch_size 3 cannot be shared out among 1 process: 8 or more"):
        characters(DataParallel(True, OneRank()), batch_size=3).run(steps=1)


def test_a_run_that_cannot_be_shared_out_overwrites_no_other(tmp_path):
    characters().run(steps=3, callbacks=[Checkpoint(tmp_path)])
    trainer = characters(DataParallel(True, OneRank()), batch_size=3)
    with pytest.raises(ValueError, match="batch_size 3 cannot be shared out"):
        trainer.run(steps=1, callbacks=[Checkpoint(tmp_path, overwrite=True)])
    assert read_sealed(tmp_path / "last.npz")[1]["training"]["step"] == 3


def test_eight_pieces_need_1_2_4_or_8_ranks():
    with pytest.raises(ValueError, match="a deterministic run needs 1, 2, 4 or 8 processes, got 3"):
        on_ranks(3, lambda parallel: None, deterministic=True)


def test_whether_it_is_deterministic_is_said_by_true_or_false():
    with pytest.raises(TypeError, match="deterministic must be True or False, got 'no'"):
        DataParallel("no", OneRank())


def test_without_mpi_it_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(BackendError, match="needs mpi4py and an MPI, which the extra 'mpi' brings"):
        DataParallel()
