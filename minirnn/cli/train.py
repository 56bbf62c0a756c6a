"""``minirnn train``: a character model of any text."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from minirnn.arrays import use_backend
from minirnn.cli import rehearsal
from minirnn.cli.building import build_trainer, check_directory, description, read_source
from minirnn.cli.console import Console, table
from minirnn.cli.running import command, complain_if_not_saved, prompt_from, run, summary_table
from minirnn.cli.settings import (
    ALTERNATIVES,
    GROUPS,
    SCHEDULE_HELP,
    SETTINGS,
    UsageError,
    defaults,
    merged,
    read_config,
    text_setting,
)
from minirnn.training import CheckpointError
from minirnn.training.checkpoint import read_run
from minirnn.workers import use_workers

DESCRIPTION = """Trains a character model on a text. All of the run stands in one directory: config.toml,
last.npz, best.npz, log.jsonl, samples.txt and, with matplotlib, loss.png.

Ctrl-C finishes the step and saves. --resume goes on, with the settings in the
run's config.toml where no flags are given, and ends with the same bits as a run
that was never stopped."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train a character model on a text file",
        description=DESCRIPTION,
        epilog=SCHEDULE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text_setting(parser)
    parser.add_argument("-o", "--out", metavar="DIR", help="directory of the run")
    parser.add_argument("--config", metavar="FILE", help="settings from a TOML file; flags win over it")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--resume", action="store_true", help="go on with the run in DIR; start it if there is none yet")
    way.add_argument("--overwrite", action="store_true", help="delete the run in DIR, and start anew")
    rehearsals = parser.add_mutually_exclusive_group()
    rehearsals.add_argument(
        "--overfit", action="store_true", help="only train on one batch again and again, and see whether it is learned"
    )
    rehearsals.add_argument(
        "--dry-run", action="store_true", help="only check everything and estimate the time; write nothing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line: log records, then a summary")
    for title, settings in GROUPS.items():
        group = parser.add_argument_group(title)
        for setting in settings:
            setting.add_to(group)
    parser.set_defaults(run=main)


def main(options: argparse.Namespace, console: Console) -> int:
    settings = gather(options)
    if settings["text"] is None:
        raise UsageError("name the text to train on: minirnn train TEXT -o DIR")
    if options.out is None and not (options.overfit or options.dry_run):
        raise UsageError("say where the run may keep its files: minirnn train TEXT -o DIR")
    if options.out == "":
        raise UsageError("-o must name a directory, got an empty name")
    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_directory(out, options.resume, options.overwrite)
    text = read_source(settings["text"])
    with use_backend(settings["backend"]), use_workers(settings["workers"]):
        if options.overfit:
            return rehearsal.overfit(settings, text, console)
        trainer = build_trainer(settings, text)
        console.note(description(trainer, settings))
        if options.dry_run:
            return rehearsal.dry_run(trainer, settings, console, out, options.resume)
        assert out is not None  # only rehearsals do without
        summary, signum = run(trainer, settings, console, out, resume=options.resume, overwrite=options.overwrite)
    console.record(event="summary", **summary)
    console.say(summary_table(summary))
    if complain_if_not_saved(summary, console):
        return 1
    if signum is not None:
        console.say(table([("go on", command("train", "-o", options.out, "--resume"))]))
        return 128 + signum
    console.say(table([("next", command("generate", options.out, "--prompt", prompt_from(text)))]))
    return 0


def of_checkpoint(out: str, given: set[str]) -> dict[str, Any]:
    """Settings that ``last.npz`` knows of the run, if its ``config.toml`` leaves out some; says which nobody knows."""
    rivals = {name: names for names in ALTERNATIVES for name in names}
    missing = [name for name in defaults() if not given.intersection(rivals.get(name, (name,)))]
    if not missing:
        return {}
    _, meta = read_run(out)
    model, training = meta["model"], meta["training"] or {}
    stream = training.get("stream", {})
    names = {"hidden": "hidden_size", "layers": "num_layers", "embed": "embedding_size"}
    names |= {name: name for name in ("cell", "dropout", "tie_weights", "dtype", "seed")}
    known = {name: model[key] for name, key in names.items() if key in model}
    known |= {name: stream[name] for name in ("seq_len", "batch_size") if name in stream}
    known |= {"random_windows": not stream["lanes"]} if stream else {}
    known |= {"optimizer": training["optimizer"].lower()} if training else {}
    unknown = [name for name in missing if name not in known]
    if unknown:
        warnings.warn(
            f"{Path(out, 'config.toml')} does not say what this run had as {', '.join(unknown)}: the defaults hold",
            RuntimeWarning,
            stacklevel=1,
        )
    try:
        return {name: SETTINGS[name].parse(value) for name, value in known.items()}
    except argparse.ArgumentTypeError as error:
        raise CheckpointError(Path(out, "last.npz"), f"a setting {error}", "load only what minirnn wrote") from error


def gather(options: argparse.Namespace) -> dict[str, Any]:
    """The settings: defaults, then those of the run to be resumed, then of the config file, then flags."""
    layers = [defaults()]
    own = Path(options.out or "", "config.toml")
    if options.resume and options.out and own.exists():
        layers.append(read_config(own))
    if options.config:
        layers.append(read_config(options.config))
    flags = {name: value for name, value in vars(options).items() if name in merged()}
    if options.resume and options.out and Path(options.out, "last.npz").is_file():
        layers.insert(1, of_checkpoint(options.out, {name for layer in (*layers[1:], flags) for name in layer}))
    settings = merged(*layers, flags)
    if settings["clip_norm"] and settings["clip_value"]:
        raise UsageError("give --clip-norm or --clip-value, not both")
    if settings["tie_weights"] and settings["embed"] != settings["hidden"]:
        sizes = f"{settings['embed']} and {settings['hidden']}"
        raise UsageError(f"--tie-weights needs --embed and --hidden to be equal, got {sizes}")
    return settings
