"""Writing text: a model's own choices, one character at a time, become its next input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minirnn.arguments import not_negative
from minirnn.arrays import random_generator, to_numpy
from minirnn.decoding.sampling import sampler
from minirnn.decoding.stepping import stepper
from minirnn.decoding.whole import written
from minirnn.text import DataError


def generate(
    lm: Any,
    prompt: str | list[str] | tuple[str, ...] = "",
    length: int = 200,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    unknown: str = "error",
) -> Any:
    """The prompt, continued by ``length`` characters; or several prompts, continued together.

    Parameters
    ----------
    lm : CharLM
        A model that knows its characters (its ``vocabulary`` is not ``None``).
    prompt : str, or list of str
        What to continue. Without one the model begins as after a line break, if it knows that, else after its first
        character. Several prompts need not be equally long; to write texts together takes far less time than one after
        the other.
    length : int
        How many characters to add to each.
    temperature, top_k, top_p, seed
        As in ``minirnn.decoding.sampler``; temperature 0 always takes the likeliest character. Of several prompts the
        one at index k draws with ``seed + k``: it is continued as it would be alone, with that seed.
    unknown : {"error", "skip", "replace"}
        What to do with characters of the prompt that the model has never seen, see ``Vocabulary.encode``.

    Returns
    -------
    str, or list of str

    Raises
    ------
    DataError
        If the prompt holds unseen characters and ``unknown`` is ``"error"``.
    ValueError
        If a setting is out of range, or the model has no vocabulary.

    Notes
    -----
    Scores are computed in floating point, together not always to the last bit as alone. A draw that falls that close to
    the border between two characters may go the other way, and the rest of the text with it; so it may, for the same
    seed, on another machine or in another version.

    On a device `minirnn.use_whole_sequences` makes a whole text one launch: see ``minirnn.decoding.whole``.

    Examples
    --------
    >>> from minirnn.models import CharLM
    >>> from minirnn.text import Vocabulary
    >>> lm = CharLM(Vocabulary.from_text("to be"), embedding_size=4, hidden_size=8)
    >>> text = generate(lm, "to", length=5, seed=1)
    >>> text[:2], len(text)
    ('to', 7)
    >>> generate(lm, ["be", "to"], length=5, seed=0)[1] == text
    True
    """
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if not isinstance(prompt, (list, tuple)):
        stream = stream_characters(lm, prompt, length, **settings, seed=seed, unknown=unknown)
        whole = written(lm, [_ids(lm, prompt, unknown)], length, **settings, seeds=[seed])
        return prompt + ("".join(stream) if whole is None else lm.vocabulary.decode(whole[:, 0]))
    _check(lm, length)
    random_generator(seed)  # refuses what is no seed
    seeds = [seed + k for k in range(len(prompt))]
    choose = sampler(**settings, seed=seeds)
    read = []
    for k, text in enumerate(prompt):
        try:
            read.append(_ids(lm, text, unknown))
        except DataError as error:
            raise DataError(f"prompt {k}: {error}") from None
    ids = written(lm, read, length, **settings, seeds=seeds)
    if ids is None:
        ids = np.array(list(_chosen(lm, read, length, choose) if read else ()), np.int64).reshape(length, len(read))
    return [text + lm.vocabulary.decode(column) for text, column in zip(prompt, ids.T, strict=True)]


def stream_characters(
    lm: Any,
    prompt: str = "",
    length: int = 200,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    unknown: str = "error",
) -> Iterator[str]:
    """The characters that ``generate`` adds to the prompt, each as soon as it is chosen; arguments as there.

    Everything is checked at the call, before the first character is asked for. The weights are those that the model has
    when it is asked for. Each character is chosen when its turn comes, on a device too: whoever would rather have the
    whole text in one launch asks ``generate`` for it.
    """
    _check(lm, length)
    choose = sampler(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    ids = _ids(lm, prompt, unknown)
    characters = lm.vocabulary.characters
    return (characters[k] for [k] in _chosen(lm, [ids], length, lambda logits: [choose(logits[0])]))


def _check(lm: Any, length: int) -> None:
    if not callable(lm):
        raise TypeError(f"lm must be a character model, got {type(lm).__name__}")
    if getattr(lm, "vocabulary", None) is None:
        raise ValueError("lm has no vocabulary; build it as CharLM(vocabulary, ...) to let it write text")
    not_negative(length=length)


def _ids(lm: Any, prompt: str, unknown: str) -> np.ndarray:
    """What the model reads first: the prompt, or what stands for none."""
    ids = lm.vocabulary.encode(prompt, unknown)
    if len(ids):
        return ids
    first = "\n" if "\n" in lm.vocabulary.characters else lm.vocabulary.characters[0]
    return lm.vocabulary.encode(first)


def _chosen(lm: Any, prompts: Sequence[np.ndarray], length: int, choose: Callable) -> Iterator[Any]:
    """What ``choose`` makes of the logits ``(B, V)``, ``length`` times, each choice being the next input."""
    if length:
        scores, step = stepper(lm, prompts, length)
        yield (chosen := choose(to_numpy(scores).T))
    for _ in range(length - 1):
        yield (chosen := choose(to_numpy(step(chosen)).T))
