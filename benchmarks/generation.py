"""How long does a character model take to write one character? Sampling included.

Two LSTM layers, V = 65. Both models start from the same weights (made by minirnn, handed over in a file). PyTorch
carries its state under ``torch.inference_mode`` and draws by ``torch.multinomial``; it plays with one thread and with
two, and the quickest way counts: that of ``nn.LSTM`` as it is installed, and, apart, the quickest without oneDNN, by
``nn.LSTM`` or by ``nn.LSTMCell``. Every player also writes a greedy text; unless all write the same there is no row.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from harness import DisagreementError, Player, Trial, figures, speeds
from measuring import timed

V, LAYERS, GREEDY = 65, 2, 60


def case(H: int, B: int, characters: int, texts: int = 7) -> dict[str, int]:
    return {"H": H, "B": B, "characters": characters, "texts": texts}


SIZES = {
    "tiny": [case(8, 1, 5, texts=1), case(8, 2, 5, texts=1)],
    "small": [case(128, 1, 400), case(128, 16, 100)],
    "medium": [case(256, 1, 200)],
    "large": [case(512, 1, 100), case(512, 16, 50)],
}
TABLE = {
    "H": "{H}",
    "texts at once": "{B}",
    **{
        f"{name}, us (min)": f"{{{name}[us]:.1f}} ({{{name}[min_us]:.1f}})"
        for name in ("minirnn", "torch", "torch tuned", "torch without oneDNN")
    },
    "torch's way": "{way}",
    "without oneDNN": "{way without oneDNN}",
    **{
        f"speed / {name} (by minima)": f"{{speed[{name}][pairs]:.1f}} ({{speed[{name}][minima]:.1f}})"
        for name in ("torch", "torch tuned", "torch without oneDNN")
    },
}


def play_minirnn(H: int, B: int, characters: int, texts: int, folder: str) -> dict[str, Any]:
    import minirnn as mr

    lm = mr.CharLM(mr.Vocabulary("".join(map(chr, range(48, 48 + V)))), H, H, LAYERS)
    with np.load(f"{folder}/weights.npz") as weights:
        lm.load_state_dict(weights)

    def write(k: int) -> None:
        if B == 1:
            for _ in mr.stream_characters(lm, "0", characters, seed=k):
                pass
        else:
            mr.generate(lm, ["0"] * B, characters, seed=k)

    greedy = mr.generate(lm, "0", GREEDY, temperature=0)
    return per_character(timed(write, texts), characters * B) | {"greedy": lm.vocabulary.encode(greedy)[1:].tolist()}


def play_torch(
    H: int, B: int, characters: int, texts: int, folder: str, threads: int, onednn: bool, cells: bool
) -> dict[str, Any]:
    import torch

    torch.set_num_threads(threads)
    torch.backends.mkldnn.enabled = onednn

    class CharLM(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(V, H)
            self.rnn = torch.nn.LSTM(H, H, LAYERS)
            self.head = torch.nn.Linear(H, V)
            self.cells = [torch.nn.LSTMCell(H, H) for _ in range(LAYERS)]  # in a list of Python: not in the state dict

        def forward(self, ids, state):
            if not cells:
                out, state = self.rnn(self.embedding(ids.unsqueeze(0)), state)
                return self.head(out[0]), state
            x, state = self.embedding(ids), list(state or [None] * LAYERS)
            for layer, cell in enumerate(self.cells):
                x, _ = state[layer] = cell(x, state[layer])
            return self.head(x), state

    lm = CharLM().eval()
    with np.load(f"{folder}/weights.npz") as weights:
        lm.load_state_dict({name: torch.from_numpy(a) for name, a in weights.items()})
    for layer, cell in enumerate(lm.cells):
        cell.load_state_dict({name: getattr(lm.rnn, f"{name}_l{layer}") for name, _ in cell.named_parameters()})

    @torch.inference_mode()
    def write(count: int, greedy: bool) -> list[int]:
        ids, state, written = torch.zeros(B, dtype=torch.long), None, []
        for _ in range(count):
            logits, state = lm(ids, state)
            ids = logits.argmax(-1) if greedy else torch.multinomial(torch.softmax(logits, -1), 1).flatten()
            written += ids.tolist()  # the text is wanted as it is written
        return written

    torch.manual_seed(1)
    greedy = write(GREEDY, greedy=True)[::B]
    return per_character(timed(lambda k: write(characters, greedy=False), texts), characters * B) | {"greedy": greedy}


def per_character(times: dict[str, float], characters: int) -> dict[str, float]:
    """Times of whole texts, and microseconds per character."""
    return times | {"us": 1e3 * times["ms"] / characters, "min_us": 1e3 * times["min_ms"] / characters}


def ways_of_torch(given: dict[str, Any], onednn: bool) -> dict[str, Player]:
    return {
        f"{'LSTMCell' if cells else 'LSTM'}, {threads} thread{'s' * (threads > 1)}": Player(
            play_torch, {**given, "threads": threads, "onednn": onednn, "cells": cells}
        )
        for cells in ((False,) if onednn else (False, True))
        for threads in (1, 2)
    }


def measure(case: dict[str, int], trial: Trial) -> dict[str, Any]:
    import minirnn as mr

    with tempfile.TemporaryDirectory() as folder:
        # larger than at first, or the greedy text says little about the state
        weights = {name: 2 * a for name, a in mr.CharLM(V, case["H"], case["H"], LAYERS, seed=1).state_dict().items()}
        np.savez(f"{folder}/weights.npz", **weights)
        given = {**case, "folder": folder}
        opponents, way = trial.opponents(ways_of_torch(given, onednn=True))
        if opponents:
            without = ways_of_torch(given, onednn=False)
            way_without = trial.quickest(without)
            opponents["torch without oneDNN"] = without[way_without]
        reports = trial.contest({"minirnn": Player(play_minirnn, given), **opponents})
    written = [run.pop("greedy") for runs in reports.values() for run in runs]
    if any(text != written[0] for text in written):
        raise DisagreementError(f"the models do not write the same greedy text: {written}")
    found = {**figures(reports), "runs": reports}
    if opponents:
        found |= {"way": way, "way without oneDNN": way_without, "speed": speeds(reports)}
    return found
