"""A probe of a stack: every layer and direction under its own place, right numbers, and not a bit changed by it."""

from collections import defaultdict
from inspect import signature

import numpy as np
import pytest
from recurrent_cases import CELLS, assert_equal, layer_of, numbers, parts, played, state_for

from minirnn import ops
from minirnn.arrays import asarray, to_numpy
from minirnn.nn import GRUCell, LSTMCell, RNNCell
from minirnn.rules.combinators import Record, checkpoint, observe, truncate
from minirnn.tape import Tensor, rule_of

every_cell = pytest.mark.parametrize("cell", CELLS)
BIG = {"layers": 2, "bidirectional": True}
PLACES = ["l0", "l0_reverse", "l1", "l1_reverse"]
NAMES = {"rnn": ["da", "dh", "h"], "gru": ["da_n", "da_r", "da_z", "dh", "h", "n", "r", "z"]}
NAMES["lstm"] = ["c", "da_f", "da_g", "da_i", "da_o", "dc", "dh", "f", "g", "h", "i", "o"]


def recording():
    """Records by place, and a probe that fills them."""
    records = defaultdict(Record)
    return records, lambda place, name, t, array: records[place](name, t, array)


class Observed:
    """A layer that is always called with the same probe."""

    def __init__(self, layer, probe):
        self.layer, self.probe = layer, probe

    def __getattr__(self, name):
        return getattr(self.layer, name)

    def __call__(self, x, state=None, lengths=None):
        return self.layer(x, state, lengths, probe=self.probe)


@every_cell
def test_recording_changes_no_bit_and_keeps_the_places_apart(backend, cell):
    layer, x, (records, probe) = layer_of(cell, **BIG), numbers(5, 2, 3), recording()
    state = state_for(layer, 2)
    plain = played(layer, x, state)
    assert_equal(played(Observed(layer, probe), x, state), plain, tolerance=0)
    assert sorted(records) == PLACES
    assert all(record.names == NAMES[cell.split()[0]] for record in records.values())
    top = np.concatenate([to_numpy(records[place]["h"]) for place in PLACES[2:]], axis=1)
    assert np.array_equal(top.transpose(0, 2, 1), plain["out"])
    assert len({to_numpy(record["dh"]).tobytes() for record in records.values()}) == 4


@every_cell
def test_columns_that_ended_are_shown_as_zeros(backend, cell):
    layer, x, (records, probe) = layer_of(cell, layers=2), numbers(5, 3, 3), recording()
    found = played(Observed(layer, probe), x, None, [5, 2, 3])
    assert np.array_equal(to_numpy(records["l1"]["h"]).transpose(0, 2, 1), found["out"])
    assert not to_numpy(records["l0"]["dh"])[2:, :, 1].any() and to_numpy(records["l0"]["dh"])[:2, :, 1].all()


def by_cells(layer, x, place, nudged, by):
    """Outputs of a layer, cell by cell, with ``by (B, H)`` added to h of step ``nudged`` at ``place``."""
    weights, made = layer.state_dict(), {"nonlinearity", "reset_after"} & vars(layer).keys()
    cls = {"RNN": RNNCell, "LSTM": LSTMCell, "GRU": GRUCell}[type(layer).__name__]
    steps = [Tensor(x_t) for x_t in x]
    for k in range(layer.num_layers):
        sides = []
        for at in layer._suffixes(k):
            cell = cls(steps[0].shape[1], 4, dtype="float64", **{name: getattr(layer, name) for name in made})
            own = {name.removesuffix(f"_{at}"): value for name, value in weights.items() if name.endswith(f"_{at}")}
            cell.load_state_dict(own)
            state, outputs = None, {}
            for t in sorted(range(len(x)), reverse=at.endswith("_reverse")):
                h, *c = parts(cell(steps[t], state))
                h = h + by if (at, t) == (place, nudged) else h
                state, outputs[t] = (h, *c) if c else h, h
            sides.append(outputs)
        steps = [ops.concat(*(outputs[t] for outputs in sides), axis=1) for t in range(len(x))]
    return ops.stack(*steps)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru reset before"])
