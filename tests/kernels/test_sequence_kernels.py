"""The kernels for whole sequences, under an emulator and many schedules, against the rules in float64."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest

from minirnn import kernels, rules
from minirnn.kernels import sequences
from minirnn.kernels.launching import options, source_of
from minirnn.kernels.sequences import (
    CELLS,
    EMPTY,
    LANES,
    PRECISIONS,
    QUAD,
    StalledError,
    check_stalled,
    named,
    plan,
    use_whole_sequences,
)
from minirnn.testing import counting, cuda_emulator, strict_cupy
from minirnn.testing.cuda_emulator import EmulationError, emulated
from minirnn.testing.strict_cupy import device
from minirnn.testing.strict_cupy.faults import CUDADriverError

pytestmark = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())

BLOCKS = {"lstm": 4, "gru": 3, "rnn": 1}  # of rows
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn": ("h",)}
WAYS = list(product(CELLS, (False, True)))  # each cell, there and back
SIZES = [(4, 5, 9), (1, 6, 2), (3, 1, 1), (2, 33, 17)]  # T, H, B: odd ones, one step, one unit and column, two rounds
ERRORS = {  # of values and of gradients at most, and of both at least: other factors than these have them
    "3xtf32": (1e-6, 1e-6, 0),
    "tf32": (3e-4, 1e-3, 1e-4),
    "bf16": (3e-3, 1e-2, 1e-3),
}
SPREADS = {  # precision and scope -> sizes and processors, so that in one of them each synchronisation counts
    ("float32", "cluster"): [((4, 5, 9), 4)],
    ("float32", "grid"): [((4, 5, 9), 6)],
    ("tf32", "grid"): [((4, 17, 9), 6), ((2, 18, 17), 2)],  # several slices, several tiles
}


SCOPES = "grid", "cluster"


@pytest.fixture(autouse=True)
def _four(monkeypatch):
    """Clusters are of four blocks, whatever the size: each size is another build."""
    monkeypatch.setattr(sequences, "TOGETHER", (4,))


def kernels_of(cell, precision="float32", cluster=1):
    macros = (
        CELLS[cell].macro,
        *PRECISIONS[precision].macros,
        *((f"CLUSTER={cluster}",) if cluster > 1 else ()),
    )
    return emulated(source_of("sequence.cu"), options("float", *macros))


def example(cell, T, H, B, seed=0):
    """What the rule is given: pre-activations, states, weights, and for a GRU a bias."""
    random, blocks, states = np.random.default_rng(seed), BLOCKS[cell], STATES[cell]
    inputs = {"a_xs": (T, blocks * H, B), **{f"{s}_0": (H, B) for s in states}, "W_hh": (blocks * H, H)}
    inputs |= {"b_hn": (H,)} if cell == "gru" else {}
    return {name: random.standard_normal(shape) / ((name == "W_hh" and H**0.5) or 1) for name, shape in inputs.items()}


def cotangents(cell, T, H, B, seed=1):
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape) for shape in [(T, H, B), *[(H, B)] * len(STATES[cell])]]


def expected(cell, inputs, dys):
    """Values and gradients as the rule finds them."""
    ys, pullback = getattr(rules, cell)(*inputs.values())
    return [*ys, *pullback(*dys)[: len(inputs)]]


class Spread:
    """A kernel spread over few processors of little memory, so that there are several blocks, tiles and quads."""

    def __init__(
        self, cell, seed=0, processors=6, warps=2, without=(), precision="float32", scope="grid", kernels=None
    ):
        self.cell, self.kernels, self.seed, self.processors = cell, kernels, seed, processors
        self.precision, self.warps, self.scope = precision, warps * PRECISIONS[precision].team, scope
        self.without = dict(without)  # kernel -> the marked statement that it lacks
        self.stalled = np.zeros(1, np.uint32)

    def run(self, mailbox, W_hh, *arrays, back=False):
        T, H, B = len(mailbox), W_hh.shape[1], mailbox.shape[-1]
        fits = plan(self.cell, back, H, B, self.processors, 232448, self.precision, self.scope)
        kernel = named("sequence", back)
        assert (fits.cluster > 1) == (self.scope == "cluster")
        mailbox.view(np.uint32).fill(EMPTY)
        kernels = self.kernels or kernels_of(self.cell, self.precision, fits.cluster)
        kernels.run(
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
    states = lambda: np.concatenate([h_0[None], hs])  # noqa: E731
    products = lambda da: np.einsum("tfb,thb->fh", da, states()[:-1])  # noqa: E731
    if cell == "rnn":
        spread.run(hs, W_hh, a_xs, h_0, None, None, None)
        da = np.empty_like(a_xs)
        spread.run(da, W_hh, dhs, dh, None, states(), None, back=True)
        return [hs, hs[-1], da, dh, products(da)]
    gates = np.empty((T, 4 * H, B), np.float32)
    dgates = np.empty_like(gates)
    if cell == "gru":
        b_hn = inputs["b_hn"].astype(np.float32)
        spread.run(hs, W_hh, a_xs, h_0, b_hn, None, gates)
        spread.run(dgates, W_hh, dhs, dh, gates, states(), None, back=True)
        ds = np.roll(dgates[:, : 3 * H], -H, axis=1)
        return [hs, hs[-1], dgates[:, H:], dh, products(ds), ds[:, 2 * H :].sum((0, 2))]
    cs = np.empty((T + 1, H, B), np.float32)
    cs[0] = inputs["c_0"]
    spread.run(hs, W_hh, a_xs, h_0, None, cs, gates)
    spread.run(dgates, W_hh, dhs, dh, gates, cs, *dc, back=True)
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
    for scope in SCOPES:
        for seed in range(12 if sizes == SIZES[0] else 2):
            spread = Spread(cell, seed, warps=1 + seed % 3, scope=scope)
            found = computed(spread, inputs, dys)
            assert distance(found, right) < 1e-5 / 3 and not spread.stalled
            first = first or found  # no order of events changes a bit, nor does the way that columns travel
            assert all((x == y).all() for x, y in zip(found, first, strict=True))


def is_as_precise_as_said(precision, cell, found, right):
    of_values, of_gradients, least = ERRORS[precision]
    values = 1 + len(STATES[cell])
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


GRADIENTS = {"lstm": (4.5e-4, 3e-4), "gru": (3e-4, 3e-4), "rnn": (6e-4, 5e-4)}  # of h_0 and of W_hh in tf32, at most


def nearest(x):
    """To 11 significant bits."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(fraction, 11)), exponent - 11)


