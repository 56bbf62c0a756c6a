"""What combinators and RTRL are tried on: small sequences in the required setting, and what has to come of them.

A trial says what is made of the combinators, and what that stands for without them (``references.py``). The numbers are
made once; a mutant then has only to be run and compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import references as ref
from hand_written import (
    counting,
    leaky_step,
    leaky_sum,
    leaky_sum_of_all,
    leaky_sum_shown,
    learner,
    with_workers,
)
from references import Run
from subjects import AROUND_RULES, HOMES

from minirnn import rules
from minirnn.arrays import random_generator
from minirnn.testing.variants import cotangents_like

T, B, D, H, P, V = 5, 4, 2, 3, 2, 6
LENGTHS = [3, 0, 5, 2]  # none and all among them, in no order
LSTM = (T, 4 * H, B), (H, B), (H, B), (4 * H, H)
FULL_LSTM = (T, 4 * H, B), (P, B), (H, B), (4 * H, P), (P, H), (3, H)
GRU = (T, 3 * H, B), (H, B), (3 * H, H), (H,)
RNN = (T, H, B), (H, B), (H, H)


class Trial:
    """A rule made with combinators, what to call it with, and its outputs by other means.

    Attributes
    ----------
    make : callable
        ``make(tools) -> rule``, ``tools`` having a combinator for every name in ``AROUND_RULES``.
    run : Run
        Its outputs.
    inputs, static
        What to call both with; ``run`` knows what is static.
    gradients_of : callable
        ``gradients_of(cotangents) -> gradients``; those of ``run`` by numbers, but for what is no gradient.
    """

    def __init__(self, make: Callable, run: Run, inputs: Sequence, gradients_of: Callable | None = None, **static: Any):
        self.make, self.run, self.inputs, self.static = make, run, guarded(inputs), static
        self.gradients_of = gradients_of or partial(ref.gradients_by_numbers, run, self.inputs)

    @cached_property
    def uses(self) -> frozenset[str]:
        """The names of the combinators that it is made with."""
        used = set()

        class Tools:
            def __getattr__(self, name: str) -> Any:
                used.add(name)
                return AROUND_RULES[name]

        self.make(Tools())
        return frozenset(used)

    @cached_property
    def passes(self) -> frozenset[tuple[str, str]]:
        """What it runs through, there and back: (module, name) of functions and classes at the top of their modules."""
        seen = set()

        def note(frame: FrameType, event: str, _: Any) -> None:
            if event == "call" and frame.f_globals.get("__name__", "").startswith(HOMES):
                seen.add((frame.f_globals["__name__"], frame.f_code.co_qualname.partition(".")[0]))

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            _, pullback = self.make(SimpleNamespace(**AROUND_RULES))(*self.inputs, **self.static)
            pullback(*self.cotangents)
        finally:
            sys.setprofile(before)
        return frozenset(seen)

    @cached_property
    def outputs(self) -> tuple:
        return guarded(self.run(*self.inputs))

    @cached_property
    def cotangents(self) -> tuple:
        return guarded(cotangents_like(self.outputs))

    @cached_property
    def gradients(self) -> tuple:
        return guarded(self.gradients_of(self.cotangents))


def guarded(arrays: Sequence) -> tuple:
    """The arrays, not to be written into: one mutant must not spoil the numbers for those that follow."""
    for x in arrays:
        if x is not None:
            x.flags.writeable = False
    return tuple(arrays)


def drawn(*shapes: tuple[int, ...] | None, seed: int = 0) -> list:
    """Random arrays, ``None`` for what is not given."""
    random = random_generator(seed, "trials of combinators")
    return [None if shape is None else random.normal(size=shape) for shape in shapes]


def padded(inputs: Sequence, lengths: Sequence[int] = LENGTHS) -> list:
    """The inputs with a number past every end that would be seen in all that it touched, or is no id."""
    xs = inputs[0].copy()
    for b, n in enumerate(lengths):
        xs[n:, ..., b] = 1000
    return [xs, *inputs[1:]]


def projected_inputs(shapes: Sequence, states: int, bias: bool = True) -> list:
    (steps, rows, columns), *others = shapes
    more = (rows, D), ((rows,) if bias else None)
    return drawn((steps, D, columns), *others[:states], *more, *others[states:])


def looked_up_inputs(shapes: Sequence, states: int) -> list:
    """Ids, one of them several times, and a table of ``V`` columns."""
    (steps, rows, columns), *others = shapes
    ids = random_generator(0, "ids").integers(0, V, (steps, columns))
    return [ids, *drawn(*others[:states], (rows, V), *others[states:])]


def attending_inputs(shapes: Sequence, states: int, feed: str, *score: str, mask: bool = True, inputs: int = 0) -> list:
    """From the shapes of a sequence rule a decoder, with what ``score`` names of W_query and v; 1000 in the padding."""
    (steps, rows, columns), others, size, (S, F, K, A) = shapes[0], shapes[1:], shapes[1][0], (3, 2, 2, 4)
    more, K, A = [(steps, size, columns)] * inputs, F if feed == "context" else K, A if "W_query" in score else size
    memory, W_query = ((S, A, columns), (S, F, columns), None), (A, size) if "W_query" in score else None
    W_out, v = None if feed == "context" else (K, F + size), (A,) if "v" in score else None
    W = (rows, K), W_query, v, W_out
    arrays = drawn(shapes[0], *more, (K, columns), *others[:states], *memory, *W, *others[states:])
    if mask:
        at = 1 + inputs + 1 + states
        arrays[at + 2] = np.arange(S)[:, None] < np.array([S, 1, 2, 2])
        for x in arrays[at : at + 2]:
            x.swapaxes(1, 2)[~arrays[at + 2]] = 1000
    return arrays


def zoned(step: Callable, states: int) -> Callable:
    """The new states of a step, each mixed with the one before."""

    def mixed(a, *others):
        keeps, prevs, weights = others[:states], others[states : 2 * states], others[2 * states :]
        news = step(a, *prevs, *weights)
        return [keep * prev + (1 - keep) * new for keep, prev, new in zip(keeps, prevs, news, strict=True)]

    return mixed


def factors(window: int, probability: float, seed: int, step: int) -> dict[int, float]:
    """What truncate_randomly multiplies at every border: drawn from the last to the first."""
    random, grown = random_generator(seed, "truncation", step), 1 / (1 - probability)
    return {t: 0.0 if random.random() < probability else grown for t in reversed(range(window, T, window))}


@cache
def trials() -> tuple[Trial, ...]:
    lstm, gru, rnn, plain = rules.lstm, rules.gru, rules.rnn, ref.plain
    a_lstm, a_full, a_gru, a_rnn = drawn(*LSTM), drawn(*FULL_LSTM), drawn(*GRU), drawn(*RNN)
    no_r = [*a_lstm, None, drawn((3, H))[0]]
    keep = random_generator(1, "keep").random((T, H, B)) < 0.5
    full, mean, square = [T] * B, drawn((T, H, B), (H, B), (H,)), drawn((T, 2, 2, B), (2, 2, B), (2, 2))
    longer, no_steps = drawn((9, H, B), (H, B), (H,)), drawn((0, 4 * H, B), *FULL_LSTM[1:])
    p_lstm, p_full = projected_inputs(LSTM, 2), projected_inputs(FULL_LSTM, 2)
    p_rnn = projected_inputs(RNN, 1, bias=False)
    t_lstm, t_gru = looked_up_inputs(FULL_LSTM, 2), looked_up_inputs(GRU, 1)
    keeps, keep_2 = (random_generator(2, "keeps").random((2, T, H, B)) for _ in range(2))
    tenths = np.float64(0.4)  # a number that would make float64 of float32
    leaky = ref.step_by_step(lambda *arguments: (leaky_step(*arguments)[0],), 2, 1)

    def apart(run: Run, states: int, lengths: Sequence[int] = LENGTHS) -> Run:
        return ref.column_by_column(run, lengths, states)

    def randomly(rule: Callable, states: int, step: int, window: int = 2) -> Run:
        return ref.with_borders(plain(rule), window, factors(window, 0.4, 5, step), states)

    def clip(rule: Callable, inputs: Sequence, states: int, max_norm: float, every: int) -> Callable:
        return lambda given: ref.clipped(rule, inputs, given, max_norm, every, states)

    return (
        Trial(lambda c: c.scan(rules.lstm_step), plain(lstm), a_full),
        Trial(lambda c: c.scan(leaky_step), leaky, [a_rnn[0], keep, *a_rnn[1:]]),
        Trial(lambda c: c.scan(rules.gru_step), plain(gru, reset_after=False), a_gru[:3], reset_after=False),
        Trial(
            lambda c: c.scan(c.zoneout(rules.lstm_step)),
            ref.step_by_step(zoned(lambda *x: rules.lstm_step(*x)[0], 2), 3, 2),
            [a_lstm[0], *keeps, *a_lstm[1:]],
        ),
        Trial(
            lambda c: c.scan(c.zoneout(rules.gru_step)),
            ref.step_by_step(zoned(lambda *x: (rules.gru_step(*x, reset_after=False)[0],), 1), 2, 1),
            [a_gru[0], keep_2[0], *a_gru[1:3]],
            reset_after=False,
        ),
        Trial(lambda c: c.zoneout(rules.lstm_step), lambda *x: tuple(zoned(lambda *y: rules.lstm_step(*y)[0], 2)(*x)),
              [a_lstm[0][0], *keeps[:, 0], *a_lstm[1:]]),
        Trial(lambda c: c.scan(rules.lstm_step), plain(lstm), no_steps),
        Trial(lambda c: c.attentive(rules.gru_step),
              ref.attending(lambda *x: (rules.gru_step(*x, reset_after=False)[0],), 0, 1, 0.4),
              attending_inputs(GRU[:3], 1, "context", mask=False), scale=tenths, reset_after=False),
        Trial(lambda c: c.attentive(rules.lstm_step), ref.attending(lambda *x: rules.lstm_step(*x)[0], 0, 2),
              attending_inputs(LSTM, 2, "output", "W_query", "v")),
        Trial(lambda c: c.attentive(c.zoneout(rules.rnn_step)), ref.attending(
              lambda *x: zoned(lambda *y: (rules.rnn_step(*y)[0],), 1)(*x), 1, 1),
              attending_inputs(RNN, 1, "output", "W_query", inputs=1)),
        Trial(lambda c: c.attentive(rules.rnn_step), ref.attending(lambda *x: (rules.rnn_step(*x)[0],), 0, 1),
              attending_inputs(RNN, 1, "context", "v")),
        Trial(lambda c: with_workers(2, c.shard(c.attentive(rules.lstm_step))),
              ref.attending(lambda *x: rules.lstm_step(*x)[0], 0, 2),
              attending_inputs(FULL_LSTM, 2, "output", "W_query", "v")),
        Trial(lambda c: with_workers(2, c.shard(c.attentive(rules.rnn_step))),
              ref.attending(lambda *x: (rules.rnn_step(*x)[0],), 0, 1),
              attending_inputs(RNN, 1, "context", mask=False)),
        Trial(lambda c: c.projected(lstm), ref.projecting_first(plain(lstm), 2), p_full),
        Trial(lambda c: c.projected(rnn), ref.projecting_first(plain(rnn, nonlinearity="relu"), 1), p_rnn,
              nonlinearity="relu"),
        Trial(lambda c: c.projected(leaky_sum), ref.projecting_first(plain(leaky_sum), 1),
              projected_inputs(((T, H, B), (H, B), (H,)), 1)),
        Trial(lambda c: c.looked_up(lstm), ref.looking_up_first(plain(lstm), 2), t_lstm),
        Trial(lambda c: c.looked_up(leaky_sum), ref.looking_up_first(plain(leaky_sum), 1),
              looked_up_inputs(((T, H, B), (H, B), (H,)), 1)),
        Trial(lambda c: c.ragged(c.looked_up(gru)), apart(ref.looking_up_first(plain(gru), 1), 1), padded(t_gru),
              lengths=LENGTHS),
        Trial(lambda c: c.reverse(gru), ref.backwards(plain(gru)), a_gru),
        Trial(lambda c: c.reverse(leaky_sum), ref.backwards(plain(leaky_sum)), mean),
        Trial(lambda c: c.ragged(gru), apart(plain(gru), 1), padded(a_gru), lengths=LENGTHS),
        Trial(lambda c: c.ragged(lstm), apart(plain(lstm), 2, [5, 3, 3, 0]), padded(a_full, [5, 3, 3, 0]),
              lengths=[5, 3, 3, 0]),
        Trial(lambda c: c.ragged(lstm), apart(plain(lstm), 2, [0, 0, 1, 0]), padded(a_full, [0, 0, 1, 0]),
              lengths=np.array([0, 0, 1, 0])),
        Trial(lambda c: c.ragged(leaky_sum), apart(plain(leaky_sum), 1, [2, 4, 4, 3]), mean, lengths=[2, 4, 4, 3]),
        Trial(lambda c: c.ragged(leaky_sum), apart(plain(leaky_sum), 1, [8, 1, 9, 2]), longer, lengths=[8, 1, 9, 2]),
        Trial(lambda c: c.reverse(leaky_sum_of_all), ref.valid_part_backwards(plain(leaky_sum), LENGTHS), square,
              lengths=LENGTHS),
        Trial(lambda c: c.reverse(c.ragged(leaky_sum)), apart(ref.backwards(plain(leaky_sum)), 1), square,
              lengths=LENGTHS),
        Trial(lambda c: c.ragged(rnn), apart(plain(rnn), 1, [0] * B), a_rnn, lengths=[0] * B),
        Trial(lambda c: c.ragged(rnn), plain(rnn), a_rnn, lengths=full),
        Trial(lambda c: c.ragged(rnn), plain(rnn, nonlinearity="relu"), a_rnn, nonlinearity="relu"),
        Trial(lambda c: c.reverse(c.ragged(gru)), apart(ref.backwards(plain(gru)), 1), padded(a_gru), lengths=LENGTHS),
        Trial(
            lambda c: c.reverse(c.checkpoint(c.ragged(c.projected(lstm)), 2)),
            apart(ref.backwards(ref.projecting_first(plain(lstm), 2)), 2),
            padded(p_lstm), lengths=LENGTHS,
        ),
        Trial(lambda c: c.checkpoint(lstm, 2), plain(lstm), no_r),
        Trial(lambda c: c.checkpoint(c.ragged(rnn), 1), apart(plain(rnn), 1), padded(a_rnn), lengths=LENGTHS),
        Trial(lambda c: c.checkpoint(leaky_sum, 4), plain(leaky_sum), mean),
        Trial(lambda c: c.checkpoint(counting, 2), plain(counting), a_rnn),
        Trial(lambda c: c.checkpoint(counting, 2), plain(counting, first=3), a_rnn, first=3),
        Trial(lambda c: c.ragged(counting), apart(plain(counting, first=3), 1), padded(a_rnn), lengths=LENGTHS,
              first=3),
        Trial(lambda c: c.checkpoint(c.ragged(counting), 2), apart(plain(counting), 1), padded(a_rnn), lengths=LENGTHS),
        Trial(lambda c: c.checkpoint(c.scan(leaky_step), 2), leaky, [a_rnn[0], keep, *a_rnn[1:]]),
        Trial(lambda c: c.checkpoint(c.ragged(rnn), 2), apart(plain(rnn), 1), padded(a_rnn),
              lengths=np.array(LENGTHS, "uint8")),
        Trial(lambda c: c.in_runs(lstm), plain(lstm), a_full),
        Trial(lambda c: c.in_runs(counting), plain(counting, first=3), a_rnn, first=3),
        Trial(lambda c: c.in_runs(c.ragged(rnn)), apart(plain(rnn), 1), padded(a_rnn), lengths=LENGTHS),
        Trial(lambda c: with_workers(2, c.shard(lstm)), plain(lstm), a_full),
        Trial(lambda c: with_workers("auto", c.shard(lstm)), plain(lstm), no_r),
        Trial(lambda c: with_workers(3, c.shard(gru)), plain(gru), a_gru[:3]),
        Trial(lambda c: with_workers(9, c.shard(leaky_sum)), plain(leaky_sum), square),
        Trial(lambda c: with_workers(1, c.shard(rnn)), plain(rnn, nonlinearity="relu"), a_rnn, nonlinearity="relu"),
        Trial(lambda c: with_workers(2, c.shard(c.scan(leaky_step))), leaky, [a_rnn[0], keep, *a_rnn[1:]]),
        Trial(lambda c: with_workers(2, c.shard(c.ragged(rnn))), apart(plain(rnn), 1), padded(a_rnn), lengths=LENGTHS),
        Trial(
            lambda c: with_workers(3, c.shard(c.reverse(c.checkpoint(c.in_runs(c.ragged(c.looked_up(gru))), 4)))),
            apart(ref.backwards(ref.looking_up_first(plain(gru), 1)), 1), padded(t_gru), lengths=LENGTHS,
        ),
        Trial(lambda c: c.truncate(lstm, 2), ref.truncated(plain(lstm), 2, 2, 2), a_lstm),
        Trial(lambda c: c.truncate(gru, 1, 3), ref.truncated(plain(gru), 1, 3, 1), a_gru),
        Trial(lambda c: c.truncate(lstm, 2, 4), ref.truncated(plain(lstm), 2, 4, 2), a_full),
        Trial(lambda c: c.truncate(rnn, T), plain(rnn), a_rnn),
        Trial(lambda c: c.truncate(c.ragged(gru), 1, 3), apart(ref.truncated(plain(gru), 1, 3, 1), 1), padded(a_gru),
              lengths=LENGTHS),
        Trial(lambda c: c.truncate(c.ragged(lstm), 2), apart(ref.truncated(plain(lstm), 2, 2, 2), 2), padded(a_lstm),
              lengths=LENGTHS),
        *(
            Trial(lambda c: c.truncate_randomly(lstm, 2, tenths, seed=5), randomly(lstm, 2, step), a_lstm, step=step)
            for step in range(4)
        ),
        Trial(lambda c: c.truncate_randomly(rnn, 1, 0.4, seed=5), randomly(rnn, 1, 0, window=1), a_rnn),
        Trial(lambda c: c.truncate_randomly(rnn, 1, 0), plain(rnn), a_rnn, step=1),
        Trial(lambda c: c.truncate_randomly(c.ragged(gru), 2, 0.4, seed=5), apart(randomly(gru, 1, 3), 1),
              padded(a_gru), lengths=LENGTHS, step=3),
        Trial(lambda c: c.clip_through_time(lstm, 2 * tenths, 2), plain(lstm), a_full, clip(lstm, a_full, 2, 0.8, 2)),
        Trial(lambda c: c.clip_through_time(gru, 1.5), plain(gru), a_gru, clip(gru, a_gru, 1, 1.5, 1)),
        Trial(lambda c: c.clip_through_time(gru, 1e9, 2), plain(gru), a_gru),
        Trial(lambda c: c.clip_through_time(leaky_sum, 1.0, 2), plain(leaky_sum), square,
              clip(leaky_sum, square, 1, 1.0, 2)),
        Trial(lambda c: c.observe(lstm, lambda name, t, array: None), plain(lstm), a_full),
        Trial(lambda c: c.observe(leaky_sum_shown, lambda name, t, array: None), plain(leaky_sum), mean),
        Trial(lambda c: c.rtrl(rnn), plain(rnn), a_rnn),
        Trial(lambda c: c.rtrl(rnn), plain(rnn, nonlinearity="relu"), a_rnn, nonlinearity="relu"),
        Trial(lambda c: c.rtrl(gru), plain(gru), a_gru),
        Trial(lambda c: c.rtrl(gru), plain(gru, reset_after=False), a_gru[:3], reset_after=False),
        Trial(lambda c: c.rtrl(lstm), plain(lstm), a_full),
        Trial(lambda c: c.rtrl(lstm), plain(lstm), a_lstm),
        Trial(lambda c: c.rtrl(lstm), plain(lstm), no_steps),
        Trial(lambda c: c.rtrl(gru), plain(gru), a_gru[:3]),
        Trial(lambda c: learner(c.influences, lstm, 2), ref.projecting_first(plain(lstm), 2), p_lstm),
        Trial(lambda c: learner(c.influences, rnn, 1), ref.projecting_first(plain(rnn), 1), p_rnn),
    )  # fmt: skip
