"""``minirnn doctor``: whether everything that minirnn needs, or could use, is there and works."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
import time
from importlib import metadata
from typing import Any

import numpy as np

from minirnn.arrays import BackendError, module_of
from minirnn.cli.console import Console, is_terminal, table
from minirnn.cli.gradcheck import check
from minirnn.devices import version
from minirnn.workers import blas_kernels, cores, workers

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
EXTRAS = {
    "matplotlib": ("plot", "the learning curve as a picture"),
    "tqdm": ("progress", "a progress bar"),
    "threadpoolctl": ("fast", "threads that share a batch"),
    "sacrebleu": ("bleu", "BLEU of translations"),
    "mpi4py": ("mpi", "processes that share a batch"),
}
MATMUL = 512  # side of the matrices whose product is timed


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="see whether the installation is sound",
        description="Looks at Python, NumPy, GPU and extras, and tries a gradient check, a product of matrices and the "
        "disk. Exits with 1 if something essential is broken.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> int:
    broken: list[str] = []
    findings = {
        "minirnn": version_of("minirnn") or "not installed; run from its sources",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "blas": _blas(),
        "threads": _threads(),
        "cupy": _cupy(),
        **{name: _extra(name) for name in EXTRAS},
        "gradients": _gradients(broken),
        "matmul": _matmul(),
        "disk": _disk(broken),
        "terminal": "yes" if is_terminal(sys.stdout) else "no: output is redirected, and texts go there as they are",
    }
    console.record(**findings, ok=not broken)
    console.say(table(list(findings.items())))
    console.say(f"\nBROKEN: {', '.join(broken)}" if broken else "\nall is well")
    return 1 if broken else 0


def version_of(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> str:
    found: Any = np.show_config(mode="dicts")
    blas = found.get("Build Dependencies", {}).get("blas", {})
    known = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    chosen = [f"kernels for {name}" for name in sorted(blas_kernels())]
    forced = ["as OPENBLAS_CORETYPE says: without it OpenBLAS goes by the processor, maybe twice as fast"]
    return ", ".join([known, *chosen, *(forced if os.environ.get("OPENBLAS_CORETYPE") else [])])


def _threads() -> str:
    limits = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    shared = f"{workers()} may share a batch" if workers() > 1 else "a batch is not shared"
    return f"{cores()} cores to run on, {shared}; {', '.join(limits) or 'no limit set'}"


def _cupy() -> str:
    try:
        cupy = module_of("cupy")
        runtime, device = cupy.cuda.runtime, cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        return (
            f"{cupy.__version__}, CUDA {version(runtime.runtimeGetVersion())}; {device['name'].decode()}, compute "
            f"capability {device['major']}.{device['minor']}, {device['totalGlobalMem'] / 2**30:.0f} GiB, "
            f"a driver for CUDA {version(runtime.driverGetVersion())}"
        )
    except BackendError as error:
        return str(error)


def _extra(name: str) -> str:
    extra, use = EXTRAS[name]
    try:
        importlib.import_module(name)
    except ImportError:
        return f"missing; for {use}: pip install '.[{extra}]' in the sources of minirnn"
    return version_of(name) or "present"


def _gradients(broken: list[str]) -> str:
    try:
        report = check("lstm")
    except Exception as error:  # whatever it is, it is what the doctor was called for
        broken.append("gradients")
        return f"BROKEN: {' '.join(str(error).split())[:300]}"
    return f"the LSTM agrees with numbers to {report.max_error:.1e}"


def _matmul() -> str:
    x = np.random.default_rng(0).standard_normal((MATMUL, MATMUL), dtype="float32")
    x @ x  # the first product starts the threads
    times = []
    end = time.perf_counter() + 0.3
    while (started := time.perf_counter()) < end:
        x @ x
        times.append(time.perf_counter() - started)
    return f"{2 * MATMUL**3 / min(times) / 1e9:,.0f} GFLOP/s in float32"


def _disk(broken: list[str]) -> str:
    try:
        with tempfile.TemporaryFile(dir=".") as file:
            file.write(b"minirnn")
            file.flush()
        return f"{os.getcwd()} can be written to"
    except OSError as error:
        where = f"{os.getcwd()} cannot be written to ({error.strerror}); give -o a directory that can"
    try:
        tempfile.TemporaryFile().close()
    except OSError:
        broken.append("disk")
    return where
