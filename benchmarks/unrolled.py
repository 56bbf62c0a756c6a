"""What does it save to write BPTT out? One LSTM as one node, as a node per step, and as a node per operation.

All three run on minirnn's own tape, from input projections ``(T, 4H, B)``, there and back; their float64 gradients must
agree. Unrolled, a step is what a library without rules for recurrence records of it; each step's input is a leaf of its
own, so that no slice has to be differentiated. Memory is the peak above all code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from harness import Player, Trial, figures, memories, speeds
from measuring import agreement, peak_memory, training


def case(T: int, B: int, H: int, steps: int) -> dict[str, int]:
    return {"T": T, "B": B, "H": H, "steps": steps}


SIZES = {
    "tiny": [case(4, 2, 3, steps=1)],
    "small": [case(50, 16, 128, steps=20)],
    "medium": [case(100, 64, 256, steps=5)],
    "large": [case(50, 64, 512, steps=4)],
}
WAYS = "one node", "a node per step", "a node per operation"
TABLE = {
    "T, B, H": "{T}, {B}, {H}",
    **{f"{way}: ms (min)": f"{{{way}[ms]:.1f}} ({{{way}[min_ms]:.1f}})" for way in WAYS},
    **{f"speed / {way}": f"{{speed[{way}][pairs]:.2f}}" for way in WAYS[1:]},
    "nodes": ", ".join(f"{{{way}[nodes]:,.0f}}" for way in WAYS),
    "MiB": ", ".join(f"{{{way}[above_code_mib]:.0f}}" for way in WAYS),
    **{f"memory / {way}": f"{{memory[{way}][code]:.2f}}" for way in WAYS[1:]},
    "float64 difference": "{difference:.0e}",
}


def outputs(way: str, a_xs: list, h: Any, c: Any, W_hh: Any) -> Any:
    """``hs`` of the LSTM: of one ``a_xs (T, 4H, B)`` as one node, else of T of them, one for each step."""
    from minirnn import ops

    if way == "one node":
        return ops.lstm(a_xs[0], h, c, W_hh)[0]
    hs = []
    for a in a_xs:
        if way == "a node per step":
            h, c = ops.lstm_step(a, h, c, W_hh)
        else:
            i, f, g, o = ops.split(a + W_hh @ h, sections=4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        hs.append(h)
    return ops.stack(*hs)


def play(T: int, B: int, H: int, steps: int, way: str, folder: str) -> dict[str, float]:
    from minirnn.tape import Tensor

    imported = peak_memory()

    def task(dtype: str, T: int, B: int, H: int) -> tuple[Callable[[], Any], list[Tensor], np.ndarray]:
        random = np.random.default_rng(1)
        shapes = (T, 4 * H, B), (H, B), (H, B), (4 * H, H), (T, H, B)
        a_xs, h_0, c_0, W_hh, dhs = (random.standard_normal(s) / np.sqrt(H) for s in shapes)
        arrays = [*([a_xs] if way == WAYS[0] else a_xs), h_0, c_0, W_hh]
        leaves = [Tensor(a, requires_grad=True, dtype=dtype) for a in arrays]
        return partial(outputs, way, leaves[:-3], *leaves[-3:]), leaves, dhs.astype(dtype)

    def stepper(forward: Callable[[], Any], leaves: list[Tensor], dhs: np.ndarray) -> Callable[[int], None]:
        def step(k: int) -> None:
            for leaf in leaves:
                leaf.grad = None
            forward().backward(dhs)

        return step

    def gradient(dtype: str) -> dict[str, Any]:
        forward, leaves, dhs = task(dtype, T, B, H)
        stepper(forward, leaves, dhs)(0)
        *da, dh_0, dc_0, dW_hh = (leaf.grad for leaf in leaves)
        return {"a_xs": np.stack(da).reshape(T, 4 * H, B), "h_0": dh_0, "c_0": dc_0, "W_hh": dW_hh}

    stepper(*task("float32", 2, 2, 2))(0)
    before = {"import": imported, "code": peak_memory()}
    small = task("float32", T, B, H)
    report = training(stepper(*small), steps, before, gradient, f"{folder}/{way}.npz")
    return {**report, "nodes": small[0]().to_dot().count("[label=")}  # boxes, which are leaves, begin with their shape


def measure(case: dict[str, int], trial: Trial) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        reports = trial.contest({way: Player(play, {**case, "way": way, "folder": folder}) for way in WAYS})
        difference = max(agreement(folder, WAYS[0], way) for way in WAYS[1:])
    found = {"speed": speeds(reports, WAYS[0]), "memory": memories(reports, WAYS[0]), "difference": difference}
    return {**figures(reports), **found, "runs": reports}
