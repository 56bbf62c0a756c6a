"""Windows: truncation against numbers with frozen states, its random kin in expectation, clipping, checkpointing."""

import itertools
import tracemalloc
from functools import partial

import numpy as np
import pytest
from cells import CELLS, B, H, T, arguments, cotangents, numeric, projected_arguments, run, split
from hypothesis import given
from hypothesis import strategies as st

from minirnn import nn, ops, rules
from minirnn.arrays import asarray, random_generator, to_numpy
from minirnn.checking import check_rule
from minirnn.rules.combinators import (
    checkpoint,
    clip_through_time,
    in_runs,
    projected,
    ragged,
    scan,
    truncate,
    truncate_randomly,
    windows,
)
from minirnn.testing import check_laws, saved_bytes

every_cell = pytest.mark.parametrize("name", CELLS)


def assert_close(found, expected, tolerance=1e-12):
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=tolerance, atol=tolerance, err_msg=f"entry {k}")


def frozen(rule, window, back, inputs):
    """What truncated BPTT differentiates: the states that enter each stretch of ``back`` steps are constants.

    Its pullback is that of ``truncate``, so that a gradient check of it is one of truncation.
    """
    xs, states, weights = split(rule, inputs)
    entering = {0: states}
    for start in range(0, len(xs[0]), window):
        (_, *states), _ = rule(*(x[start : start + window] for x in xs), *states, *weights)
        entering[start + window] = tuple(states)

    def frozen_rule(*arguments):
        xs, first, weights = split(rule, arguments)
        length, ys, ends = len(xs[0]), [], first
        for start in range(0, length, window):
            stop = min(start + window, length)
            since = max(0, start + window - back)
            states = first if since == 0 else entering[since]
            (y, *ends), _ = rule(*(x[since:stop] for x in xs), *states, *weights)
            ys.append(y[start - since :])
        _, pullback = truncate(rule, window, back)(*arguments)
        return (np.concatenate(ys), *ends), pullback

    return frozen_rule


@every_cell
@pytest.mark.parametrize(("window", "back"), [(1, 1), (2, 2), (3, 3), (4, 4), (1, 2), (1, 4), (2, 4), (2, 6), (3, 6)])
def test_truncation_is_the_gradient_with_frozen_states(name, window, back):
    cell = CELLS[name]
    inputs = arguments(cell, T=7)
    frozen_rule = frozen(cell.rule, window, back, inputs)
    report = check_rule(frozen_rule, inputs, method="complex", max_entries=12)
    assert report.max_error < 1e-10
    full, _ = cell.rule(*inputs)
    assert_close(truncate(cell.rule, window, back)(*inputs)[0], full)
    assert_close(frozen_rule(*inputs)[0], full)


@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_window_that_is_off_by_one_is_found(off_by):
    cell = CELLS["lstm"]
    inputs = arguments(cell, T=6)
    shifted = frozen(cell.rule, 2 + off_by, 2 + off_by, inputs)

    def wrong(*arguments):
        return shifted(*arguments)[0], truncate(cell.rule, 2)(*arguments)[1]

    with pytest.raises(AssertionError, match="wrong in"):
        check_rule(wrong, inputs, method="complex", max_entries=12)


@every_cell
@given(window=st.integers(T, T + 3), back=st.integers(1, 3))
def test_a_window_as_long_as_the_sequence_changes_no_bit(name, window, back):
    cell = CELLS[name]
    inputs = arguments(cell)
    for x, y in zip(run(truncate(cell.rule, window, back * window), inputs), run(cell.rule, inputs), strict=True):
        np.testing.assert_array_equal(x, y)


