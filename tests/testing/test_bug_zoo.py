"""The gradient check kills every bug of the zoo in the required setting, and in a weak one half of them live."""

import numpy as np
import pytest
from hypothesis import given

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.checking import GradcheckError, check_rule
from minirnn.testing import bug_zoo, check_laws
from minirnn.testing import strategies as some

T, B, H = 3, 2, 4


def required_setting(seed=0):
    random = np.random.default_rng(seed)
    shapes = (T, 4 * H, B), (H, B), (H, B), (4 * H, H)
    return [asarray(random.normal(size=shape)) for shape in shapes]


@pytest.mark.parametrize("name", bug_zoo.BUGS)
def test_the_check_kills_every_bug(backend, name):
    with pytest.raises(GradcheckError, match=bug_zoo.BUGS[name].__name__):
        check_rule(bug_zoo.BUGS[name], required_setting())


@pytest.mark.parametrize("name", bug_zoo.BUGS)
@given(inputs=some.lstm_arguments(H=(2, 3)))
def test_no_draw_of_the_required_setting_lets_a_bug_live(name, inputs):
    with pytest.raises(GradcheckError):
        check_rule(bug_zoo.BUGS[name], inputs, max_entries=6)


@pytest.mark.parametrize("name", bug_zoo.BUGS)
def test_a_bug_is_in_the_pullback_only(name):
    inputs = required_setting()
    expected, _ = bug_zoo.reference(*inputs)
    for y, expected_y in zip(bug_zoo.BUGS[name](*inputs)[0], expected, strict=True):
        np.testing.assert_array_equal(y, expected_y)


def test_the_reference_keeps_all_laws(backend):
    check_laws(bug_zoo.reference, required_setting())


def test_the_reference_is_the_lstm_of_the_library(backend):
    inputs = required_setting()
    (outputs, pullback), (expected, expected_pullback) = bug_zoo.reference(*inputs), rules.lstm(*inputs)
    cotangents = [asarray(np.random.default_rng(1).normal(size=y.shape)) for y in outputs]
    found = (*outputs, *pullback(*cotangents))
    for x, y in zip(found, (*expected, *expected_pullback(*cotangents)), strict=True):
        np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=1e-12, atol=1e-13)


def test_in_a_weak_setting_half_of_the_bugs_survive():
    """One step, zero states that count as constants, the sum of h_T as loss: as gradient checks are often written."""
    random = np.random.default_rng(0)
    a_xs, W_hh, zeros = random.normal(size=(1, 4 * H, B)), random.normal(size=(4 * H, H)), np.zeros((H, B))

    def weights_gradients(rule):
        _, pullback = rule(a_xs, zeros, zeros, W_hh)
        da_xs, _, _, dW_hh = pullback(np.zeros((1, H, B)), np.ones((H, B)), np.zeros((H, B)))
        return np.concatenate([da_xs.ravel(), dW_hh.ravel()])

    right = weights_gradients(bug_zoo.reference)
    survivors = {name for name, bug in bug_zoo.BUGS.items() if np.allclose(weights_gradients(bug), right)}
    assert survivors == {
        "dc not carried",
        "dc overwritten",
        "forget gate missing",
        "overwritten over time",
        "W_hh reshaped, not transposed",
        "writes into its cotangent",
    }


def test_an_unknown_fault_is_refused():
    with pytest.raises(ValueError, match=r"fault must be empty or one of .*'dc overwritten'.*, got 'typo'"):
        bug_zoo.lstm_with("typo")
