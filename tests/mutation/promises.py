"""What combinators promise besides numbers: names, refusals, what is shown and when, what is asked for, run and kept.

Each function takes the combinators of some world, and raises an ``AssertionError`` if a promise is broken. `PROMISES`
says whose they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
from hand_written import forgetful_step, leaky_step, leaky_sum, leaky_sum_shown, with_workers
from subjects import AROUND_RULES
from trials import FULL_LSTM, GRU, LENGTHS, LSTM, RNN, B, H, T, attending_inputs, drawn

from minirnn import rules
from minirnn.explaining import argument_names
from minirnn.testing.captured import saved_bytes
from minirnn.testing.inner_laws import probes_see_the_truth
from minirnn.testing.variants import cotangents_like
from minirnn.workers import use_workers

Tools = Any  # a namespace with a combinator for every name
CLOSE = 1e-10


def laws_of_recurrence(tools: Tools) -> None:
    """The laws of recurrence are written with combinators: with these they must find every cell right."""
    for name, shapes in (("gru", GRU), ("lstm", LSTM)):
        tools.check_sequence_laws(getattr(rules, name), drawn(*shapes), seed=1)


def signatures(tools: Tools) -> None:
    """The names of arguments that reports use, and by which combinators tell what is what."""
    for make, said in SIGNATURES:
        rule = make(tools)
        assert f"{rule.__name__}{signature(rule)}" == said, f"{rule.__name__}{signature(rule)} in place of {said}"


SIGNATURES: tuple[tuple[Callable, str], ...] = (
    (
        lambda c: c.scan(c.zoneout(rules.lstm_step)),
        "scan(zoneout(lstm_step))"
        "(a_xs, keep_h_xs, keep_c_xs, h_0, c_0, W_hh, W_hr=None, peepholes=None, *, wanted=None, probe=None)",
    ),
    (
        lambda c: c.reverse(c.checkpoint(c.ragged(c.projected(rules.gru)), 2)),
        "reverse(checkpoint(ragged(projected(gru))))"
        "(xs, h_0, W_ih, b, W_hh, b_hn=None, *, reset_after=True, probe=None, wanted=None, lengths=None)",
    ),
    (
        lambda c: c.shard(c.in_runs(c.looked_up(rules.rnn))),
        "shard(in_runs(looked_up(rnn)))(ids, h_0, table, W_hh, *, nonlinearity='tanh', probe=None, wanted=None)",
    ),
    (
        lambda c: c.truncate_randomly(rules.rnn, 2, 0.5),
        "truncate_randomly(rnn)"
        "(a_xs, h_0, W_hh, *, nonlinearity='tanh', probe=None, wanted=None, step=0)",
    ),
    (
        lambda c: c.shard(c.attentive(c.zoneout(rules.gru_step))),
        "shard(attentive(zoneout(gru_step)))"
        "(a_xs, keep_h_xs, fed_0, h_0, keys, values, mask, W_fed, W_query, v, W_out, W_hh, b_hn=None, *, "
        "reset_after=True, wanted=None, scale=1.0)",
    ),
    (lambda c: c.rtrl(rules.rnn), "rtrl(rnn)(a_xs, h_0, W_hh, *, nonlinearity='tanh', wanted=(True, True, True))"),
    (
        lambda c: c.reverse(partial(partial(rules.rnn), nonlinearity="relu")),
        "reverse(rnn)(a_xs, h_0, W_hh, *, nonlinearity='relu', probe=None, wanted=None)",
    ),
    (lambda c: c.reverse(leaky_sum), "reverse(leaky_sum)(xs, h_0, w, *, wanted=None)"),
    (
        lambda c: c.observe(rules.rnn, None),
        "observe(rnn)(a_xs, h_0, W_hh, *, nonlinearity='tanh', probe=None, wanted=None)",
    ),
)  # fmt: skip


RECURRENT = (rules.rnn, drawn(*RNN)), (rules.gru, drawn(*GRU)), (rules.lstm, drawn(*LSTM))


def refusals(tools: Tools) -> None:
    """What cannot be used is refused when the rule is made, or as soon as it is called."""
    c, lstm, inputs = tools, rules.lstm, drawn(*RNN)
    cuts: list[Callable] = [
        lambda rule: c.truncate(rule, 2), lambda rule: c.truncate_randomly(rule, 2, 0.5),
        lambda rule: c.clip_through_time(rule, 1.0),
    ]  # fmt: skip
    values: list[Callable] = [
        *(lambda n=n: c.truncate(lstm, n) for n in (0, -1, 2.0, True)),
        *(lambda n=n: c.truncate(lstm, 4, n) for n in (0, 2, 6, 4.0)),
        *(lambda n=n: c.truncate_randomly(lstm, n, 0.5) for n in (0, "1")),
        *(lambda p=p: c.truncate_randomly(lstm, 2, p) for p in (-0.1, 1, "0")),
        *(lambda m=m: c.clip_through_time(lstm, m) for m in (0, -1.0, "1", float("nan"), float("inf"))),
        *(lambda n=n: c.clip_through_time(lstm, 1.0, n) for n in (0, 1.5)),
        *(lambda n=n: c.checkpoint(lstm, n) for n in (0, None)),
        *(lambda n=n: c.ragged(rules.rnn)(*inputs, lengths=n) for n in (
            3, [1] * (B - 1), [1] * B + [T], [1] * (B - 1) + [T + 1], [-1] + [1] * (B - 1), [1.0] * B, [True] * B,
        )),
        lambda: c.ragged(rules.rnn)(inputs[0], inputs[1][:, :1], inputs[2], lengths=[1] * B),
        lambda: c.observe(c.truncate(rules.rnn, 2, 4), c.Record())(*inputs),
        lambda: list(c.influences(rules.rnn, *inputs, of={"W_hr"})),
        *(lambda W=W: list(c.influences(rules.rnn, *inputs, W_ih=W)) for W in (np.ones(H), np.ones((H + 1, H)))),
        lambda: list(c.influences(rules.rnn, *inputs, b=np.ones(1))),
        *(lambda rule=rule, x=x: c.rtrl(rule)(x[0], x[1][:, :1], *x[2:]) for rule, x in RECURRENT),
    ]  # fmt: skip
    types: list[Callable] = [
        *(lambda rule=rule: c.scan(rule) for rule in (rules.tanh, lstm, _backwards_named, _torn_apart)),
        *(lambda rule=rule: c.reverse(rule) for rule in (rules.tanh, rules.lstm_step, 3, _Nameless())),
        lambda: c.observe(rules.lstm_step, c.Record()),
        *(
            lambda make=make: make(c.attentive(rules.rnn_step))
            for make in (c.reverse, c.ragged, c.in_runs, c.projected)
        ),
        lambda: c.attentive(lstm),
        lambda: c.projected(c.ragged(rules.rnn)),
        lambda: c.looked_up(c.ragged(rules.rnn)),
        *(lambda make=make: c.in_runs(make(rules.rnn)) for make in (*cuts, c.reverse)),
        lambda: c.shard(rules.rnn_step),
        *(lambda make=make: c.ragged(make(rules.rnn)) for make in cuts),
        *(lambda make=make: c.ragged(c.projected(make(rules.rnn))) for make in cuts),
        *(lambda make=make: make(c.reverse(rules.rnn)) for make in (*cuts, lambda rule: c.checkpoint(rule, 2))),
        *(lambda make=make: make(c.truncate(rules.rnn, 2)) for make in (*cuts, lambda rule: c.checkpoint(rule, 2))),
        lambda: c.ragged(c.reverse(rules.rnn)),
        *(lambda n=n: c.scan(rules.rnn_step)(*inputs[:n]) for n in (0, 2)),
        lambda: c.scan(rules.rnn_step)(*inputs, None),
        lambda: c.rtrl(rules.tanh),
        lambda: c.rtrl(leaky_sum),
        lambda: list(c.influences(rules.rnn, *inputs, of="W_hh")),
        *(
            lambda others=others: list(c.influences(rules.rnn, inputs[0], *others))
            for others in (inputs[1:2], (None, inputs[2]), (*inputs[1:], None))
        ),
    ]
    for error, makes in ((ValueError, values), (TypeError, types)):
        for k, make in enumerate(makes):
            try:
                make()
            except error:
                continue
            raise AssertionError(f"{error.__name__} {k} is not raised")
    c.truncate_randomly(lstm, 2, 0), c.clip_through_time(lstm, 1), c.truncate(c.clip_through_time(lstm, 1.0), 1, 1)


class _Nameless:
    def __call__(self, xs, h_0):
        raise NotImplementedError


def _backwards_named(h_prev, a, W_hh):
    raise NotImplementedError


def _torn_apart(a, h_prev, W_hh, c_prev):
    raise NotImplementedError


def what_is_shown(tools: Tools) -> None:
    """Every step is shown under its own number, as it is when each column runs by itself; a record holds it all."""
    c, full = tools, [T] * B
    for rule, inputs, makes in (
        (rules.lstm, drawn(*FULL_LSTM), (
            (lambda rule: c.checkpoint(c.ragged(rule), 2), LENGTHS, False),
            (c.reverse, full, True),
            (lambda rule: c.in_runs(c.ragged(rule)), LENGTHS, False),
        )),
        (rules.gru, drawn(*GRU), (
            (lambda rule: c.checkpoint(rule, 2), full, False),
            (lambda rule: c.clip_through_time(rule, 1e9, 2), full, False),
            (c.ragged, LENGTHS, False),
            (lambda rule: with_workers(2, c.shard(c.ragged(rule))), LENGTHS, False),
            (lambda rule: c.reverse(c.ragged(rule)), LENGTHS, True),
        )),
    ):  # fmt: skip
        given = cotangents_like(rule(*inputs)[0])
        for make, lengths, turned in makes:
            expected = _seen_column_by_column(rule, inputs, given, lengths, turned)
            static, record = {} if lengths is full else {"lengths": lengths}, c.Record()
            steps: Counter = Counter()

            def probe(name: str, t: int, array: np.ndarray) -> None:
                record(name, t, array)  # noqa: B023  # called before the loop goes on
                steps[name, t] += 1  # noqa: B023  called at once

            outputs, pullback = c.observe(make(rule), probe)(*inputs, **static)
            assert np.array_equal(record["h"], outputs[0]), "shown too late"
            pullback(*given)
            assert {t for _, t in steps} == set(range(T)), f"shown are the steps {steps}"
            assert not turned or set(steps.values()) == {1}, f"shown more than once: {steps}"
            assert record.names == sorted(expected), f"shown is {record.names}"
            for name, seen in expected.items():
                assert record[name].shape == seen.shape, f"{name} has shape {record[name].shape}"
                assert np.allclose(record[name], seen, rtol=CLOSE, atol=CLOSE), f"{name} of {make(rule).__name__}"
    record, (a_xs, *others) = c.Record(), drawn(*RNN)
    outputs, pullback = c.observe(c.truncate(rules.rnn, 2), record)(a_xs, *others)
    da_xs, *_ = pullback(*cotangents_like(outputs))
    assert np.array_equal(record["h"], outputs[0]) and np.array_equal(record["da"], da_xs), "of windows"
    record, square = c.Record(), drawn((T, 2, 2, B), (2, 2, B), (2, 2))
    outputs, _ = c.observe(c.ragged(leaky_sum_shown), record)(*square, lengths=LENGTHS)
    assert np.array_equal(record["h"], outputs[0]), "states of three axes"
    probes_see_the_truth(c.scan(rules.lstm_step), drawn(*FULL_LSTM))


def _seen_column_by_column(rule, inputs, given, lengths, turned) -> dict[str, np.ndarray]:
    """What the rule itself shows of each column; of the steps past its end, zeros."""
    states = 1 + (rule is rules.lstm)
    whole: dict[str, np.ndarray] = {}
    for b, n in enumerate(lengths):

        def probe(name: str, t: int, array: np.ndarray) -> None:
            steps = whole.setdefault(name, np.zeros((T, len(array), B)))
            steps[n - 1 - t if turned else t, :, b] = array[:, 0]  # noqa: B023  # called before the loop goes on

        order, column = slice(None, None, -1 if turned else 1), slice(b, b + 1)
        own = [inputs[0][:n, :, column][order], *(h[:, column] for h in inputs[1 : 1 + states])]
        _, pullback = rule(*own, *inputs[1 + states :], probe=probe)
        pullback(given[0][:n, :, column][order], *(d[:, column] for d in given[1:]))
    return whole


def wrong_answers_are_named(tools: Tools) -> None:
    """Who has written a step by hand is told what it must return, and what it returned."""
    inputs = drawn((T, H, B), (H, B), (H, B))
    for states, answer, gradients, said in ANSWERS:

        def my_step(a, h_prev):
            return answer(a + h_prev, lambda dh: gradients((dh, dh)))  # noqa: B023  # called before the loop goes on

        def my_steps(a, h_prev, c_prev):
            return answer((a + h_prev, c_prev), lambda dh, dc: gradients((dh, dh, dc)))  # noqa: B023  called at once

        def there_and_back():
            outputs, pullback = tools.scan(my_step if states == 1 else my_steps)(*inputs[: 1 + states])  # noqa: B023  called at once
            pullback(*outputs)

        _refused(there_and_back, said)

    def listening_step(a, h_prev, *, wanted):
        return a + h_prev, None

    said = "listening_step must return (output, pullback), got (ndarray (3, 4), None)"
    _refused(lambda: tools.scan(listening_step)(*inputs[:2]), said)


def what_is_misplaced_is_told_where_it_belongs(tools: Tools) -> None:
    """A step in the place of a sequence rule is told of scan, and nothing else is; sequences that differ are named."""
    scanned = tools.scan(leaky_step)
    a_xs, h_0, W_hh = drawn(*RNN)
    for make, said in (
        (lambda: tools.projected(rules.rnn_step), "are a, h_prev, W_hh; of a step, scan(rnn_step) makes such a rule"),
        (lambda: tools.projected(rules.tanh), "its positional parameters are x"),
        (lambda: tools.scan(_torn_apart), "its positional parameters are a, h_prev, W_hh, c_prev"),
        (
            lambda: scanned(a_xs, np.ones((T + 1, H, B), bool), h_0, W_hh),
            f"as many as each other; got a_xs {a_xs.shape}, keep_xs {(T + 1, H, B)}",
        ),
        (lambda: tools.scan(rules.rnn_step)(np.ones(()), h_0, W_hh), "as many as each other; got a_xs ()"),
        (
            lambda: tools.scan(rules.rnn_step)([1.0], h_0, W_hh),
            f"takes the arrays a_xs, h_0, W_hh; got (list, ndarray {h_0.shape}, ndarray {W_hh.shape})",
        ),
    ):
        _refused(make, said)


def _refused(call: Callable, said: str) -> None:
    """Raise unless a call is refused in words that end so."""
    try:
        call()
    except (TypeError, ValueError) as error:
        assert str(error).endswith(said), f"{error}"
    else:
        raise AssertionError(f"nothing is said of this: {said}")


PUT_OUT = "the output of {} must be an array or a tuple of arrays, got"
ONE = "my_step takes h_prev and must return its new state, an array, for output, got"
TWO = "my_steps takes h_prev, c_prev and must return a tuple of its 2 new states for output, got"
PULLED = "the pullback of my_step must return a tuple of gradients, one for each of a, h_prev, got"
# of a step with so many states: its answer, what its pullback makes of the gradients, and what is said
ANSWERS: tuple[tuple[int, Callable, Callable, str], ...] = (
    (1, lambda h, pull: h, tuple, "my_step must return (output, pullback), got ndarray (3, 4)"),
    (1, lambda h, pull: (h, None), tuple, "my_step must return (output, pullback), got (ndarray (3, 4), None)"),
    (1, lambda h, pull: None, tuple, "my_step must return (output, pullback), got None"),
    (1, lambda h, pull: ((h,), pull), tuple, f"{ONE} (ndarray (3, 4),)"),
    (1, lambda h, pull: (1.0, pull), tuple, f"{PUT_OUT.format('my_step')} float"),
    (1, lambda h, pull: (h[:2], pull), tuple, "my_step: the new state has shape (2, 4), h_prev before it (3, 4)"),
    (2, lambda hs, pull: (list(hs), pull), tuple, f"{PUT_OUT.format('my_steps')} list"),
    (2, lambda hs, pull: (hs[0], pull), tuple, f"{TWO} ndarray (3, 4)"),
    (2, lambda hs, pull: ((*hs, *hs), pull), tuple, f"{TWO} ({', '.join(['ndarray (3, 4)'] * 4)})"),
    (2, lambda hs, pull: ((hs[0], 1.0), pull), tuple, f"{PUT_OUT.format('my_steps')} (ndarray (3, 4), float)"),
    (1, lambda h, pull: (h, pull), list, f"{PULLED} list"),
    (1, lambda h, pull: (h, pull), lambda found: found[1:], f"{PULLED} (ndarray (3, 4),)"),
    (1, lambda h, pull: (h, pull), lambda found: (found[0], None),
     "the pullback of my_step: the gradient of 'h_prev' must be an array, got None"),
    (1, lambda h, pull: (h, pull), lambda found: (found[0][:, 1:], found[1]),
     "the pullback of my_step: the gradient of 'a' has shape (3, 3), the argument has (3, 4)"),
)  # fmt: skip


def a_record(tools: Tools) -> None:
    """Steps in their order, whatever the order that they came in; copies; one pass; and no name that was not shown."""
    record, array = tools.Record(), np.ones(2)
    for t in (2, 3, 2, 0, 1):  # a pass that breaks off, and another
        array[:] = t
        record("dh", t, array)
    assert record.names == ["dh"] and record["dh"].tolist() == [[0, 0], [1, 1], [2, 2]]
    try:
        record["h"]
    except KeyError:
        return
    raise AssertionError("a record has what it was not shown")


def no_step_too_many(tools: Tools) -> None:
    """Past the end of a column nothing is computed, and every run is as long as it can be."""
    seen = []

    def counted(a_xs, h_0, W_hh, *, wanted=(True,) * 3):
        seen.append(a_xs.shape[:1] + a_xs.shape[-1:])
        return rules.rnn(a_xs, h_0, W_hh, wanted=wanted)

    tools.ragged(counted)(*drawn(*RNN), lengths=LENGTHS)
    assert seen == [(2, 3), (1, 2), (2, 1)], f"runs of (steps, columns) {seen}"


def runs_fill_the_cache(tools: Tools) -> None:
    """A run has as many steps as make 8 columns (`PIECES` says so), but one at least."""
    seen = []

    def counted(a_xs, h_0, W_hh, *, wanted=(True,) * 3):
        seen.append(len(a_xs))
        return rules.rnn(a_xs, h_0, W_hh, wanted=wanted)

    for columns, expected in ((B, [2, 2, 2, 2, 1]), (3, [2, 2, 2, 2, 1]), (9, [1] * 9), (1, [8, 1]), (0, [8, 1])):
        seen.clear()
        tools.in_runs(counted)(*drawn((9, H, columns), (H, columns), (H, H)))
        assert seen == expected, f"runs of {columns} columns have steps {seen}, not {expected}"


def everybody_has_a_fair_share(tools: Tools) -> None:
    """Each worker has as many columns as the next, or one more, in their order; and no one has none."""
    seen: dict = {}

    def spy(xs, h_0, w):
        seen[int(xs[0, 0, 0])] = xs.shape[-1]
        return leaky_sum(xs, h_0, w)

    xs, h_0, w = np.zeros((1, 1, 7)) + np.arange(7), np.zeros((1, 7)), np.ones(1)
    for number, expected in (
        (1, {0: 7}), (2, {0: 3, 3: 4}), (3, {0: 2, 2: 2, 4: 3}), (7, dict.fromkeys(range(7), 1)),
        (8, dict.fromkeys(range(7), 1)),
    ):  # fmt: skip
        seen.clear()
        with_workers(number, tools.shard(spy))(xs, h_0, w)
        assert dict(sorted(seen.items())) == expected, f"shares of {number} workers {seen}"
    outputs, pullback = with_workers(2, tools.shard(leaky_sum))(xs[..., :0], h_0[:, :0], w)
    assert [y.shape for y in (*outputs, *pullback(*outputs))] == [(1, 1, 0), (1, 0), (1, 1, 0), (1, 0), (1,)]


def some_columns_may_be_complex(tools: Tools) -> None:
    """What comes back of them is not cut off, though it came first that others are real: here those of no steps."""
    inputs, lengths = drawn(*RNN), [0] * (B // 2) + [T] * (B - B // 2)
    outputs, pullback = tools.ragged(rules.rnn)(*inputs, lengths=lengths)
    given = [c * (1 + 2j) for c in cotangents_like(outputs)]
    with use_workers(2):
        _, shared_pullback = tools.shard(tools.ragged(rules.rnn))(*inputs, lengths=lengths)
    with use_workers(1):  # the shares take turns
        found = shared_pullback(*given)
    for dx, expected in zip(found, pullback(*given), strict=True):
        assert np.allclose(dx, expected, rtol=CLOSE, atol=CLOSE), "complex gradients of some columns"


def nobody_is_asked_for_more(tools: Tools) -> None:
    """What is not wanted in the end is not asked for on the way, and a rule runs no more often than it must."""
    told: list = []

    def spy(a_xs, h_0, W_hh, *, wanted=(True,) * 3):
        told.append("".join("-x"[flag] for flag in wanted))
        return rules.rnn(a_xs, h_0, W_hh, wanted=wanted)

    inputs, (xs, W_ih), b = drawn(*RNN), drawn((T, 2, B), (RNN[0][1], 2)), None
    ids, table = np.zeros((T, B), int), drawn((H, 1))[0]
    for make, wanted, expected in (
        (tools.ragged, "--x", ["--x", "-xx", "-xx"]),
        (tools.ragged, "---", ["---"] * 3),
        (lambda rule: tools.truncate(rule, 2), "--x", ["--x", "-xx", "-xx"]),
        (lambda rule: tools.truncate(rule, 2), "---", ["---"] * 3),
        (lambda rule: tools.checkpoint(rule, 2), "--x", [*["---"] * 3, "-xx", "-xx", "--x"]),
        (lambda rule: tools.checkpoint(rule, 2), "---", ["---"] * 3),
        (tools.projected, "----x", ["--x"]),
        (tools.projected, "--x--", ["x--"]),
        (tools.projected, "-----", ["---"]),
        (tools.looked_up, "---x", ["--x"]),
        (tools.looked_up, "--x-", ["x--"]),
        (tools.looked_up, "----", ["---"]),
        (tools.in_runs, "--x", ["--x", "-xx", "-xx"]),
        (tools.in_runs, "---", ["---"] * 3),
        (lambda rule: with_workers(2, tools.shard(rule)), "--x", ["--x"] * 2),
        (lambda rule: with_workers(2, tools.shard(rule)), "---", ["---"] * 2),
    ):  # fmt: skip
        told.clear()
        arguments = {
            tools.projected: [xs, inputs[1], W_ih, b, inputs[2]], tools.looked_up: [ids, inputs[1], table, inputs[2]],
        }.get(make, inputs)  # fmt: skip
        static = {"lengths": LENGTHS} if make is tools.ragged else {}
        outputs, pullback = make(spy)(*arguments, wanted=tuple(flag == "x" for flag in wanted), **static)
        pullback(*cotangents_like(outputs))
        assert told == expected, f"asked for {told}, not for {expected}"


def of_a_count_nothing_is_asked(tools: Tools) -> None:
    """Whatever comes back for an integer among the states, the step is shown as many integer zeros."""

    def counting_step(a, h_prev, n_prev):
        def counting_step_pullback(dh, dn):
            assert dn.shape == n_prev.shape and dn.dtype == n_prev.dtype and not dn.any(), f"asked {dn} of a count"
            return dh, dh * (n_prev % 2), None

        return (a + h_prev * (n_prev % 2), n_prev + 1), counting_step_pullback

    (a_xs, h_0), n_0 = drawn((T, H, B), (H, B)), np.zeros((1, B), int)
    for make in (lambda rule: rule, lambda rule: tools.truncate(rule, 2), tools.in_runs):
        (hs, h, n), pullback = make(tools.scan(counting_step))(a_xs, h_0, n_0)
        for dn in (n - n, 0.5 * n):
            da_xs, _, nothing = pullback(np.ones_like(hs), h, dn)
            assert nothing is None and da_xs.all(), "of a count nothing is asked, and of all else as before"


def whose_influences(tools: Tools) -> None:
    """Those of all that is given if nothing is said; of nothing, none."""
    for rule, (xs, *others) in RECURRENT:
        names = set(argument_names(rule, 1 + len(others))[1 : 1 + len(others)])
        assert all(by.keys() == names for _, by in tools.influences(rule, xs, *others)), rule.__name__
        assert all(by == {} for _, by in tools.influences(rule, xs, *others, of=())), rule.__name__


def clips_what_is_large(tools: Tools) -> None:
    """Where a square would overflow, beside columns of nothing and of ordinary size."""
    xs, h_0, w = np.zeros((2, 2, 3), "float32"), np.ones((2, 3), "float32"), np.ones(2, "float32")  # one border
    _, pullback = tools.clip_through_time(leaky_sum, 1.0)(xs, h_0, w)
    _, dh, _ = pullback(xs, np.array([[-3e25, 0, 3], [-4e25, 0, 4]], "float32"))
    assert np.allclose(dh, [[-0.6, 0, 0.6], [-0.8, 0, 0.8]], rtol=1e-6, atol=0), f"clipped to {dh}"


def misfits_are_named(tools: Tools) -> None:
    """A decoder that attends refuses every array that does not fit, and says what would."""
    decoder = tools.attentive(forgetful_step)
    for feed, score, misfits in MISFITS:
        inputs = attending_inputs(((T, H, B), (H, B)), 1, feed, *score)
        names = argument_names(decoder, len(inputs))
        for shapes, needed in misfits:
            wrong = {name: np.zeros(shape, bool if name == "mask" else float) for name, shape in shapes.items()}
            try:
                decoder(*{**dict(zip(names, inputs, strict=True)), **wrong}.values())
            except ValueError as error:
                assert str(error) == f"a decoder that attends {needed}", f"{error}"
            else:
                raise AssertionError(f"of {shapes} nothing is said")


WITH, ADDITIVE = "with h (H, B) = (3, 4) needs", ("W_query", "v")
MISFITS: tuple[tuple[str, tuple[str, ...], tuple[tuple[dict, str], ...]], ...] = (
    (
        "output",
        ADDITIVE,
        (
            ({"a_xs": (H, B)}, "needs a_xs (T, G, B), got shape (3, 4)"),
            ({"fed_0": (2,)}, "needs fed_0 (K, B), got shape (2,)"),
            ({"h_0": (T, H, B)}, "needs h_0 (H, B), got shape (5, 3, 4)"),
            ({"keys": (3, 4)}, "needs keys (S, A, B), got shape (3, 4)"),
            ({"values": (3, 2)}, "needs values (S, F, B), got shape (3, 2)"),
            ({"a_xs": (T, H, 1)}, f"{WITH} a_xs (T, G, B) = (5, 3, 4), got (5, 3, 1)"),
            ({"fed_0": (2, 1)}, f"{WITH} fed_0 (K, B) = (2, 4), got (2, 1)"),
            ({"keys": (3, 4, 1)}, f"{WITH} keys (S, A, B) = (3, 4, 4), got (3, 4, 1)"),
            ({"values": (1, 2, B)}, f"{WITH} values (S, F, B) = (3, 2, 4), got (1, 2, 4)"),
            ({"mask": (3, 1)}, f"{WITH} mask (S, B) = (3, 4), got (3, 1)"),
            ({"W_fed": (1, 2)}, f"{WITH} W_fed (G, K) = (3, 2), got (1, 2)"),
            ({"W_query": (4, 1)}, f"{WITH} W_query (A, H) = (4, 3), got (4, 1)"),
            ({"v": (1,), "W_out": (2, 1)}, f"{WITH} v (A,) = (4,), got (1,); W_out (K, F + H) = (2, 5), got (2, 1)"),
            (
                {"keys": (0, 4, B), "values": (0, 2, B), "mask": (0, B)},
                f"{WITH} keys (S, A, B) = (1, 4, 4), got (0, 4, 4); values (S, F, B) = (1, 2, 4), got (0, 2, 4); "
                "mask (S, B) = (1, 4), got (0, 4)",
            ),
        ),
    ),
    (
        "context",
        ("v",),
        (
            ({"fed_0": (1, B)}, f"{WITH} fed_0 (F, B) = (2, 4), got (1, 4)"),
            ({"keys": (3, 1, B)}, f"{WITH} keys (S, H, B) = (3, 3, 4), got (3, 1, 4)"),
            ({"W_fed": (3, 1), "v": (1,)}, f"{WITH} W_fed (G, F) = (3, 2), got (3, 1); v (H,) = (3,), got (1,)"),
        ),
    ),
)  # fmt: skip


def looks_keep_what_is_read(tools: Tools) -> None:
    """Of a decoder what some gradient needs, and no more; what it hands on is no view of all steps."""
    for feed, score in (("output", ADDITIVE), ("output", ()), ("context", ADDITIVE), ("context", ())):
        inputs = attending_inputs(((T, H, B), (H, B)), 1, feed, *score)
        names = argument_names(tools.attentive(forgetful_step), len(inputs))
        sizes = {name: 0 if x is None else x.size for name, x in zip(names, inputs, strict=True)}
        K, F, A, S = len(inputs[1]), inputs[4].shape[1], inputs[3].shape[1], len(inputs[3])
        for asked in (names, *([name] for name in names if sizes[name] and name != "mask")):
            outputs, pullback = tools.attentive(forgetful_step)(*inputs, wanted=tuple(name in asked for name in names))
            kept = sum(sizes[name] for name in ("keys", "values", "W_fed", "W_query", "v", "W_out")) + T * S * B
            if "v" in score or "keys" in asked:
                kept += T * A * B  # queries
            if feed == "output" or "W_fed" in asked:
                kept += (T + 1) * K * B  # what was fed
            if {name for name in ("W_query", "W_out") if sizes[name]} & set(asked):
                kept += T * (H + (F if feed == "output" else 0)) * B  # what was read
            found = saved_bytes(pullback)
            assert found == kept * inputs[0].itemsize, f"asked for {asked} with {feed}, {score} it keeps {found} bytes"
            assert not np.shares_memory(outputs[0], outputs[3]), "the end is a view of all steps"


def little_is_kept(tools: Tools) -> None:
    """Of a sequence run again nothing but arguments and the states between; of a window alone, what is wanted."""
    inputs = drawn((60, *LSTM[0][1:]), *LSTM[1:])
    _, pullback = tools.checkpoint(rules.lstm, 10)(*inputs)
    states = 6 * 2 * inputs[1].nbytes
    assert saved_bytes(pullback) <= sum(x.nbytes for x in inputs) + 2 * states


def what_a_rule_keeps_stays(tools: Tools) -> None:
    """This one returns the same array in every run of steps and share of columns, and wants it back as it was."""
    kept = np.ones(1)

    def keeping(xs, h_0, w):
        return (xs, h_0), lambda dys, dh: (dys, dh, kept)

    inputs = drawn((T, 2, B), (2, B), (1,))
    for make, static, parts in (
        (tools.ragged, {"lengths": LENGTHS}, 3),
        (lambda rule: with_workers(2, tools.shard(rule)), {}, 2),
    ):
        outputs, pullback = make(keeping)(*inputs, **static)
        assert pullback(*cotangents_like(outputs))[2] == parts and kept == 1, f"{make(keeping).__name__} writes into it"


PROMISES: dict[Callable[[Tools], None], Collection[str]] = {
    signatures: AROUND_RULES,
    refusals: AROUND_RULES,
    what_is_shown: (
        "observe",
        "Record",
        "ragged",
        "reverse",
        "checkpoint",
        "truncate",
        "clip_through_time",
        "in_runs",
        "shard",
        "scan",
    ),
    wrong_answers_are_named: ("scan",),
    what_is_misplaced_is_told_where_it_belongs: ("projected", "scan"),
    a_record: ("Record",),
    no_step_too_many: ("ragged",),
    runs_fill_the_cache: ("in_runs",),
    everybody_has_a_fair_share: ("shard",),
    some_columns_may_be_complex: ("shard",),
    of_a_count_nothing_is_asked: ("in_runs", "scan", "truncate"),
    nobody_is_asked_for_more: ("checkpoint", "in_runs", "looked_up", "projected", "ragged", "shard", "truncate"),
    little_is_kept: ("checkpoint",),
    misfits_are_named: ("attentive",),
    looks_keep_what_is_read: ("attentive",),
    what_a_rule_keeps_stays: ("ragged", "shard"),
    whose_influences: ("influences",),
    clips_what_is_large: ("clip_through_time",),
    laws_of_recurrence: ("checkpoint", "ragged", "reverse", "shard", "truncate"),
}
