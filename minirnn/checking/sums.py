"""What is wrong with a sum over time, if all that it is made of is right: hypotheses on dW_hh and other weights."""

from __future__ import annotations

import numpy as np

from minirnn.checking.anatomy import last_part, named
from minirnn.checking.suspects import Finding, Suspect


def other_states(s: Suspect) -> Finding | None:
    """``dW_hh = sum over t of da_t h_prev.T``: with all da_t known, that tells what stood in the place of h_prev.

    It does where the unknown states of all steps, T * B columns, are no more than the rows of W_hh.
    """
    a_xs = s.grids.get("a_xs")
    if s.cell is None or a_xs is None or last_part(s.grid.name) != "W_hh" or a_xs.wrong.any():
        return None
    fed = [k for k, gate in enumerate(s.cell.gates) if gate in s.cell.fed_by_h]
    T, _, _, B = a_xs.right.shape
    da = np.moveaxis(a_xs.right[:, fed], 0, 2).reshape(-1, T * B)
    found, right = (x[0, fed].reshape(len(da), -1) for x in (s.grid.found, s.grid.right))
    if not (len(da) >= T * B and s.grid.known and a_xs.known and np.isfinite(found).all()) or s.agree(found, right):
        return None

    def same(x: np.ndarray, y: np.ndarray) -> bool:
        return s.agree(x, y, loose=1e3)  # solving for the states magnifies whatever error the references have

    states, used = (np.linalg.lstsq(da, dW, rcond=None)[0].reshape(T, B, -1) for dW in (right, found))
    if not same(da @ used.reshape(T * B, -1), found):
        text = "something else is in it: it did not begin with zeros, or its parts were changed before they were added"
        return _sum("something added", text, s, 0.8)
    if T > 1 and same(used[:-1], states[1:]):
        return _sum("other state", "da_t is paired with h_t, the state of its own step, in place of h_prev", s, 0.9)
    there = [t for t in range(T) if not same(used[t] + states[t], states[t])]
    if 0 < len(there) < T and same(used[there], states[there]):
        text = f"only the part of {named('step', there)} is in it, as if it were set in place of added to"
        return _sum("steps missing", text, s, 0.9)
    return None


def one_step(s: Suspect) -> Finding | None:
    """The part of one step is a product of B columns, so its rank is B at most; the sum over time may have more."""
    B = s.length("columns")
    if not B or "inputs" not in s.grid.axes or not s.grid.known or not np.isfinite(s.grid.found).all():
        return None
    inputs = s.grid.right.shape[3]
    found, right = (np.linalg.matrix_rank(x.reshape(-1, inputs), rtol=1e-7) for x in (s.grid.found, s.grid.right))
    if not found <= B < right:
        return None
    text = f"its rank is {found} in place of {right}, as if it were the part of one step, with its {B} columns, alone"
    return _sum("steps missing", text, s, 0.85)


def not_the_parts(s: Suspect) -> Finding | None:
    """Where nothing more can be said."""
    return _sum("sum", "look at what da is multiplied with, and at how it is added up", s, 0.5)


def _sum(pattern: str, text: str, s: Suspect, score: float) -> Finding | None:
    parts = [grid for grid in s.grids.values() if grid.order == 1]
    if s.grid.order < 2 or "columns" in s.grid.axes or not parts or any(grid.wrong.any() for grid in parts):
        return None
    return Finding(
        pattern, f"all that comes back in time is right, and {s.what}, a sum over time, is not: {text}", score
    )


HYPOTHESES = (other_states, one_step, not_the_parts)
