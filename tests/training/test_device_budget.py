"""What a training step may cost a device: how many launches each of its parts takes, and when the host waits.

Where a number falls, lower it here: a budget that is not tight guards nothing.
"""

import numpy as np
import pytest

from minirnn import SGD, Adam, AdamW, CharLM, RMSprop, Tensor, TextStream, Trainer, clip_grad_norm_, ops
from minirnn.arrays import use_backend
from minirnn.testing import counting, on_backend, strict_cupy

T, B, V = 10, 4, 65
# part of the step -> launches for two layers and 10 steps, host waits; the recurrences have a budget of their own
BUDGET = {"clip": (4, 1), "update": (1, 0), "zero_grad": (0, 0)}


def parts_of_a_step():
    """Launches and waits of each part of the second training step of a character model; its gradient is clipped."""
    random, found, state = np.random.default_rng(0), {}, None
    lm = CharLM(V, 16, 24, 2)
    adam = Adam(lm.parameters(), lr=2e-3)

    def part(name, function):
        with counting() as counts:
            answer = function()
        found[name] = counts.launches, counts.syncs
        return answer

    for _ in range(2):  # in the first the parameters move together
        inputs, targets = random.integers(0, V, (2, B, T))
        loss, state = part("forward", lambda: lm.loss(inputs, targets, state))  # noqa: B023  # called at once
        part("zero_grad", adam.zero_grad)
        part("backward", loss.backward)
        part("clip", lambda: clip_grad_norm_(lm.parameters(), 1e-3))
        part("update", adam.step)
    return found


def test_each_part_of_a_step_keeps_its_budget():
    with on_backend("strict_cupy"):
        found = parts_of_a_step()
    assert {name: found[name] for name in BUDGET} == BUDGET
    assert found["forward"][1] == found["backward"][1] == 0


def test_the_trainer_waits_for_what_it_logs_alone():
    stream = TextStream("to be or not to be " * 20, seq_len=T, batch_size=B)
    with on_backend("strict_cupy"):
        trainer = Trainer(CharLM(stream.vocabulary, 8, 8, 2), stream, clip_norm=0.01)
        trainer.run(steps=2)
        with counting() as counts:
            trainer.train_step()
    assert counts.syncs == 0
    assert counts.float64_results == 0


@pytest.mark.parametrize("axis", [-1, 1])
def test_a_loss_takes_four_launches_there_and_three_back(axis):
    with on_backend("strict_cupy"):
        x = Tensor(np.ones((T, V, B), "float32"), requires_grad=True)
        targets = Tensor(np.zeros((T, V) if axis == -1 else (T, B), int))
        with counting() as there:
            loss = ops.cross_entropy(x, targets, axis=axis)
        loss.backward()  # once to see that it works
        x.grad = None
        loss = ops.cross_entropy(x, targets, axis=axis)
        with counting() as back:
            loss.backward()
    # softmax, sum, mean; the seed, its share, the way back, and a copy for the leaf
    assert (there.launches, back.launches) == (3, 4)
    assert there.syncs == back.syncs == 0


@pytest.mark.parametrize(
    ("make", "launches"),
    [
        (lambda p: SGD(p, 0.1), 1),
        (lambda p: SGD(p, 0.1, momentum=0.9), 1),
        (lambda p: RMSprop(p), 1),
        (lambda p: Adam(p), 1),
        (lambda p: Adam(p, weight_decay=0.1), 3),
        (lambda p: AdamW(p), 1),
    ],
)
def test_an_optimizer_takes_one_launch_whatever_the_number_of_parameters(make, launches):
    with strict_cupy(), use_backend("cupy"):
        parameters = [Tensor(np.ones((k, 3), "float32"), requires_grad=True) for k in range(1, 9)]
        optimizer = make(parameters)
        found = []
        for _ in range(2):
            loss = sum((ops.sum(p * p) for p in parameters), start=Tensor(np.float32(0)))
            loss.backward()
            clip_grad_norm_(parameters, 1e9)  # brings the gradients together
            with counting() as counts:
                optimizer.step()
            found.append(counts.launches)
            optimizer.zero_grad()
    assert found == [launches + 1 + len(optimizer.moments), launches]  # at first the parameters move together
