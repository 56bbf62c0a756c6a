"""The backward pass step by step: every line that is shown is checked by hand, in the arithmetic of what is shown."""

import ast
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from minirnn import CharLM, Vocabulary, lens, nn, rules
from minirnn.lens.steps import quoted
from minirnn.lens.steps_filling import ALL, SOME
from minirnn.rules.combinators import Record, observe, projected

CASES = {
    "rnn": ("rnn", {}),
    "rnn relu": ("rnn", {"nonlinearity": "relu"}),
    "lstm": ("lstm", {}),
    "gru": ("gru", {}),
    "gru without bias": ("gru", {"bias": False}),
    "gru reset before": ("gru", {"reset_after": False}),
}
LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def recorded(case, hidden=3, T=5, columns=1, loss=None, **options):
    """A recording in which the loss asks of every output and of the end something else, and no state is zero."""
    cell, own = CASES[case]
    layer, rng = LAYERS[cell](2, hidden, dtype="float64", seed=3, **own, **options), np.random.default_rng(7)
    places = layer.num_layers * (2 if layer.bidirectional else 1)
    x, state = rng.standard_normal((T, columns, 2)), rng.standard_normal((2, places, columns, hidden))
    weights = rng.standard_normal((T + places, columns, hidden * (2 if layer.bidirectional else 1)))

    class Asked(nn.Module):
        def __init__(self):
            self.layer = layer

        def forward(self):
            out, end = self.layer(x, (state[0], state[1]) if cell == "lstm" else state[0])
            asked = (out * weights[:T]).sum()
            for part in end if cell == "lstm" else (end,):
                asked = asked + (part * weights[T:, :, :hidden]).sum()
            return asked

    return lens.record(Asked())


