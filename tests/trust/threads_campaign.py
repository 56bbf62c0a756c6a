"""Sixteen threads train, check gradients and switch backends at the same time, each with the bits of a serial run.

They share what threads of minirnn can share: workers, memory to be used again, the fake GPU, and the limit of the BLAS.
"""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import numpy as np
from counting import Tried
from tiny import OPTIONS, look_around, trainer_of

import minirnn as mr
from minirnn.testing import in_pieces, on_backend
from minirnn.workers import use_workers

THREADS = 16


def campaign(long, seed):
    for k in range(100 if long else 1):
        draw = random.Random(f"{seed} {k}")
        works = [WORKS[n % len(WORKS)](random.Random(draw.random())) for n in range(THREADS)]
        with on_backend("strict_cupy"), mr.use_backend("numpy"), in_pieces(), restless():
            serial = [begin(work) for _, work in works]
            together = side_by_side([work for _, work in works])
        for n, (what, _) in enumerate(works):
            yield Tried(f"round {k}, thread {n}: {what}", "" if together[n] == serial[n] else "other bits than alone")


def begin(work):
    """What it gives; how many workers share a batch is a thread's own affair, and decides on the last bits."""
    with use_workers(2):
        return work()


def side_by_side(works):
    """What each gives, all begun at the same time, in threads of their own."""
    gate = Barrier(len(works))

    def begin_together(work):
        gate.wait(60)
        return begin(work)

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin_together, works))


@contextmanager
def restless():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def training(kind):
    def drawn(draw):
        options = {name: draw.choice(values) for name, values in OPTIONS[kind].items()}

        def work():
            trainer, seen = trainer_of(kind, options), []
            for _ in range(3):
                trainer.train_step()
                seen.append((trainer.loss, look_around(trainer)))
            return seen, bits(trainer.model.state_dict())

        return f"{kind}, {options}", work

    return drawn


def checking(draw):
    """A gradient check, of a right rule and of a wrong one: the errors it finds, to the last bit."""
    seed, T = draw.randrange(1000), draw.choice([3, 4])

    def work():
        random_ = np.random.default_rng(seed)
        a, h_0, W_hh = (random_.normal(size=shape) for shape in ((T, 8, 2), (2, 2), (8, 2)))
        report = mr.gradcheck(mr.rules.lstm, [a, h_0, h_0 + 1, W_hh], seed=seed)
        try:
            mr.gradcheck(wrong_by_a_little, [a], seed=seed)
        except mr.GradcheckError as error:
            return str(report), str(error)

    return f"gradcheck, seed {seed}, T {T}", work


def wrong_by_a_little(x):
    def wrong_by_a_little_pullback(dy):
        return (dy * x * 2.001,)

    return x * x, wrong_by_a_little_pullback


def switching(draw):
    """Backends and recording switched to and fro around the steps of a layer."""
    seed, order = draw.randrange(1000), [draw.choice(["numpy", "cupy"]) for _ in range(4)]

    def work():
        seen = []
        for backend in order:
            with mr.use_backend(backend):
                layer = mr.nn.GRU(3, 4, seed=seed, dtype="float64")
                x = mr.Tensor(np.random.default_rng(seed).normal(size=(5, 2, 3)))
                with mr.no_grad():
                    silent, _ = layer(x)
                out, _ = layer(x)
                (out * out).sum().backward()
                homes = (out.backend, mr.Tensor([1.0]).backend, silent.requires_grad, out.requires_grad)
                gradients = [mr.to_numpy(p.grad).tobytes() for p in layer.parameters()]
                seen.append((homes, out.numpy().tobytes(), gradients))
            seen.append(mr.Tensor([1.0]).backend)
        return seen

    return f"backends {order}, seed {seed}", work


def bits(state):
    return {name: array.tobytes() for name, array in state.items()}


WORKS = [training("characters"), training("pairs"), checking, switching]
