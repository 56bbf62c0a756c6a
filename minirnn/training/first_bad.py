"""Where NaN and infinity come from: a training step is taken again, and everything on its way is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minirnn.arrays import Array, xp_of
from minirnn.nn.module import flatten
from minirnn.tape import pull_back, watching
from minirnn.training.alone import Piece


class _FoundError(Exception):
    """What is not finite first; ends the step that is taken for its sake."""


def first_not_finite(model: Any, pieces: Iterable[Piece], gradients: bool = False) -> str:
    """Names what was first not finite: a parameter, the state, the batch, or what a rule or its pullback returned.

    Where all of that is finite this time, it may still be a gradient that stands in a parameter.

    Parameters
    ----------
    model : Module
        Its gradients stay as they are.
    pieces : iterable of Piece
        What ``model.loss`` was given, and where its random streams stood: dropout drops the same.
    gradients : bool
        Whether the gradients in the parameters are those that were refused; on a device they are all NaN by now.

    Returns
    -------
    str
        Empty if all is finite.
    """

    def look(what: str, arrays: Sequence[Array | None]) -> None:
        for array in arrays:
            if array is not None and array.dtype.kind == "f":
                masked = what == "the output of where"  # with -inf, so that no maximum falls on what is not there
                bad = int((~(array < np.inf) if masked else ~xp_of(array).isfinite(array)).sum())
                if bad:
                    raise _FoundError(f"{what}, {bad} of {array.size} numbers")

    try:
        for name, p in model.named_parameters():
            look(f"the parameter {name}", [p.array])
        for place, draws, inputs, targets, state in pieces:
            if place.start == place.stop:
                continue
            look("the state that was carried into the step", [part.array for part in flatten(state)])
            look("the inputs of the batch", _arrays(inputs))
            look("the targets of the batch", _arrays(targets))
            model.seek(draws)
            with np.errstate(all="ignore"), watching(look):
                loss, _ = model.loss(inputs, targets, state)
                pull_back([loss], [xp_of(loss.array).ones(loss.shape, loss.dtype)])
        for name, p in model.named_parameters() if gradients else ():
            look(f"the gradient of {name}", [p.grad])
    except _FoundError as found:
        return str(found)
    return ""


def _arrays(given: Any) -> list[Array]:
    """The arrays of inputs or targets, which may be whatever the model takes."""
    parts = given if isinstance(given, (tuple, list)) else (given,)
    return [part for part in parts if isinstance(part, np.ndarray)]
