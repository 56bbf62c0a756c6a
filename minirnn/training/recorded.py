"""The way there and back through a model as one launch: a training step whose hundreds of kernels are recorded."""

from __future__ import annotations

from typing import Any

import numpy as np

from minirnn.arrays import Array, home_of
from minirnn.kernels import kernels_of
from minirnn.kernels.capturing import captured, drawing_at
from minirnn.kernels.products import own_products
from minirnn.nn.module import flatten
from minirnn.nn.recurrent import State
from minirnn.tape import Tensor
from minirnn.training.data_parallel import Alone


class Recorded(Alone):
    """Loss and gradients of every batch by one launch, a recording: how a trainer trains with ``graph=True``.

    What comes after them, clipping and the update, are a few launches whatever the model, and depend on numbers of the
    host: they stay as they are.

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

    def __init__(self, model: Any, optimizer: Any):
        self.model = model
        self.parameters = list({id(p): p for p in (*optimizer.parameters, *model.parameters())}.values())
        if any(home_of(p.array) != "cupy" for p in self.parameters):
            raise ValueError("graph=True needs a model on a device, got one on the CPU; model.to('cupy') moves it")
        self._recorded = captured(self._there_and_back, lambda: [p.array for p in self.parameters])

    def gradients(
        self, trainer: Any, inputs: np.ndarray, targets: np.ndarray, state: State | None
    ) -> tuple[Any, State | None]:
        if state is None and trainer.training.carries_state:  # once in an epoch: not worth the memory of a recording
            with own_products():
                return super().gradients(trainer, inputs, targets, state)
        loss, after = self.there_and_back(inputs, targets, state, trainer.step)
        after = _as_state([part.array.copy() for part in flatten(after)])  # the next step writes over what lies there
        return (loss.array.copy() if trainer.looks_later else loss.item()), after

    def there_and_back(
        self, inputs: np.ndarray, targets: np.ndarray, state: State | None, step: int = 0
    ) -> tuple[Tensor, Any]:
        """Loss and state; the gradients stand in the parameters. All lie where they lay after the last step."""
        parts = [] if state is None else [part.array for part in flatten(state)]
        loss, gradients, after = self._recorded(np.array([step]), inputs, targets, *parts)
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        return Tensor.around(loss), _as_state(after)

    def _there_and_back(self, step: Array, inputs: Array, targets: Array, *parts: Array) -> tuple:
        """Loss, gradients, and the state that is carried on."""
        self.model.seek(0)  # the step comes in by itself
        with drawing_at(step):
            loss, after = self.model.loss(inputs, targets, _as_state(parts))
        for p in self.parameters:
            p.grad = None
        loss.backward()
        graded = [p for p in self.parameters if p.grad is not None]
        laid_out = kernels_of(loss.array).laid_out([p.grad for p in graded], one_by_one=True)
        gradients = dict(zip(map(id, graded), laid_out, strict=True))
        return loss.array, [gradients.get(id(p)) for p in self.parameters], [part.array for part in flatten(after)]


def _as_state(parts: Any) -> State | None:
    tensors = tuple(map(Tensor.around, parts))
    return tensors[0] if len(tensors) == 1 else tensors or None
