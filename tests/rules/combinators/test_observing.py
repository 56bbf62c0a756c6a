"""Probes: what they are shown through combinators, and that showing changes no bit."""

from functools import partial

import numpy as np
import pytest
from cells import CELLS, B, H, T, arguments, cotangents, run

from minirnn import rules
from minirnn.arrays import to_numpy, xp_of
from minirnn.rules.combinators import Record, checkpoint, observe, projected, ragged, reverse, scan, truncate

ORDER = ("da", "da_i", "da_f", "da_g", "da_o", "da_r", "da_z", "da_n")
every_cell = pytest.mark.parametrize("name", CELLS)
COMBINED = {
    "itself": lambda rule: rule,
    "in windows": lambda rule: truncate(rule, 4),
    "run again": lambda rule: checkpoint(rule, 4),
    "reversed": reverse,
}


@every_cell
@pytest.mark.parametrize("how", COMBINED)
def test_recording_changes_no_bit(backend, name, how):
    cell = CELLS[name]
    inputs = arguments(cell)
    rule = COMBINED[how](cell.rule)
    record = Record()
    for x, y in zip(run(observe(rule, record), inputs), run(rule, inputs), strict=True):
        assert x is y is None or (x == y).all()
    assert record["dh"].shape == record["h"].shape == (T, H, B)


@every_cell
@pytest.mark.parametrize("how", COMBINED)
def test_a_step_is_shown_under_its_own_number(name, how):
    cell = CELLS[name]
    inputs = arguments(cell)
    rule = COMBINED[how](cell.rule)
    record = Record()
    outputs, pullback = observe(rule, record)(*inputs)
    np.testing.assert_array_equal(record["h"], outputs[0])
    dys = [np.random.default_rng(2).normal(size=y.shape) for y in outputs]
    da_xs = pullback(*dys)[0]
    shown = [record[key] for key in ORDER if key in record.names]
    np.testing.assert_array_equal(np.concatenate(shown, axis=1), da_xs)


@every_cell
def test_columns_that_ended_are_shown_as_zeros(name):
    cell, lengths = CELLS[name], [2, 6, 3, 6]
    inputs = arguments(cell)
    record = Record()
    outputs, pullback = observe(ragged(cell.rule), record)(*inputs, lengths=lengths)
    pullback(*(np.ones_like(y) for y in outputs))
    np.testing.assert_array_equal(record["h"], outputs[0])
    for b, n in enumerate(lengths):
        assert not record["dh"][n:, :, b].any() and record["dh"][:n, :, b].all()


@every_cell
@pytest.mark.parametrize("lengths", [[T] * B, [2, 6, 3, 6], [1, 2, 3, 4]])
def test_reversed_sequences_of_any_length_are_shown_where_they_stand(backend, name, lengths):
    cell = CELLS[name]
    record = Record()
    outputs, pullback = observe(reverse(ragged(cell.rule)), record)(*arguments(cell), lengths=lengths)
    gradients = pullback(*(xp_of(y).ones_like(y) for y in outputs))
    np.testing.assert_array_equal(to_numpy(record["h"]), to_numpy(outputs[0]))
    parts = [to_numpy(record[key]) for key in ORDER if key in record.names]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), to_numpy(gradients[0]))


def test_where_a_step_has_several_gradients_none_is_shown():
    cell = CELLS["rnn"]
    with pytest.raises(ValueError, match="truncate takes no probe with back > window"):
        observe(truncate(cell.rule, 2, 4), Record())(*arguments(cell))


def test_the_last_dh_is_what_was_asked_of_h_T():
    cell = CELLS["gru"]
    record = Record()
    outputs, pullback = observe(projected(cell.rule), record)(np.ones((T, 2, B)), *gru_rest())
    dys = [np.random.default_rng(3).normal(size=y.shape) for y in outputs]
    pullback(*dys)
    np.testing.assert_array_equal(record["dh"][-1], dys[0][-1] + dys[1])


def gru_rest():
    random = np.random.default_rng(4)
    return [random.normal(size=shape) for shape in ((H, B), (3 * H, 2), (3 * H,), (3 * H, H), (H,))]


@pytest.mark.parametrize("rule", [rules.lstm_step, partial(rules.lstm_step)], ids=["itself", "partial"])
def test_what_takes_no_probe_is_refused(rule):
    with pytest.raises(TypeError, match="lstm_step takes no probe: the sequence rules rnn, lstm, gru, scan"):
        observe(rule, Record())


@every_cell
def test_a_scan_shows_the_states_of_any_cell_and_what_is_asked_of_them(name):
    cell = CELLS[name]
    found = {}
    for rule in (cell.rule, scan(cell.step)):
        found[rule] = Record()
        outputs, pullback = observe(rule, found[rule])(*arguments(cell))
        pullback(*cotangents(outputs))
    whole, steps = found.values()
    assert steps.names == sorted({"h", "dh", "c", "dc", "da"} if cell.states == 2 else {"h", "dh", "da"})
    parts = [whole[key] for key in ORDER if key in whole.names]
    np.testing.assert_allclose(steps["da"], np.concatenate(parts, axis=1), rtol=1e-12)
    for shown in ("h", "dh", "c")[: 1 + cell.states]:
        np.testing.assert_allclose(steps[shown], whole[shown], rtol=1e-12)
    if name == "lstm":  # which shows with dc what h_t asks of c_t, too
        through_h = whole["dh"] * whole["o"] * (1 - np.tanh(whole["c"]) ** 2)
        np.testing.assert_allclose(steps["dc"], whole["dc"] - through_h, rtol=1e-9)


def test_a_record_holds_one_pass():
    cell, record = CELLS["gru"], Record()
    for length in (T, 3):
        outputs, pullback = observe(cell.rule, record)(*arguments(cell, T=length))
        pullback(*outputs)
        assert record["h"].shape[0] == record["dh"].shape[0] == length


def test_a_record_says_what_it_has():
    record = Record()
    with pytest.raises(KeyError, match="nothing named 'dh' was recorded; there is nothing"):
        record["dh"]
    record("c", 0, np.zeros(2))
    with pytest.raises(KeyError, match="nothing named 'dh' was recorded; there is c"):
        record["dh"]


def scribble(name, t, array):
    array.fill(0)


@every_cell
@pytest.mark.parametrize("how", [*COMBINED, "scanned"])
def test_a_probe_cannot_change_what_it_is_shown(name, how):
    cell = CELLS[name]
    rule = scan(cell.step) if how == "scanned" else COMBINED[how](cell.rule)

    def shown(name, t, array):
        assert not array.flags.writeable
        seen.add(name)

    seen = set()
    run(observe(rule, shown), arguments(cell))
    assert {"h", "dh"} <= seen
    with pytest.raises(ValueError, match="read-only"):
        run(observe(rule, scribble), arguments(cell))
