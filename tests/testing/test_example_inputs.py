"""Every rule has example inputs, in the setting in which a check of it can see something."""

import numpy as np
import pytest

from minirnn import rules
from minirnn.checking import check_rule
from minirnn.testing.example_inputs import EXAMPLES, RECURRENT, B, D, H, T, example_inputs


def test_every_rule_has_an_example():
    assert list(EXAMPLES) == sorted(rules.__all__)


def test_the_required_setting():
    assert T >= 3 and B >= 2 and D != H
    for name in RECURRENT:
        (_, h, c, _), _ = example_inputs(name)
        assert h.all() and c.all() and not np.array_equal(h, c)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_seed_draws_the_same_double_precision_numbers(name):
    inputs, _ = example_inputs(name, seed=3)
    again, _ = example_inputs(name, seed=3)
    other, _ = example_inputs(name, seed=4)
    assert all(np.array_equal(x, y) for x, y in zip(inputs, again, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(inputs, other, strict=True))
    assert {"float64"} <= {x.dtype.name for x in inputs} <= {"float64", "int64", "bool"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_rules_can_be_checked_at_them(name):
    inputs, static = example_inputs(name, seed=7)
    assert check_rule(getattr(rules, name), inputs, static).ok
