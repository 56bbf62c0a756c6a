"""How fast is minirnn on a GPU, beside PyTorch with cuDNN? Layers there and back, whole training steps, and texts.

    python benchmarks/gpu_vs_torch.py -o results           on a machine with a GPU, CuPy and PyTorch for CUDA
    python benchmarks/gpu_vs_torch.py -o results --quick   what can be learned in eight minutes
    python benchmarks/gpu_vs_torch.py -o x --rehearse      without a GPU: tiny rows on stand-ins; shows that all runs

First each kernel is tried against NumPy (gpu_trials.py). Then the test suite runs with CuPy among its backends, and
some of it under compute-sanitizer. Then the rows are measured, the most telling first. With ``--quick`` the headline
rows come before the tests, of which those on CuPy alone run in what is left. When the minutes are over, whatever is
under way is given up. Both files are written again after each result, so that whoever is cut off keeps what there is.

Each row is one precision class, and the float32 switches of PyTorch are set to it one by one; its default is a row of
its own. Both libraries compute all gradients, from the same weights and rotating inputs, in turn in one process
(A B A B), timed by events of the device and by the wall. PyTorch plays eagerly and as a CUDA graph, and minirnn in
several ways (gpu_rows.py): step by step, whole sequences in one launch, and the training step of the character model
as a CUDA graph ("recorded", whose products are IEEE in every class). The quickest counts. The error of each gradient to
PyTorch's in float64 stands beside its time.

Rows are measured by workers, one process for each class, which hand in one row after the other. A row that fails, kills
its worker or never ends is measured again by a new worker, with minirnn step by step alone; and where that succeeds, so
are all further rows of its class. What fails again is reported as such.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gpu_clocks
import gpu_rows
import gpu_trials
from gpu_clocks import Place, environment
from reporting import machine, markdown, shown

HOUSE = Path(__file__).parents[1]
SANITIZED = "tests/rules/test_lstm.py", "tests/rules/test_gru.py", "tests/rules/test_rnn.py", "tests/training"
ON_CUPY = "tests/rules", "tests/nn", "tests/training", "tests/models", "tests/decoding"
SHORTEST = 20.0  # seconds that a check is worth beginning for
FAILED = "not measured: "
CASE = "task", "cell", "layers", "T", "B", "D", "V", "H", "attention", "feed", "precision"
TABLE = {
    "task": "{task}",
    "cell": "{cell}",
    "layers": "{layers}",
    "T, B, H": "{T}, {B}, {H}",
    "D": "{D}",
    "attention, fed back": "{attention}, {feed}",
    "class": "{precision}",
    "minirnn ms (min)": "{minirnn[ms]:.3f} ({minirnn[min_ms]:.3f})",
    "recorded ms (min)": "{recorded[ms]:.3f} ({recorded[min_ms]:.3f})",
    "whole ms (min)": "{whole[ms]:.3f} ({whole[min_ms]:.3f})",
    "grid ms (min)": "{grid[ms]:.3f} ({grid[min_ms]:.3f})",
    "3xtf32 ms (min)": "{3xtf32[ms]:.3f} ({3xtf32[min_ms]:.3f})",
    "torch ms (min)": "{torch[ms]:.3f} ({torch[min_ms]:.3f})",
    "graph ms (min)": "{graph[ms]:.3f} ({graph[min_ms]:.3f})",
    "speed / torch's best": "{speed:.2f}",
    "by the wall": "{wall speed:.2f}",
    "us a step, minirnn": "{minirnn[us_per_step]:.1f}",
    "us a step, recorded": "{recorded[us_per_step]:.1f}",
    "us a step, whole": "{whole[us_per_step]:.1f}",
    "us a step, torch": "{torch[us_per_step]:.1f}",
    "us a step, graph": "{graph[us_per_step]:.1f}",
    "tokens/s, minirnn": "{minirnn[tokens_per_s]:,.0f}",
    "tokens/s, torch": "{torch[tokens_per_s]:,.0f}",
    "error, minirnn": "{error[minirnn]:.1e}",
    "error, recorded": "{error[recorded]:.1e}",
    "error, whole": "{error[whole]:.1e}",
    "error, grid": "{error[grid]:.1e}",
    "error, 3xtf32": "{error[3xtf32]:.1e}",
    "error, torch": "{error[torch]:.1e}",
    "peak MiB, minirnn": "{peak_mib[minirnn]:,.0f}",
    "peak MiB, torch": "{peak_mib[torch]:,.0f}",
    "torch's first kernel": "{first kernel}",
}


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if options.worker:
        return work(Place(options.rehearse))
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(), "rehearsal": options.rehearse, "device": {}}
    results |= {"trials": [], "checks": [], "rows": []}

    def save() -> None:
        (folder / "gpu_vs_torch.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (folder / "gpu_vs_torch.md").write_text(report(results), encoding="utf-8")

    save()  # a folder that cannot be written to is no surprise an hour later
    session = Session(options, results, save)
    try:
        results["device"] = session.crew.measure({"task": "describe", "precision": "ieee"}, session.left() / 2)
        if "failed" in results["device"]:
            print(f"no device: {results['device']['failed']}", file=sys.stderr)
            return 1
        session.try_all()
        if options.quick:
            session.measure_all()
            session.check_all()
        else:
            session.check_all()
            session.measure_all()
    finally:
        session.crew.dismiss()
        save()
    print(report(results))
    asked = *results["trials"], *results["rows"]
    return 1 if any("failed" in row or not row.get("passed", True) for row in asked) else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("-o", "--out", default="gpu_vs_torch", metavar="DIR", help="where the table and the JSON go")
    made.add_argument("--quick", action="store_true", help="the headline rows alone, and the tests last")
    made.add_argument("--minutes", type=float, metavar="M", help="how long all may take (180, or 8 if quick)")
    made.add_argument("--row-minutes", type=float, metavar="M", help="give a row up after so many (5, or 1.5 if quick)")
    made.add_argument("--skip-suite", action="store_true", help="measure without the tests")
    made.add_argument("--rehearse", action="store_true", help="tiny rows without a GPU: whether all runs, not how fast")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return made


class Session:
    """All that is asked of a device, until the minutes are over."""

    def __init__(self, options: argparse.Namespace, results: dict[str, Any], save: Callable[[], None]):
        minutes, row_minutes = (8, 1.5) if options.quick else (180, 5)
        self.end = time.monotonic() + 60 * (minutes if options.minutes is None else options.minutes)
        self.row_seconds = 60 * (row_minutes if options.row_minutes is None else options.row_minutes)
        self.options, self.results, self.save = options, results, save
        self.crew, self.plain = Crew(options.rehearse), set[str]()  # classes whose rows are ``plain``

    def left(self) -> float:
        return self.end - time.monotonic()

    def ask(self, row: dict[str, Any], kept: float = 0.0) -> dict[str, Any]:
        """What a worker finds, within the time of a row, and what is left but for the seconds kept for others."""
        seconds = min(self.row_seconds, self.left() - kept)
        return self.crew.measure(row, seconds) if seconds > 0 else {"failed": "the minutes are over"}

    def try_all(self) -> None:
        half = self.left() / 2
        for name in gpu_trials.trials(self.options.rehearse):
            print(f"trial: {name}", file=sys.stderr, flush=True)
            began = time.monotonic()
            found = self.ask({"task": "trial", "what": name, "precision": "ieee"}, kept=half)
            self.results["trials"].append({"what": name, **found, "seconds": time.monotonic() - began})
            self.save()

    def measure_all(self) -> None:
        rows = gpu_rows.rehearsal() if self.options.rehearse else gpu_rows.rows(self.options.quick)
        for k, row in enumerate(rows):
            print(f"row {k + 1} of {len(rows)}: {label(row)}", file=sys.stderr, flush=True)
            self.results["rows"].append({**row, **self.measured(row)})
            self.save()

    def measured(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row; and if it fails, as much of it as can be had without the ways that nothing else needs."""
        plain = row["precision"] in self.plain
        found = self.ask({**row, "plain": plain})
        if "failed" in found and not plain and len(gpu_rows.ways(row)) > 1:
            again = self.ask({**row, "plain": True})
            if "failed" not in again:
                self.plain.add(row["precision"])
                again["absent"]["all other ways"] = found["failed"]
                return again
        return found

    def check_all(self) -> None:
        for name, command in [] if self.options.rehearse or self.options.skip_suite else checks(self.options.quick):
            seconds = self.left() * (1 if self.options.quick else 0.4)
            if seconds > SHORTEST:
                print(name, file=sys.stderr, flush=True)
                self.results["checks"].append(check(name, command, seconds))
                self.save()


