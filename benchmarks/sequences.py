"""How long does a recurrent layer take, there and back? All gradients: those of the weights, of the inputs, of h_0.

One layer, arrays ``(T, B, D)`` in and ``(T, B, H)`` out, the cotangent of the outputs given; ``nn.RNN``, ``nn.GRU`` and
``nn.LSTM`` of either library from the same weights. PyTorch may also take its arrays batch first, or leave oneDNN
aside; the quickest way plays. Gradients are compared as in ``train_step.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import duel
import numpy as np
from harness import Player, Trial
from measuring import peak_memory, training

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def cases(T: int, B: int, D: int, H: int, steps: int) -> list[dict[str, Any]]:
    return [{"cell": cell, "T": T, "B": B, "D": D, "H": H, "steps": steps} for cell in GATES]


SIZES = {
    "tiny": cases(4, 2, 3, 5, steps=2),
    "small": cases(50, 16, 128, 128, steps=60),
    "medium": cases(100, 64, 256, 256, steps=12),
    "large": cases(50, 64, 512, 512, steps=8),
}
TABLE = {
    "cell": "{cell}",
    "T, B, D, H": "{T}, {B}, {D}, {H}",
    **duel.TABLE,
}


def operations(case: dict[str, Any]) -> float:
    """Floating-point operations of the matrix products, in units of 1e9; three times those of forward."""
    cell, T, B, D, H, _ = case.values()
    return 3 * 2 * GATES[cell] * H * (D + H) * B * T / 1e9


def draw(cell: str, T: int, B: int, D: int, H: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs ``x (T, B, D)`` and initial states ``(1, B, H)``, by name; the cotangent of the outputs ``(T, B, H)``."""
    random = np.random.default_rng(1)
    shapes = {"x": (T, B, D), "h_0": (1, B, H)} | ({"c_0": (1, B, H)} if cell == "LSTM" else {})
    return {name: random.standard_normal(shape) for name, shape in shapes.items()}, random.standard_normal((T, B, H))


def stepper(layer: Any, inputs: dict[str, Any], dout: Any) -> Callable[[int], None]:
    """There and back again, once for every call; both libraries are told so in the same words."""
    x, h_0, *c_0 = inputs.values()

    def step(k: int) -> None:
        layer.zero_grad()
        for tensor in inputs.values():
            tensor.grad = None
        out, _ = layer(x, (h_0, *c_0) if c_0 else h_0)
        out.backward(dout)

    return step


def play_minirnn(cell: str, T: int, B: int, D: int, H: int, steps: int, folder: str) -> dict[str, float]:
    import minirnn as mr

    imported = peak_memory()

    def build(dtype: str, *sizes: int) -> tuple[mr.nn.Module, dict[str, mr.Tensor], np.ndarray]:
        arrays, dout = draw(cell, *sizes)
        inputs = {name: mr.Tensor(a, requires_grad=True, dtype=dtype) for name, a in arrays.items()}
        return getattr(mr.nn, cell)(*sizes[2:], dtype=dtype), inputs, dout.astype(dtype)

    def task(dtype: str) -> tuple[mr.nn.Module, dict[str, mr.Tensor], np.ndarray]:
        layer, inputs, dout = build(dtype, T, B, D, H)
        with np.load(f"{folder}/weights.npz") as weights:
            layer.load_state_dict(weights)
        return layer, inputs, dout

    def gradient(dtype: str) -> dict[str, Any]:
        layer, inputs, dout = task(dtype)
        stepper(layer, inputs, dout)(0)
        return {name: tensor.grad for name, tensor in (dict(layer.named_parameters()) | inputs).items()}

    stepper(*build("float32", 2, 2, 2, 2))(0)
    before = {"import": imported, "code": peak_memory()}
    return training(stepper(*task("float32")), steps, before, gradient, f"{folder}/minirnn.npz")


def play_torch(
    cell: str, T: int, B: int, D: int, H: int, steps: int, folder: str, batch_first: bool, onednn: bool
) -> dict[str, float]:
    import torch

    imported = peak_memory()
    torch.backends.mkldnn.enabled = onednn

    def laid_out(name: str, a: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        swapped = batch_first and name in ("x", "dout")
        return torch.from_numpy(np.ascontiguousarray(a.swapaxes(0, 1)) if swapped else a).to(dtype)

    def build(dtype: torch.dtype, *sizes: int) -> tuple[torch.nn.Module, dict[str, torch.Tensor], torch.Tensor]:
        arrays, dout = draw(cell, *sizes)
        inputs = {name: laid_out(name, a, dtype).requires_grad_() for name, a in arrays.items()}
        layer = getattr(torch.nn, cell)(*sizes[2:], batch_first=batch_first, dtype=dtype)
        return layer, inputs, laid_out("dout", dout, dtype)

    def task(dtype: torch.dtype) -> tuple[torch.nn.Module, dict[str, torch.Tensor], torch.Tensor]:
        layer, inputs, dout = build(dtype, T, B, D, H)
        with np.load(f"{folder}/weights.npz") as weights:
            layer.load_state_dict({name: torch.from_numpy(a) for name, a in weights.items()})
        return layer, inputs, dout

    def gradient(dtype: str) -> dict[str, Any]:
        layer, inputs, dout = task(getattr(torch, dtype))
        stepper(layer, inputs, dout)(0)
        found = {name: tensor.grad.numpy() for name, tensor in (dict(layer.named_parameters()) | inputs).items()}
        return found | ({"x": found["x"].swapaxes(0, 1)} if batch_first else {})

    stepper(*build(torch.float32, 2, 2, 2, 2))(0)
    before = {"import": imported, "code": peak_memory()}
    return training(stepper(*task(torch.float32)), steps, before, gradient, f"{folder}/torch.npz")


def ways_of_torch(given: dict[str, Any]) -> dict[str, Player]:
    return {
        f"{layout}{aside}": Player(play_torch, {**given, "batch_first": batch_first, "onednn": onednn})
        for layout, batch_first in (("time first", False), ("batch first", True))
        for aside, onednn in (("", True), (", without oneDNN", False))
    }


def measure(case: dict[str, Any], trial: Trial) -> dict[str, Any]:
    import minirnn as mr

    with tempfile.TemporaryDirectory() as folder:
        layer = getattr(mr.nn, case["cell"])(case["D"], case["H"], seed=1)
        np.savez(f"{folder}/weights.npz", **layer.state_dict())
        given = {**case, "folder": folder}
        return duel.duel(trial, Player(play_minirnn, given), ways_of_torch(given), operations(case))
