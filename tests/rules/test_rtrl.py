"""RTRL against BPTT: the same gradients by another road; and RTRL as what it is for, a learner that does not wait."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.rules.combinators import projected, scan
from minirnn.rules.rtrl import influences, rtrl
from minirnn.testing import arrays_in, check_laws
from minirnn.testing.bug_zoo import BUGS

T, B, D, H, P = 5, 2, 4, 3, 2


def cell(rule, gates, states, *weights, P=H, **static):
    shapes = (T, gates * H, B), (P, B), *[(H, B)] * (states - 1), (gates * H, P), *weights
    return rule, shapes, static


CELLS = {
    "rnn": cell(rules.rnn, 1, 1),
    "rnn relu": cell(rules.rnn, 1, 1, nonlinearity="relu"),
    "lstm": cell(rules.lstm, 4, 2),
    "lstm with peepholes": cell(rules.lstm, 4, 2, None, (3, H)),
    "lstm with projection": cell(rules.lstm, 4, 2, (P, H), P=P),
    "lstm with both": cell(rules.lstm, 4, 2, (P, H), (3, H), P=P),
    "gru": cell(rules.gru, 3, 1, (H,)),
    "gru without b_hn": cell(rules.gru, 3, 1),
    "gru reset before": cell(rules.gru, 3, 1, reset_after=False),
}
every_cell = pytest.mark.parametrize(("rule", "shapes", "static"), CELLS.values(), ids=CELLS)


def draw(shapes, seed=0):
    random = np.random.default_rng(seed)
    return [None if shape is None else asarray(random.normal(size=shape)) for shape in shapes]


def assert_close(found, expected, tolerance=1e-13):
    for x, y in zip(found, expected, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=tolerance, atol=tolerance)


@every_cell
@pytest.mark.parametrize("steps", [0, 1, T])
def test_rtrl_equals_bptt(backend, rule, shapes, static, steps):
    a_xs, *others = draw(shapes)
    inputs = (a_xs[:steps], *others)
    outputs, bptt = rule(*inputs, **static)
    found, forward_mode = rtrl(rule)(*inputs, **static)
    assert_close(found, outputs)
    cotangents = draw([y.shape for y in outputs], seed=1)
    assert_close(forward_mode(*cotangents), bptt(*cotangents))


@pytest.mark.parametrize("name", ["rnn", "rnn relu", "lstm with both", "gru", "gru reset before"])
def test_the_laws_of_rules_hold(name):
    rule, (a_xs, *shapes), static = CELLS[name]
    check_laws(rtrl(rule), draw([(3, *a_xs[1:]), *shapes]), static)


@pytest.mark.parametrize("fault", BUGS)
def test_a_fault_of_a_backward_pass_is_seen_by_it(fault):
    inputs = draw(CELLS["lstm"][1])
    outputs, wrong = BUGS[fault](*inputs)
    _, right = rtrl(rules.lstm)(*inputs)
    cotangents = draw([y.shape for y in outputs], seed=1)
    expected = right(*cotangents)[:4]
    kept = [c.copy() for c in cotangents]
    found = wrong(*cotangents)
    differs = any(np.abs(x - y).max() > 1e-3 for x, y in zip(found, expected, strict=True))
    assert differs or any((c != k).any() for c, k in zip(cotangents, kept, strict=True))


@every_cell
def test_what_is_not_wanted_is_not_made(rule, shapes, static):
    inputs = draw(shapes)
    outputs, pullback = rtrl(rule)(*inputs, wanted=(False,) * len(inputs), **static)
    assert arrays_in(pullback) == []
    cotangents = draw([y.shape for y in outputs], seed=1)
    assert set(pullback(*cotangents)) == {None}
    only = rtrl(rule)(*inputs, wanted=(False, True, *(False,) * (len(inputs) - 2)), **static)[1](*cotangents)
    assert [dx is not None for dx in only] == [k == 1 for k in range(len(only))]


# --- influences ------------------------------------------------------------------------------------------------------


@every_cell
def test_an_influence_is_the_derivative_of_the_state_by_every_entry(rule, shapes, static):
    """Of the last step, number by number, by complex step through the step rule alone."""
    a_xs, *others = draw(shapes)
    names = ["h_0", "c_0"][: 1 + (rule is rules.lstm)]
    *_, (_, by) = influences(rule, a_xs, *others, **static)
    step = {rules.rnn: rules.rnn_step, rules.lstm: rules.lstm_step, rules.gru: rules.gru_step}[rule]
    weights = ("W_hh", "b_hn") if rule is rules.gru else ("W_hh", "W_hr", "peepholes")
    for k, name in enumerate([*names, *weights[: len(others) - len(names)]]):
        if others[k] is None:
            assert name not in by
            continue
        entry = tuple(np.random.default_rng(k).integers(others[k].shape))
        moved = [None if x is None else x.astype(complex) for x in others]
        moved[k][entry] += 1e-30j
        (_, *ends), _ = scan(step)(a_xs.astype(complex), *moved, **static)
        for influence, end in zip(by[name], ends, strict=True):
            expected = end.imag / 1e-30
            if name in names:  # only this entry's column moves
                *entry_rows, column = entry
                others_move = np.delete(expected, column, axis=1)
                assert not others_move.any()
                np.testing.assert_allclose(
                    influence[(*entry_rows, slice(None), column)], expected[:, column], rtol=1e-12
                )
            else:
                np.testing.assert_allclose(influence[entry], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_learner_that_does_not_wait_has_the_gradient_of_bptt(backend, name):
    """Of weights, input projection and bias, in sums over steps; each loss is met when it comes, and then forgotten."""
    rule, (_, *shapes), static = CELLS[name]
    n = 1 + (rule is rules.lstm)
    G = shapes[n][0]
    xs, W_ih, b, targets, *others = draw([(T, D, B), (G, D), (G,), (T, H, B), *shapes])
    found = {}
    for x_target, (states, by) in zip(targets, influences(rule, xs, *others, W_ih=W_ih, b=b, **static), strict=True):
        for weight in set(by) - {"h_0", "c_0"}:
            part = (by[weight][0] * (states[0] - x_target)).sum(axis=(-2, -1))
            found[weight] = found.get(weight, 0) + part

    (hs, *ends), bptt = projected(rule)(xs, *others[:n], W_ih, b, *others[n:], **static)
    gradients = bptt(hs - targets, *(0 * end for end in ends))
    names = ["W_ih", "b", "W_hh", "b_hn"][: len(gradients) - 1 - n]
    expected = dict(zip(names, gradients[1 + n :], strict=False))
    assert_close([found[name] for name in found], [expected[name] for name in found])
    assert set(found) == {name for name, g in expected.items() if g is not None}


def test_the_next_input_may_depend_on_the_last_output():
    h_0, W_hh = draw([(H, B), (H, H)])
    state = [h_0]

    def fed_back():
        while True:
            yield -state[0]

    for (h,), _ in islice(influences(rules.rnn, fed_back(), h_0, W_hh), 4):
        state[0] = h
    (hs, _), _ = rules.rnn(np.zeros((4, H, B)), h_0, W_hh - np.eye(H))
    np.testing.assert_allclose(state[0], hs[-1], rtol=1e-12)


def peak(rule, *others, steps=6, **options):
    """Bytes at the most while influences are carried through some steps."""
    stream = (np.ones((others[-1].shape[0], others[0].shape[1])) for _ in range(steps))
    tracemalloc.start()
    try:
        for _ in influences(rule, stream, *others, **options):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_sequence(fresh_memory):
    inputs = draw([(8, B), (8, B), (32, 8)])
    assert peak(rules.lstm, *inputs, steps=60) < 1.05 * peak(rules.lstm, *inputs)


@pytest.mark.parametrize(
    ("rule", "gates", "states", "times", "static"),
    [
        (rules.rnn, 1, 1, 4, {}),
        (rules.lstm, 4, 2, 3.5, {}),
        (rules.gru, 3, 1, 7, {}),
        (rules.gru, 3, 1, 7, {"reset_after": False}),
    ],
)
def test_a_step_needs_a_few_times_what_is_carried(rule, gates, states, times, static):
    """Of the influence of W_hh, however many gates there are; and next to nothing if that is not asked for."""
    H, B = 16, 4
    inputs = draw([*[(H, B)] * states, (gates * H, H)])
    carried = states * gates * H * H * H * B * 8
    assert 2 * carried < peak(rule, *inputs, of=["W_hh"], **static) < times * carried  # 2: the old and the new
    assert peak(rule, *inputs, of=["h_0"], **static) < 12 * carried / (gates * H)


# --- what cannot be asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule", [rules.tanh, rules.lstm_step, projected(rules.lstm), np.tanh], ids=lambda rule: rule.__name__
)
def test_rules_that_are_not_written_out_are_refused(rule):
    with pytest.raises(TypeError, match="RTRL is written out for the rules rnn, lstm, gru; got "):
        rtrl(rule)
    with pytest.raises(TypeError, match="RTRL is written out for the rules rnn, lstm, gru; got "):
        next(influences(rule, np.zeros((3, 2, 2))))


@every_cell
def test_shapes_that_do_not_fit_are_refused_as_the_rule_refuses_them(rule, shapes, static):
    (steps, rows, columns), *others = shapes
    inputs = draw([(steps, rows + 1, columns), *others])
    with pytest.raises(ValueError, match=r"needs .*; got a|got \("):
        rtrl(rule)(*inputs, **static)


def test_the_influence_of_what_is_not_there_is_refused():
    inputs = draw(CELLS["gru without b_hn"][1])
    with pytest.raises(ValueError, match=r"of must name arguments that are there \(a_xs, h_0, W_hh\), got \['b_hn'\]"):
        next(influences(rules.gru, *inputs, of=["W_hh", "b_hn"]))


def test_static_arguments_reach_the_rule():
    inputs = draw(CELLS["rnn"][1])
    with pytest.raises(ValueError, match="nonlinearity must be 'tanh' or 'relu', got 'sine'"):
        rtrl(rules.rnn)(*inputs, nonlinearity="sine")


H_0, W_HH = np.ones((H, B)), np.ones((H, H))
XS = np.ones((T, D, B))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((), {}, TypeError, "rnn takes the arrays a_xs, h_0, W_hh; h_0, W_hh must be given"),
        ((H_0,), {}, TypeError, "rnn takes the arrays a_xs, h_0, W_hh; W_hh must be given"),
        ((None, W_HH), {}, TypeError, "rnn takes the arrays a_xs, h_0, W_hh; h_0 must be given"),
        ((H_0, W_HH, W_HH), {}, TypeError, "rnn takes the arrays a_xs, h_0, W_hh; got 4 of them"),
        ((H_0[0], W_HH), {}, ValueError, r"h_0 must have two axes, got shape \(2,\)"),
        ((H_0, W_HH[0]), {}, ValueError, r"W_hh must have two axes, got shape \(3,\)"),
        (
            (H_0, W_HH),
            {"of": "W_hh"},
            TypeError,
            r"of must be a collection of names, such as \['W_hh'\], got the string",
        ),
        ((H_0, W_HH), {"of": [3]}, ValueError, r"of must name arguments that are there .*, got \['3'\]"),
        (
            (H_0, W_HH),
            {"W_ih": np.ones((H + 1, D))},
            ValueError,
            r"W_ih must have shape \(G, D\) with G = 3, .* \(4, 4\)",
        ),
        ((H_0, W_HH), {"W_ih": np.ones(H)}, ValueError, r"W_ih must have shape \(G, D\) with G = 3, .* got \(3,\)"),
        (
            (H_0, W_HH),
            {"W_ih": np.ones((H, 9))},
            ValueError,
            r"W_ih \(3, 9\), xs\[0\] must have shape \(9, B\), got \(4, 2\)",
        ),
        ((H_0, W_HH), {"b": np.ones((H, 1))}, ValueError, r"b must have shape \(G,\) with G = 3, .* got \(3, 1\)"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        next(influences(rules.rnn, XS, *arguments, **options))


def test_what_is_no_rule_is_refused_whatever_it_is():
    with pytest.raises(TypeError, match=r"RTRL is written out for the rules rnn, lstm, gru; got \[\]"):
        rtrl([])


@pytest.mark.parametrize("wanted", [True, False])
def test_the_pullback_takes_one_cotangent_per_output(wanted):
    inputs = draw(CELLS["rnn"][1])
    (hs, h_T), pullback = rtrl(rules.rnn)(*inputs, wanted=(wanted,) * len(inputs))
    for cotangents in ((hs,), (hs, h_T, h_T)):
        with pytest.raises(
            TypeError, match=rf"pullback of rtrl\(rnn\) takes .* each of its 2 outputs, got {len(cotangents)}"
        ):
            pullback(*cotangents)
