"""What a pullback keeps alive is found wherever it hides, and counted once."""

from functools import partial
from types import SimpleNamespace

import numpy as np

from minirnn import rules
from minirnn.testing import arrays_in, saved_bytes

x = np.ones((10, 10))


class Slotted:
    __slots__ = ("kept", "unset")

    def __init__(self, kept):
        self.kept = kept

    def method(self):
        """Reaches what the object keeps."""


def test_arrays_are_found_in_every_hiding_place():
    box = [x]

    def through_default(dy, kept=x):
        return dy

    def through_keyword_default(dy, *, kept=x):
        return dy

    hiding_places = [
        lambda: x.T + box[0],
        through_default,
        through_keyword_default,
        partial(max, x),
        partial(max, key=x),
        Slotted(x).method,
        SimpleNamespace(kept={"deep": [(x,)]}),
    ]
    for place in hiding_places:
        if place is not hiding_places[0]:  # there x is a global of the module, and only box is captured
            assert [found is x for found in arrays_in(place)] == [True]
    assert [found is x for found in arrays_in(hiding_places[0])] == [True]


def test_a_cycle_ends():
    loop = [x]
    loop.append(loop)
    assert len(arrays_in(loop)) == 1


def test_modules_classes_and_plain_numbers_hold_nothing():
    module, kind, number, text = np, np.ndarray, 3, "x"
    assert arrays_in(lambda: (module, kind, number, text)) == []


def test_memory_is_counted_once_and_whole():
    kept, row = x, x[:1]
    assert saved_bytes(lambda: (kept, row, kept.T)) == 800
    assert saved_bytes(lambda: row) == 800  # the view keeps all of it


def test_what_rules_keep(backend):
    y = backend.ones((10, 10))
    assert saved_bytes(rules.add(y, y)[1]) == 0
    assert saved_bytes(rules.tanh(y)[1]) == 800
    assert saved_bytes(rules.multiply(y, y + 1)[1]) == 1600
    assert saved_bytes(rules.multiply(y, y + 1, wanted=(True, False))[1]) == 800
