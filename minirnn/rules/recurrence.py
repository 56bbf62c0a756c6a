"""What the loops of all recurrent rules share apart from mathematics: the order of steps, and a look inside.

They also share some kernels. ``kernels.empty`` is ``numpy.empty`` with memory that was used before: fresh memory costs
more than what is computed in it (``memory.py``). ``kernels.product(W, B)`` makes the function that writes ``W @ x`` to
its second argument, for the many products with one matrix that a sequence takes: on one thread a third faster than
``W @ x``. The others are for devices: ``kernels.in_order`` lays an array out as kernels read it, and
``kernels.in_one_launch`` has all steps taken by one, if there is one; on NumPy it only returns False.
"""

from __future__ import annotations

from minirnn.arrays import read_only
from minirnn.explaining import IN_A_PROBE


def steps_back(T, run, prepare):
    """Yields ``t`` from ``T - 1`` down to ``0``, each with what was prepared for this step.

    A step back multiplies cotangents by slopes, which are known before any cotangent is. Computed for many steps at
    once, they take a few long operations instead of many short ones. So before a run of ``run`` steps begins,
    ``prepare(steps)`` is called with their slice; it returns arrays with a row for each of them.

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
    """Shows the probe each array of step ``t`` under its name, but for those that are ``None``: nobody wanted them.

    It is to look and not to touch: a number changed here would change the outputs, or the gradients alone. What it
    raises is said to be its own.
    """
    for name, array in zip(names, arrays, strict=True):
        if array is not None:
            try:
                probe(name, t, read_only(array))
            except Exception as error:
                error.add_note(f"{IN_A_PROBE}, which was shown {name!r} of step {t}")
                raise
