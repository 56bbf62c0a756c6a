"""``minirnn inspect``: what stands in a checkpoint."""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from minirnn.cli.console import Console, bits, table, visible
from minirnn.training import load
from minirnn.training.checkpoint import checkpoint_file, read_run


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show what stands in a checkpoint",
        description="Shows what stands in a checkpoint, after checking its seal.",
    )
    parser.add_argument("checkpoint", metavar="RUN", help="directory of a run (its last.npz), or a .npz file")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> int:
    path = checkpoint_file(options.checkpoint)
    arrays, meta = read_run(path)
    lm = load(path)  # whether it can be built, too
    parameters: dict[str, dict[str, Any]] = {
        name: {
            "shape": list(p.shape),
            "dtype": str(p.dtype),
            "norm": float(np.linalg.norm(p.numpy().astype("float64"))),
            "finite": bool(np.isfinite(p.numpy()).all()),
        }
        for name, p in lm.named_parameters()
    }
    training = meta["training"]
    size = os.path.getsize(path)
    characters = meta["vocabulary"]
    console.record(
        path=os.fspath(path), bytes=size, seal="ok", model=meta["model"], vocabulary=characters,
        versions=meta["versions"], training=training, parameters=parameters,
    )  # fmt: skip
    config = ", ".join(f"{name} {value}" for name, value in meta["model"].items())
    rows = [
        ("file", f"{visible(os.fspath(path))}: {size:,} bytes, {len(arrays)} arrays"),
        ("seal", "ok"),
        ("versions", ", ".join(f"{name} {version}" for name, version in meta["versions"].items())),
        ("model", config),
        ("vocabulary", "none" if characters is None else f"{len(characters)} characters: {_escaped(characters)}"),
        *_training_rows(training),
        ("parameters", f"{sum(p.size for p in lm.parameters()):,}"),
    ]
    console.say(table([(name, visible(value)) for name, value in rows]))
    width = max(map(len, parameters))
    for name, p in parameters.items():
        shape = " x ".join(map(str, p["shape"]))
        broken = "" if p["finite"] else "  NOT FINITE"
        console.say(f"  {name:<{width}}  {shape:>12}  {p['dtype']}  norm {p['norm']:.4g}{broken}")
    return 0


def _training_rows(training: dict[str, Any] | None) -> list[tuple[str, str]]:
    if training is None:
        return [("training", "none: this file holds a model and no run")]
    best = "none yet" if training["best"] is None else f"{bits(training['best']):.4f} bits per character"
    stream = training["stream"]
    return [
        ("step", f"{training['step']:,}, after {training['epoch']:,} whole epochs"),
        ("best", best),
        ("optimizer", training["optimizer"]),
        (
            "batches",
            f"{stream['batch_size']} x {stream['seq_len']}, {'lanes' if stream['lanes'] else 'random windows'}",
        ),
        *([("finished", training["finished"])] if training["finished"] else []),
    ]


def _escaped(characters: str) -> str:
    return repr(characters)[1:-1]
