"""How do time and memory of an LSTM grow with T, with B, with H? There and back, all gradients, float32.

The exponent is the slope of log time, or log memory, over the log of what grows: 1 is linear. Memory is the peak above
all code. Whole sequences stand in memory: how little is enough is the question of ``long_sequences.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import Player, Trial, figures
from measuring import peak_memory, timed


def case(grows: str, values: list[int], steps: int, **others: int) -> dict[str, Any]:
    return {"grows": grows, "values": values, "others": others, "steps": steps}


SIZES = {
    "tiny": [case("T", [5, 10], B=2, H=3, steps=1)],
    "small": [
        case("T", [100, 1000, 10_000], B=4, H=32, steps=3),
        case("B", [1, 4, 16, 64, 256], T=50, H=128, steps=10),
        case("H", [16, 32, 64, 128, 256, 512], T=50, B=16, steps=10),
    ],
    "large": [case("T", [1000, 10_000, 100_000], B=4, H=32, steps=1)],
}
TABLE = {
    "grows": "{grows}",
    "others": "{shown[others]}",
    "values": "{shown[values]}",
    "ms": "{shown[ms]}",
    "MiB": "{shown[mib]}",
    "exponent of time": "{exponent[ms]:.2f}",
    "exponent of memory": "{exponent[mib]:.2f}",
}


def play(T: int, B: int, H: int, steps: int) -> dict[str, float]:
    import minirnn as mr

    random = np.random.default_rng(1)

    def stepper(T: int, B: int, H: int) -> Any:
        lstm = mr.nn.LSTM(H, H)
        x = mr.Tensor(random.standard_normal((T, B, H), dtype="float32"), requires_grad=True)
        dout = random.standard_normal((T, B, H), dtype="float32")

        def step(k: int) -> None:
            lstm.zero_grad()
            x.grad = None
            lstm(x)[0].backward(dout)

        return step

    timed(stepper(2, 2, 2), 1)
    before = peak_memory()
    times = timed(stepper(T, B, H), steps, warmup=1)
    return {**times, "mib": peak_memory() - before}


def slope(xs: list[float], ys: list[float]) -> float:
    """Of the straight line through the points (log x, log y) with least squares.

    Examples
    --------
    >>> round(slope([1, 10, 100], [3, 300, 30_000]), 6)
    2.0
    """
    return float(np.polyfit(np.log(xs), np.log(np.maximum(ys, 1e-9)), 1)[0])


def measure(case: dict[str, Any], trial: Trial) -> dict[str, Any]:
    grows, values, others, steps = case.values()
    reports = trial.contest({str(n): Player(play, {grows: n, **others, "steps": steps}) for n in values})
    found = figures(reports)
    lists = {figure: [found[str(n)][figure] for n in values] for figure in ("ms", "mib")}
    for_people = {
        "values": ", ".join(f"{n:,}" for n in values),
        "others": ", ".join(f"{name} = {n}" for name, n in others.items()),
        **{figure: ", ".join(f"{x:,.1f}" for x in xs) for figure, xs in lists.items()},
    }
    exponent = {figure: slope(values, xs) for figure, xs in lists.items()}
    return {**lists, "shown": for_people, "exponent": exponent, "runs": reports}
