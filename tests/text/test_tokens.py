"""A vocabulary of tokens: what is frequent gets a number, nothing that was known is lost, four ids never change."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.text import BOS, EOS, PAD, UNK, DataError, TokenVocabulary

UNITS = ("words", "chars", "bpe")
TEXTS = st.lists(st.text(min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=6)


def test_the_four_ids_are_the_same_for_ever():
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert [TokenVocabulary.learn(["a"], units).encode("a")[0] for units in ("words", "chars")] == [4, 4]


@given(TEXTS, st.sampled_from(UNITS))
def test_what_was_learned_comes_back(texts, units):
    vocabulary = TokenVocabulary.learn(texts, units)
    for text in texts:
        ids = vocabulary.encode(text)
        assert min(ids) > UNK and max(ids) < len(vocabulary)
        assert vocabulary.decode(ids) == (" ".join(text.split()) if units == "words" else text)
        assert len(vocabulary.split(text)) == len(ids)


@given(TEXTS, st.text(max_size=100), st.sampled_from([260, 265, 300, None]))
def test_byte_pairs_lose_nothing_of_any_text(texts, text, size):
    vocabulary = TokenVocabulary.learn(texts, "bpe", size)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize(
    "text", ["", " ", "  ", " a", "a ", "\n", "\ufeff", "\0", "e\u0301é", "🏳️‍🌈", "\U0010ffff", "▁", "<unk>"]
)
def test_byte_pairs_lose_nothing_of_odd_texts(text):
    vocabulary = TokenVocabulary.learn(["some text"], "bpe")
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(TEXTS, st.sampled_from(UNITS))
def test_the_same_texts_give_the_same_ids_and_their_order_does_not_matter(texts, units):
    assert TokenVocabulary.learn(texts, units) == TokenVocabulary.learn(texts[::-1], units)


@given(TEXTS, st.sampled_from(UNITS), st.integers(260, 270))
def test_plain_values_are_the_vocabulary(texts, units, size):
    vocabulary = TokenVocabulary.learn(texts, units, size)
    again = TokenVocabulary.from_plain(json.loads(json.dumps(vocabulary.to_plain())))
    assert again == vocabulary and hash(again) == hash(vocabulary)
    assert [again.encode(text) for text in texts] == [vocabulary.encode(text) for text in texts]


@given(TEXTS, st.sampled_from(["words", "chars"]), st.integers(5, 9))
def test_size_counts_the_four_and_keeps_what_is_frequent(texts, units, size):
    every, few = TokenVocabulary.learn(texts, units), TokenVocabulary.learn(texts, units, size)
    assert len(few) == min(size, len(every))
    assert few.tokens == every.tokens[: size - 4]


def test_ties_are_in_the_order_of_code_points():
    assert TokenVocabulary.learn(["b a é Z b"], "words").tokens == ("b", "Z", "a", "é")
    assert TokenVocabulary.learn(["b a", "é Zb"], "chars").tokens == (" ", "b", "Z", "a", "é")


def test_byte_pairs_fill_the_size_asked_for_as_long_as_pairs_come_twice():
    texts = ["hello hello help"]
    assert [len(TokenVocabulary.learn(texts, "bpe", size)) for size in (260, 263, 1000)] == [260, 263, 265]
    assert len(TokenVocabulary.learn(texts, "bpe").tokens) == 256 + 5  # " h", " he", " hel", "lo", " hello"


def test_unknown_tokens_are_unk_and_can_be_replaced():
    vocabulary = TokenVocabulary.learn(["the cat"], "words")
    ids = vocabulary.encode("the cow and the cat")
    assert ids == [5, UNK, UNK, 5, 4]
    assert vocabulary.decode(ids) == "the <unk> <unk> the cat"
    assert vocabulary.decode(ids, ["0", "1", "2", "3", "4"]) == "the 1 2 the cat"
    assert vocabulary.decode([BOS, *ids], {2: "cow", 3: "und"}) == "the cow und the cat"  # by position in ids
    assert TokenVocabulary.learn(["abc"], "chars").decode([4, UNK], ["", "é"]) == "aé"
    assert TokenVocabulary.learn(["abc"], "bpe").decode([4 + 97, UNK], ["", "é中"]) == "aé中"


@pytest.mark.parametrize("units", UNITS)
def test_decoding_stops_at_the_end_and_skips_padding_and_beginning(units):
    vocabulary = TokenVocabulary.learn(["ab"], units)
    ids = vocabulary.encode("ab")
    assert vocabulary.decode([BOS, *ids, PAD, EOS, *ids, UNK]) == "ab"
    assert vocabulary.decode(np.array([PAD, *ids])) == "ab"
    assert vocabulary.decode([EOS, *ids]) == vocabulary.decode([]) == ""


def test_bytes_out_of_order_decode_to_a_replacement_character():
    vocabulary = TokenVocabulary.learn(["ab"], "bpe")
    assert vocabulary.decode([4 + 97, 4 + 0xE4, 4 + 98]) == "a\ufffdb"


def test_words_that_look_like_the_four_are_words():
    vocabulary = TokenVocabulary.learn(["<unk> <pad>"], "words")
    assert vocabulary.encode("<unk> <pad> <eos>") == [5, 4, UNK]


def test_split_shows_what_people_can_read():
    assert TokenVocabulary.learn(["a"], "words").split(" the  cow\n") == ["the", "cow"]
    assert TokenVocabulary.learn(["a"], "chars").split("a b") == ["a", " ", "b"]
    assert TokenVocabulary.learn(["the the"], "bpe").split("the é") == ["▁the", "▁", "\\xc3", "\\xa9"]


@pytest.mark.parametrize("units", UNITS)
def test_a_vocabulary_that_has_been_used_can_be_pickled(units):
    vocabulary = TokenVocabulary.learn(["a b"], units)
    vocabulary.encode("a b")
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary


@pytest.mark.parametrize("units", UNITS)
def test_halves_of_surrogate_pairs_are_refused(units):
    vocabulary = TokenVocabulary.learn(["ab"], units)
    for refused in (vocabulary.encode, vocabulary.split):
        with pytest.raises(DataError, match=r"text has '\\ud83d' at position 2, half of a surrogate pair"):
            refused("ab\ud83d")
    with pytest.raises(DataError, match=r"texts\[1\] has '\\ud83d' at position 0"):
        TokenVocabulary.learn(["ab", "\ud83d"], units)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_refuses_to_learn_from_nothing(units, texts):
    with pytest.raises(DataError, match=f"a vocabulary of {units} needs at least one token, got {len(texts)} texts"):
        TokenVocabulary.learn(texts, units)


def test_white_space_has_no_words():
    with pytest.raises(DataError, match="a vocabulary of words needs at least one token"):
        TokenVocabulary.learn([" ", "\n\t"], "words")


@pytest.mark.parametrize("units", ["word", "BPE", None, ""])
def test_refuses_other_units(units):
    with pytest.raises(ValueError, match=f'units must be "words", "chars" or "bpe", got {units!r}'):
        TokenVocabulary.learn(["a"], units)


@pytest.mark.parametrize("size", [4, 0, -1, 5.0, "8", True])
def test_refuses_a_bad_size(size):
    with pytest.raises(ValueError, match=f"size must be None or an integer of at least 5 .* got {size!r}"):
        TokenVocabulary.learn(["a"], "words", size)
    with pytest.raises(ValueError, match="at least 260 for units 'bpe'"):
        TokenVocabulary.learn(["a"], "bpe", 259)


def test_refuses_what_are_no_texts():
    with pytest.raises(TypeError, match="iterable of texts, got a single str"):
        TokenVocabulary.learn("text", "words")
    with pytest.raises(TypeError, match=r"texts\[1\] must be a str, got bytes"):
        TokenVocabulary.learn(["a", b"a"], "words")
    with pytest.raises(TypeError, match="text must be a str, got NoneType"):
        TokenVocabulary.learn(["a"], "words").encode(None)


@pytest.mark.parametrize("ids", [[4, -1], [4, 5], [4, 2**40]])
def test_refuses_to_decode_what_has_no_token(ids):
    with pytest.raises(DataError, match=rf"ids\[1\] is {ids[1]}; a vocabulary of 5 has ids from 0 to 4"):
        TokenVocabulary.learn(["a"], "words").decode(ids)


@pytest.mark.parametrize("ids", [[4.0], [[4]], 4, ["a"]])
def test_refuses_to_decode_what_are_no_ids(ids):
    with pytest.raises(ValueError, match="ids must be a sequence of integers"):
        TokenVocabulary.learn(["a"], "words").decode(ids)


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (None, "must be a dict with units"),
        ({}, "must be a dict with units"),
        ({"units": "syllables", "tokens": ["a"]}, "must be a dict with units"),
        ({"units": ["words"], "tokens": ["a"]}, "must be a dict with units"),
        ({"units": "words"}, "is a list of tokens, no more"),
        ({"units": "words", "tokens": "ab"}, "is a list of tokens, no more"),
        ({"units": "words", "tokens": ["a"], "merges": []}, "is a list of tokens, no more"),
        ({"units": "words", "tokens": ["a", 1]}, "tokens must be str"),
        ({"units": "words", "tokens": [["a"]]}, "tokens must be str"),
        ({"units": "words", "tokens": []}, "needs at least one token"),
        ({"units": "words", "tokens": ["a", "b", "a"]}, "'a' appears 2 times"),
        ({"units": "words", "tokens": ["a", "b c"]}, r"tokens\[1\] is 'b c', not one of the units 'words'"),
        ({"units": "words", "tokens": ["a", ""]}, r"tokens\[1\] is ''"),
        ({"units": "words", "tokens": ["a", "\ud800"]}, r"tokens\[1\] has '\\ud800' at position 0"),
        ({"units": "chars", "tokens": ["a", "bc"]}, r"tokens\[1\] is 'bc', not one of the units 'chars'"),
        ({"units": "bpe", "tokens": ["a"]}, "is a list of merges, no more"),
        ({"units": "bpe", "merges": {"a": "b"}}, "is a list of merges, no more"),
        ({"units": "bpe", "merges": ["ab"]}, "merges must be pairs"),
        ({"units": "bpe", "merges": [["a", "b", "c"]]}, "merges must be pairs"),
        ({"units": "bpe", "merges": [["a", None]]}, r"merges\[0\] joins None"),
        ({"units": "bpe", "merges": [["a", ["b"]]]}, r"merges\[0\] joins \['b'\]"),
        ({"units": "bpe", "merges": [["ab", "c"]]}, r"merges\[0\] joins 'ab'"),
    ],
)
def test_refuses_plain_values_that_are_no_vocabulary(plain, reason):
    with pytest.raises(DataError, match=reason):
        TokenVocabulary.from_plain(plain)


def test_refuses_fields_that_do_not_fit_together():
    with pytest.raises(DataError, match="must be the 256 bytes and what the merges make"):
        TokenVocabulary("bpe", ("a", "b"))
    with pytest.raises(DataError, match="merges belong to units 'bpe', not to 'words'"):
        TokenVocabulary("words", ("a", "b"), (("a", "b"),))
