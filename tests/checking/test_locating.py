"""What guesses are made of: gradients drawn at random, spoiled in a known way and place."""

import numpy as np
import pytest

from minirnn.checking.anatomy import Place, cell_of, grid_of
from minirnn.checking.locating import Guess, locate

T, B, H = 4, 3, 5
GATES = {"rnn": "a", "lstm": "ifgo", "gru": "rzn"}


def gradients(cell="lstm", seed=0, **more):
    """Of the arguments of a cell: numbers in the right shapes, that mean nothing."""
    random, G = np.random.default_rng(seed), len(GATES[cell])
    shapes = {"a_xs": (T, G * H, B), "h_0": (H, B), "c_0": (H, B), "W_hh": (G * H, H), **more}
    if cell != "lstm":
        del shapes["c_0"]
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def top(found, right, **options):
    guess = locate(found, right, **options)[0]
    assert isinstance(guess, Guess) and 0 < guess.score <= 1
    return guess


def spoiled(right, name, index, change):
    found = {key: x.copy() for key, x in right.items()}
    found[name][index] = change(found[name][index])
    return found


def rows(gate, cell="lstm"):
    k = GATES[cell].index(gate)
    return slice(k * H, (k + 1) * H)


STEPS = tuple(range(T))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("t", STEPS)
def test_gate_and_step_are_named(cell, t):
    right = gradients(cell)
    for gate in GATES[cell]:
        found = spoiled(right, "a_xs", (t, rows(gate, cell)), lambda x: 2 * x)
        guess = top(found, right)
        assert (guess.place, guess.pattern) == (Place("a_xs", (gate,), (t,)), "factor")
        n = H * B
        expected = (
            f"da_{gate} at step {t} is 2 times what it should be, in all {n} entries: a factor of two, or counted"
        )
        assert guess.text.startswith(expected)
        assert str(guess.place) == f"gate {gate}, step {t}, a_xs"


def test_what_is_wrong_at_earlier_steps_does_not_hide_where_it_began():
    right = gradients()
    found = spoiled(right, "a_xs", slice(0, 3), lambda x: x + 1)
    found["a_xs"][2] = right["a_xs"][2]
    found["a_xs"][2, rows("g")] *= -1
    for name in ("h_0", "c_0", "W_hh"):
        found[name] = found[name] * 3
    guesses = locate(found, right)
    assert guesses[0].place == Place("a_xs", ("g",), (0, 1, 2)) and "is -1 times" in guesses[0].text
    assert all(guess.score < 0.1 for guess in guesses if guess.place.argument != "a_xs")  # consequences


FACTORS = [
    (-1, "a sign?"), (0.5, "halved?"), (1 / B, "a mean over columns in place of a sum?"),
    (T, "a sum over steps too many?"), (1 / (T * B), "a mean over columns and steps in place of a sum?"),
    (1.7, "a constant factor?"),
]  # fmt: skip


@pytest.mark.parametrize(("k", "hint"), FACTORS)
def test_a_factor_is_told_with_what_it_may_come_from(k, hint):
    right = gradients(b=(4 * H,))
    guess = top(spoiled(right, "b", ..., lambda x: k * x), right)
    assert guess.place == Place("b", tuple("ifgo")) and guess.text.endswith(hint)


@pytest.mark.parametrize(
    ("gates", "name"), [("ifg", "dc"), ("o", "da_o"), ("fg", "da of gates f g"), ("ifgo", "da")]
)  # fmt: skip
def test_a_cotangent_is_named_where_all_that_is_made_of_it_is_wrong_and_no_other(gates, name):
    right, found = gradients(), gradients()
    for gate in gates:
        found["a_xs"][-1, rows(gate)] *= 3
    assert f"{name} at step 3 is 3 times" in top(found, right).text


def test_dh_is_told_by_the_gate_that_reads_it_alone():
    """dc is a sum of what comes back and a part of dh, so a doubled dh doubles no gate but o."""
    right = gradients()
    found = spoiled(right, "a_xs", -1, lambda x: x + 1)
    found["a_xs"][-1, rows("o")] = 2 * right["a_xs"][-1, rows("o")]
    guess = top(found, right)
    assert guess.place.gates == tuple("ifgo") and guess.text.startswith("dh at step 3 is 2 times")


