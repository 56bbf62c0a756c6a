"""Pairs: a file gives them or one error with a line, and an epoch is every pair once, in tight batches, at any time."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minirnn.text import EOS, PAD, DataError, PairStream, TokenVocabulary, read_pairs

CHARS = TokenVocabulary.learn(["abcdefghijklmnopqrstuvwxyz0123456789 "], "chars")


def written(tmp_path, data: bytes):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(data)
    return path


# --- files ---


@pytest.mark.parametrize(
    "data",
    [
        b"a b\tc\nd\te",
        b"a b\tc\nd\te\n",
        b"a b\tc\r\nd\te\r\n",
        b"\xef\xbb\xbfa b\tc\nd\te\n",
    ],
)
def test_reads_every_kind_of_line_end_and_no_byte_order_mark(tmp_path, data):
    assert read_pairs(written(tmp_path, data)) == [("a b", "c"), ("d", "e")]


def test_sentences_are_kept_as_they_are(tmp_path):
    data = " a\u2028b \tc\x0bd\x85e\u00a0f 🙂".encode()  # a line ends at "\n", not where str.splitlines would end it
    assert read_pairs(str(written(tmp_path, data))) == [(" a\u2028b ", "c\x0bd\x85e\u00a0f 🙂")]


@given(st.lists(st.tuples(*[st.text(min_size=1).filter(lambda s: s.strip() and not set(s) & set("\t\r\n\0"))] * 2)))
def test_what_was_written_is_read(tmp_path_factory, pairs):
    assume(pairs and not pairs[0][0].startswith("\ufeff"))
    path = written(tmp_path_factory.mktemp("pairs"), "".join(f"{s}\t{t}\n" for s, t in pairs).encode())
    assert read_pairs(path) == pairs


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\n", "line 1 has 1 column; expected two"),
        (b"a\tb\nc d\ne\tf\n", "line 2 has 1 column; expected two"),
        (b"a\tb\n\nc\td\n", "line 2 has 1 column; expected two"),
        (b"a\tb\n\n", "line 2 has 1 column; expected two"),
        (b"a\tb\tc\n", "line 1 has 3 columns; expected two"),
        (b"a\tb\nc\td\t\r\n", "line 2 has 3 columns; expected two"),
        (b"a\tb\n\tc\n", "line 2 has an empty source"),
        (b"a\tb\nc\t\n", "line 2 has an empty target"),
        (b"a\tb\nc\t\r\n", "line 2 has an empty target"),
        (b"a\t   \n", "line 1 has an empty target"),
        ("\u2003\ta".encode(), "line 1 has an empty source"),
        (b"a\tb\rc\td\r", "line 1 has a carriage return in the middle"),
        (b"a\tb\nc\rd\te\n", "line 2 has a carriage return in the middle"),
        (b"a\tb\r\r\n", "line 1 has a carriage return in the middle"),
        (b"a\tb\nc\t\xe9t\xe9\n", r"not UTF-8 \(byte 0xe9 at byte 6: invalid continuation byte, line 2\)"),
        (b"\xef\xbb\xbfa\tb\r\nc\td\r\ne\t\xff\n", r"not UTF-8 \(byte 0xff at byte 15: invalid start byte, line 3\)"),
        (b"a\tb\nc\0\td\n", r"binary file \(NUL at byte 5, line 2\)"),
        ("a\tb\n".encode("utf-16"), "UTF-16"),
        (b"a\t" + b"b " * 10_000 + b"\n", "line 1 has a target of 20,000 characters; at most 10,000"),
        (b"a\tb\n" + b"c" * 10_001 + b"\td\n", "line 2 has a source of 10,001 characters; at most 10,000"),
    ],
)
def test_refuses_what_are_no_pairs(tmp_path, data, reason):
    path = written(tmp_path, data)
    with pytest.raises(DataError, match=reason) as caught:
        read_pairs(path)
    assert repr(str(path)) in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))  # no sentence of any length in the message
    assert path.read_bytes() == data


def test_refuses_what_is_no_file(tmp_path):
    with pytest.raises(DataError, match="is a directory"):
        read_pairs(tmp_path)
    with pytest.raises(DataError, match=r"missing\.tsv' does not exist"):
        read_pairs(tmp_path / "missing.tsv")
    with pytest.raises(DataError, match="is a device"):
        read_pairs("/dev/zero")


# --- streams ---

sentences = st.text("abc ", min_size=1, max_size=12)
lists_of_pairs = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=40)


def stream_of(pairs, batch_size=4, **settings):
    return PairStream(pairs, CHARS, CHARS, batch_size, **settings)


def read_back(stream, sources, targets):
    """The pairs of a batch, after a look at its form."""
    assert sources.dtype == targets.dtype == np.int64
    assert len(sources) == len(targets) <= stream.batch_size
    for rows, end in ((sources, []), (targets, [EOS])):
        lengths = np.count_nonzero(rows != PAD, axis=1)
        assert rows.shape[1] == lengths.max()
        for row, length in zip(rows, lengths, strict=True):
            assert PAD not in row[:length] and list(row[:length]).count(EOS) == len(end)
            assert not end or row[length - 1] == EOS
    return [(CHARS.decode(x), CHARS.decode(y)) for x, y in zip(sources, targets, strict=True)]


def epoch_of(stream, epoch):
    return [read_back(stream, *stream.batch(epoch, k)) for k in range(stream.batches_per_epoch)]


def words_of_lengths(lengths):
    """Distinct pairs, source and target of the lengths given."""
    return [(f"{k:04d}".ljust(s, "x"), f"{k:04d}".ljust(t, "y")) for k, (s, t) in enumerate(lengths)]


def uneven(count, seed=0):
    """Pairs as translations are: lengths that spread, and sides that go together without being equal."""
    rng = np.random.default_rng(seed)
    sources = rng.integers(5, 40, size=count)
    return words_of_lengths(zip(sources, np.clip(sources + rng.integers(-4, 5, size=count), 4, None), strict=True))


@given(lists_of_pairs, st.integers(1, 9), st.integers(0, 3), st.integers(0, 9))
def test_an_epoch_is_every_pair_once(pairs, batch_size, epoch, seed):
    batches = epoch_of(stream_of(pairs, batch_size, seed=seed), epoch)
    assert Counter(pair for batch in batches for pair in batch) == Counter(pairs)
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)  # one may be smaller


@given(lists_of_pairs, st.integers(1, 9), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=8))
def test_any_batch_can_be_asked_for_at_any_time(pairs, batch_size, questions):
    stream = stream_of(pairs, batch_size, seed=3)
    for epoch, k in questions:
        k %= stream.batches_per_epoch
        fresh = stream_of(pairs, batch_size, seed=3).batch(epoch, k)
        assert all(np.array_equal(a, b) for a, b in zip(stream.batch(epoch, k), fresh, strict=True))


def test_epochs_and_seeds_differ_in_company_and_in_order():
    pairs = uneven(400)
    orders = [epoch_of(stream_of(pairs, 8, seed=seed), epoch) for seed in (0, 1) for epoch in (0, 1)]
    company = [{frozenset(batch) for batch in order} for order in orders]
    for a in range(4):
        for b in range(a):
            assert len(company[a] & company[b]) < 3
            assert orders[a] != orders[b]


def test_an_epoch_does_not_go_from_short_to_long():
    stream = stream_of(uneven(3000), 10)
    widths = np.array([stream.batch(0, k)[1].shape[1] for k in range(stream.batches_per_epoch)])
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.2


def test_batches_are_tight():
    """Share of padding: of batches drawn at random it would be about 40 of 100."""
    stream = stream_of(uneven(6400), 16)
    sources, targets = zip(*(stream.batch(0, k) for k in range(stream.batches_per_epoch)), strict=True)
    padding = [
        1 - sum(stream.counted(rows) for rows in side) / sum(rows.size for rows in side) for side in (sources, targets)
    ]
    assert padding[0] < 0.07 and padding[1] < 0.04, padding


def test_pairs_may_come_one_by_one():
    sources, targets = ["a", "b c", "d"], ["A", "B", "C D"]
    stream = stream_of(zip(sources, targets, strict=True), max_length=1)
    assert stream.left_out == 2 and stream.pairs == [("a", "A")]
    with pytest.raises(DataError, match="there is no pair to train on, of 0 given"):
        stream_of(iter(()))


def test_batches_are_fresh_arrays():
    stream = stream_of([("ab", "c"), ("a", "bc")])
    before = [rows.copy() for rows in stream.batch(0, 0)]
    for rows in stream.batch(0, 0):
        rows[:] = -1
    assert all(np.array_equal(a, b) for a, b in zip(stream.batch(0, 0), before, strict=True))


@pytest.mark.parametrize("pair", ["ab", ("a", "b", "c"), ("a",), ("a", None), 3])
def test_what_is_no_pair_is_named_with_its_place(pair):
    with pytest.raises(TypeError, match=r"pairs\[1\] must be a source and a target, both of them a str, got") as caught:
        stream_of([("a", "b"), pair])
    assert repr(pair) in str(caught.value)


def test_streams_and_vocabularies_are_shown_in_a_line():
    stream = stream_of([("a b", "c")] * 3, seed=1, max_length=9)
    assert repr(stream) == "PairStream(3 pairs, batch_size=4, seed=1, max_length=9)"
    assert (
        repr(stream.source_vocabulary)
        == f"TokenVocabulary({len(stream.source_vocabulary)} tokens, units={stream.source_vocabulary.units!r})"
    )


def test_what_is_counted_is_all_but_padding():
    stream = stream_of([("ab", "c"), ("a", "bcd")])
    assert stream.counted(stream.batch(0, 0)[1]) == 2 + 4  # with EOS, which a model must learn too
    assert not stream.carries_state


@given(lists_of_pairs, st.integers(1, 9))
def test_in_order_has_every_pair_once_from_short_to_long(pairs, batch_size):
    stream = stream_of(pairs, batch_size)
    found, widths = {}, []
    for places, sources, targets in stream.in_order():
        found |= dict(zip(places.tolist(), read_back(stream, sources, targets), strict=True))
        widths.append(targets.shape[1] // 2)
    assert [found[place] for place in range(len(pairs))] == pairs
    assert widths == sorted(widths)


@given(lists_of_pairs, st.integers(1, 12))
def test_long_pairs_are_left_out(pairs, max_length):
    kept = [pair for pair in pairs if max(map(len, pair)) <= max_length]
    if not kept:
        with pytest.raises(DataError, match=f"at most {max_length} tokens on each side, of {len(pairs)} given"):
            stream_of(pairs, max_length=max_length)
        return
    stream = stream_of(pairs, max_length=max_length)
    assert stream.pairs == kept and stream.left_out == len(pairs) - len(kept)
    assert Counter(pair for batch in epoch_of(stream, 0) for pair in batch) == Counter(kept)


def test_unknown_tokens_are_unk_and_not_lost():
    stream = stream_of([("aé", "b")])
    assert [rows.tolist() for rows in stream.batch(0, 0)] == [[CHARS.encode("aé")], [[*CHARS.encode("b"), EOS]]]


@given(lists_of_pairs, st.floats(0.01, 0.9), st.integers(0, 3))
def test_split_shares_no_source_and_loses_no_pair(pairs, val_split, seed):
    stream = stream_of(pairs, 5, seed=seed, max_length=50)
    try:
        training, validation = stream.split(val_split)
    except DataError:
        assume(False)
    assert Counter(training.pairs + validation.pairs) == Counter(pairs)
    assert not {s for s, _ in training.pairs} & {s for s, _ in validation.pairs}
    held_out, most = len(validation.pairs) - round(len(pairs) * val_split), max(Counter(s for s, _ in pairs).values())
    assert 0 <= held_out < most
    for part in (training, validation):
        assert (part.batch_size, part.seed, part.max_length) == (5, seed, 50)
        assert part.source_vocabulary is part.target_vocabulary is CHARS
    assert stream.split(val_split)[1].pairs == validation.pairs


def test_split_is_drawn_by_the_seed_and_of_nothing_gives_the_stream_itself():
    pairs = uneven(200)
    stream = stream_of(pairs)
    assert stream.split(0) == (stream, None)
    drawn = [stream_of(pairs, seed=seed).split(0.1)[1].pairs for seed in (0, 1)]
    assert drawn[0] != drawn[1] and drawn[0] != pairs[-20:]


@pytest.mark.parametrize(("pairs", "val_split"), [([("a", "b")], 0.5), ([("a", "b")] * 10, 0.5), (uneven(10), 0.01)])
def test_a_split_that_leaves_a_side_empty_is_refused(pairs, val_split):
    with pytest.raises(DataError, match=f"val_split {val_split} holds out .* of {len(pairs)} pairs; at least one must"):
        stream_of(pairs).split(val_split)


@pytest.mark.parametrize("val_split", [-0.1, 1, 1.5, float("nan"), "0.1", None])
def test_refuses_a_bad_share_to_hold_out(val_split):
    with pytest.raises(ValueError, match="val_split must be a number from 0 to below 1"):
        stream_of(uneven(10)).split(val_split)


def test_digest_and_identity_know_pairs_vocabularies_and_settings():
    pairs = [("ab", "c"), ("a", "bc")]
    stream = stream_of(pairs, 8, seed=5, max_length=9)
    assert re.fullmatch("[0-9a-f]{64}", stream.digest)
    assert stream.identity == {"text": stream.digest, "batch_size": 8, "seed": 5, "max_length": 9}
    assert json.loads(json.dumps(stream.identity)) == stream.identity
    assert stream.digest == stream_of(pairs).digest
    other = TokenVocabulary.learn(["abcd"], "chars")
    digests = [
        stream.digest,
        stream_of(pairs[::-1]).digest,
        stream_of([("ab", "c"), ("a", "bd")]).digest,
        stream_of([("a", "bc"), ("ab", "c")][:1]).digest,
        PairStream(pairs, other, CHARS).digest,
        PairStream(pairs, CHARS, other).digest,
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("a", "b"), ("", "b")], r"pairs\[1\] has no token in its source"),
        ([("a", "")], r"pairs\[0\] has no token in its target"),
        ([], "no pair to train on, of 0 given"),
        ([("a", "\ud800")], "half of a surrogate pair"),
    ],
)
def test_refuses_pairs_without_tokens(pairs, reason):
    with pytest.raises(DataError, match=reason):
        stream_of(pairs)


@pytest.mark.parametrize("name", ["batch_size", "max_length"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True])
def test_refuses_bad_settings(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer, got {value!r}"):
        PairStream([("a", "b")], CHARS, CHARS, **{name: value})


def test_refuses_batches_of_pairs_that_do_not_exist():
    stream = stream_of(uneven(10), 4, seed=0)
    with pytest.raises(ValueError, match="k must be below batches_per_epoch = 3, got 3"):
        stream.batch(0, 3)
    with pytest.raises(ValueError, match="epoch must be an integer that is not negative, got -1"):
        stream.batch(-1, 0)
    with pytest.raises(ValueError, match="seed must be an integer that is not negative, got -1"):
        stream_of(uneven(10), seed=-1)


@pytest.mark.parametrize("side", ["source_vocabulary", "target_vocabulary"])
@pytest.mark.parametrize("given", [None, "abc"])
def test_what_is_no_vocabulary_of_tokens_is_refused(side, given):
    vocabularies = {"source_vocabulary": CHARS, "target_vocabulary": CHARS, side: given}
    with pytest.raises(TypeError, match=f"{side} must be a TokenVocabulary, got {type(given).__name__}"):
        PairStream([("a", "b")], **vocabularies)
