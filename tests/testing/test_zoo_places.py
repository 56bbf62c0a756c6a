"""The top guess names the place of a mistake: of every one in the zoo, whatever draw and sizes, and of others."""

import inspect
import textwrap

import numpy as np
import pytest

from minirnn import rules
from minirnn.checking.anatomy import Place
from minirnn.checking.contract import call_rule
from minirnn.checking.locating import locate
from minirnn.explaining import argument_names
from minirnn.rules.combinators import scan
from minirnn.testing import bug_zoo
from minirnn.testing.bug_zoo import ZOO
from minirnn.testing.example_inputs import examples
from minirnn.testing.variants import cotangents_like

T, B, D, H = bug_zoo.T, bug_zoo.B, bug_zoo.D, bug_zoo.H


def answers(rule, inputs, static, seed=0):
    """Outputs and gradients by name. The second gradients: a pullback that spoils what it was given shows in them."""
    outputs, pullback = call_rule(rule, inputs, static)
    cotangents = cotangents_like(outputs, seed)
    pullback(*cotangents)
    gradients = pullback(*cotangents)
    named_outputs = zip(("hs", "h_T", "c_T"), outputs, strict=False)
    return dict(named_outputs) | dict(zip(argument_names(rule, len(gradients)), gradients, strict=True))


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("seed", range(6))
def test_the_top_guess_names_the_place_of_every_bug(name, seed):
    bug = ZOO[name]
    inputs, static = bug.inputs(seed)
    right = answers(bug.right, inputs, static, seed)
    guess, *_ = locate(answers(bug.rule, inputs, static, seed), right)
    assert guess.place == bug.where.place(T)
    assert locate(right, right) == []


SIZES = [(3, 2, 3, 5), (4, 3, 2, 5), (7, 2, 4, 3), (6, 5, 3, 2), (9, 4, 2, 6)]  # T, B, D, H


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_whatever_the_sizes(name, sizes):
    bug = ZOO[name]
    inputs, static = resized(bug, sizes)
    found, right = (answers(rule, inputs, static) for rule in (bug.rule, bug.right))
    guess, *_ = locate(found, right)
    expected = bug.where.place(sizes[0])
    if "lengths" in static:
        short = [length for length in static["lengths"] if length < sizes[0]]
        columns = tuple(b for b, length in enumerate(static["lengths"]) if length < sizes[0])
        expected = Place(expected.argument, (), tuple(range(max(short))) if expected.steps else (), columns)
    assert guess.place == expected


def resized(bug, sizes, seed=0):
    T_new, B_new, D_new, H_new = sizes
    change = {T: T_new, B: B_new, D: D_new, H: H_new, 3 * H: 3 * H_new, 4 * H: 4 * H_new}
    random = np.random.default_rng(seed)
    inputs = [random.normal(size=[change[n] for n in shape]) for shape in bug.shapes]
    static = dict(bug.static)
    if "lengths" in static:
        static["lengths"] = (T_new, *random.integers(1, T_new, size=B_new - 1))
    return inputs, static


@pytest.mark.parametrize("name", ZOO)
def test_references_need_not_be_exact(name):
    bug = ZOO[name]
    inputs, static = bug.inputs()
    found, right = (answers(rule, inputs, static) for rule in (bug.rule, bug.right))
    random = np.random.default_rng(1)
    rough = {key: x + 1e-8 * np.abs(x).max() * random.normal(size=x.shape) for key, x in right.items()}
    guess, *_ = locate(found, rough, tolerance=1e-4)
    assert guess.place == bug.where.place(T)
    assert locate(right, rough, tolerance=1e-4) == []


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "rnn_step", "lstm_step", "gru_step", "affine", "softmax"])
def test_right_gradients_give_no_guess(name):
    for inputs, static in examples(name):
        right = answers(getattr(rules, name), inputs, static)
        assert locate({key: None if x is None else x.copy() for key, x in right.items()}, right) == []


