"""What the loops of all recurrent rules share apart from mathematics: the order of steps, and a look inside.

They also share two kernels. ``kernels.empty`` is ``numpy.empty`` from memory that was used before: what the system
hands out first costs more than what is computed in it (``memory.py``). ``kernels.product(W, B)`` makes the function
``x -> W x`` for the many products of one matrix that a sequence takes, on one thread a third faster than ``W @ x``.
"""

from __future__ import annotations


def steps_back(T, run, prepare):
    """Yields ``T - 1`` to ``0``, each with what was prepared for the step.

    A step backward multiplies what is asked of the state with slopes that were known before. For many steps at once
    the slopes take a few long operations instead of many short ones. ``prepare(steps)`` is called before the first step
    of a run of so many, which is a slice, and returns arrays with a row for each.

    Examples
    --------
    >>> list(steps_back(3, 2, lambda steps: ("abc"[steps], [steps.start] * 3)))
    [(2, 'c', 1), (1, 'b', 1), (0, 'a', 0)]
    """
    for stop in range(T, 0, -run):
        start = max(0, stop - run)
        prepared = prepare(slice(start, stop))
        for k in reversed(range(stop - start)):
            yield start + k, *(rows[k] for rows in prepared)


def show(probe, t, names, arrays):
    """Shows the probe each array of step ``t`` under its name; what is ``None`` was not asked for."""
    for name, array in zip(names, arrays, strict=True):
        if array is not None:
            probe(name, t, array)