@pytest.mark.parametrize("cell", CELLS)
def test_all_of_the_error_of_tf32_is_that_of_rounded_factors(cell, monkeypatch):
    """It is that of the rule in float64, given such factors; half is made there; and many steps have no more of it."""
    places = [list(example(cell, 1, 1, 1)).index(name) for name in ("h_0", "W_hh")]

    def given(T):
        return example(cell, T, 64, 16), cotangents(cell, T, 64, 16)

    def emulated_gradients(T):
        found = computed(Spread(cell, 0, 2, 1, precision="tf32"), *given(T))
        return [found[1 + len(STATES[cell]) :][k] for k in places]

    def gradients(T, ways=0):
        """Of h_0 and of W_hh, by the rule, where factors are rounded on so many ways: there, and back."""
        inputs, dys = given(T)
        rounded = lambda W, columns: lambda x, out: np.matmul(nearest(W), nearest(x), out=out)  # noqa: E731
        with monkeypatch.context() as patch:
            patch.setattr(kernels.numpy, "product", rounded if ways else kernels.numpy.product)
            _, pullback = getattr(rules, cell)(*inputs.values())
            if ways < 2:
                patch.undo()
            return [pullback(*dys)[k] for k in places]

    one = emulated_gradients(1)  # later a last bit may decide to where a factor is rounded
    assert distance(one, gradients(1, ways=2)) < 3e-5 < distance(one, gradients(1)) / 5
    for found, T in ((emulated_gradients(8), 8), (gradients(100, ways=2), 100)):
        for dx, exact, most in zip(found, gradients(T), GRADIENTS[cell], strict=True):
            assert most / 2 < distance([dx], [exact]) < most
    assert distance(gradients(8, ways=1), gradients(8)) > GRADIENTS[cell][0] / 2


def test_clusters_have_tensor_cores():
    inputs, dys = example("rnn", 2, 18, 3), cotangents("rnn", 2, 18, 3)
    grid, cluster = (computed(Spread("rnn", precision="3xtf32", scope=scope), inputs, dys) for scope in SCOPES)
    assert is_as_precise_as_said("3xtf32", "rnn", cluster, expected("rnn", inputs, dys))
    assert all((x == y).all() for x, y in zip(cluster, grid, strict=True))


