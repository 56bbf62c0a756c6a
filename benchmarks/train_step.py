"""How long is one training step of a character model? Forward, loss, backward, clip, Adam; beside PyTorch.

    python benchmarks/train_step.py [--sizes article,medium] [--pairs 7] [--steps 60] [--json FILE]

Both models start from the same weights (made by minirnn, handed over in a file) and see the same characters. Once the
clock has stopped and the peak of memory is taken, each computes a gradient in float32 and in float64: how these differ
is the error in the table, and the two float64 gradients must agree entry by entry, or the comparison is refused.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import MALLOC_TUNED, contest, machine, matmul_rate, peak_memory, print_table, ratio, report, time_steps

SIZES = {  # V, H, layers, B, T; the embedding is as wide as the hidden state, as in the article
    "article": (65, 128, 2, 16, 50),
    "medium": (65, 256, 2, 32, 100),
    "large": (65, 512, 2, 64, 100),
    "single": (65, 128, 1, 1, 50),
}


def operations(V: int, H: int, L: int, B: int, T: int) -> float:
    """Floating-point operations of the matrix products in one step, in units of 1e9; three times those of forward."""
    recurrent = L * 2 * 4 * H * H * B * T
    projections = 2 * 4 * H * H * V + (L - 1) * 2 * 4 * H * H * B * T  # the lowest layer's by way of the token table
    return 3 * (recurrent + projections + 2 * V * H * B * T) / 1e9


def batches(V: int, B: int, T: int, seed: int = 1):
    rng = np.random.default_rng(seed)
    while True:
        yield rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T))


def relative_error(gradients: dict, exact: dict) -> float:
    flat, true = (np.concatenate([np.asarray(g[k], np.float64).ravel() for k in exact]) for g in (gradients, exact))
    return float(np.linalg.norm(flat - true) / np.linalg.norm(true))


def play_minirnn(size: tuple[int, ...], steps: int, weights: dict, gradients: Path) -> None:
    import minirnn as mr

    after_import = peak_memory()
    V, H, L, B, T = size
    stream = batches(V, B, T)
    check, data = next(stream), [next(stream) for _ in range(16)]

    def build(dtype):
        lm = mr.CharLM(V, H, H, L, dtype=dtype)
        lm.load_state_dict(weights)
        return lm

    lm = build("float32")
    adam, state = mr.Adam(lm.parameters(), lr=2e-3), None

    def step(k: int) -> None:
        nonlocal state
        loss, state = lm.loss(*data[k % 16], state)
        adam.zero_grad()
        loss.backward()
        mr.clip_grad_norm_(lm.parameters(), 5.0)
        adam.step()
        loss.item()

    def gradient(dtype: str) -> dict:
        lm = build(dtype)
        lm.loss(*check)[0].backward()
        return {name: p.grad for name, p in lm.named_parameters()}

    play(step, steps, after_import, gradient, gradients)


def play_torch(size: tuple[int, ...], steps: int, weights: dict, gradients: Path) -> None:
    import torch

    after_import = peak_memory()
    V, H, L, B, T = size
    stream = batches(V, B, T)
    check, *data = (tuple(torch.from_numpy(ids) for ids in next(stream)) for _ in range(17))
    cross_entropy = torch.nn.CrossEntropyLoss()

    class CharLM(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(V, H)
            self.rnn = torch.nn.LSTM(H, H, L, batch_first=True)
            self.head = torch.nn.Linear(H, V)

        def loss(self, x, y, state=None):
            out, state = self.rnn(self.embedding(x), state)
            return cross_entropy(self.head(out.reshape(-1, H)), y.reshape(-1)), tuple(s.detach() for s in state)

    def build(dtype):
        lm = CharLM().to(dtype)
        lm.load_state_dict({name: torch.from_numpy(a).to(dtype) for name, a in weights.items()})
        return lm

    lm = build(torch.float32)
    adam, state = torch.optim.Adam(lm.parameters(), lr=2e-3), None

    def step(k: int) -> None:
        nonlocal state
        loss, state = lm.loss(*data[k % 16], state)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 5.0)
        adam.step()
        loss.item()

    def gradient(dtype: str) -> dict:
        lm = build(getattr(torch, dtype))
        lm.loss(*check)[0].backward()
        return {name: p.grad.numpy() for name, p in lm.named_parameters()}

    play(step, steps, after_import, gradient, gradients)


def play(step, steps: int, after_import: float, gradient, gradients: Path) -> None:
    times = [1e3 * t for t in time_steps(step, steps)]
    peak = peak_memory()  # before the gradients are checked
    exact = gradient("float64")
    np.savez(gradients, **exact)
    report(
        median_ms=statistics.median(times),
        min_ms=min(times),
        peak_mib=peak,
        above_import_mib=peak - after_import,
        gradient_error=relative_error(gradient("float32"), exact),
    )


def kept_by_lstm(size: tuple[int, ...]) -> int:
    """Bytes that the pullbacks of the LSTM rules hold per time step: what BPTT keeps of the recurrence."""
    import minirnn as mr
    from minirnn.testing import saved_bytes

    _, H, L, B, T = size
    rng = np.random.default_rng(0)
    a, h, c, W = (rng.standard_normal(s, dtype=np.float32) for s in ((T, 4 * H, B), (H, B), (H, B), (4 * H, H)))
    return L * (saved_bytes(mr.rules.lstm(a, h, c, W)[1]) - W.nbytes) // T


def measure(name: str, pairs: int, steps: int) -> dict:
    import minirnn as mr

    V, H, L, _, _ = size = SIZES[name]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        np.savez(weights, **mr.CharLM(V, H, H, L, seed=1).state_dict())
        arguments = ["--size", name, "--steps", str(steps), "--folder", folder]
        contestants = {
            "minirnn": (["--play", "minirnn", *arguments], {}),
            "torch": (["--play", "torch", *arguments], {}),
            "torch tuned": (["--play", "torch", *arguments], MALLOC_TUNED),
        }
        reports = contest(Path(__file__), contestants, pairs)
        ours, theirs = (dict(np.load(Path(folder) / f"{who}.npz")) for who in ("minirnn", "torch"))
    difference = relative_error(ours, theirs)
    if difference > 1e-12:
        sys.exit(f"the two models do not compute the same: their float64 gradients differ by {difference:.1e}")
    middle = {who: statistics.median(r["median_ms"] for r in runs) for who, runs in reports.items()}
    least = {who: min(r["min_ms"] for r in runs) for who, runs in reports.items()}
    rate = operations(*size) / (middle["minirnn"] / 1e3)
    return {
        "V, H, layers, B, T": ", ".join(map(str, size)),
        **{f"{who} ms (min)": f"{middle[who]:.1f} ({least[who]:.1f})" for who in reports},
        "speed / torch": f"{ratio(reports, 'minirnn', 'torch'):.2f}",
        "speed / torch tuned": f"{ratio(reports, 'minirnn', 'torch tuned'):.2f}",
        "share of matmul roof": f"{100 * rate / matmul_rate():.0f} %",
        **{
            f"peak MiB {who}": f"{statistics.median(r['peak_mib'] for r in reports[who]):.0f}"
            f" (+{statistics.median(r['above_import_mib'] for r in reports[who]):.0f})"
            for who in ("minirnn", "torch")
        },
        "gradient error minirnn, torch": f"{reports['minirnn'][0]['gradient_error']:.1e}, "
        f"{reports['torch'][0]['gradient_error']:.1e}",
        "float64 difference": f"{difference:.0e}",
        "kept by the LSTM rules per step": f"{kept_by_lstm(size) / 1024:.0f} KiB",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="article", help=f"comma-separated, of {', '.join(SIZES)}")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--play", choices=("minirnn", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        with np.load(options.folder / "weights.npz") as weights:
            playing = play_minirnn if options.play == "minirnn" else play_torch
            gradients = options.folder / f"{options.play}.npz"
            playing(SIZES[options.size], options.steps, dict(weights), gradients)
        return
    rows = [measure(name, options.pairs, options.steps) for name in options.sizes.split(",")]
    print(machine())
    print(f"{options.pairs} runs of each in turn, {options.steps} steps a run; medians (minima)\n")
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