@every_cell
@given(window=st.integers(1, 4))
def test_going_back_over_the_whole_sequence_cuts_nothing(name, window):
    cell = CELLS[name]
    inputs = arguments(cell)
    back = window * -(-T // window)
    assert_close(run(truncate(cell.rule, window, back), inputs), run(cell.rule, inputs))


def test_no_gradient_leaves_a_window():
    cell = CELLS["lstm"]
    outputs, pullback = truncate(cell.rule, 2)(*arguments(cell))
    dys = [np.zeros_like(y) for y in outputs]
    dys[0][4] = 1.0  # the loss of step 4, in the window of steps 4 and 5
    da_xs, dh_0, *_ = pullback(*dys)
    assert not da_xs[:4].any() and not dh_0.any() and da_xs[4].any() and not da_xs[5].any()


@every_cell
@pytest.mark.parametrize("columns", [1, B, 2 * B, 4 * B + 1, 5 * B, 800])
def test_runs_change_nothing(backend, monkeypatch, name, columns):
    """Of one step, of several, of all; ragged and not."""
    monkeypatch.setattr(windows, "COLUMNS", columns)
    cell = CELLS[name]
    inputs, rule = projected_arguments(cell), ragged(projected(cell.rule))
    for lengths in (None, [6, 1, 4, 3], [0, 2, 0, 0]):
        found, expected = (run(r, inputs, lengths=lengths) for r in (in_runs(rule), rule))
        assert_close(found, expected)


@pytest.mark.parametrize(
    ("columns", "steps", "runs"),
    [(4, 13, [13]), (200, 13, [4, 4, 4, 1]), (800, 3, [1, 1, 1]), (900, 2, [1, 1]), (0, 3, [3])],
)
def test_a_run_has_about_800_columns(columns, steps, runs):
    seen = []

    def counted(a_xs, h_0, W_hh):
        seen.append(len(a_xs))
        return rules.rnn(a_xs, h_0, W_hh)

    in_runs(counted)(np.ones((steps, 2, columns)), np.ones((2, columns)), np.eye(2))
    assert seen == runs


def test_runs_keep_the_pre_activations_of_one_run(fresh_memory, monkeypatch):
    """And not of all steps at once."""
    H, T, B, D = 32, 64, 32, 4
    monkeypatch.setattr(windows, "COLUMNS", 2 * B)
    random = np.random.default_rng(0)
    shapes = (T, D, B), (H, B), (H, B), (4 * H, D), (4 * H,), (4 * H, H)
    inputs = [random.normal(size=shape) for shape in shapes]

    def peak(rule):
        tracemalloc.start()
        rule(*inputs, wanted=(False,) * 6)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    of_all_steps = T * 4 * H * B * 8
    assert peak(projected(rules.lstm)) > of_all_steps > 2 * peak(in_runs(projected(rules.lstm)))


@every_cell
@pytest.mark.parametrize("window", [1, 2, 4, 5])
def test_checkpointing_changes_no_gradient(backend, name, window):
    cell = CELLS[name]
    inputs = projected_arguments(cell)
    rule = projected(cell.rule)
    assert_close(run(checkpoint(rule, window), inputs), run(rule, inputs))


def test_checkpointing_keeps_states_and_arguments_only():
    cell, length, every = CELLS["lstm"], 100, 10
    inputs = projected_arguments(cell, T=length)
    rule = projected(cell.rule)
    full = saved_bytes(rule(*inputs)[1])
    kept = saved_bytes(checkpoint(rule, every)(*inputs)[1])
    given_anyway = sum(x.nbytes for x in inputs)
    states = (length // every) * 2 * H * B * 8
    assert kept <= given_anyway + 2 * states  # a state is a view of what the window before it returned
    assert full > kept + 4 * length * H * B * 8


def drop_out_of(rule, p=0.4, seed=3):
    """The rule with dropout of its pre-activations, drawn from a counter that ``first`` moves."""

    def dropped(a_xs, h_0, c_0, W_hh, *, first=0, wanted=(True,) * 4):
        kept, dropout_pullback = rules.dropout(a_xs, p=p, seed=seed, stream="x", step=1, first=first)
        outputs, rule_pullback = rule(kept, h_0, c_0, W_hh, wanted=wanted)

        def dropped_pullback(*cotangents):
            da, *rest = rule_pullback(*cotangents)
            return (None if da is None else dropout_pullback(da)[0], *rest)

        return outputs, dropped_pullback

    return dropped


@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_window_run_again_draws_the_masks_it_drew_before(window):
    rule = drop_out_of(rules.lstm)
    inputs = arguments(CELLS["lstm"])
    assert_close(run(checkpoint(rule, window), inputs), run(rule, inputs))
    assert_close(run(checkpoint(rule, window), inputs, first=5), run(rule, inputs, first=5))
    check_rule(checkpoint(rule, window), inputs, max_entries=10)


class Scripted:
    """A generator whose draws cut, or do not, as written down."""

    def __init__(self, cuts):
        self.cuts = iter(cuts)

    def random(self):
        return 0.0 if next(self.cuts) else 1 - 2.0**-53


@every_cell
def test_random_truncation_is_unbiased_exactly(monkeypatch, name):
    """The expectation, by adding up all patterns of cuts, each as often as it comes: the whole gradient."""
    cell, p, window = CELLS[name], 0.3, 2
    inputs = arguments(cell)
    expected = run(cell.rule, inputs)
    total = [np.zeros_like(x) for x in expected]
    for cuts in itertools.product([True, False], repeat=T // window - 1):
        monkeypatch.setattr(windows, "random_generator", lambda *_, cuts=cuts: Scripted(cuts))
        weight = np.prod([p if cut else 1 - p for cut in cuts])
        found = run(truncate_randomly(cell.rule, window, p), inputs)
        total = [t + weight * f for t, f in zip(total, found, strict=True)]
    assert_close(total, expected, 1e-12)


def test_random_truncation_cuts_as_drawn_and_averages_to_the_gradient():
    cell, p, window = CELLS["lstm"], 0.4, 2
    inputs = arguments(cell)
    *_, expected = run(cell.rule, inputs)
    rule = truncate_randomly(cell.rule, window, p, seed=5)
    draws = np.stack([run(rule, inputs, step=step)[-1] for step in range(400)])
    spread = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - expected) <= 5 * spread + 1e-12).all()
    biased = run(truncate(cell.rule, window), inputs)[-1]
    assert (np.abs(biased - expected) > 5 * spread).any()  # which plain truncation does not
    np.testing.assert_array_equal(run(rule, inputs, step=7)[-1], draws[7])
    patterns = {tuple(random_generator(5, "truncation", step).random(2) < p) for step in range(20)}
    assert len(patterns) == 4 and len({x.tobytes() for x in draws[:20]}) == 4


@every_cell
def test_random_truncation_with_probability_0_cuts_nothing(backend, name):
    cell = CELLS[name]
    inputs = arguments(cell)
    assert_close(run(truncate_randomly(cell.rule, 2, 0), inputs), run(cell.rule, inputs))


@every_cell
def test_clipping_far_above_changes_nothing_and_below_bounds_what_passes(backend, name):
    cell = CELLS[name]
    inputs = arguments(cell)
    assert_close(run(clip_through_time(cell.rule, 1e9), inputs), run(cell.rule, inputs))

    # the cotangent of h_T alone is large; what the last step sends back must not be
    outputs, pullback = clip_through_time(cell.rule, 0.01)(*inputs)
    large = [y * 0 for y in outputs]
    large[1] = large[1] + 1000.0
    _, dstates, _ = split(cell.rule, pullback(*large))
    _, one_step = cell.rule(inputs[0][:1], *inputs[1:])
    unit = [np.eye(H * B).reshape(H * B, H, B)] * cell.states
    jacobian = [
        [to_numpy(d) for d in split(cell.rule, one_step(outputs[0][:1] * 0, *(asarray(u[k]) for u in unit)))[1]]
        for k in range(H * B)
    ]
    largest = max(np.abs(np.stack([j[k] for j in jacobian])).sum() for k in range(cell.states))
    assert all(np.abs(to_numpy(d)).max() <= 0.01 * largest * cell.states for d in dstates)


def test_clipping_keeps_the_direction_of_each_column_and_shortens_only_the_long():
    def identity(xs, h_0, *, wanted=(True, True)):
        """A recurrence that only hands its state on."""

        def identity_pullback(dys, dh):
            return xs * 0, dh + dys.sum(axis=0)

        return (xs * 0 + h_0, h_0), identity_pullback

    xs, h_0 = np.zeros((3, 2, 2)), np.ones((2, 2))
    _, pullback = clip_through_time(identity, max_norm=1.0)(xs, h_0)
    dh = np.array([[3.0, 0.3], [4.0, 0.4]])  # norms 5 and 0.5
    np.testing.assert_allclose(pullback(np.zeros((3, 2, 2)), dh)[1], [[0.6, 0.3], [0.8, 0.4]])


@every_cell
@pytest.mark.parametrize("make", [lambda rule: checkpoint(rule, 2), lambda rule: truncate_randomly(rule, 2, 0)])
def test_what_windows_make_keeps_all_laws(backend, name, make):
    cell = CELLS[name]
    check_laws(make(cell.rule), arguments(cell, T=3, B=2), without=numeric(backend))


def test_truncation_keeps_the_laws_that_a_gradient_of_another_function_can_keep(backend):
    cell = CELLS["lstm"]
    # of windows but the first it keeps what the gradient of their first state needs, which goes nowhere
    without = ("gradients_match_numbers", "every_subset_of_outputs", "keeps_what_it_reads", "probes_see_the_truth")
    check_laws(truncate(cell.rule, 2), arguments(cell, T=5, B=2), without=without)


@every_cell
def test_nothing_wanted_is_nothing_kept(name):
    cell = CELLS[name]
    inputs = arguments(cell)
    rule, step = cell.rule, cell.step
    for combined in (truncate(rule, 2), checkpoint(rule, 2), clip_through_time(rule, 1.0), scan(step)):
        outputs, pullback = combined(*inputs, wanted=(False,) * len(inputs))
        assert saved_bytes(pullback) == 0
        assert set(pullback(*cotangents(outputs))) == {None}


def test_clipping_takes_all_axes_of_a_state_together():
    def identity(xs, h_0, *, wanted=(True, True)):
        return (xs * 0 + h_0, h_0), lambda dys, dh: (xs * 0, dh + dys.sum(axis=0))

    xs, h_0 = np.zeros((3, 2, 2, 3)), np.ones((2, 2, 3))
    dh = np.random.default_rng(9).normal(size=h_0.shape)
    found = clip_through_time(identity, max_norm=0.5)(xs, h_0)[1](xs, dh)[1]
    np.testing.assert_allclose(np.sqrt((found**2).sum(axis=(0, 1))), [0.5] * 3)


def test_without_a_step_random_truncation_takes_the_first():
    cell = CELLS["gru"]
    inputs = arguments(cell, T=12)
    for x, y in zip(
        run(truncate_randomly(cell.rule, 1, 0.5), inputs),
        run(truncate_randomly(cell.rule, 1, 0.5, seed=0), inputs, step=0),
        strict=True,
    ):
        np.testing.assert_array_equal(x, y)


def test_clipping_neither_overflows_nor_divides_nothing_by_nothing():
    def identity(xs, h_0, *, wanted=(True, True)):
        return (xs * 0 + h_0, h_0), lambda dys, dh: (xs * 0, dh + dys.sum(axis=0))

    xs, h_0 = np.zeros((3, 2, 2), "float32"), np.ones((2, 2), "float32")
    _, pullback = clip_through_time(identity, max_norm=np.float64(1.0))(xs, h_0)
    dh = np.array([[3e25, 0.0], [4e25, 0.0]], "float32")
    found = pullback(np.zeros_like(xs), dh)[1]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.6, 0.0], [0.8, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("p", [np.float64(0.5), np.float32(0.5), 0.5])
def test_random_truncation_keeps_the_precision(p):
    cell = CELLS["gru"]
    inputs = [x.astype("float32") for x in arguments(cell)]
    outputs, pullback = truncate_randomly(cell.rule, 2, p)(*inputs)
    assert {g.dtype for g in pullback(*(np.ones_like(y) for y in outputs))} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: truncate(rules.lstm, 0), "window must be a positive integer, got 0"),
        (lambda: truncate(rules.lstm, 2.0), "window must be a positive integer, got 2.0"),
        (lambda: truncate(rules.lstm, 4, 6), "back must be a multiple of window, 4, got 6"),
        (lambda: truncate(rules.lstm, 4, 2), "back must be a multiple of window, 4, got 2"),
        (lambda: truncate(rules.lstm, 4, 0), "back must be a positive integer, got 0"),
        (lambda: truncate_randomly(rules.lstm, 4, 1), "probability must be a number from 0 to below 1, got 1"),
        (lambda: truncate_randomly(rules.lstm, -1, 0.5), "window must be a positive integer, got -1"),
        (lambda: clip_through_time(rules.lstm, 0), "max_norm must be a positive number, got 0"),
        (lambda: clip_through_time(rules.lstm, np.inf), "max_norm must be a positive number, got inf"),
        (lambda: clip_through_time(rules.lstm, 1, every=True), "every must be a positive integer, got True"),
        (lambda: checkpoint(rules.lstm, "10"), "every must be a positive integer, got '10'"),
    ],
)
def test_what_cannot_be_used_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_rule_with_a_choice_made_is_a_rule():
    relu = partial(rules.rnn, nonlinearity="relu")
    assert_close(run(checkpoint(relu, 2), arguments(CELLS["rnn"])), run(relu, arguments(CELLS["rnn"])))
    assert checkpoint(relu, 2).__name__ == "checkpoint(rnn)"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (ops.rnn, r"expected a rule, a function of arrays, got an operation on tensors; use rules\.rnn"),
        (nn.RNN(3, 3), "expected a rule, a function of arrays that returns"),
        (None, "expected a rule, a function of arrays that returns .* got None"),
    ],
)
def test_what_is_no_rule_is_refused(rule, message):
    with pytest.raises(TypeError, match=message):
        truncate(rule, 2)


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_too_few_or_too_many_arrays_are_refused(count):
    cell = CELLS["lstm"]
    with pytest.raises(TypeError, match=r"truncate\(lstm\) takes the arrays a_xs, h_0, c_0, .*; got ") as caught:
        truncate(cell.rule, 2)(*(arguments(CELLS["lstm with everything"]) * 2)[:count])
    assert str(caught.value).count("array (") == count


def test_a_rule_whose_names_do_not_tell_its_states_is_refused():
    with pytest.raises(TypeError, match=r"tanh must take \(\*sequences, \*states, \*weights\).*its positional.* are x"):
        checkpoint(rules.tanh, 2)
