"""How long is one training step of a character model? Forward, loss, backward, clip, Adam.

Both models start from the same weights (made by minirnn, handed over in a file) and see the same characters. Once the
clock has stopped and the peak of memory is taken, each computes a gradient in float32 and in float64: how these differ
is the error in the table, and the two float64 gradients must agree array by array, or there is no row. PyTorch tries
both layouts, and Adam plain and fused; the quickest plays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import duel
import numpy as np
from harness import Player, Trial
from measuring import peak_memory, training


def case(V: int, H: int, layers: int, B: int, T: int, steps: int) -> dict[str, int]:
    return {"V": V, "H": H, "layers": layers, "B": B, "T": T, "steps": steps}


SIZES = {  # the embedding is as wide as the hidden state, as in the article, whose step is the first of the small ones
    "tiny": [case(7, 8, 2, 2, 5, steps=2)],
    "small": [case(65, 128, 2, 16, 50, steps=60), case(65, 128, 1, 1, 50, steps=200)],
    "medium": [case(65, 256, 2, 32, 100, steps=12)],
    "large": [case(65, 512, 2, 64, 100, steps=4)],
}
TABLE = {
    "V, H, layers, B, T": "{V}, {H}, {layers}, {B}, {T}",
    **duel.TABLE,
}


def operations(case: dict[str, int]) -> float:
    """Floating-point operations of the matrix products in a step, in units of 1e9; three times those of forward."""
    V, H, layers, B, T, _ = case.values()
    recurrent = layers * 2 * 4 * H * H * B * T
    projections = 2 * 4 * H * H * min(V, B * T)  # the lowest layer's, by way of the token table where that is shorter
    projections += (layers - 1) * 2 * 4 * H * H * B * T
    return 3 * (recurrent + projections + 2 * V * H * B * T) / 1e9


def batches(V: int, B: int, T: int, count: int = 17) -> Iterator[np.ndarray]:
    """Inputs and targets ``(2, B, T)``: one batch to check the gradients with, and sixteen to train on in turn."""
    random = np.random.default_rng(1)
    return (random.integers(0, V, (2, B, T)) for _ in range(count))


def stepper(lm: Any, data: list, adam: Any, clip: Callable[[Any, float], Any]) -> Callable[[int], Any]:
    """A training step, once for every call; both libraries are told so in the same words."""
    state = None

    def step(k: int) -> Any:
        nonlocal state
        loss, state = lm.loss(*data[k % len(data)], state)
        adam.zero_grad()
        loss.backward()
        clip(lm.parameters(), 5.0)
        adam.step()
        return loss

    return step


def torch_model(V: int, H: int, layers: int, batch_first: bool = False) -> Any:
    """The model in PyTorch, its parameters under the same names."""
    import torch

    class CharLM(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(V, H)
            self.rnn = torch.nn.LSTM(H, H, layers, batch_first=batch_first)
            self.head = torch.nn.Linear(H, V)

        def loss(self, x, y, state=None):
            out, state = self.rnn(self.embedding(x), state)
            loss = torch.nn.functional.cross_entropy(self.head(out.flatten(0, 1)), y.flatten())
            return loss, tuple(s.detach() for s in state)

    return CharLM()


def play_minirnn(V: int, H: int, layers: int, B: int, T: int, steps: int, folder: str) -> dict[str, float]:
    import minirnn as mr

    imported = peak_memory()

    def build(dtype: str) -> mr.CharLM:
        lm = mr.CharLM(V, H, H, layers, dtype=dtype)
        with np.load(f"{folder}/weights.npz") as weights:
            lm.load_state_dict(weights)
        return lm

    def gradient(dtype: str) -> dict[str, Any]:
        lm = build(dtype)
        lm.loss(*check)[0].backward()
        return {name: p.grad for name, p in lm.named_parameters()}

    def trained(lm: mr.CharLM, data: list) -> Callable[[int], float]:
        step = stepper(lm, data, mr.Adam(lm.parameters(), lr=2e-3), mr.clip_grad_norm_)
        return lambda k: step(k).item()

    trained(mr.CharLM(2, 2, 2), [np.array([[[0, 1]], [[1, 0]]])])(0)
    before = {"import": imported, "code": peak_memory()}
    check, *data = batches(V, B, T)
    return training(trained(build("float32"), data), steps, before, gradient, f"{folder}/minirnn.npz")


def play_torch(
    V: int, H: int, layers: int, B: int, T: int, steps: int, folder: str, batch_first: bool, fused: bool
) -> dict[str, float]:
    import torch

    imported = peak_memory()

    def build(dtype: torch.dtype) -> Any:
        lm = torch_model(V, H, layers, batch_first).to(dtype)
        with np.load(f"{folder}/weights.npz") as weights:
            lm.load_state_dict({name: torch.from_numpy(a).to(dtype) for name, a in weights.items()})
        return lm

    def gradient(dtype: str) -> dict[str, Any]:
        lm = build(getattr(torch, dtype))
        lm.loss(*check)[0].backward()
        return {name: p.grad.numpy() for name, p in lm.named_parameters()}

    def trained(lm: Any, data: list) -> Callable[[int], float]:
        adam = torch.optim.Adam(lm.parameters(), lr=2e-3, fused=fused)
        step = stepper(lm, data, adam, torch.nn.utils.clip_grad_norm_)
        return lambda k: step(k).item()

    trained(torch_model(2, 2, 1, batch_first), [torch.tensor([[[0], [1]], [[1], [0]]])])(0)
    before = {"import": imported, "code": peak_memory()}
    check, *data = (
        [torch.from_numpy(ids if batch_first else np.ascontiguousarray(ids.T)) for ids in batch]
        for batch in batches(V, B, T)
    )
    return training(trained(build(torch.float32), data), steps, before, gradient, f"{folder}/torch.npz")


def ways_of_torch(given: dict[str, Any]) -> dict[str, Player]:
    return {
        f"{layout}, {adam} Adam": Player(play_torch, {**given, "batch_first": batch_first, "fused": fused})
        for layout, batch_first in (("batch first", True), ("time first", False))
        for adam, fused in (("plain", False), ("fused", True))
    }


def write_weights(folder: str, V: int, H: int, layers: int) -> None:
    import minirnn as mr

    np.savez(f"{folder}/weights.npz", **mr.CharLM(V, H, H, layers, seed=1).state_dict())


def measure(case: dict[str, int], trial: Trial) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_weights(folder, case["V"], case["H"], case["layers"])
        given = {**case, "folder": folder}
        return duel.duel(trial, Player(play_minirnn, given), ways_of_torch(given), operations(case))
