"""Every bug of the zoo dies by the oracle that it names, and half of the LSTM's live where the check is weak."""

import numpy as np
import pytest
from hypothesis import given, settings

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.checking import GradcheckError, check_rule
from minirnn.testing import bug_zoo, check_laws, laws
from minirnn.testing import strategies as some
from minirnn.testing.bug_zoo import ZOO, oracles

T, B, H = 3, 2, 4


def required_setting(seed=0):
    random = np.random.default_rng(seed)
    shapes = (T, 4 * H, B), (H, B), (H, B), (4 * H, H)
    return [asarray(random.normal(size=shape)) for shape in shapes]


def here(inputs):
    return [asarray(x) for x in inputs]


@pytest.mark.parametrize("name", ZOO)
def test_every_bug_dies_by_its_oracle_and_the_right_rule_lives(backend, name):
    bug = ZOO[name]
    inputs, static = bug.inputs()
    if bug.dies_by is oracles.gradient_check:
        with pytest.raises(GradcheckError, match=bug.rule.__name__):
            bug.dies_by(bug.rule, here(inputs), static)
    else:
        with pytest.raises(AssertionError):
            bug.dies_by(bug.rule, here(inputs), static)
    bug.dies_by(bug.right, here(inputs), static)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("seed", range(1, 6))
def test_it_dies_whatever_the_draw(name, seed):
    inputs, static = ZOO[name].inputs(seed)
    with pytest.raises(AssertionError):
        ZOO[name].dies_by(ZOO[name].rule, inputs, static)


@pytest.mark.parametrize("name", ["reset gate on the wrong side", "padding leaks into the state"])
def test_the_gradient_check_is_blind_where_forward_and_backward_err_together(name):
    bug = ZOO[name]
    inputs, static = bug.inputs()
    assert bug.dies_by is not oracles.gradient_check
    oracles.gradient_check(bug.rule, inputs, static)
    (outputs, _), (expected, _) = bug.rule(*inputs, **static), bug.right(*inputs, **static)
    assert not np.allclose(outputs[-1], expected[-1])


def test_a_plain_gradient_check_condemns_right_truncation_as_well():
    bug = ZOO["truncation window off by one"]
    inputs, static = bug.inputs()
    for rule in (bug.rule, bug.right):
        with pytest.raises(GradcheckError):
            oracles.gradient_check(rule, inputs, static)
        oracles.gradient_check(rule, inputs, {})  # not truncated


def test_frozen_states_are_those_that_enter_the_windows():
    """Forward nothing changes at the inputs, and moving what lies before a window moves nothing in it."""
    bug = ZOO["truncation window off by one"]
    (a_xs, h_0, W_hh), static = bug.inputs()
    frozen = oracles.frozen(bug.right, (a_xs, h_0, W_hh), static["window"])
    (hs, h_T), _ = frozen(a_xs, h_0, W_hh)
    (expected, expected_h_T), _ = bug.right(a_xs, h_0, W_hh)
    np.testing.assert_allclose(hs, expected, rtol=1e-15)
    np.testing.assert_allclose(h_T, expected_h_T, rtol=1e-15)
    moved, _ = frozen(a_xs, h_0 + 1, W_hh)
    np.testing.assert_array_equal(moved[0][2:], hs[2:])
    assert not np.allclose(moved[0][:2], hs[:2])


def test_padding_that_leaks_into_the_gradient_shows_only_where_lengths_differ():
    bug = ZOO["padding leaks into the gradient"]
    inputs, _ = bug.inputs()
    oracles.gradient_check(bug.rule, inputs, {"lengths": (5, 5, 5)})
    with pytest.raises(AssertionError, match="of sequence 1 differs from that without padding"):
        oracles.without_padding(bug.rule, inputs, bug.static)


def test_clipping_inside_is_not_linear_and_hides_where_gradients_are_small():
    bug = ZOO["clip before accumulating"]
    inputs, _ = bug.inputs()
    with pytest.raises(AssertionError, match="'W_hh' is not linear in the cotangent"):
        laws.linear_in_the_cotangent(bug.rule, inputs)

    def small(*inputs):
        outputs, pullback = bug.rule(*inputs)
        return tuple(y / 100 for y in outputs), lambda *cotangents: pullback(*(c / 100 for c in cotangents))

    small.__name__ = "small"
    check_rule(small, inputs, names=["a_xs", "h_0", "W_hh"])


