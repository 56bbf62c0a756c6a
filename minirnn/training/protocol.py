"""What training asks of data and of a model: whoever has these few methods can be trained, saved and gone on with."""

from __future__ import annotations

from abc import abstractmethod
from inspect import signature
from typing import Any, Protocol, Self

import numpy as np

from minirnn.arguments import positive
from minirnn.nn import Module
from minirnn.nn.recurrent import State
from minirnn.tape import Tensor
from minirnn.tape.record import recording

ASKED_OF_STREAMS = ("batch", "batches_per_epoch", "carries_state", "counted", "identity", "split", "unit")


class Stream(Protocol):
    """Batches by epoch and number: what ``fit``, ``Trainer`` and ``evaluate`` ask of data.

    `TextStream`, `PairStream` and, for data in arrays, `ArrayStream` are streams. One of your own derives from this
    class, has ``batches_per_epoch``, and writes ``batch``; the rest is there, and can be replaced.

    The model is a `Module` with ``loss(inputs, targets, state) -> (loss, state)``. What ``batch`` returns is handed to
    it as it is. ``loss`` is one number, a mean over what counts. ``state`` is None, a tensor or a tuple of several,
    each ``(layers, B, H)`` as recurrent layers return it; where the stream ``carries_state``, the next batch is given
    it without its history.

    Attributes
    ----------
    batches_per_epoch : int
    batch_size : int
        Rows of a batch; asked for by `DataParallel` alone, which shares out slices of targets and inputs, or of each of
        the inputs if they are a tuple.
    carries_state : bool
        Whether batch k + 1 goes on where batch k stopped; at k = 0 the state starts afresh all the same.
    unit : str
        What a target is, such as a character, where losses are in nats per target: then they are shown in bits. Empty
        where they are something else.

    Examples
    --------
    A series of numbers, of which the next one is to be told:

    >>> import numpy as np
    >>> from minirnn import Tensor, ops
    >>> from minirnn.nn import LSTM, Linear, Module
    >>> from minirnn.training import Stream, evaluate, fit, load, save
    >>> class Waves(Stream):
    ...     batches_per_epoch = 20
    ...     def __init__(self, seed):
    ...         self.seed = seed
    ...     def batch(self, epoch, k):
    ...         phase = np.random.default_rng([self.seed, epoch, k]).uniform(0, 6, size=(8, 1, 1))  # 8 rows
    ...         xs = np.sin(phase + 0.3 * np.arange(31)[:, None]).astype("float32")  # (B, T + 1, 1)
    ...         return xs[:, :-1], xs[:, 1:]
    >>> class Forecast(Module):
    ...     def __init__(self):
    ...         self.lstm, self.head = LSTM(1, 16, batch_first=True), Linear(16, 1)
    ...     def forward(self, xs, state=None):
    ...         hs, state = self.lstm(xs, state)
    ...         return self.head(hs), state
    ...     def loss(self, xs, targets, state=None):
    ...         ys, state = self(Tensor(xs), state)
    ...         return ops.mean((ys - Tensor(targets)) ** 2), state
    >>> model = Forecast()
    >>> history = fit(model, Waves(seed=0), epochs=5, lr=0.02, validation=Waves(seed=1))
    >>> history[-1]["val_loss"] < 0.01 < history[0]["val_loss"]
    True

    It is saved by its parameters, and loaded into a model that is built the same way. Numbers that are not trained,
    such as the mean and the scale of the data, are saved where they are a `Parameter` with ``requires_grad = False``:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, f"{folder}/waves.npz")
    ...     again = load(f"{folder}/waves.npz", into=Forecast())
    >>> evaluate(again, Waves(seed=2)) == evaluate(model, Waves(seed=2))
    True
    """

    batches_per_epoch: int
    carries_state: bool = False
    unit: str = ""

    @abstractmethod
    def batch(self, epoch: int, k: int) -> tuple[Any, Any]:
        """Inputs and targets of batch ``k``: the same ones whenever they are asked for, as a resumed run does."""

    def counted(self, targets: Any) -> int:
        """How many targets a loss is the mean of, by which losses of several batches are weighted: all of them."""
        return int(np.size(targets))

    def split(self, val_split: float) -> tuple[Self, Self | None]:
        """A stream to train on and one to validate on, which gets the share ``val_split``; none if that is 0."""
        if val_split:
            raise ValueError(f"val_split must be 0 for a {type(self).__name__}, which has no split; give validation")
        return self, None

    @property
    def identity(self) -> dict[str, Any]:
        """What decides which batches there are, in plain values: a resumed run must have the same.

        Such as a seed; ``batches_per_epoch`` and ``batch_size`` are always compared.
        """
        return {}


def check_stream(stream: Any, name: str = "stream") -> None:
    """Refuses what is no stream, naming what it lacks.

    Raises
    ------
    TypeError
    ValueError
        If it has no batches.
    """
    lacking = [asked for asked in ASKED_OF_STREAMS if not hasattr(stream, asked)]
    if lacking:
        raise TypeError(
            f"{name} must be a TextStream, a PairStream, an ArrayStream, or derive from minirnn.training.Stream; "
            f"{type(stream).__name__} has no {', '.join(lacking)}"
        )
    positive(batches_per_epoch=stream.batches_per_epoch)


def check_model(model: Any) -> None:
    """Refuses what is no model.

    Raises
    ------
    TypeError
    """
    name, loss = type(model).__name__, getattr(model, "loss", None)
    if isinstance(model, type):
        raise TypeError(
            f"model must be a Module, got the class {model.__name__}; {model.__name__}(...) makes one of it"
        )
    if not isinstance(model, Module) or not callable(loss):
        raise TypeError(f"model must be a Module with a method loss, got {name}")
    takes = signature(loss)
    try:
        takes.bind(None, None, None)
    except TypeError:
        raise TypeError(f"loss of {name} must take (inputs, targets, state), it takes {takes}") from None


def batch_of(stream: Stream, epoch: int, k: int) -> tuple[Any, Any]:
    """What ``stream.batch`` returns.

    Raises
    ------
    TypeError
        If it is not inputs and targets.
    """
    found = stream.batch(epoch, k)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"batch of {type(stream).__name__} must return (inputs, targets), got {_shown(found)}")
    return found


def loss_of(model: Any, inputs: Any, targets: Any, state: State | None) -> tuple[Tensor, State | None]:
    """What ``model.loss`` returns, the state without its history.

    Raises
    ------
    TypeError
        If it is not a loss and a state.
    ValueError
        If the loss is not one number, or nothing that is trained leads to it.
    """
    found = model.loss(inputs, targets, state)
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], Tensor):
        raise TypeError(f"loss of {type(model).__name__} must return (loss, state), got {_shown(found)}")
    loss, state = found
    if loss.size != 1:
        raise ValueError(f"loss of {type(model).__name__} must return one number as its loss, got shape {loss.shape}")
    if recording.get() and not loss.requires_grad:
        raise ValueError(
            f"loss of {type(model).__name__} must return a loss computed from parameters that require a gradient; "
            "this one was detached from them, or they all are frozen"
        )
    if state is None:
        return loss, None
    if isinstance(state, Tensor):
        return loss, state.detach()
    if isinstance(state, tuple) and len(state) > 1 and all(isinstance(part, Tensor) for part in state):
        return loss, tuple(part.detach() for part in state)
    raise TypeError(
        f"the state of {type(model).__name__} must be None, a tensor or a tuple of several, got {_shown(state)}"
    )


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"{'a list ' if isinstance(value, list) else ''}({', '.join(map(_shown, value))})"
    return type(value).__name__
