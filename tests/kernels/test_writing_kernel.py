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
        of_kernels = sys.modules[cupy.RawKernel.__module__]
        ours = lambda code, options: made if "write_texts" in code else emulated(code, options)  # noqa: E731
        monkeypatch.setattr(of_kernels, "emulated", ours)
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


@pytest.mark.parametrize("settings", [GREEDY, {}, {"top_k": 3}, {"top_p": 0.5}, {"top_k": 30, "top_p": 0.8}], ids=str)
def test_choices_are_those_of_the_sampler_among_equals_too(device, settings):
    """With the same scores, many of them equal, and more than a warp has lanes."""
    characters = "".join(map(chr, range(97, 97 + 70)))
    lm = model(layers=1, H=1, characters=characters)
    bias = np.random.default_rng(0).integers(-1, 3, 70)
    lm.load_state_dict(lm.state_dict() | {"head.weight": np.zeros((70, 1)), "head.bias": bias})
    expected = generate(lm, list("abc"), 40, **settings)
    assert on_device(lm, list("abc"), 40, **settings) == expected
    assert device.launched == 1


def test_no_order_of_events_changes_a_bit(device):
    expected, first = generate(model(dtype="float64"), RAGGED, 6, **SAMPLED), None
    for device.seed in range(12):
        assert on_device(model(), RAGGED, 6, **SAMPLED) == expected
        first = device.mailbox.copy() if first is None else first  # the states and scores of the last two steps
        assert (device.mailbox == first).all()
    assert device.grid == (2, 3)


def test_every_synchronisation_is_needed(device):
    """One left out at a time, some schedule shows it: by other numbers, or because somebody waits in vain."""
    prompts = [text + "abc" for text in RAGGED]  # of a single layer in silent steps: then a block can be a step ahead
    write = lambda: on_device(model(layers=1), prompts, 4, **SAMPLED)  # noqa: E731
    assert write() == generate(model(layers=1, dtype="float64"), prompts, 4, **SAMPLED)
    right = device.mailbox.copy()

    def shows(seed):
        device.seed = seed
        try:
            write()
        except (StalledError, EmulationError):
            return True
        return (device.mailbox != right).any()

    assert len(kernels_here().marked) == 6
    for device.without, why in enumerate(kernels_here().marked):
        assert any(map(shows, range(40))), why


def test_every_wait_is_marked():
    """So that no synchronisation escapes the test that leaves them out."""
    lines = source_of("generation.cu").splitlines()
    waits = [line for line in lines if re.search(r"__sync|received\(|slot = s", line)]
    waits = [line for line in waits if not line.startswith("__device__")]
    assert len(waits) == 6 and all("// sync: " in line for line in waits)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_states_and_scores_are_those_of_the_model_in_float64(device, cell):
    """Of the last step; they are found in the mailbox."""
    prompts = ["abc", "fed", "aab"]
    texts = on_device(model(cell, H=33), prompts, 6, temperature=0)
    exact = model(cell, H=33, dtype="float64")
    logits, state = exact(np.array([exact.vocabulary.encode(text)[:-1] for text in texts]))
    h = state[0] if isinstance(state, tuple) else state
    expected = [*h.numpy().swapaxes(1, 2), logits.numpy()[:, -1].T]  # of each layer, and the scores
    step = 3 + 6 - 1
    words = device.mailbox[(step - 1) % 2]
    assert (words >> 32 == step).all()
    found = (words & 0xFFFFFFFF).astype(np.uint32).view(np.float32)
    for right, rows in zip(expected, np.split(found, [33, 66]), strict=True):
        assert np.linalg.norm(rows - right) < 1e-5 / 3 * np.linalg.norm(right)


OTHERS = {
    "relu": lambda dtype: RNN(4, 5, 2, nonlinearity="relu", dtype=dtype, seed=0),
    "rnn without biases": lambda dtype: RNN(4, 5, 2, bias=False, dtype=dtype, seed=0),
    "gru without biases": lambda dtype: GRU(4, 5, 2, bias=False, dtype=dtype, seed=0),
    "lstm without biases": lambda dtype: LSTM(4, 5, 2, bias=False, dtype=dtype, seed=0),
    "learned state": lambda dtype: LSTM(4, 5, 2, learned_state=True, dtype=dtype, seed=0),
}


@pytest.mark.parametrize("rnn", OTHERS.values(), ids=OTHERS)
def test_cells_that_a_model_was_given(device, rnn):
    def given(dtype):
        lm = model(rnn=rnn, dtype=dtype)
        if lm.rnn.learned_state:
            lm.rnn.initial_h.data, lm.rnn.initial_c.data = np.full((2, 5), 0.7, dtype), np.full((2, 5), -0.4, dtype)
        lm.head = Linear(5, 7, bias=False, dtype=dtype, seed=5)
        return lm

    expected = generate(given("float64"), RAGGED[:3], 6, seed=1)
    assert on_device(given("float32"), RAGGED[:3], 6, seed=1) == expected
    assert device.launched == 1