def test_the_path_back_is_suspected_where_only_the_last_step_is_right():
    right = gradients("gru")
    found = spoiled(
        right, "a_xs", slice(0, T - 1), lambda x: x * np.linspace(1.5, -3, H * B).reshape(H, B)[[*range(H)] * 3]
    )
    guess = top(found, right)
    assert (guess.place.steps, guess.pattern) == ((0, 1, 2), "recurrent path")
    assert guess.text == (
        "all is right down to step 3; then dh at step 2 is wrong, to tell by gates z n: "
        "look at what step 3 hands back, dh * z + W_hh.T ds in a GRU"
    )


OWN = {  # what is spoiled of the gradients of a cell that nobody knows, and what is said of it
    "path back": (
        slice(None, T - 1),
        "all is right down to step 3; then the gradient of a_xs at step 2 is wrong: "
        "look at what a step hands back to the one before",
    ),
    "some rows": (
        (slice(None), slice(2, 4)),
        "the gradient of a_xs at step 3 is wrong in rows 2 and 3 of 10, and no other, at the last step already: "
        "check the step rule by itself",
    ),
}


@pytest.mark.parametrize("what", OWN)
def test_of_a_cell_that_nobody_knows_the_step_is_named_and_its_rows(what):
    where, words = OWN[what]
    random = np.random.default_rng(0)
    shapes = {"a_xs": (T, 2 * H, B), "h_0": (H, B), "U_f": (H, H), "U_n": (H, H)}
    right = {name: random.normal(size=shape) for name, shape in shapes.items()}
    found = spoiled(right, "a_xs", where, lambda x: x + random.normal(size=x.shape))
    found["U_f"] = found["U_f"] + random.normal(size=(H, H))
    guess = top(found, right)
    assert guess.text == words and guess.place.argument == "a_xs"


def test_gates_that_are_wrong_by_different_factors_share_no_wrong_cotangent():
    right = gradients()
    found = spoiled(right, "a_xs", (-1, slice(0, 3 * H)), lambda x: x + 1)
    guess = top(found, right)
    assert (guess.place.gates, guess.pattern) == (tuple("ifg"), "gate")
    assert "da_i = dc * g * i (1 - i), da_f = dc * c_prev * f (1 - f), da_g = dc * i * (1 - g**2)" in guess.text


PATTERNS = {
    "zero": ("a_xs", ..., lambda x: 0 * x, "da at step 3 is zero in all 60 entries"),
    "not finite": ("h_0", 1, lambda x: x * np.nan, "the gradient of h_0 is not finite in 3 of 15 entries"),
    "transposed": ("W_hh", ..., lambda x: np.concatenate([g.T for g in np.split(x, 4)]), "is the transpose of what it"),
    "shifted in time": ("a_xs", ..., lambda x: np.roll(x, -1, axis=0), "every step but the last holds that of the"),
    "some columns": ("a_xs", (..., 1), lambda x: x - 1, "is wrong in column 1 of the batch alone"),
    "few entries": ("W_hh", (7, 2), lambda x: 1.001 * x, "W_hh is wrong at (7, 2), and right in all other entries"),
    "gates exchanged": ("W_hh", ..., lambda x: np.roll(x, H, axis=0), "i holds that of o, f holds that of i"),
    "wrong axis": ("b", ..., lambda x: x - np.arange(20) + 9.5, "is right: summed over the wrong axis?"),
    "sum": ("b", ..., lambda x: x + 1, "all that comes back in time is right, and the gradient of b, a sum over time,"),
    "something added": ("W_hh", ..., lambda x: x + np.eye(20, 5), "it did not begin with zeros"),
}  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_recognized(pattern):
    name, index, change, words = PATTERNS[pattern]
    right = gradients(b=(4 * H,))
    guess = top(spoiled(right, name, index, change), right)
    assert (guess.place.argument, guess.pattern) == (name, pattern)
    assert words in guess.text


@pytest.mark.parametrize(
    ("roll", "words"), [(1, "but the first holds that of the step before"), (0, "stand in reverse")]
)
def test_other_shifts_in_time(roll, words):
    right = gradients()
    found = spoiled(right, "a_xs", ..., lambda x: np.roll(x, 1, axis=0) if roll else x[::-1].copy())
    assert words in top(found, right).text


def test_what_should_be_zero_tells_of_a_mask():
    right = gradients()
    right["a_xs"][2:, :, 1] = 0  # padding
    found = spoiled(right, "a_xs", (slice(2, None), slice(None), 1), lambda x: x + 1)
    guess = locate(found, right)[1]
    assert (guess.pattern, guess.place.columns, guess.place.steps) == ("leak", (1,), (2, 3))
    assert locate(found, right)[0].pattern == "some columns"


