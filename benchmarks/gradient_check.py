"""How long does a gradient check take? An ``nn.LSTM`` in float64, by all parameters and by its inputs.

minirnn compares a random cotangent's products with numbers, at most 200 entries of an argument one by one and the rest
in dense random directions; "every entry" lifts that limit. ``torch.autograd.gradcheck`` compares whole Jacobians, one
difference for every input and one backward for every output; its fast mode compares one random projection. What each
can see is another question: the last columns say how far from exact the numbers are that it compares with, as the
largest relative error that minirnn reports, and as the tolerance that PyTorch needs (relative; 1e-5 absolute besides).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import Player, Trial, figures, speeds
from measuring import timed

SIZES = {
    "tiny": [{"T": 2, "B": 2, "D": 2, "H": 2, "steps": 1}],
    "small": [{"T": 5, "B": 2, "D": 3, "H": 4, "steps": 5}],
    "medium": [{"T": 8, "B": 3, "D": 8, "H": 16, "steps": 1}],
}
TORCH_RTOL = 1e-3  # its default
NAMES = "minirnn", "minirnn, every entry", "torch, fast mode", "torch"
TABLE = {
    "T, B, D, H": "{T}, {B}, {D}, {H}",
    "entries checked": "{entries:,}",
    **{f"{name}, ms (min)": f"{{{name}[ms]:.0f}} ({{{name}[min_ms]:.0f}})" for name in NAMES},
    "speed / torch": "{speed[torch][pairs]:.1f}",
    "every entry / torch": "{speed every entry[torch][pairs]:.1f}",
    "minirnn's error": "{minirnn[error]:.0e}",
    "torch's tolerance": "{torch[error]:.0e}",
}


def draw(T: int, B: int, D: int, H: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((T, B, D))


def play_minirnn(T: int, B: int, D: int, H: int, steps: int, every_entry: bool) -> dict[str, float]:
    import minirnn as mr

    lstm, x = mr.nn.LSTM(D, H, dtype="float64"), draw(T, B, D, H)
    limit = {"max_entries": 10**9} if every_entry else {}
    errors = []
    times = timed(lambda k: errors.append(mr.gradcheck(lstm, (x,), **limit).max_error), steps, warmup=1)
    return {**times, "error": max(errors)}


def play_torch(T: int, B: int, D: int, H: int, steps: int, fast_mode: bool) -> dict[str, float]:
    import torch

    lstm = torch.nn.LSTM(D, H, dtype=torch.float64)
    names, parameters = zip(*lstm.named_parameters(), strict=True)
    x = torch.from_numpy(draw(T, B, D, H)).requires_grad_()

    def outputs(x: torch.Tensor, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out, (h_n, c_n) = torch.func.functional_call(lstm, dict(zip(names, parameters, strict=True)), (x,))
        return out, h_n, c_n

    def check(k: int) -> None:
        torch.autograd.gradcheck(outputs, (x, *parameters), rtol=TORCH_RTOL, fast_mode=fast_mode)

    return {**timed(check, steps, warmup=1), "error": TORCH_RTOL}


def measure(case: dict[str, int], trial: Trial) -> dict[str, Any]:
    T, B, D, H, _ = case.values()
    players = {name: Player(play_minirnn, {**case, "every_entry": name != "minirnn"}) for name in NAMES[:2]}
    if trial.torch:
        players |= {name: Player(play_torch, {**case, "fast_mode": name != "torch"}) for name in NAMES[2:]}
    reports = trial.contest(players)
    entries = T * B * D + 4 * H * (D + H + 2)
    found = {"entries": entries, **figures(reports), "runs": reports}
    if trial.torch:
        found |= {"speed": speeds(reports), "speed every entry": speeds(reports, "minirnn, every entry")}
    return found
