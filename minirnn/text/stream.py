"""A text as a stream of training batches: inputs, and the same characters shifted by one as targets."""

from __future__ import annotations

import math
import os
from functools import cached_property
from typing import Any

import numpy as np

from minirnn.arguments import a_batch, at_least_0, booleans, not_negative, positive
from minirnn.arrays import random_generator
from minirnn.text.reading import DataError
from minirnn.text.vocabulary import Vocabulary


class TextStream:
    """Batches of a text, by epoch and number.

    There are two ways to cut a text into windows of ``seq_len`` characters, and each fits one way to treat the state:

    - **lanes**: the text is cut into ``batch_size`` long pieces, and row b of a batch walks along piece b. Batch k + 1
      goes on where batch k stopped, so the state can be carried over and the model sees more than one window.
    - **random windows**: each row starts anywhere. The state of the window before means nothing here: start afresh.

    Nothing is remembered between calls: any batch of any epoch can be asked for at any time, which is what resuming
    in the middle of an epoch needs.

    Parameters
    ----------
    text : str
        The training text; it must fill one batch: ``batch_size * seq_len`` characters and one more for the last target.
    seq_len, batch_size : int
        Characters per window (T) and windows per batch (B).
    vocabulary : Vocabulary, optional
        Default: that of the text.
    lanes : bool
        Lanes, or random windows.
    seed : int
        Draws the random windows; lanes draw nothing.
    unknown : {"error", "skip", "replace"}
        What to do with characters that the vocabulary given does not know, see :meth:`Vocabulary.encode`.

    Attributes
    ----------
    ids : ndarray of int64
        The text in numbers, read-only.
    batches_per_epoch : int
        Whole batches that fit: an epoch has about as many targets as the text has characters.
    carries_state : bool
        Whether batch k + 1 goes on where batch k stopped, as in lanes.

    Raises
    ------
    DataError
        If the text is too short (with settings that would fit), or has unknown characters that are refused.
    TypeError
        If ``lanes`` is neither True nor False, the text no str, or the vocabulary none of characters.
    ValueError
        If a setting is not a positive integer, or the seed negative.

    Notes
    -----
    Lanes leave over fewer than ``batch_size * seq_len`` characters. Even epochs leave out the last ones, odd epochs the
    first ones, so that every two epochs have trained on every target. Random windows are drawn with replacement:
    an epoch leaves some characters out and meets others twice.

    Examples
    --------
    >>> stream = TextStream("to be or not to be", seq_len=4, batch_size=2)
    >>> for k in range(stream.batches_per_epoch):
    ...     inputs, targets = stream.batch(epoch=0, k=k)
    ...     for x, y in zip(inputs, targets):
    ...         print(k, repr(stream.vocabulary.decode(x)), "->", repr(stream.vocabulary.decode(y)))
    0 'to b' -> 'o be'
    0 ' not' -> 'not '
    1 'e or' -> ' or '
    1 ' to ' -> 'to b'
    """

    def __init__(
        self,
        text: str,
        seq_len: int = 50,
        batch_size: int = 16,
        *,
        vocabulary: Vocabulary | None = None,
        lanes: bool = True,
        seed: int = 0,
        unknown: str = "error",
    ):
        positive(seq_len=seq_len, batch_size=batch_size)
        not_negative(seed=seed)
        booleans(lanes=lanes)
        if not isinstance(vocabulary, (Vocabulary, type(None))):
            raise TypeError(f"vocabulary must be a Vocabulary, of characters, got {type(vocabulary).__name__}")
        self.seq_len, self.batch_size, self.seed = int(seq_len), int(batch_size), int(seed)
        self.lanes = self.carries_state = bool(lanes)
        self.vocabulary = Vocabulary.from_text(text) if vocabulary is None else vocabulary
        self.ids = self.vocabulary.encode(text, unknown)
        self.ids.setflags(write=False)
        _check_length(len(self.ids), self.seq_len, self.batch_size, or_else=_if_a_file(text))
        self.batches_per_epoch = (len(self.ids) - 1) // (self.batch_size * self.seq_len)

    unit = "character"  # what a target is

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self._settings().items())
        return f"TextStream({len(self.ids):,} characters, {settings})"

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("seq_len", "batch_size", "lanes", "seed")}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides which batches there are, in plain values: a resumed run must have the same."""
        return {"text": self.digest, **self._settings()}

    @property
    def targets_per_epoch(self) -> int:
        return self.batches_per_epoch * self.batch_size * self.seq_len

    @staticmethod
    def counted(targets: np.ndarray) -> int:
        """How many targets of a batch count: all of them."""
        return targets.size

    def batch(self, epoch: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch ``k`` of an epoch.

        Returns
        -------
        inputs, targets : ndarray of int64, (batch_size, seq_len)
            Fresh arrays; the target of a character is the one that follows it.

        Raises
        ------
        ValueError
            If ``epoch`` is negative or there is no such batch.
        """
        a_batch(epoch, k, self.batches_per_epoch)
        starts = self._lane_starts(epoch, k) if self.lanes else self._window_starts(epoch, k)  # (B,)
        at = starts[:, None] + np.arange(self.seq_len)  # (B, T)
        return self.ids[at], self.ids[at + 1]

    def _lane_starts(self, epoch: int, k: int) -> np.ndarray:
        lane_length = self.batches_per_epoch * self.seq_len
        left_over = len(self.ids) - 1 - lane_length * self.batch_size
        return epoch % 2 * left_over + np.arange(self.batch_size) * lane_length + k * self.seq_len

    def _window_starts(self, epoch: int, k: int) -> np.ndarray:
        rng = random_generator(self.seed, "windows", step=epoch * self.batches_per_epoch + k)
        return rng.integers(len(self.ids) - self.seq_len, size=self.batch_size)

    def split(self, val_split: float) -> tuple[TextStream, TextStream | None]:
        """Hold out the end of the text: a stream to train on and one to validate on, with no character in both.

        Parameters
        ----------
        val_split : float
            The share of the text held out, in [0, 1).

        Returns
        -------
        training : TextStream
            The first part, with the settings of this stream.
        validation : TextStream or None
            The last part, always in lanes, and in fewer of them where it is too short for ``batch_size``: a held-out
            part should be measured, not padded or dropped. None if ``val_split`` is 0.

        Raises
        ------
        DataError
            If the held-out part does not fill one window, or the rest not one batch.
        ValueError
            If ``val_split`` is not in [0, 1).
        """
        at_least_0(below=1, val_split=val_split)
        if val_split == 0:
            return self, None
        held_out = round(len(self.ids) * val_split)
        self._check_held_out(val_split, held_out)
        cut = len(self.ids) - held_out
        what = f"text without the {held_out} characters that val_split {val_split} holds out"
        _check_length(cut, self.seq_len, self.batch_size, what, or_else=", or a smaller val_split")
        text = self.vocabulary.decode(self.ids)
        lanes_that_fit = min(self.batch_size, (held_out - 1) // self.seq_len)
        settings: dict[str, Any] = {"vocabulary": self.vocabulary, "seed": self.seed}
        training = TextStream(text[:cut], self.seq_len, self.batch_size, lanes=self.lanes, **settings)
        return training, TextStream(text[cut:], self.seq_len, lanes_that_fit, **settings)

    def _check_held_out(self, val_split: float, held_out: int) -> None:
        total, need = len(self.ids), self.seq_len + 1
        if held_out >= need:
            return
        larger = math.ceil(1000 * need / total) / 1000
        fits = total - round(total * larger) > self.batch_size * self.seq_len
        fitting = f"{larger:g}" if fits else "0"
        hint = f"try val_split={fitting} (--val-split {fitting}){', or 0 for none' if fits else ''}"
        raise DataError(
            f"val_split {val_split} holds out {held_out} of {total} characters; "
            f"one window of seq_len {self.seq_len} needs {need}; {hint}"
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the vocabulary and the ids, in hexadecimal: whether a resumed run has the text it began with."""
        import hashlib  # only here: a slow import, for a rare question

        characters = self.vocabulary.characters.encode()
        sha = hashlib.sha256(len(characters).to_bytes(8, "little") + characters)
        sha.update(self.ids.astype("<i8", copy=False).tobytes())
        return sha.hexdigest()


def _check_length(count: int, seq_len: int, batch_size: int, what: str = "text", or_else: str = "") -> None:
    """Refuse a text that does not fill one batch, naming settings that it would fill."""
    need = batch_size * seq_len + 1
    if count >= need:
        return
    windows = (count - 1) // seq_len
    if windows >= 1:
        hint = f"try batch_size={(fits := _power_of_two_up_to(windows))} (--batch-size {fits})"
    elif count >= 2:
        fits = _power_of_two_up_to(count - 1)
        hint = f"try batch_size=1 and seq_len={fits} (--batch-size 1 --seq-len {fits})"
    else:
        hint = "try a longer text"
    raise DataError(
        f"{what} has {count} character{'' if count == 1 else 's'}; "
        f"seq_len {seq_len} and batch_size {batch_size} need at least {need}; {hint}{or_else}"
    )


def _if_a_file(text: str) -> str:
    return f"; this is the name of a file, which read_text({text!r}) reads" if os.path.isfile(text) else ""


def _power_of_two_up_to(n: int) -> int:
    return 1 << (n.bit_length() - 1)
