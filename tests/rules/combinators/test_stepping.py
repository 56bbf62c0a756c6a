"""From step to sequence and from input or token to pre-activation: each combinator equals what it stands for."""

import numpy as np
import pytest
from cells import CELLS, B, T, arguments, cotangents, numeric, projected_arguments, run
from hypothesis import given
from hypothesis import strategies as st

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.rules.combinators import looked_up, projected, ragged, reverse, scan, shard, truncate
from minirnn.rules.combinators.form import form_of, positional
from minirnn.testing import arrays_in, check_laws

every_cell = pytest.mark.parametrize("name", CELLS)


def assert_close(found, expected, tolerance=1e-12):
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=tolerance, atol=tolerance, err_msg=f"entry {k}")


@every_cell
@given(length=st.integers(1, T), seed=st.integers(0, 99))
def test_a_scan_of_steps_is_the_sequence_rule(name, length, seed):
    cell = CELLS[name]
    inputs = arguments(cell, T=length, seed=seed)
    assert_close(run(scan(cell.step), inputs), run(cell.rule, inputs)[: 1 + cell.states + len(inputs)])


@every_cell
def test_a_scan_of_no_steps_hands_the_states_on(name):
    cell = CELLS[name]
    inputs = arguments(cell, T=0)
    outputs, pullback = scan(cell.step)(*inputs)
    for end, state in zip(outputs[1:], inputs[1:], strict=False):
        np.testing.assert_array_equal(end, state)
    dys = cotangents(outputs)
    gradients = pullback(*dys)
    for d, given_d in zip(gradients[1:], dys[1:], strict=False):
        np.testing.assert_array_equal(d, given_d)
    assert not gradients[1 + cell.states].any()  # of W_hh, in its own shape
    assert gradients[1 + cell.states].shape == inputs[1 + cell.states].shape


@every_cell
@pytest.mark.parametrize("combined", ["scan", "projected"])
def test_all_laws(backend, name, combined):
    cell = CELLS[name]
    if combined == "scan":
        # it keeps whole steps: what only some of their gradients need as well
        without = ("keeps_what_it_reads", *numeric(backend))
        check_laws(scan(cell.step), arguments(cell, T=3, B=2), without=without)
    else:
        # the gradients shown are those of pre-activations; the first argument is what comes before them
        without = ("probes_see_the_truth", *numeric(backend))
        check_laws(projected(cell.rule), projected_arguments(cell, T=3, B=2), without=without)


@every_cell
def test_projected_is_projecting_first(backend, name):
    cell = CELLS[name]
    xs, *rest = projected_arguments(cell)
    states, (W_ih, b), weights = rest[: cell.states], rest[cell.states :][:2], rest[cell.states + 2 :]
    outputs, pullback = projected(cell.rule)(xs, *rest)
    a_xs, affine_pullback = rules.affine(xs, W_ih, b)
    expected, rule_pullback = cell.rule(a_xs, *states, *weights)
    assert_close(outputs, expected, 0)
    dys = cotangents(outputs)
    da_xs, *others = rule_pullback(*dys)
    dxs, dW_ih, db = affine_pullback(da_xs)
    after = [dxs, *others[: cell.states], dW_ih, db, *others[cell.states :]]
    found = pullback(*dys)
    assert_close([g for g in found if g is not None], [g for g in after if g is not None], 0)


