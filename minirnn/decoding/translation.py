"""Text in, text out: sentences become ids, a search finds their translations, and unknown words are carried over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minirnn.arguments import booleans, positive
from minirnn.decoding.beam import beam_search
from minirnn.decoding.hypotheses import Hypothesis
from minirnn.text import PAD, DataError, TokenVocabulary


@dataclass(frozen=True)
class Translation:
    """What became of one text.

    Attributes
    ----------
    source, text : str
        What was read, and what was written.
    hypothesis : Hypothesis
        Ids, score, log-probability and attention of what was written.
    others : tuple of Translation
        The ``n_best - 1`` next best, the best of them first.
    """

    source: str
    text: str
    hypothesis: Hypothesis
    others: tuple[Translation, ...] = ()


def translate(
    model: Any,
    texts: Sequence[str],
    beam: int = 5,
    *,
    length_penalty: float = 1.0,
    coverage_penalty: float = 0.0,
    n_best: int = 1,
    max_length: int | None = None,
    block_ngrams: int = 0,
    replace_unknown: bool = False,
    batch_size: int = 64,
) -> list[Translation]:
    """The translation of each text, in the order of the texts.

    Parameters
    ----------
    model : Seq2Seq
        A model that knows its tokens: its ``source_vocabulary`` and ``target_vocabulary`` are not numbers.
    texts : sequence of str
        Of at least one token each.
    beam, length_penalty, coverage_penalty, n_best, max_length, block_ngrams
        As in :func:`beam_search`.
    replace_unknown : bool
        Writes, instead of "<unk>", the token of the source that the model attended to most: names
        and numbers are mostly carried over as they are. It takes a model that attends.
    batch_size : int
        How many texts, of about one length, are translated together: a matter of time and memory.

    Raises
    ------
    DataError
        If a text holds no token, or is no Unicode.
    TypeError, ValueError
        If texts are not a sequence of str, a setting is out of range, or the model has no vocabularies or does not
        attend where it has to.

    Notes
    -----
    Scores are computed in floating point, together not always to the last bit as alone: of two hypotheses that are
    equally good but for the last bit, another may win in another batch.

    References
    ----------
    Jean et al. 2015, "On using very large target vocabulary for neural machine translation".

    Examples
    --------
    >>> from minirnn.models import Seq2Seq
    >>> english, french = (TokenVocabulary.learn([text], "words") for text in ("the cat sees", "le chat voit"))
    >>> model = Seq2Seq(english, french, embedding_size=4, hidden_size=8)
    >>> [translation] = translate(model, ["the cat"], n_best=2)
    >>> translation.source, len(translation.others)
    ('the cat', 1)
    """
    for name in ("source_vocabulary", "target_vocabulary"):
        if not isinstance(getattr(model, name, None), TokenVocabulary):
            raise ValueError(f"model has no {name}; build it as Seq2Seq(source_vocabulary, target_vocabulary, ...)")
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise TypeError(f"texts must be a list of str, got {type(texts).__name__}")
    positive(batch_size=batch_size)
    booleans(replace_unknown=replace_unknown)
    read = [_ids(model.source_vocabulary, text, f"texts[{k}]") for k, text in enumerate(texts)]

    translations: dict[int, Translation] = {}
    order = sorted(range(len(texts)), key=lambda k: len(read[k]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        sources = np.full((len(batch), len(read[batch[-1]])), PAD)
        for row, k in zip(sources, batch, strict=True):
            row[: len(read[k])] = read[k]
        found = beam_search(
            model,
            sources,
            beam,
            length_penalty=length_penalty,
            coverage_penalty=coverage_penalty,
            n_best=n_best,
            max_length=max_length,
            block_ngrams=block_ngrams,
        )
        for k, hypotheses in zip(batch, found, strict=True):
            names = _names(model.source_vocabulary, texts[k], read[k]) if replace_unknown else None
            written = [(_text(model.target_vocabulary, each, names), each) for each in hypotheses]
            others = tuple(Translation(texts[k], *each) for each in written[1:])
            translations[k] = Translation(texts[k], *written[0], others)
    return [translations[k] for k in range(len(texts))]


def _ids(vocabulary: TokenVocabulary, text: str, name: str) -> list[int]:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, got {type(text).__name__}")
    try:
        ids = vocabulary.encode(text)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    if not ids:
        raise DataError(f"{name} holds no token: there is nothing to translate in {text!r}")
    return ids


def _names(vocabulary: TokenVocabulary, text: str, ids: list[int]) -> list[str]:
    """Each token of a text as it stands there, also those that the vocabulary does not know."""
    shown = vocabulary.split(text)
    return [vocabulary.decode([i], [name]) for i, name in zip(ids, shown, strict=True)]


def _text(vocabulary: TokenVocabulary, hypothesis: Hypothesis, names: list[str] | None) -> str:
    if names is None:
        return vocabulary.decode(hypothesis.ids)
    if hypothesis.attention is None:
        raise ValueError("replace_unknown needs a model that attends: without attention no word of the source is meant")
    return vocabulary.decode(hypothesis.ids, [names[s] for s in hypothesis.attention.argmax(axis=1)])
