"""Runs of a translator: what is measured, saved, loaded and gone on with is as exact as with a character model."""

import copy
import json
import math

import numpy as np
import pytest
from tiny_runs import bits, tiny_model, tiny_stream

from minirnn import Checkpoint, EarlyStopping, Seq2Seq, Trainer, evaluate, fit, load, save
from minirnn.tape import no_grad
from minirnn.text import PairStream, TokenVocabulary
from minirnn.training import CheckpointError, linear
from minirnn.training.kinds import KINDS
from minirnn.training.sealed import read_sealed, write_sealed

PAIRS = [
    ("a", "un"), ("the cat", "le chat"), ("the red cat sat", "le chat rouge est la"), ("a dog", "un chien"),
    ("the dog and the cat", "le chien et le chat"), ("red", "rouge"), ("a red dog", "un chien rouge"),
    ("cat and dog", "chat et chien"), ("the dog sat", "le chien est la"), ("sat", "est la"), ("the cat sat", "le chat"),
]  # fmt: skip
HELD_OUT = [("the red dog", "le chien rouge"), ("a cat", "un chat"), ("a red cat sat and sat", "un chat rouge est la")]
VOCABULARIES = tuple(TokenVocabulary.learn(side, "words") for side in zip(*PAIRS, strict=True))


def stream_of(pairs=PAIRS, batch_size=4, seed=3, **settings):
    return PairStream(pairs, *VOCABULARIES, batch_size, seed=seed, **settings)


def translator(vocabularies=VOCABULARIES, seed=1, **settings):
    return Seq2Seq(*vocabularies, embedding_size=4, hidden_size=4, num_layers=2, seed=seed, **settings)


def trainer_of(stream=None, **settings):
    model = translator(dropout=0.3, label_smoothing=0.1, feed="output")
    settings = {"validation": stream_of(HELD_OUT), "teacher_forcing": linear(0.5, 9), "lr": 0.02, **settings}
    return Trainer(model, stream or stream_of(), clip_norm=0.5, log_every=2, **settings)


# --- measured --------------------------------------------------------------------------------------------------------


def test_the_loss_of_a_stream_is_the_mean_over_all_real_tokens():
    model, stream = translator(), stream_of(batch_size=2)
    total, count = 0.0, 0
    with model.evaluating(), no_grad():
        for source, target in PAIRS:  # one at a time: nothing is padded
            sources, targets = PairStream([(source, target)], *VOCABULARIES).batch(0, 0)
            total += model.loss(sources, targets)[0].item() * targets.size
            count += targets.size
    assert evaluate(model, stream) == pytest.approx(total / count, rel=1e-5)
    assert stream.targets_per_epoch == count
    by_batch = np.mean([model.eval().loss(*stream.batch(0, k))[0].item() for k in range(stream.batches_per_epoch)])
    assert abs(by_batch - total / count) > 1e-3  # so it is another mean


def test_validation_is_on_the_pairs_given_or_on_those_held_out():
    trainer = trainer_of()
    trainer.run(epochs=2)
    validated = [record["val_loss"] for record in trainer.history if "epoch" in record]
    assert len(validated) == 2 and validated[-1] == evaluate(trainer.model, stream_of(HELD_OUT))
    split = trainer_of(validation=None, val_split=0.3)
    assert len(split.training.pairs) + len(split.validation.pairs) == len(PAIRS)
    with pytest.raises(ValueError, match=r"val_split or validation, not both; got val_split 0\.3"):
        trainer_of(val_split=0.3)


def test_streams_of_other_vocabularies_are_refused():
    other = TokenVocabulary.learn(["x y"], "words")
    for side in range(2):
        pair = [*VOCABULARIES]
        pair[side] = other
        with pytest.raises(ValueError, match=r"model has a (source|target)_vocabulary of \d+, the stream one of 6"):
            Trainer(translator(), PairStream(PAIRS, *pair))
        shuffled = [*VOCABULARIES]
        shuffled[side] = TokenVocabulary("words", VOCABULARIES[side].tokens[::-1])
        with pytest.raises(ValueError, match=r"another (source|target)_vocabulary than the stream"):
            Trainer(translator(), stream_of(), validation=PairStream(HELD_OUT, *shuffled))


