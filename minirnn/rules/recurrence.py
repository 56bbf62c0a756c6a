"""What the loops of all recurrent rules share apart from mathematics: the order of steps, a look inside, a dtype."""

from __future__ import annotations

from minirnn.arrays import xp_of

RUN = 2**17  # numbers prepared at once, about half a megabyte: they stay in the second-level cache until they are used


def steps_back(T, numbers, prepare):
    """Yields ``T - 1`` to ``0``; before the first step of a run, ``prepare(steps)`` is called with the run as a slice.

    A step backward multiplies what is asked of the state with slopes that were known before. For many steps at once
    the slopes take a few long operations instead of many short ones; with ``numbers`` of them for each step, a run is
    as long as the cache can hold.

    Examples
    --------
    >>> list(steps_back(3, RUN // 2, print))
    slice(1, 3, None)
    slice(0, 1, None)
    [2, 1, 0]
    """
    run = max(1, RUN // max(1, numbers))
    for stop in range(T, 0, -run):
        start = max(0, stop - run)
        prepare(slice(start, stop))
        yield from range(stop - 1, start - 1, -1)


def show(probe, t, names, arrays):
    """Shows the probe each array of step ``t`` under its name."""
    for name, array in zip(names, arrays, strict=True):
        probe(name, t, array)


def joint_dtype(*arrays):
    """The dtype that holds them all, complex if any of them is; optional arguments may be missing."""
    return xp_of(*arrays).result_type(*(x for x in arrays if x is not None))
