"""The kernels for whole sequences, under an emulator and many schedules, against the rules in float64."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minirnn import rules
from minirnn.kernels import sequences
from minirnn.kernels.launching import options, source_of
from minirnn.kernels.sequences import (
    EMPTY,
    KERNELS,
    LANES,
    PRECISIONS,
    StalledError,
    check_stalled,
    plan,
    use_whole_sequences,
)
from minirnn.testing import counting, cuda_emulator, strict_cupy
from minirnn.testing.cuda_emulator import EmulationError, emulated

pytestmark = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())

CELLS = {"lstm": (4, ("h", "c")), "gru": (3, ("h",)), "rnn": (1, ("h",))}  # blocks of rows, states
SIZES = [(4, 5, 9), (1, 6, 2), (3, 1, 1), (2, 33, 17)]  # T, H, B: odd ones, one step, one unit and column, two rounds
ERRORS = {  # of values and of gradients at most, and of both at least: other factors than these have them
    "3xtf32": (1e-6, 1e-6, 0),
    "tf32": (3e-4, 1e-3, 1e-4),
    "bf16": (3e-3, 1e-2, 1e-3),
}
SPREADS = {  # precision -> sizes and processors, so that in one of them each synchronisation counts
    "float32": [((4, 5, 9), 6)],
    "tf32": [((4, 17, 9), 6), ((2, 18, 17), 2)],  # several slices, several tiles
}


def kernels_of(cell, precision="float32"):
    return emulated(source_of(f"{cell}_sequence.cu"), options("float", *PRECISIONS[precision].macros))


def example(cell, T, H, B, seed=0):
    """What the rule is given: pre-activations, states, weights, and for a GRU a bias."""
    random, (blocks, states) = np.random.default_rng(seed), CELLS[cell]
    inputs = {"a_xs": (T, blocks * H, B), **{f"{s}_0": (H, B) for s in states}, "W_hh": (blocks * H, H)}
    inputs |= {"b_hn": (H,)} if cell == "gru" else {}
    return {name: random.standard_normal(shape) / ((name == "W_hh" and H**0.5) or 1) for name, shape in inputs.items()}


def cotangents(cell, T, H, B, seed=1):
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape) for shape in [(T, H, B), *[(H, B)] * len(CELLS[cell][1])]]


def expected(cell, inputs, dys):
    """Values and gradients as the rule finds them."""
    ys, pullback = getattr(rules, cell)(*inputs.values())
    return [*ys, *pullback(*dys)[: len(inputs)]]


class Spread:
    """A kernel spread over few processors of little memory, so that there are several blocks, tiles and quads."""

    def __init__(self, cell, seed=0, processors=6, warps=2, without=(), precision="float32"):
        self.cell, self.kernels, self.seed, self.processors = cell, kernels_of(cell, precision), seed, processors
        self.precision, self.warps = precision, warps * PRECISIONS[precision].team
        self.without = dict(without)  # kernel -> the marked statement that it lacks
        self.stalled = np.zeros(1, np.uint32)

    def run(self, kernel, mailbox, W_hh, *arrays):
        T, H, B = len(mailbox), W_hh.shape[1], mailbox.shape[-1]
        fits = plan(kernel, H, B, self.processors, 232448, self.precision)
        mailbox.view(np.uint32).fill(EMPTY)
        self.kernels.run(
            kernel,
            fits.grid,
            (LANES, self.warps),
            (mailbox, W_hh, *arrays, self.stalled, *map(np.int32, (T, H, B, fits.quads))),
            shared=fits.shared,
            seed=self.seed,
            without=self.without.get(kernel),
        )


def computed(spread, inputs, dys):
    """The same values and gradients by two launches, and what the rules do after their loops."""
    a_xs, W_hh, h_0 = (np.ascontiguousarray(inputs[name], np.float32) for name in ("a_xs", "W_hh", "h_0"))
    T, _, B = a_xs.shape
    H = len(h_0)
    dhs, dh, *dc = (np.array(dy, np.float32) for dy in dys)
    hs, cell = np.empty((T, H, B), np.float32), spread.cell
    h_prevs = lambda: np.concatenate([h_0[None], hs[:-1]])  # noqa: E731
    products = lambda da: np.einsum("tfb,thb->fh", da, h_prevs())  # noqa: E731
    if cell == "rnn":
        spread.run("rnn_sequence", hs, W_hh, a_xs, h_0)
        da = np.empty_like(a_xs)
        spread.run("rnn_sequence_back", da, W_hh, dhs, hs, dh)
        return [hs, hs[-1], da, dh, products(da)]
    gates = np.empty((T, 4 * H, B), np.float32)
    dgates = np.empty_like(gates)
    if cell == "gru":
        b_hn = inputs["b_hn"].astype(np.float32)
        spread.run("gru_sequence", hs, W_hh, a_xs, b_hn, h_0, gates)
        spread.run("gru_sequence_back", dgates, W_hh, dhs, gates, h_prevs(), dh)
        ds = np.roll(dgates[:, : 3 * H], -H, axis=1)
        return [hs, hs[-1], dgates[:, H:], dh, products(ds), ds[:, 2 * H :].sum((0, 2))]
    cs = np.empty((T + 1, H, B), np.float32)
    cs[0] = inputs["c_0"]
    spread.run("lstm_sequence", hs, W_hh, a_xs, h_0, cs, gates)
    spread.run("lstm_sequence_back", dgates, W_hh, dhs, gates, cs, dh, *dc)
    return [hs, hs[-1], cs[-1], dgates, dh, *dc, products(dgates)]


def distance(found, right):
    """The largest relative error in norm; what is not finite is infinitely wrong."""
    errors = [np.linalg.norm(x - y) / np.linalg.norm(y) for x, y in zip(found, right, strict=True)]
    return max(e if np.isfinite(e) else np.inf for e in errors)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_under_many_schedules(cell, sizes):
    inputs, dys = example(cell, *sizes), cotangents(cell, *sizes)
    right = expected(cell, inputs, dys)
    first = None
    for seed in range(12 if sizes == SIZES[0] else 2):
        spread = Spread(cell, seed, warps=1 + seed % 3)
        found = computed(spread, inputs, dys)
        assert distance(found, right) < 1e-5 / 3 and not spread.stalled
        first = first or found
        assert all((x == y).all() for x, y in zip(found, first, strict=True))  # no order of events changes a bit


def is_as_precise_as_said(precision, cell, found, right):
    of_values, of_gradients, least = ERRORS[precision]
    values = 1 + len(CELLS[cell][1])
    worst = distance(found, right)
    return least < worst < of_gradients and distance(found[:values], right[:values]) < of_values


@pytest.mark.parametrize("sizes", [(3, 5, 9), (2, 18, 3), (1, 300, 2)])  # teams that have nothing to do, too
@pytest.mark.parametrize("precision", ERRORS)
@pytest.mark.parametrize("cell", CELLS)
def test_tensor_cores_are_as_precise_as_they_are_said_to_be(cell, precision, sizes):
    if sizes[1] == 300 and cell != "rnn":
        return  # long products are the same for all
    inputs, dys = example(cell, *sizes), cotangents(cell, *sizes)
    right = expected(cell, inputs, dys)
    spread, other = (Spread(cell, seed, processors, 1, precision=precision) for seed, processors in ((0, 6), (1, 2)))
    found = computed(spread, inputs, dys)
    assert not spread.stalled and is_as_precise_as_said(precision, cell, found, right)
    assert all((x == y).all() for x, y in zip(found, computed(other, inputs, dys), strict=True))


def test_what_is_infinite_has_no_two_parts():
    inputs, dys = example("rnn", 1, 5, 3), cotangents("rnn", 1, 5, 3)
    inputs["h_0"][0, 1] = np.inf
    ends = {precision: computed(Spread("rnn", precision=precision), inputs, dys)[1] for precision in PRECISIONS}
    for precision, h in ends.items():
        assert (abs(h[:, 1]) == 1).all() or (precision == "3xtf32" and np.isnan(h[:, 1]).all())
        assert np.isfinite(h[:, ::2]).all()


@pytest.mark.parametrize("precision", SPREADS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_synchronisation_is_needed(kernel, precision):
    """One left out at a time, some schedule shows it by wrong numbers."""
    cell = kernel.partition("_")[0]

    def error(seed, statement):
        sizes, processors = SPREADS[precision][seed % len(SPREADS[precision])]
        inputs, dys = example(cell, *sizes), cotangents(cell, *sizes)
        spread = Spread(cell, seed, processors, without={kernel: statement}, precision=precision)
        try:
            return distance(computed(spread, inputs, dys), expected(cell, inputs, dys))
        except EmulationError:  # what was never written is no number of tf32
            return np.inf

    for statement, why in enumerate(kernels_of(cell, precision).marked):
        if "NaN" in why or (precision == "float32" and "team" in why):
            continue  # the next test has the first; there are no teams without tensor cores
        assert any(error(seed, statement) > 1e-3 for seed in range(40)), why


@pytest.mark.parametrize(
    ("cell", "precision"), [*((cell, "float32") for cell in CELLS), *zip(CELLS, ERRORS, strict=True)]
)
def test_a_nan_ends_the_wait_of_nobody(cell, precision):
    """Not even one with the bits of a word that has not come, for it is written in others. Were it not, all would wait
    until their patience ends, and then say so."""
    sizes = (3, 5, 9)
    inputs, dys = example(cell, *sizes), cotangents(cell, *sizes)
    worst = np.array([EMPTY], np.uint32).view(np.float32)[0]
    row = {"lstm": 12, "gru": 14, "rnn": 0}[cell]  # one of tanh, which leaves a NaN its bits; sigmoid turns its sign

    def spoilt(name):
        """Inputs and cotangents, with that number in a row of one of them."""
        given = {k: np.array(x, np.float32) for k, x in inputs.items()} | {"dhs": np.array(dys[0], np.float32)}
        given[name][..., row if name == "a_xs" else 0, :] = worst
        return given, [given.pop("dhs"), *dys[1:]]

    for name in ("a_xs", "h_0", "W_hh", "dhs"):
        spread = Spread(cell, precision=precision)
        values, _, *rest = computed(spread, *spoilt(name))
        assert not spread.stalled and np.isnan(values).any() == (name != "dhs") and np.isnan(rest[-1]).any()
    if precision != "float32":
        return
    (statement,) = (k for k, why in enumerate(kernels_of(cell).marked) if "NaN" in why)
    for kernel, name in ((f"{cell}_sequence", "a_xs"), (f"{cell}_sequence_back", "dhs")):
        waiting = Spread(cell, without={kernel: statement})
        computed(waiting, *spoilt(name))
        assert waiting.stalled


def test_every_wait_is_marked():
    """So that no synchronisation escapes the test that leaves them out."""
    for cell in CELLS:
        lines = source_of(f"{cell}_sequence.cu").splitlines()
        waits = [line for line in lines if re.search(r"__sync|received\(|meet\(|NOT_A_NUMBER;", line)]
        waits = [line for line in waits if not line.startswith("__device__") and "return" not in line]
        assert len(waits) == 5 and all("// sync: " in line for line in waits)


# --- in the rules, on the device that is pretended --------------------------------------------------------------------


@pytest.fixture
def cp(monkeypatch):
    with strict_cupy() as cupy:
        monkeypatch.setitem(cupy.cuda.Device.attributes, "MultiProcessorCount", 2)
        monkeypatch.setattr(sequences, "WARPS", 2)
        yield cupy


def on_device(cp, cell, inputs, dys, **static):
    """Values and gradients of a rule on the device, in float32, and how many launches they took."""
    given = [cp.asarray(x, np.float32) for x in inputs.values()]
    with counting() as counts:
        ys, pullback = getattr(rules, cell)(*given, **static)
        gradients = pullback(*(cp.asarray(dy, np.float32) for dy in dys))
    assert counts.syncs == 0
    return [x.get() for x in (*ys, *gradients[: len(inputs)])], counts.launches


@pytest.mark.parametrize("cell", CELLS)
def test_a_rule_takes_one_launch_there_and_one_back_if_asked_to(cp, cell):
    sizes = (8, 3, 2)
    inputs, dys = example(cell, *sizes), cotangents(cell, *sizes)
    by_steps, many = on_device(cp, cell, inputs, dys)
    with use_whole_sequences():
        with use_whole_sequences(False):
            assert on_device(cp, cell, inputs, dys)[1] == many
        whole, few = on_device(cp, cell, inputs, dys)
    assert distance(whole, expected(cell, inputs, dys)) < 1e-5 / 3 > distance(by_steps, whole)
    assert few < 20 < many


def test_a_rule_asks_for_tensor_cores_in_the_precision_wanted(cp, monkeypatch):
    monkeypatch.setattr(sequences, "WARPS", 4)
    inputs, dys = example("rnn", 8, 3, 2), cotangents("rnn", 8, 3, 2)
    right = expected("rnn", inputs, dys)
    with use_whole_sequences(precision="bf16"):
        whole, few = on_device(cp, "rnn", inputs, dys)
        assert is_as_precise_as_said("bf16", "rnn", whole, right) and few < 20
        with use_whole_sequences(), pytest.raises(ValueError, match=r"'bf16'; got 'fp16'$"):
            use_whole_sequences(precision="fp16")
        assert all((x == y).all() for x, y in zip(on_device(cp, "rnn", inputs, dys)[0], whole, strict=True))
        monkeypatch.setitem(cp.cuda.Device.attributes, "ComputeCapabilityMajor", 7)
        with pytest.warns(
            UserWarning, match="^no tensor core of this device knows bf16: steps are taken one at a time"
        ):
            assert distance(on_device(cp, "rnn", inputs, dys)[0], right) < 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_where_nothing_is_saved(cp, cell):
    inputs = example(cell, 4, 3, 2)
    given = [cp.asarray(x, np.float32) for x in inputs.values()]
    with use_whole_sequences():
        ys, pullback = getattr(rules, cell)(*given, wanted=(False,) * len(given))
    right = getattr(rules, cell)(*inputs.values())[0]
    assert distance([y.get() for y in ys], right) < 1e-5
    assert set(pullback(*ys)) == {None}


@pytest.mark.parametrize(
    ("cell", "static"),
    [("rnn", {"nonlinearity": "relu"}), ("gru", {"reset_after": False}), ("lstm", {"probe": lambda *seen: None})],
)
def test_what_no_kernel_does_is_done_step_by_step(cp, cell, static):
    inputs, dys = example(cell, 4, 3, 2), cotangents(cell, 4, 3, 2)
    inputs |= {"b_hn": None} if "b_hn" in inputs else {}
    inputs = {name: x for name, x in inputs.items() if x is not None}
    alone = on_device(cp, cell, inputs, dys, **static)
    with use_whole_sequences():
        asked = on_device(cp, cell, inputs, dys, **static)
    assert alone[1] == asked[1] and all((x == y).all() for x, y in zip(alone[0], asked[0], strict=True))


def test_so_are_float64_and_sequences_without_a_step_or_a_column(cp):
    with use_whole_sequences(), counting() as counts:
        for sizes, dtype in (((2, 3, 4), np.float64), ((0, 3, 4), np.float32), ((2, 3, 0), np.float32)):
            (hs, _), _ = rules.rnn(*(cp.asarray(x, dtype) for x in example("rnn", *sizes).values()))
            assert hs.dtype == dtype and hs.shape == sizes
    assert counts.float64_results == 0


def test_a_hidden_size_that_no_kernel_fits_falls_back_with_a_word(cp, monkeypatch):
    monkeypatch.setitem(cp.cuda.Device.attributes, "MaxSharedMemoryPerBlockOptin", 300)
    inputs, dys = example("lstm", 3, 9, 2), cotangents("lstm", 3, 9, 2)
    with use_whole_sequences(), pytest.warns(UserWarning) as said:
        found, _ = on_device(cp, "lstm", inputs, dys)
    assert distance(found, expected("lstm", inputs, dys)) < 1e-5
    assert [str(warning.message) for warning in said] == [
        f"no {kernel} fits hidden size 9 on this device: steps are taken one at a time"
        for kernel in ("lstm_sequence", "lstm_sequence_back")
    ]


def test_a_kernel_that_gave_up_is_reported_when_the_block_ends_and_once(cp):
    with use_whole_sequences():
        rules.rnn(*(cp.asarray(x, np.float32) for x in example("rnn", 2, 3, 2).values()))
    with (
        pytest.raises(StalledError, match="on device 0 a kernel waited in vain"),
        use_whole_sequences(),
    ):
        sequences._stalled[cp, 0].fill(1)
    check_stalled()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_plans_fill_the_device_and_no_more(precision):
    _, team, depth, weight = PRECISIONS[precision]
    parts = {1: 0, 4: 4 * 32 * 4}[team]  # of a quad's 32 sums, in bytes
    for kernel, (_, units, length) in KERNELS.items():
        for H, B, processors in ((1, 1, 1), (100, 30, 132), (256, 64, 132), (512, 256, 132), (600, 3, 108)):
            (groups, slices), quads, shared = plan(kernel, H, B, processors, 232448, precision)
            assert groups * slices <= processors and quads % team == 0
            K = -(-length * H // depth) * depth
            assert shared == K * 4 * (quads * weight + 8) + quads * parts <= 232448
            assert (slices - 1) * quads * units < H <= slices * quads * units  # all units, and no block without one
    assert plan("lstm_sequence", 8192, 1, 132, 232448, precision) is None
