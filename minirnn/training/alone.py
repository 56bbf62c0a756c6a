"""How a trainer trains unless it is told otherwise: one process, whole batches, and no recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from minirnn.arrays import Array
from minirnn.nn.recurrent import State
from minirnn.tape import Tensor
from minirnn.training.callbacks import Callback
from minirnn.training.protocol import loss_of
from minirnn.training.unseen import finished


class Piece(NamedTuple):
    """What goes there and back at once: some columns of a batch."""

    place: slice  # of the columns, in the batch
    draws: int  # where the random streams stand before it: its masks are its own
    inputs: Any  # an array, or a tuple of several
    targets: np.ndarray
    state: State | None


class Alone:
    """One process and whole batches: how a trainer trains unless it is told otherwise."""

    rank = 0
    waits = False  # whether its steps end on the host, wherever the model is

    def own(self, callbacks: Iterable[Callback]) -> list[Callback]:
        """Those of the callbacks that look on here."""
        return list(callbacks)

    def running(self, trainer: Any) -> Any:
        """A block for the length of a run; one that cannot be is refused before any callback has touched a file."""
        return nullcontext()

    def begin(self, trainer: Any, end: float) -> None:
        """All ranks start from where rank 0 is, and will train as it does, up to the step ``end``."""

    def gradients(
        self, trainer: Any, inputs: np.ndarray, targets: np.ndarray, state: State | None
    ) -> tuple[float, State | None]:
        """Loss and state of a batch; its gradients stand in the parameters of the optimizer afterwards."""
        loss, state = self._there_and_back(trainer, inputs, targets, state)
        return loss.item(), state

    def unseen_step(
        self, trainer: Any, inputs: np.ndarray, targets: np.ndarray, state: State | None
    ) -> tuple[Array, State | None]:
        """A whole step of a trainer that ``looks_later``: its outcome, and the state that is carried on."""
        loss, state = self._there_and_back(trainer, inputs, targets, state)
        return finished(trainer.optimizer, loss.array, state, trainer.clip_norm)

    def _there_and_back(
        self, trainer: Any, inputs: np.ndarray, targets: np.ndarray, state: State | None
    ) -> tuple[Tensor, State | None]:
        trainer.model.seek(trainer.step)
        loss, state = loss_of(trainer.model, inputs, targets, state)
        trainer.optimizer.zero_grad()
        loss.backward()
        return loss, state

    def cut(self, step: int, inputs: np.ndarray, targets: np.ndarray, state: State | None) -> Iterator[Piece]:
        """The pieces of the batch of a step, whichever rank takes them."""
        yield Piece(slice(0, len(inputs)), step, inputs, targets, state)

    def ends(self, trainer: Any) -> bool:
        """Whether the run is over, as all ranks see it."""
        return bool(trainer.stopping)

    def same(self, number: float) -> float:
        """The number as rank 0 has it: what all have computed may differ where their cores do."""
        return number
