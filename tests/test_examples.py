"""Every lesson runs as it stands, short where it is long, and what it says will be seen is seen: number by number."""

import ast
import functools
import os
import re
import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import minirnn as mr
from minirnn.testing.bug_zoo import ZOO

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
PICTURES = {
    "06_flows.png",
    "07_clipping.png",
    "08_flows.png",
    "09_truncation.png",
    "14_attention.png",
    "15_attention.png",
}


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """What a lesson has found: its names when it has run, once, in an empty folder, with pictures if they can be."""

    @functools.cache
    def run(number):
        (path,) = (path for path in EXAMPLES if path.name.startswith(number))
        folder, pictures = tmp_path_factory.mktemp("lesson"), tmp_path_factory.mktemp("pictures")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("MINIRNN_SHORT", "1")
            patch.delenv("MINIRNN_PICTURES", raising=False)
            if find_spec("matplotlib"):
                patch.setenv("MINIRNN_PICTURES", str(pictures))
            names = runpy.run_path(str(path))
        assert os.listdir(folder) == []  # a lesson leaves nothing lying about
        drawn = {picture.name for picture in pictures.iterdir() if picture.read_bytes().startswith(b"\x89PNG")}
        assert drawn == {name for name in PICTURES if name.startswith(number) and find_spec("matplotlib")}
        return names

    return run


# --- their form -------------------------------------------------------------------------------------------------------


def cells(path):
    """Pairs of a mark, ``""`` or ``" [markdown]"``, and what stands below it."""
    empty, *parts = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert empty == ""
    return list(zip(parts[::2], parts[1::2], strict=True))


