"""Steps on a device at which the host does not look: what becomes of them is decided there, and told when it asks.

The problem. Whether a step may be taken hangs on two numbers, the loss and the norm of the gradient. A host that asks
for them waits until the device has done all it was told, and then the device waits for the host.

The answer. The device makes up its mind itself. The factor of clipping is NaN where a number is not finite; an update
with such a factor changes nothing, and the state that is carried on begins anew. Loss, norm and factor stay there until
the host looks at those of several steps at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minirnn.arrays import Array, xp_of
from minirnn.nn.module import flatten
from minirnn.nn.recurrent import State
from minirnn.tape import Tensor
from minirnn.training.clipping import clip_unseen
from minirnn.training.optimizers import Optimizer


class Unseen(NamedTuple):
    """A step that is taken, and not in the books yet; on a device what became of it stays there until somebody asks."""

    step: int
    outcome: Array  # (3,): loss, norm, and what the gradient was multiplied with, NaN if the step was refused
    given: tuple[Any, Any, State | None]  # what the model was given


def finished(
    optimizer: Optimizer, loss: Array, state: State | None, max_norm: float | None, rates: Array | None = None
) -> tuple[Array, State | None]:
    """What is left of a step when the gradients stand in the parameters: clipping and the update.

    Parameters
    ----------
    optimizer : Optimizer
        One that ``refuses()``.
    loss : array, ()
    state : State or None
        After the batch.
    max_norm : float or None
        Without it nothing is clipped.
    rates : array, optional
        Of ``optimizer.step``.

    Returns
    -------
    outcome : array, (3,)
        Loss, norm of the gradient before clipping, and what it was multiplied with: NaN if the step was refused.
    state : State or None
        To be carried on: zeros if the step was refused, for it may hold what made the loss infinite.
    """
    norm, factor = clip_unseen(optimizer.parameters, loss, max_norm)
    xp = xp_of(factor)
    outcome = xp.stack([loss, norm, factor])
    kept = as_state([xp.where(xp.isfinite(factor), part.array, 0) for part in flatten(state)])
    optimizer.step(factor, rates)  # last, as memory may have run out before
    return outcome, kept


def as_state(parts: Any) -> State | None:
    """The arrays of a state as one."""
    tensors = tuple(map(Tensor.around, parts))
    return tensors[0] if len(tensors) == 1 else tensors or None
