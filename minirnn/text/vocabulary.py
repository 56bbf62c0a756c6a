"""Characters and their numbers: a vocabulary turns a text into ids, and ids into a text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minirnn.arrays import Array, to_numpy
from minirnn.text.reading import DataError

STAND_INS = "\ufffd \n"  # what replaces an unseen character: the first of these that the vocabulary knows
POLICIES = ("error", "skip", "replace")


@dataclass(frozen=True)
class Vocabulary:
    r"""The characters that a model knows; the id of a character is its place among them.

    ``characters`` is all there is to it: saving that string saves the vocabulary, and two vocabularies with the same
    string are equal.

    Parameters
    ----------
    characters : str
        Distinct characters, at least one, in the order of their ids. Half of a surrogate pair is no character and is
        refused: no file could hold it.

    Raises
    ------
    DataError
        If ``characters`` is empty, repeats a character or holds half of a surrogate pair.

    Examples
    --------
    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary.characters, len(vocabulary)
    ('ehlo', 4)
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0])
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    """

    characters: str

    def __post_init__(self) -> None:
        codes = code_points(self.characters, "characters")
        if not codes.size:
            raise DataError("a vocabulary needs at least one character, got an empty text")
        halves = np.flatnonzero((codes >= 0xD800) & (codes <= 0xDFFF))
        if halves.size:
            place = halves[0]
            raise DataError(
                f"characters[{place}] is {self.characters[place]!r}, half of a surrogate pair, not Unicode text"
            )
        distinct, counts = np.unique(codes, return_counts=True)
        if distinct.size < codes.size:
            twice = chr(distinct[counts.argmax()])
            raise DataError(f"the characters of a vocabulary must be distinct; {twice!r} appears {counts.max()} times")

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The vocabulary of a text: its distinct characters, sorted by code point, so the same text gives the same ids.

        Raises
        ------
        DataError
            If the text is empty or holds half of a surrogate pair.
        TypeError
            If it is no str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {type(text).__name__}")
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def stand_in(self) -> str | None:
        """What ``encode(text, "replace")`` writes for an unseen character: U+FFFD, a space or a line end, if known."""
        return next((c for c in STAND_INS if c in self.characters), None)

    @cached_property
    def _id_of(self) -> np.ndarray:
        """Id by code point, -1 for the unseen; its last entry stands for every code point beyond the highest known."""
        codes = code_points(self.characters)
        table = np.full(int(codes.max()) + 2, -1, dtype=np.int64)
        table[codes] = np.arange(len(self))
        return table

    def encode(self, text: str, unknown: str = "error") -> np.ndarray:
        """The ids of the characters of a text.

        Parameters
        ----------
        text : str
        unknown : {"error", "skip", "replace"}
            What to do with a character that the vocabulary does not know: refuse it, leave it out, or put
            :attr:`stand_in` in its place.

        Returns
        -------
        ndarray of int64
            One id per character of the text, fewer only where characters were skipped.

        Raises
        ------
        DataError
            If a character is unknown and to be refused, or to be replaced with no stand-in known.
        ValueError
            If ``unknown`` is none of the three.

        Examples
        --------
        >>> Vocabulary("abc ").encode("a-b", unknown="replace")
        array([0, 3, 1])
        """
        if unknown not in POLICIES:
            raise ValueError(f'unknown must be "error", "skip" or "replace", got {unknown!r}')
        ids = self._id_of.take(code_points(text), mode="clip")
        unseen = ids < 0
        if not unseen.any():
            return ids
        if unknown == "skip":
            return ids[~unseen]
        if unknown == "error" or self.stand_in is None:
            raise DataError(self._about_unseen(text, unseen))
        ids[unseen] = self.characters.index(self.stand_in)
        return ids

    def _about_unseen(self, text: str, unseen: np.ndarray) -> str:
        place = int(unseen.argmax())
        known = f"the vocabulary ({len(self)} characters)"
        if self.stand_in is None:
            replace = '"replace" is not possible (neither U+FFFD nor a space nor a line end is known)'
        else:
            replace = f'"replace" puts {self.stand_in!r} in their place'
        return (
            f"text has {text[place]!r} at position {place}, a character that {known} does not know "
            f'({np.count_nonzero(unseen)} such in all); unknown="skip" (--unknown skip) leaves them out, {replace}'
        )

    def decode(self, ids: Array) -> str:
        """The text of a sequence of ids.

        Parameters
        ----------
        ids : sequence of int or array of int, (N,)

        Raises
        ------
        DataError
            If an id is negative or not below the size of the vocabulary.
        ValueError
            If ``ids`` are not integers or not one-dimensional.
        """
        ids = to_numpy(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise ValueError(f"ids must be a sequence of integers, got {ids.dtype} of shape {ids.shape}")
        outside = np.flatnonzero((ids < 0) | (ids >= len(self)))
        if outside.size:
            place = outside[0]
            raise DataError(
                f"ids[{place}] is {ids[place]}; a vocabulary of {len(self)} has ids from 0 to {len(self) - 1}"
            )
        return code_points(self.characters)[ids.astype(np.int64)].tobytes().decode("utf-32-le")


def code_points(text: str, name: str = "text") -> np.ndarray:
    """The Unicode code points of a text, one number per character (half of a surrogate pair counts as one).

    Raises
    ------
    TypeError
        If ``text`` is not a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, got {type(text).__name__}")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def entropy_of_characters(text: str | Array) -> float:
    """Entropy of single characters in bits per character: the loss of a model that knows how often each one appears.

    Parameters
    ----------
    text : str or array of int
        The characters, or their ids in any numbering.

    Returns
    -------
    float
        ``sum(p * log2(1 / p))`` over the distinct characters; a model that has learned anything from the order of
        the characters falls below it.

    Raises
    ------
    DataError
        If there are no characters.

    Examples
    --------
    >>> entropy_of_characters("abab"), entropy_of_characters("aaaa")
    (1.0, 0.0)
    """
    symbols = code_points(text) if isinstance(text, str) else to_numpy(text)
    if not symbols.size:
        raise DataError("an empty text has no entropy")
    _, counts = np.unique(symbols, return_counts=True)
    p = counts / symbols.size
    return float(p @ np.log2(1 / p))
