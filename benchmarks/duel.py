"""minirnn beside PyTorch on the same task: how questions of training ask, and what they show."""

from __future__ import annotations

from typing import Any

import roof
from harness import Player, Trial, figures, memories, speeds
from measuring import agreement

TABLE = {
    "minirnn ms (min)": "{minirnn[ms]:.1f} ({minirnn[min_ms]:.1f})",
    "torch ms (min)": "{torch[ms]:.1f} ({torch[min_ms]:.1f})",
    "torch tuned ms (min)": "{torch tuned[ms]:.1f} ({torch tuned[min_ms]:.1f})",
    "torch's way": "{way}",
    "speed / torch (by minima)": "{speed[torch][pairs]:.2f} ({speed[torch][minima]:.2f})",
    "speed / torch tuned (by minima)": "{speed[torch tuned][pairs]:.2f} ({speed[torch tuned][minima]:.2f})",
    "share of roof": "{share of roof:.0%}",
    **{
        f"peak MiB (above code), {name}": f"{{{name}[peak_mib]:.0f}} (+{{{name}[above_code_mib]:.0f}})"
        for name in ("minirnn", "torch", "torch tuned")
    },
    "float32 error, minirnn": "{minirnn[gradient_error]:.1e}",
    "float32 error, torch": "{torch[gradient_error]:.1e}",
    "float64 difference": "{difference:.0e}",
}


def duel(trial: Trial, ours: Player, ways: dict[str, Player], operations: float) -> dict[str, Any]:
    """The figures of one row: minirnn, PyTorch by the quickest of its ``ways``, and the roof in the same minutes.

    ``operations`` are those of the matrix products, in units of 1e9. All players are given a ``folder`` for their
    gradients, which must agree.
    """
    opponents, way = trial.opponents(ways)
    reports = trial.contest({"minirnn": ours, **opponents, "roof": roof.PLAYER})
    found = {**figures(reports), "share of roof": roof.share(reports, operations), "runs": reports}
    if opponents:
        found |= {"way": way, "speed": speeds(reports), "memory": memories(reports)}
        found["difference"] = agreement(ours.given["folder"], "minirnn", "torch")
    return found