def test_what_is_infinite_has_no_two_parts():
    inputs, dys = example("rnn", 1, 5, 3), cotangents("rnn", 1, 5, 3)
    inputs["h_0"][0, 1] = np.inf
    ends = {precision: computed(Spread("rnn", precision=precision), inputs, dys)[1] for precision in PRECISIONS}
    for precision, h in ends.items():
        assert (abs(h[:, 1]) == 1).all() or (precision == "3xtf32" and np.isnan(h[:, 1]).all())
        assert np.isfinite(h[:, ::2]).all()


@pytest.mark.parametrize(("precision", "scope"), SPREADS)
@pytest.mark.parametrize("kernel", ["sequence", "sequence_back"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_synchronisation_is_needed(cell, kernel, precision, scope):
    """One left out at a time, some schedule shows it: numbers are wrong, or a block is written to that has ended."""
    spreads = SPREADS[precision, scope]

    def error(seed, statement):
        sizes, processors = spreads[seed % len(spreads)]
        inputs, dys = example(cell, *sizes), cotangents(cell, *sizes)
        spread = Spread(cell, seed, processors, without={kernel: statement}, precision=precision, scope=scope)
        try:
            return distance(computed(spread, inputs, dys), expected(cell, inputs, dys))
        except EmulationError:  # what was never written is no number of tf32, and a block may have ended
            return np.inf

    for statement, why in enumerate(kernels_of(cell, precision, 4 if scope == "cluster" else 1).marked):
        if "NaN" in why or ("ended" in why and kernel == "sequence_back"):
            continue  # another test has the first; the last step back sends nothing
        assert any(error(seed, statement) > 1e-3 for seed in range(40)), why


TAKEN_APART = {  # what one meeting a step is there for, and that there are two tiles, as statements to leave out
    "        meet_cluster();  // sync: all have begun, this tile is there, and the other one has been read\n": """\
        if (s == 0) meet_cluster();  // sync: begun
        if (s == 2) meet_cluster();  // sync: wrong numbers
        if (s != 0 && s != 2) meet_cluster();
""",
    "float *now = tiles + s % 2 * size, *next = tiles + (s + 1) % 2 * size;\n": """float *now = tiles, *next = tiles;
        now += s % 2 * size, next += (s + 1) % 2 * size;  // sync: wrong numbers
""",
    "// sync: nobody is written to who may have ended\n": "// sync: ended\n",
}


@pytest.mark.parametrize("kernel", ["sequence", "sequence_back"])
def test_a_meeting_of_a_cluster_is_there_for_all_that_is_said(kernel):
    """Left out in one step, and some schedule shows what happens then."""
    code = source_of("sequence.cu")
    for whole, apart in TAKEN_APART.items():
        assert code.count(whole) == 1
        code = code.replace(whole, apart)
    kernels = emulated(code, options("float", "CELL=Rnn", "CLUSTER=4"))
    inputs, dys = example("rnn", 4, 5, 9), cotangents("rnn", 4, 5, 9)
    right = expected("rnn", inputs, dys)

    def outcome(seed, statement):
        spread = Spread("rnn", seed, without={kernel: statement}, scope="cluster", kernels=kernels)
        try:
            return "wrong numbers" if distance(computed(spread, inputs, dys), right) > 1e-3 else "nothing"
        except EmulationError as error:
            return str(error).rpartition(" that had ")[2]

    assert sorted(kernels.marked) == ["begun", "ended", "wrong numbers", "wrong numbers"]
    for statement, sign in enumerate(kernels.marked):
        if sign != "ended" or kernel == "sequence":  # the last step back sends nothing
            assert any(outcome(seed, statement) == sign for seed in range(40)), sign


@pytest.mark.parametrize("cell", CELLS)
def test_in_a_cluster_a_nan_is_a_number_like_any_other(cell):
    sizes = (3, 5, 9)
    inputs, dys = example(cell, *sizes), cotangents(cell, *sizes)
    inputs["a_xs"][1, 0, 3], dys[0][1, 0, 4] = np.nan, np.nan
    hs, *_ = computed(Spread(cell, scope="cluster"), inputs, dys)
    right = expected(cell, inputs, dys)
    assert (np.isnan(hs) == np.isnan(right[0])).all() and np.isnan(hs[2, :, 3]).all() and not np.isnan(hs[..., 4]).any()
    found = computed(Spread(cell, scope="cluster"), inputs, dys)
    assert all((np.isnan(x) == np.isnan(y)).all() for x, y in zip(found, right, strict=True))


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
    for kernel, name in (("sequence", "a_xs"), ("sequence_back", "dhs")):
        waiting = Spread(cell, without={kernel: statement})
        computed(waiting, *spoilt(name))
        assert waiting.stalled


def test_every_wait_is_marked():
    """So that no synchronisation escapes the test that leaves them out."""
    lines = source_of("sequence.cu").splitlines()
    waits = [line for line in lines if re.search(r"__sync|received\(|meet(_cluster)?\(|NOT_A_NUMBER;", line)]
    waits = [line for line in waits if not line.startswith("__device__") and "return" not in line]
    assert len(waits) == 6 and all("// sync: " in line for line in waits)


# --- in the rules, on the device that is pretended --------------------------------------------------------------------


@pytest.fixture
def cp(monkeypatch):
    with strict_cupy() as cupy:
        monkeypatch.setitem(cupy.cuda.Device.attributes, "MultiProcessorCount", 4)
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
        whole, _ = on_device(cp, cell, inputs, dys)
        _, few = on_device(cp, cell, inputs, dys)
    with use_whole_sequences(scopes=["grid"]):
        other_way, two_more = on_device(cp, cell, inputs, dys)
    assert distance(whole, expected(cell, inputs, dys)) < 1e-5 / 3 > distance(by_steps, whole)
    assert all((x == y).all() for x, y in zip(whole, other_way, strict=True))
    assert two_more == few + 2 < 20 < many  # a mailbox has to be emptied before


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
        monkeypatch.setattr(cp.cuda.Device, "compute_capability", "75")
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
        f"no {kernel} of lstm fits hidden size 9 on this device: steps are taken one at a time"
        for kernel in ("sequence", "sequence_back")
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


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_what_plans_know_of_a_cell_is_what_its_source_says(cell):
    name, constants = cell.macro.removeprefix("CELL="), (cell.units, cell.blocks, cell.of_state)
    told = "UNITS = {}, BLOCKS = {}, OF_STATE = {};".format(*constants)
    assert re.search(rf"struct {name} {{\n.*{told}", source_of("sequence.cu"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_plans_fill_the_device_and_no_more(precision):
    _, team, depth, weight = PRECISIONS[precision]
    parts = {1: 0, 4: 4 * 32 * 4}[team]  # of a quad's 32 sums, in bytes
    for cell, back in WAYS:
        units, length = (QUAD, CELLS[cell].of_state) if back else (CELLS[cell].units, 1)
        for H, B, processors in ((1, 1, 1), (100, 30, 132), (256, 64, 132), (512, 256, 132), (600, 3, 108)):
            (groups, slices), quads, shared, _ = plan(cell, back, H, B, processors, 232448, precision)
            assert groups * slices <= processors and quads % team == 0
            K = -(-length * H // depth) * depth
            assert shared == K * 4 * (quads * weight + 8) + quads * parts <= 232448
            assert (slices - 1) * quads * units < H <= slices * quads * units  # all units, and no block without one
    assert plan("lstm", False, 8192, 1, 132, 232448, precision) is None


# --- in which scope ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clusters(monkeypatch):
    """What is launched, as pairs of a kernel and the blocks of its clusters."""
    launched, real = [], sequences.launch

    def look(source, kernel, *arguments, cluster, **options):
        launched.append((kernel, cluster))
        real(source, kernel, *arguments, cluster=cluster, **options)

    monkeypatch.setattr(sequences, "launch", look)
    monkeypatch.setattr(sequences, "_refused", set())
    return launched


def test_a_device_without_clusters_takes_the_grid(cp, clusters, monkeypatch):
    inputs, dys = example("rnn", 8, 3, 2), cotangents("rnn", 8, 3, 2)
    monkeypatch.setattr(cp.cuda.Device, "compute_capability", "89")
    with use_whole_sequences():
        found, _ = on_device(cp, "rnn", inputs, dys)
    assert distance(found, expected("rnn", inputs, dys)) < 1e-5
    assert clusters == [("sequence", 1), ("sequence_back", 1)]
    with (
        use_whole_sequences(scopes=["cluster"]),
        pytest.warns(UserWarning, match="no sequence.* of rnn fits hidden size 3"),
    ):
        on_device(cp, "rnn", inputs, dys)


def test_so_does_one_that_refuses_a_cluster_and_it_is_asked_once(cp, clusters, monkeypatch):
    monkeypatch.setattr(device, "CLUSTER", 2)
    inputs, dys = example("lstm", 8, 3, 2), cotangents("lstm", 8, 3, 2)  # whose plans differ, there and back
    with use_whole_sequences():
        found, _ = on_device(cp, "lstm", inputs, dys)
        on_device(cp, "lstm", inputs, dys)
    assert distance(found, expected("lstm", inputs, dys)) < 1e-5
    both = ("sequence", 1), ("sequence_back", 1)
    assert clusters == [("sequence", 4), both[0], ("sequence_back", 4), both[1], *both]


@pytest.mark.parametrize("status", [701, 720])
def test_where_no_launch_has_room_the_steps_are_taken_one_at_a_time(cp, monkeypatch, status):
    def refuse(*arguments, **options):
        asked.append(options["cluster"])
        raise CUDADriverError(status)

    asked, inputs, dys = [], example("rnn", 8, 3, 2), cotangents("rnn", 8, 3, 2)
    monkeypatch.setattr(sequences, "launch", refuse)
    monkeypatch.setattr(sequences, "_refused", set())
    with use_whole_sequences(), pytest.warns(UserWarning, match="no sequence.* of rnn fits hidden size 3"):
        found, _ = on_device(cp, "rnn", inputs, dys)
    assert distance(found, expected("rnn", inputs, dys)) < 1e-5 and sorted(set(asked)) == [1, 4]


def test_any_other_error_of_the_driver_is_raised(cp, monkeypatch):
    def fail(*arguments, **options):
        raise CUDADriverError(700)

    monkeypatch.setattr(sequences, "launch", fail)
    with use_whole_sequences(), pytest.raises(CUDADriverError):
        rules.rnn(*(cp.asarray(x, np.float32) for x in example("rnn", 2, 3, 2).values()))


def test_sizes_may_say_in_which_scope(cp, clusters, monkeypatch):
    monkeypatch.setattr(sequences, "SCOPES", [(3, 1, ("grid",)), (3, 8, ("cluster",)), *sequences.SCOPES])
    with use_whole_sequences():
        for H, B in ((3, 1), (3, 2), (4, 1)):
            rules.rnn(*(cp.asarray(x, np.float32) for x in example("rnn", 2, H, B).values()))
    assert [cluster for _, cluster in clusters] == [1, 4, 4]


@pytest.mark.parametrize("scopes", [(), ("block",), "grid"])
def test_an_unknown_scope_is_refused(scopes):
    with pytest.raises(ValueError, match=r"^scopes must be of 'cluster' and 'grid'; got "):
        use_whole_sequences(scopes=scopes)


def test_whether_is_said_by_true_or_false():
    with pytest.raises(TypeError, match="on must be True or False, got 'no'"):
        use_whole_sequences("no")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_plans_of_clusters(precision, monkeypatch):
    monkeypatch.undo()  # all sizes of clusters
    _, team, depth, weight = PRECISIONS[precision]
    parts = {1: 0, 4: 4 * 32 * 4}[team]
    for cell, back in WAYS:
        units, length = (QUAD, CELLS[cell].of_state) if back else (CELLS[cell].units, 1)
        for H, B, processors in ((1, 1, 2), (100, 30, 132), (256, 64, 132), (160, 256, 7)):
            (tiles, size), quads, shared, cluster = plan(cell, back, H, B, processors, 232448, precision, "cluster")
            K = -(-length * H // depth) * depth
            assert size == cluster <= processors and tiles == -(-B // 8) and quads % team == 0
            assert shared == K * 4 * (quads * weight + 16) + quads * parts <= 232448
            assert size * quads * units >= H  # all units
    assert plan("lstm", False, 8192, 1, 132, 232448, precision, "cluster") is None
    assert plan("lstm", False, 8, 1, 1, 232448, precision, "cluster") is None


def test_what_fits_a_cluster(monkeypatch):
    """Hidden sizes in float32 on an H100: with 8 blocks, and with the 16 that not every device takes."""
    monkeypatch.undo()
    largest = {}
    for way in WAYS:
        for H in range(16, 1200, 16):
            if fits := plan(*way, H, 64, 132, 232448, scope="cluster"):
                largest[way, fits.cluster] = H
    assert {way: (largest[way, 8], largest[way, 16]) for way in WAYS} == {
        ("lstm", False): (320, 448),
        ("lstm", True): (272, 352),
        ("gru", False): (320, 448),
        ("gru", True): (320, 432),
        ("rnn", False): (608, 832),
        ("rnn", True): (608, 832),
    }
