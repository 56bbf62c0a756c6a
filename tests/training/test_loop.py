"""The training loop: the plain loop to the last bit, and what lies around it."""

import numpy as np
import pytest
from tiny_runs import TEXT, bits, tiny_model, tiny_stream

from minirnn import (
    SGD,
    Adam,
    CharLM,
    Checkpoint,
    EarlyStopping,
    TextStream,
    Trainer,
    Vocabulary,
    evaluate,
    fit,
    generate,
    load,
)
from minirnn.training import (
    Callback,
    DivergenceError,
    Plateau,
    PrintProgress,
    clip_grad_norm_,
    cosine,
    exponential,
    loop,
)

STEPS = 12  # two epochs and two steps


def plain_loop(lm, stream, optimizer, steps, clip_norm):
    """The loop of the docstring of ``minirnn/training/loop.py``, and where its batches come from."""
    state, losses = None, []
    for step in range(steps):
        epoch, k = divmod(step, stream.batches_per_epoch)
        inputs, targets = stream.batch(epoch, k)
        if k == 0 or not stream.lanes:
            state = None
        loss, state = lm.loss(inputs, targets, state)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(lm.parameters(), clip_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("lanes", [True, False], ids=["lanes", "windows"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_fit_equals_the_plain_loop_to_the_last_bit(backend, lanes, dropout):
    stream = tiny_stream(lanes=lanes)
    ours, plain = tiny_model(stream, dropout=dropout), tiny_model(stream, dropout=dropout)
    untrained = bits(plain)
    losses = plain_loop(plain, stream, Adam(plain.parameters(), lr=0.01), STEPS, clip_norm=0.38)
    history = fit(ours, stream, steps=STEPS, lr=0.01, clip_norm=0.38, log_every=1)
    assert bits(ours) == bits(plain) != untrained
    records = [record for record in history if "loss" in record]
    assert [record["loss"] for record in records] == losses
    assert {record["clipped"] for record in records} == {0, 1}  # the limit was met on both sides


@pytest.mark.parametrize("lanes", [True, False], ids=["lanes", "windows"])
def test_evaluating_and_sampling_change_no_training_bit(backend, lanes):
    class Curious(Callback):
        def on_step(self, trainer):
            evaluate(trainer.model, stream)
            generate(trainer.model, "the", 3, seed=trainer.step)
            trainer.model(stream.batch(0, 0)[0])  # draws masks out of turn

    stream = tiny_stream(lanes=lanes)
    optimizers = []
    for callbacks in ([], [Curious()]):
        model = tiny_model(stream, dropout=0.3)
        optimizers.append(Adam(model.parameters(), 0.01))
        history = fit(model, stream, optimizer=optimizers[-1], steps=STEPS, log_every=1, callbacks=callbacks)
        optimizers[-1] = bits(model) | bits(optimizers[-1]) | {"losses": [r.get("loss") for r in history]}
    assert optimizers[0] == optimizers[1]


def test_the_held_out_end_is_validated_and_never_trained_on():
    whole = tiny_stream()
    start, end = whole.split(0.25)
    ours, theirs = tiny_model(whole), tiny_model(whole)
    history = fit(ours, whole, epochs=2, val_split=0.25)
    fit(theirs, start, epochs=2)
    assert bits(ours) == bits(theirs)
    of_epochs = [record for record in history if "epoch" in record]
    assert [record["epoch"] for record in of_epochs] == [1, 2]
    assert of_epochs[-1]["val_loss"] == evaluate(ours, end) != of_epochs[0]["val_loss"]
    assert all("val_loss" not in record for record in fit(tiny_model(whole), whole, epochs=1))


def test_history_holds_means_of_what_happened():
    class Notes(Callback):
        losses: tuple = ()

        def on_step(self, trainer):
            self.losses += (trainer.loss,)

    stream, notes = tiny_stream(), Notes()
    schedule = cosine(20)
    history = fit(tiny_model(stream), stream, steps=10, lr=0.1, schedule=schedule, log_every=3, callbacks=[notes])
    assert [(r["step"], "epoch" in r) for r in history] == [
        (3, False), (5, True), (6, False), (9, False), (10, True),
    ]  # fmt: skip
    by_steps, by_epochs = ([r for r in history if key in r] for key in ("loss", "train_loss"))
    for r in by_steps:
        assert r["loss"] == pytest.approx(np.mean(notes.losses[r["step"] - 3 : r["step"]]), rel=1e-14)
        assert r["lr"] == 0.1 * schedule(r["step"] - 1)
        assert r["norm"] > 0 and 0 <= r["clipped"] <= 1
    for r in by_epochs:
        assert r["train_loss"] == pytest.approx(np.mean(notes.losses[r["step"] - 5 : r["step"]]), rel=1e-14)


def test_the_loss_is_the_mean_over_tokens_whatever_the_batch():
    stream = tiny_stream(seq_len=12, batch_size=4)
    lm = tiny_model(stream, dtype="float64")
    inputs, targets = stream.batch(0, 0)
    whole = lm.loss(inputs, targets)[0].item()
    rows = [lm.loss(inputs[b : b + 1], targets[b : b + 1])[0].item() for b in range(4)]
    assert whole == pytest.approx(np.mean(rows), rel=1e-13)
    first, state = lm.loss(inputs[:, :3], targets[:, :3])
    second, _ = lm.loss(inputs[:, 3:], targets[:, 3:], state)
    assert whole == pytest.approx((3 * first.item() + 9 * second.item()) / 12, rel=1e-13)


@pytest.mark.parametrize("seq_len", [1, 4, 12, 84])
def test_evaluate_does_not_depend_on_the_windows(seq_len):
    lm = tiny_model(tiny_stream(), dtype="float64", dropout=0.5)
    stream = TextStream(TEXT[:85], seq_len, 1, vocabulary=lm.vocabulary)
    ids = stream.ids[None]
    with_dropout_off = lm.eval().loss(ids[:, :-1], ids[:, 1:])[0].item()
    assert evaluate(lm.train(), stream) == pytest.approx(with_dropout_off, rel=1e-12)
    assert lm.training and lm.rnn.training
    assert evaluate(lm.eval(), stream) == pytest.approx(with_dropout_off, rel=1e-12)
    assert not lm.training


def test_early_stopping_ends_the_run_after_patience_epochs_without_improvement():
    stream = tiny_stream()
    model = tiny_model(stream)
    trainer = Trainer(model, stream, optimizer=SGD(model.parameters(), lr=0.0), val_split=0.25)
    trainer.run(epochs=50, callbacks=[EarlyStopping(patience=3)])
    assert (trainer.epoch, trainer.stopping) == (4, "no improvement for 3 epochs")


def test_early_stopping_counts_from_the_best():
    stopping, trainer = EarlyStopping(patience=2), Trainer(tiny_model(tiny_stream()), tiny_stream())
    for metric, asked in [(3.0, False), (3.5, False), (2.0, False), (2.0, False), (float("nan"), True)]:
        stopping.on_epoch(trainer, {"metric": metric})
        assert bool(trainer.stopping) == asked


def test_stopping_for_good_is_not_undone_by_another_reason_to_stop():
    trainer = Trainer(tiny_model(tiny_stream()), tiny_stream())
    trainer.stop("no improvement", for_good=True)
    trainer.stop("time is over")
    assert trainer.finished == "no improvement"


def test_stop_takes_effect_after_the_step_and_the_run_can_go_on():
    class StopAt(Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                trainer.stop("enough")

    class StopAtOnce(Callback):
        def on_start(self, trainer):
            trainer.stop("not today")

    stream, ended = tiny_stream(), []
    trainer, whole = (Trainer(tiny_model(stream), stream) for _ in range(2))
    trainer.run(epochs=2, callbacks=[StopAtOnce()])
    assert trainer.step == 0
    trainer.run(epochs=2, callbacks=[StopAt()])
    ended.append((trainer.step, trainer.stopping))
    trainer.run(epochs=2)
    ended.append((trainer.step, trainer.stopping))
    assert ended == [(3, "enough"), (10, None)]
    whole.run(steps=10)
    assert bits(trainer.model) == bits(whole.model)


def test_max_minutes_ends_with_the_step_that_passes_it(monkeypatch):
    seconds = iter(range(0, 10_000, 25))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(seconds))
    stream = tiny_stream()
    trainer = Trainer(tiny_model(stream), stream)
    trainer.run(max_minutes=1.5)
    assert (trainer.step, trainer.stopping) == (4, "the 1.5 minutes of max_minutes are over")  # of 25 s each


def test_callbacks_are_called_in_order():
    class Scribe(Callback):
        def __init__(self, name):
            self.name = name

        def on_start(self, trainer):
            heard.append(f"{self.name} start {trainer.step}")

        def on_epoch(self, trainer, record):
            heard.append(f"{self.name} epoch {record['epoch']}")

        def on_step(self, trainer):
            heard.append(f"{self.name} step {trainer.step}")

        def on_end(self, trainer):
            heard.append(f"{self.name} end {trainer.step}")

    heard, stream = [], tiny_stream(TEXT[:31])  # two batches
    fit(tiny_model(stream), stream, steps=3, callbacks=[Scribe("a"), Scribe("b")])
    events = ["start 0", "step 1", "epoch 1", "step 2", "step 3", "end 3"]
    assert heard == [f"{name} {event}" for event in events for name in "ab"]


def test_a_model_without_vocabulary_takes_that_of_the_stream():
    stream = tiny_stream()
    lm = CharLM(len(stream.vocabulary), 3, 4)
    fit(lm, stream, steps=1)
    assert lm.vocabulary == stream.vocabulary
    assert len(generate(lm, "the", 5)) == 8


def test_a_model_of_other_characters_is_refused_unchanged():
    stream = tiny_stream()
    nameless = CharLM(len(stream.vocabulary) + 1, 3, 4)
    with pytest.raises(ValueError, match="vocabulary of 16, the stream one of 15"):
        fit(nameless, stream, steps=1)
    assert nameless.vocabulary is None
    foreign = CharLM(Vocabulary("ABCDEFGHIJKLMNO"), 3, 4)
    with pytest.raises(ValueError, match="another vocabulary than the stream"):
        fit(foreign, stream, steps=1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "give epochs, steps or max_minutes"),
        ({"steps": 0}, "steps must be a positive number, got 0"),
        ({"epochs": -1}, "epochs must be a positive number, got -1"),
        ({"epochs": "3"}, "epochs must be a positive number, got '3'"),
        ({"max_minutes": float("nan")}, "max_minutes must be a positive number, got nan"),
        ({"steps": 1, "log_every": 0}, "log_every must be a positive integer, got 0"),
        ({"steps": 1, "clip_norm": 1.0, "clip_value": 2.0}, "not both; got 1.0 and 2.0"),
        ({"steps": 1, "clip_norm": -1.0}, "clip_norm must be a positive number, got -1.0"),
        ({"steps": 1, "val_split": 1.0}, "val_split must be .* got 1.0"),
        ({"steps": 1, "lr": -0.1}, "lr must be .* got -0.1"),
    ],
)
def test_bad_arguments_are_explained_and_change_nothing(arguments, message):
    stream = tiny_stream()
    model = tiny_model(stream)
    before = bits(model)
    with pytest.raises(ValueError, match=message):
        fit(model, stream, **arguments)
    assert bits(model) == before


@pytest.mark.parametrize("patience", [0, -1, 1.5, None])
def test_bad_patience_is_explained(patience):
    with pytest.raises(ValueError, match="patience must be a positive integer"):
        EarlyStopping(patience)


def test_an_optimizer_of_another_model_is_refused():
    stream = tiny_stream()
    with pytest.raises(ValueError, match="optimizer must have been made of the parameters of model"):
        fit(tiny_model(stream), stream, steps=1, optimizer=Adam(tiny_model(stream).parameters(), 0.01))


def test_a_schedule_that_leaves_the_numbers_ends_the_run_with_good_parameters():
    stream = tiny_stream()
    model = tiny_model(stream)
    with pytest.raises(DivergenceError, match="learning rate nan at step 2"):
        fit(model, stream, steps=5, lr=0.01, schedule=lambda step: 1.0 if step < 2 else float("nan"))
    assert all(np.isfinite(p.numpy()).all() for p in model.parameters())


def test_a_schedule_leaves_the_optimizer_its_own_rate():
    """So that a second run, a callback and the user find what they have set."""
    stream = tiny_stream()
    model = tiny_model(stream)
    optimizer = SGD(model.parameters(), 0.5)

    class Halve(Callback):
        def on_step(self, trainer):
            if trainer.step == 2:
                trainer.optimizer.lr /= 2

    settings = {"optimizer": optimizer, "schedule": exponential(0.5), "log_every": 1}
    rates = [r["lr"] for r in fit(model, stream, steps=4, callbacks=[Halve()], **settings) if "lr" in r]
    assert (rates, optimizer.lr) == ([0.5, 0.25, 0.0625, 0.03125], 0.25)
    assert fit(model, stream, steps=1, **settings)[0]["lr"] == 0.25
    model.loss = None  # a step that fails
    with pytest.raises(TypeError):
        fit(model, stream, steps=1, **settings)
    assert optimizer.lr == 0.25


@pytest.mark.parametrize("optimizer", [None, SGD], ids=["its own", "SGD"])
def test_a_frozen_layer_is_not_trained_and_the_rest_is(backend, tmp_path, optimizer):
    stream = tiny_stream()
    model = tiny_model(stream)
    model.embedding.weight.requires_grad = False
    before = bits(model)
    made = {} if optimizer is None else {"optimizer": optimizer(model.parameters(), 0.5)}
    fit(model, stream, steps=3, val_split=0.2, callbacks=[Checkpoint(tmp_path)], **made)
    assert [name for name, found in bits(model).items() if found == before[name]] == ["embedding.weight"]
    assert bits(load(tmp_path / "last.npz")) == bits(model)


def test_steps_clipped_by_value_are_counted():
    stream = tiny_stream()
    for limit, share in ((1e-6, 1), (1e6, 0)):
        history = fit(tiny_model(stream), stream, steps=2, lr=0.0, clip_value=limit, log_every=1)
        assert {record["clipped"] for record in history if "clipped" in record} == {share}


def test_progress_is_printed_line_by_line(capsys):
    stream = tiny_stream()
    history = fit(tiny_model(stream), stream, epochs=1, log_every=2, callbacks=[PrintProgress()])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(history)
    assert lines[0] == f"step 2: training {history[0]['loss'] / np.log(2):.3f} bits per character"
    assert lines[-1].startswith("epoch 1: training ")


def test_what_is_given_in_the_wrong_place_is_named():
    stream = tiny_stream()
    model = tiny_model(stream)
    with pytest.raises(TypeError, match="model must be a Module with a method loss, got TextStream"):
        Trainer(stream, model)
    with pytest.raises(ValueError, match=r"give lr or optimizer, .* not both; got lr 0\.1"):
        Trainer(model, stream, lr=0.1, optimizer=SGD(model.parameters(), 0.5))
    for wrong in (SGD, "sgd"):
        with pytest.raises(TypeError, match=r"optimizer must be an object such as Adam\(model"):
            Trainer(model, stream, optimizer=wrong, lr=0.1)
    with pytest.raises(TypeError, match=r"parallel must be an object such as DataParallel\(\), got True"):
        Trainer(model, stream, parallel=True)
    for wrong in (None, "x"):
        with pytest.raises(TypeError, match=f"schedule must return a number, got {wrong!r} at step 0"):
            Trainer(model, stream, schedule=lambda step, wrong=wrong: wrong).train_step()
    for callbacks in ([PrintProgress], PrintProgress, "x"):
        with pytest.raises(TypeError, match="callbacks must be a list of Callback objects"):
            Trainer(model, stream).run(steps=1, callbacks=callbacks)


def test_a_stream_of_another_vocabulary_is_not_evaluated():
    stream = tiny_stream()
    with pytest.raises(ValueError, match="model has another vocabulary than the stream"):
        evaluate(tiny_model(stream), tiny_stream(TEXT.replace("c", "z")))


def test_callbacks_and_plateaus_are_shown_as_they_were_called(tmp_path):
    shown = [PrintProgress(), EarlyStopping(), EarlyStopping(patience=3), Plateau(2, gamma=0.1)]
    assert [repr(one) for one in shown] == [
        "PrintProgress()",
        "EarlyStopping()",
        "EarlyStopping(patience=3)",
        "Plateau(patience=2, gamma=0.1)",
    ]
    assert repr(Checkpoint(tmp_path, keep=2)) == f"Checkpoint(directory={tmp_path!r}, keep=2)"
