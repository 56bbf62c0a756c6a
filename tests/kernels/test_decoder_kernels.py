"""The kernels of the decoder that attends, under an emulator and many schedules, against the rule in float64."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest

from minirnn import nn, rules
from minirnn.arrays import asarray, use_backend
from minirnn.kernels import decoders, sequences
from minirnn.kernels.decoders import plan_attending
from minirnn.kernels.launching import options, source_of
from minirnn.kernels.sequences import EMPTY, StalledError, named, use_whole_sequences
from minirnn.rules.combinators import attentive, zoneout
from minirnn.testing import counting, cuda_emulator, strict_cupy

pytestmark = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())

CELLS = {  # step, blocks of rows, states
    "lstm": (rules.lstm_step, 4, 2),
    "gru": (rules.gru_step, 3, 1),
    "rnn": (rules.rnn_step, 1, 1),
}
SIZES = [  # T, H, K, F, A, S, B: odd ones, one of each, more columns than a tile
    (3, 5, 3, 4, 7, 6, 3),
    (1, 1, 1, 1, 1, 1, 1),
    (2, 7, 6, 6, 3, 4, 10),
]
SCORES = {"dot": (), "dot of queries": ("W_query",), "additive": ("W_query", "v"), "additive, h as it is": ("v",)}
FEEDS = ("output", "context")
every_cell = pytest.mark.parametrize("cell", CELLS)
every_score = pytest.mark.parametrize("score", SCORES)
every_feed = pytest.mark.parametrize("feed", FEEDS)


def example(cell, feed, sizes, score="dot", masked=True, seed=0):
    """What the rule is given; of the mask one column has no real token, the others one more each."""
    (T, H, K, F, A, S, B), (_, blocks, states) = sizes, CELLS[cell]
    A = A if "W_query" in SCORES[score] else H
    random, K = np.random.default_rng(seed), F if feed == "context" else K
    draw = lambda *shape: random.standard_normal(shape)  # noqa: E731
    inputs = {"a_xs": draw(T, blocks * H, B), "fed_0": draw(K, B), "h_0": draw(H, B)}
    inputs |= {"c_0": draw(H, B)} if states == 2 else {}
    inputs |= {"keys": draw(S, A, B), "values": draw(S, F, B)}
    inputs |= {"mask": np.arange(S)[:, None] < np.arange(1, B + 1) % (S + 1) if masked else None}
    inputs |= {"W_fed": draw(blocks * H, K) / K**0.5, "W_query": None, "v": None}
    inputs |= {name: draw(*{"W_query": (A, H), "v": (A,)}[name]) / H**0.5 for name in SCORES[score]}
    inputs |= {"W_out": None if feed == "context" else draw(K, F + H) / (F + H) ** 0.5}
    inputs |= {"W_hh": draw(blocks * H, H) / H**0.5} | ({"b_hn": draw(H)} if cell == "gru" else {})
    return inputs


def cotangents(cell, feed, sizes, seed=1):
    (T, H, K, F, _, S, B), random = sizes, np.random.default_rng(seed)
    K = F if feed == "context" else K
    shapes = [(T, K, B), (T, H, B), (T, S, B), (K, B), *[(H, B)] * CELLS[cell][2]]
    return [random.standard_normal(shape) for shape in shapes]


def run(cell, inputs, dys, **static):
    """Values and gradients, where there are any, as the rule finds them; its arrays are those it is given."""
    ys, pullback = attentive(CELLS[cell][0])(*inputs, scale=0.7, **static)
    return [x for x in (*ys, *pullback(*dys)) if x is not None]


def distance(found, right):
    """The largest relative error in norm; what is not finite is infinitely wrong."""
    errors = [np.linalg.norm(x - y) / (np.linalg.norm(y) or 1) for x, y in zip(found, right, strict=True)]
    return max(e if np.isfinite(e) else np.inf for e in errors)


def on_device(cupy, inputs):
    """They in float32, there."""
    return [x if x is None else cupy.asarray(x, bool if x.dtype == bool else np.float32) for x in inputs.values()]


def there_and_back(cell):
    """The kernels of a cell."""
    return [(named("attending", back), sequences.CELLS[cell].macro) for back in (False, True)]


class Device:
    """The device that is pretended, with few processors, so that there are several blocks, tiles and warps."""

    def __init__(self, monkeypatch, cupy):
        self.cupy, self.monkeypatch, self.attributes = cupy, monkeypatch, cupy.cuda.Device.attributes
        self.seed, self.without, self.launched = 0, {}, []  # of the last run: kernels with their cells, and grids
        self.spread(processors=4, warps=2)
        emulated_run, launch = cuda_emulator.Emulated.run, decoders.launch

        def run(kernels, kernel, *arguments, **how):
            emulated_run(kernels, kernel, *arguments, **how | {"seed": self.seed, "without": self.without.get(kernel)})

        def look(source, kernel, grid, *arguments, **how):
            self.launched.append(((kernel, *how["macros"]), grid))
            launch(source, kernel, grid, *arguments, **how)

        monkeypatch.setattr(cuda_emulator.Emulated, "run", run)
        monkeypatch.setattr(decoders, "launch", look)

    def spread(self, processors, warps):
        self.monkeypatch.setitem(self.attributes, "MultiProcessorCount", processors)
        self.monkeypatch.setattr(decoders, "WARPS", warps)

    def allow(self, memory):
        self.monkeypatch.setitem(self.attributes, "MaxSharedMemoryPerBlockOptin", memory)

    def run(self, cell, inputs, dys, whole=True, dtype=np.float32, **static):
        """Values and gradients in float32, and how many launches they took; of cotangents in that dtype."""
        self.launched.clear()
        given = on_device(self.cupy, inputs)
        dys = [self.cupy.asarray(dy, dtype) for dy in dys]
        with use_whole_sequences(whole):
            with counting() as counts:
                found = run(cell, given, dys, **static)
            assert counts.syncs == 0
        return [x.get() for x in found], counts.launches


@pytest.fixture
def device(monkeypatch):
    with strict_cupy() as cupy:
        yield Device(monkeypatch, cupy)


@pytest.mark.parametrize("sizes", SIZES)
@every_score
@every_feed
@every_cell
def test_values_and_gradients_under_many_schedules(device, cell, feed, score, sizes):
    inputs, dys = example(cell, feed, sizes, score, masked=sizes[0] > 1), cotangents(cell, feed, sizes)
    right, first = run(cell, inputs.values(), dys), None
    for device.seed in range(6 if sizes == SIZES[0] else 1):
        device.spread(processors=4, warps=1 + device.seed % 3)
        found, _ = device.run(cell, inputs, dys)
        assert distance(found, right) < 1e-5 / 3
        assert [kernel for kernel, _ in device.launched] == there_and_back(cell)
        first = first or found
        assert all((x == y).all() for x, y in zip(found, first, strict=True))  # no order of events changes a bit


@every_cell
def test_however_the_blocks_are_spread(device, cell):
    """All in one; as many groups as tiles; or one group, for which each block has two tiles and waits for others."""
    inputs, dys = example(cell, "output", SIZES[2], "additive"), cotangents(cell, "output", SIZES[2])
    right = run(cell, inputs.values(), dys)
    four_rows = cell != "rnn"
    for processors, memory, grids in (
        (1, 10**5, [(1, 1), (1, 1)]),
        (9, 10**5, [(2, 4 if four_rows else 2), (2, 2)]),
        (3, 2300 if four_rows else 1100, [(1, 3 if four_rows else 2), (1, 2)]),
    ):
        device.spread(processors, warps=2)
        device.allow(memory)
        found, _ = device.run(cell, inputs, dys)
        assert distance(found, right) < 1e-5 / 3
        assert [grid for _, grid in device.launched] == grids


@every_cell
def test_a_group_of_more_blocks_than_a_tile_has_columns(device, cell):
    """Shares out the columns of both its tiles among all of them, and some have none."""
    sizes = (2, 3, 2, 4, 3, 5, 10)
    inputs, dys = example(cell, "output", sizes, "additive, h as it is"), cotangents(cell, "output", sizes)
    for blocks in (9, 11):
        spread = lambda *asked: ((1, blocks), plan_attending(*asked)[1])  # noqa: B023, E731
        device.monkeypatch.setattr(decoders, "plan_attending", spread)
        device.spread(processors=blocks, warps=2)
        found, _ = device.run(cell, inputs, dys)
        assert distance(found, run(cell, inputs.values(), dys)) < 1e-5 / 3


@pytest.mark.parametrize("which", ["", "_back"])
@every_cell
def test_every_synchronisation_is_needed(device, cell, which):
    """One left out at a time, some schedule shows it by wrong numbers.

    The marked lines are the same for every cell, but what stands between them is not, nor is how many rows there are.
    """
    sizes = (2, 7, 6, 3, 5, 4, 9)
    dys = cotangents(cell, "output", sizes)
    only = {
        "the query has come": "",
        "it is known what is asked of the context": "_back",
        "the look has been undone": "_back",
    }
    for statement, why in enumerate(emulated_kernels(cell).marked):
        if "NaN" in why or only.get(why, which) != which:
            continue  # the next test has the first
        score = "dot" if why == "the look has been undone" else "additive"  # where queries are asked in a tile
        inputs = example(cell, "output", sizes, score, masked=False)
        right = run(cell, inputs.values(), dys)
        device.without, device.seed = {f"attending{which}": statement}, 0
        while distance(device.run(cell, inputs, dys)[0], right) < 1e-3:
            device.seed += 1
            assert device.seed < 40, why


def emulated_kernels(cell):
    return cuda_emulator.emulated(source_of("attentive_decoder.cu"), options("float", sequences.CELLS[cell].macro))


@every_cell
def test_a_nan_ends_the_wait_of_nobody(device, cell):
    """Not even one with the bits of a word that has not come, for it is written in others. Were it not, all would wait
    until their patience ends, and then say so."""
    sizes, worst = SIZES[0], np.array([EMPTY], np.uint32).view(np.float32)[0]
    (statement,) = (k for k, why in enumerate(emulated_kernels(cell).marked) if "NaN" in why)
    for name in ("a_xs", "keys", "values", "dfeds"):
        inputs = {
            k: x if x is None else np.array(x, np.float32)
            for k, x in example(cell, "output", sizes, "additive", False).items()
        }
        dfeds, *dys = cotangents(cell, "output", sizes)
        inputs["dfeds"] = dfeds.astype(np.float32)
        inputs[name][..., 0, :] = worst
        dys, there = [inputs.pop("dfeds"), *dys], name != "dfeds"
        device.without = {}
        feds, *_, da_xs = device.run(cell, inputs, dys)[0][: 5 + CELLS[cell][2]]
        assert np.isnan(feds).any() == there and np.isnan(da_xs).any()
        if (cell, name) in (("lstm", "values"), ("gru", "dfeds")):
            device.without = {f"attending{'' if there else '_back'}": statement}
            with pytest.raises(StalledError, match="waited in vain"):
                device.run(cell, inputs, dys)


def test_every_wait_is_marked():
    """So that no synchronisation escapes the test that leaves them out."""
    lines = source_of("attentive_decoder.cu").splitlines()
    waits = [line for line in lines if re.search(r"__sync|received\(|NOT_A_NUMBER;", line) and "return" not in line]
    waits = [line for line in waits if not line.startswith("__device__")]
    assert len(waits) == 10 and all("// sync: " in line for line in waits)


# --- in the rule ------------------------------------------------------------------------------------------------------


@every_feed
@every_cell
def test_however_long_it_is_it_takes_two_launches(device, cell, feed):
    """And as many as ever for what is done once: copies, sums over time, masks."""
    costs = {}
    for T in (3, 3, 6):  # what comes first on a device makes the word in which kernels say that they gave up
        sizes = (T, *SIZES[0][1:])
        inputs, dys = example(cell, feed, sizes), cotangents(cell, feed, sizes)
        costs[T] = [device.run(cell, inputs, dys, whole)[1] for whole in (True, False)]
    assert costs[3][0] == costs[6][0] < 40
    assert costs[6][1] - costs[3][1] > 3 * 20


def test_where_nothing_is_saved(device):
    for cell in CELLS:
        inputs = example(cell, "output", SIZES[0])
        right, given = attentive(CELLS[cell][0])(*inputs.values(), scale=0.7)[0], on_device(device.cupy, inputs)
        with use_whole_sequences():
            ys, pullback = attentive(CELLS[cell][0])(*given, scale=0.7, wanted=(False,) * len(given))
        assert distance([y.get() for y in ys], right) < 1e-5 / 3
        assert set(pullback(*ys)) == {None}
        assert len(device.launched) == 1 and not device.launched.clear()


@every_cell
def test_the_way_back_twice(device, cell):
    """Gives the same bits, and has written into nothing that it was given."""
    inputs, dys = example(cell, "output", SIZES[0], "additive"), cotangents(cell, "output", SIZES[0])
    dys, before = [device.cupy.asarray(dy, np.float32) for dy in dys], [dy.astype(np.float32) for dy in dys]
    with use_whole_sequences():
        _, pullback = attentive(CELLS[cell][0])(*on_device(device.cupy, inputs))
        first, second = ([dx.get() for dx in pullback(*dys) if dx is not None] for _ in range(2))
    assert len(device.launched) == 3
    assert all((x == y).all() for x, y in zip(first, second, strict=True))
    assert all((dy.get() == x).all() for dy, x in zip(dys, before, strict=True))


@every_feed
@every_cell
def test_back_by_steps_from_what_a_launch_has_kept(device, cell, feed):
    """If the way back does not fit, and said so, or if it is asked for in another precision."""
    score = "additive" if feed == "context" else "dot"
    inputs, dys = example(cell, feed, SIZES[0], score), cotangents(cell, feed, SIZES[0])
    right = run(cell, inputs.values(), dys)
    found, _ = device.run(cell, inputs, dys, dtype=np.float64)
    assert distance(found, right) < 1e-5 / 3 and len(device.launched) == 1
    if cell == "rnn":
        return  # its way back takes less than its way there
    device.allow(1300)
    K, A = (4, 7) if feed == "context" else (3, 5)
    told = f"no attending_back of {cell} fits H = 5, K = {K}, F = 4, A = {A}, S = 6 on this device"
    with pytest.warns(UserWarning, match=told):
        found, _ = device.run(cell, inputs, dys)
    assert distance(found, right) < 1e-5 / 3 and len(device.launched) == 1


def without_a_kernel():
    """Steps and inputs that no kernel has, and what is said to the step."""
    draw = np.random.default_rng(2).standard_normal
    lstm, gru, rnn = (example(cell, "output", SIZES[0]) for cell in CELLS)
    H, B = lstm["h_0"].shape
    yield rules.lstm_step, lstm | {"W_hr": draw((H, H))}, {}
    yield rules.lstm_step, lstm | {"W_hr": None, "peepholes": draw((3, H))}, {}
    yield rules.gru_step, {k: x for k, x in gru.items() if k != "b_hn"}, {"reset_after": False}
    yield rules.rnn_step, rnn, {"nonlinearity": "relu"}
    keeps = np.ones((2, lstm["a_xs"].shape[0], H, B))
    yield zoneout(rules.lstm_step), {"a_xs": lstm.pop("a_xs"), "keep_h": keeps[0], "keep_c": keeps[1], **lstm}, {}


@pytest.mark.parametrize(("step", "inputs", "static"), list(without_a_kernel()))
def test_what_no_kernel_does_is_done_step_by_step(device, step, inputs, static):
    right = attentive(step)(*inputs.values(), scale=0.7, **static)[0]
    given = [
        x if x is None else device.cupy.asarray(x, bool if x.dtype == bool else np.float32) for x in inputs.values()
    ]
    with use_whole_sequences():
        ys, _ = attentive(step)(*given, scale=0.7, **static)
    assert distance([y.get() for y in ys], right) < 1e-5 and not device.launched


def test_so_are_float64_and_decoders_without_a_step_a_column_or_something_to_find(device):
    for T, F, B, dtype in ((3, 2, 4, np.float64), (0, 2, 4, np.float32), (3, 2, 0, np.float32), (3, 0, 4, np.float32)):
        inputs = example("gru", "output", (T, 3, 2, F, 3, 5, B), masked=False)
        given = [x if x is None else device.cupy.asarray(x, dtype) for x in inputs.values()]
        with use_whole_sequences():
            (feds, *_), _ = attentive(rules.gru_step)(*given)
        assert feds.dtype == dtype and feds.shape == (T, 2, B) and not device.launched


@pytest.mark.parametrize("attention", ["dot", "general", "scaled_dot", "additive"])
@every_cell
def test_the_layer_asks_for_it(device, cell, attention):
    random, found = np.random.default_rng(0), []
    x, memory, weigh = (random.standard_normal(shape) for shape in ((4, 3, 2), (5, 3, 6), (4, 3, 5)))
    for backend, dtype in (("numpy", "float64"), ("cupy", "float32")):
        with use_backend(backend), use_whole_sequences():
            decoder = nn.AttentiveDecoder(2, 6, 6, cell, attention, "output", dtype=dtype, seed=0)
            outs, weights = decoder(asarray(x.astype(dtype)), asarray(memory.astype(dtype)), lengths=[5, 2, 4])
            ((outs * outs).sum() + (weights * asarray(weigh.astype(dtype))).sum()).backward()
            arrays = [outs.array, weights.array, *(p.grad for p in decoder.parameters())]
            found.append([a if backend == "numpy" else a.get() for a in arrays])
    assert distance(found[1], found[0]) < 1e-5
    assert [kernel for kernel, _ in device.launched] == there_and_back(cell)


def test_plans_fill_the_device_and_no_more():
    for sizes in ((1, 1, 1, 1, 1, 1, 1), (9, 100, 100, 200, 50, 30, 30), (50, 256, 256, 512, 256, 50, 64)):
        for cell, back, has_query, has_out in product(CELLS, *[(False, True)] * 3):
            (groups, slices), shared = plan_attending(cell, back, sizes, has_query, has_out, 132, 232448)
            assert 1 <= groups * slices <= 132 and groups <= -(-sizes[-1] // 8) and shared <= 232448
    assert plan_attending("rnn", False, (50, 4096, 4096, 4096, 4096, 50, 1), False, True, 132, 232448) is None