def test_the_part_of_one_step_is_known_by_its_rank():
    """Where there are too many steps to tell the states behind dW_hh."""
    right = gradients("rnn")
    found = spoiled(right, "W_hh", ..., lambda x: x[:, :B] @ x[:B])
    guess = top(found, right)
    assert guess.pattern == "steps missing" and "its rank is 3 in place of 5" in guess.text


def test_an_output_comes_before_every_gradient():
    right = gradients(hs=(T, H, B), h_T=(H, B))
    found = {name: x + 1 for name, x in right.items()}
    found["hs"][0] = right["hs"][0]
    guess = top(found, right)
    assert (guess.place, guess.pattern) == (Place("hs", steps=(1, 2, 3)), "forward")
    assert guess.text.startswith("hs at step 1, an output, is wrong")


def test_unknown_numbers_are_left_out():
    right = gradients()
    found = spoiled(right, "a_xs", (-1, rows("f")), lambda x: -x)
    sample = {name: x.copy() for name, x in right.items()}
    hidden = np.random.default_rng(1).random(right["a_xs"].shape) < 0.4
    sample["a_xs"][hidden] = np.nan
    sample["W_hh"][:] = np.nan
    assert top(found, sample).place == Place("a_xs", ("f",), (3,))
    assert locate(right, sample) == []
    found["W_hh"] += 1
    assert {guess.place.argument for guess in locate(found, sample)} == {"a_xs"}


def test_steps_without_a_sequence():
    random = np.random.default_rng(0)
    right = {
        "a": random.normal(size=(3 * H, B)),
        "h_prev": random.normal(size=(H, B)),
        "W_hh": random.normal(size=(3 * H, H)),
    }
    guess = top(spoiled(right, "a", slice(H, 2 * H), lambda x: -x), right)
    assert guess.place == Place("a", ("z",)) and guess.text.startswith("da_z is -1 times")


def test_parameters_of_a_module_have_their_gates_in_rows():
    random = np.random.default_rng(0)
    shapes = {
        "rnn.weight_ih_l1": (4 * H, 7),
        "rnn.weight_hh_l1": (4 * H, H),
        "rnn.bias_ih_l1": (4 * H,),
        "x": (T, B, 7),
    }
    right = {name: random.normal(size=shape) for name, shape in shapes.items()}
    for name in list(right)[:3]:
        assert top(spoiled(right, name, rows("g"), lambda x: 2 * x), right).place == Place(name, ("g",))


def test_optional_weights_of_the_lstm():
    right = gradients(peepholes=(3, H), W_hr=(2, H))
    assert top(spoiled(right, "peepholes", 2, lambda x: -x), right).place == Place("peepholes", ("o",))
    assert top(spoiled(right, "W_hr", ..., lambda x: -x), right).place == Place("W_hr")


def test_of_what_is_no_cell_every_argument_is_looked_at_by_itself():
    random = np.random.default_rng(0)
    right = {"x": random.normal(size=(2, 3, 4)), "y": np.array(1.5), "none": None}
    found = {"x": -right["x"], "y": np.array(3.0), "none": None}
    first, *others = locate(found, right)
    assert first.place == Place("x") and "the gradient of x is -1 times" in first.text
    assert [guess.text for guess in others if guess.place == Place("y")] == ["y is wrong in 1 of 1 entries"]


def test_the_cell_is_told_by_its_shapes():
    assert cell_of({"c_0": (4, 2), "W_hh": (16, 3)}) == "lstm"  # with a projection
    assert cell_of({"weight_hh_l0": (12, 4)}) == "gru"
    assert cell_of({"W_hh": (4, 4)}) == "rnn"
    assert cell_of({"W_hh": (5, 4)}) is None
    assert grid_of("W_hh", np.ones((5, 4)), np.ones((5, 4)), "lstm", 1e-6).gates == ()  # rows that are no gates


def test_empty_arrays_are_right():
    right = gradients()
    right["a_xs"] = np.zeros((0, 4 * H, B))
    assert locate(right, right) == []


ONES = np.ones(2)


@pytest.mark.parametrize(
    ("found", "right", "cell", "message"),
    [
        ({"x": ONES}, {"x": ONES}, "elman", r"cell must be one of 'rnn', 'lstm', 'gru' or None, got 'elman'"),
        ({"x": ONES}, {"y": ONES}, None, r"references must hold one for every gradient; there is none for 'x'"),
        ({"x": ONES}, {"x": np.ones(3)}, None, r"gradient of 'x' has shape \(2,\), its reference \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(found, right, cell, message):
    with pytest.raises(ValueError, match=message):
        locate(found, right, cell)
