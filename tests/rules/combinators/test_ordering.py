"""Reversal and ragged lengths: equal to what each sequence gives by itself, whatever stands in its padding."""

import numpy as np
import pytest
from cells import CELLS, B, H, T, arguments, cotangents, numeric, projected_arguments, run, split
from hypothesis import given
from hypothesis import strategies as st

from minirnn.arrays import asarray, to_numpy
from minirnn.checking import check_rule
from minirnn.rules.combinators import (
    checkpoint,
    clip_through_time,
    projected,
    ragged,
    reverse,
    scan,
    truncate,
    truncate_randomly,
)
from minirnn.rules.combinators.ordering import turn
from minirnn.rules.rtrl import rtrl
from minirnn.testing import check_laws, saved_bytes

every_cell = pytest.mark.parametrize("name", CELLS)
lengths_of_a_batch = st.lists(st.integers(0, T), min_size=B, max_size=B)


def assert_close(found, expected, tolerance=1e-12):
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=tolerance, atol=tolerance, err_msg=f"entry {k}")


def one_by_one(rule, inputs, dys, lengths):
    """Outputs and gradients of every column run by itself, without its padding, put together."""
    xs, states, weights = split(rule, inputs)
    outputs, gradients = None, None
    for b, n in enumerate(lengths):
        column = slice(b, b + 1)
        own = [*(x[:n, ..., column] for x in xs), *(h[..., column] for h in states), *weights]
        ys, pullback = rule(*own)
        if outputs is None:
            outputs = [np.zeros((len(xs[0]), *ys[0].shape[1:-1], len(lengths)))]
            outputs += [np.zeros((*y.shape[:-1], len(lengths))) for y in ys[1:]]
            gradients = [np.zeros_like(x) for x in inputs]
        found = pullback(dys[0][:n, ..., column], *(d[..., column] for d in dys[1:]))
        dxs, dstates, dweights = split(rule, found)
        outputs[0][:n, ..., column] = ys[0]
        for whole, part in zip(outputs[1:], ys[1:], strict=True):
            whole[..., column] = part
        for whole, part in zip(gradients, (*dxs, *dstates, *dweights), strict=False):
            if part is None:
                continue
            if any(part is d for d in dxs):
                whole[:n, ..., column] = part
            elif any(part is d for d in dstates):
                whole[..., column] = part
            else:
                whole += part
    return [*outputs, *gradients]


def with_padding(inputs, lengths, filling):
    """The inputs with ``filling`` past every column's end."""
    xs = inputs[0].copy()
    for b, n in enumerate(lengths):
        xs[n:, ..., b] = filling
    return [xs, *inputs[1:]]


@every_cell
@given(lengths=lengths_of_a_batch, backwards=st.booleans(), project=st.booleans())
def test_ragged_is_every_column_by_itself(name, lengths, backwards, project):
    cell = CELLS[name]
    rule = projected(cell.rule) if project else cell.rule
    inputs = projected_arguments(cell) if project else arguments(cell)
    inputs = with_padding(inputs, lengths, np.nan)
    by_itself = reverse(rule) if backwards else rule
    outputs, pullback = (reverse(ragged(rule)) if backwards else ragged(rule))(*inputs, lengths=lengths)
    dys = cotangents(outputs)
    expected = one_by_one(by_itself, inputs, dys, lengths)
    assert_close([*outputs, *pullback(*dys)[: len(inputs)]], expected)


@every_cell
def test_ragged_on_every_backend(backend, name):
    cell = CELLS[name]
    inputs, lengths = arguments(cell), [4, 6, 0, 1]
    outputs, pullback = reverse(ragged(cell.rule))(*inputs, lengths=lengths)
    dys = cotangents(outputs)
    host = [to_numpy(x) for x in inputs]
    expected_outputs, expected_pullback = reverse(ragged(cell.rule))(*host, lengths=lengths)
    assert_close(outputs, expected_outputs)
    assert_close(pullback(*dys), expected_pullback(*(to_numpy(d) for d in dys)))


@every_cell
@pytest.mark.parametrize("filling", [0.0, 1e30, np.nan, np.inf])
def test_padding_changes_no_bit(name, filling):
    cell, lengths = CELLS[name], [6, 2, 4, 4]
    inputs = projected_arguments(cell)
    rule = ragged(projected(cell.rule))
    expected = run(rule, inputs, lengths=lengths)
    for x, y in zip(run(rule, with_padding(inputs, lengths, filling), lengths=lengths), expected, strict=True):
        np.testing.assert_array_equal(x, y)


