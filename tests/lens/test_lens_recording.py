"""A recording: the gradients and the numbers of the model's own pass, and a model that does not notice."""

import numpy as np
import pytest
from recorded import CELLS, B, D, H, T, asking, char_lm, close, layer_of, numbers, own_gradients, recorded, tagger, text

from minirnn import lens, no_grad
from minirnn.arrays import asarray, to_numpy
from minirnn.nn import LSTM, Linear, Module
from minirnn.rules.combinators import Record, checkpoint

every_cell = pytest.mark.parametrize("cell", CELLS)
BIG = {"layers": 2, "bidirectional": True}


def test_one_recording_many_instruments(tmp_path):
    lm, (inputs, targets) = char_lm(), text()
    recording = lens.record(lm.loss, inputs, targets)
    for instrument in (lens.flow, lens.lags, lens.jacobian, lens.gates, lens.truncation):
        seen = instrument(recording)
        assert str(seen).startswith("LSTM: ")
        assert seen.to_dict()["instrument"] == instrument.__name__
    pytest.importorskip("matplotlib")
    lens.plot(lens.flow(recording), tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 10_000


@every_cell
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_gradients_are_those_of_the_layer_itself(backend, cell, lengths):
    layer = layer_of(cell, **BIG)
    recording = recorded(layer, lengths)
    loss = asking(layer(asarray(numbers(T, B, D)), lengths=lengths)[0])
    assert recording.loss == pytest.approx(loss.item(), rel=1e-13)
    for name, gradient in own_gradients(layer, loss).items():
        close(recording.gradients[name], gradient, 1e-13)
    assert (recording.steps, recording.columns) == (T, B)
    assert list(recording.places) == ["l0", "l0_reverse", "l1", "l1_reverse"]


@every_cell
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_what_it_keeps_is_what_a_probe_of_the_layer_is_shown(cell, lengths):
    layer, seen = layer_of(cell, **BIG), {}
    recording = recorded(layer, lengths)
    probe = lambda place, *shown: seen.setdefault(place, Record())(*shown)  # noqa: E731
    asking(layer(numbers(T, B, D), lengths=lengths, probe=probe)[0]).backward()
    for name, place in recording.places.items():
        assert place.record.names == seen[name].names
        for what in seen[name].names:
            close(place.record[what], seen[name][what])
        hs = np.stack([h for h, *_ in place.walk.states[1:]])
        if lengths is None:
            close(place.in_time(hs), seen[name]["h"])


@pytest.mark.parametrize("options", [{}, {"vocab_size": 50}, {"tie_weights": True}, {"cell": "gru"}, {"cell": "rnn"}])
def test_gradients_are_those_of_the_language_model(options):
    lm, (inputs, targets) = char_lm(**options), text(size=options.get("vocab_size", 7))
    state = lm.loss(inputs, targets)[1]
    recording = lens.record(lm.loss, inputs, targets, state)
    for name, gradient in own_gradients(lm, lm.loss(inputs, targets, state)[0]).items():
        close(recording.gradients[name], gradient, 1e-13)


def test_gradients_are_those_of_the_tagger():
    model, (words, _), lengths = tagger(), text(), [2, 6, 4]
    recording = lens.record(model.loss, (words, lengths), words % 3)
    for name, gradient in own_gradients(model, model.loss((words, lengths), words % 3)[0]).items():
        close(recording.gradients[name], gradient, 1e-13)


def test_batch_first_and_float32():
    layer = layer_of("gru", **BIG, batch_first=True)
    for name, gradient in own_gradients(layer, asking(layer(numbers(B, T, D))[0])).items():
        close(recorded(layer).gradients[name], gradient, 1e-13)
    layer = layer_of("gru", dtype="float32")
    recording = lens.record(layer, numbers(T, B, D).astype("float32"), loss=lambda out: out.sum())
    assert recording.gradients["weight_hh_l0"].dtype == np.float32


def test_the_model_does_not_notice():
    lm, (inputs, targets) = char_lm(dropout=0.5), text()
    before = lm.state_dict()
    recording = lens.record(lm.loss, inputs, targets)
    assert all(np.array_equal(before[name], now) for name, now in lm.state_dict().items())
    assert all(p.grad is None for p in lm.parameters()) and lm.draws == lm.rnn.draws == 0
    for name, gradient in own_gradients(lm, lm.loss(inputs, targets)[0]).items():
        close(recording.gradients[name], gradient, 1e-13)  # the same dropout masks too


def test_training_on_changes_nothing_in_it():
    lm, (inputs, targets) = char_lm(), text()
    recording = lens.record(lm.loss, inputs, targets)
    before = str(lens.lags(recording)), str(lens.truncation(recording)), str(lens.jacobian(recording))
    with no_grad():
        for p in lm.parameters():
            p *= 1.5
    assert before == (str(lens.lags(recording)), str(lens.truncation(recording)), str(lens.jacobian(recording)))


class Last(Module):
    """Asks of the final states only."""

    def __init__(self, calls=1):
        self.rnn, self.calls = layer_of("lstm", **BIG), calls

    def forward(self, x):
        state = None
        for _ in range(self.calls):
            _, state = self.rnn(x, state)
        return asking(state[0]) + asking(state[1])


def test_a_loss_may_ask_of_the_final_states():
    model = Last()
    recording = lens.record(model, numbers(T, B, D))
    for name, gradient in own_gradients(model, model(numbers(T, B, D))).items():
        close(recording.gradients[name], gradient, 1e-13)


class Two(Module):
    def __init__(self):
        self.first, self.second = layer_of("gru"), layer_of("gru")


class Idle(Module):
    def __init__(self):
        self.rnn, self.linear = layer_of("gru"), Linear(D, 1, dtype="float64")

    def forward(self, x):
        return self.linear(x).sum()


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (lambda x: x, {}, TypeError, r"record needs a module, or a method of one such as lm\.loss, got <function"),
        (Linear(D, H), {}, ValueError, r"one recurrent stack \(nn.RNN, nn.LSTM, nn.GRU\), got none"),
        (Two(), {}, ValueError, "one recurrent stack .*, got first, second"),
        (Idle(), {}, ValueError, "the model must call its GRU once to be recorded, and did not call it"),
        (Last(calls=2), {}, ValueError, "the model must call its LSTM once to be recorded, and called it again"),
        (layer_of("gru"), {}, ValueError, r"a loss, a tensor of one number, got shape \(6, 3, 4\); loss= makes one"),
        (layer_of("gru"), {"loss": lambda out: 3.0}, ValueError, "a loss, a tensor of one number, got float"),
        (layer_of("gru"), {"loss": lambda out: out.detach().sum()}, ValueError, "the loss has no history"),
        (layer_of("gru", zoneout=0.1), {"loss": asking}, ValueError, "zoneout must be 0 and layer_norm False in a rec"),
        (
            layer_of("gru", layer_norm=True),
            {"loss": asking},
            ValueError,
            "zoneout must be 0 and layer_norm False in a rec",
        ),
        (
            layer_of("gru", through_time=lambda rule: checkpoint(rule, 2)),
            {"loss": asking},
            ValueError,
            "through_time must be None in a recording",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused(function, options, error, message):
    with pytest.raises(error, match=message):
        lens.record(function, numbers(T, B, D), **options)


def test_a_loss_that_passes_by_the_stack_is_refused():
    idle = Idle()
    with pytest.raises(ValueError, match="does not depend on the outputs of the GRU: nothing flows back"):
        lens.record(idle.rnn, numbers(T, B, D), loss=lambda out: idle.linear(numbers(1, D)).sum())


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_specimens_have_the_radius_they_were_asked_for_and_ask_at_the_end_with_norm_one(cell):
    recording = lens.specimen(cell, hidden=6, seq_len=9, radius=0.7, seed=2)
    place = recording.places["l0"]
    for block in place.blocks().values():
        assert np.abs(np.linalg.eigvals(block)).max() == pytest.approx(0.7)
    assert np.linalg.norm(place.record["dh"][-1]) == pytest.approx(1)
    assert not to_numpy(place.walk.asked[0])[:-1].any()
    assert recording.loss == lens.specimen(cell, hidden=6, seq_len=9, radius=0.7, seed=2).loss
    assert recording.loss != lens.specimen(cell, hidden=6, seq_len=9, radius=0.7, seed=3).loss


def test_an_lstm_specimen_begins_by_remembering():
    means = {bias: lens.specimen("lstm", forget_bias=bias).places["l0"].record["f"].mean() for bias in (0.0, 1.0)}
    assert means[0.0] < 0.55 and means[1.0] > 0.65
    assert lens.specimen("lstm").places["l0"].record["f"].mean() == means[1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "elman"}, "cell must be one of rnn, lstm, gru, got 'elman'"),
        ({"hidden": 0}, "hidden must be a positive integer, got 0"),
        ({"seq_len": 2.5}, "seq_len must be a positive integer, got 2.5"),
        ({"radius": -1}, "radius must be a positive number, got -1"),
    ],
)
def test_impossible_specimens_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lens.specimen(**options)


def test_a_layer_beside_another_shares_its_parameters():
    layer = LSTM(D, H, seed=1)
    other = layer.running_through_time(lambda rule: checkpoint(rule, 2))
    assert other.weight_hh_l0 is layer.weight_hh_l0 and layer.through_time is None
    out, _ = other(numbers(T, B, D).astype("float32"))
    assert "checkpoint(in_runs(ragged(projected(lstm))))" in out.to_dot()
