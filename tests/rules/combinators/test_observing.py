"""Probes: what they are shown through combinators, and that showing changes no bit."""

import numpy as np
import pytest
from cells import CELLS, B, H, T, arguments, run

from minirnn import rules
from minirnn.rules.combinators import Record, checkpoint, observe, projected, ragged, reverse, scan, truncate

every_cell = pytest.mark.parametrize("name", CELLS)
COMBINED = {
    "itself": lambda rule: rule,
    "in windows": lambda rule: truncate(rule, 2, 6),
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
@pytest.mark.parametrize("how", ["run again", "reversed"])
def test_a_step_is_shown_under_its_own_number(name, how):
    cell = CELLS[name]
    inputs = arguments(cell)
    rule = COMBINED[how](cell.rule)
    record = Record()
    outputs, pullback = observe(rule, record)(*inputs)
    np.testing.assert_array_equal(record["h"], outputs[0])
    dys = [np.random.default_rng(2).normal(size=y.shape) for y in outputs]
    da_xs = pullback(*dys)[0]
    parts = [record[key] for key in record.names if key.startswith("da")]
    assert sum(part.size for part in parts) == da_xs.size
    order = {"da_i": 0, "da_f": 1, "da_g": 2, "da_o": 3, "da_r": 0, "da_z": 1, "da_n": 2, "da": 0}
    for key in record.names:
        if key.startswith("da"):
            block = da_xs[:, order[key] * H : (order[key] + 1) * H]
            np.testing.assert_array_equal(record[key], block)


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


def test_what_takes_no_probe_is_refused():
    with pytest.raises(TypeError, match=r"scan\(lstm_step\) takes no probe: only the sequence rules rnn, lstm, gru"):
        observe(scan(rules.lstm_step), Record())


def test_a_record_says_what_it_has():
    record = Record()
    with pytest.raises(KeyError, match="nothing named 'dh' was recorded; there is nothing"):
        record["dh"]
    record("c", 0, np.zeros(2))
    with pytest.raises(KeyError, match="nothing named 'dh' was recorded; there is c"):
        record["dh"]
