"""Where a wrong gradient goes wrong, and how it may have come about: argument, gate, time step, and a guess.

A fault in a backward pass through time is one line, but what is wrong of the gradients may be nearly all. The numbers
still tell where it began, because they are made in a known order. Time runs backward, so it began at the latest step
that is wrong. Inside that step a wrong dc spoils the gates i, f and g of an LSTM, and leaves o alone. And where every
da is right, a wrong dW_hh can only be a wrong sum. `anatomy` knows that order, `patterns` and `sums` hold the guesses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from minirnn.checking import patterns, sums
from minirnn.checking.anatomy import CELLS, Grid, Place, cell_of, grid_of
from minirnn.checking.suspects import Suspect

HYPOTHESES = (*patterns.HYPOTHESES, *sums.HYPOTHESES)


@dataclass(frozen=True)
class Guess:
    """What may be wrong: `place` says where, `pattern` what the numbers look like, `text` both in one sentence."""

    place: Place
    pattern: str
    text: str
    score: float  # from 0 to 1, to order guesses by


def locate(
    gradients: Mapping[str, np.ndarray | None],
    references: Mapping[str, np.ndarray | None],
    cell: str | None = None,
    *,
    tolerance: float = 1e-6,
) -> list[Guess]:
    """Guesses where gradients go wrong, and how, from what is wrong of them and what is right; the likeliest first.

    Parameters
    ----------
    gradients : dict
        Gradients by the name of their argument, as the rule, the step or the layer names it: ``"a_xs"``, ``"W_hh"``,
        ``"weight_hh_l0"``. Outputs may stand among them (``"hs"``, ``"h_T"``, ``"c_T"``): where one is wrong, it is the
        forward pass that errs. ``None`` is skipped.
    references : dict
        What they should be. NaN stands for a number that is not known.
    cell : {"rnn", "lstm", "gru"}, optional
        What the arguments belong to; without it, it is told from the shape of ``W_hh``. Of anything else, every
        argument is looked at by itself.
    tolerance : float
        The relative error that is forgiven, measured as the gradient check does.

    Returns
    -------
    list of Guess
        Empty if all is right. Guesses about what may be the consequence of something else come last.

    Raises
    ------
    ValueError
        If there is no such cell, or an argument has no reference or one of another shape.

    Examples
    --------
    The gradient of the forget gate with the wrong sign, at the last step. What came before went wrong, too.

    >>> random = np.random.default_rng(0)
    >>> right = {"a_xs": random.normal(size=(3, 8, 2)), "W_hh": random.normal(size=(8, 2))}
    >>> found = {"a_xs": right["a_xs"].copy(), "W_hh": right["W_hh"] + 1}
    >>> found["a_xs"][2, 2:4] *= -1
    >>> found["a_xs"][:2] += 1
    >>> guess, *_ = locate(found, right)
    >>> print(guess.place)
    gate f, steps 0 to 2, a_xs
    >>> print(guess.text)
    da_f at step 2 is -1 times what it should be, in all 4 entries: a sign?
    """
    if cell is not None and cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(map(repr, CELLS))} or None, got {cell!r}")
    cell = cell or cell_of({name: np.shape(x) for name, x in references.items() if x is not None})
    grids = {grid.name: grid for grid in _grids(gradients, references, cell, tolerance)}
    suspects = [_suspect(grid, grids, cell) for grid in grids.values() if grid.wrong.any()]
    first = min((suspect.grid.order for suspect in suspects), default=0)
    guesses = [
        Guess(suspect.place, *finding[:2], finding.score if suspect.grid.order == first else 0.1 * finding.score)
        for suspect in suspects
        for hypothesis in HYPOTHESES
        if (finding := hypothesis(suspect)) is not None and finding.score > 0
    ]
    return sorted(guesses, key=lambda guess: -guess.score)


def _grids(gradients: Mapping, references: Mapping, cell: str | None, tolerance: float) -> Iterator[Grid]:
    for name, found in gradients.items():
        right = references.get(name)
        if found is None:
            continue
        if right is None:
            raise ValueError(f"references must hold one for every gradient; there is none for {name!r}")
        if np.shape(found) != np.shape(right):
            raise ValueError(f"the gradient of {name!r} has shape {np.shape(found)}, its reference {np.shape(right)}")
        if np.size(right):
            yield grid_of(name, np.asarray(found), np.asarray(right), cell, tolerance)


def _suspect(grid: Grid, grids: Mapping[str, Grid], kind: str | None) -> Suspect:
    """Where the argument is wrong first: forward in time an output, backward a gradient."""
    cell = CELLS[kind] if kind else None
    steps, _, _, columns = (np.unique(axis) for axis in np.nonzero(grid.wrong))
    step = int(steps[0 if grid.order == 0 else -1])
    gates = tuple(map(int, np.unique(np.nonzero(grid.wrong[step])[0])))
    some = "columns" in grid.axes and len(columns) < grid.right.shape[3]
    place = Place(
        grid.name,
        tuple(grid.gates[k] for k in gates) if grid.gates else (),
        tuple(map(int, steps)) if grid.timed else (),
        tuple(map(int, columns)) if some else (),
    )
    suspect = Suspect(place, grid, grids, cell, step, gates, None, gates)
    if cell is None or not suspect.is_a_step:
        return suspect
    wrong = {cell.gates[k] for k in gates}
    cotangent = next((c for c in cell.cotangents if set(c.gates) == wrong), None)
    if cotangent is None or (len(gates) == len(cell.gates) > 1 and suspect.has_one_factor):
        return suspect  # all of da is wrong alike, so it is none of what it is made of
    shown = tuple(k for k, gate in enumerate(cell.gates) if gate in cotangent.factor_of)
    return replace(suspect, cotangent=cotangent, shown=shown)
