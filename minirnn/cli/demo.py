"""``minirnn demo``: a minute of training, from the gradient check to the text that the model then writes."""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from minirnn.arrays import use_backend
from minirnn.checking import GradcheckReport
from minirnn.cli.building import check_directory
from minirnn.cli.console import Console, bits, table
from minirnn.cli.gradcheck import check_char_lm
from minirnn.cli.idle import ANY, Idle
from minirnn.cli.running import command, complain_if_not_saved, run, summary_table
from minirnn.cli.settings import BACKENDS, UsageError, one_of, place, real, whole
from minirnn.cli.tasks import Characters, written
from minirnn.text import entropy_of_characters
from minirnn.text.showing import visible
from minirnn.training import RunDirectoryError, Trainer

# One layer, large steps that shrink along a cosine: what learns most in a minute on two cores.
TASK = Characters()
SETTINGS = {"layers": 1, "batch_size": 32, "lr": 1e-2, "schedule": "cosine", "schedule_factor": 0.02, "val_split": 0.02}
QUICK = {"hidden": 32, "embed": 16, "seq_len": 20, "batch_size": 16, "steps": 300, "log_every": 25}
QUICK_TEXT = 40_000  # characters
CORPUS = "corpus.txt"
IDLE = (
    Idle({"minutes": ANY}, ("quick", True), f"it always takes {QUICK['steps']} steps"),
    Idle({"overwrite": ANY}, ("out", None), "a new directory holds no run"),
)
PROMPT = "The "


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="see it all in about a minute: check, train, write",
        description="Trains a small model for about a minute on the help texts that every Python carries, and shows "
        "each stage: the gradient check, samples before and after, the falling loss, the learning curve.",
    )
    parser.add_argument("--minutes", type=real(0, above=True), default=1.0, metavar="M", help="how long to train (1)")
    parser.add_argument("--seed", type=whole(0), default=1, metavar="N", help="of weights and samples (1)")
    parser.add_argument(
        "--backend", type=one_of(*BACKENDS), default="numpy", metavar="{auto,numpy,cupy}",
        help="where to compute; the model is too small for a GPU to pay (numpy)",
    )  # fmt: skip
    parser.add_argument("--out", type=place, metavar="DIR", help="keep everything there (a new temporary directory)")
    parser.add_argument("--overwrite", action="store_true", help="delete the run in DIR")
    parser.add_argument("--quick", action="store_true", help="a few seconds only, with a smaller model and text")
    parser.set_defaults(run=main, idle=IDLE)


def main(options: argparse.Namespace, console: Console) -> int:
    corpus = embedded_corpus()[: QUICK_TEXT if options.quick else None]
    directory = prepare(options)
    text_file = directory / CORPUS
    text_file.write_text(corpus, encoding="utf-8", newline="")
    asked = {"seed": options.seed, "backend": options.backend, "text": os.fspath(text_file)}
    with use_backend(options.backend):
        length = QUICK if options.quick else {"steps": 1000}
        settings = TASK.table.merged(TASK.table.defaults(), SETTINGS, asked, length)
        if not options.quick:
            limits = {"steps": steps_in(options.minutes, settings, corpus), "max_minutes": 1.5 * options.minutes}
            settings = TASK.table.merged(settings, limits)
        trainer = TASK.trainer(settings, corpus)
        introduce(console, trainer, settings, directory)
        show_gradient_check(console, check_char_lm(settings["cell"], layers=settings["layers"], seed=options.seed))
        show_baseline(console, corpus, trainer)
        heading(console, "Before training, it writes noise")
        console.say(sample(trainer, options.seed))
        heading(console, "Training")
        summary, signum = run(trainer, settings, console, directory, TASK, overwrite=True)
        show_loss(console, trainer)
        heading(console, "After training")
        console.say(sample(trainer, options.seed))
    heading(console, "What was reached")
    console.say(summary_table(summary))
    if complain_if_not_saved(summary, console):
        return 1
    show_what_next(console, summary, directory)
    return 0 if signum is None else 128 + signum


