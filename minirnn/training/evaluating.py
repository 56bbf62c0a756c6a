"""How well a model does on data that it is not trained on, and whether the two speak of the same tokens."""

from __future__ import annotations

from typing import Any

from minirnn.tape import no_grad
from minirnn.training.protocol import Stream, batch_of, check_model, check_stream, loss_of

VOCABULARIES = {"vocabulary": "vocab_size", "source_vocabulary": "source_size", "target_vocabulary": "target_size"}


def evaluate(model: Any, stream: Stream) -> float:
    """Mean loss in nats per target over a stream, the state carried along; changes nothing in the model.

    Raises
    ------
    TypeError
        If the model has no ``loss``, or the stream lacks what a `Stream` has.
    ValueError
        If the ids of the stream mean something else to the model.

    Examples
    --------
    >>> import math
    >>> from minirnn import CharLM, TextStream
    >>> text = "to be or not to be " * 10
    >>> stream = TextStream(text, seq_len=10, batch_size=2)
    >>> bits = evaluate(CharLM(len(stream.vocabulary), 4, 8), stream) / math.log(2)
    >>> 2 < bits < 4  # untrained: close to log2(7)
    True
    """
    check_model(model)
    check_stream(stream)
    check_vocabularies(model, stream)
    total, count, state = 0.0, 0, None
    with model.evaluating(), no_grad():
        for k in range(stream.batches_per_epoch):
            inputs, targets = batch_of(stream, 0, k)
            loss, state = loss_of(model, inputs, targets, state if stream.carries_state else None)
            total += loss.item() * stream.counted(targets)
            count += stream.counted(targets)
    return total / count


def check_vocabularies(model: Any, stream: Any) -> None:
    """Refuses a stream whose ids mean something else to the model, or nothing."""
    for name, size in VOCABULARIES.items():
        theirs, own, room = getattr(stream, name, None), getattr(model, name, None), getattr(model, size, None)
        if theirs is None:
            continue
        if room is not None and room != len(theirs):
            raise ValueError(f"model has a {name} of {room}, the stream one of {len(theirs)}")
        if own is not None and own != theirs:
            raise ValueError(f"model has another {name} than the stream; build both with the same one")


def adopt_vocabularies(model: Any, stream: Any) -> None:
    """Gives a model that has no vocabulary yet that of the stream."""
    for name in VOCABULARIES:
        if getattr(model, name, ...) is None:
            setattr(model, name, getattr(stream, name))
