"""Lags: the parts add up to the gradient, each is where it belongs, and closed forms."""

import numpy as np
import pytest
from recorded import (
    CELLS,
    Scalar,
    T,
    asking,
    char_lm,
    close,
    dead,
    layer_of,
    numbers,
    own_gradients,
    recorded,
    said,
    tagger,
    text,
)

from minirnn import lens, nn
from minirnn.arrays import asarray


def by_parameter(name, weight, place, gradients):
    """The gradient of a rule's weight among those of the layer's parameters."""
    stack = next((key.removesuffix("weight_hh_l0") for key in gradients if key.endswith("weight_hh_l0")), "")
    kinds = {"W_ih": "weight_ih", "W_hh": "weight_hh", "W_hr": "weight_hr", "b": "bias_ih", "peepholes": "peepholes"}
    if weight == "b_hn":
        bias = gradients[f"{stack}bias_hh_{place}"]
        return bias[2 * len(bias) // 3 :]
    return gradients[f"{stack}{kinds[weight]}_{place}"]


def check_law(recording):
    seen = lens.lags(recording)
    assert list(seen.places) == list(recording.places)
    for place, weights in seen.places.items():
        assert {"W_ih", "W_hh"} <= set(weights)
        for weight, of in weights.items():
            close(of.total, by_parameter(place, weight, place, recording.gradients), 1e-12)
            assert of.shares.sum() == pytest.approx(1, abs=1e-12)
            whole = np.linalg.norm(of.total)
            assert (np.abs(of.shares) <= of.norms / whole + 1e-12).all()
    return seen


@pytest.mark.parametrize("cell", CELLS)
def test_the_parts_add_up_to_the_gradient(backend, cell):
    seen = check_law(recorded(layer_of(cell, layers=2, bidirectional=True)))
    for weights in seen.places.values():
        for of in weights.values():
            assert of.norms.shape == (len(of.gates), T, T)


def test_the_parts_add_up_in_a_language_model_with_residual_connections():
    lm, (inputs, targets) = char_lm(), text()
    lm.rnn = nn.LSTM(4, 4, 3, residual=True, dtype="float64", seed=2)
    check_law(lens.record(lm.loss, inputs, targets))


def test_the_parts_add_up_for_sequences_of_different_lengths():
    model, (words, _) = tagger(bidirectional=False), text()
    check_law(lens.record(model.loss, (words, [2, 6, 4]), words % 3))
    both = tagger()
    recording = lens.record(both.loss, (words, [2, 6, 4]), words % 3)
    with pytest.raises(ValueError, match="lags of a layer that reads from the end need sequences of one length"):
        lens.lags(recording)
    check_law(lens.record(both.loss, words, words % 3))


class OfOutputsAndFinalStates(nn.Module):
    def __init__(self):
        self.rnn = layer_of("lstm", layers=2)

    def forward(self, x):
        out, (h_n, c_n) = self.rnn(x)
        return (out[:3] ** 2).sum() + asking(h_n) + asking(c_n)


def test_what_is_asked_of_final_states_counts_as_asked_at_the_last_step():
    seen = check_law(lens.record(OfOutputsAndFinalStates(), numbers(T, 3, 3)))
    for weights in seen.places.values():
        asked = weights["W_hh"].norms.any(axis=(0, 2))
        assert asked.tolist() == [False, True, True, False, False, True]  # the first step starts from the zero state


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_what_one_loss_teaches_is_the_gradient_of_that_loss_alone(cell):
    """Rows by another way: the layer's own backward pass of the loss of one step."""
    layer, question = layer_of(cell, layers=2), numbers(T, 3, 4, seed=5)
    seen = lens.lags(recorded(layer))
    for t in range(T):
        out, _ = layer(numbers(T, 3, 3))
        alone = own_gradients(layer, (out[t] * asarray(question[t])).sum())
        for place, weights in seen.places.items():
            of = weights["W_hh"]
            gradient, whole = alone[f"weight_hh_{place}"], of.total
            expected = (gradient * whole).sum() / (whole * whole).sum()
            assert of.shares[:, t].sum() == pytest.approx(expected, abs=1e-12)
            assert not of.norms[:, t, t + 1 :].any()  # no loss teaches steps that come after it


def test_a_layer_that_reads_from_the_end_is_taught_by_losses_before():
    of = lens.lags(recorded(layer_of("gru", bidirectional=True))).places["l0_reverse"]["W_hh"]
    t, s = np.indices((T, T))
    assert not of.norms[:, s < t].any() and of.norms[:, (s > t) & (s < T - 1)].all()
    assert not of.norms[:, :, T - 1].any()  # the last step starts from the zero state


@pytest.mark.parametrize("w", [0.5, 1.2])
def test_of_a_scalar_linear_network_each_part_is_known(w):
    scalar = Scalar(w, 15)
    of = lens.lags(scalar.recording).places["l0"]["W_hh"]
    parts = scalar.parts()
    close(of.shares[0] * of.total[0, 0], parts)
    close(of.norms[0], np.abs(parts))
    close(of.total[0, 0], parts.sum())
    lag = np.arange(-14, 15)
    close(of.by_lag() * of.total[0, 0], [np.trace(parts, -k) for k in lag])


def test_it_says_how_far_the_loss_teaches():
    scalar = Scalar(0.5, 40, at_end=True)  # the parts fall by half with each step
    sums = np.cumsum(scalar.parts()[-1][::-1]) / scalar.parts().sum()
    reach = int(np.flatnonzero(np.abs(sums - 1) > 0.1)[-1]) + 1
    assert f"W_hh: {sums[0]:.0%} of the gradient comes" in said(lens.lags(scalar.recording))
    assert f"with lags up to {reach} one has it" in said(lens.lags(scalar.recording))
    assert "l0 W_hh: its gradient is zero" in said(lens.lags(dead()))
