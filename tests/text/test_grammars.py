"""Generated pairs: a function of the source, split so that the test is new, and French as it is written."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import date, datetime
from itertools import pairwise

import pytest

from minirnn.text import TokenVocabulary
from minirnn.text.grammars import MAKERS, dates, generated
from minirnn.text.grammars.english_french import (
    ADJECTIVES,
    ARTICLES,
    BE,
    NOUNS,
    PLACES,
    PRONOUNS,
    VERBS,
    Phrase,
    Sentence,
    combinations,
    english,
    french,
)

LARGE = [name for name in MAKERS if name != "article"]
NOUN = {form: noun for noun in NOUNS for form in (noun.one, noun.many)}
ADJECTIVE = {adjective.english: adjective for adjective in ADJECTIVES}


def every(name):
    pairs = generated(name)
    return [*pairs.train, *pairs.valid, *pairs.test]


@pytest.mark.parametrize("name", LARGE)
def test_no_source_comes_twice_and_there_are_thousands(name):
    pairs = generated(name)
    sources = [source for source, _ in every(name)]
    assert len(set(sources)) == len(sources)
    assert len(pairs.train) >= 6000 and len(pairs.valid) == len(pairs.test) == 500


@pytest.mark.parametrize("name", MAKERS)
def test_pairs_are_plain_sentences(name):
    for side in zip(*every(name), strict=True):
        assert all(text and text == " ".join(text.split()) for text in side)


@pytest.mark.parametrize(
    ("name", "units"), [("english-french", "words"), ("dates", "chars"), ("reversal", "words"), ("copy", "words")]
)
def test_what_is_tested_is_made_of_what_was_trained(name, units):
    pairs = generated(name)
    for side in (0, 1):
        known = TokenVocabulary.learn([pair[side] for pair in pairs.train], units)
        for pair in (*pairs.valid, *pairs.test):
            assert 3 not in known.encode(pair[side])


def test_they_are_the_same_in_another_process():
    show = "from minirnn.text.grammars import generated, MAKERS; import hashlib\n"
    show += "print(hashlib.sha256(repr([generated(name) for name in MAKERS]).encode()).hexdigest())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.strip() == hashlib.sha256(repr([generated(n) for n in MAKERS]).encode()).hexdigest()


def test_the_article_has_eight_pairs():
    pairs = generated("article")
    assert pairs.train == pairs.valid == pairs.test and len(pairs.train) == 8
    assert dict(pairs.train)["how are you"] == "comment allez vous"


@pytest.mark.parametrize("name", ["english", "", None, "Dates"])
def test_refuses_other_names(name):
    with pytest.raises(ValueError, match=f"name must be one of english-french, dates, .* got {name!r}"):
        generated(name)


def test_reversal_and_copy():
    for source, target in every("reversal"):
        assert target.split() == source.split()[::-1]
    for source, target in every("copy"):
        assert target == source
    lengths = Counter(len(source.split()) for source, _ in every("copy"))
    assert set(lengths) == set(range(3, 11)) and min(lengths.values()) > 400


# --- dates ---

FORMS = (
    "%d %B %Y", "%d %b %Y", "%d-%b-%Y", "%B %d %Y", "%b %d %Y", "%A %B %d %Y", "%a %d %b %Y", "%d/%m/%Y", "%d.%m.%Y",
    "%Y/%m/%d", "%d %B '%y", "%d.%m.%y",
)  # fmt: skip
IN_WORDS = {ordinal: str(day) for day, ordinal in enumerate(dates.ORDINALS, start=1)}


def read_by_the_standard_library(text):
    """The date of a text, its weekday checked."""
    text = re.sub(r"[a-z-]+", lambda word: IN_WORDS.get(word[0], word[0]), text)
    text = re.sub(r"\bthe |\bof |,|(?<=\d)(st|nd|rd|th)\b", "", text)
    readings = set()
    for form in FORMS:
        try:
            found = datetime.strptime(text, form).date()
        except ValueError:
            continue
        if "%y" in form and found.year >= 2030:
            found = found.replace(year=found.year - 100)
        if "%a" in form.lower():
            assert found.strftime("%A").startswith(text.split()[0])
        readings.add(found)
    assert len(readings) == 1, text
    return readings.pop()


def test_a_date_is_read_in_one_way_only():
    for source, target in every("dates")[::4]:
        assert read_by_the_standard_library(source).isoformat() == target


@pytest.mark.parametrize("spelling", dates.SPELLINGS)
def test_every_spelling_of_every_day_can_be_read(spelling):
    for year, month in ((1930, 1), (1968, 9), (2000, 12), (2029, 5)):
        for day in (date(year, month, day) for day in range(1, 31)):
            assert read_by_the_standard_library(spelling(day)) == day


def test_days_are_numbered_and_named_as_people_do():
    numbered = [dates._numbered(day) for day in (1, 2, 3, 4, 11, 12, 13, 20, 21, 22, 23, 30, 31)]
    assert numbered == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "20th", "21st", "22nd", "23rd", "30th", "31st",
    ]  # fmt: skip
    assert [dates.ORDINALS[day - 1] for day in (2, 12, 13, 20, 23, 31)] == [
        "second", "twelfth", "thirteenth", "twentieth", "twenty-third", "thirty-first",
    ]  # fmt: skip


def test_no_date_is_in_two_parts_and_all_spellings_are_in_each():
    parts = [{target for _, target in part} for part in generated("dates")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(every("dates"))
    used = Counter(re.sub(r"\d+", "0", re.sub("[A-Za-z]+", "a", source)) for source, _ in generated("dates").test)
    assert len(used) >= 12 and min(used.values()) > 10


# --- English and French ---


def parsed(text):
    """The sentence of an English text."""
    subject, words = parsed_phrase(text.split())
    negated = "not" in words
    words = [word for word in words if word not in ("do", "does", "not")]
    verb = None
    if words[0] in BE[0]:
        words = words[1:]
    else:
        verb = next(v for v in VERBS if " ".join(words).startswith((f"{v.english} ", f"{v.he} ")))
        words = words[len(verb.english.split()) :]
    what, words = parsed_phrase(words)
    place = next((p for p in sorted(PLACES, key=len, reverse=True) if " ".join(words).startswith(f"{p} ")), None)
    where = place and (place, parsed_phrase(words[len(place.split()) :])[0])
    return Sentence(subject, verb, negated, what, where)


def parsed_phrase(words):
    """A pronoun, an adjective alone or a noun with what stands by it, if words begin so; and the other words."""
    if words and words[0] in PRONOUNS:
        return words[0], words[1:]
    if words and words[0] in ADJECTIVE:
        return ADJECTIVE[words[0]], words[1:]
    if not words or (words[0] != "an" and words[0] not in ARTICLES):
        return None, words
    length = next(place for place, word in enumerate(words) if word in NOUN)
    noun, adjectives = NOUN[words[length]], [ADJECTIVE[word] for word in words[1:length]]
    before, behind = (next((a for a in adjectives if a.stands == stands), None) for stands in ("before", "behind"))
    determiner = "a" if words[0] == "an" else words[0]
    return Phrase(determiner, before, behind, noun, words[length] == noun.many), words[length + 1 :]


@pytest.mark.parametrize(
    ("in_english", "in_french"),
    [
        ("the cat sees the cows", "le chat voit les vaches"),
        ("i like an apple", "j' aime une pomme"),
        ("i do not like an apple", "je n' aime pas de pomme"),
        ("i see my small tree", "je vois mon petit arbre"),
        ("we do not see some birds", "nous ne voyons pas d' oiseaux"),
        ("she sees some birds", "elle voit des oiseaux"),
        ("she sees some big birds", "elle voit de grands oiseaux"),
        ("she sees some black birds", "elle voit des oiseaux noirs"),
        ("he looks at the old man", "il regarde le vieil homme"),
        ("he looks at the old men", "il regarde les vieux hommes"),
        ("they want a new boat", "ils veulent un nouveau bateau"),
        ("they want the new tree", "ils veulent le nouvel arbre"),
        ("they want this beautiful tree", "ils veulent ce bel arbre"),
        ("they want this tree", "ils veulent cet arbre"),
        ("they want this island", "ils veulent cette île"),
        ("they want my island", "ils veulent mon île"),
        ("they want my beautiful island", "ils veulent ma belle île"),
        ("i think of the horses", "je pense aux chevaux"),
        ("i think of the horse", "je pense au cheval"),
        ("i think of the church", "je pense à l' église"),
        ("i do not think of a church", "je ne pense pas à une église"),
        ("i talk about the uncle", "je parle de l' oncle"),
        ("i talk about the cat", "je parle du chat"),
        ("i talk about the cats", "je parle des chats"),
        ("i talk about some cats", "je parle de chats"),
        ("i talk about some apples", "je parle de pommes"),
        ("i talk about some trees", "je parle d' arbres"),
        ("i talk about some old trees", "je parle de vieux arbres"),
        ("i do not talk about an uncle", "je ne parle pas d' un oncle"),
        ("two girls are young", "deux filles sont jeunes"),
        ("the sisters are not beautiful", "les sœurs ne sont pas belles"),
        ("the tree is not old", "l' arbre n' est pas vieux"),
        ("these white flowers are new", "ces fleurs blanches sont nouvelles"),
        ("i am happy", "je suis heureux"),
        ("she is not tired", "elle n' est pas fatiguée"),
        ("he is near the garden", "il est près du jardin"),
        ("he is near some gardens", "il est près de jardins"),
        ("he is next to an island", "il est à côté d' une île"),
        ("he is in front of three old schools", "il est devant trois vieilles écoles"),
        ("an uncle waits for the girl in a strange house", "un oncle attend la fille dans une maison étrange"),
    ],
)
def test_sentences_by_hand(in_english, in_french):
    sentence = parsed(in_english)
    assert english(sentence) == in_english
    assert french(sentence) == in_french


def test_french_is_a_function_of_english():
    for source, target in every("english-french"):
        sentence = parsed(source)
        assert english(sentence) == source
        assert french(sentence) == target


def test_nothing_is_left_unmelted():
    vowel = "[aeiouéêîœh]"
    for _, text in every("english-french"):
        assert not re.search(rf"\b(le|la|de|ne|je|ma|ce|beau|nouveau) {vowel}", text), text
        assert not re.search(rf"\b[ldnj]' (?!{vowel})", text), text
        assert not re.search(r"\b(de|à) (le|les)\b|\bde (des\b|de\b|d')", text), text
        assert not re.search(rf"\b(un|l'|cet|mon) (beau|nouveau|vieux) {vowel}", text), text


def test_all_that_stands_by_a_noun_agrees_with_it():
    noun = {}
    for n in NOUNS:
        noun |= {n.un: (n.gender, "one"), n.des: (n.gender, "many")}
    forms = {}
    for a in ADJECTIVES:
        for form, fits in (
            (a.m, "m one"),
            (a.m_vowel, "m one"),
            (a.f, "f one"),
            (a.m_many, "m many"),
            (a.f_many, "f many"),
        ):
            forms.setdefault(form, set()).add(tuple(fits.split()))
    met = 0
    for source, text in every("english-french"):
        words = text.split()
        for word, following in pairwise(words):
            for adjective, name in ((word, following), (following, word)):
                if adjective in forms and name in noun:
                    assert noun[name] in forms[adjective], (source, text)
                    met += 1
    assert met > 9000


def test_every_sentence_of_the_test_says_something_new():
    """An adjective of a noun, as neither the training nor the validation has it."""
    trained, validated, _ = (
        set().union(*(combinations(parsed(source)) for source, _ in part)) for part in generated("english-french")
    )
    assert len(trained) > 150
    for source, _ in generated("english-french").valid:
        assert combinations(parsed(source)) - trained, source
    for source, _ in generated("english-french").test:
        assert combinations(parsed(source)) - trained - validated, source


def test_combinations_are_of_every_place_in_a_sentence():
    text = "the small cat does not see a strange tree near my old black house"
    said = {(adjective.english, noun.one) for adjective, noun in combinations(parsed(text))}
    assert said == {("small", "cat"), ("strange", "tree"), ("old", "house"), ("black", "house")}
    said = {(adjective.english, noun.one) for adjective, noun in combinations(parsed("the old cats are not happy"))}
    assert said == {("old", "cat"), ("happy", "cat")}
    assert combinations(parsed("she is happy")) == set()


def test_word_order_crosses_in_many_sentences():
    phrases = [(s.subject, s.what, s.where and s.where[1]) for s in map(parsed, dict(every("english-french")))]
    crosses = [any(isinstance(p, Phrase) and p.behind for p in found) for found in phrases]
    assert sum(crosses) > 0.4 * len(crosses)