def test_weights_that_do_not_fit_beside_the_states_are_read_where_they_are(device, monkeypatch):
    monkeypatch.setitem(device.cupy.cuda.Device.attributes, "MaxSharedMemoryPerBlockOptin", 1500)
    assert not plan("lstm", 2, 5, 7, 9, 6, 1500).keeps
    assert on_device(model(), RAGGED, 6, **SAMPLED) == generate(model(dtype="float64"), RAGGED, 6, **SAMPLED)
    assert device.launched == 1


def test_a_model_that_is_not_finite_ends_and_the_error_is_that_of_the_steps(device):
    """Nobody waits for a NaN, whatever its bits; and what is infinite and comes from a weight alone is found too."""
    bits = np.array([0xFFFFFFFF], np.uint32).view(np.float32)[0]
    for name, value in (("rnn.weight_hh_l0", np.nan), ("rnn.weight_ih_l1", bits), ("head.bias", np.inf)):
        lm = model()
        lm.load_state_dict(lm.state_dict() | {name: np.full_like(lm.state_dict()[name], value)})
        for settings in (GREEDY, SAMPLED):
            device.launched = 0
            with pytest.raises(ValueError, match=r"logits must be finite, got (nan|inf) at"):
                on_device(lm, ["abc", "de"], 4, **settings)
            assert device.launched == 1
            assert int(sequences.stalled_word()[0]) == 0
    lm = model(rnn=OTHERS["relu"])
    lm.load_state_dict(lm.state_dict() | {"rnn.weight_hh_l0": np.full((5, 5), np.nan)})
    with pytest.raises(ValueError, match="logits must be finite, got nan at"):
        on_device(lm, "abc", 4)


def test_who_waited_in_vain_is_reported(device):
    device.without = kernels_here().marked.index("nothing is overwritten that others still wait for")
    with pytest.raises(StalledError, match="waited in vain"), use_whole_sequences():
        for device.seed in range(40):
            generate(model(layers=1).to("cupy"), ["abcabc"], 2)


# --- what it asks of a device, and what it leaves to the steps --------------------------------------------------------


def test_a_text_is_a_fixed_number_of_launches_and_one_wait(device):
    lm, costs = model().to("cupy"), []
    for prompt, length in (("ab", 2), ("abcdef", 12)):
        with use_whole_sequences(), counting() as counts:
            generate(lm, prompt, length)
        costs.append((counts.launches, counts.syncs, counts.device_to_host))
    assert costs[0] == costs[1] and costs[0][1:] == (1, 1)
    assert costs[0][0] <= 20  # one writes, the others lay the weights out
    assert device.launched == 2


def test_off_until_it_is_asked_for(device):
    lm = model().to("cupy")
    generate(lm, "ab", 3)
    assert device.launched == 0


def test_characters_that_are_shown_as_they_come_are_steps(device):
    lm, settings = model().to("cupy"), {"seed": 2, "top_k": 3}
    with use_whole_sequences():
        assert "ab" + "".join(stream_characters(lm, "ab", 9, **settings)) == generate(lm, "ab", 9, **settings)
    assert device.launched == 1  # that of generate


def test_what_the_kernel_does_not_do_is_done_by_steps(device):
    for lm in (
        model(dtype="float64"),
        model(rnn=lambda dtype: GRU(4, 5, reset_after=False, dtype=dtype)),
        model(rnn=lambda dtype: LSTM(4, 5, peepholes=True, dtype=dtype)),
    ):
        with use_whole_sequences(False):
            expected = generate(lm.to("cupy"), ["ab", "c"], 6, seed=3)
        assert on_device(lm, ["ab", "c"], 6, seed=3) == expected
    assert device.launched == 0
    assert on_device(model(), [], 3) == [] and on_device(model(), ["ab"], 0) == ["ab"]


def test_a_model_that_fits_no_device_falls_back_with_a_word(device, monkeypatch):
    monkeypatch.setitem(device.cupy.cuda.Device.attributes, "MaxSharedMemoryPerBlockOptin", 300)
    lm = model(rnn=lambda dtype: RNN(4, 5, nonlinearity="relu", dtype=dtype))
    with pytest.warns(UserWarning, match="no kernel fits 1 layers of hidden size 5 and 7 characters"):
        assert on_device(lm, "ab", 6) == generate(lm.to("numpy"), "ab", 6)
    assert device.launched == 0


def test_unseen_characters_and_bad_settings_are_refused_as_before(device):
    for arguments, message in (({"prompt": ["a", "x"]}, "prompt 1: text has 'x'"), ({"top_p": 0.0}, "top_p must be")):
        with pytest.raises(ValueError, match=message):
            on_device(model(), **{"prompt": "a", "length": 3, **arguments})
    assert device.launched == 0


def test_plans_fill_the_device_and_no_more():
    sizes = (1, 1, 1, 1, 1), (2, 100, 65, 30, 132), (3, 512, 200, 64, 132), (2, 1024, 9, 300, 108)
    for cell in writing.CELLS:
        for L, H, V, B, processors in sizes:
            (groups, slices), quads, out_quads, shared, _ = plan(cell, L, H, V, B, processors, 232448)
            in_layer = len(writing.quads_of(cell, H))
            assert groups * slices <= processors and shared <= 232448
            assert (slices - 1) * quads < in_layer <= slices * quads  # all units, and no block without one
            assert 4 * slices * out_quads >= V