@every_cell
@given(more=st.integers(1, 4))
def test_more_padding_changes_no_bit(name, more):
    cell, lengths = CELLS[name], [6, 2, 4, 4]
    inputs = arguments(cell)
    longer = [np.concatenate([inputs[0], np.full((more, *inputs[0].shape[1:]), np.nan)]), *inputs[1:]]
    outputs, pullback = ragged(cell.rule)(*inputs, lengths=lengths)
    dys = cotangents(outputs)
    outputs_longer, pullback_longer = ragged(cell.rule)(*longer, lengths=lengths)
    dys_longer = [np.concatenate([dys[0], np.full((more, *dys[0].shape[1:]), 7.0)]), *dys[1:]]
    found = [*outputs_longer, *pullback_longer(*dys_longer)]
    expected = [*outputs, *pullback(*dys)]
    for k in (0, len(outputs)):  # what is a sequence is longer, by zeros
        assert not found[k][T:].any()
        found[k] = found[k][:T]
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)


@every_cell
@pytest.mark.parametrize("lengths", [None, [6, 2, 0, 4], [3, 3, 1, 5]])
@pytest.mark.parametrize("backwards", [False, True])
def test_forward_mode_agrees_in_both_directions_and_at_all_lengths(name, lengths, backwards):
    """Real-time recurrent learning shares no line with any pullback."""
    cell = CELLS[name]
    inputs, static = projected_arguments(cell), {} if lengths is None else {"lengths": lengths}
    turned = reverse if backwards else lambda rule: rule
    explicit = run(turned(ragged(projected(cell.rule))), inputs, **static)
    assert_close(run(turned(ragged(projected(rtrl(cell.rule)))), inputs, **static), explicit)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda rule: checkpoint(reverse(rule), 2),
            r"checkpoint\(reverse\(rnn\)\): a reversed rule begins",
        ),
        (lambda rule: truncate(reverse(rule), 2), r"write reverse\(truncate\(...\)\)"),
        (lambda rule: truncate(ragged(reverse(rule)), 2), r"ragged\(reverse\(rnn\)\): sequences of different lengths"),
        (
            lambda rule: ragged(truncate(rule, 2)),
            r"ragged\(truncate\(rnn\)\): borders .* write truncate\(ragged",
        ),
        (lambda rule: ragged(projected(truncate(rule, 2))), r"borders would be counted anew"),
        (
            lambda rule: checkpoint(truncate(rule, 2), 3),
            r"checkpoint\(truncate\(rnn\)\): .* write truncate\(checkpoint",
        ),
        (lambda rule: checkpoint(clip_through_time(rule, 1), 3), r"write clip_through_time\(checkpoint"),
        (lambda rule: clip_through_time(truncate(rule, 2), 1), r"write truncate\(clip_through_time"),
        (lambda rule: truncate(truncate_randomly(rule, 2, 0.5), 4), r"write truncate_randomly\(truncate"),
        (
            lambda rule: projected(ragged(rule)),
            r"projected\(ragged\(rnn\)\): padding .* write ragged\(projected",
        ),
    ],
)
def test_orders_that_would_mean_something_else_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make(CELLS["rnn"].rule)


def test_a_run_is_told_where_it_begins():
    seen = []

    def told(xs, h_0, *, first=0, wanted=(True, True)):
        seen.append((first, len(xs)))
        return (xs * 0 + h_0, h_0), lambda dys, dh: (dys * 0, dh + dys.sum(axis=0))

    ragged(told)(np.zeros((6, H, 3)), np.zeros((H, 3)), lengths=[2, 6, 3], first=10)
    assert seen == [(10, 2), (12, 1), (13, 3)]
    seen.clear()
    checkpoint(ragged(told), 4)(np.zeros((6, H, 3)), np.zeros((H, 3)), lengths=[2, 6, 3])
    assert seen == [(0, 2), (2, 1), (3, 1), (4, 2)]


