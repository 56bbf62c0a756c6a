"""The translator: written token by token it is what was trained, and it is blind to padding."""

import itertools

import numpy as np
import pytest
from translators import LENGTHS, SOURCES, TARGETS, WAYS, few, model, nats, played, same_bits, started, written

from minirnn.arrays import to_numpy
from minirnn.models.char_lm import CELLS
from minirnn.tape import no_grad
from minirnn.text import PAD

# Written step by step


@pytest.mark.parametrize("way", WAYS, ids="-".join)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("bidirectional", "num_layers"), list(itertools.product((True, False), (1, 2))))
def test_steps_are_what_was_trained(cell, way, bidirectional, num_layers):
    """Two translations of each sentence: scores and loss of the steps, which share a memory, are those of one pass."""
    attention, feed, context = way
    translator = model(
        cell=cell,
        bidirectional=bidirectional,
        num_layers=num_layers,
        attention=attention,
        feed=feed,
        context=context,
        dropout=0.4,
        label_smoothing=0.1,
    )
    rows, targets = [0, 0, 1, 1, 2, 2], TARGETS[[0, 1, 2, 0, 1, 2]]
    state = started(translator, SOURCES).take(rows)
    assert len(state) == 6 and state.memory.shape[-1] == 3  # kept once
    scores, weights, _ = written(translator, state, targets)
    translator.eval()
    assert np.allclose(scores, translator(SOURCES[rows], targets).numpy(), rtol=1e-11, atol=1e-12)
    loss, _ = translator.loss(SOURCES[rows], targets)
    assert abs(nats(scores, targets).mean() - loss.item()) < 1e-12
    assert np.abs(scores[0, 1:] - scores[1, 1:]).max() > 1e-3  # what was written before does matter
    assert np.abs(scores[0] - scores[3]).max() > 1e-3  # and so does what was read
    if attention != "none":
        real = np.broadcast_to((SOURCES != PAD)[rows][:, None], weights.shape)
        assert np.allclose(weights.sum(axis=-1), 1, rtol=1e-12)
        assert not weights[~real].any() and (weights[real] > 0).all()


@few
def test_columns_are_taken_repeated_dropped_and_in_any_order(backend, options):
    """After two steps: whatever is taken goes on as if it had been written alone."""
    translator, sources = model(**options), [0, 0, 1, 1, 2, 2]
    targets = np.array([[4, 5, 6], [7, 4, 4], [5, 6, 7], [6, 6, 2], [4, 4, 5], [3, 7, 2]])
    expected, looked, _ = written(translator, started(translator, SOURCES[sources]), targets)
    _, _, state = written(translator, started(translator, SOURCES).take(sources), targets[:, :2])
    for rows, memories in (
        ([0, 1, 2, 3, 4, 5], 3),
        ([1, 0, 3, 2, 5, 4], 3),
        ([1, 3, 5], 3),
        ([0, 0, 0, 1, 1, 1, 2, 3, 2, 4, 5, 4], None),  # six of the first, four of the others
        ([2, 3, 2, 2], 1),  # sentences done with are dropped
        ([4, 5, 0, 1], 2),
        ([5, 0, 0, 3], 4),  # not as many of each: then every column has a memory of its own
        ([0, 2, 1, 3], 4),
        ([0], 1),
        (np.array([3, 1], np.int32), 2),
    ):
        taken = state.take(rows)
        memories = memories or len(rows)
        assert len(taken) == len(rows) and taken.memory.shape[-1] == memories
        for way in (taken, taken.take(range(len(rows)))):
            with translator.evaluating(), no_grad():
                logits, weights, after = translator.step(way, targets[rows, 1])
            assert np.allclose(to_numpy(logits), expected[rows, 2], rtol=1e-11, atol=1e-12)
            assert weights is looked is None or np.allclose(to_numpy(weights), looked[rows, 2], rtol=1e-11, atol=1e-13)
            assert len(after) == len(rows)
        twice = taken.take(np.arange(len(rows))[::-1])
        with translator.evaluating(), no_grad():
            logits, _, _ = translator.step(twice, targets[rows, 1][::-1])
        assert np.allclose(to_numpy(logits)[::-1], expected[rows, 2], rtol=1e-11, atol=1e-12)


@few
def test_steps_leave_what_they_started_from_as_it_was(backend, options):
    """A search goes on from one state in several ways."""
    translator = model(**options)
    state = started(translator, SOURCES)
    first, _, _ = written(translator, state, TARGETS)
    written(translator, state.take([2, 0, 0]), TARGETS)
    again, _, _ = written(translator, state, TARGETS)
    assert np.array_equal(first, again)


# Padding


@few
def test_the_amount_of_padding_does_not_matter(backend, options):
    """Bit for bit, in training, and while half of the tokens are the model's own."""
    translator = model(**options, dropout=0.4, label_smoothing=0.2)
    for translator.teacher_forcing in (1.0, 0.5):
        results = []
        for at_source, at_target in ((0, 0), (3, 0), (0, 2), (1, 4)):
            translator.seek(3)
            padded = (np.pad(ids, ((0, 0), (0, n))) for ids, n in ((SOURCES, at_source), (TARGETS, at_target)))
            results.append(played(translator, *padded))
        assert all(same_bits(other, results[0]) for other in results[1:])


@few
def test_what_the_table_holds_for_padding_does_not_matter(backend, options):
    translator = model(**options)
    expected = played(translator)
    with no_grad():
        translator.source_embedding.weight[PAD] = 1e3
        translator.target_embedding.weight[PAD] = -1e3
    found = played(translator)
    real = TARGETS != PAD
    for results in (expected, found):
        results["scores"] = results["scores"][real]
        assert not results["d source_embedding.weight"][PAD].any()
        assert not results["d target_embedding.weight"][PAD].any()
    for name, value in expected.items():
        assert np.allclose(found[name], value, rtol=1e-10, atol=1e-14), name


@few
def test_rows_together_are_rows_apart(backend, options):
    """A token of a long sentence counts as much as one of a short one: loss and gradients are means over tokens."""
    translator = model(**options, label_smoothing=0.1)
    together = played(translator)
    apart = [played(translator, SOURCES[b : b + 1], TARGETS[b : b + 1]) for b in range(3)]
    for b, n in enumerate(LENGTHS):
        assert np.allclose(apart[b]["scores"][0], together["scores"][b, :n], rtol=1e-11, atol=1e-12)
    for name in together.keys() - {"scores"}:
        mean = sum(n * results[name] for n, results in zip(LENGTHS, apart, strict=True)) / LENGTHS.sum()
        assert np.allclose(together[name], mean, rtol=1e-10, atol=1e-14), name


@few
def test_the_order_of_the_rows_does_not_matter(options):
    translator, order = model(**options), [2, 0, 1]
    one, other = played(translator), played(translator, SOURCES[order], TARGETS[order])
    assert np.allclose(other.pop("scores"), one.pop("scores")[order], rtol=1e-11, atol=1e-12)
    for name, value in one.items():
        assert np.allclose(other[name], value, rtol=1e-10, atol=1e-14), name


@few
def test_tokens_that_are_not_padding_do_matter(options):
    """As a guard for the tests above: another last word, and loss and gradients are others."""
    translator, changed = model(**options), SOURCES.copy()
    changed[1, 1] = 7
    one, other = played(translator), played(translator, changed, TARGETS)
    assert [name for name in one if np.array_equal(one[name], other[name])] == []
