"""A look at what passes through a recurrence: gates and states on the way there, their gradients on the way back."""

from __future__ import annotations

from collections import defaultdict

from minirnn.arrays import xp_of
from minirnn.explaining import name_of
from minirnn.rules.combinators.asking import selective
from minirnn.rules.combinators.form import named, parameters_of, positional


class Record:
    """A probe that keeps what it is shown, copied: ``record["dh"]`` is ``(T, H, B)``, the step first.

    It holds one pass: what is shown again at the same step begins the next, and what was there is forgotten.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import rules
    >>> record = Record()
    >>> a_xs, h_0, W_hh = np.ones((3, 2, 4)), np.zeros((2, 4)), np.eye(2)
    >>> (hs, h_T), pullback = observe(rules.rnn, record)(a_xs, h_0, W_hh)
    >>> gradients = pullback(np.zeros_like(hs), np.ones_like(h_T))
    >>> record.names, record["dh"].shape
    (['da', 'dh', 'h'], (3, 2, 4))
    """

    def __init__(self):
        self._seen = defaultdict(dict)

    def __call__(self, name, t, array):
        steps = self._seen[name]
        if t in steps:
            steps.clear()
        steps[t] = array.copy()

    @property
    def names(self):
        """What was shown so far, sorted."""
        return sorted(self._seen)

    def __getitem__(self, name):
        if name not in self._seen:
            raise KeyError(f"nothing named {name!r} was recorded; there is {', '.join(self.names) or 'nothing'}")
        steps = self._seen[name]
        arrays = [steps[t] for t in sorted(steps)]
        return xp_of(*arrays).stack(arrays)


def observe(rule, probe):
    """The rule, showing ``probe(name, t, array)`` every gate, state and gradient of every step, as BPTT passes it.

    Parameters
    ----------
    rule : sequence rule
        That takes the keyword ``probe``: those of this library, the ``scan`` of any step, and what combinators make of
        them.
    probe : callable
        Such as a `Record`. The array is the rule's own, read-only on NumPy, and valid only during the call.

    Raises
    ------
    TypeError
        If the rule does not take a probe.
    """
    if all(p.name != "probe" for p in parameters_of(rule)):
        raise TypeError(
            f"{name_of(rule)} takes no probe: the sequence rules rnn, lstm, gru, scan(step), and what wraps them, do"
        )
    rule = selective(rule)

    def observed(*arguments, wanted, **static):
        return rule(*arguments, wanted=wanted, **{"probe": probe, **static})

    return named("observe", observed, positional(rule), rule)