def leaky_sum(xs, h_0, w):
    """``h_t = w h_{t-1} + x_t``, of any number of axes, and never asked what is wanted."""
    hs = [h_0]
    for x in xs:
        hs.append(w[..., None] * hs[-1] + x)

    def leaky_sum_pullback(dys, dh):
        dxs, dw = np.zeros_like(xs), np.zeros_like(w)
        for t in reversed(range(len(xs))):
            dxs[t] = dh = dh + dys[t]
            dw += (dh * hs[t]).sum(axis=-1)
            dh = w[..., None] * dh
        return dxs, dh, dw

    return (np.stack(hs[1:]) if len(xs) else xs, hs[-1]), leaky_sum_pullback


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("lengths", [[8, 1, 9, 2], np.array([8, 1, 9, 2], "uint8"), [0, 9, 8, 0]])
def test_sequences_longer_than_a_small_set_and_of_more_axes(lengths, backwards):
    """Small integers come out of a set in their order by accident, up to 7."""
    random = np.random.default_rng(7)
    inputs = [random.normal(size=shape) for shape in ((9, 2, H, 4), (2, H, 4), (2, H))]
    turned = reverse if backwards else lambda rule: rule
    outputs, pullback = turned(ragged(leaky_sum))(*inputs, lengths=lengths)
    dys = cotangents(outputs)
    expected = one_by_one(turned(leaky_sum), inputs, dys, lengths)
    assert_close([*outputs, *pullback(*dys)], expected)
    assert_close(run(turned(checkpoint(ragged(leaky_sum), 4)), inputs, lengths=lengths), expected)


def test_what_is_turned_is_the_valid_part_and_padding_stays(backend):
    xs, lengths = np.random.default_rng(8).normal(size=(5, 2, H, 4)), [2, 5, 0, 4]
    columns = [np.concatenate([xs[:n, ..., b][::-1], xs[n:, ..., b]]) for b, n in enumerate(lengths)]
    np.testing.assert_array_equal(to_numpy(turn(asarray(xs), lengths)), np.stack(columns, axis=-1))


def test_no_step_is_computed_past_an_end():
    cell, seen = CELLS["lstm"], []

    def counted(a_xs, h_0, c_0, W_hh, *, wanted=(True,) * 4):
        seen.append((len(a_xs), a_xs.shape[-1]))
        return cell.rule(a_xs, h_0, c_0, W_hh, wanted=wanted)

    lengths = [2, 6, 5, 2]
    ragged(counted)(*arguments(cell), lengths=lengths)
    assert sum(steps * columns for steps, columns in seen) == sum(lengths)
    assert len(seen) == len(set(lengths))


@every_cell
def test_lengths_that_are_all_full_change_no_bit(name):
    cell = CELLS[name]
    inputs = arguments(cell)
    for x, y in zip(run(ragged(cell.rule), inputs, lengths=[T] * B), run(cell.rule, inputs), strict=True):
        np.testing.assert_array_equal(x, y)


@every_cell
@given(order=st.permutations(range(B)))
def test_permuting_the_batch_permutes_what_comes_out(name, order):
    cell, lengths = CELLS[name], [5, 2, 6, 3]
    inputs = arguments(cell)
    rule = ragged(cell.rule)
    outputs, pullback = rule(*inputs, lengths=lengths)
    dys = cotangents(outputs)
    there = lambda arrays: [x[..., order] for x in arrays]  # noqa: E731
    xs_and_states, weights = inputs[: 1 + cell.states], inputs[1 + cell.states :]
    permuted, permuted_pullback = rule(*there(xs_and_states), *weights, lengths=[lengths[k] for k in order])
    assert_close(permuted, there(outputs))
    expected = pullback(*dys)
    found = permuted_pullback(*there(dys))
    assert_close(found, [*there(expected[: 1 + cell.states]), *expected[1 + cell.states :]])


