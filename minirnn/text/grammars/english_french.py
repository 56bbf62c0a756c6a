"""A small grammar of English and French: what changes between the two is what makes a translation hard.

    this young girl does not see a white horse near the old tree
    cette jeune fille ne voit pas de cheval blanc près du vieil arbre

A French noun has a gender, and what stands by it agrees in gender and number: the, a, my, this, every adjective, also
behind "is". Most adjectives stand behind the noun, some before it, so that word order crosses. "ne ... pas" goes round
the verb, and after it "a" and "some" become "de". Small words melt: "le arbre" is "l' arbre", "de le" is "du". One
word can be three ("near" is "près de", "in front of" is "devant"). All words are lower case, with spaces between.

French is a function of English here: "they" and "I" are men, and of two ways to say it one is always taken.

The three parts differ in which adjectives come with which nouns. No sentence of the training has an adjective with a
noun where that combination is held out; each sentence of the test has at least one of them. A model that gets "une
église verte" right knows it from other churches and other green things.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from minirnn.arrays import random_generator
from minirnn.text.grammars.parts import Pairs

TRAIN, VALID, TEST = 8000, 500, 500
EVERY = 8  # of so many combinations of adjective and noun one is for the test, and one to validate


class Noun(NamedTuple):
    """A noun, its plural, both in French, the gender, and what it names: a person, an animal, a room or a thing."""

    one: str
    many: str
    un: str
    des: str
    gender: str
    kind: str


class Adjective(NamedTuple):
    """An adjective, its French forms, that before a masculine vowel among them, where it stands, and what it fits."""

    english: str
    m: str
    f: str
    m_many: str
    f_many: str
    m_vowel: str
    stands: str
    fits: str  # the initials of the kinds of nouns


class Verb(NamedTuple):
    """A verb, after "he", its French forms (I, he, we, they), and how its object is tied to it."""

    english: str
    he: str
    french: tuple[str, str, str, str]
    tie: str = ""


class Phrase(NamedTuple):
    """A noun and what stands by it."""

    determiner: str
    before: Adjective | None
    behind: Adjective | None
    noun: Noun
    many: bool


class Sentence(NamedTuple):
    """Who does (or, without a verb, is) what and where, or does not."""

    subject: Phrase | str  # a str is a pronoun
    verb: Verb | None
    negated: bool
    what: Phrase | Adjective | None  # an object, or what the subject is like
    where: tuple[str, Phrase] | None


def _table(kind: Any, text: str) -> tuple[Any, ...]:
    return tuple(kind(*line.split()) for line in text.strip().splitlines())


NOUNS: tuple[Noun, ...] = _table(
    Noun,
    """
    man     men       homme    hommes    m  person
    sister  sisters   sœur     sœurs     f  person
    boy     boys      garçon   garçons   m  person
    girl    girls     fille    filles    f  person
    child   children  enfant   enfants   m  person
    uncle   uncles    oncle    oncles    m  person
    cat     cats      chat     chats     m  animal
    cow     cows      vache    vaches    f  animal
    horse   horses    cheval   chevaux   m  animal
    bird    birds     oiseau   oiseaux   m  animal
    house   houses    maison   maisons   f  room
    garden  gardens   jardin   jardins   m  room
    church  churches  église   églises   f  room
    school  schools   école    écoles    f  room
    boat    boats     bateau   bateaux   m  room
    car     cars      voiture  voitures  f  room
    tree    trees     arbre    arbres    m  thing
    bridge  bridges   pont     ponts     m  thing
    table   tables    table    tables    f  thing
    island  islands   île      îles      f  thing
    book    books     livre    livres    m  thing
    flower  flowers   fleur    fleurs    f  thing
    apple   apples    pomme    pommes    f  thing
    star    stars     étoile   étoiles   f  thing
    """,
)

ADJECTIVES: tuple[Adjective, ...] = _table(
    Adjective,
    """
    small      petit    petite    petits    petites    petit    before  part
    big        grand    grande    grands    grandes    grand    before  part
    old        vieux    vieille   vieux     vieilles   vieil    before  part
    beautiful  beau     belle     beaux     belles     bel      before  part
    young      jeune    jeune     jeunes    jeunes     jeune    before  pa
    new        nouveau  nouvelle  nouveaux  nouvelles  nouvel   before  rt
    strange    étrange  étrange   étranges  étranges   étrange  behind  part
    happy      heureux  heureuse  heureux   heureuses  heureux  behind  pa
    tired      fatigué  fatiguée  fatigués  fatiguées  fatigué  behind  pa
    black      noir     noire     noirs     noires     noir     behind  art
    white      blanc    blanche   blancs    blanches   blanc    behind  art
    green      vert     verte     verts     vertes     vert     behind  art
    blue       bleu     bleue     bleus     bleues     bleu     behind  art
    red        rouge    rouge     rouges    rouges     rouge    behind  art
    grey       gris     grise     gris      grises     gris     behind  art
    """,
)


def _er(english: str, he: str, stem: str, tie: str = "") -> Verb:
    """A verb of the first French conjugation."""
    return Verb(english, he, (f"{stem}e", f"{stem}e", f"{stem}ons", f"{stem}ent"), tie)


VERBS = (
    Verb("see", "sees", ("vois", "voit", "voyons", "voient")),
    Verb("want", "wants", ("veux", "veut", "voulons", "veulent")),
    Verb("know", "knows", ("connais", "connaît", "connaissons", "connaissent")),
    Verb("choose", "chooses", ("choisis", "choisit", "choisissons", "choisissent")),
    Verb("paint", "paints", ("peins", "peint", "peignons", "peignent")),
    Verb("wait for", "waits for", ("attends", "attend", "attendons", "attendent")),
    _er("like", "likes", "aim"),
    _er("admire", "admires", "admir"),
    _er("find", "finds", "trouv"),
    _er("draw", "draws", "dessin"),
    _er("look for", "looks for", "cherch"),
    _er("look at", "looks at", "regard"),
    _er("think of", "thinks of", "pens", "à"),
    _er("talk about", "talks about", "parl", "de"),
)
KINDS = ("person", "animal", "room", "thing")
BE = ("am", "is", "are", "are"), ("suis", "est", "sommes", "sont")
PLACES = {
    "in": "dans",
    "under": "sous",
    "behind": "derrière",
    "in front of": "devant",
    "near": "près de",
    "next to": "à côté de",
}
PRONOUNS = {  # in French, person of the verb, gender
    "i": ("je", 0, "m"),
    "he": ("il", 1, "m"),
    "she": ("elle", 1, "f"),
    "we": ("nous", 2, "m"),
    "they": ("ils", 3, "m"),
}
ARTICLES = {  # masculine, feminine, plural
    "the": ("le", "la", "les"),
    "a": ("un", "une", ""),
    "some": ("", "", "des"),
    "my": ("mon", "ma", "mes"),
    "this": ("ce", "cette", ""),
    "these": ("", "", "ces"),
    "two": ("", "", "deux"),
    "three": ("", "", "trois"),
}
BEFORE_VOWELS = {"le": "l'", "la": "l'", "de": "d'", "ne": "n'", "je": "j'", "ma": "mon", "ce": "cet"}
MELTED = {
    ("à", "le"): "au",
    ("à", "les"): "aux",
    ("de", "le"): "du",
    ("de", "les"): "des",
    ("de", "des"): "de",
    ("de", "de"): "de",
}
VOWELS = "aeiouéêîh"  # no h is aspirated in the words above


def english(sentence: Sentence) -> str:
    """A sentence in English.

    Examples
    --------
    >>> church, green = NOUNS[12], ADJECTIVES[11]
    >>> english(Sentence("she", VERBS[0], True, Phrase("a", None, green, church, False), None))
    'she does not see a green church'
    """
    subject, verb, negated, what, where = sentence
    person, _, _ = _agreement(subject)
    if verb is None:
        does = [BE[0][person], *["not"] * negated]
    elif negated:
        does = ["does" if person == 1 else "do", "not", verb.english]
    else:
        does = [verb.he if person == 1 else verb.english]
    words = [*_english_phrase(subject), *does, *_english_phrase(what)]
    if where is not None:
        words += [where[0], *_english_phrase(where[1])]
    return " ".join(words)


def _english_phrase(phrase: Phrase | Adjective | str | None) -> list[str]:
    if phrase is None or isinstance(phrase, str):
        return [phrase] if phrase else []
    if isinstance(phrase, Adjective):
        return [phrase.english]
    adjectives = [adjective.english for adjective in (phrase.before, phrase.behind) if adjective]
    words = [*adjectives, phrase.noun.many if phrase.many else phrase.noun.one]
    an = phrase.determiner == "a" and words[0][0] in "aeiou"
    return ["an" if an else phrase.determiner, *words]


def french(sentence: Sentence) -> str:
    """The sentence in French.

    Examples
    --------
    >>> church, green = NOUNS[12], ADJECTIVES[11]
    >>> french(Sentence("she", VERBS[0], True, Phrase("a", None, green, church, False), None))
    "elle ne voit pas d' église verte"
    """
    subject, verb, negated, what, where = sentence
    person, gender, many = _agreement(subject)
    words = [PRONOUNS[subject][0]] if isinstance(subject, str) else _french_phrase(subject)
    does = (BE[1] if verb is None else verb.french)[person]
    words += ["ne", does, "pas"] if negated else [does]
    if isinstance(what, Adjective):
        words += [_agreeing(what, gender, many)]
    elif what is not None and verb is not None:
        words += [*verb.tie.split(), *_french_phrase(what, none_of_it=negated and not verb.tie)]
    if where is not None:
        words += [*PLACES[where[0]].split(), *_french_phrase(where[1])]
    return " ".join(_spelled(words))


def _agreement(subject: Phrase | str) -> tuple[int, str, bool]:
    """Person (I, he, we, they), gender, and whether it is more than one."""
    if isinstance(subject, Phrase):
        return 3 if subject.many else 1, subject.noun.gender, subject.many
    _, person, gender = PRONOUNS[subject]
    return person, gender, person > 1


def _french_phrase(phrase: Phrase, none_of_it: bool = False) -> list[str]:
    determiner, before, behind, noun, many = phrase
    article = ARTICLES[determiner][2 if many else "mf".index(noun.gender)]
    if (none_of_it and determiner in ("a", "some")) or (before and determiner == "some"):
        article = "de"
    name = noun.des if many else noun.un
    words = [article]
    if before:
        as_vieil = noun.gender == "m" and not many and _melts(name)
        words.append(before.m_vowel if as_vieil else _agreeing(before, noun.gender, many))
    words.append(name)
    if behind:
        words.append(_agreeing(behind, noun.gender, many))
    return words


def _agreeing(adjective: Adjective, gender: str, many: bool) -> str:
    if gender == "m":
        return adjective.m_many if many else adjective.m
    return adjective.f_many if many else adjective.f


def _melts(word: str) -> bool:
    """Whether the word before gives up its vowel."""
    return word[0] in VOWELS


def _spelled(words: list[str]) -> list[str]:
    """The words as they are written one behind the other: "de la" before a vowel "de l'", "de le" else "du"."""
    melted: list[str] = []
    for word in _elided(words):
        if melted and (melted[-1], word) in MELTED:
            word = MELTED[melted.pop(), word]
        melted.append(word)
    return _elided(melted)  # "de des arbres" is "de arbres" only now


def _elided(words: list[str]) -> list[str]:
    return [
        BEFORE_VOWELS.get(word, word) if _melts(following) else word
        for word, following in zip(words, [*words[1:], "."], strict=True)
    ]


def pairs() -> Pairs:
    """Distinct sentences, drawn until each part is full."""
    rng = random_generator(0, "english-french")
    sizes = {"train": TRAIN, "valid": VALID, "test": TEST}
    parts: dict[str, dict[str, str]] = {part: {} for part in sizes}
    while any(len(parts[part]) < size for part, size in sizes.items()):
        sentence = _drawn(iter(rng.random(40).tolist()))
        part = part_of(sentence)
        if len(parts[part]) < sizes[part]:
            parts[part][english(sentence)] = french(sentence)
    return Pairs(*(tuple(part.items()) for part in parts.values()))


def part_of(sentence: Sentence) -> str:
    """Train, valid or test, by the adjectives and nouns that come together in it."""
    places = {(ADJECTIVES.index(adjective) + NOUNS.index(noun)) % EVERY for adjective, noun in combinations(sentence)}
    return "test" if 0 in places else "valid" if 1 in places else "train"


def combinations(sentence: Sentence) -> set[tuple[Adjective, Noun]]:
    """Which adjective is said of which noun."""
    phrases = [sentence.subject, sentence.what, sentence.where and sentence.where[1]]
    said = {
        (adjective, phrase.noun)
        for phrase in phrases
        if isinstance(phrase, Phrase)
        for adjective in (phrase.before, phrase.behind)
        if adjective
    }
    if isinstance(sentence.what, Adjective) and isinstance(sentence.subject, Phrase):
        said.add((sentence.what, sentence.subject.noun))
    return said


def _drawn(draws: Iterator[float]) -> Sentence:
    """A sentence from numbers between 0 and 1."""
    alone = next(draws) < 0.3
    subject = _pick(draws, list(PRONOUNS)) if alone else _drawn_phrase(draws, "person", "animal")
    negated = next(draws) < 0.35
    shape = _pick(draws, ("does", "does", "does somewhere", "is like", "is somewhere"))
    if shape == "is like":
        kind = "person" if alone else subject.noun.kind
        return Sentence(subject, None, negated, _pick(draws, _fitting(kind)), None)
    where = None
    if "somewhere" in shape:
        preposition = _pick(draws, list(PLACES))
        where = preposition, _drawn_phrase(draws, "room", *["thing"] * (preposition != "in"))
    if "is" in shape:
        return Sentence(subject, None, negated, None, where)
    return Sentence(subject, _pick(draws, VERBS), negated, _drawn_phrase(draws, *KINDS), where)


def _drawn_phrase(draws: Iterator[float], *kinds: str) -> Phrase:
    many = next(draws) < 0.4
    determiner = _pick(draws, [word for word, forms in ARTICLES.items() if forms[2 if many else 0]])
    noun = _pick(draws, [noun for noun in NOUNS if noun.kind in kinds])
    before, behind = (
        _pick(draws, [a for a in _fitting(noun.kind) if a.stands == stands]) if next(draws) < 0.35 else None
        for stands in ("before", "behind")
    )
    return Phrase(determiner, before, behind, noun, many)


def _fitting(kind: str) -> list[Adjective]:
    return [adjective for adjective in ADJECTIVES if kind[0] in adjective.fits]


def _pick(draws: Iterator[float], choices: Sequence[Any]) -> Any:
    return choices[int(next(draws) * len(choices))]