def test_they_are_numbered():
    assert [path.name[:2] for path in EXAMPLES] == [f"{k:02d}" for k in range(1, len(EXAMPLES) + 1)] != []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_opens_as_a_notebook(path):
    """Prose is comments alone, code is whole statements, cell by cell, and asks for no file that a notebook lacks."""
    for mark, text in cells(path):
        if mark == " [markdown]":
            assert all(line.startswith("#") for line in text.strip().split("\n")), text
        else:
            assert mark == ""
            names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
            assert not names & {"__file__", "__name__"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_says_what_will_be_seen_before_it_is_shown(path):
    (mark, prose), *_ = cells(path)
    assert mark == " [markdown]" and prose.startswith("# # ")
    assert "**You will see**" in prose


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_ends_with_something_to_try(path):
    *_, (mark, prose) = cells(path)
    assert mark == " [markdown]" and prose.startswith("# **To try.** ")


# --- what they show ---------------------------------------------------------------------------------------------------


def test_the_chain_rule(lesson):
    seen = lesson("01")
    for name, by_hand in seen["by_hand"].items():
        assert seen["by_rules"][name] == pytest.approx(by_hand, rel=1e-14)
        assert seen["by_tape"][name] == pytest.approx(by_hand, rel=1e-14)
    assert 0.002 < abs(seen["by_moving"] / seen["by_hand"]["w"] - 1) < 0.004  # three parts in a thousand
    assert seen["w_twice"].grad == pytest.approx(seen["first_use"] + seen["second_use"], rel=1e-14)
    assert min(seen["first_use"], seen["second_use"]) > 0.3


def test_the_v_curve(lesson):
    seen = lesson("02")
    steps, forward, central = seen["steps"], seen["forward"], seen["central"]
    assert steps[forward.argmin()] == pytest.approx(1e-8) and 1e-8 < forward.min() < 3e-8
    assert steps[central.argmin()] == pytest.approx(1e-5) and 1e-11 < central.min() < 5e-11
    assert seen["complex_step"] < 3e-16
    right_arm = steps >= 1e-3
    assert forward[right_arm][:-1] / forward[right_arm][1:] == pytest.approx(10, rel=0.05)
    assert central[right_arm][:-1] / central[right_arm][1:] == pytest.approx(100, rel=0.02)
    assert min(forward[-1], central[-1]) > 1e-3  # the left arm
    eps = np.finfo(float).eps
    assert (np.sqrt(eps), np.cbrt(eps)) == pytest.approx((1.5e-8, 6e-6), rel=0.02)


def test_the_v_curve_of_the_check(lesson):
    right, wrong = (lesson("02")[name].arguments[0] for name in ("right", "wrong"))
    assert min(right.v_curve.central) < 1e-10 and right.taylor_slope == pytest.approx(2, abs=0.1)
    assert min(wrong.v_curve.central[1:]) > 0.03 and wrong.taylor_slope == pytest.approx(1, abs=0.1)
    assert lesson("02")["verdicts"] == {
        "tanh": "correct",
        "wrong_tanh": "wrong",
        "relu": "kink",
        "dropout": "nondeterministic",
    }


def test_bptt_by_hand(lesson):
    seen = lesson("03")
    for name, by_hand in seen["by_hand"].items():
        assert seen["by_numbers"][name] == pytest.approx(by_hand, rel=1e-14)
        assert seen["by_rule"][name] == pytest.approx(by_hand, rel=1e-14)
    parts = [values["dW_hh[t]"].item() for values in reversed(seen["steps"].values)]
    assert parts == pytest.approx(seen["dw_parts"], rel=1e-14) and len(parts) == 3
    for part in parts:
        assert f"{part:.4g}" in str(seen["steps"])


def test_bptt_of_an_lstm(lesson):
    seen = lesson("04")
    assert seen["sizes"][0] < 1e-7 * seen["sizes"][29]
    assert max(seen["errors"].values()) < 1e-12 and len(seen["errors"]) == 4
    assert seen["report"].max_error < 1e-12


def test_the_unrolled_lstm_has_thirteen_nodes_a_step():
    a, h, c, W = (mr.Tensor(x, requires_grad=True) for x in (np.ones((3, 8, 1)), *np.ones((2, 2, 1)), np.ones((8, 2))))
    serials = []
    for t in range(3):
        i, f, g, o = mr.ops.split(a[t] + W @ h, sections=4, axis=0)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        serials.append(h.node.serial)
    assert np.diff(serials).tolist() == [13, 13]


def test_three_roads(lesson):
    seen = lesson("05")
    assert max(seen[f"{road}_error"] for road in ("rtrl", "numeric", "checkpoint")) < 1e-12
    assert seen["influence"].shape == (*seen["W_hh"].shape, seen["H"], seen["B"])
    short, long, checkpointed = seen["memory"].values()
    assert 15 < long / short < 21 and checkpointed < long / 10


def test_vanishing_and_exploding(lesson):
    seen = lesson("06")
    told = {0.5: 7e-21, 0.9: 3e-7, 1.1: 0.002}
    assert {radius: seen["arrived"][radius] for radius in told} == pytest.approx(told, rel=0.2)
    assert seen["arrived"][1.5] > 10
    for radius, flow in seen["flows"].items():
        norms, bound = flow.places["l0"].norms["h"], flow.places["l0"].bound
        assert (norms <= bound * (1 + 1e-12)).all() and norms[0] < seen["paces"][radius]
        assert seen["sigmas"][radius] > radius
    assert seen["straight"] == pytest.approx({radius: radius**60 for radius in (0.9, 1.0, 1.1)}, rel=1e-12)


def test_what_lies_far_back_gives_nothing(lesson):
    shares = lesson("06")["shares"]
    assert shares[0] == pytest.approx(1 / 5, abs=0.03)
    assert shares[:10].sum() == pytest.approx(1, abs=0.01)
    assert shares.sum() == pytest.approx(1, abs=1e-12)


def test_clipping(lesson):
    losses, ledgers = lesson("07")["losses"], lesson("07")["ledgers"]
    assert len(losses["no clipping"]) == 2  # over the cliff with the first step
    assert losses["no clipping"][0] == pytest.approx(0.23, abs=0.005) and losses["no clipping"][1] > 1e4
    assert len(losses["by norm"]) == 200 and max(losses["by norm"]) < 1
    assert len({found[0] for found in losses.values()}) == 1
    assert np.mean(losses["by norm"][-20:]) == pytest.approx(1 / 6, abs=0.02)
    ledger = ledgers["by norm"]
    assert np.median(ledger.degrees) > 30 and ledger.degrees.max() < 90
    assert ledger.entries.mean() == pytest.approx(1 / 6, abs=0.03)
    assert ledger.by_norm.max() <= 1 < ledger.before.max()


def test_what_gates_change(lesson):
    seen = lesson("08")
    rnn, lstm, gru = (seen["sizes"][name] for name in ("RNN", "LSTM", "GRU"))
    assert (lstm, gru) == (4 * rnn, 3 * rnn)
    arrived, kept = seen["arrived"], seen["kept"]
    half_open = {name: kept[name] for name in ("GRU", "LSTM, forget bias 0")}
    assert half_open == pytest.approx(dict.fromkeys(half_open, 0.5), abs=0.02)
    assert max(arrived[name] for name in half_open) < 1e-3 * arrived["RNN"]
    opening = [arrived[f"LSTM, forget bias {bias}"] for bias in (0, 1, 3, 5)]
    assert opening == sorted(opening)
    assert seen["flows"]["LSTM, forget bias 5"].places["l0"].norms["h"].min() > 0.01
    assert arrived["RNN"] == pytest.approx(3e-12, rel=0.2)
    for bias in (3, 5):
        name = f"LSTM, forget bias {bias}"
        assert arrived[name] ** (1 / 99) == pytest.approx(kept[name], abs=0.02)
    assert kept["LSTM, forget bias 5"] == pytest.approx(0.993, abs=0.002)
    assert 1 + np.exp(5) == pytest.approx(150, abs=1)  # 1 / (1 - sigmoid(5))


def test_open_gates_recall(lesson):
    recalled = lesson("08")["recalled"]
    for name, share in recalled.items():
        assert share > 0.95 if name.endswith("bias 5") else share == pytest.approx(0.5, abs=0.1)
    assert len(recalled) == 5


def test_truncated_bptt(lesson):
    seen = lesson("09")
    assert seen["to_frozen"] < 1e-12 and seen["to_whole"] > 0.1
    assert seen["to_mean"] < seen["to_whole"] / 10
    ten = list(seen["forgets"].windows).index(10)
    forgets, remembers = (seen[name].cosine["all together"] for name in ("forgets", "remembers"))
    assert forgets[ten] > 0.99 and remembers[ten] < 0.2
    assert (forgets[-1], remembers[-1]) == pytest.approx((1, 1), abs=1e-12)


def test_hunting_bugs(lesson):
    seen = lesson("10")
    assert (len(ZOO), len(seen["hunted"]), len(seen["placed"])) == (19, 16, 15)
    assert set(seen["hunted"]) - set(seen["placed"]) == {"writes into its cotangent"}
    assert seen["told"].keys() == set(seen["others"]) and len(seen["told"]) == 3
    assert (len(seen["passing"]), len(seen["BUGS"])) == (6, 12)
    place = seen["report"].guesses[0].place
    assert (place.gates, place.steps) == (("i", "f", "g"), (0, 1, 2, 3))
    assert [argument.ok for argument in seen["report"].arguments] == [False] * 4


def test_the_character_model(lesson):
    seen = lesson("11")
    assert len(seen["stream"].vocabulary) == 25
    assert seen["untrained"] == pytest.approx(4.6, abs=0.1) and np.log2(25) == pytest.approx(4.6, abs=0.05)
    assert seen["curve"][-1] < 0.05 and len(seen["curve"]) == 30
    assert seen["after"] in seen["text"] and seen["before"] not in seen["text"]


def test_the_tagger(lesson):
    seen = lesson("12")
    assert min(seen["both_ways"].values()) > 0.99
    assert seen["forwards"]["all words"] <= seen["limit"]["all words"] < 0.89
    known = {words for words, _, _ in seen["training"]}
    assert not known & {words for words, _, _ in seen["held_out"]}


def test_the_time_series(lesson):
    seen = lesson("13")
    assert seen["apart"] < 1e-12 and len(seen["online"]) == 24 * 150 - 1
    yesterday, now, line, gru, floor = seen["errors"].values()
    assert floor < gru < line < now < yesterday
    assert gru < 0.6 * now and gru < yesterday / 5
    assert floor == pytest.approx(0.4 * np.sqrt(2 / np.pi), rel=0.1)  # what half of a Gaussian is on average


def test_no_forecast_sees_its_own_hour(lesson):
    """Each row of the line's past ends an hour before what it is to tell; so do the rows of both naive forecasts."""
    seen = lesson("13")
    series, split, past = seen["series"], seen["split"], seen["past"]
    assert np.array_equal(past[split - 48, :48], series[split - 48 : split])
    assert seen["forecasts"]["as it is now"][0] == series[split - 1]
    assert seen["forecasts"]["as yesterday at this hour"][0] == series[split - 24]
    assert {len(forecast) for forecast in seen["forecasts"].values()} == {len(series) - split}


def test_a_cell_of_ones_own(lesson):
    seen = lesson("16")
    assert seen["report"].verdict == "wrong"
    assert seen["report"].guesses[0].text.startswith("all is right down to step 5; then the gradient of a_xs at step 4")
    assert len(seen["asked"]) == seen["T"] == len(seen["record"]["h"])
    assert np.mean(seen["losses"][:50]) > 0.1 and np.mean(seen["losses"][-20:]) < 1 / 6 / 20
    _, sums = seen["problems"](np.random.default_rng(1), many=20000)
    assert np.mean((sums - 1) ** 2) == pytest.approx(1 / 6, rel=0.05)


def test_attention(lesson):
    seen = lesson("14")
    assert seen["shares"]["with"]["sequences"] > 0.97 and seen["shares"]["without"]["sequences"] < 0.1
    assert seen["found"].mean() > 0.97 and seen["diagonal"].mean() > 0.7
    assert seen["looked"].sum(axis=-1) == pytest.approx(1, abs=1e-5)


def test_a_translator(lesson):
    seen = lesson("15")
    assert seen["by_heart"] == len(seen["phrases"]) == 8
    assert sum(seen["right"]) > 400 and len(seen["right"]) == 500
    assert seen["looked"] >= 0.99 and len(seen["found"]) > 100
    read, wrote = seen["seen"].read, seen["seen"].written
    assert wrote[seen["seen"].weights[:, read.index("red")].argmax()].startswith("roug")


# --- what comes of trying ---------------------------------------------------------------------------------------------


def tried(number, changes):
    """The names of a lesson in which these pieces, each of which stands there once, have become others."""
    (path,) = (path for path in EXAMPLES if path.name.startswith(number))
    text, names = path.read_text(encoding="utf-8"), {}
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old} stands in lesson {number} {text.count(old)} times"
        text = text.replace(old, new)
    exec(compile(text, str(path), "exec"), names)
    return names


