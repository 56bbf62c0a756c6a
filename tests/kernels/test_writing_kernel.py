"""Whole texts in one launch: under many schedules the text that the steps write, and what is asked of a device."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from minirnn import CharLM, Vocabulary, generate, stream_characters
from minirnn.kernels import sequences, writing
from minirnn.kernels.launching import options, source_of
from minirnn.kernels.sequences import StalledError, use_whole_sequences
from minirnn.kernels.writing import plan
from minirnn.nn import GRU, LSTM, RNN, Linear
from minirnn.testing import counting, cuda_emulator, strict_cupy
from minirnn.testing.cuda_emulator import EmulationError, emulated

pytestmark = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())

CHARACTERS = "\nabcdef"
SAMPLED = {"temperature": 0.9, "top_k": 5, "top_p": 0.9}
GREEDY = {"temperature": 0.0}
RAGGED = ["abc", "f", "edcba", "bb", "", "ca", "dd", "a", "ef"]  # two tiles of columns


class Device:
    """The pretended device, with few processors, and a schedule of its own for every launch."""

    def __init__(self):
        self.seed, self.without, self.launched, self.mailbox = 0, None, 0, None

    def run(self, kernel, grid, block, given, *, shared):
        assert kernel == "write_texts"
        self.launched += 1
        self.grid, self.mailbox = grid, given[1]
        kernels_here().run(kernel, grid, block, given, shared=shared, seed=self.seed, without=self.without)


def kernels_here():
    return emulated(source_of("generation.cu"), options("float"))


@pytest.fixture
def device(monkeypatch):
    made = Device()
    with strict_cupy() as cupy:
        monkeypatch.setitem(cupy.cuda.Device.attributes, "MultiProcessorCount", 6)
        monkeypatch.setattr(writing, "WARPS", 2)
        monkeypatch.setattr(sys.modules[cupy.RawKernel.__module__], "emulated", lambda code, options: made)
        made.cupy = cupy
        yield made


def model(cell="lstm", layers=2, H=5, dtype="float32", characters=CHARACTERS, rnn=None):
    """Weights four times as large as at first, for an untrained model hardly cares what came before."""
    lm = CharLM(Vocabulary(characters), 4, H, layers, cell, seed=3, dtype=dtype)
    lm.rnn = lm.rnn if rnn is None else rnn(dtype)
    lm.load_state_dict({name: 4 * array for name, array in lm.state_dict().items()})
    return lm


def on_device(lm, prompt, length, **settings):
    """The text that the device writes at once."""
    with use_whole_sequences():
        return generate(lm.to("cupy"), prompt, length, **settings)


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED, {"top_p": 0.7}, {"top_k": 2}], ids=str)
@pytest.mark.parametrize(("cell", "layers", "H"), [("lstm", 2, 5), ("gru", 2, 9), ("rnn", 3, 10), ("lstm", 1, 1)])
def test_the_text_is_that_of_the_steps(device, cell, layers, H, settings):
    expected = generate(model(cell, layers, H, "float64"), RAGGED, 5, **settings, seed=4)
    assert on_device(model(cell, layers, H), RAGGED, 5, **settings, seed=4) == expected
    assert device.launched == 1 and device.grid[0] == 2


def test_no_order_of_events_changes_a_text(device):
    expected = generate(model(dtype="float64"), RAGGED, 6, **SAMPLED)
    for device.seed in range(12):
        assert on_device(model(), RAGGED, 6, **SAMPLED) == expected
    assert device.grid == (2, 3)
