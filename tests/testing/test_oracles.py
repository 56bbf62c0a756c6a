"""Oracles side by side: all agree on every cell, and who is wrong stands alone."""

import json
import sys

import numpy as np
import pytest

from minirnn import rules
from minirnn.testing import oracles
from minirnn.testing.bug_zoo import BUGS, ZOO
from minirnn.testing.oracles import CELLS, EXACT, ORACLES, compare
from minirnn.testing.side_by_side import SideBySide

QUICK = ["BPTT", "unrolled", "RTRL", "complex step"]
IN_TORCH = {"rnn", "lstm", "lstm-projection", "gru", "gru-without-b_hn"}


@pytest.mark.parametrize("cell", CELLS)
def test_all_oracles_agree_on_every_cell(cell):
    pytest.importorskip("torch")
    table = compare(cell)
    assert table.ok and len(table.camps) == 1
    assert table.oracles == [name for name in ORACLES if name != "PyTorch" or cell in IN_TORCH]
    assert set(table.missing) == (set() if cell in IN_TORCH else {"PyTorch"})
    exact = [k for k, name in enumerate(table.oracles) if name != "differences"]
    assert table.apart[np.ix_(exact, exact)].max() < EXACT
    assert max(table.accuracy["differences"].values()) < 1e-6
    assert str(table).splitlines()[-1 - len(table.missing)] == f"all {len(table.oracles)} agree"


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("seed", [1, 2])
def test_they_agree_whatever_the_draw(cell, seed):
    assert compare(cell, seed=seed, oracles=QUICK).apart.max() < EXACT


@pytest.mark.parametrize("cell", CELLS)
def test_the_setting_is_the_required_one(cell):
    p = oracles.make_problem(cell, None, seed=0)
    (steps, features, columns), G, H = p.inputs["xs"].shape, *p.inputs["W_ih"].shape[:1], oracles.H
    assert steps >= 3 and columns >= 2 and features != H and G % H == 0
    assert all(np.abs(x).min() > 0 for x in (*p.inputs.values(), *p.cotangents))
    assert len(p.cotangents) == 2 + ("c_0" in p.inputs)
    if "c_0" in p.inputs:
        assert p.inputs["h_0"].shape != p.inputs["c_0"].shape or np.abs(p.inputs["h_0"] - p.inputs["c_0"]).min() > 0


