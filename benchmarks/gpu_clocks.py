"""What is measured on a device: time between events and by the wall, memory, precision, and which kernels ran.

Rehearsals on a machine without one have the same interfaces, and say nothing about speed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

WARMUPS, REPETITIONS = 5, 25
LONGEST = 3.0  # seconds of repetitions of one contestant: slow ones are repeated less, but never less than LEAST times
LEAST = 20
MODES = {"ieee": "ieee", "tf32": "tf32"}  # precision class -> what PyTorch calls it; others leave its settings alone
HALVES = {"fp16": "float16", "bf16": "bfloat16"}  # classes that PyTorch alone has

Clock = Callable[[Callable[[int], Any], int], tuple[float, float]]


def host_clock(step: Callable[[int], Any], k: int) -> tuple[float, float]:
    """Milliseconds of ``step(k)`` on the host, twice."""
    began = time.perf_counter()
    step(k)
    ms = 1e3 * (time.perf_counter() - began)
    return ms, ms


def event_clock(event: Callable[[], Any], elapsed: Callable[[Any, Any], float]) -> Clock:
    """Milliseconds of ``step(k)`` between two events on the device, and by the wall until the device is done."""

    def clock(step: Callable[[int], Any], k: int) -> tuple[float, float]:
        start, end = event(), event()
        began = time.perf_counter()
        start.record()
        step(k)
        end.record()
        end.synchronize()
        return elapsed(start, end), 1e3 * (time.perf_counter() - began)

    return clock


@dataclass
class Place:
    """Where both libraries compute: a device, or a machine without one that rehearses.

    Parameters
    ----------
    rehearsing : bool
        PyTorch computes on the CPU and minirnn on the strict fake of CuPy.
    """

    rehearsing: bool = False

    @property
    def torch_device(self) -> str:
        return "cpu" if self.rehearsing else "cuda"

    def clock(self, library: str) -> Clock:
        if self.rehearsing:
            return host_clock
        if library == "minirnn":
            import cupy

            return event_clock(cupy.cuda.Event, cupy.cuda.get_elapsed_time)
        import torch

        return event_clock(lambda: torch.cuda.Event(enable_timing=True), lambda start, end: start.elapsed_time(end))

    def peak_mib(self, library: str, step: Callable[[int], Any]) -> float | None:
        """What a library's pool has taken from the device after ``step(0)``, what was free given back first."""
        if self.rehearsing:
            return None
        if library == "minirnn":
            import cupy

            pool = cupy.get_default_memory_pool()
            pool.free_all_blocks()
            step(0)
            return pool.total_bytes() / 2**20
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step(0)
        return torch.cuda.max_memory_reserved() / 2**20

    def set_precision(self, precision: str) -> dict[str, str]:
        """Sets each of PyTorch's switches for float32, unless the class leaves them alone; returns what they say then.

        CuPy's switch is ``CUPY_TF32`` in the environment, which it reads once: see `environment`.
        """
        import torch

        switches = {
            "cuda.matmul": torch.backends.cuda.matmul,
            "cudnn.rnn": torch.backends.cudnn.rnn,
            "cudnn.conv": torch.backends.cudnn.conv,
        }
        if precision in MODES:
            for switch in switches.values():
                switch.fp32_precision = MODES[precision]
        return {name: switch.fp32_precision for name, switch in switches.items()}

    def graphed(self, steps: list[Callable[[int], Any]]) -> Callable[[int], Any] | None:
        """CUDA graphs of PyTorch's steps, replayed in turn; each returns what its step returned while captured."""
        if self.rehearsing:
            return None
        import torch

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for step in [*steps, *steps]:
                step(0)
        torch.cuda.current_stream().wait_stream(side)
        graphs: list[Any] = []
        results = []
        for step in steps:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=graphs[0].pool() if graphs else None):
                results.append(step(0))
            graphs.append(graph)

        def replay(k: int) -> Any:
            graphs[k % len(graphs)].replay()
            return results[k % len(graphs)]

        return replay

    def kernels(self, step: Callable[[int], Any], most: int = 6) -> list[dict[str, Any]]:
        """The kernels that took most of a step of PyTorch's: name, how often, microseconds."""
        from torch.profiler import ProfilerActivity, profile

        activity = ProfilerActivity.CPU if self.rehearsing else ProfilerActivity.CUDA
        with profile(activities=[activity]) as seen:
            step(0)
            self.wait()
        took = "self_cpu_time_total" if self.rehearsing else "self_device_time_total"
        found = sorted(seen.key_averages(), key=lambda kernel: -getattr(kernel, took))
        return [{"name": k.key, "count": k.count, "us": getattr(k, took)} for k in found[:most]]

    def wait(self) -> None:
        if not self.rehearsing:
            import torch

            torch.cuda.synchronize()

    def describe(self) -> dict[str, Any]:
        """The device and the versions of all that computes on it."""
        import cupy

        runtime = cupy.cuda.runtime
        device = runtime.getDeviceProperties(0)
        found = {
            "device": device["name"].decode(),
            "multiprocessors": device["multiProcessorCount"],
            "memory_gib": round(device["totalGlobalMem"] / 2**30, 1),
            "cupy": cupy.__version__,
            "cuda of cupy": runtime.runtimeGetVersion(),
            "driver": runtime.driverGetVersion(),
        }
        with suppress(ImportError):  # whoever has no PyTorch learns what the trials say
            import torch

            versions = torch.__version__, torch.version.cuda, torch.backends.cudnn.version()
            found |= dict(zip(("torch", "cuda of torch", "cudnn"), versions, strict=True))
        return found


def environment(precision: str) -> dict[str, str]:
    """What CuPy has to find in the environment to compute in a precision class."""
    return {"CUPY_TF32": "1" if precision == "tf32" else "0"}


def contest(contestants: dict[str, tuple[Callable[[int], Any], Clock]]) -> dict[str, dict[str, float]]:
    """Lets all take a step in turn (A B A B) again and again; the inputs rotate with ``k``.

    Returns medians and minima: ``ms`` between events, ``wall_ms`` by the wall.
    """
    slowest = 0.0
    for step, clock in contestants.values():
        for k in range(WARMUPS):
            _, ms = clock(step, k)
        slowest = max(slowest, ms)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for k in range(REPETITIONS if slowest * REPETITIONS < 1e3 * LONGEST else LEAST):
        for name, (step, clock) in contestants.items():
            times[name].append(clock(step, k))
    found = {}
    for name, both in times.items():
        ms, wall = zip(*both, strict=True)
        found[name] = {"ms": statistics.median(ms), "min_ms": min(ms), "wall_ms": statistics.median(wall)}
    return found