@every_cell
@given(lengths=lengths_of_a_batch, window=st.integers(1, 4))
def test_windows_and_lengths_go_together(name, lengths, window):
    cell = CELLS[name]
    inputs = with_padding(arguments(cell), lengths, np.nan)
    expected = run(ragged(cell.rule), inputs, lengths=lengths)
    assert_close(run(checkpoint(ragged(cell.rule), window), inputs, lengths=lengths), expected)
    back = window * -(-T // window)
    assert_close(run(truncate(ragged(cell.rule), window, back), inputs, lengths=lengths), expected)
    for back in (window, 2 * window):
        outputs, pullback = truncate(ragged(cell.rule), window, back)(*inputs, lengths=lengths)
        dys = cotangents(outputs)
        found = [*outputs, *pullback(*dys)[: len(inputs)]]
        assert_close(found, one_by_one(truncate(cell.rule, window, back), inputs, dys, lengths))


@every_cell
def test_reverse_is_flipping_by_hand(backend, name):
    cell = CELLS[name]
    inputs = arguments(cell)
    outputs, pullback = reverse(cell.rule)(*inputs)
    dys = cotangents(outputs)
    expected, expected_pullback = cell.rule(inputs[0][::-1], *inputs[1:])
    assert_close(outputs, [expected[0][::-1], *expected[1:]], 0)
    gradients = expected_pullback(dys[0][::-1], *dys[1:])
    found = pullback(*dys)
    assert_close(found[: len(inputs)], [gradients[0][::-1], *gradients[1 : len(inputs)]], 0)


@every_cell
@pytest.mark.parametrize("make", [reverse, ragged, lambda rule: reverse(ragged(rule))])
def test_orderings_keep_all_laws(backend, name, make):
    cell = CELLS[name]
    # probes: a law of rules that run forwards over all columns; see test_observing
    without = ("probes_see_the_truth", *numeric(backend))
    check_laws(make(cell.rule), arguments(cell, T=3, B=2), without=without)
    if make is not reverse:
        check_laws(make(cell.rule), arguments(cell, T=3, B=2), {"lengths": [2, 3]}, without=without)


@every_cell
def test_ragged_against_numbers(name):
    cell = CELLS[name]
    report = check_rule(reverse(ragged(projected(cell.rule))), projected_arguments(cell), {"lengths": [6, 2, 0, 4]})
    assert report.max_error < 1e-10


def test_a_rule_for_whom_nothing_is_special_can_be_ragged():
    cell, lengths = CELLS["gru"], [3, 6, 1, 6]
    inputs = arguments(cell)
    assert_close(run(ragged(scan(cell.step)), inputs, lengths=lengths), run(ragged(cell.rule), inputs, lengths=lengths))


def test_nothing_wanted_is_nothing_kept():
    cell = CELLS["lstm"]
    inputs = arguments(cell)
    outputs, pullback = reverse(ragged(cell.rule))(*inputs, lengths=[1, 2, 3, 4], wanted=(False,) * len(inputs))
    assert saved_bytes(pullback) == 0 and set(pullback(*cotangents(outputs))) == {None}


@pytest.mark.parametrize(
    "make", [ragged, lambda r: reverse(ragged(r)), lambda r: truncate(ragged(r), 2), lambda r: checkpoint(ragged(r), 2)]
)
@pytest.mark.parametrize(
    "lengths",
    [
        [1, 2, 3],
        [1, 2, 3, 7],
        [100, 2, 3, 4],
        [1, 2, 3, -1],
        [1, 2, 3, 2.0],
        [1, 2, 3, True],
        ["1", "2", "3", "4"],
        np.ones((2, 2), int),
        6,
    ],
)
def test_lengths_that_do_not_fit_are_refused(make, lengths):
    with pytest.raises(ValueError, match="lengths must be 4 integers from 0 to 6, got") as error:
        make(CELLS["lstm"].rule)(*arguments(CELLS["lstm"]), lengths=lengths)
    assert str(lengths) in str(error.value)


def test_columns_that_do_not_fit_are_refused_and_none_is_dropped():
    a_xs, h_0, *weights = arguments(CELLS["gru"])
    with pytest.raises(ValueError, match="sequences and states must have the same number of columns, got 4, 2"):
        ragged(CELLS["gru"].rule)(a_xs, h_0[:, :2], *weights, lengths=[3, 6])


def test_lengths_are_read_at_the_call_and_not_later():
    cell = CELLS["gru"]
    lengths = np.array([3, 6, 2, 1])
    for make in (ragged, lambda r: reverse(ragged(r)), lambda r: checkpoint(ragged(r), 2)):
        expected = run(make(cell.rule), arguments(cell), lengths=list(lengths))
        changing = lengths.copy()
        outputs, pullback = make(cell.rule)(*arguments(cell), lengths=changing)
        changing[:] = 1
        assert_close([*outputs, *pullback(*cotangents(outputs))[: len(expected) - len(outputs)]], expected)


def test_lengths_may_be_an_array_of_the_host():
    cell = CELLS["lstm"]
    inputs = arguments(cell)
    expected = run(ragged(cell.rule), inputs, lengths=[1, 2, 6, 0])
    assert_close(run(ragged(cell.rule), inputs, lengths=np.array([1, 2, 6, 0])), expected, 0)
    assert asarray(expected[0]).shape == (T, H, B)
