"""How fast is minirnn on a GPU, beside PyTorch with cuDNN? Layers there and back, whole training steps, and texts.

    python benchmarks/gpu_vs_torch.py -o results           on a machine with a GPU, CuPy and PyTorch for CUDA
    python benchmarks/gpu_vs_torch.py -o results --quick   the headline rows alone, some minutes
    python benchmarks/gpu_vs_torch.py -o x --rehearse      without a GPU: tiny rows on stand-ins; shows that all runs

First the test suite runs with CuPy among its backends, then some of it under compute-sanitizer, then the rows are
measured, the most telling first, until all are or the hours are over. Each row is one precision class, and the
float32 switches of PyTorch are set to it one by one; its default is a row of its own. Both libraries compute all
gradients, from the same weights and rotating inputs, in turn in one process (A B A B), timed by events of the device
and by the wall. PyTorch plays eagerly and as a CUDA graph, and so does minirnn in the training step of the character
model ("recorded", whose products are IEEE in every class); the quicker counts. The error of each gradient to PyTorch's
in float64 stands beside its time.

Rows are measured by workers, one process for each class, which hand in one row after the other. A row that fails, kills
its worker or never ends is reported as such, and the next ones go to a new worker.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import gpu_rows
from gpu_clocks import Place, environment
from reporting import machine, markdown, shown

HOUSE = Path(__file__).parents[1]
SANITIZED = "tests/rules/test_lstm.py", "tests/rules/test_gru.py", "tests/rules/test_rnn.py", "tests/training"
FAILED = "not measured: "
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
    "torch ms (min)": "{torch[ms]:.3f} ({torch[min_ms]:.3f})",
    "graph ms (min)": "{graph[ms]:.3f} ({graph[min_ms]:.3f})",
    "speed / torch's best": "{speed:.2f}",
    "by the wall": "{wall speed:.2f}",
    "us a step, minirnn": "{minirnn[us_per_step]:.1f}",
    "us a step, recorded": "{recorded[us_per_step]:.1f}",
    "us a step, torch": "{torch[us_per_step]:.1f}",
    "us a step, graph": "{graph[us_per_step]:.1f}",
    "tokens/s, minirnn": "{minirnn[tokens_per_s]:,.0f}",
    "tokens/s, torch": "{torch[tokens_per_s]:,.0f}",
    "error, minirnn": "{error[minirnn]:.1e}",
    "error, recorded": "{error[recorded]:.1e}",
    "error, torch": "{error[torch]:.1e}",
    "peak MiB, minirnn": "{peak_mib[minirnn]:,.0f}",
    "peak MiB, recorded": "{peak_mib[recorded]:,.0f}",
    "peak MiB, torch": "{peak_mib[torch]:,.0f}",
    "torch's first kernel": "{first kernel}",
}


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if options.worker:
        return work(Place(options.rehearse))
    folder, end = Path(options.out), time.monotonic() + 3600 * options.hours
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(), "rehearsal": options.rehearse, "checks": [], "rows": []}
    rows = gpu_rows.rehearsal() if options.rehearse else gpu_rows.rows(options.quick)

    def save() -> None:
        (folder / "gpu_vs_torch.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (folder / "gpu_vs_torch.md").write_text(report(results), encoding="utf-8")

    save()  # a folder that cannot be written to is no surprise an hour later
    if not options.rehearse:
        results["device"] = Place().describe()
    if not (options.rehearse or options.skip_suite):
        for name, command in checks():
            print(name, file=sys.stderr, flush=True)
            results["checks"].append(check(name, command, 0.4 * (end - time.monotonic())))
            save()
    crew = Crew(options.rehearse)
    try:
        for k, row in enumerate(rows):
            if time.monotonic() > end:
                results["rows"] += [{**row, "failed": "the hours are over"} for row in rows[k:]]
                break
            print(f"row {k + 1} of {len(rows)}: {label(row)}", file=sys.stderr, flush=True)
            results["rows"].append({**row, **crew.measure(row, options.row_minutes * 60)})
            save()
    finally:
        crew.dismiss()
        save()
    print(report(results))
    return 1 if any("failed" in row for row in results["rows"]) else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("-o", "--out", default="gpu_vs_torch", metavar="DIR", help="where the table and the JSON go")
    made.add_argument("--quick", action="store_true", help="the headline rows alone")
    made.add_argument("--hours", type=float, default=3.0, metavar="H", help="start no row after so many (3)")
    made.add_argument("--row-minutes", type=float, default=5.0, metavar="M", help="give a row up after so many (5)")
    made.add_argument("--skip-suite", action="store_true", help="measure at once, without the tests")
    made.add_argument("--rehearse", action="store_true", help="tiny rows without a GPU: whether all runs, not how fast")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return made


# --- is what is measured right? --------------------------------------------------------------------------------------


def checks() -> list[tuple[str, list[str]]]:
    """What has to pass on the device, by name."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    found = [("the test suite, CuPy among its backends", [*pytest, "-n", "8", "--maxprocesses", "8"])]
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer:
        watched = [sanitizer, "--tool", "memcheck", "--error-exitcode", "9", "--target-processes", "all"]
        found.append(("compute-sanitizer memcheck", [*watched, *pytest, "-n", "0", "-k", "cupy", *SANITIZED]))
    return found


