"""Every rule keeps every law, on every backend; and a rule that breaks one is found out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_table import NOT_MEANT, RULES

from minirnn import rules
from minirnn.arrays import asarray
from minirnn.testing import backends, check_laws, on_backend


def here(thing):
    """The same with every array in it moved to the current backend."""
    if isinstance(thing, tuple):
        return tuple(here(part) for part in thing)
    if isinstance(thing, dict):
        return {key: here(part) for key, part in thing.items()}
    return asarray(thing) if isinstance(thing, (np.ndarray, np.generic)) else thing


def test_every_rule_is_in_the_table():
    assert set(RULES) == set(rules.__all__)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=1)
@given(data=st.data())
def test_a_pullback_is_named_after_its_rule(name, data):
    inputs, static = data.draw(RULES[name])
    _, pullback = getattr(rules, name)(*inputs, **static)
    assert pullback.__name__ == f"{name}_pullback"


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
def test_the_laws_hold(name, data):
    inputs, static = data.draw(RULES[name])
    check_laws(getattr(rules, name), inputs, static, without=NOT_MEANT.get(name, ()))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("home", backends()[1:])
@settings(max_examples=settings().max_examples // 3)
@given(data=st.data())
def test_the_laws_hold_on_a_device(home, name, data):
    """Numbers judge NumPy alone: one of the other laws is that gradients are NumPy's."""
    numeric = ("gradients_match_numbers", "every_subset_of_outputs")
    with on_backend(home):
        inputs, static = here(data.draw(RULES[name]))
        check_laws(getattr(rules, name), inputs, static, without=(*numeric, *NOT_MEANT.get(name, ())))
