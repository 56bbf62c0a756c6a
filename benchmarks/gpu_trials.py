"""What `gpu_vs_torch` tries first: does each kernel run on this device at all, and to the numbers of NumPy?

A trial computes in float32 on the device and in float64 on the host, and says how far the one is from the other. What
is allowed is far more than rounding and far less than a mistake. The kernels that everything else needs come first: one
that kills its process, or never ends, takes no word from those before it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import seq2seq
import train_step
from gpu_clocks import Place
from measuring import relative_error

BLOCKS = {"lstm": 4, "gru": 3, "rnn": 1}  # of H rows, in W_hh
ALLOWED = {"float32": 1e-4, "3xtf32": 1e-4, "tf32": 3e-3, "bf16": 3e-2}
UPDATES = 1e-2  # Adam divides gradients by their size: the smallest ones are mostly rounding
AGAIN = 5  # times the same is computed: where threads race, one of them may show it
STEPS = 4  # of training: the first two of a recording are not one launch yet


class Trial(NamedTuple):
    """What is tried: it returns the worst relative error, of which so much is allowed."""

    run: Callable[[], float]
    allowed: float


def trials(tiny: bool) -> dict[str, Trial]:
    """All trials by name, in the order in which they are made; tiny ones for a machine that only pretends."""
    sizes, cells = ([(2, 5, 3)], ["rnn"]) if tiny else ([(5, 33, 19), (40, 256, 64)], list(BLOCKS))
    found = {f"{cell}, step by step": Trial(lambda cell=cell: cells_error(cell, sizes), 1e-4) for cell in cells}
    found["training steps"] = Trial(lambda: training_error(tiny, recorded=False), UPDATES)
    found["training steps, recorded"] = Trial(lambda: training_error(tiny, recorded=True), UPDATES)
    for precision, scope, cell in product(ALLOWED, ("cluster", "grid"), cells):
        whole = {"precision": precision, "scopes": [scope]}
        run = partial(cells_error, cell, sizes, whole)
        found[f"{cell} in one launch, {precision}, {scope}"] = Trial(run, ALLOWED[precision])
    found["texts in one launch"] = Trial(lambda: texts_error(tiny), 0.0)
    found["attentive decoder in one launch"] = Trial(lambda: decoder_error(tiny), 1e-4)
    return found


def measure(row: dict[str, Any], place: Place) -> dict[str, Any]:
    """The error of one trial; a kernel that did not fit is a failure, as nothing was tried then."""
    trial = trials(place.rehearsing)[row["what"]]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "no .* (on|of) this device")
        error = trial.run()
    return {"error": error, "allowed": trial.allowed, "passed": bool(error <= trial.allowed)}


def worst(found: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> float:
    return max(relative_error({name: found[name]}, {name: right[name]}) for name in right)


def cells_error(cell: str, sizes: list[tuple[int, int, int]], whole: dict[str, Any] | None = None) -> float:
    """Of the values and gradients of a sequence, at each of the sizes ``T, H, B``; infinite if its bits change."""
    import minirnn as mr
    from minirnn.arrays import asarray

    def there_and_back(inputs: list[Any], dys: list[Any]) -> dict[str, Any]:
        ys, pullback = getattr(mr.rules, cell)(*inputs)
        return {str(k): mr.to_numpy(a) for k, a in enumerate([*ys, *pullback(*dys)])}

    def error(T: int, H: int, B: int) -> float:
        random, rows = np.random.default_rng(0), BLOCKS[cell] * H
        shapes = [(T, rows, B), (H, B), *[(H, B)] * (cell == "lstm"), (rows, H), *[(H,)] * (cell == "gru")]
        inputs = [random.standard_normal(shape) / (H**0.5 if shape == (rows, H) else 1) for shape in shapes]
        dys = [random.standard_normal(shape) for shape in [(T, H, B), *[(H, B)] * (1 + (cell == "lstm"))]]
        right = there_and_back(inputs, dys)
        there = [[asarray(a, "float32", "cupy") for a in arrays] for arrays in (inputs, dys)]
        with mr.use_whole_sequences(whole is not None, **whole or {}):
            found, *again = (there_and_back(*there) for _ in range(AGAIN))
        same = all((a == once[name]).all() for once in again for name, a in found.items())
        return worst(found, right) if same else math.inf

    return max(error(*each) for each in sizes)


def training_error(tiny: bool, recorded: bool) -> float:
    """Of what a few steps of Adam, with clipping and dropout, have added to the weights of a character model."""
    import minirnn as mr
    from minirnn.training.recorded import Recorded

    V, H, B, T = (7, 8, 2, 5) if tiny else (65, 96, 20, 30)

    def updates(backend: str, dtype: str) -> dict[str, np.ndarray]:
        with mr.use_backend(backend):
            model = mr.CharLM(V, H, H, 2, dropout=0.2, seed=1, dtype=dtype)
            start = {name: a.copy() for name, a in model.state_dict().items()}
            adam, batches, state = mr.Adam(model.parameters(), lr=1e-2), train_step.batches(V, B, T, STEPS), None
            if recorded and backend == "cupy":
                one_launch = Recorded(model, adam)
                for k, batch in enumerate(batches):
                    _, state = one_launch.step(*batch, state, 0.5, k)
            else:
                for k, batch in enumerate(batches):
                    model.seek(k)
                    loss, state = model.loss(*batch, state)
                    adam.zero_grad()
                    loss.backward()
                    mr.clip_grad_norm_(model.parameters(), 0.5)
                    adam.step()
            return {name: a - start[name] for name, a in model.state_dict().items()}

    return relative_error(updates("cupy", "float32"), updates("numpy", "float64"))


def texts_error(tiny: bool) -> float:
    """Which share of the characters is another one, of texts that are drawn and of the most likely ones."""
    import minirnn as mr

    V, H, B, T = (7, 8, 2, 5) if tiny else (65, 128, 9, 60)

    def texts(backend: str, dtype: str) -> str:
        with mr.use_backend(backend), mr.use_whole_sequences(backend == "cupy"):
            vocabulary = mr.Vocabulary("".join(map(chr, range(48, 48 + V))))
            lm = mr.CharLM(vocabulary, H, H, 2, seed=1, dtype=dtype)
            lm.load_state_dict({name: 2 * a for name, a in lm.state_dict().items()})
            prompts = [chr(48 + b % V) for b in range(B)]
            return "".join("".join(mr.generate(lm, prompts, T, temperature=t, seed=2)) for t in (0.0, 1.0))

    found, right = texts("cupy", "float32"), texts("numpy", "float64")
    return sum(a != b for a, b in zip(found, right, strict=True)) / len(right)


def decoder_error(tiny: bool) -> float:
    """Of the gradients of a translator whose decoder attends, and feeds back what it found."""
    import minirnn as mr

    V, H, B, S = (11, 8, 2, 4) if tiny else (200, 100, 20, 15)

    def gradients(backend: str, dtype: str) -> dict[str, np.ndarray]:
        with mr.use_backend(backend), mr.use_whole_sequences(backend == "cupy"):
            model = mr.Seq2Seq(V, V, H, H, attention="additive", feed="output", seed=1, dtype=dtype)
            model.loss(*next(iter(seq2seq.batches(V, B, S, 1))))[0].backward()
            return {name: mr.to_numpy(p.grad) for name, p in model.named_parameters()}

    return worst(gradients("cupy", "float32"), gradients("numpy", "float64"))
