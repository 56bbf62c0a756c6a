"""Training with ``graph=True``: the same bits as without, in a few launches, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from test_pair_runs import stream_of, translator
from tiny_runs import bits, tiny_model, tiny_stream

from minirnn import SGD, Adam, AdamW, DataParallel, Trainer, no_grad
from minirnn.kernels.capturing import CaptureError
from minirnn.kernels.sequences import use_whole_sequences
from minirnn.nn import LSTM
from minirnn.testing import counting, cuda_emulator, on_backend
from minirnn.training.ranks import OneRank

STEPS = 13  # two epochs of five batches, and three more


def trained(graph, steps=STEPS, seq_len=5, make=None, log_every=1, **settings):
    """A run of some steps with a learning rate that changes, and what each of its steps cost: launches, waits."""
    stream = tiny_stream(seq_len=seq_len)
    of_layers = {name: settings.pop(name) for name in ("weight_drop", "locked_dropout") if name in settings}
    model = tiny_model(stream, **settings)
    if of_layers:
        model.rnn = LSTM(3, 4, 2, dropout=settings["dropout"], seed=0, **of_layers)
    schedule = lambda step: 1 / (1 + step)  # noqa: E731
    optimizer = (make or (lambda p: Adam(p, 0.05)))(model.parameters())
    trainer = Trainer(
        model, stream, optimizer=optimizer, clip_norm=0.01, schedule=schedule, log_every=log_every, graph=graph
    )
    costs = []
    for _ in range(steps):
        with counting() as counts:
            trainer.train_step()
        costs.append((counts.launches, counts.syncs))
        assert counts.float64_results == 0
    return trainer, costs


def everything(trainer):
    state = {name: array.tobytes() for name, array in trainer.arrays().items()}
    gradients = {p.name: p.grad.get().tobytes() for p in trainer.model.parameters()}
    return bits(trainer.model), state, gradients, trainer.history, trainer.books()


def with_decay(p):
    return AdamW(p, weight_decay=0.1)


def with_momentum(p):
    return SGD(p, 0.1, momentum=0.9, weight_decay=0.01)


@pytest.mark.parametrize(
    "settings",
    [
        *({"cell": cell} for cell in ("rnn", "lstm", "gru")),
        {"make": with_decay},
        {"make": with_momentum},
        {"seq_len": 3, "num_layers": 1},  # fewer ids than characters: looked up one by one
        {"tie_weights": True, "hidden_size": 3},
        {"dtype": "float64"},
        {"dropout": 0.4},
        {"dropout": 0.3, "weight_drop": 0.5, "locked_dropout": True},
    ],
    ids=lambda settings: ", ".join(f"{name} {getattr(value, '__name__', value)}" for name, value in settings.items()),
)
def test_a_run_has_the_same_bits_with_and_without(settings):
    with on_backend("strict_cupy"):
        eager, recorded = (everything(trained(graph, **settings)[0]) for graph in (False, True))
    assert eager == recorded


@pytest.mark.parametrize(("cell", "states"), [("lstm", 2), ("rnn", 1)])
def test_a_recorded_step_is_the_launch_of_its_graph_and_a_few_more_whatever_the_model(cell, states):
    with on_backend("strict_cupy"):
        costs = [trained(graph, log_every=50, num_layers=3, cell=cell)[1][2:5] for graph in (False, True)]
    assert min(launches for launches, _ in costs[0]) > 100
    # the graph, and what is kept of its outcome; every state comes in, and is kept; the batch and what the host counts
    assert costs[1] == [(2 + 2 * states + 4, 0)] * 3


def test_what_is_read_from_a_checkpoint_or_written_by_hand_is_seen():
    with on_backend("strict_cupy"):
        earlier, _ = trained(False, steps=2)
        runs = [trained(graph, steps=4)[0] for graph in (False, True)]
        for trainer in runs:
            trainer.resume(earlier.arrays(), earlier.books())
            trainer.model.load_state_dict({name: 0.5 * a for name, a in trainer.model.state_dict().items()})
            for _ in range(3):
                trainer.train_step()
            with no_grad():
                trainer.model.head.bias += 1
            trainer.train_step()
        assert everything(runs[0]) == everything(runs[1])


def test_settings_that_change_between_steps_hold_from_then_on():
    def run(graph):
        trainer, _ = trained(graph, steps=4, make=with_decay)
        trainer.clip_norm, trainer.optimizer.betas = 1e-3, (0.5, 0.9)
        trainer.train_step()
        trainer.train_step()
        trainer.optimizer.weight_decay, trainer.clip_norm = 0.5, None
        for _ in range(3):
            trainer.train_step()
        return everything(trainer)

    with on_backend("strict_cupy"):
        assert run(False) == run(True)


@pytest.mark.parametrize("clipping", [{}, {"clip_norm": None, "clip_value": 0.01}])  # in the recording, and after it
def test_a_parameter_may_be_frozen_and_set_free_between_steps(clipping):
    def run(graph):
        trainer, _ = trained(graph, steps=4)
        vars(trainer).update(clipping)
        weights = []
        for frozen in (True, False):
            trainer.model.embedding.weight.requires_grad = not frozen
            for _ in range(4):
                trainer.train_step()
            weights.append(trainer.model.embedding.weight.numpy().tobytes())
        assert weights[0] != weights[1]
        return everything(trainer), weights

    with on_backend("strict_cupy"):
        assert run(False) == run(True)


def test_a_step_counts_as_a_write_into_the_parameters():
    with on_backend("strict_cupy"):
        trainer, _ = trained(True, steps=4)
        loss, _ = trainer.model.loss(*trainer.stream.batch(0, 0))
        trainer.train_step()
        with pytest.raises(RuntimeError, match="was written into after the forward pass"):
            loss.backward()


def test_a_refused_step_is_told_of_in_the_same_words():
    def told(graph):
        trainer, _ = trained(graph, steps=3)
        embedding, kept = trainer.model.embedding.weight, trainer.model.embedding.weight.numpy()
        embedding.data = np.where(np.arange(3) == 1, np.nan, kept)
        with pytest.warns(RuntimeWarning) as seen:
            trainer.train_step()
        trainer.state = None
        embedding.data = kept
        trainer.train_step()
        return [str(w.message) for w in seen], everything(trainer)

    with on_backend("strict_cupy"):
        assert told(False) == told(True)


def test_what_a_step_has_left_is_still_there_after_the_next():
    with on_backend("strict_cupy"):
        trainer, _ = trained(True, steps=3)
        state = trainer.state
        before = [part.numpy() for part in state]
        trainer.train_step()
    assert all((part.numpy() == b).all() for part, b in zip(state, before, strict=True))
    assert all((part.numpy() != b).any() for part, b in zip(trainer.state, before, strict=True))


@pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())
def test_whole_sequences_are_recorded_too():
    with on_backend("strict_cupy"), use_whole_sequences():
        (eager, before), (recorded, after) = (trained(graph, steps=4, log_every=4) for graph in (False, True))
        assert before[2][0] > 50 and after[2] == (10, 0)
        assert everything(eager) == everything(recorded)


def test_what_cannot_be_recorded_is_refused():
    with on_backend("strict_cupy"):
        stream = tiny_stream()
        model = tiny_model(stream)
        model.rnn = LSTM(3, 4, 2, zoneout=0.2)
        with pytest.raises(CaptureError, match="'zoneout_h_l0' are drawn anew on the host"):
            Trainer(model, stream, graph=True).run(steps=3)
        for settings in ({"parallel": DataParallel(ranks=OneRank())}, {"teacher_forcing": lambda step: 0.5}):
            with pytest.raises(ValueError, match="give neither parallel nor teacher_forcing"):
                Trainer(tiny_model(stream), stream, graph=True, **settings)
        stream = stream_of()
        with pytest.raises(CaptureError, match=r"cannot be recorded: .*transfers are disallowed"):
            Trainer(translator(), stream, graph=True).run(epochs=3)
    stream = tiny_stream()
    with pytest.raises(TypeError, match="graph must be True or False, got 1"):
        Trainer(tiny_model(stream), stream, graph=1)
    with pytest.raises(ValueError, match="graph=True needs a model on a device"):
        Trainer(tiny_model(stream), stream, graph=True)
