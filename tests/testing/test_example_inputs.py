"""Every rule has example inputs, in the setting in which a check of it can see something."""

from itertools import combinations

import numpy as np
import pytest

from minirnn import rules
from minirnn.checking import check_rule
from minirnn.explaining import argument_names
from minirnn.testing.example_inputs import EXAMPLES, RECURRENT, VARIANTS, B, D, H, T, example_inputs, examples


def test_every_rule_has_an_example():
    assert list(EXAMPLES) == sorted(rules.__all__)


def test_the_required_setting():
    assert T >= 3 and B >= 2 and D != H
    for name in RECURRENT:
        inputs, _ = example_inputs(name)
        names = argument_names(getattr(rules, name), len(inputs))
        states = [x for x, argument in zip(inputs, names, strict=True) if argument.endswith(("_0", "_prev"))]
        assert states and all(state.all() for state in states)
        assert not any(np.array_equal(*pair) for pair in combinations(states, 2))


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


@pytest.mark.parametrize("name", EXAMPLES)
def test_rules_can_be_checked_in_the_other_ways_to_call_them(name):
    first, *others = examples(name, seed=7)
    assert all(np.array_equal(x, y) for x, y in zip(first[0], example_inputs(name, seed=7)[0], strict=True))
    with np.errstate(invalid="ignore"):  # 0**x has no complex step by x, which the check has to try to find out
        assert all(check_rule(getattr(rules, name), inputs, static).ok for inputs, static in others)


def test_the_other_ways_belong_to_rules():
    assert set(VARIANTS) <= set(EXAMPLES)
