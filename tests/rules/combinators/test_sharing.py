"""Columns shared out among threads: the same numbers as the rule itself, whatever it is and however many share them."""

from contextvars import copy_context

import numpy as np
import pytest
from cells import CELLS, B, H, T, arguments, cotangents, projected_arguments, run
from hypothesis import given
from hypothesis import strategies as st

from minirnn import rules, workers
from minirnn.arrays import asarray, home_of, to_numpy
from minirnn.rules.combinators import (
    checkpoint,
    clip_through_time,
    in_runs,
    looked_up,
    observe,
    projected,
    ragged,
    reverse,
    scan,
    shard,
    truncate,
    truncate_randomly,
    zoneout,
)
from minirnn.testing import check_laws, in_pieces, saved_bytes
from minirnn.testing import strategies as some
from minirnn.workers import spread, use_workers

V = 7
every_cell = pytest.mark.parametrize("name", CELLS)
numbers_of_workers = pytest.mark.parametrize("number", [1, 2, 3, B, B + 3])
WAYS = {
    "forward": lambda rule: rule,
    "reversed": reverse,
    "in runs": in_runs,
    "truncated": lambda rule: truncate(rule, 2),
    "truncated further back": lambda rule: truncate(rule, 1, 3),
    "truncated at random": lambda rule: truncate_randomly(rule, 2, 0.5, seed=3),
    "clipped through time": lambda rule: clip_through_time(rule, 0.5),
    "checkpointed": lambda rule: checkpoint(rule, 4),
    "as a layer runs it": lambda rule: reverse(truncate(in_runs(rule), 5)),
}


def assert_close(found, expected, tolerance=1e-12):
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=tolerance, atol=tolerance, err_msg=f"entry {k}")


def assert_same_bits(found, expected):
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_numpy(x), to_numpy(y))


def shared(rule, inputs, number, **static):
    """What ``number`` workers make of the rule."""
    with use_workers(number):
        return run(shard(rule), inputs, **static)


def token_arguments(cell):
    """Ids, states, the projections of all words, and the other weights."""
    _, *rest = arguments(cell)
    random = np.random.default_rng(2)
    table = asarray(random.normal(size=(cell.gates * H, V)))
    return [asarray(random.integers(0, V, (T, B))), *rest[: cell.states], table, *rest[cell.states :]]


@every_cell
@pytest.mark.parametrize("way", WAYS)
@numbers_of_workers
def test_workers_change_nothing(name, way, number):
    """Ragged and not, outputs and gradients."""
    cell = CELLS[name]
    inputs, rule = projected_arguments(cell), WAYS[way](ragged(projected(cell.rule)))
    for lengths in (None, [6, 1, 4, 3], [0, 6, 0, 2]):
        assert_close(shared(rule, inputs, number, lengths=lengths), run(rule, inputs, lengths=lengths))


@given(cell=some.cells(T=(1, 5), B=(1, 5), H=(1, 4)), number=st.integers(2, 6), backwards=st.booleans(), data=st.data())
def test_workers_change_nothing_for_any_variant_and_size(cell, number, backwards, data):
    T, B = cell.inputs[0].shape[0], cell.inputs[0].shape[-1]
    lengths = data.draw(st.none() | some.lengths(B, T, least=0))
    rule = ragged(cell.rule)
    rule = reverse(rule) if backwards else rule
    expected = run(rule, cell.inputs, lengths=lengths, **cell.static)
    with in_pieces(workers=number):
        found = run(shard(rule), cell.inputs, lengths=lengths, **cell.static)
    assert_close([x for x in found if x is not None], [x for x in expected if x is not None])


@every_cell
@numbers_of_workers
def test_tokens_are_shared_too(backend, name, number):
    cell = CELLS[name]
    ids, *rest = token_arguments(cell)
    rule = ragged(looked_up(cell.rule))
    for lengths in (None, [6, 1, 4, 3]):
        found = shared(rule, [ids, *rest], number, lengths=lengths)
        expected = run(rule, [ids, *rest], lengths=lengths)
        assert [x is None for x in found] == [k == 1 + cell.states for k in range(len(found))]  # ids have no gradient
        assert_close([x for x in found if x is not None], [x for x in expected if x is not None])


@every_cell
@pytest.mark.parametrize("number", [2, 3])
def test_steps_with_masks_are_shared_with_their_masks(name, number):
    cell = CELLS[name]
    a_xs, *rest = arguments(cell)
    keeps = [(np.random.default_rng(k).random((T, H, B)) < 0.5).astype(float) for k in range(cell.states)]
    inputs, rule = [a_xs, *keeps, *rest], scan(zoneout(cell.step))
    assert_close(shared(rule, inputs, number), run(rule, inputs))


@pytest.mark.parametrize(("name", "static"), [("gru", {"reset_after": False}), ("rnn", {"nonlinearity": "relu"})])
def test_static_arguments_reach_every_share(name, static):
    cell = CELLS[name]
    inputs = arguments(cell)[: 2 + cell.states]
    assert_close(shared(cell.rule, inputs, 3, **static)[:4], run(cell.rule, inputs, **static)[:4])


@every_cell
def test_a_batch_of_one_is_not_shared(name):
    cell = CELLS[name]
    inputs = arguments(cell, B=1)
    assert_close(shared(cell.rule, inputs, 4), run(cell.rule, inputs))


