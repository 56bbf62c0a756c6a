"""Gates: shares counted by hand, closed forms, and columns that have ended."""

import numpy as np
import pytest
from recorded import T, dead, layer_of, numbers, recorded, said

from minirnn import lens
from minirnn.arrays import to_numpy


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru reset before"])
def test_shares_are_those_counted_one_by_one(backend, cell):
    recording = recorded(
        layer_of(cell, layers=2, bidirectional=True, init="orthogonal"), [6, 2, 4], lambda out: out.sum()
    )
    for place, found in lens.gates(recording).places.items():
        assert list(found) == {"rnn": ["h"], "lstm": list("ifgo")}.get(cell, list("rzn"))
        for name, of in found.items():
            values, (low, high) = to_numpy(recording.places[place].record[name]), of.limits
            assert (low, high) == ((-0.9, 0.9) if name in "hgn" else (0.1, 0.9))
            for t in range(T):
                columns = values[t, :, [b for b, n in enumerate([6, 2, 4]) if n > t]]
                assert np.allclose(of.low[t], (columns <= low).mean(axis=0))
                assert np.allclose(of.high[t], (columns >= high).mean(axis=0))
                assert np.allclose(of.mean[t], columns.mean(axis=0))


def lstm_of_constant_gates(f=0.5, i=0.5):
    """Gates told by their biases alone."""
    layer = layer_of("lstm")
    weights = {name: np.zeros(p.shape) for name, p in layer.named_parameters()}
    for block, gate in enumerate((i, f)):
        weights["bias_ih_l0"][4 * block : 4 * block + 4] = np.log(gate / (1 - gate))
    layer.load_state_dict(weights)
    return lens.gates(recorded(layer)).places["l0"]


@pytest.mark.parametrize("f", [0.5, 0.95, 0.05])
def test_how_long_a_cell_keeps_half_of_what_is_stored(f):
    found = lstm_of_constant_gates(f)
    assert found["f"].half_life == pytest.approx([np.log(0.5) / np.log(f)] * 4)
    assert found["i"].half_life is found["g"].half_life is None
    assert (found["f"].high == (f > 0.9)).all() and (found["f"].low == (f < 0.1)).all()


def test_half_lives_leave_out_columns_that_have_ended():
    recording = recorded(layer_of("gru"), [6, 2, 4])
    z = recording.places["l0"].record["z"]
    kept = np.concatenate([z[:n, :, b] for b, n in enumerate([6, 2, 4])])
    found = lens.gates(recording).places["l0"]["z"]
    assert np.allclose(found.half_life, np.log(0.5) / np.log(kept).mean(axis=0))


def test_steps_that_no_column_has_are_left_out():
    found = lens.gates(recorded(layer_of("gru"), [3, 2, 1])).places["l0"]["z"]
    assert found.mean.shape == (3, 4) and np.isfinite(found.mean).all()


def test_it_says_how_they_stood():
    layer = layer_of("lstm")
    assert "forget gate f: open (above 0.9)" in said(lens.gates(recorded(layer)))
    assert "candidate g: saturated (beyond 0.9)" in said(lens.gates(recorded(layer)))
    assert "state h: silent 100% of the time" in said(lens.gates(dead()))
    loud = lens.record(layer_of("rnn"), 1e3 * numbers(T, 3, 3), loss=lambda out: out.sum())
    assert "state h: saturated (beyond 0.9) 100% of the time" in said(lens.gates(loud))
    assert "half of what is stored is lost in" in said(lens.gates(lens.specimen("gru")))


def test_a_gate_that_was_shut_keeps_nothing():
    layer = layer_of("lstm", dtype="float32")
    layer.load_state_dict({**layer.state_dict(), "bias_ih_l0": np.full(16, -1e4)})
    found = lens.gates(lens.record(layer, numbers(T, 3, 3).astype("float32"), loss=lambda out: out.sum()))
    assert found.places["l0"]["f"].half_life.tolist() == [0, 0, 0, 0]
