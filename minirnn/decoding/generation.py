"""Writing text: a model's own choices, one character at a time, become its next input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minirnn.arrays import to_numpy
from minirnn.decoding.sampling import sampler
from minirnn.tape import no_grad


def generate(
    lm: Any,
    prompt: str = "",
    length: int = 200,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    unknown: str = "error",
) -> str:
    """The prompt, continued by ``length`` characters.

    Parameters
    ----------
    lm : CharLM
        A model that knows its characters (its ``vocabulary`` is not ``None``).
    prompt : str
        What to continue. Without one the model begins as after a line break, if it knows that, else after its first
        character.
    length : int
        How many characters to add.
    temperature, top_k, top_p, seed
        As in ``minirnn.decoding.sampler``; temperature 0 always takes the likeliest character.
    unknown : {"error", "skip", "replace"}
        What to do with characters of the prompt that the model has never seen, see ``Vocabulary.encode``.

    Returns
    -------
    str

    Raises
    ------
    DataError
        If the prompt holds unseen characters and ``unknown`` is ``"error"``.
    ValueError
        If a setting is out of range, or the model has no vocabulary.

    Examples
    --------
    >>> from minirnn.models import CharLM
    >>> from minirnn.text import Vocabulary
    >>> lm = CharLM(Vocabulary.from_text("to be"), embedding_size=4, hidden_size=8)
    >>> text = generate(lm, "to", length=5, seed=1)
    >>> text[:2], len(text)
    ('to', 7)
    """
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "unknown": unknown}
    return prompt + "".join(stream_characters(lm, prompt, length, **settings))  # type: ignore[arg-type]


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

    Everything is checked at the call, before the first character is asked for.
    """
    if lm.vocabulary is None:
        raise ValueError("lm has no vocabulary; build it as CharLM(vocabulary, ...) to let it write text")
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise ValueError(f"length must be an integer that is not negative, got {length!r}")
    choose = sampler(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    ids = lm.vocabulary.encode(prompt, unknown)
    if len(ids) == 0:
        first = "\n" if "\n" in lm.vocabulary.characters else lm.vocabulary.characters[0]
        ids = lm.vocabulary.encode(first)
    return _continue(lm, ids[None], length, choose)


def _continue(lm: Any, ids: np.ndarray, length: int, choose: Callable) -> Iterator[str]:
    state = None
    for _ in range(length):
        with lm.evaluating(), no_grad():
            logits, state = lm(ids, state)
        chosen = choose(to_numpy(logits.array[0, -1]))
        yield lm.vocabulary.decode([chosen])
        ids = np.array([[chosen]])