@every_cell
@numbers_of_workers
def test_one_number_of_workers_gives_the_same_bits_every_time(name, number):
    cell = CELLS[name]
    inputs, rule = projected_arguments(cell), in_runs(ragged(projected(cell.rule)))
    with in_pieces(workers=number):
        first = run(shard(rule), inputs, lengths=[6, 1, 4, 3])
        for _ in range(5):
            assert_same_bits(run(shard(rule), inputs, lengths=[6, 1, 4, 3]), first)


@pytest.mark.parametrize("name", ["rnn", "lstm with everything"])
def test_the_stack_of_a_layer_keeps_all_laws(name):
    cell = CELLS[name]
    rule = shard(reverse(in_runs(ragged(projected(cell.rule)))))
    inputs, static = projected_arguments(cell, T=3, B=3), {"lengths": [3, 1, 2]}
    with in_pieces(workers=2):
        # a run of one step keeps the state before it, which counts for earlier steps, and it has none
        check_laws(rule, inputs, static, without=("probes_see_the_truth", "keeps_what_it_reads"))


def test_only_on_the_host_there_is_something_to_share(backend):
    inputs, seen = arguments(CELLS["gru"]), []

    def watched(a_xs, h_0, W_hh, b_hn):
        seen.append((a_xs.shape[-1], h_0.shape[-1], workers.workers()))
        return rules.gru(a_xs, h_0, W_hh, b_hn)

    with use_workers(3):
        shard(watched)(*inputs)
    assert sorted(seen) == ([(1, 1, 1), (1, 1, 1), (2, 2, 1)] if home_of(inputs[0]) == "numpy" else [(B, B, 3)])


def test_who_looks_on_sees_all_columns_at_once():
    inputs, shapes = arguments(CELLS["rnn"]), set()
    with use_workers(3):
        _, pullback = observe(shard(rules.rnn), lambda name, t, array: shapes.add(array.shape))(*inputs)
    pullback(*cotangents([np.empty((T, H, B)), np.empty((H, B))]))
    assert shapes == {(H, B)}


@pytest.mark.parametrize("there", [2, 3])
def test_a_pullback_may_be_called_where_there_are_other_workers(there):
    cell = CELLS["lstm"]
    inputs = arguments(cell)
    expected = run(cell.rule, inputs)[3:]
    with use_workers(there):
        outputs, pullback = shard(cell.rule)(*inputs)
    given = cotangents(outputs)
    for here in (1, 2, 5):
        with use_workers(here):
            assert_close(pullback(*given)[:4], expected)
    with use_workers(2):  # within a worker, in another thread, in another context
        for gradients in spread(lambda _: pullback(*given), [0, 1]):
            assert_close(gradients[:4], expected)
    assert_close(copy_context().run(pullback, *given)[:4], expected)


def test_nobody_asks_for_more_than_is_wanted_and_nothing_is_kept_for_nothing():
    cell = CELLS["lstm"]
    inputs = projected_arguments(cell)
    rule = shard(projected(cell.rule))
    with use_workers(2):
        outputs, full_pullback = rule(*inputs)
        full = full_pullback(*cotangents(outputs))
        for k in range(len(inputs)):
            _, pullback = rule(*inputs, wanted=tuple(j == k for j in range(len(inputs))))
            found = pullback(*cotangents(outputs))
            assert [g is not None for g in found[: len(inputs)]] == [j == k for j in range(len(inputs))]
            assert_same_bits([found[k]], [full[k]])
        _, pullback = rule(*inputs, wanted=(False,) * len(inputs))
        assert saved_bytes(pullback) == 0 and not any(g is not None for g in pullback(*cotangents(outputs)))


def test_an_error_in_a_share_is_that_of_the_rule():
    ids, *rest = token_arguments(CELLS["gru"])
    ids[3, 2] = V
    with use_workers(2), pytest.raises(IndexError, match=rf"ids must lie in 0\.\.{V - 1}, got {V} at index \(3, 0\)"):
        shard(looked_up(rules.gru))(ids, *rest)


def test_complex_numbers_in_some_columns_stay_complex():
    """Of columns without a step what comes back is real, and here it comes first."""
    inputs, lengths = arguments(CELLS["rnn"]), [0, 0, 4, 6]
    rule = ragged(rules.rnn)
    outputs, pullback = rule(*inputs, lengths=lengths)
    given = [c + 1j * d for c, d in zip(cotangents(outputs), cotangents(outputs, seed=9), strict=True)]
    with use_workers(2):
        _, shared_pullback = shard(rule)(*inputs, lengths=lengths)
    with use_workers(1):
        assert_close(shared_pullback(*given), pullback(*given))


def test_names_and_refusals():
    assert shard(projected(rules.gru)).__name__ == "shard(projected(gru))"
    with pytest.raises(TypeError, match=r"tanh must take \(\*sequences, \*states, \*weights\)"):
        shard(rules.tanh)
    with use_workers(2), pytest.raises(ValueError, match="lengths must be 4 integers from 0 to 6"):
        shard(ragged(rules.gru))(*arguments(CELLS["gru"]), lengths=[1, 2, 3])