def check(name: str, command: list[str], seconds: float) -> dict[str, Any]:
    """Runs a command; whether it passed, and its last words."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=HOUSE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds
        )
        passed, said = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as error:
        heard = error.stdout or b""
        heard = heard.decode(errors="replace") if isinstance(heard, bytes) else heard
        passed, said = False, f"{heard.rstrip()}\nnot done after {seconds:.0f} s"
    took = time.monotonic() - began
    return {"check": name, "passed": passed, "seconds": took, "last words": said.strip().splitlines()[-15:]}


# --- workers ---------------------------------------------------------------------------------------------------------


def work(place: Place) -> int:
    """A worker: reads rows from stdin, one JSON object a line, and answers with their figures."""
    from minirnn import use_backend
    from minirnn.testing import strict_cupy

    answers = sys.stdout
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # whatever libraries print
        if place.rehearsing:
            stack.enter_context(strict_cupy())
        stack.enter_context(use_backend("cupy"))
        for line in sys.stdin:
            try:
                found = gpu_rows.measure(json.loads(line), place)
            except Exception as error:
                traceback.print_exc()
                found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
            print(json.dumps(found), file=answers, flush=True)
    return 0


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
        self.listener.join()
        with suppress(OSError), self.process:  # closes its pipes, what nobody reads any more with them, and waits
            pass


# --- results ---------------------------------------------------------------------------------------------------------


def label(row: dict[str, Any]) -> str:
    return ", ".join(str(value) for value in row.values())


def report(results: dict[str, Any]) -> str:
    """Everything for people, in Markdown: conditions, checks, the table, wins and losses, and what failed."""
    measured = [row for row in results["rows"] if "failed" not in row]
    about = ", ".join(f"{name} {value}" for name, value in results.get("device", {}).items())
    parts = [f"## {__doc__.partition(chr(10))[0]}"]
    if results["rehearsal"]:
        parts.append("**A rehearsal without a GPU: the figures say nothing about speed.**")
    parts += [f"{about or 'no device'}; {results['machine']}"]
    parts += [
        f"- {done['check']}: {'passed' if done['passed'] else 'FAILED'} in {done['seconds']:.0f} s; {last(done)}"
        for done in results["checks"]
    ]
    if measured:
        cells = [{**row, "first kernel": row["kernels"][0]["name"] if row["kernels"] else "-"} for row in measured]
        parts += [markdown(shown(TABLE, cells)), *verdicts(measured)]
    parts += [f"- {FAILED}{label(case_of(row))}: {row['failed']}" for row in results["rows"] if "failed" in row]
    return "\n\n".join(parts) + "\n"


def last(done: dict[str, Any]) -> str:
    return (done["last words"] or [""])[-1]


def case_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "failed"}


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
