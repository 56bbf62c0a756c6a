"""Gradient flow: closed forms, the gradients themselves, and a bound that holds."""

import numpy as np
import pytest
from recorded import Scalar, asking, char_lm, close, dead, layer_of, numbers, recorded, said, tagger, text

from minirnn import lens
from minirnn.nn import Module

NO_STEP = "(it is asked for at many steps"


@pytest.mark.parametrize("w", [0.5, 1.0, 1.3])
@pytest.mark.parametrize("at_end", [True, False])
def test_of_a_scalar_linear_network_it_is_a_sum_of_powers(w, at_end):
    scalar = Scalar(w, 20, at_end)
    at = lens.flow(scalar.recording).places["l0"]
    t, k = np.indices((20, 20))
    powers = np.where(k >= t, w ** np.maximum(k - t, 0), 0)
    close(at.norms["h"], np.abs(powers @ scalar.q))
    close(at.direct, np.abs(scalar.q))
    close(at.bound, powers @ np.abs(scalar.q))
    close(at.pace, powers @ np.abs(scalar.q))
    assert at.radius["a"] == at.sigma["a"] == pytest.approx(w)
    if at_end:
        close(at.norms["h"], w ** np.arange(19.0, -1, -1))


@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_norms_are_those_of_the_gradients(backend, lengths):
    recording = recorded(layer_of("lstm", layers=2, bidirectional=True), lengths)
    for name, at in lens.flow(recording).places.items():
        assert list(at.norms) == ["h", "c"]
        for state in at.norms:
            gradient = recording.places[name].record[f"d{state}"]
            gradient = gradient if isinstance(gradient, np.ndarray) else gradient.get()
            close(at.norms[state], [np.linalg.norm(step) for step in gradient])
            close(at.units[state], np.linalg.norm(gradient, axis=2))
        assert at.bound is None and at.pace is None and set(at.radius) == set("ifgo")


def test_what_explodes_past_all_bounds_is_still_a_number():
    seen = lens.flow(Scalar(10.0, 250, at_end=True).recording)
    assert seen.places["l0"].norms["h"][0] == pytest.approx(1e249)
    layer = layer_of("rnn", bias=False)
    layer.load_state_dict({"weight_ih_l0": np.ones((4, 3)), "weight_hh_l0": np.diag([100.0, 1, 1, 1])})
    recording = lens.record(layer, numbers(300, 1, 3), loss=asking)
    assert lens.flow(recording).places["l0"].bound[0] == np.inf
    pytest.importorskip("matplotlib")
    for flow in (seen, lens.flow(recording)):
        lens.plot(flow).canvas.draw()


def of_both(out):
    return asking(out) + (out[-1] ** 3).sum()


@pytest.mark.parametrize("cell", ["rnn", "rnn relu"])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
@pytest.mark.parametrize("seed", range(5))
def test_the_bound_holds_and_is_attained_without_slopes(cell, lengths, seed):
    layer = layer_of(cell, layers=2, bidirectional=True, seed=seed)
    for at in lens.flow(recorded(layer, lengths, of_both)).places.values():
        assert (at.norms["h"] <= at.bound * (1 + 1e-12)).all()
        assert (at.pace <= at.bound * (1 + 1e-12)).all()
        start = -1 if not at.reverse else 0
        if lengths is None:
            assert at.norms["h"][start] == pytest.approx(at.bound[start])  # nothing came from anywhere else


class AskOfState(Module):
    """Asks of final states only, of columns that end at different steps."""

    def __init__(self):
        self.layer = layer_of("rnn", bidirectional=True)

    def forward(self, x):
        return asking(self.layer(x, lengths=[6, 2, 4])[1])


def test_what_is_asked_of_final_states_joins_at_the_end_of_each_column():
    places = lens.flow(lens.record(AskOfState(), numbers(6, 3, 3))).places
    for at in places.values():
        assert not at.direct.any()
        assert (at.norms["h"] <= at.bound * (1 + 1e-12)).all()
    asked = numbers(2, 3, 4, seed=5)  # by direction, column and unit
    assert places["l0"].bound[5] == pytest.approx(np.linalg.norm(asked[0, 0]))  # the longest column alone ends there
    assert places["l0_reverse"].bound[0] == pytest.approx(np.linalg.norm(asked[1]))  # here all end together


def dead_but_at_the_end():
    layer = dead()._stack
    return recorded(layer, ask=lambda out: out[-1].sum())


def test_it_says_what_happened():
    assert "it vanishes, a factor of 0.500 each step" in said(lens.flow(Scalar(0.5, 30, at_end=True).recording))
    assert "it explodes, a factor of 2.000 each step" in said(lens.flow(Scalar(2.0, 30, at_end=True).recording))
    assert "it shrinks, a factor of 0.900 each step" in said(lens.flow(Scalar(0.9, 30, at_end=True).recording))
    assert "it grows, a factor of 1.100 each step" in said(lens.flow(Scalar(1.1, 30, at_end=True).recording))
    assert "it keeps its order of size, a factor of 1" in said(lens.flow(Scalar(1.0, 30, at_end=True).recording))
    assert NO_STEP not in said(lens.flow(Scalar(1.0, 30, at_end=True).recording))
    lm = char_lm(cell="gru")
    assert NO_STEP in said(lens.flow(lens.record(lm.loss, *text())))
    early = lens.flow(recorded(layer_of("rnn"), ask=lambda out: out[0].sum()))
    assert early.places["l0"].norms["h"].shape == (6,) and "nothing was asked there" in said(early)
    assert "nothing arrives" in said(lens.flow(dead_but_at_the_end()))


def test_without_square_blocks_there_is_no_radius():
    seen = lens.flow(recorded(layer_of("lstm both")))
    assert seen.places["l0"].radius == {} and "none, its blocks are not square" in said(seen)


def test_reverse_layers_flow_forward_in_time():
    model, (words, _) = tagger(cell="rnn"), text()
    at = lens.flow(lens.record(model.loss, words, words % 3)).places["l1_reverse"]
    assert at.reverse and at.ends("h") == (at.norms["h"][0], at.norms["h"][-1])
