"""The stepper: scores of ``lm()`` for every cell, together and alone, with no memory and no waiting per character."""

import tracemalloc

import numpy as np
import pytest

from minirnn import CharLM, generate
from minirnn.arrays import to_numpy
from minirnn.decoding import stepping
from minirnn.decoding.stepping import stepper
from minirnn.models.char_lm import CELLS
from minirnn.nn import GRU, LSTM, RNN, Linear
from minirnn.rules.combinators import truncate
from minirnn.testing import counting, strict_cupy
from minirnn.text import Vocabulary

V, E, H = 7, 3, 4
RAGGED = [[1, 2, 3], [4], [6, 5, 0, 2, 1]]
EXACT = {"float64": 1e-12, "float32": 1e-5}
every_cell = pytest.mark.parametrize("cell", CELLS)


def model(rnn=None, width=H, **options):
    """Weights twice as large as at first, so that the states matter; with ``rnn`` in the place of the model's own."""
    lm = CharLM(**{"vocab_size": V, "embedding_size": E, "hidden_size": H, "dtype": "float64", "seed": 5, **options})
    if rnn is not None:
        lm.rnn, lm.head = rnn, Linear(width, V, dtype=rnn.weight_hh_l0.dtype, seed=5)
    lm.load_state_dict({name: 2 * array for name, array in lm.state_dict().items()})
    return lm


def from_the_whole_texts(lm, texts):
    """The scores after the texts, ``(V, B)``, each in one go from its first character."""
    with lm.evaluating():
        return np.stack([lm(np.array([ids]))[0].numpy()[0, -1] for ids in texts], axis=1)


def assert_steps_are_calls(lm, prompts, steps=4, planned=None):
    """Scores after the prompts and after each of ``steps`` further characters are those of ``lm()``."""
    texts, fed = [list(ids) for ids in prompts], np.random.default_rng(1).integers(0, V, (steps, len(prompts)))
    scores, step = stepper(lm, [np.array(ids) for ids in prompts], steps if planned is None else planned)
    tolerance = EXACT[str(lm.embedding.weight.dtype)]
    for t in range(steps + 1):
        expected = from_the_whole_texts(lm, texts)
        assert scores.dtype == expected.dtype and scores.shape == (V, len(prompts))
        np.testing.assert_allclose(to_numpy(scores), expected, rtol=tolerance, atol=tolerance)
        if t < steps:
            scores = step(fed[t].tolist())
            for ids, k in zip(texts, fed[t].tolist(), strict=True):
                ids.append(k)


@every_cell
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("prompts", [[[1, 2, 3]], RAGGED, [[1, 2], [3, 4]]], ids=["one", "ragged", "even"])
@pytest.mark.parametrize("planned", [0, 100], ids=["few steps", "many steps"])
def test_scores_are_those_of_the_model(backend, cell, num_layers, prompts, planned):
    lm = model(cell=cell, num_layers=num_layers)
    assert stepping.is_plain(lm)
    assert_steps_are_calls(lm, prompts, planned=planned)


@every_cell
@pytest.mark.parametrize(
    "options", [{"dtype": "float32"}, {"tie_weights": True, "embedding_size": H}, {"dropout": 0.6}]
)
def test_scores_of_other_models(backend, cell, options):
    lm = model(cell=cell, num_layers=2, **options)
    assert stepping.is_plain(lm)
    assert_steps_are_calls(lm, RAGGED)
    assert_steps_are_calls(lm, RAGGED[:1])


@pytest.mark.parametrize(
    "rnn",
    [
        RNN(E, H, 2, nonlinearity="relu", dtype="float64"),
        GRU(E, H, 2, reset_after=False, dtype="float64"),
        *(cell(E, H, 2, bias=False, dtype="float64") for cell in CELLS.values()),
        LSTM(E, H, learned_state=True, dtype="float64"),
    ],
    ids=["relu", "reset before", "rnn no bias", "lstm no bias", "gru no bias", "learned state"],
)
def test_cells_that_a_model_was_given(rnn):
    lm = model(rnn)
    if rnn.learned_state:
        lm.rnn.initial_h.data, lm.rnn.initial_c.data = np.full((1, H), 0.7), np.full((1, H), -0.4)
    assert stepping.is_plain(lm)
    for prompts in RAGGED, RAGGED[:1]:
        assert_steps_are_calls(lm, prompts)


class Hotter(CharLM):
    def forward(self, ids, state=None):
        logits, state = super().forward(ids, state)
        return logits * 3.0, state


def hotter(lm):
    plain = lm.forward
    lm.forward = lambda ids, state=None: (lambda logits, state: (logits * 3.0, state))(*plain(ids, state))
    return lm