def test_dh_is_the_gradient_by_a_perturbation_of_h(cell, place):
    """All that is asked of h: by the outputs, the next step, and the layer above; derivatives are by a complex step."""
    layer, x, (records, probe) = layer_of(cell, **BIG), numbers(4, 2, 3), recording()
    out, _ = layer(x, probe=probe)
    cotangent = numbers(*out.shape, seed=1)
    out.backward(asarray(cotangent))
    for t in range(4):
        direction = numbers(2, 4, seed=t)
        nudged, _ = rule_of(lambda by, t=t: by_cells(layer, x, place, t, by))(asarray(1e-30j * direction))
        nudged = to_numpy(nudged)
        expected = (cotangent * nudged.imag / 1e-30).sum()
        assert np.allclose(nudged.real, out.numpy(), rtol=1e-12)
        assert np.isclose((records[place]["dh"][t].T * direction).sum(), expected, rtol=1e-11)


@every_cell
@pytest.mark.parametrize("how", [lambda rule: truncate(rule, 2), lambda rule: checkpoint(rule, 2)])
def test_steps_keep_their_numbers_in_windows(cell, how):
    layer, x, (records, probe) = layer_of(cell, **BIG, through_time=how), numbers(5, 2, 3), recording()
    found = played(Observed(layer, probe), x)
    top = np.concatenate([records[place]["h"] for place in PLACES[2:]], axis=1)
    assert np.array_equal(top.transpose(0, 2, 1), found["out"])
    assert {record["dh"].shape for record in records.values()} == {(5, layer._sizes["h"], 2)}


def test_steps_over_tokens_are_shown_alike():
    layer, embeddings, (records, probe) = layer_of("gru", **BIG), numbers(4, 3), recording()
    ids = np.array([[1, 3], [0, 0], [2, 1], [3, 2], [1, 1]])
    again, probe_of_run = recording()
    played(Observed(layer, probe), embeddings[ids])
    layer.run(layer.project(Tensor(embeddings.T)), ids, probe=probe_of_run)
    assert sorted(again) == PLACES and again["l0"].names == ["h", "n", "r", "z"]
    for place in PLACES:
        assert np.allclose(again[place]["h"], records[place]["h"], rtol=1e-12)


def test_the_probe_of_a_call_comes_before_one_that_is_bound():
    bound, (records, probe) = Record(), recording()
    layer = layer_of("rnn", through_time=lambda rule: observe(rule, bound))
    layer(numbers(3, 2, 3), probe=probe)
    assert bound.names == [] and records["l0"].names == ["h"]


@pytest.mark.parametrize("options", [{"zoneout": 0.5}, {"layer_norm": True}], ids=str)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_layers_that_go_step_by_step_show_states_and_their_gradients(cell, options):
    layer, (records, probe) = layer_of(cell, **options), recording()
    out, _ = layer(numbers(3, 2, 3), probe=probe)
    asked = numbers(*out.shape, seed=1)
    out.backward(asked)
    record = records["l0"]
    assert np.array_equal(record["h"].transpose(0, 2, 1), out.numpy())
    assert np.array_equal(record["dh"][-1].T, asked[-1]) and record["dh"].shape == record["h"].shape
    assert ("dc" in record.names) == (cell == "lstm")


def test_a_rule_that_takes_no_probe_refuses_one():
    def deaf(rule):
        def without_probe(*arguments, **static):
            return rule(*arguments, **static)

        kept = [p for p in signature(rule).parameters.values() if p.name != "probe"]
        without_probe.__signature__ = signature(rule).replace(parameters=kept)
        return without_probe

    layer = layer_of("gru", through_time=deaf)
    with pytest.raises(ValueError, match=r"probe must be None for shard\(without_probe.*, which takes none"):
        layer(numbers(3, 2, 3), probe=print)
    assert layer.draws == 0  # the random stream stays where it was


def test_what_is_no_probe_is_refused():
    with pytest.raises(TypeError, match=r"probe must be None or a function of \(place, name, t, array\), got 'dh'"):
        layer_of("gru")(numbers(3, 2, 3), probe="dh")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("shown", ["h", "dh"])
def test_what_a_probe_raises_is_its_own(cell, shown):
    def slip(place, name, t, array):
        return 1 / (name != shown)

    with pytest.raises(ZeroDivisionError) as raised:
        played(Observed(layer_of(cell), slip), numbers(3, 2, 3))
    assert raised.value.__notes__ == [
        f"that was in the probe, which was shown {shown!r} of step {0 if shown == 'h' else 2}"
    ]