def test_fit_gives_a_model_of_sizes_the_vocabularies_of_the_stream():
    model = translator(tuple(map(len, VOCABULARIES)))
    history = fit(model, stream_of(), epochs=40, lr=0.02, log_every=10)
    losses = [record["loss"] for record in history if "loss" in record]
    assert losses[-1] < 0.5 * losses[0]
    assert (model.source_vocabulary, model.target_vocabulary) == VOCABULARIES


def test_the_share_of_truth_follows_its_schedule():
    trainer = trainer_of(teacher_forcing=lambda step: 1 - step / 10)
    model, seen, loss = trainer.model, [], trainer.model.loss
    model.loss = lambda *given: (seen.append(model.teacher_forcing), loss(*given))[1]
    model.teacher_forcing = 0.25
    for _ in range(3):
        trainer.train_step()
    assert (seen, model.teacher_forcing) == ([1.0, 0.9, 0.8], 0.25)  # and then again as it was
    with pytest.raises(ValueError, match=r"teacher_forcing must be a number from 0 to 1, got -0\.1"):
        trainer_of(teacher_forcing=lambda step: -0.1).train_step()
    with pytest.raises(TypeError, match="teacher_forcing is for models that have such a share, CharLM has none"):
        Trainer(tiny_model(tiny_stream()), tiny_stream(), teacher_forcing=lambda step: 0.5)


# --- saved and loaded ------------------------------------------------------------------------------------------------

MODELS = [
    {},
    {"attention": "additive", "feed": "context", "cell": "gru"},
    {"attention": "dot", "feed": "output", "bidirectional": False, "tie_embeddings": True, "cell": "rnn"},
    {"attention": "none", "context": "max", "dtype": "float64", "dropout": 0.25, "label_smoothing": 0.1},
]


