"""``minirnn train``: a character model of any text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minirnn.arrays import use_backend
from minirnn.cli import rehearsal
from minirnn.cli.building import build_trainer, check_directory, description, read_source
from minirnn.cli.console import Console, table
from minirnn.cli.running import command, prompt_from, run, summary_table
from minirnn.cli.settings import GROUPS, SCHEDULE_HELP, UsageError, defaults, merged, read_config, text_setting

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
    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_directory(out, options.resume, options.overwrite)
    text = read_source(settings["text"])
    with use_backend(settings["backend"]):
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
    if signum is not None:
        console.say(table([("go on", command("train", "-o", options.out, "--resume"))]))
        return 128 + signum
    console.say(table([("next", command("generate", options.out, "--prompt", prompt_from(text)))]))
    return 0


def gather(options: argparse.Namespace) -> dict[str, Any]:
    """The settings: defaults, then those of the run to be resumed, then of the config file, then flags."""
    layers = [defaults()]
    own = Path(options.out or "", "config.toml")
    if options.resume and options.out and own.exists():
        layers.append(read_config(own))
    if options.config:
        layers.append(read_config(options.config))
    flags = {name: value for name, value in vars(options).items() if name in merged()}
    settings = merged(*layers, flags)
    if settings["clip_norm"] and settings["clip_value"]:
        raise UsageError("give --clip-norm or --clip-value, not both")
    if settings["tie_weights"] and settings["embed"] != settings["hidden"]:
        sizes = f"{settings['embed']} and {settings['hidden']}"
        raise UsageError(f"--tie-weights needs --embed and --hidden to be equal, got {sizes}")
    return settings
