"""How long does ``import minirnn`` take beside ``import numpy``, which is part of it?

Each import in a bare interpreter of its own (``python -S``, so that nothing is loaded beforehand), of files compiled
once to a folder of their own. The clock stands around the import statement alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

from harness import Player, Trial, figures, ratio

SIZES = {"tiny": [{"times": 1}], "small": [{"times": 5}]}
MODULES = "numpy", "minirnn", "torch"
TABLE = {
    **{f"{module}, ms (min)": f"{{{module}[ms]:.0f}} ({{{module}[min_ms]:.0f}})" for module in MODULES},
    "minirnn / numpy (by minima)": "{slowness[numpy][pairs]:.2f} ({slowness[numpy][minima]:.2f})",
    "minirnn / torch (by minima)": "{slowness[torch][pairs]:.2f} ({slowness[torch][minima]:.2f})",
}


def play(module: str, times: int, folder: str) -> dict[str, float]:
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    path = [os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONPYCACHEPREFIX": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run() -> float:
        command = [sys.executable, "-S", "-c", code]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return 1e3 * float(done.stdout)

    run()  # compiles
    found = sorted(run() for _ in range(times))
    return {"ms": found[times // 2], "min_ms": found[0]}


def measure(case: dict[str, int], trial: Trial) -> dict[str, Any]:
    modules = MODULES if trial.torch else MODULES[:2]
    with tempfile.TemporaryDirectory() as folder:
        given = {**case, "folder": folder}
        reports = trial.contest({module: Player(play, {**given, "module": module}) for module in modules})
    found = figures(reports)
    slowness = {
        module: {
            "pairs": ratio(reports, "minirnn", module),
            "minima": found["minirnn"]["min_ms"] / found[module]["min_ms"],
        }
        for module in modules
        if module != "minirnn"
    }
    return {**found, "slowness": slowness, "runs": reports}
