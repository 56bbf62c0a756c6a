"""How does a training step of a character model scale with the number of processes that share its batch?

Each process has a batch of the same size and one thread, so the work grows with their number, and a step should not.
Beside them two threads of one process share the batch of two. What the processes add is one sum over all gradients,
timed alone for buffers of many lengths: to a straight line in their length two numbers belong, latency and time per
byte. With them, for R processes,

    step(R) = compute + 2 log2(R) latency + 2 (R - 1) / R bytes time-per-byte        (Thakur et al. 2005, Rabenseifner)

which is a prediction for all R that no machine here has cores for: with memory between the processes, and no network.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import Player, Trial, figures
from measuring import timed


def case(V: int, H: int, layers: int, B: int, T: int, steps: int) -> dict[str, int]:
    return {"V": V, "H": H, "layers": layers, "B": B, "T": T, "steps": steps}


SIZES = {
    "tiny": [case(7, 8, 2, 2, 5, steps=2)],
    "small": [case(65, 128, 2, 16, 50, steps=40)],
    "medium": [case(65, 256, 2, 32, 100, steps=10)],
    "large": [case(65, 512, 2, 64, 100, steps=4)],
}
PREDICTED = 4, 16, 64, 256, 1024
LENGTHS = [2**k for k in range(10, 25, 2)]  # bytes
TABLE = {
    "V, H, layers, B of each, T": "{V}, {H}, {layers}, {B}, {T}",
    "1 process, ms (min)": "{figures[one][ms]:.1f} ({figures[one][min_ms]:.1f})",
    "2 processes": "{figures[two][ms]:.1f} ({figures[two][min_ms]:.1f})",
    "efficiency": "{efficiency:.2f}",
    "2 threads, twice the batch": "{figures[threads][ms]:.1f} ({figures[threads][min_ms]:.1f})",
    "gradients, MiB": "{mib:.2f}",
    "latency, µs": "{latency:.0f}",
    "GB/s": "{bandwidth:.2f}",
    f"predicted ms, {', '.join(map(str, PREDICTED))} processes": "{shown[predicted]}",
    "predicted efficiency": "{shown[predicted_efficiency]}",
}


def play(ranks: int, threads: int, **given: int) -> dict[str, float]:
    """The report of rank 0 of so many processes."""
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise FileNotFoundError("there is no mpiexec; the extra 'mpi' brings one")
    words = [mpiexec, "-n", str(ranks), sys.executable, __file__, json.dumps({"threads": threads, **given})]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def of_rank(V: int, H: int, layers: int, B: int, T: int, steps: int, threads: int) -> dict[str, float] | None:
    """What one process does; the first of them reports."""
    import minirnn as mr
    from minirnn.training.ranks import Mpi
    from minirnn.workers import limited_to

    parallel = mr.training.DataParallel(ranks=(group := Mpi()))
    batch_size, ranks = B * group.size * threads, group.size
    text = "".join(chr(97 + k) for k in np.random.default_rng(1).integers(0, V, batch_size * (T * 2) + 1))
    stream = mr.TextStream(text, T, batch_size)
    trainer = mr.Trainer(mr.CharLM(stream.vocabulary, H, H, layers), stream, parallel=parallel)
    with parallel.running(trainer), limited_to(threads), mr.use_workers(threads):
        parallel.begin(trainer, math.inf)
        report = timed(lambda k: trainer.train_step(), steps)
        if ranks > 1:
            for length in LENGTHS:
                report[str(length)] = _sum_of(group, length)
    return {**report, "bytes": 4.0 * sum(p.size for p in trainer.optimizer.parameters)} if group.rank == 0 else None


def _sum_of(group: Any, length: int) -> float:
    """Median of milliseconds that a sum of buffers of so many bytes takes."""
    buffer, times = np.zeros(length // 4, np.float32), []
    for _ in range(15):
        start = time.perf_counter()
        group.sum(buffer)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[3:]))


def measure(case: dict[str, Any], trial: Trial) -> dict[str, Any]:
    ways = {"one": (1, 1), "two": (2, 1), "threads": (1, 2)}
    players = {name: Player(play, {"ranks": ranks, "threads": n, **case}) for name, (ranks, n) in ways.items()}
    reports = trial.contest(players)
    found = figures(reports)
    size = found["one"]["bytes"]
    # two processes: latency and time per byte of a sum, by least squares of relative errors
    times = np.array([found["two"][str(length)] for length in LENGTHS])
    columns = np.stack([np.full(len(LENGTHS), 2.0), np.array(LENGTHS, float)], axis=1)
    latency, per_byte = np.linalg.lstsq(columns / times[:, None], np.ones(len(LENGTHS)), rcond=None)[0]
    latency = max(latency, 0.0)
    compute = found["one"]["ms"]
    predicted = [
        compute + 2 * math.log2(ranks) * latency + 2 * (ranks - 1) / ranks * size * per_byte for ranks in PREDICTED
    ]
    return {
        "figures": found,
        "efficiency": compute / found["two"]["ms"],
        "mib": size / 2**20,
        "latency": 1e3 * latency,
        "bandwidth": 1e-6 / per_byte,
        "predicted": predicted,
        "shown": {
            "predicted": ", ".join(f"{ms:.1f}" for ms in predicted),
            "predicted_efficiency": ", ".join(f"{compute / ms:.2f}" for ms in predicted),
        },
        "runs": reports,
    }


if __name__ == "__main__":
    found = of_rank(**json.loads(sys.argv[1]))
    if found is not None:
        print(json.dumps(found))