@pytest.mark.parametrize("settings", MODELS)
def test_a_translator_comes_back_with_every_bit_and_its_vocabularies(tmp_path, settings):
    model = translator(**settings)
    save(model, tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    assert (bits(back), back.config) == (bits(model), model.config) and not back.training
    assert (back.source_vocabulary, back.target_vocabulary) == VOCABULARIES
    batch = stream_of().batch(0, 0)
    assert back.loss(*batch)[0].item() == model.eval().loss(*batch)[0].item()


@pytest.mark.parametrize("units", ["words", "chars", "bpe"])
def test_vocabularies_of_all_units_are_saved(tmp_path, units):
    vocabularies = tuple(TokenVocabulary.learn([text, "Größe 大🙂 \\ \" '"], units, 290) for text in ("a a a", "b b b"))
    save(translator(vocabularies), tmp_path / "model.npz")
    back = load(tmp_path / "model.npz", "seq2seq")
    assert (back.source_vocabulary, back.target_vocabulary) == vocabularies


def test_a_translator_without_vocabularies_is_saved_too(tmp_path):
    save(translator((9, 7)), tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    assert (back.source_vocabulary, back.target_vocabulary, back.target_size) == (None, None, 7)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    save(translator(), tmp_path / "pairs.npz")
    save(tiny_model(tiny_stream()), tmp_path / "text.npz")
    with pytest.raises(CheckpointError, match="of kind 'seq2seq', where 'char_lm' is wanted"):
        load(tmp_path / "pairs.npz", "char_lm")
    with pytest.raises(CheckpointError, match="of kind 'char_lm', where 'seq2seq' is wanted"):
        load(tmp_path / "text.npz", "seq2seq")
    assert {load(tmp_path / name).KIND for name in ("pairs.npz", "text.npz")} == set(KINDS)


LIES = {
    **{
        name: lambda arrays, meta, name=name: meta["model"].update({name: 2**40})
        for name in ("hidden_size", "embedding_size", "num_layers", "source_vocabulary", "target_vocabulary")
    },
    "an empty source_embedding": lambda arrays, meta: (
        meta["model"].update(source_vocabulary=2**40, embedding_size=0),
        arrays.update({"model/source_embedding.weight": np.zeros((2**40, 0), "float32")}),
    ),
    "an empty target_embedding": lambda arrays, meta: (
        meta["model"].update(target_vocabulary=2**40),
        arrays.update({"model/target_embedding.weight": np.zeros((2**40, 0), "float32")}),
    ),
    "an empty weight_hh": lambda arrays, meta: (
        meta["model"].update(hidden_size=2**40),
        arrays.update({"model/encoder.weight_hh_l0": np.zeros((0, 2**40), "float32")}),
    ),
    "many empty layers": lambda arrays, meta: (
        meta["model"].update(num_layers=100),
        arrays.update({f"model/encoder.weight_hh_l{k}": np.zeros((0, 4), "float32") for k in range(1, 100)}),
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_sizes_that_lie_are_refused_before_memory_is_taken(tmp_path, name, monkeypatch):
    save(translator(), tmp_path / "model.npz")
    arrays, meta = read_sealed(tmp_path / "model.npz")
    LIES[name](arrays, meta)
    write_sealed(tmp_path / "model.npz", arrays, meta)
    monkeypatch.setitem(KINDS, "seq2seq", lambda **config: pytest.fail("it was built"))
    with pytest.raises(CheckpointError, match="its model cannot be built"):
        load(tmp_path / "model.npz")


DOUBLING = [["a" * 2**k, "a" * 2**k] for k in range(12)]
CHANGES = {
    "an array gone": lambda arrays, meta: arrays.pop("model/head.bias"),
    "an array of another shape": lambda arrays, meta: arrays.update({"model/bridge.0.bias": np.zeros(3, "float32")}),
    "an array more": lambda arrays, meta: arrays.update({"model/extra": np.zeros(3)}),
    "another cell": lambda arrays, meta: meta["model"].update(cell="os.system"),
    "another attention": lambda arrays, meta: meta["model"].update(attention=["dot"]),
    "another feed": lambda arrays, meta: meta["model"].update(feed="hay"),
    "one direction": lambda arrays, meta: meta["model"].update(bidirectional=False),
    "a setting more": lambda arrays, meta: meta["model"].update(surprise=1),
    "a setting less": lambda arrays, meta: meta["model"].pop("target_vocabulary"),
    "no vocabulary": lambda arrays, meta: meta.pop("vocabulary"),
    "one vocabulary": lambda arrays, meta: meta["vocabulary"].pop("target"),
    "characters": lambda arrays, meta: meta.update(vocabulary="abc"),
    "numbers": lambda arrays, meta: meta.update(vocabulary=[1, 2]),
    "other units": lambda arrays, meta: meta["vocabulary"]["source"].update(units="letters"),
    "tokens that are none": lambda arrays, meta: meta["vocabulary"]["source"].update(tokens=[1, 2]),
    "fewer tokens": lambda arrays, meta: meta["vocabulary"]["target"]["tokens"].pop(),
    "tokens that explode": lambda arrays, meta: meta["vocabulary"].update(source={"units": "bpe", "merges": DOUBLING}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_sealed_file_that_is_no_translator_is_a_checkpoint_error(tmp_path, name):
    save(translator(), tmp_path / "model.npz")
    arrays, meta = read_sealed(tmp_path / "model.npz")
    CHANGES[name](arrays, meta)
    write_sealed(tmp_path / "model.npz", arrays, meta)
    with pytest.raises(
        CheckpointError, match=r"(its model cannot be built|not as minirnn writes it) .*; load only what minirnn wrote"
    ):
        load(tmp_path / "model.npz")


# --- gone on with ----------------------------------------------------------------------------------------------------


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in ("last.npz", "best.npz", "log.jsonl")}


@pytest.mark.parametrize("stops", [(1, 4), (3, 6, 7), (5,)])
def test_stopped_and_gone_on_with_a_run_ends_with_the_same_bytes(tmp_path, stops):
    whole = trainer_of()
    whole.run(steps=11, callbacks=[EarlyStopping(9), Checkpoint(tmp_path / "whole")])
    assert whole.training.batches_per_epoch == 3
    for stop in (*stops, 11):
        part = trainer_of()
        part.run(steps=stop, callbacks=[EarlyStopping(9), Checkpoint(tmp_path / "parts", resume=True)])
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    assert part.history == whole.history and bits(part.model) == bits(whole.model)


def test_a_stopped_run_has_not_yet_ended(tmp_path):
    """What the test above would not see if nothing depended on where a run is gone on with."""
    trainer_of().run(steps=5, callbacks=[Checkpoint(tmp_path)])
    again, anew = trainer_of(), trainer_of()
    again.run(steps=6, callbacks=[Checkpoint(tmp_path, resume=True)])
    anew.train_step()
    assert again.step == 6 and bits(again.model) != bits(anew.model)


OTHERS = {
    "other pairs": (lambda: trainer_of(stream_of(PAIRS[1:])), "trained on another text, other pairs"),
    "another max_length": (lambda: trainer_of(stream_of(max_length=9)), "made with max_length None, this run has 9"),
    "another batch_size": (lambda: trainer_of(stream_of(batch_size=2)), "made with batch_size 4, this run has 2"),
    "another seed": (lambda: trainer_of(stream_of(seed=4)), "made with seed 3, this run has 4"),
    "other validation": (lambda: trainer_of(validation=stream_of(HELD_OUT[1:])), "validated on other data"),
    "no validation": (lambda: trainer_of(validation=None), "validated on other data"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_of_other_data_is_not_gone_on_with(tmp_path, name):
    trainer_of().run(steps=4, callbacks=[Checkpoint(tmp_path)])
    make, message = OTHERS[name]
    other, before = make(), files_of(tmp_path)
    weights = bits(other.model)
    with pytest.raises(CheckpointError, match=message):
        other.run(steps=5, callbacks=[Checkpoint(tmp_path, resume=True)])
    assert (files_of(tmp_path), bits(other.model), other.step) == (before, weights, 0)


def test_a_run_saved_before_validation_was_written_down_is_gone_on_with(tmp_path):
    trainer_of().run(steps=4, callbacks=[Checkpoint(tmp_path)])
    arrays, meta = read_sealed(tmp_path / "last.npz")
    del meta["training"]["validation"]
    write_sealed(tmp_path / "last.npz", arrays, meta)
    trainer = trainer_of()
    trainer.run(steps=5, callbacks=[Checkpoint(tmp_path, resume=True)])
    assert trainer.step == 5


NONSENSE = {"text": 7, "batch_size": -1, "max_length": "long", "seed": None}


@pytest.mark.parametrize("name", [*NONSENSE, "gone", "a state"])
def test_a_run_of_nonsense_is_a_checkpoint_error_and_changes_nothing(tmp_path, name):
    trainer_of().run(steps=4, callbacks=[Checkpoint(tmp_path)])
    arrays, meta = read_sealed(tmp_path / "last.npz")
    if name == "a state":
        arrays["state/0"] = np.zeros((2, 4, 4), "float32")
    else:
        meta["training"]["stream"] = {} if name == "gone" else {**stream_of().identity, name: NONSENSE[name]}
    write_sealed(tmp_path / "last.npz", arrays, meta)
    trainer = trainer_of()
    weights, books = bits(trainer.model), copy.deepcopy(trainer.books())
    with pytest.raises(CheckpointError):
        trainer.run(steps=5, callbacks=[Checkpoint(tmp_path, resume=True)])
    assert (bits(trainer.model), trainer.books()) == (weights, books)


def test_the_log_of_a_run_is_in_nats_per_token(tmp_path):
    trainer_of().run(epochs=1, callbacks=[Checkpoint(tmp_path)])
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert abs(records[-1]["val_loss"] - math.log(len(VOCABULARIES[1]))) < 0.5