class Interval:
    """All numbers that would be shown as this one, or what becomes of them: arithmetic that knows what was rounded."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    @classmethod
    def shown(cls, text, digits):
        value = float(text)
        half = 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) + 1 - digits) if value else 0.0
        return cls(value - half, value + half)

    def of_ends(self, other, function):
        found = [function(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(min(found), max(found))

    def __add__(self, other):
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other):
        return Interval(self.low - other.high, self.high - other.low)

    def __mul__(self, other):
        return self.of_ends(other, lambda a, b: a * b)

    def rising(self, function):
        return Interval(function(self.low), function(self.high))

    def meets(self, other):
        slack = 1e-12 * max(1, abs(self.low), abs(other.low))  # of double precision itself
        return self.low <= other.high + slack and other.low <= self.high + slack


FUNCTIONS = {"tanh": math.tanh, "sigmoid": lambda x: 1 / (1 + math.exp(-x)), "relu": lambda x: max(x, 0.0)}


def worth(pieces, digits):
    """What a formula with numbers in it comes to: an Interval, or a list of them."""
    marked = [f"shown({piece.text.strip('()')!r})" if piece.name else piece.text for piece in pieces]

    def of(node):
        match node:
            case ast.Call(func=ast.Name(id="shown"), args=[ast.Constant(value=text)]):
                return Interval.shown(text, digits)
            case ast.Call(func=ast.Name(id=name), args=[argument]):
                return of(argument).rising(FUNCTIONS[name])
            case ast.Constant(value=exact):
                return Interval(exact, exact)
            case ast.BinOp(op=ast.Pow(), left=base, right=ast.Constant(value=2)):
                return of(base) * of(base)
            case ast.BinOp(op=ast.Mult(), left=left, right=ast.List(elts=elements)):
                return [of(left) * of(element) for element in elements]
            case ast.BinOp(op=op, left=left, right=right):
                name = {ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__"}[type(op)]
                return getattr(of(left), name)(of(right))
            case ast.Compare(left=left, ops=[ast.Gt()], comparators=[ast.Constant(value=0)]):
                return of(left).rising(lambda x: float(x > 0))
        raise AssertionError(f"what is {ast.unparse(node)}?")

    return of(ast.parse("".join(marked).replace("…", ""), mode="eval").body)


def agrees(steps, t, line, unit, digits):
    """Whether both sides of a line, as they are shown, can be the same number, or the same row of numbers."""
    left, right = steps.left(t, line, unit, digits), worth(steps.right(t, line, unit, digits), digits)
    rows = left.strip("[]").split(", "), right if isinstance(right, list) else [right]
    return all(Interval.shown(a, digits).meets(b) for a, b in zip(*rows, strict=True))


def every_line(steps):
    for t in range(len(steps.values)):
        yield from ((t, line, unit) for side in steps.lines(t) for line in side for unit in steps.units)


def wrong(steps, digits=15):
    """The lines whose sides differ, as they are shown."""
    return [(t, steps.both(t, line, k)) for t, line, k in every_line(steps) if not agrees(steps, t, line, k, digits)]


@pytest.mark.parametrize("hidden", [3, ALL + 5])
@pytest.mark.parametrize("case", CASES)
def test_the_right_side_of_every_line_comes_to_its_left_side(case, hidden):
    steps = lens.step(recorded(case, hidden))
    assert [wrong(steps, digits) for digits in (3, 4, 15)] == [[], [], []]


@pytest.mark.parametrize("case", CASES)
def test_any_number_that_is_wrong_by_a_thousandth_is_seen(case):
    steps = lens.step(recorded(case, hidden=2, T=3))
    for name, value in steps.values[1].items():
        at = {**steps.values[1], name: value * 1.001}
        assert wrong(replace(steps, values=(steps.values[0], at, steps.values[2])), digits=8), name


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_those_of_the_rule_run_as_a_whole(case):
    recording = recorded(case)
    steps, walk = lens.step(recording), recording.places["l0"].walk
    seen, rule = Record(), projected(getattr(rules, CASES[case][0]))
    arguments = (*walk.xs, *walk.states[0], *(walk.weights.get(name) for name in walk.names[sum(walk.form) :]))
    static = {key: value for key, value in walk.static.items() if key in ("nonlinearity", "reset_after")}
    _, pullback = observe(rule, seen)(*arguments, **static)
    gradients = dict(zip(walk.names, pullback(*walk.asked), strict=False))
    for name in seen.names:
        shown_as = {"h": "h_t", "c": "c_t"}.get(name, name)
        found = np.stack([values[shown_as] for values in steps.values])
        assert np.allclose(found, seen[name][:, :, 0], rtol=1e-12, atol=1e-14), name
    parts = [name for name in steps.values[0] if name.startswith("dW_")]
    summed = np.concatenate([sum(values[name] for values in steps.values) for name in parts])
    assert np.allclose(summed, gradients["W_hh"], rtol=1e-12, atol=1e-14)
    assert np.allclose(steps.values[0]["dh_prev"], gradients["h_0"][:, 0], rtol=1e-12)


@pytest.mark.parametrize("case", ["rnn", "lstm", "gru", "gru reset before"])
def test_every_number_of_the_derivation_stands_at_a_line(case):
    steps, derivation = lens.step(recorded(case)), getattr(rules, CASES[case][0]).__globals__["__doc__"]
    for side in steps.lines(0):
        numbers = {number for line in side for number in line.number.split(", ")} - {""}
        assert all(f"({number})" in derivation for number in numbers)
        assert numbers >= ({"1", "2"} if case == "rnn" else {"1", "2", "4"})


def test_between_steps_what_is_sent_is_what_arrives():
    steps = lens.step(recorded("lstm"))
    for before, after in zip(steps.values, steps.values[1:], strict=False):
        for name in ("dh_prev", "dc_prev"):
            assert np.array_equal(before[f"{name}[t+1]"], after[name]) and after[name].all()


def test_the_last_step_starts_from_the_end():
    steps = lens.step(recorded("lstm"))
    dh, dc, *_ = steps.lines(4)[1]
    assert dh.right == "dhs[t] + dh_T" and dc.right.startswith("dc_T + ") and "whoever goes on" in dh.says
    assert [line.right for line in steps.lines(3)[1][:1]] == ["dhs[t] + dh_prev[t+1]"]


@pytest.mark.parametrize("case", CASES)
def test_negative_numbers_stand_in_brackets_where_they_must(case):
    steps = lens.step(recorded(case))
    for line in (steps.both(*where) for where in every_line(steps)):
        assert not re.search(r"[-+*] -", line) and not re.search(r"-[\d.e-]+\*\*", line)
        assert "((-" not in line.replace("**", "^") or re.search(r"\(\(-[\d.e-]+\)\^", line.replace("**", "^"))


@pytest.mark.parametrize("case", CASES)
def test_a_long_line_goes_on_below_where_it_can(case):
    """Prose and sums fit a terminal of 80; a product, or a row of a gradient, stays whole."""
    wide = [line.strip() for line in str(lens.step(recorded(case))).splitlines() if len(line) > 80]
    assert all("unit" in line or line.startswith("+ ") for line in wide)
    assert not any(" + " in line for line in wide)


def test_a_large_state_is_shown_in_part():
    steps = lens.step(recorded("gru", hidden=ALL + 5))
    asked = sum(abs(values["dh"]) for values in steps.values)
    assert len(steps.units) == SOME and min(asked[list(steps.units)]) > max(np.delete(asked, steps.units))
    line = next(line for line in steps.lines(1)[1] if line.left == "dh_prev")
    filled = steps.both(1, line, steps.units[0])
    assert filled.count("…") == 3 and filled.count(" * ") == 1 + 3 * SOME + SOME  # (da_n * r) has two factors
    assert "those of which most is asked" in str(steps) and "most is asked" not in str(lens.step(recorded("gru")))


@pytest.mark.parametrize("place", ["l0", "l0_reverse", "l1", "l1_reverse"])
@pytest.mark.parametrize("case", ["lstm", "gru"])
def test_every_place_of_a_stack(case, place):
    recording = recorded(case, num_layers=2, bidirectional=True)
    steps = lens.step(recording, place)
    assert not wrong(steps) and steps.label.endswith(f", {place}")
    summed = np.concatenate([sum(v[name] for v in steps.values) for name in steps.values[0] if name[:3] == "dW_"])
    assert np.allclose(summed, recording.gradients[f"layer.weight_hh_{place}"], rtol=1e-11)


@pytest.mark.parametrize("cell", LAYERS)
def test_a_trained_model_and_its_text(cell):
    text = "so it <goes> & so\n"
    lm = CharLM(Vocabulary.from_text(text), 4, 3, num_layers=2, cell=cell, seed=2)  # float32, as models are
    ids = lm.vocabulary.encode(text)
    steps = lens.step(lens.record(lm.loss, ids[None, :-1], ids[None, 1:]), tokens=text[:-1])
    assert not wrong(steps, digits=4) and steps.tokens[7] == "'g'"
    titles = re.findall(r"^step .*$", str(steps), re.MULTILINE)
    assert titles[0] == "step 16, the last: read 'o'" and titles[7] == "step 9: read 'e'"
    assert titles[-1] == "step 0, the first: read 's'" and len(titles) == 17


def test_tokens_can_be_read_whatever_they_are():
    assert (
        quoted("\x1b[2J\u202e\ud800") == "'\\x1b[2J\\u202e\\ud800'" and quoted("🙂é") == "'🙂é'" and quoted("") == "''"
    )


def test_as_json():
    steps = lens.step(recorded("lstm"), tokens="hello")
    read = json.loads(json.dumps(steps.to_dict(), allow_nan=False))
    assert [step["token"] for step in read["steps"]] == ["'h'", "'e'", "'l'", "'l'", "'o'"]
    lines = [line for step in read["steps"] for line in (*step["there"], *step["back"])]
    assert sum(len(line["units"]) for line in lines) == len(list(every_line(steps)))
    assert read["steps"][2]["back"][3]["units"]["1"] == steps.both(2, steps.lines(2)[1][3], 1)
    assert read["instrument"] == "step" and read["cell"] == "LSTM"


@pytest.mark.parametrize(
    ("recording", "arguments", "complaint"),
    [
        (lambda: recorded("rnn", columns=2), {}, "recording must be of one sequence, got 2"),
        (lambda: recorded("rnn"), {"place": "l1"}, "place must be one of l0, got 'l1'"),
        (lambda: recorded("rnn"), {"tokens": "abc"}, "tokens must be one for each of the 5 steps, got 3"),
        (lambda: recorded("lstm", peepholes=True), {}, "must be of a plain LSTM"),
    ],
)
def test_what_cannot_be_shown(recording, arguments, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        lens.step(recording(), **arguments)
