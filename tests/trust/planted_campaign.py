"""NaN and infinity planted anywhere in a run: the step is refused, what was first is named, and files stay finite."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from counting import Tried
from trial_runs import RUNS

from minirnn import Checkpoint, DivergenceError, Trainer
from minirnn.tape import Node, Tensor, watching
from minirnn.training import Callback
from minirnn.training.sealed import read_sealed

STEPS, AT = 4, 2  # of a run, and before which of them something is planted
VALUES = {"NaN": np.nan, "infinity": np.inf, "-infinity": -np.inf}


class Gardener(Callback):
    """Plants something when a step has ended, and takes back what was patched for it when the next has."""

    def __init__(self, plant: Callable[[Trainer], Any]):
        self.plant = plant

    def on_step(self, trainer: Trainer) -> None:
        mock.patch.stopall()
        if trainer.step == AT:
            self.plant(trainer)


def in_parameter(name: str, value: float, trainer: Trainer) -> None:
    dict(trainer.model.named_parameters())[name].array.flat[0] = value


def in_moment(k: int, name: str, value: float, trainer: Trainer) -> None:
    trainer.optimizer.state[k][name].flat[-1] = value


def in_state(k: int, value: float, trainer: Trainer) -> None:
    trainer.state = tuple(
        Tensor.around(part.array * value if k == each else part.array) for each, part in enumerate(trainer.state)
    )


def in_gradient(name: str, value: float, trainer: Trainer) -> None:
    """Plants into what ``backward`` leaves, of the next step only."""
    backward = Tensor.backward

    def planted(loss: Tensor, *arguments: Any) -> None:
        backward(loss, *arguments)
        dict(trainer.model.named_parameters())[name].grad.flat[0] = value

    mock.patch.object(Tensor, "backward", planted).start()


def in_pullback(name: str, value: float, trainer: Trainer) -> None:
    """Plants into what the pullback of a rule returns, in the next step and when that is looked at again."""
    pull = Node.pull

    def planted(node: Node, cotangents: Any) -> Any:
        found = list(pull(node, cotangents))
        if node.name == name:
            k = next(k for k, edge in enumerate(node.inputs) if edge is not None and edge.requires_grad)
            found[k] = np.full_like(found[k], value)
        return tuple(found)

    mock.patch.object(Node, "pull", planted).start()


def places(kind: str) -> dict[str, tuple[Callable[[float, Trainer], None], str]]:
    """Where something can be planted, how, and a pattern of what must then be named."""
    trainer, seen = RUNS[kind](), []
    trainer.run(steps=1)
    with watching(lambda what, arrays: seen.append(what)):
        trainer.run(steps=2)
    found: dict[str, tuple[Callable[[float, Trainer], None], str]] = {}
    for k, (name, _) in enumerate(trainer.model.named_parameters()):
        lost = f"{name} is no longer finite"  # so it is called when it is to be saved
        found[f"parameter {name}"] = (partial(in_parameter, name), f"the parameter {name}, |{lost}")
        found[f"gradient of {name}"] = (partial(in_gradient, name), f"the gradient of {name}, ")
        for moment in trainer.optimizer.moments:
            found[f"{moment} of {name}"] = (partial(in_moment, k, moment), lost)
    for k in range(len(trainer.state or ())):
        found[f"state {k}"] = (partial(in_state, k), "the state that was carried into the step")
    for what in dict.fromkeys(seen):
        if "hands down" in what:
            name = what.split()[3]
            found[f"pullback of {name}"] = (partial(in_pullback, name), re.escape(what))
    return found


def tried(kind: str, plant: Callable[[Trainer], None], named: str) -> str:
    """A run in which something was planted, and what of it does not hold."""
    told = []
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(record=True) as warned,
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("always")
        try:
            RUNS[kind]().run(steps=STEPS, callbacks=[Checkpoint(folder, every=1), Gardener(plant)])
        except DivergenceError as error:
            told.append(str(error))
        finally:
            mock.patch.stopall()
        told += [str(each.message) for each in warned]
        if not any(re.search(named, each) for each in told):
            return f"it does not say {named!r}, but {told}"
        for path in Path(folder).glob("*.npz"):
            if any(not np.isfinite(array).all() for array in read_sealed(path)[0].values() if array.dtype.kind == "f"):
                return f"{path.name} is not finite"
    return ""


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """Every parameter, gradient, moment, state and pullback of two runs; the quick part some, the long part all."""
    for kind in RUNS:
        cases = [(where, name) for where in places(kind) for name in VALUES]
        for where, name in islice(cases, seed % 7, None, 1 if long else 7):
            plant, named = places(kind)[where]
            yield Tried(f"{kind}, {name} in {where}", tried(kind, partial(plant, VALUES[name]), named))