# --- mistakes that the hypotheses were not made for -------------------------------------------------------------------


def mutant(make, line, mistake):
    """The right rule of a cage with one piece of its source exchanged."""
    source = textwrap.dedent(inspect.getsource(make))
    assert source.count(line) == 1, line
    home = dict(inspect.getmodule(make).__dict__)
    exec(source.replace(line, mistake), home)
    return home[make.__name__]()


def inputs_of(make, seed=0):
    """Those of the cage that this function makes the rules of."""
    return next(bug for bug in ZOO.values() if bug.right.__qualname__ == make().__qualname__).inputs(seed)[0]


ALL, BUT_LAST = bug_zoo.common.ALL, bug_zoo.common.BUT_LAST
LSTM, GRU, RNN = bug_zoo.lstm_with, bug_zoo.gru_with, bug_zoo.rnn_with
MUTANTS = {
    "factor 2 in gate o": (LSTM, "do * o * (1 - o)", "2 * do * o * (1 - o)", "o", ALL, "factor"),
    "sign in gate f": (LSTM, "df * f * (1 - f)", "-df * f * (1 - f)", "f", ALL, "factor"),
    "c_t for c_prev": (LSTM, "dc * cs[t], dc * i", "dc * cs[t + 1], dc * i", "f", ALL, "gate"),
    "h_t for tanh(c_t)": (LSTM, "do = dh * tanh_c", "do = dh * hs[t + 1]", "o", ALL, "slope too many"),
    "i and f exchanged": (LSTM, "[di, df, dg, do]", "[df, di, dg, do]", "if", ALL, "gates exchanged"),
    "tanh' forgotten": (LSTM, "dg = dg * (1 - g * g)", "dg = dg * 1", "g", ALL, "slope missing"),
    "dc by the input gate": (LSTM, "dc = dc * f\n", "dc = dc * i\n", "ifg", BUT_LAST, "recurrent path"),
    "dh from c alone": (LSTM, "dh += dhs[t]", "dh += 0 * dhs[t]", "ifgo", ALL, "cotangent"),
    "dh through W_hh lost": (LSTM, "W_hh.T) @ da", "0 * W_hh.T) @ da", "ifgo", BUT_LAST, "recurrent path"),
    "filled a step early": (LSTM, "da_xs[t] = da\n", "da_xs[t - 1] = da\n", "ifgo", ALL, "shifted in time"),
    "dc_T not taken": (LSTM, "dc = dc_T.copy()", "dc = 0 * dc_T", "ifg", ALL, "cotangent"),
    "sign in gate r": (GRU, "da_z = dr * r", "da_z = -dr * r", "r", ALL, "factor"),
    "z and r exchanged": (GRU, "xp.concatenate([da_r, da_z, da_n])", "xp.concatenate([da_z, da_r, da_n])", "rz", ALL,
                          "gates exchanged"),
    "sign of the update": (GRU, "dh * (h_prev - n)", "dh * (n - h_prev)", "z", ALL, "factor"),
    "z' forgotten": (GRU, "dz * z * (1 - z)", "dz", "z", ALL, "slope missing"),
    "dh not kept by z": (GRU, "(h_prev - n), dh * z", "(h_prev - n), dh * 0", "rzn", BUT_LAST, "recurrent path"),
    "W_hz forgotten on the way": (GRU, " + W_hz.T @ da_z", "", "rzn", BUT_LAST, "recurrent path"),
    "W_hh not transposed": (RNN, "dh = xp.where(real[t], W_hh.T @ da", "dh = xp.where(real[t], W_hh @ da", "",
                            BUT_LAST, "recurrent path"),
    "tanh' of the state before": (RNN, "1 - hs[t + 1] ** 2", "1 - hs[t] ** 2", "", ALL, "cotangent"),
    "mean over columns": (RNN, "da_xs[t] = da * real[t]", "da_xs[t] = da * real[t] / 3", "", ALL, "factor"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.parametrize("seed", range(3))
def test_the_place_of_fresh_mistakes_is_named_too(name, seed):
    make, line, mistake, gates, steps, pattern = MUTANTS[name]
    inputs = inputs_of(make, seed)
    found, right = (answers(rule, inputs, {}, seed) for rule in (mutant(make, line, mistake), make()))
    guess, *_ = locate(found, right)
    assert (guess.place, guess.pattern) == (Place("a_xs", tuple(gates), tuple(range(T)[steps])), pattern)


OF_WEIGHTS = {
    "rows of W_hh": (GRU, "[da_r @ h_prev.T, da_z @ h_prev.T", "[da_z @ h_prev.T, da_r @ h_prev.T", "W_hh", "rz",
                     "gates exchanged"),
    "dW_hn doubled": (GRU, "da_z @ h_prev.T, dW_hn]", "da_z @ h_prev.T, 2 * dW_hn]", "W_hh", "n", "factor"),
    "dW_hh transposed": (RNN, "return da_xs, dh, dW_hh", "return da_xs, dh, dW_hh.T", "W_hh", "", "transposed"),
    "dh_0 forgotten": (RNN, "return da_xs, dh, dW_hh", "return da_xs, 0 * dh, dW_hh", "h_0", "", "zero"),
    "h_0 and c_0": (LSTM, "return da_xs, dh, dc", "return da_xs, dc, dh", "h_0", "", "arguments exchanged"),
    "last step left out": (LSTM, "else dW_hh + part", "else dW_hh + (t < T - 1) * part", "W_hh", "ifgo",
                           "steps missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_a_mistake_after_the_way_back_is_one_of_its_argument_alone(name):
    make, line, mistake, argument, gates, pattern = OF_WEIGHTS[name]
    inputs = inputs_of(make)
    guess, *_ = locate(answers(mutant(make, line, mistake), inputs, {}), answers(make(), inputs, {}))
    assert (guess.place, guess.pattern) == (Place(argument, tuple(gates)), pattern)


# --- variants of cells, which the zoo does not have -------------------------------------------------------------------


def with_wrong_gate(step, rows, change):
    """A step rule in which the gradient of these pre-activations is changed, and all that is made of it."""

    def wrong_step(a, h_prev, *others, **static):
        output, pullback = step(a, h_prev, *others, **static)
        W_hh = next(W for W in others if len(W) == len(a))

        def wrong_step_pullback(*cotangents):
            da, dh_prev, *gradients = pullback(*cotangents)
            too_much = change(da[rows]) - da[rows]
            da = da.copy()
            da[rows] += too_much
            k = [W is W_hh for W in others].index(True)
            gradients[k] = gradients[k].copy()
            gradients[k][rows] += too_much @ h_prev.T
            return da, dh_prev + W_hh[rows].T @ too_much, *gradients

        return output, wrong_step_pullback

    wrong_step.__signature__ = inspect.signature(step)
    return wrong_step


@pytest.mark.parametrize(
    ("cell", "number", "gates"), [("lstm", 1, "ifg"), ("lstm", 2, "ifgo"), ("gru", 0, "rz"), ("gru", 2, "rz")]
)
def test_gates_are_told_apart_in_every_variant(cell, number, gates):
    """With a projection and peepholes, with peepholes alone, with b_hn, and with the reset before the product."""
    inputs, static = examples(cell)[number]
    step, H = getattr(rules, f"{cell}_step"), len(inputs[2 if cell == "lstm" else 1])
    right = answers(scan(step), inputs, static)
    for gate in gates:
        k = ("ifgo" if cell == "lstm" else "rzn").index(gate)
        wrong = scan(with_wrong_gate(step, slice(k * H, (k + 1) * H), lambda da: -da))
        guess, *_ = locate(answers(wrong, inputs, static), right)
        assert guess.place == Place("a_xs", (gate,), tuple(range(len(inputs[0]))))
        assert guess.text.startswith(f"da_{gate} at step {len(inputs[0]) - 1} is -1 times")
