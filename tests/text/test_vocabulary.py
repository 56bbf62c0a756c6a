"""A vocabulary loses nothing, depends on nothing but the text, and names what it does not know."""

import dataclasses
import json
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.text import DataError, TextStream, Vocabulary, entropy_of_characters
from minirnn.text.vocabulary import code_points

texts = st.text(min_size=1, max_size=60)  # any Unicode, halves of surrogate pairs excepted


@given(texts)
def test_round_trip_over_any_unicode(text):
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64 and ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert set(ids) == set(range(len(vocabulary)))


@given(texts, st.randoms(use_true_random=False))
def test_ids_depend_on_the_set_of_characters_alone(text, rng):
    shuffled = list(text)
    rng.shuffle(shuffled)
    vocabulary = Vocabulary.from_text(text)
    assert vocabulary == Vocabulary.from_text("".join(shuffled)) and hash(vocabulary) == hash(
        Vocabulary(vocabulary.characters)
    )
    assert vocabulary.characters == "".join(sorted(set(text)))


@given(texts)
def test_characters_are_all_that_a_checkpoint_needs(text):
    vocabulary = Vocabulary.from_text(text)
    assert Vocabulary(json.loads(json.dumps(vocabulary.characters))) == vocabulary


def test_ids_follow_the_order_given():
    vocabulary = Vocabulary("zax")
    assert vocabulary.encode("axz").tolist() == [1, 2, 0]
    assert vocabulary.decode([0, 1, 2]) == "zax"
    assert vocabulary != Vocabulary("axz")


def test_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Vocabulary("ab").characters = "abc"


@given(known=texts, text=st.text(max_size=60))
def test_policies_for_unseen_characters(known, text):
    vocabulary = Vocabulary.from_text(known)
    unseen = [k for k, c in enumerate(text) if c not in known]
    assert vocabulary.decode(vocabulary.encode(text, unknown="skip")) == "".join(c for c in text if c in known)
    if not unseen:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        return
    with pytest.raises(DataError) as caught:
        vocabulary.encode(text)
    message = str(caught.value)
    assert f"{text[unseen[0]]!r} at position {unseen[0]}," in message and f"({len(unseen)} such in all)" in message
    assert all(policy in message for policy in ('"skip"', "--unknown skip", '"replace"'))
    if vocabulary.stand_in:
        replaced = vocabulary.decode(vocabulary.encode(text, unknown="replace"))
        assert replaced == "".join(c if c in known else vocabulary.stand_in for c in text)


@pytest.mark.parametrize(
    ("characters", "stand_in"), [("a \n\ufffd", "\ufffd"), ("a\n ", " "), ("a\n", "\n"), ("a", None)]
)
def test_stand_in(characters, stand_in):
    assert Vocabulary(characters).stand_in == stand_in


def test_replace_without_a_stand_in_is_refused():
    with pytest.raises(DataError, match=r"text has 'é' at position 1.*\"replace\" is not possible"):
        Vocabulary("abc").encode("bé", unknown="replace")


@pytest.mark.parametrize("text", ["a\U0010ffff", "a\ud800", "a\x00", "ab"])
def test_unseen_code_points_at_both_ends_of_the_range(text):
    with pytest.raises(DataError, match="at position 1"):
        Vocabulary("a").encode(text)
    assert Vocabulary("a").encode(text, unknown="skip").tolist() == [0]


def test_messages_show_control_characters_escaped():
    with pytest.raises(DataError, match=re.escape(r"'\x1b' at position 0")):
        Vocabulary("a").encode("\x1b[2J")


@pytest.mark.parametrize(
    ("characters", "reason"),
    [
        ("", "at least one character"),
        ("bacadba", "'a' appears 3 times"),
        ("a\ud800", r"characters\[1\] is '\\ud800', half of a surrogate pair"),
        ("\udbff\udc00", "half of a surrogate pair"),
        ("\udfff", "half of a surrogate pair"),
    ],
)
def test_refuses_bad_characters(characters, reason):
    with pytest.raises(DataError, match=reason):
        Vocabulary(characters)


def test_refuses_a_misspelt_policy_and_what_is_no_text():
    with pytest.raises(ValueError, match='unknown must be "error", "skip" or "replace", got \'ignore\''):
        Vocabulary("a").encode("a", unknown="ignore")
    for name, call in {"characters": Vocabulary, "text": Vocabulary("a").encode}.items():
        with pytest.raises(TypeError, match=f"{name} must be a str, got bytes"):
            call(b"a")


@pytest.mark.parametrize("ids", [[0, -1], [0, 3], [0, 2**31], np.array([0, 2**63], dtype=np.uint64)])
def test_decode_names_an_id_out_of_range(ids):
    with pytest.raises(DataError, match=rf"ids\[1\] is {ids[1]}; a vocabulary of 3 has ids from 0 to 2"):
        Vocabulary("abc").decode(ids)


@pytest.mark.parametrize("ids", [[0.0, 1.0], [[0, 1]], 1, "ab", [True]])
def test_decode_refuses_what_are_no_ids(ids):
    with pytest.raises(ValueError, match="ids must be a sequence of integers"):
        Vocabulary("abc").decode(ids)


def test_decode_takes_any_integers_and_nothing_at_all():
    vocabulary = Vocabulary("abc")
    assert vocabulary.decode(np.array([2, 0], dtype=np.uint8)) == vocabulary.decode((2, 0)) == "ca"
    assert vocabulary.decode([]) == "" and vocabulary.encode("").tolist() == []


def test_megabytes_take_a_fraction_of_a_second():
    text = "the quick brown fox, 中文 🙂\n" * 100_000  # 2.7 million characters
    start = time.perf_counter()
    vocabulary = Vocabulary.from_text(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert time.perf_counter() - start < 2  # 0.1 s here; a loop over characters takes many times that


@given(texts)
def test_entropy_is_that_of_the_definition(text):
    counts = [text.count(c) for c in sorted(set(text))]
    p = np.array(counts) / len(text)
    entropy = entropy_of_characters(text)
    assert entropy == pytest.approx(-sum(p * np.log2(p)), abs=1e-12)
    assert 0 <= entropy <= np.log2(len(counts)) + 1e-12
    assert entropy == entropy_of_characters(Vocabulary.from_text(text).encode(text)) == entropy_of_characters(text * 2)


def test_entropy_of_known_cases():
    assert entropy_of_characters("abcdabcd") == 2.0
    assert entropy_of_characters("aab") == pytest.approx(np.log2(3) - 2 / 3)
    with pytest.raises(DataError, match="empty text"):
        entropy_of_characters("")


def test_code_points_are_those_of_ord():
    text = "aé中🙂\ud800\udc00"
    assert code_points(text).tolist() == [ord(c) for c in text]


def test_bytes_are_no_text():
    for make in (Vocabulary.from_text, lambda text: TextStream(text, seq_len=2, batch_size=1)):
        with pytest.raises(TypeError, match="text must be a str, got bytes"):
            make(b"abcdef")
