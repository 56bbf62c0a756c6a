"""Targets are inputs shifted by one, lanes go on where they stopped, windows come again, splits share nothing."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minirnn.text import DataError, TextStream, TokenVocabulary, Vocabulary

# A text in which every character is another: the id of a character is its place, so coverage can be read off.
ALL_DIFFERENT = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))

sizes = st.tuples(st.integers(2, 400), st.integers(1, 20), st.integers(1, 6))


def stream_of(size, **settings):
    count, seq_len, batch_size = size
    assume(count > seq_len * batch_size)
    return TextStream(ALL_DIFFERENT[:count], seq_len, batch_size, **settings)


def epoch_of(stream, epoch):
    inputs, targets = zip(*(stream.batch(epoch, k) for k in range(stream.batches_per_epoch)), strict=True)
    return np.stack(inputs), np.stack(targets)  # each (batches, B, T)


@given(sizes, st.booleans(), st.integers(0, 5))
def test_each_target_is_the_character_after_its_input(size, lanes, epoch):
    stream = stream_of(size, lanes=lanes)
    inputs, targets = epoch_of(stream, epoch)
    _, seq_len, batch_size = size
    assert inputs.shape == targets.shape == (stream.batches_per_epoch, batch_size, seq_len)
    assert inputs.dtype == targets.dtype == np.int64
    assert np.array_equal(targets, inputs + 1)  # all characters differ: the one after id n is id n + 1
    assert np.array_equal(np.diff(inputs, axis=2), np.ones_like(inputs[:, :, 1:]))  # and a window is one piece of text


@given(sizes, st.integers(0, 3))
def test_every_lane_goes_on_where_the_batch_before_stopped(size, epoch):
    stream = stream_of(size)
    inputs, targets = epoch_of(stream, epoch)
    assert stream.carries_state
    assert np.array_equal(inputs[1:, :, 0], targets[:-1, :, -1])
    lanes = inputs.transpose(1, 0, 2).reshape(stream.batch_size, -1)
    assert np.array_equal(lanes[1:, 0], lanes[:-1, -1] + 1)  # one lane begins where the one above it ends


@given(sizes, st.integers(0, 3))
def test_an_epoch_of_lanes_trains_on_each_target_once_and_two_epochs_on_all(size, epoch):
    stream = stream_of(size)
    this, following = (Counter(epoch_of(stream, e)[1].ravel().tolist()) for e in (epoch, epoch + 1))
    assert set(this.values()) == set(following.values()) == {1}
    assert size[0] - 1 - len(this) < size[1] * size[2]  # fewer than one batch is left over
    assert this.keys() | following.keys() == set(range(1, size[0]))


def test_lanes_by_hand():
    stream = TextStream("abcdefghijk", seq_len=2, batch_size=2)  # 10 targets: 2 batches of 4, 2 left over
    read = [[stream.vocabulary.decode(row) for row in stream.batch(e, k)[0]] for e in (0, 1) for k in (0, 1)]
    assert read == [["ab", "ef"], ["cd", "gh"], ["cd", "gh"], ["ef", "ij"]]


@given(sizes, st.integers(0, 9), st.integers(0, 2**32))
def test_windows_come_again_from_seed_epoch_and_number_alone(size, epoch, seed):
    stream, again = (stream_of(size, lanes=False, seed=seed) for _ in range(2))
    assert not stream.carries_state
    inputs, _ = epoch_of(stream, epoch)
    last = again.batches_per_epoch - 1
    assert np.array_equal(again.batch(epoch, last)[0], inputs[last])  # asked for out of order


def test_windows_differ_by_seed_epoch_and_number():
    stream = TextStream(ALL_DIFFERENT, 10, 8, lanes=False, seed=1)
    other = TextStream(ALL_DIFFERENT, 10, 8, lanes=False, seed=2)
    starts = [tuple(row) for s in (stream, other) for epoch in (0, 1) for row in epoch_of(s, epoch)[0][:, :, 0]]
    assert len(set(starts)) == len(starts) == 4 * 24


def test_windows_reach_both_ends_and_start_everywhere_equally_often():
    stream = TextStream(ALL_DIFFERENT[:21], seq_len=10, batch_size=2, lanes=False, seed=3)
    starts = np.concatenate([stream.batch(epoch, 0)[0][:, 0] for epoch in range(1100)])
    counts = np.bincount(starts, minlength=11)
    assert len(counts) == 11  # 0 to 10: the last window ends one before the last character, its last target
    assert ((counts - 200) ** 2 / 200).sum() < 29.6  # chi-square, 10 degrees of freedom, 1 in 1000


def test_batches_are_fresh_arrays_and_ids_are_read_only():
    stream = TextStream("abcdefghij", 2, 2)
    inputs, targets = stream.batch(0, 0)
    inputs[:] = 0
    targets[:] = 0
    assert stream.batch(0, 0)[0].tolist() == [[0, 1], [4, 5]]
    with pytest.raises(ValueError, match="read-only"):
        stream.ids[0] = 1


@given(sizes, st.floats(0.01, 0.9), st.booleans())
def test_split_shares_no_character_and_loses_none(size, val_split, lanes):
    stream = stream_of(size, lanes=lanes, seed=7)
    try:
        training, validation = stream.split(val_split)
    except DataError:
        assume(False)
    assert np.array_equal(np.concatenate([training.ids, validation.ids]), stream.ids)
    assert len(validation.ids) == round(size[0] * val_split)
    assert training.vocabulary is validation.vocabulary is stream.vocabulary
    assert (training.seq_len, training.batch_size, training.lanes, training.seed) == (*size[1:], lanes, 7)
    assert validation.lanes and validation.seq_len == stream.seq_len and validation.batch_size <= stream.batch_size
    seen, held_out = (np.concatenate([a.ravel() for a in epoch_of(s, 0)]) for s in (training, validation))
    assert not set(seen.tolist()) & set(held_out.tolist())


def test_split_of_nothing_gives_the_stream_itself():
    stream = TextStream(ALL_DIFFERENT, 10, 4)
    assert stream.split(0) == (stream, None)


def test_a_short_held_out_part_is_measured_in_fewer_lanes():
    _, validation = TextStream(ALL_DIFFERENT, 50, 16).split(0.1)
    assert validation.batch_size == 3 and validation.batches_per_epoch == 1  # 200 characters: 3 windows of 50
    _, validation = TextStream(ALL_DIFFERENT, 50, 16).split(0.5)
    assert validation.batch_size == 16


def test_too_short_a_text_names_a_batch_size_that_fits():
    with pytest.raises(DataError) as caught:
        TextStream("x" * 262)
    assert str(caught.value) == (
        "text has 262 characters; seq_len 50 and batch_size 16 need at least 801; try batch_size=4 (--batch-size 4)"
    )


@given(st.integers(2, 300), st.integers(1, 500), st.integers(1, 100), st.booleans())
def test_what_is_suggested_works(count, seq_len, batch_size, lanes):
    assume(count <= seq_len * batch_size)
    with pytest.raises(DataError) as caught:
        TextStream("x" * count, seq_len, batch_size, lanes=lanes)
    hints = dict(re.findall(r"--([a-z-]+) (\d+)", str(caught.value)))
    stream = TextStream("x" * count, int(hints.get("seq-len", seq_len)), int(hints["batch-size"]), lanes=lanes)
    assert stream.batches_per_epoch >= 1


@given(st.integers(60, 3000), st.integers(1, 60), st.integers(1, 10), st.floats(1e-6, 0.999))
def test_what_is_suggested_for_a_split_works(count, seq_len, batch_size, val_split):
    assume(count > seq_len * batch_size)
    stream = TextStream("x" * count, seq_len, batch_size)
    try:
        stream.split(val_split)
    except DataError as error:
        assert "try" in str(error)
        assume("try a longer text" not in str(error))
        hints = dict(re.findall(r"--([a-z-]+) ([\d.]*\d)", str(error)))
        val_split = float(hints.get("val-split", val_split))
        stream = TextStream("x" * count, int(hints.get("seq-len", seq_len)), int(hints.get("batch-size", batch_size)))
        stream.split(val_split)


@pytest.mark.parametrize(
    ("val_split", "reason"),
    [
        (
            0.001,
            "val_split 0.001 holds out 1 of 1000 characters; one window of seq_len 50 needs 51; "
            "try val_split=0.051 (--val-split 0.051), or 0 for none",
        ),
        (
            0.5,
            "text without the 500 characters that val_split 0.5 holds out has 500 characters; seq_len 50 and "
            "batch_size 16 need at least 801; try batch_size=8 (--batch-size 8), or a smaller val_split",
        ),
    ],
)
def test_a_split_that_leaves_too_little_is_refused(val_split, reason):
    with pytest.raises(DataError, match=re.escape(reason)):
        TextStream(ALL_DIFFERENT[:1000]).split(val_split)


@pytest.mark.parametrize("val_split", [-0.1, 1, 1.5, float("nan"), float("inf"), "0.1", None])
def test_refuses_a_bad_val_split(val_split):
    with pytest.raises(ValueError, match="val_split must be a number from 0 to below 1"):
        TextStream(ALL_DIFFERENT).split(val_split)


@pytest.mark.parametrize("name", ["seq_len", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", None, True])
def test_refuses_bad_sizes(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer, got {value!r}"):
        TextStream(ALL_DIFFERENT, **{name: value})


@pytest.mark.parametrize("seed", [-1, 1.5, None])
def test_refuses_a_bad_seed(seed):
    with pytest.raises(ValueError, match=f"seed must be an integer that is not negative, got {seed!r}"):
        TextStream(ALL_DIFFERENT, seed=seed)


def test_takes_numpy_integers():
    stream = TextStream(ALL_DIFFERENT, np.int32(10), np.int64(4))
    assert type(stream.seq_len) is int and stream.batch(np.int64(0), np.int64(0))[0].shape == (4, 10)


@pytest.mark.parametrize(
    ("text", "reason"), [("", "at least one character"), ("a", "text has 1 character;.*try a longer text")]
)
def test_refuses_texts_without_a_single_target(text, reason):
    with pytest.raises(DataError, match=reason):
        TextStream(text, 1, 1)


def test_a_stream_is_shown_with_its_settings():
    shown = "TextStream(2,000 characters, seq_len=5, batch_size=2, lanes=False, seed=3)"
    assert repr(TextStream("ab" * 1000, 5, 2, lanes=False, seed=3)) == shown


def test_refuses_batches_that_do_not_exist():
    stream = TextStream(ALL_DIFFERENT, 50, 16)
    with pytest.raises(ValueError, match="k must be below batches_per_epoch = 2, got 2"):
        stream.batch(0, 2)
    with pytest.raises(ValueError, match="k must be an integer that is not negative, got -1"):
        stream.batch(0, -1)
    with pytest.raises(ValueError, match="epoch must be an integer that is not negative, got -1"):
        stream.batch(-1, 0)


def test_a_vocabulary_given_is_used_and_its_unknown_characters_follow_the_policy():
    vocabulary = Vocabulary("ab c")
    with pytest.raises(DataError, match="'x' at position 2"):
        TextStream("abxc", 1, 1, vocabulary=vocabulary)
    stream = TextStream("abxc", 1, 1, vocabulary=vocabulary, unknown="replace")
    assert stream.ids.tolist() == [0, 1, 2, 3] and stream.vocabulary is vocabulary
    assert TextStream("abxc", 1, 1, vocabulary=vocabulary, unknown="skip").ids.tolist() == [0, 1, 3]


def test_digest_knows_the_text_and_nothing_else():
    digest = TextStream("hello world", 2, 2).digest
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert digest == TextStream("hello world", 3, 1, lanes=False, seed=5).digest
    assert digest != TextStream("hello worlk", 2, 2).digest  # the same ids, another vocabulary
    assert digest != TextStream("hello wordl", 2, 2).digest  # the same vocabulary, other ids


def test_the_name_of_a_file_in_the_place_of_its_text_is_named(tmp_path):
    (tmp_path / "book.txt").write_text("a text")
    name = str(tmp_path / "book.txt")
    with pytest.raises(DataError, match=re.escape(f"this is the name of a file, which read_text({name!r}) reads")):
        TextStream(name, 50, 16)


def test_a_vocabulary_of_tokens_is_refused():
    with pytest.raises(TypeError, match="vocabulary must be a Vocabulary, of characters, got TokenVocabulary"):
        TextStream("abc" * 9, 2, 2, vocabulary=TokenVocabulary.learn(["abc"], "chars"))