@every_cell
@pytest.mark.parametrize("lengths", [None, [6, 1, 4, 3]])
def test_looked_up_is_projecting_the_embeddings(backend, name, lengths):
    """Of every token, one by one; the gradients of embeddings and projection come through the table."""
    cell = CELLS[name]
    _, *rest = projected_arguments(cell)
    states, (W_ih, b), weights = rest[: cell.states], rest[cell.states :][:2], rest[cell.states + 2 :]
    random = np.random.default_rng(5)
    embeddings, ids = asarray(random.normal(size=(2, 7))), asarray(random.integers(0, 7, (T, B)))
    table, table_pullback = rules.affine(embeddings, W_ih, b)
    outputs, pullback = ragged(looked_up(cell.rule))(ids, *states, table, *weights, lengths=lengths)
    xs = asarray(np.stack([to_numpy(embeddings)[:, now] for now in to_numpy(ids)]))
    expected, projected_pullback = ragged(projected(cell.rule))(xs, *rest, lengths=lengths)
    assert_close(outputs, expected)
    dys = cotangents(outputs)
    dids, *others = pullback(*dys)
    dembeddings, dW_ih, db = table_pullback(others[cell.states])
    found = [dembeddings, *others[: cell.states], dW_ih, db, *others[cell.states + 1 :][: len(weights)]]
    dxs, *expected = projected_pullback(*dys)[: 1 + len(rest)]
    of_tokens = np.zeros((7, 2))
    np.add.at(of_tokens, to_numpy(ids).reshape(-1), to_numpy(dxs).swapaxes(1, 2).reshape(-1, 2))
    assert dids is None
    assert_close(found, [of_tokens.T, *expected])


@every_cell
def test_look_ups_keep_all_laws(backend, name):
    cell = CELLS[name]
    a_xs, *rest = arguments(cell, T=3, B=2)
    ids, table = np.array([[3, 0], [1, 3], [2, 2]]), np.random.default_rng(1).normal(size=(a_xs.shape[1], 4))
    inputs = [asarray(ids), *rest[: cell.states], asarray(table), *rest[cell.states :]]
    check_laws(looked_up(cell.rule), inputs, without=("probes_see_the_truth", *numeric(backend)))


@pytest.mark.parametrize("flags", ["ids", "h_0", "nothing"])
def test_a_table_that_nobody_asks_about_is_left_out(flags):
    ids, h_0, table, W_hh = np.array([[3, 0], [1, 3]]), np.ones((3, 2)), np.ones((3, 4)), np.eye(3)
    rule = looked_up(rules.rnn)
    outputs, pullback = rule(ids, h_0, table, W_hh, wanted=(flags == "ids", flags == "h_0", False, False))
    gradients = pullback(*outputs)
    assert [g is not None for g in gradients] == [False, flags == "h_0", False, False]
    assert not any(kept is ids for kept in arrays_in(pullback))


def test_names_tell_what_an_argument_is():
    assert positional(scan(rules.lstm_step)) == positional(rules.lstm)
    assert positional(projected(rules.gru)) == ["xs", "h_0", "W_ih", "b", "W_hh", "b_hn"]
    assert projected(rules.gru).__name__ == "projected(gru)"
    assert form_of(projected(rules.lstm)) == (1, 2)


def test_a_step_may_have_inputs_besides_the_first():
    """A step whose second input says, entry by entry, which of the old state is kept."""

    def leaky_step(a, keep, h_prev, W_hh):
        h, step_pullback = rules.rnn_step(a, h_prev, W_hh)

        def leaky_step_pullback(dh):
            da, dh_prev, dW_hh = step_pullback(dh * ~keep)
            return da, None, dh_prev + dh * keep, dW_hh

        return keep * h_prev + ~keep * h, leaky_step_pullback

    a_xs, h_0, W_hh = arguments(CELLS["rnn"])
    keep = np.random.default_rng(1).random(a_xs.shape) < 0.5
    rule = scan(leaky_step)
    assert positional(rule) == ["a_xs", "keep_xs", "h_0", "W_hh"]
    check_laws(rule, (a_xs, keep, h_0, W_hh), without=("keeps_what_it_reads",))


@pytest.mark.parametrize("step", [rules.tanh, rules.affine, rules.lstm])
def test_what_is_no_step_is_refused(step):
    with pytest.raises(TypeError, match=rf"{step.__name__} must take .* named \.\.\._prev"):
        scan(step)


