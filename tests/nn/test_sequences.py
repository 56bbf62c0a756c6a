"""Padding and unpadding: there and back the same, gradients included, and bad lists explained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.arrays import asarray, to_numpy
from minirnn.nn import GRU, pad_sequences, unpad_sequences
from minirnn.nn.sequences import checked_lengths
from minirnn.tape import Tensor

ragged = st.tuples(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from([(), (2,), (2, 1), (0,)]))


@given(ragged, st.booleans(), st.sampled_from(["float32", "float64", "int64"]))
def test_there_and_back(backend, shapes, batch_first, dtype):
    lengths, rest = shapes
    random = np.random.default_rng(0)
    sequences = [(10 * random.standard_normal((n, *rest))).astype(dtype) for n in lengths]
    padded, found = pad_sequences(sequences, batch_first)
    assert found.tolist() == lengths and isinstance(found, np.ndarray) and padded.dtype == dtype
    B, T = len(lengths), max(lengths)
    assert padded.shape == ((B, T) if batch_first else (T, B)) + rest
    rows = padded.numpy() if batch_first else padded.numpy().swapaxes(0, 1)
    assert not any(rows[k, n:].any() for k, n in enumerate(lengths))
    back = unpad_sequences(padded, found, batch_first)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(sequences, back, strict=True))


def test_gradients_flow_through_both(backend):
    sequences = [Tensor(np.ones((n, 2)), requires_grad=True) for n in (3, 1)]
    padded, lengths = pad_sequences(sequences)
    parts = unpad_sequences(padded * 2.0, lengths)
    (parts[0].sum() + (parts[1] * asarray([[3.0, 4.0]])).sum()).backward()
    assert (to_numpy(sequences[0].grad) == 2).all() and to_numpy(sequences[1].grad).tolist() == [[6.0, 8.0]]


def test_lists_through_a_layer(backend):
    """What a user with lists does: each sequence comes out as if it had been alone."""
    random, layer = np.random.default_rng(0), GRU(2, 3, bidirectional=True, batch_first=True, dtype="float64")
    sequences = [random.standard_normal((n, 2)) for n in (2, 4, 1)]
    padded, lengths = pad_sequences(sequences, batch_first=True)
    outs = unpad_sequences(layer(padded, lengths=lengths)[0], lengths, batch_first=True)
    for x, out in zip(sequences, outs, strict=True):
        assert np.allclose(layer(x[None])[0].numpy()[0], out.numpy(), rtol=1e-13)


@pytest.mark.parametrize(
    ("sequences", "error", "words"),
    [
        ([], ValueError, r"sequences must be a list of at least one, got \[\]"),
        ("abc", ValueError, "sequences must be a list of at least one, got 'abc'"),
        ([[1, 2], []], ValueError, r"sequences\[1\] must have at least one step, got shape \(0,\)"),
        ([3, 4], ValueError, r"sequences\[0\] must have at least one step, got shape \(\)"),
        ([[[1, 2]], [[3]]], ValueError, r"sequences\[1\] must have shape \(T, 2\) as sequences\[0\] has, got \(1, 1\)"),
        ([[1], [2.0]], TypeError, r"sequences\[1\] must have dtype int64 as sequences\[0\] has, got float64"),
        ([[1], ["a"]], TypeError, r"sequences\[1\]: data must be numbers"),
    ],
)
def test_bad_lists_are_explained(sequences, error, words):
    with pytest.raises(error, match=words):
        pad_sequences(sequences)


@pytest.mark.parametrize(
    ("padded", "lengths", "error", "words"),
    [
        ([1, 2], [1, 1], ValueError, r"padded must have shape \(T, B, ...\), .* got \(2,\)"),
        ([[1, 2]], [1], ValueError, "lengths must hold one integer for each of 2 sequences"),
        ([[1, 2]], [1, 2], ValueError, "lengths must lie in 1..1, the number of steps, got 2 for sequence 1"),
        ([[1, 2]], [1.0, 1.0], TypeError, "lengths must be integers"),
    ],
)
def test_bad_unpadding_is_explained(padded, lengths, error, words):
    with pytest.raises(error, match=words):
        unpad_sequences(padded, lengths)


@pytest.mark.parametrize("value", ["no", 1, None])
def test_batch_first_is_a_flag(value):
    with pytest.raises(TypeError, match=f"batch_first must be True or False, got {value!r}"):
        pad_sequences([[1]], batch_first=value)
    with pytest.raises(TypeError, match=f"batch_first must be True or False, got {value!r}"):
        unpad_sequences([[1]], [1], batch_first=value)


def test_no_sequences_have_no_lengths():
    assert checked_lengths([], B=0, T=3).tolist() == [] and unpad_sequences(np.zeros((3, 0)), []) == []
    out, h_n = GRU(2, 3, bidirectional=True)(np.zeros((4, 0, 2), "float32"), lengths=[])
    assert out.shape == (4, 0, 6) and h_n.shape == (2, 0, 3)


def test_lengths_come_to_the_host(backend):
    found = checked_lengths(asarray([2, 1]), B=2, T=2)
    assert isinstance(found, np.ndarray) and found.dtype == np.int64 and found.tolist() == [2, 1]
