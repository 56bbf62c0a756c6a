"""Tokens and their numbers: words, characters or byte pairs, and four ids that mean the same in every vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np

from minirnn.arrays import Array, to_numpy
from minirnn.text.bpe import BYTES, BytePairs, bytes_shown, learn_merges, text_of_bytes, tokens_of
from minirnn.text.reading import DataError

PAD, BOS, EOS, UNK = 0, 1, 2, 3  # nothing, the beginning, the end, and what the vocabulary does not know
RESERVED_SHOWN = ("<pad>", "<bos>", "<eos>", "<unk>")
RESERVED = len(RESERVED_SHOWN)
UNKNOWN = RESERVED_SHOWN[UNK]
UNITS = ("words", "chars", "bpe")


@dataclass(frozen=True)
class TokenVocabulary:
    r"""The tokens that a model of sentences knows; the id of a token is its place among them plus four.

    Four ids mean the same in every vocabulary: :data:`PAD` fills rows up, :data:`BOS` and :data:`EOS` begin and end a
    sentence, :data:`UNK` stands for what is not known. They have no spelling, so no text can forge them.

    Parameters
    ----------
    units : {"words", "chars", "bpe"}
        - ``"words"``: what stands between white space. Runs of white space come back as single spaces.
        - ``"chars"``: Unicode code points.
        - ``"bpe"``: pieces of words, joined from bytes (see :mod:`minirnn.text.bpe`). Every text has such tokens, also
          one of characters never seen, and comes back as it was: nothing is ever unknown.
    tokens : tuple of str
        Distinct tokens in the order of their ids. Of byte pairs: the 256 bytes and what ``merges`` make of them, each
        byte written as the character of its number.
    merges : tuple of (str, str)
        For ``"bpe"``: which neighbours are joined, in order.

    Raises
    ------
    DataError
        If the tokens are none, not distinct, not of these units, or not what the merges make.
    ValueError
        If ``units`` is none of the three.

    Examples
    --------
    >>> vocabulary = TokenVocabulary.learn(["the cat sat", "the dog"], units="words")
    >>> vocabulary.tokens, len(vocabulary)
    (('the', 'cat', 'dog', 'sat'), 8)
    >>> vocabulary.encode("the cow sat")
    [4, 3, 7]
    >>> vocabulary.decode([4, 3, 7, EOS]), vocabulary.decode([4, 3, 7], replacements=["the", "cow", "sat"])
    ('the <unk> sat', 'the cow sat')
    """

    units: str
    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check_units(self.units)
        if self.units == "bpe":
            if self.tokens != tokens_of(self.merges):
                raise DataError("the tokens of byte pairs must be the 256 bytes and what the merges make of them")
            return
        if self.merges:
            raise DataError(f"merges belong to units 'bpe', not to {self.units!r}")
        if not self.tokens:
            raise DataError("a vocabulary needs at least one token, got none")
        token, count = Counter(self.tokens).most_common(1)[0]
        if count > 1:
            raise DataError(f"the tokens of a vocabulary must be distinct; {token!r} appears {count} times")
        for place, token in enumerate(self.tokens):
            if _split(_checked(token, f"tokens[{place}]"), self.units) != [token]:
                raise DataError(f"tokens[{place}] is {token!r}, not one of the units {self.units!r}")

    @classmethod
    def learn(cls, texts: Iterable[str], units: str, size: int | None = None) -> TokenVocabulary:
        """The vocabulary of some texts: what is frequent in them, and the same texts give the same ids.

        Parameters
        ----------
        texts : iterable of str
            One sentence each.
        units : {"words", "chars", "bpe"}
        size : int, optional
            How many ids there may be, the four reserved ones among them. The most frequent tokens are kept, ties in
            the order of code points; byte pairs are joined until there are as many, or no pair occurs twice. Default:
            no limit.

        Raises
        ------
        DataError
            If there is no token in the texts, or half of a surrogate pair.
        ValueError
            If ``units`` is none of the three, or ``size`` too small: 5 is the least, and 260 for byte pairs, as the
            256 bytes are always there.
        """
        _check_units(units)
        least = RESERVED + (BYTES if units == "bpe" else 1)
        if size is not None and (not isinstance(size, Integral) or isinstance(size, bool) or size < least):
            raise ValueError(f"size must be None or an integer of at least {least} for units {units!r}, got {size!r}")
        if isinstance(texts, str):
            raise TypeError("texts must be an iterable of texts, got a single str")
        texts = [_checked(text, f"texts[{k}]") for k, text in enumerate(texts)]
        if not any(_split(text, units) for text in texts):
            raise DataError(f"a vocabulary of {units} needs at least one token, got {len(texts)} texts without any")
        room = None if size is None else int(size) - RESERVED
        if units == "bpe":
            merges = learn_merges(texts, room)
            return cls(units, tokens_of(merges), merges)
        counts = Counter(token for text in texts for token in _split(text, units))
        frequent = sorted(counts, key=lambda token: (-counts[token], token))
        return cls(units, tuple(frequent[:room]))

    def __len__(self) -> int:
        return RESERVED + len(self.tokens)

    def __repr__(self) -> str:
        return f"TokenVocabulary({len(self):,} tokens, units={self.units!r})"

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {token: place + RESERVED for place, token in enumerate(self.tokens)}

    @cached_property
    def _pairs(self) -> BytePairs:
        return BytePairs(self.merges)

    def split(self, text: str) -> list[str]:
        r"""The tokens of a text as people read them, one for each id of :meth:`encode`.

        In byte pairs a space shows as "▁", and bytes that are only a part of a character as "\xe4".

        Examples
        --------
        >>> TokenVocabulary.learn(["low", "slow"], units="bpe").split("slow low é")
        ['▁', 's', 'low', '▁', 'low', '▁', '\\xc3', '\\xa9']
        """
        if self.units == "bpe":
            return self.shown(self.encode(text))
        return _split(_checked(text, "text"), self.units)

    def shown(self, ids: Array) -> list[str]:
        """Each of some ids as people read it, as :meth:`split` shows tokens; the reserved four as "<pad>", "<bos>", ...

        Parameters
        ----------
        ids : sequence of int or array of int, (N,)

        Raises
        ------
        DataError, ValueError
            As of :meth:`decode`.

        Examples
        --------
        >>> TokenVocabulary.learn(["low", "slow"], units="bpe").shown([36, 260, UNK, EOS])
        ['▁', 'lo', '<unk>', '<eos>']
        """
        show = bytes_shown if self.units == "bpe" else str
        ids = self._checked_ids(ids)
        return [show(self.tokens[i - RESERVED]) if i >= RESERVED else RESERVED_SHOWN[i] for i in ids]

    def encode(self, text: str) -> list[int]:
        """The ids of the tokens of a text, without BOS and EOS; :data:`UNK` for each that is not known.

        Raises
        ------
        DataError
            If the text holds half of a surrogate pair: that is no Unicode text.
        """
        _checked(text, "text")
        if self.units == "bpe":
            return [place + RESERVED for place in self._pairs.encode(text)]
        return [self._id_of.get(token, UNK) for token in _split(text, self.units)]

    def decode(self, ids: Array, replacements: Mapping[int, str] | Sequence[str] | None = None) -> str:
        """The text of a sequence of ids, up to the first EOS.

        Parameters
        ----------
        ids : sequence of int or array of int, (N,)
            PAD and BOS among them say nothing.
        replacements : sequence or dict of str, optional
            What to write instead of "<unk>", by position in ``ids``: ``replacements[n]`` where ``ids[n]`` is UNK.

        Raises
        ------
        DataError
            If an id is negative or not below the size of the vocabulary.
        ValueError
            If ``ids`` are not integers or not one-dimensional.

        Notes
        -----
        Bytes that a model put in an order that is no UTF-8 show as U+FFFD.
        """
        ids = self._checked_ids(ids)
        if EOS in ids:
            ids = ids[: ids.index(EOS)]
        unknown = {n: UNKNOWN if replacements is None else replacements[n] for n, i in enumerate(ids) if i == UNK}
        if self.units == "bpe":
            unknown = {n: text.encode().decode("latin-1") for n, text in unknown.items()}
        tokens = [self.tokens[i - RESERVED] if i >= RESERVED else unknown[n] for n, i in enumerate(ids) if i >= UNK]
        if self.units == "bpe":
            return text_of_bytes("".join(tokens)).removeprefix(" ")
        return (" " if self.units == "words" else "").join(tokens)

    def _checked_ids(self, ids: Array) -> list[int]:
        ids = to_numpy(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise ValueError(f"ids must be a sequence of integers, got {ids.dtype} of shape {ids.shape}")
        outside = np.flatnonzero((ids < 0) | (ids >= len(self)))
        if outside.size:
            place = outside[0]
            raise DataError(
                f"ids[{place}] is {ids[place]}; a vocabulary of {len(self)} has ids from 0 to {len(self) - 1}"
            )
        return ids.tolist()

    def to_plain(self) -> dict[str, Any]:
        """Everything there is to it as lists and str, fit for JSON; :meth:`from_plain` makes it again."""
        if self.units == "bpe":
            return {"units": self.units, "merges": [list(pair) for pair in self.merges]}
        return {"units": self.units, "tokens": list(self.tokens)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> TokenVocabulary:
        """The vocabulary that :meth:`to_plain` described.

        Raises
        ------
        DataError
            If it described none.
        """
        if not isinstance(plain, dict) or plain.get("units") not in UNITS:
            raise DataError(f"a vocabulary must be a dict with units {', '.join(UNITS)}; got {_short(plain)}")
        what = "merges" if plain["units"] == "bpe" else "tokens"
        entries = plain.get(what)
        if plain.keys() != {"units", what} or not isinstance(entries, list):
            raise DataError(f"a vocabulary of {plain['units']} is a list of {what}, no more; got {_short(plain)}")
        if what == "tokens":
            if not all(isinstance(token, str) for token in entries):
                raise DataError(f"tokens must be str; got {_short(entries)}")
            return cls(plain["units"], tuple(entries))
        if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in entries):
            raise DataError(f"merges must be pairs of tokens; got {_short(entries)}")
        merges = tuple((left, right) for left, right in entries)
        return cls("bpe", tokens_of(merges), merges)


def _check_units(units: str) -> None:
    if units not in UNITS:
        raise ValueError(f'units must be "words", "chars" or "bpe", got {units!r}')


def _split(text: str, units: str) -> list[str]:
    return text.split() if units == "words" else list(text)


def _checked(text: str, name: str) -> str:
    """The text, if it is Unicode."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise DataError(
            f"{name} has {half!r} at position {error.start}, half of a surrogate pair, not Unicode text"
        ) from None
    return text


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
