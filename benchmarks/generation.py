"""How long does a character model take to write one character? Sampling included, beside PyTorch.

    python benchmarks/generation.py [--sizes 128,512] [--pairs 7] [--characters 400] [--batches 1,16] [--json FILE]

Both models start from the same weights (made by minirnn, handed over in a file). PyTorch carries its state under
``torch.inference_mode``, and draws by ``torch.multinomial``; it plays as installed and with oneDNN switched off, with
one thread and with two, and its quickest way counts. minirnn plays with one BLAS thread and with two. Each process also
writes a greedy text, and the comparison is refused unless all write the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import contest, machine, print_table, ratio, report

V, LAYERS, CHECKED, REPEATS = 65, 2, 60, 7


def play_minirnn(H: int, characters: int, B: int, weights: dict) -> None:
    import minirnn as mr

    lm = mr.CharLM(mr.Vocabulary("".join(map(chr, range(48, 48 + V)))), H, H, LAYERS)
    lm.load_state_dict(weights)
    prompts = ["0"] * B

    def write() -> None:
        if B == 1:
            for _ in mr.stream_characters(lm, "0", characters, seed=1):
                pass
        else:
            mr.generate(lm, prompts, characters, seed=1)

    greedy = mr.generate(lm, "0", CHECKED, temperature=0)
    play(write, characters * B, lm.vocabulary.encode(greedy)[1:].tolist())


def play_torch(H: int, characters: int, B: int, weights: dict, threads: int, onednn: bool) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.backends.mkldnn.enabled = onednn

    class CharLM(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(V, H)
            self.rnn = torch.nn.LSTM(H, H, LAYERS)
            self.head = torch.nn.Linear(H, V)

        def forward(self, ids, state=None):
            out, state = self.rnn(self.embedding(ids), state)
            return self.head(out[-1]), state

    lm = CharLM().eval()
    lm.load_state_dict({name: torch.from_numpy(a) for name, a in weights.items()})

    @torch.inference_mode()
    def write(count: int = characters, greedy: bool = False) -> list[int]:
        ids, state, written = torch.zeros((1, B), dtype=torch.long), None, []
        for _ in range(count):
            logits, state = lm(ids, state)
            chosen = logits.argmax(-1) if greedy else torch.multinomial(torch.softmax(logits, -1), 1)
            written += chosen.flatten().tolist()  # the text is wanted as it is written
            ids = chosen.reshape(1, B)
        return written

    torch.manual_seed(1)
    play(write, characters * B, write(CHECKED, greedy=True)[::B])


def play(write, characters: int, greedy: list[int]) -> None:
    write()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        write()
        times.append(1e6 * (time.perf_counter() - start) / characters)
    report(median_us=statistics.median(times), min_us=min(times), greedy=greedy)


def measure(H: int, B: int, pairs: int, characters: int) -> dict:
    import minirnn as mr

    with tempfile.TemporaryDirectory() as folder:
        # larger than at first, or the greedy text says little about the state
        weights = {name: 2 * a for name, a in mr.CharLM(V, H, H, LAYERS, seed=1).state_dict().items()}
        np.savez(Path(folder) / "weights.npz", **weights)
        arguments = ["--size", str(H), "--batch", str(B), "--characters", str(characters), "--folder", folder]
        ours = [f"minirnn, {n} thread{'s' * (n > 1)}" for n in (1, 2)]
        contestants = {
            name: (["--play", "minirnn", *arguments], {"OPENBLAS_NUM_THREADS": str(n)})
            for n, name in enumerate(ours, start=1)
        }
        for flag, name in (("", "torch"), ("--no-onednn", "torch without oneDNN")):
            for n in (1, 2):
                played = ["--play", "torch", "--threads", str(n), *([flag] if flag else []), *arguments]
                contestants[f"{name}, {n} thread{'s' * (n > 1)}"] = (played, {})
        reports = contest(Path(__file__), contestants, pairs)
    texts = {name: runs[0]["greedy"] for name, runs in reports.items()}
    if len({tuple(text) for text in texts.values()}) > 1:
        sys.exit(f"the models do not write the same greedy text: {texts}")
    middle = {name: statistics.median(r["median_us"] for r in runs) for name, runs in reports.items()}
    least = {name: min(r["min_us"] for r in runs) for name, runs in reports.items()}

    def quickest(names: list[str]) -> str:
        return min(names, key=middle.__getitem__)

    best = quickest(ours)
    installed, without = (
        quickest([n for n in reports if n.startswith(f"{who},")]) for who in ("torch", "torch without oneDNN")
    )
    return {
        "H": H,
        "texts": B,
        **{f"{name}, us (min)": f"{middle[name]:.1f} ({least[name]:.1f})" for name in reports},
        "speed / torch": f"{ratio(reports, best, installed, 'median_us'):.1f}",
        "speed / torch without oneDNN": f"{ratio(reports, best, without, 'median_us'):.1f}",
        "by minima": f"{least[installed] / least[best]:.1f}, {least[without] / least[best]:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="128,512", help="hidden sizes, comma-separated")
    parser.add_argument("--batches", default="1", help="how many texts are written at once, comma-separated")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--characters", type=int, default=400)
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--play", choices=("minirnn", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--no-onednn", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        with np.load(options.folder / "weights.npz") as weights:
            common = options.size, options.characters, options.batch, dict(weights)
        if options.play == "minirnn":
            play_minirnn(*common)
        else:
            play_torch(*common, options.threads, not options.no_onednn)
        return
    rows = [
        measure(int(H), int(B), options.pairs, options.characters)
        for B in options.batches.split(",")
        for H in options.sizes.split(",")
    ]
    print(machine())
    print(f"{options.pairs} runs of each in turn, {REPEATS} texts of {options.characters} characters a run;")
    print("microseconds per character, medians (minima)\n")
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