def embedded_corpus() -> str:
    """The help texts that come with Python: about 465,000 characters of documentation."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def prepare(options: argparse.Namespace) -> Path:
    """The directory of the demo's run: new, or one that the user has named."""
    if options.out is None:
        return Path(tempfile.mkdtemp(prefix="minirnn-demo-"))
    directory = Path(options.out)
    try:
        check_directory(directory, overwrite=options.overwrite)
    except RunDirectoryError as error:
        raise UsageError(f"{directory} is a file or holds another run; give --overwrite, or another --out") from error
    if (directory / CORPUS).exists() and not options.overwrite:
        raise UsageError(f"{directory} holds a {CORPUS} already; give --overwrite, or another --out")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def steps_in(minutes: float, settings: dict[str, Any], corpus: str) -> int:
    """How many steps will take about so many minutes, by a second or two of steps on a model that is then forgotten."""
    trainer = TASK.trainer(settings, corpus)
    times: list[float] = []
    while len(times) < 10 or (sum(times) < 1.5 and len(times) < 100):
        started = time.perf_counter()
        trainer.train_step()
        times.append(time.perf_counter() - started)
    # The lower quartile: what else the machine does just now should not shorten the whole demo.
    return max(1, round(60 * minutes / sorted(times)[len(times) // 4]))


def heading(console: Console, text: str) -> None:
    console.say(f"\n{text}\n{'-' * len(text)}")


def introduce(console: Console, trainer: Trainer, settings: dict[str, Any], directory: Path) -> None:
    console.say(
        "minirnn trains a network that reads text one character at a time and guesses\n"
        "the next one. The text is the documentation that every Python carries. You will\n"
        "see its gradients checked, what it writes before and after, and its loss fall.\n"
    )
    console.say(TASK.description(trainer, settings))
    console.say(table([("directory", os.fspath(directory))]))


def show_gradient_check(console: Console, report: GradcheckReport) -> None:
    heading(console, "Are the gradients right?")
    console.say(
        "The backward pass is written by hand. Here a small copy of the model in float64\n"
        "is run through the same code, and each gradient is compared with what happens\n"
        "to the loss if that one number moves a little. Errors near 1e-14 are rounding.\n"
    )
    rows = [("argument", "shape", "entries", "largest error", "")]
    for a in report.arguments:
        verdict = "ok" if a.ok else "WRONG"
        rows.append((a.name, " x ".join(map(str, a.shape)), str(a.entries), f"{a.max_error:.1e}", verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    console.say("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))


def show_baseline(console: Console, corpus: str, trainer: Trainer) -> None:
    heading(console, "What to beat")
    blind, entropy = trainer.model.vocab_size.bit_length(), entropy_of_characters(corpus)
    console.say(
        f"Loss is measured in bits per character. Someone who only knows how often each\n"
        f"character appears needs {entropy:.2f} bits: their entropy. Below that, the order was\n"
        f"learned. (A code of fixed length takes {blind}.)"
    )


def show_loss(console: Console, trainer: Trainer, shown: int = 12) -> None:
    """The falling loss in one line: for those who were not there, and for a file."""
    records = [record for record in trainer.history if "loss" in record]
    if records:
        chosen = records[:: math.ceil(len(records) / shown)]
        console.say("Loss along the way, in bits per character:")
        console.say("  " + " ".join(f"{bits(record['loss']):.2f}" for record in chosen))


def sample(trainer: Trainer, seed: int) -> str:
    """What the model writes now, made to stand out."""
    text = written(trainer, PROMPT, length=300, temperature=0.7, seed=seed)
    width = 76
    lines = [
        line[k : k + width] for line in visible(text, keep="\n").split("\n") for k in range(0, len(line) or 1, width)
    ]
    return "\n".join(f"  | {line}".rstrip() for line in lines)


def show_what_next(console: Console, summary: dict[str, Any], directory: Path) -> None:
    heading(console, "What next")
    where = os.fspath(directory)
    picture = directory / "loss.png"
    rows = [
        *([("look at", os.fspath(picture))] if picture.exists() else []),
        ("write more", command("generate", where, "--prompt", PROMPT)),
        ("your own text", command("train", "YOUR.txt", "-o", "runs/a")),
        ("all gradients", command("gradcheck", "--all")),
        ("all settings", command("train", "--help")),
    ]
    console.say(table(rows))