# --- is what is measured right? --------------------------------------------------------------------------------------


def checks(quick: bool) -> list[tuple[str, list[str]]]:
    """What has to pass on the device, by name."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    spread = ["-n", "8", "--maxprocesses", "8"]
    if quick:
        return [("the tests on CuPy", [*pytest, *spread, "-k", "cupy and not strict_cupy", *ON_CUPY])]
    found = [("the test suite, CuPy among its backends", [*pytest, *spread])]
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer:
        watched = [sanitizer, "--tool", "memcheck", "--error-exitcode", "9", "--target-processes", "all"]
        found.append(("compute-sanitizer memcheck", [*watched, *pytest, "-n", "0", "-k", "cupy", *SANITIZED]))
    return found


def check(name: str, command: list[str], seconds: float) -> dict[str, Any]:
    """Runs a command; whether it passed, and its last words."""
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=HOUSE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its workers, too: they would keep its output open
            said = f"{process.communicate()[0].rstrip()}\nnot done after {seconds:.0f} s"
    took, passed = time.monotonic() - began, process.returncode == 0
    return {"check": name, "passed": passed, "seconds": took, "last words": said.strip().splitlines()[-15:]}


# --- workers ---------------------------------------------------------------------------------------------------------


TASKS = {"describe": lambda row, place: place.describe(), "trial": gpu_trials.measure}  # but for measuring rows


def work(place: Place) -> int:
    """A worker: reads rows from stdin, one JSON object a line, and answers with their figures."""
    from minirnn import use_backend
    from minirnn.testing import strict_cupy

    answers = sys.stdout
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # whatever libraries print
        if place.rehearsing:
            cupy = stack.enter_context(strict_cupy())
            few = {"MultiProcessorCount": 2}  # so that blocks wait for each other
            stack.enter_context(patch.dict(cupy.cuda.Device.attributes, few))
            stack.enter_context(patch.multiple(gpu_clocks, WARMUPS=1, REPETITIONS=1, LEAST=1))
        stack.enter_context(use_backend("cupy"))
        for line in sys.stdin:
            try:
                row = json.loads(line)
                found = TASKS.get(row.get("task"), gpu_rows.measure)(row, place)
            except Exception as error:
                traceback.print_exc()
                found = {"failed": gpu_rows.said(error)}
            print(json.dumps(found), file=answers, flush=True)
    return 0


PATIENCE = 10.0  # seconds until a process that was killed must have ended


class Crew:
    """The workers, one for each precision class, for CuPy reads its switch once."""

    def __init__(self, rehearsing: bool, command: Callable[[], list[str]] | None = None):
        worker = [sys.executable, str(Path(__file__)), "--worker", *(["--rehearse"] if rehearsing else [])]
        self.command = command or (lambda: worker)
        self.workers: dict[str, Worker] = {}

    def measure(self, row: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The figures of a row, or why there are none."""
        precision = row["precision"]
        if precision not in self.workers:
            self.workers[precision] = Worker(self.command(), environment(precision))
        found = self.workers[precision].ask(row, seconds)
        if "failed" in found:  # after an error a device may be lost to its process
            self.workers.pop(precision).end()
        return found

    def dismiss(self) -> None:
        while self.workers:
            self.workers.popitem()[1].end()


