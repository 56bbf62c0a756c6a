"""Pairs of sentences: read them from a file, and cut them into batches of about one length."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from minirnn.arguments import a_batch, at_least_0, not_negative, positive
from minirnn.arrays import random_generator
from minirnn.text.reading import DataError, bytes_of, decoded
from minirnn.text.tokens import EOS, PAD, TokenVocabulary

LONGEST = 10_000  # characters of a sentence: what is longer is no sentence, and would fill memory with padding
POOL = 50  # batches whose pairs are sorted together, where there are enough for ...
POOLS = 8  # ... so many pools: with one alone, all that is random would be the order of the batches

Pair = tuple[str, str]


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    r"""The pairs of a UTF-8 file that has on every line a source, a tab and a target.

    Lines end with ``"\n"`` or ``"\r\n"``. A byte order mark is dropped. The sentences are kept as they are.

    Parameters
    ----------
    path : str or path-like
        A regular file or a pipe.

    Returns
    -------
    list of (str, str)
        Source and target, in the order of the file; at least one pair.

    Raises
    ------
    DataError
        If :func:`read_text` refuses the file, or if a line has not two columns, an empty one, one of over 10,000
        characters, or a carriage return that does not end it; the message has the number of the line.
    """
    return pairs_in(bytes_of(path), repr(os.fspath(path)))


def pairs_in(data: bytes, shown: str) -> list[Pair]:
    """The pairs in ``data``, as :func:`read_pairs` gives them; ``shown`` is what errors call it."""
    text = decoded(data, shown)
    if not text:
        raise DataError(f"{shown} is empty; expected on every line a source, a tab and a target")
    lines = text.removesuffix("\n").split("\n")
    return [_pair_of(line.removesuffix("\r"), f"{shown}, line {number}") for number, line in enumerate(lines, start=1)]


def _pair_of(line: str, where: str) -> Pair:
    columns = line.split("\t")
    if "\r" in line:
        raise DataError(f"{where} has a carriage return in the middle; expected lines that end with \\n or \\r\\n")
    if len(columns) != 2:
        raise DataError(
            f"{where} has {len(columns)} column{'s' * (len(columns) > 1)}; expected two: a source, a tab and a target"
        )
    for side, sentence in zip(("source", "target"), columns, strict=True):
        if not sentence.strip():
            raise DataError(f"{where} has an empty {side}; expected a sentence on both sides of the tab")
        if len(sentence) > LONGEST:
            raise DataError(f"{where} has a {side} of {len(sentence):,} characters; at most {LONGEST:,} are a sentence")
    source, target = columns
    return source, target


class PairStream:
    """Batches of pairs, by epoch and number.

    A batch is as long as the longest sentence in it, so sentences of about one length should come together. An epoch
    shuffles all pairs, sorts them by length within pools of up to fifty batches, and shuffles the batches: every pair
    is trained on exactly once, with company that changes.

    Nothing but the order of one epoch is remembered between calls, to save time: any batch of any epoch can be asked
    for at any time, which is what resuming in the middle of an epoch needs.

    Parameters
    ----------
    pairs : iterable of (str, str)
        Sources and targets.
    source_vocabulary, target_vocabulary : TokenVocabulary
    batch_size : int
        Pairs per batch (B); the last pairs of an epoch may make a smaller batch.
    seed : int
        Shuffles.
    max_length : int, optional
        Pairs with more tokens than this on either side are left out.

    Attributes
    ----------
    pairs : list of (str, str)
        The pairs that are not left out.
    left_out : int
        How many are.
    batches_per_epoch : int

    Raises
    ------
    DataError
        If a side of a pair has no token, or no pair is left.
    TypeError
        If a pair is not two texts, or a vocabulary none of tokens.
    ValueError
        If a setting is not a positive integer, or the seed negative.

    Examples
    --------
    >>> pairs = [("a b", "B A"), ("c", "C"), ("b c a", "A C B")]
    >>> lower, upper = (TokenVocabulary.learn(texts, "words") for texts in zip(*pairs))
    >>> stream = PairStream(pairs, lower, upper, batch_size=2)
    >>> for k in range(stream.batches_per_epoch):
    ...     sources, targets = stream.batch(epoch=0, k=k)
    ...     for x, y in zip(sources, targets):
    ...         print(k, x, repr(lower.decode(x)), "->", y, repr(upper.decode(y)))
    0 [4 5] 'a b' -> [5 4 2] 'B A'
    0 [6 0] 'c' -> [6 2 0] 'C'
    1 [5 6 4] 'b c a' -> [4 6 5 2] 'A C B'
    """

    carries_state = False  # sentences do not go on from each other
    unit = "token"  # what a target is

    def __init__(
        self,
        pairs: Iterable[Pair],
        source_vocabulary: TokenVocabulary,
        target_vocabulary: TokenVocabulary,
        batch_size: int = 64,
        *,
        seed: int = 0,
        max_length: int | None = None,
    ):
        positive(batch_size=batch_size, max_length=1 if max_length is None else max_length)
        not_negative(seed=seed)
        for name, side in {
            "source_vocabulary": source_vocabulary,
            "target_vocabulary": target_vocabulary,
        }.items():
            if not isinstance(side, TokenVocabulary):
                raise TypeError(f"{name} must be a TokenVocabulary, got {type(side).__name__}")
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.max_length = None if max_length is None else int(max_length)
        self.source_vocabulary = source_vocabulary
        self.target_vocabulary = target_vocabulary
        given = list(pairs)
        self.pairs: list[Pair] = []
        self._sources: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        for place, pair in enumerate(given):
            if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(side, str) for side in pair)):
                raise TypeError(f"pairs[{place}] must be a source and a target, both of them a str, got {pair!r}")
            source, target = pair
            xs, ys = source_vocabulary.encode(source), target_vocabulary.encode(target)
            if not (xs and ys):
                raise DataError(f"pairs[{place}] has no token in its {'target' if xs else 'source'}")
            if max_length is None or max(len(xs), len(ys)) <= max_length:
                self.pairs.append((source, target))
                self._sources.append(np.array(xs, dtype=np.int32))
                self._targets.append(np.array([*ys, EOS], dtype=np.int32))
        self.left_out = len(given) - len(self.pairs)
        if not self.pairs:
            why = "" if max_length is None else f" with at most {max_length} tokens on each side"
            raise DataError(f"there is no pair to train on{why}, of {len(given)} given")
        self._lengths = np.array([[len(ys), len(xs)] for xs, ys in zip(self._sources, self._targets, strict=True)])
        self.batches_per_epoch = -(-len(self.pairs) // self.batch_size)
        self._remembered: tuple[int, list[np.ndarray]] = (-1, [])

    def batch(self, epoch: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch ``k`` of an epoch.

        Returns
        -------
        sources : ndarray of int64, (B, S)
            The tokens of each sentence, then PAD.
        targets : ndarray of int64, (B, T)
            The tokens, EOS, then PAD. Both are fresh arrays.

        Raises
        ------
        ValueError
            If ``epoch`` is negative or there is no such batch.
        """
        a_batch(epoch, k, self.batches_per_epoch)
        remembered, order = self._remembered
        if remembered != epoch:
            order = self._order_of(epoch)
            self._remembered = epoch, order
        return self._padded(order[k])

    def _order_of(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, as places of pairs."""
        rng = random_generator(self.seed, "pairs", step=epoch)
        shuffled = rng.permutation(len(self.pairs))
        pool = min(POOL, -(-self.batches_per_epoch // POOLS)) * self.batch_size
        by_length = np.concatenate([self._sorted(shuffled[i : i + pool]) for i in range(0, len(shuffled), pool)])
        batches = [by_length[i : i + self.batch_size] for i in range(0, len(by_length), self.batch_size)]
        return [batches[b] for b in rng.permutation(len(batches))]

    def _sorted(self, places: np.ndarray) -> np.ndarray:
        """Some pairs from short to long; equals stay in their order.

        By the length of the target, two lengths together, and then by that of the source, up and down in turn: where
        the one grows, the other does not jump. Sorted by the target alone, twice as much of a batch is padding.
        """
        targets, sources = self._lengths[places].T
        step = targets // 2
        return places[np.lexsort((np.where(step % 2, -sources, sources), step))]

    def _padded(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _rows([self._sources[i] for i in places]), _rows([self._targets[i] for i in places])

    def in_order(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """All pairs once, from short to long, for measuring and translating.

        Yields
        ------
        places : ndarray of int64, (B,)
            Where the pairs stand in :attr:`pairs`.
        sources, targets : ndarray of int64, (B, S) and (B, T)
            As of :meth:`batch`.
        """
        by_length = self._sorted(np.arange(len(self.pairs)))
        for i in range(0, len(by_length), self.batch_size):
            places = by_length[i : i + self.batch_size]
            yield places, *self._padded(places)

    @property
    def targets_per_epoch(self) -> int:
        return int(self._lengths[:, 0].sum())

    @staticmethod
    def counted(targets: np.ndarray) -> int:
        """How many targets a loss is the mean of: all but the padding."""
        return int(np.count_nonzero(targets != PAD))

    def split(self, val_split: float) -> tuple[PairStream, PairStream | None]:
        """Hold out some pairs: a stream to train on and one to validate on, with no source in both.

        Parameters
        ----------
        val_split : float
            The share of the pairs held out, in [0, 1).

        Returns
        -------
        training : PairStream
        validation : PairStream or None
            None if ``val_split`` is 0.

        Raises
        ------
        DataError
            If no pair is held out or none is left.
        ValueError
            If ``val_split`` is not in [0, 1).

        Notes
        -----
        Sources are drawn at random, by the seed. All pairs of a source go to one side: a few more than the share may
        be held out.
        """
        at_least_0(below=1, val_split=val_split)
        if val_split == 0:
            return self, None
        wanted = round(len(self.pairs) * val_split)
        held_out = self._draw_sources(wanted)
        training, validation = ([p for p in self.pairs if (p[0] in held_out) == side] for side in (False, True))
        if not (training and validation):
            raise DataError(
                f"val_split {val_split} holds out {len(validation)} of {len(self.pairs)} pairs; "
                "at least one must be held out and one left; try another val_split, or 0 for none"
            )
        vocabularies = self.source_vocabulary, self.target_vocabulary
        settings: dict[str, Any] = {"seed": self.seed, "max_length": self.max_length}
        parts = [PairStream(part, *vocabularies, self.batch_size, **settings) for part in (training, validation)]
        return parts[0], parts[1]

    def _draw_sources(self, wanted: int) -> set[str]:
        """Sources drawn one after the other until they have at least so many pairs."""
        pairs_of = Counter(source for source, _ in self.pairs)
        sources = list(pairs_of)
        drawn: set[str] = set()
        for place in random_generator(self.seed, "split").permutation(len(sources)):
            if wanted <= 0:
                break
            drawn.add(sources[place])
            wanted -= pairs_of[sources[place]]
        return drawn

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pairs and the vocabularies, in hexadecimal."""
        import hashlib  # only here: slow imports, for a rare question
        import json

        vocabularies = self.source_vocabulary.to_plain(), self.target_vocabulary.to_plain()
        return hashlib.sha256(json.dumps([vocabularies, self.pairs]).encode()).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must find as it was, in plain values."""
        return {"text": self.digest, **self._settings()}

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("batch_size", "seed", "max_length")}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self._settings().items())
        return f"PairStream({len(self.pairs):,} pairs, {settings})"


def _rows(sentences: list[np.ndarray]) -> np.ndarray:
    """Sentences as the rows of one array, filled up with PAD."""
    rows = np.full((len(sentences), max(map(len, sentences))), PAD, dtype=np.int64)
    for row, ids in zip(rows, sentences, strict=True):
        row[: len(ids)] = ids
    return rows
