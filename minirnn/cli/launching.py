"""A training command from its flags to its last line, whatever it trains: ``train`` and ``train-seq2seq`` are this."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from minirnn.arrays import use_backend
from minirnn.cli import rehearsal
from minirnn.cli.building import check_directory
from minirnn.cli.console import Console, table
from minirnn.cli.idle import refuse_idle
from minirnn.cli.layer_options import options_in
from minirnn.cli.running import command, complain_if_not_saved, run, summary_table
from minirnn.cli.settings import UsageError, place
from minirnn.cli.tables import IDLE
from minirnn.cli.tasks import Task
from minirnn.training import CheckpointError
from minirnn.training.alone import Alone
from minirnn.training.data_parallel import DataParallel
from minirnn.training.ranks import OneRank
from minirnn.training.saving import read_run
from minirnn.workers import use_workers

STARTED = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"  # by MPICH and by Open MPI: how many processes there are
REST = """ All of the run stands in one directory: config.toml,
last.npz, best.npz, log.jsonl, samples.txt and, with matplotlib, loss.png.

Ctrl-C finishes the step and saves; once more breaks it off, and saves the step
before. --resume goes on, with the settings in the run's config.toml where no
flags are given, and last.npz ends with the same bits as that of a run that was
never stopped. DIR stands for the best model, best.npz, wherever a command reads
a model.