class Worker:
    """A process that measures rows."""

    def __init__(self, command: list[str], additions: dict[str, str]):
        path = os.pathsep.join([str(HOUSE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": path} | additions,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")  # it has ended

    def ask(self, row: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(row) + "\n")
            self.process.stdin.flush()
            answer = self.answers.get(timeout=seconds)
        except queue.Empty:
            return {"failed": f"not done after {seconds:.0f} s"}
        except OSError:
            answer = ""
        return json.loads(answer) if answer else {"failed": f"the process ended with {self.process.wait()}"}

    def end(self) -> None:
        self.process.kill()
        self.listener.join(PATIENCE)
        with suppress(OSError, subprocess.TimeoutExpired):  # a process may hang in the driver, and is left to it
            self.process.wait(PATIENCE)
            with self.process:  # closes its pipes, what nobody reads any more with them
                pass


# --- results ---------------------------------------------------------------------------------------------------------


def label(row: dict[str, Any]) -> str:
    return ", ".join(str(value) for value in row.values())


def report(results: dict[str, Any]) -> str:
    """Everything for people, in Markdown: conditions, checks, the table, wins and losses, and what failed."""
    measured = [row for row in results["rows"] if "failed" not in row]
    about = ", ".join(f"{name} {value}" for name, value in results["device"].items())
    parts = [f"## {__doc__.partition(chr(10))[0]}"]
    if results["rehearsal"]:
        parts.append("**A rehearsal without a GPU: the figures say nothing about speed.**")
    parts += [f"{about or 'no device'}; {results['machine']}"]
    parts += [f"- {tried['what']}: {outcome(tried)} in {tried['seconds']:.0f} s" for tried in results["trials"]]
    parts += [
        f"- {done['check']}: {'passed' if done['passed'] else 'FAILED'} in {done['seconds']:.0f} s; {last(done)}"
        for done in results["checks"]
    ]
    if measured:
        cells = [{**row, "first kernel": row["kernels"][0]["name"] if row["kernels"] else "-"} for row in measured]
        parts += [markdown(shown(TABLE, cells)), *verdicts(measured)]
    parts += [
        f"- without {name}: {label(case_of(row))}: {why}" for row in measured for name, why in row["absent"].items()
    ]
    parts += [f"- {FAILED}{label(case_of(row))}: {row['failed']}" for row in results["rows"] if "failed" in row]
    return "\n\n".join(parts) + "\n"


def last(done: dict[str, Any]) -> str:
    return (done["last words"] or [""])[-1]


def case_of(row: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, and not what was found."""
    return {name: value for name, value in row.items() if name in CASE}


def outcome(tried: dict[str, Any]) -> str:
    if "failed" in tried:
        return f"FAILED, {tried['failed']}"
    return f"{'passed' if tried['passed'] else 'FAILED'}, error {tried['error']:.1e} of {tried['allowed']:.0e} allowed"


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """How many rows of each class are won, and which are lost."""
    found = []
    for precision in gpu_rows.CLASSES:
        raced = [row for row in rows if row["precision"] == precision and "speed" in row]
        if raced:
            lost = sorted((row for row in raced if row["speed"] < 1), key=lambda row: row["speed"])
            named = "; ".join(f"{row['task']} {row['cell']} {row['T']}, {row['B']}, {row['H']}" for row in lost)
            losses = f", the slowest first: {named}" if lost else ""
            found.append(f"{precision}: minirnn is quicker in {len(raced) - len(lost)} of {len(raced)} rows{losses}")
    return found


if __name__ == "__main__":
    sys.exit(main())
