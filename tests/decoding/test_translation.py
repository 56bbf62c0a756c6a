"""Text in, text out: order, unknown words, n-best, and what is refused."""

import numpy as np
import pytest
from fake_translator import FakeTranslator, never_ends

from minirnn import DataError
from minirnn.decoding import beam_search, translate
from minirnn.text import EOS, UNK, TokenVocabulary

ENGLISH = TokenVocabulary.learn(["the cat sees the dog"], "words")
FRENCH = TokenVocabulary.learn(["le chat voit le chien noir"], "words")


def model(source=ENGLISH, target=FRENCH, **settings):
    fake = FakeTranslator(size=len(target), **settings)
    fake.source_vocabulary, fake.target_vocabulary = source, target
    return fake


def looks_and_says(written, looked_at, **settings):
    """A model that writes certain ids whatever it reads, and looks at certain places of it."""

    def write(source, prefix, logits):
        logits[:] = -np.inf
        logits[[*written, EOS][len(prefix)]] = 0
        return logits

    fake = model(change=write, **settings)
    fake.weights = lambda source, prefix: np.eye(len(source))[[*looked_at, 0][len(prefix)]]
    return fake


def test_each_text_is_translated_as_by_itself_and_in_order():
    texts = ["the cat", "the dog sees the cat", "dog", "the cat", "cat the dog"]
    for batch_size in (1, 2, 64):
        found = translate(model(), texts, 3, batch_size=batch_size)
        assert found == [translate(model(), [text], 3)[0] for text in texts]
    assert [each.source for each in found] == texts
    for text, each in zip(texts, found, strict=True):
        [[hypothesis]] = beam_search(model(), [ENGLISH.encode(text)], 3)
        assert (each.hypothesis, each.text, each.others) == (hypothesis, FRENCH.decode(hypothesis.ids), ())


def test_texts_are_sorted_by_length_into_batches():
    fake, widths = model(), []
    start = fake.start
    fake.start = lambda sources: widths.append(sources.shape) or start(sources)
    translate(fake, ["the " * n for n in (3, 1, 2, 5, 1)], batch_size=2)
    assert widths == [(2, 1), (2, 3), (1, 5)]


def test_all_settings_reach_the_search():
    settings = {
        "length_penalty": 0.3,
        "coverage_penalty": 0.4,
        "n_best": 3,
        "max_length": 4,
        "block_ngrams": 1,
    }
    [first] = translate(model(change=never_ends), ["the cat sees"], 4, **settings)
    [expected] = beam_search(model(change=never_ends), [ENGLISH.encode("the cat sees")], 4, **settings)
    assert [first.hypothesis, *(other.hypothesis for other in first.others)] == expected
    for name in settings:  # each of them matters here
        others = {key: value for key, value in settings.items() if key != name}
        assert beam_search(model(change=never_ends), [ENGLISH.encode("the cat sees")], 4, **others) != [expected]
    assert [other.text for other in first.others] == [FRENCH.decode(h.ids) for h in expected[1:]]


def test_an_unknown_word_is_replaced_by_the_one_looked_at():
    le, chat = FRENCH.encode("le chat")
    fake = looks_and_says([le, UNK, chat, UNK], [0, 2, 1, 0])
    assert translate(fake, ["Mary the Zoë"])[0].text == "le <unk> chat <unk>"
    assert translate(fake, ["Mary the Zoë"], replace_unknown=True)[0].text == "le Zoë chat Mary"
    assert translate(fake, ["the cat dog"], replace_unknown=True)[0].text == "le dog chat the"


def test_of_byte_pairs_the_text_of_the_pair_is_carried_over():
    pairs = TokenVocabulary.learn(["low lower lowest"], units="bpe", size=263)
    assert pairs.split("low slow") == ["▁low", "▁", "s", "l", "o", "w"]
    fake = looks_and_says([UNK, UNK], [0, 2], source=pairs)
    assert translate(fake, ["low slow"], replace_unknown=True)[0].text == "low s"


def test_nothing_to_replace_takes_no_word_of_the_source():
    fake = looks_and_says([], [])
    assert translate(fake, ["the cat"], replace_unknown=True)[0].text == ""


def test_no_texts_no_translations():
    assert translate(model(), []) == []


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"texts": "the cat"}, TypeError, "texts must be a list of str, got str"),
        ({"texts": None}, TypeError, "texts must be a list of str, got NoneType"),
        ({"texts": ["the cat", 5]}, TypeError, r"texts\[1\] must be a str, got int"),
        ({"texts": ["the cat", " \t"]}, DataError, r"texts\[1\] holds no token: .* in ' \\t'"),
        ({"texts": ["the cat", "\ud800"]}, DataError, r"texts\[1\]: text has '\\ud800' at position 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
        ({"replace_unknown": 1}, TypeError, "replace_unknown must be True or False, got 1"),
        ({"beam": 0}, ValueError, "beam must be a positive integer, got 0"),
        ({"model": model(attends=False), "replace_unknown": True}, ValueError, "replace_unknown needs a model that"),
        ({"model": model(source=6)}, ValueError, r"model has no source_vocabulary; build it as Seq2Seq\(source_voc"),
        ({"model": FakeTranslator()}, ValueError, "model has no source_vocabulary"),
    ],
)
def test_bad_arguments_are_explained(arguments, error, message):
    with pytest.raises(error, match=message):
        translate(**({"model": model(), "texts": ["the cat"]} | arguments))


def test_a_model_without_words_to_write():
    fake = model()
    fake.target_vocabulary = len(FRENCH)
    with pytest.raises(ValueError, match="model has no target_vocabulary"):
        translate(fake, ["the cat"])
