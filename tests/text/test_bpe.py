"""Byte pairs: learned as by hand, equal to the slow and obvious way, and without loss on any text."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.text import DataError, bpe
from minirnn.text.bpe import BytePairs, bytes_shown, join, learn_merges, text_of_bytes, tokens_of, words_of

LETTERS = st.text("ab é", max_size=12)  # few, so that pairs come again and overlap


def learned_slowly(texts, room):
    """Count all pairs anew for each merge."""
    words = Counter(tuple(word) for text in texts for word in words_of(text))
    merges = []
    while len(tokens_of(tuple(dict.fromkeys(merges)))) < room:
        pairs = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(best)
        joined = Counter()
        for word, times in words.items():
            joined[tuple(join(list(word), best))] += times
        words = joined
    return tuple(dict.fromkeys(merges))


@given(st.lists(LETTERS, max_size=8), st.integers(256, 290))
def test_learning_fast_is_learning_slowly(texts, room):
    assert learn_merges(texts, room) == learned_slowly(texts, room)


@given(st.lists(LETTERS, min_size=1, max_size=8))
def test_what_was_learned_is_what_is_joined(texts):
    """A word in which merges were counted is cut as it stood when learning ended."""
    merges = learn_merges(texts)
    tokens, pairs = tokens_of(merges), BytePairs(merges)
    for text in texts:
        expected = []
        for word in words_of(text):
            pieces = list(word)
            for pair in merges:
                pieces = join(pieces, pair)
            expected += pieces
        assert [tokens[place] for place in pairs.encode(text)] == expected


def test_merges_by_hand():
    texts = ["low low low low low lower lower newest newest newest newest newest newest widest widest widest"]
    merges = learn_merges(texts, 256 + 6)
    # es, st, and t behind it occur 9 times; " l", lo and ow 7 times; " n", ne, ew and w-est 6
    assert merges == (("e", "s"), ("es", "t"), (" ", "l"), (" l", "o"), (" lo", "w"), (" ", "n"))
    assert [tokens_of(merges)[place] for place in BytePairs(merges).encode("lowest slow")] == [
        " low", "est", " ", "s", "l", "o", "w",
    ]  # fmt: skip


def test_nothing_is_joined_across_words_nor_when_it_occurs_once():
    assert learn_merges(["a b a b a b"]) == ((" ", "a"), (" ", "b"))
    assert learn_merges(["abc"]) == ()
    assert learn_merges([]) == ()


@pytest.mark.parametrize(
    ("word", "joined"),
    [("aa", ["aa"]), ("aaa", ["aa", "a"]), ("aaaa", ["aa", "aa"]), ("baab", ["b", "aa", "b"]), ("", []), ("a", ["a"])],
)
def test_overlapping_pairs_are_joined_from_the_left(word, joined):
    assert join(list(word), ("a", "a")) == joined


@given(st.text(max_size=200))
def test_the_words_are_the_text_and_a_space(text):
    assert text_of_bytes("".join(words_of(text))) == (f" {text}" if text else "")


def test_words_keep_spaces_before_them_and_other_white_space_alone():
    assert words_of("to be\n\tor  not ") == [" to", " be", "\n", "\t", "or", " ", " not", " "]


@given(st.integers(1, 300))
def test_long_words_are_cut(length):
    words = words_of("中" * length)
    assert "".join(words).encode("latin-1").decode() == " " + "中" * length
    assert max(map(len, words)) <= 1 + 3 * 64


def test_a_text_without_spaces_takes_no_quadratic_time():
    """Counted, not timed: how many tokens are looked at while one text is joined."""
    looked_at = 0

    class Counting(dict):
        def get(self, *arguments):
            nonlocal looked_at
            looked_at += 1
            return super().get(*arguments)

    pairs = BytePairs(learn_merges(["abcabc" * 10] * 2))
    pairs._rank_of = Counting(pairs._rank_of)
    pairs.encode("".join(map(chr, range(0x4E00, 0x4E00 + 10_000))))  # no word comes twice
    assert looked_at <= 3 * 64 * 10_000


@pytest.mark.parametrize(
    ("merges", "reason"),
    [
        ((("ab", "c"),), r"merges\[0\] joins 'ab', which is no token made before"),
        ((("a", "b"), ("ab", "bc")), r"merges\[1\] joins 'bc'"),
        ((("a", "中"),), r"merges\[0\] joins '中'"),
        ((("a", ""),), r"merges\[0\] joins ''"),
        ((("a", 3),), r"merges\[0\] joins 3"),
        ((("a", "b"), ("a", "b")), "distinct"),
    ],
)
def test_refuses_what_are_no_merges(merges, reason):
    with pytest.raises(DataError, match=reason):
        tokens_of(merges)


def test_two_ways_to_one_token_make_one_token():
    tokens = tokens_of((("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")))
    assert len(tokens) == len(set(tokens)) == 256 + 3


def test_bytes_are_shown_so_that_people_can_read_them():
    written = " né中".encode().decode("latin-1")
    assert bytes_shown(written) == "▁né中"
    assert bytes_shown(written[:-1]) == "▁né\\xe4\\xb8"
    assert text_of_bytes(written[:-1]) == " né\ufffd"


@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=60))
def test_what_is_remembered_of_words_changes_nothing(texts, text):
    merges = learn_merges([*texts, text, text])
    pairs = BytePairs(merges)
    first = pairs.encode(text)
    assert pairs.encode(text) == first == BytePairs(merges).encode(text)


def test_not_every_word_is_remembered(monkeypatch):
    monkeypatch.setattr(bpe, "CACHED", 2)
    pairs = BytePairs(learn_merges(["a b a b"]))
    assert pairs.encode("a b c d a c") == [256, 257, *b" c d", 256, *b" c"]
    assert len(pairs._known) == 2
