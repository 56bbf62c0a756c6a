"""Where does the memory of a training step go? The interpreter and imports, code loaded at first use, the task itself.

The step is that of ``train_step.py``; all figures are peaks, in MiB. Malloc tuned keeps what it has once had. Beside
them stands what the pullbacks of the LSTM rules keep of every step of a sequence, which is what BPTT needs: in float32
``6 H B`` numbers a layer, gates, cell state and output.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import Any

import numpy as np
import train_step
from harness import MALLOC_TUNED, Player, Trial, figures, memories

SIZES = {size: [{**case, "steps": 2} for case in cases] for size, cases in train_step.SIZES.items()}
PLAYERS = "minirnn", "torch", "torch tuned"
TABLE = {
    "V, H, layers, B, T": "{V}, {H}, {layers}, {B}, {T}",
    **{
        f"{name}: import, code, task": f"{{{name}[import_mib]:.0f}}, +{{{name}[loaded_mib]:.0f}}, "
        f"+{{{name}[above_code_mib]:.0f}}"
        for name in PLAYERS
    },
    **{f"above import / {name}": f"{{memory[{name}][import]:.2f}}" for name in PLAYERS[1:]},
    **{f"above code / {name}": f"{{memory[{name}][code]:.2f}}" for name in PLAYERS[1:]},
    "kept per time step, KiB": "{kept_kib:.1f}",
}


def kept(H: int, layers: int, B: int, T: int) -> float:
    """KiB that the pullbacks of the LSTM rules hold per time step."""
    import minirnn as mr
    from minirnn.testing import saved_bytes

    random = np.random.default_rng(0)
    a, h, c, W = (random.standard_normal(s, dtype="float32") for s in ((T, 4 * H, B), (H, B), (H, B), (4 * H, H)))
    return layers * (saved_bytes(mr.rules.lstm(a, h, c, W)[1]) - W.nbytes) / T / 1024


def measure(case: dict[str, int], trial: Trial) -> dict[str, Any]:
    V, H, layers, B, T, _ = case.values()
    with tempfile.TemporaryDirectory() as folder:
        train_step.write_weights(folder, V, H, layers)
        given = {**case, "folder": folder}
        players = {"minirnn": Player(train_step.play_minirnn, given)}
        if trial.torch:
            players["torch"] = train_step.ways_of_torch(given)["batch first, plain Adam"]
            players["torch tuned"] = replace(players["torch"], environment=MALLOC_TUNED)
        reports = trial.contest(players)
    found = figures(reports)
    for name, values in found.items():
        found[name] = {**values, "loaded_mib": values["code_mib"] - values["import_mib"]}
    return {**found, "memory": memories(reports), "kept_kib": kept(H, layers, B, T), "runs": reports}