def test_a_flat_slope_hides_a_large_loss(lesson):
    flat, seen = tried("01", {"target = 2.0, 0.5, -0.3, 1.0": "target = 2.0, 0.5, -3.0, 1.0"}), lesson("01")
    assert flat["loss"] / seen["loss"] == pytest.approx(25, rel=0.05)
    assert flat["by_tape"]["w"] / seen["by_tape"]["w"] == pytest.approx(1 / 2, abs=0.06)


def test_short_numbers_want_longer_steps_and_a_kink_must_be_met():
    short = {"steps = 10.0 ** -np.arange(1, 16)\n": "steps = (10.0 ** -np.arange(1, 16)).astype('float32')\n"}
    seen, eps = tried("02", {**short, "2.0, 21)": "2.0, 20)"}), np.finfo("float32").eps
    for errors, best in ((seen["forward"], eps ** (1 / 2)), (seen["central"], eps ** (1 / 3))):
        assert abs(np.log10(seen["steps"][errors.argmin()] / best)) < 1 and min(errors) > 1e-6
    assert seen["verdicts"]["relu"] == "correct"


def test_who_forgets_the_next_step_is_right_at_the_last_alone(lesson):
    right, wrong = lesson("03")["dw_parts"], tried("03", {"from_loss + dh_next": "from_loss"})["dw_parts"]
    assert [a == b for a, b in zip(right, wrong, strict=True)] == [True, False, False]