def test_a_bias_of_another_length_than_the_batch_is_told_by_its_shape():
    bug = ZOO["bias summed over the wrong axis"]
    random = np.random.default_rng(0)
    inputs = [random.normal(size=shape) for shape in ((5, 2, 3), (4, 2), (4,))]
    with pytest.raises(GradcheckError, match=r"gradient of 'b' has shape \(3,\), the argument has \(4,\)"):
        check_rule(bug.rule, inputs)
    check_rule(bug.right, inputs)


@pytest.mark.parametrize("name", bug_zoo.BUGS)
@settings(max_examples=settings().max_examples // 3)  # of sizes: five draws of one size stand above
@given(inputs=some.lstm_arguments(H=(2, 3)))
def test_no_draw_of_the_required_setting_lets_a_bug_live(name, inputs):
    with pytest.raises(GradcheckError):
        check_rule(bug_zoo.BUGS[name], inputs, max_entries=6)


@pytest.mark.parametrize("name", [name for name, bug in ZOO.items() if bug.dies_by is oracles.gradient_check])
def test_what_the_gradient_check_kills_is_wrong_in_the_pullback_only(name):
    inputs, static = ZOO[name].inputs()
    found, expected = ZOO[name].rule(*inputs, **static)[0], ZOO[name].right(*inputs, **static)[0]
    for y, expected_y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y, expected_y)


@pytest.mark.parametrize("name", ["dc overwritten", "(1 - z) lost", "clip before accumulating", *bug_zoo.affine.FAULTS])
def test_the_right_rules_keep_all_laws_but_those_on_memory_and_on_second_derivatives(backend, name):
    inputs, static = ZOO[name].inputs()
    check_laws(ZOO[name].right, here(inputs), static, without=("keeps_what_it_reads", "passes_complex_numbers"))


@pytest.mark.parametrize(
    ("name", "rule"),
    [("dc overwritten", rules.lstm), ("(1 - z) lost", rules.gru), ("clip before accumulating", rules.rnn),
     ("bias summed over the wrong axis", rules.affine)],
)  # fmt: skip
def test_the_right_rules_are_those_of_the_library(backend, name, rule):
    inputs, _ = ZOO[name].inputs()
    (found, pullback), (expected, expected_pullback) = ZOO[name].right(*here(inputs)), rule(*here(inputs))
    found, expected = (y if isinstance(y, tuple) else (y,) for y in (found, expected))
    cotangents = [asarray(np.random.default_rng(1).normal(size=y.shape)) for y in found]
    gradients, expected_gradients = pullback(*cotangents), expected_pullback(*cotangents)
    assert all(extra is None for extra in expected_gradients[len(gradients) :])
    for x, y in zip((*found, *gradients), (*expected, *expected_gradients[: len(gradients)]), strict=True):
        np.testing.assert_allclose(to_numpy(x), to_numpy(y), rtol=1e-12, atol=1e-13)


def test_the_reset_gate_is_on_the_side_on_which_pytorch_has_it():
    torch = pytest.importorskip("torch")
    bug = ZOO["reset gate on the wrong side"]
    (a_xs, h_0, W_hh), _ = bug.inputs()
    rows = len(W_hh)
    gru = torch.nn.GRU(rows, rows // 3, bias=False, dtype=torch.float64)
    gru.load_state_dict({"weight_ih_l0": torch.eye(rows, dtype=torch.float64), "weight_hh_l0": torch.tensor(W_hh)})
    out, _ = gru(torch.tensor(a_xs.transpose(0, 2, 1)), torch.tensor(h_0.T[None].copy()))
    expected = out.detach().numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(bug.right(a_xs, h_0, W_hh)[0][0], expected, rtol=1e-12, atol=1e-13)
    assert not np.allclose(bug.rule(a_xs, h_0, W_hh)[0][0], expected)


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


@pytest.mark.parametrize("make", [bug_zoo.lstm_with, bug_zoo.gru_with, bug_zoo.rnn_with, bug_zoo.affine_with])
def test_an_unknown_fault_is_refused(make):
    with pytest.raises(ValueError, match=r"fault must be empty or one of '.*', got 'typo'"):
        make("typo")
    assert make().__name__ == "reference" and make().__doc__.startswith("The right")


def test_every_bug_has_a_name_of_its_own_and_a_sentence():
    names = [bug.rule.__name__ for bug in ZOO.values()]
    assert len(set(names)) == len(names) and all(name.isidentifier() for name in names)
    assert all(bug.sentence.endswith(".") and bug.rule.__doc__ == bug.sentence for bug in ZOO.values())
