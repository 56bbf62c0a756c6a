"""A training step as one launch: the hundreds of kernels of a step on a device, recorded once."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.arrays import Array, home_of, xp_of
from minirnn.kernels import kernels_of
from minirnn.kernels.capturing import captured, drawing_at
from minirnn.kernels.products import own_products
from minirnn.nn.module import flatten
from minirnn.nn.recurrent import State
from minirnn.tape import Tensor
from minirnn.training.alone import Alone
from minirnn.training.optimizers import Optimizer
from minirnn.training.protocol import loss_of
from minirnn.training.unseen import as_state, finished


class Recorded(Alone):
    """Whole training steps by one launch, a recording: how a trainer trains with ``graph=True``.

    The way there and back, clipping and the update are in it. What the host counts comes in as arrays: the number of
    the step, which dropout draws by, and the rates of the optimizer. Where the host has to look at the gradients before
    the update, the recording ends with them.

    Parameters
    ----------
    model : CharLM
        Or what else finds its loss without a look at the host.
    optimizer : Optimizer
        In the order of its parameters the gradients are laid out, so that an update is one launch.

    Raises
    ------
    ValueError
        If the model is not on a device.
    """

    def __init__(self, model: Any, optimizer: Optimizer):
        self.model, self.optimizer = model, optimizer
        self.parameters = list({id(p): p for p in (*optimizer.parameters, *model.parameters())}.values())
        if any(home_of(p.array) != "cupy" for p in self.parameters):
            raise ValueError("graph=True needs a model on a device, got one on the CPU; model.to('cupy') moves it")
        self._graded: list[Tensor] = []  # those that get a gradient
        self._ways = captured(self._way, self._read)
        self._settings: Any = None  # that recorded steps hold for ever
        self._steps: captured

    def unseen_step(
        self, trainer: Any, inputs: np.ndarray, targets: np.ndarray, state: State | None
    ) -> tuple[Array, State | None]:
        if _begins(trainer, state):
            with own_products():
                return super().unseen_step(trainer, inputs, targets, state)
        xp, dtype = xp_of(self.parameters[0].array), self.parameters[0].dtype
        room = [xp.empty(3, dtype), *map(xp.empty_like, _parts(state))]  # now, as afterwards memory may run out
        outcome, after = self.step(inputs, targets, state, trainer.clip_norm, trainer.step)
        for kept, found in zip(room, (outcome, *_parts(after)), strict=False):  # a state that nobody carries on is left
            kept[...] = found  # the next step writes over what lies there
        return room[0], as_state(room[1:])

    def gradients(
        self, trainer: Any, inputs: np.ndarray, targets: np.ndarray, state: State | None
    ) -> tuple[float, State | None]:
        if _begins(trainer, state):
            with own_products():
                return super().gradients(trainer, inputs, targets, state)
        loss, after = self.there_and_back(inputs, targets, state, trainer.step)
        return loss.item(), _copied(after)

    def step(
        self, inputs: np.ndarray, targets: np.ndarray, state: State | None, max_norm: float | None, step: int = 0
    ) -> tuple[Array, State | None]:
        """A whole step, and what ``unseen.finished`` returns of it; all lies where it lay after the last one."""
        settings = max_norm, self.optimizer.settings()
        if settings != self._settings:
            self._settings, self._steps = settings, captured(self._step, self._changed)
        if self._graded:
            self.optimizer.lay_out(self._graded)  # what has been loaded since lies elsewhere
        before, rates = self.optimizer.steps, np.array(self.optimizer.rates(), self.parameters[0].dtype)
        try:
            outcome, after = self._taken(self._steps(np.array([step]), rates, inputs, targets, *_parts(state)))
        finally:
            self.optimizer.steps = before  # it counts by itself where it is not recorded
        self.optimizer.steps += 1
        return outcome, after

    def there_and_back(
        self, inputs: np.ndarray, targets: np.ndarray, state: State | None, step: int = 0
    ) -> tuple[Array, State | None]:
        """Loss and state; the gradients stand in the parameters. All lie where they lay after the last time."""
        return self._taken(self._ways(np.array([step]), inputs, targets, *_parts(state)))

    def _taken(self, result: tuple) -> tuple[Array, State | None]:
        found, gradients, after = result
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        return found, as_state(after)

    # --- what is recorded --------------------------------------------------------------------------------------------

    def _way(self, step: Array, inputs: Array, targets: Array, *parts: Array) -> tuple:
        """Loss, gradients, and the state that is carried on."""
        self.model.seek(0)  # the step comes in by itself
        with drawing_at(step):
            loss, after = loss_of(self.model, inputs, targets, as_state(parts))
        for p in self.parameters:
            p.grad = None
        loss.backward()
        self._graded = [p for p in self.parameters if p.grad is not None]
        laid_out = kernels_of(loss.array).laid_out([p.grad for p in self._graded], one_by_one=True)
        for p, gradient in zip(self._graded, laid_out, strict=True):
            p.grad = gradient
        return loss.array, [p.grad for p in self.parameters], _parts(after)

    def _step(self, step: Array, rates: Array, inputs: Array, targets: Array, *parts: Array) -> tuple:
        """Outcome, gradients as they are after clipping, and the state that is carried on."""
        loss, _, after = self._way(step, inputs, targets, *parts)
        max_norm, _ = self._settings
        outcome, state = finished(self.optimizer, loss, as_state(after), max_norm, rates)
        return outcome, [p.grad for p in self.parameters], _parts(state)

    def _read(self) -> list[Any]:
        """Weights, and which of them are not frozen."""
        return [p.array for p in self.parameters] + [p.requires_grad for p in self.parameters]

    def _changed(self) -> list[Any]:
        """What is read, and the moments."""
        return self._read() + [a for own in self.optimizer.state for a in own.values()]


def _begins(trainer: Any, state: State | None) -> bool:
    """Whether a batch begins an epoch, which is too rare for a recording of its own, by the memory that it takes."""
    return state is None and trainer.training.carries_state


def _parts(state: State | None) -> list[Array]:
    return [part.array for part in flatten(state)]


def _copied(state: State | None) -> State | None:
    """One that the next step does not write over."""
    return as_state(part.copy() for part in _parts(state))
