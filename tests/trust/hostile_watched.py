"""Gives hostile files to everything that loads, under watch; run by ``hostile_campaign.py`` in a process of its own.

An audit hook sees what Python imports, runs and opens meanwhile, and cannot be taken away again.
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from itertools import islice
from pathlib import Path
from time import process_time

from apart import report
from hostile_files import BY_HAND, changed
from trial_runs import RUNS

from minirnn import Checkpoint, load
from minirnn.cli import BAD_CHECKPOINT, USAGE, main
from minirnn.training import CheckpointError, DivergenceError
from minirnn.training.sealed import read_sealed, write_sealed

FORBIDDEN = (
    "import", "exec", "pickle.", "marshal.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.",
    "ctypes.", "socket.",
)  # fmt: skip
SECONDS, BYTES = 1.0, 4 * 2**20  # that reading a file may take: the bytes besides three times those of the file


class Watch:
    """Notes what a call does to the interpreter."""

    def __init__(self, folder: str):
        self.folder, self.on, self.events = folder, False, []
        self.usual: set[str] = set()  # what a good file makes it open, too
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if event == "open" and not self.on:
            self.usual.add(str(arguments[0]))
        elsewhere = event == "open" and not str(arguments[0]).startswith(self.folder)
        if self.on and ((elsewhere and str(arguments[0]) not in self.usual) or event.startswith(FORBIDDEN)):
            self.events.append(f"{event} {arguments[:1]!r}"[:80])

    def over(self, call: Callable[[], str], size: int) -> str:
        """What is wrong with what a call returned or did."""
        self.events.clear()
        tracemalloc.reset_peak()
        before, start, self.on = tracemalloc.get_traced_memory()[0], process_time(), True
        try:
            failure = call()
        except Exception as error:
            failure = f"it raised {error!r}"[:200]
        finally:
            self.on = False
        seconds, memory = process_time() - start, tracemalloc.get_traced_memory()[1] - before
        if self.events:
            return f"it did {', '.join(self.events[:3])}"
        if memory > 3 * size + BYTES:
            return f"it took {memory:,} bytes of memory for a file of {size:,}"
        return failure if seconds < SECONDS else f"it took {seconds:.1f} s"


def loaded(path: Path, kind: str) -> bool:
    """``load`` of the file."""
    load(path)
    return True


def resumed(path: Path, kind: str) -> bool:
    """The start of a run that goes on with the file, and a step of it."""
    trainer = RUNS[kind]()
    before = trainer.books()
    trainer.callbacks = [Checkpoint(path.parent, resume=True)]
    try:
        trainer.callbacks[0].on_start(trainer)
    except CheckpointError:
        if trainer.books() != before:
            raise ValueError("a run that was not gone on with has changed") from None
        raise
    else:
        with suppress(DivergenceError):
            trainer.train_step()
    finally:
        trainer.callbacks[0].on_leave(trainer)
    return True


def command(*words: str) -> Callable[[Path, str], bool]:
    """A command on the file: its exit code says whether it was loaded, its one line on stderr why not."""

    def commanded(path: Path, kind: str) -> bool:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as heard:
            code = main([words[0], str(path), *words[1:]])
        if code in (BAD_CHECKPOINT, USAGE):
            if not heard.getvalue().startswith("minirnn: ") or heard.getvalue().count("\n") != 1:
                raise ValueError(f"it said {heard.getvalue()!r}")
            raise CheckpointError(path, "", "")
        if code:
            raise ValueError(f"exit code {code}, {heard.getvalue()!r}")
        return True

    return commanded


LOADERS: dict[str, dict[str, Callable[[Path, str], bool]]] = {
    "characters": {
        "load": loaded, "resume": resumed, "inspect": command("inspect"),
        "generate": command("generate", "--length", "2"),
    },
    "pairs": {
        "load": loaded, "resume": resumed, "inspect": command("inspect"),
        "translate": command("translate", "a dog", "--max-length", "3"),
    },
}  # fmt: skip


def taken(loader: Callable[[Path, str], bool], path: Path, kind: str, words: str | None) -> str:
    """Whether a file was refused as it must be; those without words may also be taken for what they say they are."""
    try:
        loader(path, kind)
    except CheckpointError as error:
        told = error.reason
        brief = words is None or len(told) < 300  # others may name all arrays of the model
        if told and not (told.isprintable() and brief and (words or "") in told):
            return f"it was refused for {told!r}"
        return ""
    return "it was taken" if words is not None else ""


def main_of(long: bool, seed: int) -> None:
    warnings.simplefilter("ignore")  # to show one, Python would open a file of its own
    with tempfile.TemporaryDirectory() as folder:
        watch, path = Watch(folder), Path(folder, "last.npz")
        good = {}
        for kind, make in RUNS.items():
            make().run(steps=4, callbacks=[Checkpoint(folder, overwrite=True)])
            good[kind] = read_sealed(path)
            write_sealed(Path(folder, "best.npz"), {}, {"kind": "none"})
            for loader in LOADERS[kind].values():  # also to have imported what they need
                assert loader(path, kind)
        tracemalloc.start()

        def tried(what: str, kind: str, number: int, words: str | None = None) -> None:
            size, former = path.stat().st_size, path.read_bytes()
            others = [*LOADERS[kind]][1:]
            other = others[number % len(others)]
            some = ["load", other] if long else ["load"] if number % 4 else [other]
            for name in LOADERS[kind] if long and words is not None else some:
                loader = LOADERS[kind][name]
                failure = watch.over(lambda loader=loader: taken(loader, path, kind, words), size)
                if path.read_bytes() != former:
                    failure = "the file is another now"
                report(f"{kind}, {what}, {name}", failure)

        for number, (what, (blob, words)) in enumerate(BY_HAND.items()):
            path.write_bytes(blob)
            tried(what, "characters", number, words)
        for kind, (arrays, meta) in good.items():
            step = 1 if long else 60
            for number, (what, contents) in enumerate(islice(changed(arrays, meta), seed % step, None, step)):
                write_sealed(path, *contents)
                tried(what, kind, number)


if __name__ == "__main__":
    main_of(sys.argv[1] == "long", int(sys.argv[2]))