@pytest.mark.parametrize(
    ("gradients", "error", "words"),
    [
        (lambda da, dh, dU: (da, dh), TypeError, r"gradients, one for each of a, h_prev, U, got \(ndarray \(3, 4\), "),
        (lambda da, dh, dU: (dU, dh, da), ValueError, r"of 'a' has shape \(3, 3\), the argument has \(3, 4\)"),
        (lambda da, dh, dU: (da, dh, dU[:1]), ValueError, r"of 'U' has shape \(1, 3\), the argument has \(3, 3\)"),
    ],
)
def test_a_step_that_listens_to_what_is_wanted_is_looked_at_too(gradients, error, words):
    """What it may answer besides stands in tests/mutation/promises.py, for a step that does not listen."""

    def listening_step(a, h_prev, U, *, wanted=None):
        h, pullback = rules.rnn_step(a, h_prev, U)
        return h, lambda dh: gradients(*pullback(dh))

    outputs, pullback = scan(listening_step)(*arguments(CELLS["rnn"]))
    with pytest.raises(error, match=words):
        pullback(*outputs)


def test_a_step_with_two_states_must_return_both():
    def lost_step(a_x, h_prev, c_prev, W_hh):
        (h, _), pull = rules.lstm_step(a_x, h_prev, c_prev, W_hh)
        return h, pull

    with pytest.raises(
        TypeError, match="takes h_prev, c_prev and must return a tuple of its 2 new states for output, got"
    ):
        scan(lost_step)(*arguments(CELLS["lstm"]))


def test_sequences_of_different_lengths_are_named():
    def sum_step(x, y, h_prev):
        return x + y + h_prev, lambda dh: (dh, dh, dh)

    with pytest.raises(ValueError, match=r"as many as each other; got x_xs \(3, 2, 1\), y_xs \(4, 2, 1\)"):
        scan(sum_step)(np.ones((3, 2, 1)), np.ones((4, 2, 1)), np.ones((2, 1)))


def test_the_array_of_a_single_step_is_no_sequence():
    a_xs, h_0, W_hh = arguments(CELLS["rnn"])
    with pytest.raises(ValueError, match="an RNN needs") as caught:
        scan(rules.rnn_step)(a_xs[0], h_0, W_hh)
    assert caught.value.__notes__ == ["at step 0 of a_xs (3, 4): the first axis of a sequence is time"]
    with pytest.raises(ValueError, match=r"must have their steps on the first axis, .* got a_xs \(\)"):
        scan(rules.rnn_step)(a_xs[0, 0, 0], h_0, W_hh)


@pytest.mark.parametrize("make", [scan, lambda step: truncate(scan(step), 2), lambda step: shard(scan(step))])
@pytest.mark.parametrize(
    ("spoil", "got"),
    [
        (lambda hs, h, c: (hs,), "(ndarray (6, 3, 4),)"),
        (lambda hs, h, c: (hs, h, None), "(ndarray (6, 3, 4), ndarray (3, 4), None)"),
        (lambda hs, h, c: (hs, h[:, :1], c), "(ndarray (6, 3, 4), ndarray (3, 1), ndarray (3, 4))"),
        (lambda hs, h, c: (np.ones((7, 3, 4)), h, c), "(ndarray (7, 3, 4), ndarray (3, 4), ndarray (3, 4))"),
    ],
)
def test_a_pullback_takes_a_cotangent_of_each_output(make, spoil, got):
    outputs, pullback = make(rules.lstm_step)(*arguments(CELLS["lstm"]))
    with pytest.raises(ValueError, match=r"^the pullback of .*scan\(lstm_step\).* takes .* in shapes ") as caught:
        pullback(*spoil(*outputs))
    assert str(caught.value).endswith(f"(6, 3, 4), (3, 4), (3, 4); got {got}")


def test_what_is_no_array_is_named():
    a_xs, h_0, W_hh = arguments(CELLS["rnn"])
    with pytest.raises(TypeError, match=r"^reverse\(rnn\) takes the arrays a_xs, h_0, W_hh; got \(list, ndarray "):
        reverse(rules.rnn)(a_xs.tolist(), h_0, W_hh)


def test_a_step_in_the_place_of_a_sequence_rule_is_told_of_scan():
    with pytest.raises(TypeError, match=r"; of a step, scan\(rnn_step\) makes such a rule"):
        projected(rules.rnn_step)
