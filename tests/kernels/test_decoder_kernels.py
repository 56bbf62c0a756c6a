"""The kernels of the decoder that attends, under an emulator and many schedules, against the rule in float64."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minirnn import rules
from minirnn.kernels import decoders, sequences
from minirnn.kernels.decoders import plan_attending
from minirnn.kernels.launching import options, source_of
from minirnn.kernels.sequences import EMPTY, use_whole_sequences
from minirnn.rules.combinators import attentive
from minirnn.testing import counting, cuda_emulator, strict_cupy
from minirnn.testing.cuda_emulator import emulated
from minirnn.testing.strict_cupy import kernels as pretended

pytestmark = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())

CELLS = {"lstm": (rules.lstm_step, 4, 2), "gru": (rules.gru_step, 3, 1)}  # step, blocks of rows, states
SIZES = [  # T, H, K, F, S, B: odd ones, one of each, more columns than a tile
    (3, 5, 3, 4, 6, 3),
    (1, 1, 1, 1, 1, 1),
    (2, 3, 6, 2, 4, 10),
]
FEEDS = ("output", "context")
every_cell = pytest.mark.parametrize("cell", CELLS)
every_feed = pytest.mark.parametrize("feed", FEEDS)


def example(cell, feed, sizes, masked=True, seed=0):
    """What the rule is given; of the mask one column has no real token, the others one more each."""
    (T, H, K, F, S, B), (_, blocks, states) = sizes, CELLS[cell]
    random, K = np.random.default_rng(seed), F if feed == "context" else K
    draw = lambda *shape: random.standard_normal(shape)  # noqa: E731
    inputs = {"a_xs": draw(T, blocks * H, B), "fed_0": draw(K, B), "h_0": draw(H, B)}
    inputs |= {"c_0": draw(H, B)} if states == 2 else {}
    inputs |= {"keys": draw(S, H, B), "values": draw(S, F, B)}
    inputs |= {"mask": np.arange(S)[:, None] < np.arange(1, B + 1) % (S + 1) if masked else None}
    inputs |= {"W_fed": draw(blocks * H, K) / K**0.5, "W_query": None, "v": None}
    inputs |= {"W_out": None if feed == "context" else draw(K, F + H) / (F + H) ** 0.5}
    inputs |= {"W_hh": draw(blocks * H, H) / H**0.5} | ({"b_hn": draw(H)} if cell == "gru" else {})
    return inputs


def cotangents(cell, feed, sizes, seed=1):
    (T, H, K, F, S, B), random = sizes, np.random.default_rng(seed)
    K = F if feed == "context" else K
    shapes = [(T, K, B), (T, H, B), (T, S, B), (K, B), *[(H, B)] * CELLS[cell][2]]
    return [random.standard_normal(shape) for shape in shapes]


def run(cell, inputs, dys, **static):
    """Values and gradients, where there are any, as the rule finds them; its arrays are those it is given."""
    ys, pullback = attentive(CELLS[cell][0])(*inputs.values(), scale=0.7, **static)
    return [x for x in (*ys, *pullback(*dys)) if x is not None]


def distance(found, right):
    """The largest relative error in norm; what is not finite is infinitely wrong."""
    errors = [np.linalg.norm(x - y) / (np.linalg.norm(y) or 1) for x, y in zip(found, right, strict=True)]
    return max(e if np.isfinite(e) else np.inf for e in errors)


class Device:
    """The device that is pretended, with few processors, so that there are several blocks, tiles and warps."""

    def __init__(self, monkeypatch, cupy):
        self.cupy, self.monkeypatch, self.seed, self.without = cupy, monkeypatch, 0, {}
        self.spread(4, 2)
        run_as_told = cuda_emulator.Emulated.run

        def run(emulated, kernel, *arguments, **options):
            options |= {"seed": self.seed, "without": self.without.get(kernel)}
            run_as_told(emulated, kernel, *arguments, **options)

        monkeypatch.setattr(cuda_emulator.Emulated, "run", run)

    def spread(self, processors, warps):
        self.monkeypatch.setitem(self.cupy.cuda.Device.attributes, "MultiProcessorCount", processors)
        self.monkeypatch.setattr(decoders, "WARPS", warps)

    def run(self, cell, inputs, dys, whole=True, **static):
        """Values and gradients in float32, and how many launches they took."""
        given = {
            k: x if x is None else self.cupy.asarray(x, bool if k == "mask" else np.float32) for k, x in inputs.items()
        }
        with use_whole_sequences(whole), counting() as counts:
            found = run(cell, given, [self.cupy.asarray(dy, np.float32) for dy in dys], **static)
            launches, syncs = counts.launches, counts.syncs
        assert syncs == counts.float64_results == 0
        return [x.get() for x in found], launches


@pytest.fixture
def device(monkeypatch):
    with strict_cupy() as cupy:
        yield Device(monkeypatch, cupy)


@pytest.mark.parametrize("sizes", SIZES)
@every_feed
@every_cell
def test_values_and_gradients_under_many_schedules(device, cell, feed, sizes):
    inputs, dys = example(cell, feed, sizes, masked=sizes[0] > 1), cotangents(cell, feed, sizes)
    right, first = run(cell, inputs, dys), None
    for device.seed in range(6 if sizes == SIZES[0] else 2):
        device.spread(5 - device.seed % 3, 1 + device.seed % 3)
        found, _ = device.run(cell, inputs, dys)
        assert distance(found, right) < 1e-5 / 3
    device.spread(4, 2)
    for device.seed in range(3):
        found, _ = device.run(cell, inputs, dys)
        first = first or found
        assert all((x == y).all() for x, y in zip(found, first, strict=True))  # no order of events changes a bit