mpiexec -n 2 minirnn ... --data-parallel shares every batch among two processes."""


def add_training_parser(commands: Any, task: Task, help: str, purpose: str, epilog: str) -> argparse.ArgumentParser:
    """Adds the command of a task, and returns its parser."""
    parser = commands.add_parser(
        task.table.command,
        help=help,
        description=purpose + REST,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--out", type=place, metavar="DIR", help="directory of the run")
    parser.add_argument("--config", type=place, metavar="FILE", help="settings from a TOML file; flags win over it")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--resume", action="store_true", help="go on with the run in DIR; start it if there is none yet")
    way.add_argument("--overwrite", action="store_true", help="delete the run in DIR, and start anew")
    rehearsals = parser.add_mutually_exclusive_group()
    rehearsals.add_argument(
        "--overfit", action="store_true",
        help="only train on one batch, without anything random, and see whether it is learned in --steps (1000)",
    )  # fmt: skip
    rehearsals.add_argument(
        "--dry-run", action="store_true", help="only check everything and estimate the time; write nothing"
    )
    parser.add_argument(
        "--data-parallel", action="store_true", help="share every batch among the processes that mpiexec has started"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line: log records, then a summary")
    task.table.add_to(parser)
    parser.set_defaults(run=partial(main, task=task))
    return parser


def main(options: argparse.Namespace, console: Console, task: Task) -> int:
    settings = gather(options, task)
    rehearsing = options.overfit or options.dry_run
    task.check(settings)
    parallel = processes(options.data_parallel, settings["deterministic"], rehearsing, console)
    if options.out is None and not rehearsing:
        words = f"minirnn {task.table.command} {task.table.data.metavar} -o DIR"
        raise UsageError(f"say where the run may keep its files: {words}")
    out = None if options.out is None else Path(options.out)
    if out is not None and not rehearsing and parallel.rank == 0:
        check_directory(out, options.resume, options.overwrite)
    data = task.read(settings)
    with use_backend(settings["backend"]), use_workers(settings["workers"]):
        if options.overfit:
            return rehearsal.overfit(settings, data, task, console)
        trainer = task.trainer(settings, data)
        console.note(task.description(trainer, settings))
        if options.dry_run:
            return rehearsal.dry_run(trainer, settings, task, console, out, options.resume)
        assert out is not None  # only rehearsals do without
        trainer.parallel = parallel
        summary, signum = run(trainer, settings, console, out, task, resume=options.resume, overwrite=options.overwrite)
    if parallel.rank:
        return 0
    with suppress(OSError) if signum else nullcontext():  # whoever closed the terminal hears of nothing
        console.record(event="summary", **summary)
        console.say(summary_table(summary))
        if complain_if_not_saved(summary, console):
            return 1
        if signum:
            console.say(table([("go on", command(task.table.command, "-o", options.out, "--resume"))]))
        else:
            console.say(table([("next", command(*task.next_words(options.out, data)))]))
    return 128 + signum if signum else 0


def processes(data_parallel: bool, deterministic: bool, rehearsing: bool, console: Console) -> Alone:
    """Who trains: this process alone, or all that ``mpiexec`` has started.

    Raises
    ------
    BackendError, UsageError, ValueError
    """
    if not data_parallel:
        started = next((int(os.environ[name]) for name in STARTED if os.environ.get(name, "").isdecimal()), 1)
        if started > 1:
            raise UsageError(f"{started} processes were started; give --data-parallel, so that they share one run")
        return DataParallel(True, OneRank()) if deterministic else Alone()
    if rehearsing:
        raise UsageError("--overfit and --dry-run take one process; leave out --data-parallel")
    parallel = DataParallel(deterministic)
    console.first = parallel.rank == 0
    console.note(
        "processes   1: mpiexec -n N minirnn ... shares every batch among N"
        if parallel.size == 1
        else f"processes   {parallel.size} share every batch"
    )
    return parallel


def of_checkpoint(out: str, meta: Mapping[str, Any], given: set[str], task: Task) -> dict[str, Any]:
    """Settings that ``last.npz`` knows of the run, if its ``config.toml`` leaves out some; says which nobody knows."""
    rivals = {name: names for names in task.table.alternatives for name in names}
    missing = [name for name in task.table.defaults() if not given.intersection(rivals.get(name, (name,)))]
    if not missing:
        return {}
    known = task.known(meta["model"], meta["training"] or {})
    unknown = [name for name in missing if name not in known]
    if unknown:
        warnings.warn(
            f"{Path(out, 'config.toml')} does not say what this run had as {', '.join(unknown)}: the defaults hold",
            RuntimeWarning,
            stacklevel=1,
        )
    try:
        return {name: task.table.settings[name].parse(value) for name, value in known.items()}
    except argparse.ArgumentTypeError as error:
        raise CheckpointError(Path(out, "last.npz"), f"a setting {error}", "load only what minirnn wrote") from error


def gather(options: argparse.Namespace, task: Task) -> dict[str, Any]:
    """The settings: defaults, then those of the run to be resumed, then of the config file, then flags."""
    rows = task.table
    layers = [rows.defaults()]
    own, last = Path(options.out or "", "config.toml"), Path(options.out or "", "last.npz")
    resumed = bool(options.resume and options.out and last.is_file())
    meta = read_run(last, task.kind)[1] if resumed else {}  # first: settings of another kind of run would be no help
    if options.resume and options.out and own.exists():
        layers.append(rows.read_config(own))
    if options.config:
        layers.append(rows.read_config(options.config))
    flags = {name: value for name, value in vars(options).items() if name in rows.settings}
    if resumed:
        given = {name for layer in (*layers[1:], flags) for name in layer}
        layers.insert(1, of_checkpoint(options.out, meta, given, task))
    settings = rows.merged(*layers, flags)
    refuse_idle(IDLE, options.given, vars(options) | settings)
    if settings["clip_norm"] and settings["clip_value"]:
        raise UsageError("give --clip-norm or --clip-value, not both")
    tied = next(name for name in settings if name.startswith("tie_"))
    proj_size = options_in(settings["layer_options"]).get("proj_size")
    put_out, flag = (proj_size, "proj_size") if proj_size else (settings["hidden"], "--hidden")
    if settings[tied] and settings["embed"] != put_out:
        sizes = f"{settings['embed']} and {put_out}"
        raise UsageError(f"--{tied.replace('_', '-')} needs --embed and {flag} to be equal, got {sizes}")
    return settings