def test_without_recurrence_nothing_goes_back_but_the_weight_has_a_gradient():
    seen = tried("03", {"u, w, h_0 = 1.0, 0.8, 0.5": "u, w, h_0 = 1.0, 0.0, 0.5"})
    assert seen["by_hand"]["h_0"] == 0 and abs(seen["by_hand"]["w"]) > 0.1


def test_open_forget_gates_let_a_quarter_arrive():
    gates = {"h_0, c_0 = rng": "a_xs[:, H : 2 * H] += 3\nh_0, c_0 = rng"}
    sizes = tried("04", gates)["sizes"]
    assert sizes[0] > sizes[-1] / 4


def test_rtrl_grows_with_the_third_power_of_the_state(lesson):
    seen, wider = lesson("05"), tried("05", {"T, H, B = 12, 4, 3": "T, H, B = 12, 8, 3"})
    assert wider["influence"].size == 8 * seen["influence"].size
    assert wider["memory"]["240 steps"] / seen["memory"]["240 steps"] == pytest.approx(2, rel=0.02)


def test_slopes_take_what_the_matrix_gives():
    assert tried("06", {"rnn(np.zeros(": "rnn(np.ones("})["straight"][1.1] < 1e-6


def test_a_window_of_all_steps_changes_nothing():
    assert tried("09", {"window = 12, 4, 3, 3": "window = 12, 4, 3, 12"})["to_whole"] < 1e-12


def test_a_gate_that_keeps_hands_back_half(lesson):
    keeping = tried("16", {"range(600)": "range(0)", "# %%\nmgu = scan": "a_xs[:, :H] -= 2\nmgu = scan"})["asked"]
    asked = lesson("16")["asked"]
    assert keeping[0] / keeping[-1] == pytest.approx(1 / 2, abs=0.05)
    assert asked[0] / asked[-1] == pytest.approx(1 / 9, abs=0.02)
