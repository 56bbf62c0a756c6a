"""The laws of recurrence hold for every cell and variant on every backend, and each finds who breaks it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import rules
from minirnn.arrays import BackendError, asarray
from minirnn.rules.combinators import projected, scan
from minirnn.rules.rtrl import rtrl
from minirnn.testing import backends, check_sequence_laws, is_a_chain_of_steps, on_backend, sequence_laws
from minirnn.testing import strategies as some
from minirnn.testing.example_inputs import example_inputs


@given(cell=some.cells(), backend=some.backend_names(), seed=st.integers(0, 99))
def test_every_cell_keeps_them(speed, cell, backend, seed):
    with on_backend(backend):
        inputs = [None if x is None else asarray(x) for x in cell.inputs]
        check_sequence_laws(cell.rule, inputs, cell.static, seed=seed)


@given(cell=some.cells(T=(1, 6), B=(1, 3), H=(1, 4)), dtype=some.dtypes(), seed=st.integers(0, 99))
def test_every_cell_is_a_chain_of_its_steps(speed, cell, dtype, seed):
    inputs = [None if x is None else x.astype(dtype) for x in cell.inputs]
    is_a_chain_of_steps(cell.rule, cell.step, inputs, cell.static, seed=seed)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_what_is_made_of_rules_keeps_them_too(speed, name):
    inputs, static = example_inputs(name)
    rule, step = getattr(rules, name), getattr(rules, f"{name}_step")
    check_sequence_laws(scan(step), inputs, static)
    check_sequence_laws(rtrl(rule), inputs, static)
    states = 2 if name == "lstm" else 1
    random = np.random.default_rng(0)
    W_ih, b = random.normal(size=(inputs[0].shape[1], 2)), random.normal(size=inputs[0].shape[1])
    xs, first, weights = random.normal(size=(4, 2, 3)), inputs[1 : 1 + states], inputs[1 + states :]
    check_sequence_laws(projected(rule), (xs, *first, W_ih, b, *weights), static)


def running_mean(xs, h_0, *, fault=""):
    """``h_t = (h_{t-1} + x_t) / 2``, with faults of forward and backward alike, unseen by a gradient check."""
    T, B = len(xs), xs.shape[-1]
    mix = np.eye(B)
    if fault == "columns leak":
        mix = mix + 0.1 * np.eye(B, k=1)
    ahead = 1 if fault == "looks ahead" else 0
    weights = [0.5 / (1 + t) if fault == "counts its steps" else 0.5 for t in range(T)]
    hs = [h_0]
    for t in range(T):
        hs.append(weights[t] * (hs[-1] + xs[min(t + ahead, T - 1)]) @ mix)
    if fault == "ends early":
        hs[-1] = hs[-2]

    def running_mean_pullback(dys, dh):
        dxs, d = np.zeros_like(xs), dh
        for t in reversed(range(T)):
            if fault == "ends early" and t == T - 1:
                d = d + dys[t]
                continue
            d = weights[t] * (d + dys[t]) @ mix.T
            dxs[min(t + ahead, T - 1)] += d
        return dxs, d

    return (np.stack(hs[1:]) if T else np.zeros((0, *h_0.shape)), hs[-1]), running_mean_pullback


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("", None),
        ("looks ahead", "causal"),
        ("counts its steps", "can_be_split"),
        ("columns leak", "columns_are_independent"),
        ("ends early", "can_be_split"),
    ],
)
def test_who_breaks_a_law_is_found(fault, law):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(5, 2, 3)), random.normal(size=(2, 3))

    def rule(xs, h_0):
        return running_mean(xs, h_0, fault=fault)

    if law is None:
        check_sequence_laws(rule, inputs)
    else:
        with pytest.raises(AssertionError, match=f"law {law}, rule rule"):
            check_sequence_laws(rule, inputs)


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("counts its steps", "padding_is_nothing"),
        ("counts its steps", "windows_change_nothing"),
        ("columns leak", "workers_change_nothing"),
    ],
)
def test_the_later_laws_find_it_by_themselves(fault, law):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(5, 2, 3)), random.normal(size=(2, 3))

    def rule(xs, h_0):
        return running_mean(xs, h_0, fault=fault)

    with pytest.raises(AssertionError, match=f"law {law}"):
        getattr(sequence_laws, law)(rule, inputs)


def test_who_does_not_compute_the_same_twice_is_found():
    """As if threads got in each other's way."""
    inputs, calls = example_inputs("rnn")[0], iter(range(100))

    def rule(a_xs, h_0, W_hh):
        return rules.rnn(a_xs + 1e-15 * next(calls), h_0, W_hh)

    with pytest.raises(AssertionError, match=r"law workers_change_nothing, .*: the same workers give other bits"):
        sequence_laws.workers_change_nothing(rule, inputs)


def test_where_there_can_be_no_workers_nothing_is_asked(monkeypatch):
    def refuse(number):
        raise BackendError("workers need a BLAS of one thread each")

    monkeypatch.setattr(sequence_laws, "use_workers", refuse)
    sequence_laws.workers_change_nothing(rules.gru, example_inputs("gru")[0])


def test_a_sequence_that_is_no_chain_of_its_steps_is_found():
    inputs, static = example_inputs("gru")

    def other_step(a, h_prev, W_hh, b_hn):
        return rules.gru_step(a, h_prev, W_hh.T.reshape(W_hh.shape), b_hn)

    with pytest.raises(AssertionError, match="law is_a_chain_of_steps, rule gru: output 0 is not that of a chain"):
        is_a_chain_of_steps(rules.gru, other_step, inputs, static)


@given(batch=some.ragged_batches())
def test_ragged_batches_have_numbers_before_an_end_and_none_after(batch):
    x, ends = batch
    for b, end in enumerate(ends):
        assert np.isfinite(x[:end, b]).all() and np.isnan(x[end:, b]).all()


def test_there_are_at_least_two_backends():
    assert backends()[:2] == ("numpy", "strict_cupy")