@pytest.mark.parametrize(
    "lm",
    [
        model(LSTM(E, H, peepholes=True, dtype="float64")),
        model(LSTM(E, H, 2, proj_size=2, dtype="float64"), width=2),
        model(GRU(E, H, layer_norm=True, dtype="float64")),
        model(RNN(E, H, zoneout=0.3, dtype="float64")),
        model(RNN(E, H, 3, residual=True, dtype="float64")),
        model(LSTM(E, H, through_time=lambda rule: truncate(rule, 2), dtype="float64")),
        Hotter(V, E, H, dtype="float64"),
        hotter(model()),
    ],
    ids=["peepholes", "projection", "layer norm", "zoneout", "residual", "through time", "subclass", "assigned"],
)
def test_what_the_stepper_does_not_know_is_called(lm):
    assert not stepping.is_plain(lm)
    for prompts in RAGGED, RAGGED[:1]:
        assert_steps_are_calls(lm, prompts)


def test_a_model_that_reads_both_ways_is_called_too():
    lm = model(RNN(E, H, bidirectional=True, dtype="float64"), width=2 * H)
    prompt = np.array([1, 2])
    scores, step = stepper(lm, [prompt], 3)
    logits, state = lm(prompt[None])
    assert np.array_equal(scores[:, 0], logits.numpy()[0, -1])
    assert np.array_equal(step([3])[:, 0], lm(np.array([[3]]), state)[0].numpy()[0, -1])


@every_cell
def test_products_in_blocks_of_rows_are_the_same(monkeypatch, cell):
    monkeypatch.setattr("minirnn.kernels.numpy.SMALL", 30)
    monkeypatch.setattr("minirnn.kernels.numpy.FEWEST", 2)
    monkeypatch.setattr("minirnn.kernels.numpy.blocks_are_quicker", lambda: True)
    assert_steps_are_calls(model(cell=cell, num_layers=2), RAGGED)


@every_cell
def test_steppers_of_one_model_do_not_disturb_each_other(cell):
    lm, prompt = model(cell=cell, num_layers=2), [np.array([1, 2])]
    alone = [step([k]).copy() for _, step in [stepper(lm, prompt, 9)] for k in (3, 4, 5)]
    (_, first), (_, second) = stepper(lm, prompt, 9), stepper(lm, prompt, 9)
    for k, expected in zip((3, 4, 5), alone, strict=True):
        assert np.array_equal(first([k]), expected)
        second([6 - k])


@every_cell
@pytest.mark.parametrize("B", [1, 2])
@pytest.mark.parametrize("planned", [0, 100])
def test_a_stepper_keeps_the_weights_it_was_made_with(cell, B, planned):
    prompts = [np.array([1, 2])] * B
    lm, untouched = model(cell=cell, num_layers=2), model(cell=cell, num_layers=2)
    (_, step), (_, expected) = stepper(lm, prompts, planned), stepper(untouched, prompts, planned)
    for parameter in lm.parameters():
        parameter.array *= -1  # as an optimizer does: in place
    assert all(np.array_equal(step([k] * B), expected([k] * B)) for k in (3, 0, 6))
    assert not np.allclose(stepper(lm, prompts, planned)[0], stepper(untouched, prompts, planned)[0])


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_draws_stay(training):
    lm = model(dropout=0.5, num_layers=2).train(training)
    lm.seek(7)
    _, step = stepper(lm, [np.array([1, 2])], 9)
    step([3])
    assert {(m.training, m.draws) for _, m in lm.named_modules()} == {(training, 7)}


@every_cell
@pytest.mark.parametrize("B", [1, 2])
def test_a_step_makes_no_array_but_the_columns_looked_up(cell, B):
    """Those of several texts pass through rows of the table: ``B`` times the gates, given back at once."""
    lm = CharLM(V, 8, 512, 2, cell=cell)  # the smallest array of a step, but for the scores, has 2048 bytes
    _, step = stepper(lm, [np.array([1])] * B, 9)
    tracemalloc.start()
    try:
        for k in range(50):  # the interpreter's own memory settles
            step([k % V] * B)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for k in range(50):
            step([k % V] * B)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rows = 0 if B == 1 else B * lm.rnn.weight_hh_l0.shape[0] * 4 + 4096  # and what NumPy needs to gather them
    assert after - before < 2000 and peak - before < rows + 2000  # less than one array kept, or made in passing


@every_cell
def test_on_a_device_only_the_scores_travel(cell):
    with strict_cupy(), counting() as counts:
        lm = CharLM(Vocabulary("abcdefg"), E, H, 2, cell=cell).to("cupy")
        for prompts in RAGGED, RAGGED[:1]:
            counts.reset()
            scores, step = stepper(lm, [np.array(ids) for ids in prompts], 9)
            step([1] * len(prompts))
            assert (counts.syncs, counts.device_to_host, counts.float64_results) == (0, 0, 0)
            assert type(scores).__module__ == "cupy"
        counts.reset()
        generate(lm, "abc", 10)
        assert counts.syncs == counts.device_to_host == 10
        counts.reset()
        generate(lm, ["abc", "d"], 10)
        assert counts.syncs == counts.device_to_host == 10
