r"""Byte pairs: words cut into pieces that are frequent, down to single bytes where nothing is.

A vocabulary of words cannot say what it has not seen, and one of characters makes sequences long. In between: begin
with the bytes of the text (UTF-8), join the pair of neighbours that is most frequent into a new token, and go on like
this (Sennrich et al. 2016; on bytes, Radford et al. 2019). Frequent words become one token each, rare ones a few, and
as every byte is a token, every text can be written.

Pairs are joined within words only. A space belongs to the word behind it, so that "sun" in a sentence is one token,
space and all, and other than the "sun" in "unsung". A space is put in front of the text too, and taken away again when
it is read back: the first word is then written as it is anywhere else.

Throughout, bytes are written as a str: each byte is the character of its number, as in Latin-1.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from minirnn.text.reading import DataError

BYTES = 256
# The bound on the length of a word keeps encoding linear in texts that have no spaces.
WORDS = re.compile(r" ?\S{1,64}|\s")
LONGEST = 1 + 64 * 4  # bytes of a word, and so of a token
CACHED = 100_000  # words whose tokens are remembered: most words of a text are among the few that are frequent

Merges = tuple[tuple[str, str], ...]


def words_of(text: str) -> list[str]:
    """The words of a text, as bytes, with the space before each; together they are a space and the text."""
    return [word.encode().decode("latin-1") for word in WORDS.findall(f" {text}")] if text else []


def text_of_bytes(written: str) -> str:
    """The text of bytes; U+FFFD where they are no UTF-8."""
    return written.encode("latin-1").decode("utf-8", "replace")


def bytes_shown(written: str) -> str:
    r"""A token for people: spaces as "▁", bytes that are no whole character as "\xe4"."""
    return written.encode("latin-1").decode("utf-8", "backslashreplace").replace(" ", "▁")


def tokens_of(merges: Merges) -> tuple[str, ...]:
    """All tokens: the bytes, then what each merge makes, unless another has made the same before.

    Raises
    ------
    DataError
        If a merge joins what is no token yet, or makes a token longer than a word can be.
    """
    tokens = dict.fromkeys(map(chr, range(BYTES)))
    for place, pair in enumerate(merges):
        for half in pair:
            if not isinstance(half, str) or half not in tokens:
                raise DataError(f"merges[{place}] joins {half!r}, which is no token made before")
        if sum(map(len, pair)) > LONGEST:  # each merge may double what the one before has made
            raise DataError(f"merges[{place}] makes a token of {sum(map(len, pair))} bytes; no word has over {LONGEST}")
        tokens["".join(pair)] = None
    if len(set(merges)) < len(merges):
        raise DataError("the merges must be distinct")
    return tuple(tokens)


def learn_merges(texts: Iterable[str], room: int | None = None) -> Merges:
    """The pairs to join, most frequent first, ties in the order of the bytes.

    Parameters
    ----------
    texts : iterable of str
    room : int, optional
        How many tokens there may be, the 256 bytes among them. Without, or where there is more room than pairs, the
        last pair joined is the last that occurs twice.

    Notes
    -----
    Counting all pairs anew for each merge would take hours. Here, a merge looks only at the words that have the pair,
    and corrects the counts by what changes in them. A heap has the counts in order; an entry whose count has changed
    since is stale, and the right one is in the heap as well.
    """
    counted = Counter(word for text in texts for word in words_of(text))
    words = [(list(word), times) for word, times in counted.items()]
    counts: dict[tuple[str, str], int] = defaultdict(int)
    where: dict[tuple[str, str], set[int]] = defaultdict(set)
    for place, (word, times) in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += times
            where[pair].add(place)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges: dict[tuple[str, str], None] = {}  # no pair twice: the same half can be made in two ways, before and after
    tokens = set(map(chr, range(BYTES)))
    while heap and (room is None or len(tokens) < room):
        count, pair = heapq.heappop(heap)
        if -count != counts[pair]:
            continue
        if -count < 2:
            break
        merges[pair] = None
        tokens.add("".join(pair))
        changed = set()
        for place in where.pop(pair):
            word, times = words[place]
            joined = join(word, pair)
            words[place] = joined, times
            for old in pairwise(word):
                counts[old] -= times
                changed.add(old)
            for new in pairwise(joined):
                counts[new] += times
                where[new].add(place)
                changed.add(new)
        for other in changed:
            heapq.heappush(heap, (-counts[other], other))
    return tuple(merges)


def join(word: list[str], pair: tuple[str, str]) -> list[str]:
    """A word with the two of a pair joined wherever they are neighbours, from left to right."""
    left, right = pair
    joined: list[str] = []
    waiting = False  # whether the last of `joined` is a left that nothing has been joined to
    for token in word:
        if waiting and token == right:
            joined[-1] = left + right
            waiting = False
        else:
            joined.append(token)
            waiting = token == left
    return joined


class BytePairs:
    """Texts to the places of their tokens in ``tokens_of(merges)``.

    Parameters
    ----------
    merges : tuple of (str, str)
        As :func:`learn_merges` gives them.
    """

    def __init__(self, merges: Merges):
        self._place_of = {token: place for place, token in enumerate(tokens_of(merges))}
        self._rank_of = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """The places of the tokens of a text."""
        return [place for word in words_of(text) for place in self._places(word)]

    def _places(self, word: str) -> list[int]:
        """Join as was learned: of the pairs in the word always the one joined earliest, until none is left."""
        places = self._known.get(word)
        if places is not None:
            return places
        pieces = list(word)
        never = len(self._rank_of)
        while len(pieces) > 1:
            first = min(pairwise(pieces), key=lambda pair: self._rank_of.get(pair, never))
            if first not in self._rank_of:
                break
            pieces = join(pieces, first)
        places = [self._place_of[piece] for piece in pieces]
        if len(self._known) < CACHED:
            self._known[word] = places
        return places
