"""``minirnn inspect``: what stands in a checkpoint."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.cli.console import Console, bits, table
from minirnn.cli.settings import place
from minirnn.models import CharLM, Seq2Seq
from minirnn.text import PairStream, TextStream, TokenVocabulary
from minirnn.text.showing import visible
from minirnn.training import load
from minirnn.training.kinds import MODULE
from minirnn.training.saving import checkpoint_file, of_model, read_run

UNITS = {CharLM.KIND: TextStream.unit, Seq2Seq.KIND: PairStream.unit}  # what a loss is per
SHOWN = 20  # tokens of a vocabulary


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show what stands in a checkpoint",
        description="Shows what stands in a checkpoint, after checking its seal; of a run its best model, and where "
        "the run stands.",
    )
    parser.add_argument(
        "checkpoint", type=place, metavar="RUN", help="directory of a run (its best.npz), or a .npz file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> int:
    path = checkpoint_file(options.checkpoint)
    arrays, meta = read_run(path)
    model = None if meta["kind"] == MODULE else load(path)  # whether it can be built, too
    own = {name: p.numpy() for name, p in model.named_parameters()} if model else of_model(arrays)
    parameters: dict[str, dict[str, Any]] = {
        name: {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "norm": float(np.linalg.norm(array.astype("float64"))),
            "finite": bool(np.isfinite(array).all()),
        }
        for name, array in own.items()
    }
    training, size = meta["training"], os.path.getsize(path)
    last = Path(options.checkpoint, "last.npz")
    if training is None and last.is_file():  # the best model is a file of its own, and holds no run
        training = read_run(last, meta["kind"])[1]["training"]
    console.record(
        path=os.fspath(path), bytes=size, seal="ok", kind=meta["kind"], model=meta["model"],
        vocabulary=meta["vocabulary"], versions=meta["versions"], training=training, parameters=parameters,
    )  # fmt: skip
    shown = {"class": meta["model"]["class"]} if meta["kind"] == MODULE else meta["model"]
    config = ", ".join(f"{name} {value}" for name, value in shown.items())
    rows = [
        ("file", f"{os.fspath(path)}: {size:,} bytes, {len(arrays)} arrays"),
        ("seal", "ok"),
        ("versions", ", ".join(f"{name} {version}" for name, version in meta["versions"].items())),
        ("model", f"{meta['kind']}: {config}"),
        *_vocabulary_rows(meta["vocabulary"]),
        *_training_rows(training, UNITS.get(meta["kind"], "")),
        ("parameters", f"{sum(array.size for array in own.values()):,}"),
    ]
    console.say(table([(name, visible(value)) for name, value in rows]))
    width = max(map(len, parameters))
    for name, p in parameters.items():
        shape = " x ".join(map(str, p["shape"]))
        broken = "" if p["finite"] else "  NOT FINITE"
        console.say(f"  {name:<{width}}  {shape:>12}  {p['dtype']}  norm {p['norm']:.4g}{broken}")
    return 0


def _vocabulary_rows(vocabulary: str | dict[str, Any] | None) -> list[tuple[str, str]]:
    if vocabulary is None:
        return [("vocabulary", "none")]
    if isinstance(vocabulary, str):
        return [("vocabulary", f"{len(vocabulary)} characters: {_escaped(vocabulary)}")]
    return [(side, _in_short(TokenVocabulary.from_plain(vocabulary[side]))) for side in ("source", "target")]


def _in_short(vocabulary: TokenVocabulary) -> str:
    """The last tokens of byte pairs, for the first are single bytes; of others the first, the most frequent."""
    some = vocabulary.tokens[-SHOWN:] if vocabulary.units == "bpe" else vocabulary.tokens[:SHOWN]
    shown = " ".join(_escaped(token) for token in some)
    return f"{len(vocabulary):,} tokens ({vocabulary.units}), such as {shown}"


def _training_rows(training: dict[str, Any] | None, unit: str) -> list[tuple[str, str]]:
    if training is None:
        return [("training", "none: this file holds a model and no run")]
    best, stream = training["best"], training["stream"]
    shown = "not known: no epoch is complete"
    if best is not None:
        shown = (f"{bits(best):.4f} bits per {unit}" if unit else f"{best:.4g}") + ", at the end of an epoch"
    size = f"{stream['batch_size']} pairs" if unit else ", ".join(f"{name} {x}" for name, x in stream.items())
    if unit and "seq_len" in stream:
        size = f"{stream['batch_size']} x {stream['seq_len']}, {'lanes' if stream['lanes'] else 'random windows'}"
    return [
        ("step", f"{training['step']:,}, after {training['epoch']:,} whole epochs"),
        ("best", shown),
        ("optimizer", training["optimizer"]),
        *([("batches", size)] if size else []),
        *([("finished", training["finished"])] if training["finished"] else []),
    ]


def _escaped(characters: str) -> str:
    return repr(characters)[1:-1]