WRONG = {
    **{name: "lstm" for name in BUGS if name != "writes into its cotangent"},  # right when it is asked once
    "(1 - z) lost": "gru-without-b_hn",
    "clip before accumulating": "rnn",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_backward_pass_stands_alone_in_its_row_and_column(name):
    table = compare(WRONG[name], ZOO[name].rule, oracles=QUICK)
    expected = np.zeros((4, 4), bool)
    expected[0, 1:] = expected[1:, 0] = True
    np.testing.assert_array_equal(table.disagree, expected)
    assert table.camps == [["unrolled", "RTRL", "complex step"], ["BPTT"]]
    assert table.verdict.endswith(" they fall apart: unrolled, RTRL, complex step | BPTT")
    assert compare(WRONG[name], ZOO[name].right, oracles=QUICK).camps == [QUICK]


def test_only_the_arguments_that_are_wrong_are_named():
    table = compare("lstm", ZOO["h_t for h_prev"].rule, oracles=QUICK)
    assert table.verdict.startswith("in W_hh they")
    assert table.of("xs", "h_0", "c_0", "W_ih", "b").ok


def test_where_the_cell_is_another_one_numbers_agree_with_its_backward_pass():
    pytest.importorskip("torch")
    table = compare("gru-without-b_hn", ZOO["reset gate on the wrong side"].rule)
    assert table.camps == [["BPTT", "complex step", "differences"], ["unrolled", "RTRL", "PyTorch"]]


def test_each_is_held_to_what_it_can_give():
    """A fault of 1e-11 is beyond differences, and they say so; the others see it."""

    def nearly_right(a_xs, h_0, W_hh):
        outputs, pullback = rules.rnn(a_xs, h_0, W_hh)
        return outputs, lambda *cotangents: tuple(dx * (1 + 1e-11) for dx in pullback(*cotangents))

    table = compare("rnn", nearly_right, oracles=[*QUICK, "differences"])
    assert table.disagree[0].tolist() == [False, True, True, True, False]
    assert table.camps == [["unrolled", "RTRL", "complex step", "differences"], ["BPTT"]]


def test_a_rule_that_takes_no_complex_numbers_is_judged_by_the_others():
    def real_only(a_xs, h_0, W_hh):
        if np.iscomplexobj(a_xs):
            raise TypeError("real numbers only")
        return rules.rnn(a_xs, h_0, W_hh)

    table = compare("rnn", real_only, oracles=["BPTT", "RTRL", "complex step"])
    assert table.oracles == ["BPTT", "RTRL"] and table.ok
    assert table.missing == {"complex step": "the rule takes no complex numbers (real numbers only)"}


def test_without_pytorch_the_table_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    table = compare("rnn", oracles=["BPTT", "PyTorch"])
    assert table.oracles == ["BPTT"]
    assert str(table).endswith("without PyTorch: PyTorch is not installed (pip install torch)")


def test_text_markdown_and_data_say_the_same():
    table = compare("rnn", ZOO["clip before accumulating"].rule, oracles=["BPTT", "RTRL"])
    title, legend, *text = str(table).splitlines()
    assert title == "gradients of clip_before_accumulating as rnn, T 4, B 3, D 2, H 5, seed 0"
    assert legend.startswith("how far they are apart in xs, h_0, W_ih, b, W_hh, relative to")
    apart = f"{table.apart[0, 1]:.1e}"
    assert [line.split() for line in text[:3]] == [
        ["BPTT", "RTRL", "may", "be", "off", "by"],
        ["BPTT", "-", apart, "*", "1e-12"],
        ["RTRL", apart, "*", "-", "1e-12"],
    ]
    assert text[3:] == ["in W_hh they fall apart: BPTT | RTRL"]
    assert table.to_markdown().splitlines()[4:8] == [
        "|  | BPTT | RTRL | may be off by |",
        "| --- | --- | --- | --- |",
        rf"| BPTT | - | {apart} \* | 1e-12 |",
        rf"| RTRL | {apart} \* | - | 1e-12 |",
    ]
    data = json.loads(json.dumps(table.to_dict()))
    assert data["ok"] is False and data["camps"] == [["BPTT"], ["RTRL"]]
    assert data["arguments"]["W_hh"] == data["apart"] == [[0, table.apart[0, 1]], [table.apart[0, 1], 0]]
    assert data["arguments"]["xs"][0][1] < EXACT


def test_no_random_number_of_pytorch_is_used_up():
    torch = pytest.importorskip("torch")
    before = torch.random.get_rng_state()
    compare("gru", oracles=["PyTorch"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_gradient_of_another_shape_is_refused():
    def without(a_xs, h_0, W_hh, *, wanted=None):
        outputs, pullback = rules.rnn(a_xs, h_0, W_hh)
        return outputs, lambda *cotangents: (*pullback(*cotangents)[:2], np.zeros((5, 4)))

    with pytest.raises(ValueError, match=r"gradient of 'W_hh' has shape \(5, 4\), the argument has \(5, 5\)"):
        compare("rnn", without)


def side_by_side(**numbers):
    gradients = {oracle: {"x": np.array(x)} for oracle, x in numbers.items()}
    return SideBySide("", gradients, {oracle: {"x": 0.1} for oracle in numbers}, {})


def test_differences_are_relative_to_the_largest_entry():
    table = side_by_side(p=[1.0, 0.0], q=[1.0, 0.05], r=[2.0, 0.0], zero=[0.0, 0.0])
    np.testing.assert_allclose(table.apart[0], [0, 0.05, 0.5, 1])
    assert side_by_side(p=[0.0], q=[0.0]).ok
    assert table.camps == [["p", "q"], ["r"], ["zero"]]


def test_what_is_not_a_number_agrees_with_nobody():
    table = side_by_side(p=[1.0, np.nan], q=[1.0, 2.0], r=[1.0, 2.0])
    assert table.camps == [["q", "r"], ["p"]] and not table.ok


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare("elman"), "cell must be of 'rnn', .*, got 'elman'"),
        (lambda: compare("rnn", oracles=["BPTT", "tea leaves"]), "oracles must be of 'BPTT', .*, got 'tea leaves'"),
        (
            lambda: compare("rnn", rules.lstm),
            r"name its arguments as rules.rnn does \(a_xs, h_0, W_hh\), got c_0, W_hr",
        ),
        (lambda: compare("rnn", oracles=["BPTT"]).of("W"), "argument must be one of xs, h_0, W_ih, b, W_hh, got 'W'"),
    ],
)
def test_what_is_not_there_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
