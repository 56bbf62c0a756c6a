"""Fixtures and settings of every test: the backends, Hypothesis's profiles, and a guard against leaking state."""

from __future__ import annotations

import os
import socket
import sys

# Tests multiply small matrices, several of them at a time: two BLAS threads each would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from minirnn import memory
from minirnn.arrays import current_backend, use_backend
from minirnn.seeds import use_seed
from minirnn.testing import backends, in_pieces, on_backend
from minirnn.workers import is_automatic, use_workers, workers

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # loaded by pytest, and without doctests to look for

settings.register_profile(
    "dev",
    max_examples=25,
    deadline=None,  # the first example of a test pays for imports and allocations
    # The fixture `backend` only says where arrays live: it holds no state that one example could leave to the next.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile("ci", settings.get_profile("dev"), max_examples=40, derandomize=True)
settings.register_profile("nightly", settings.get_profile("dev"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


NETWORK = {
    f"socket.{call}"
    for call in ("bind", "connect", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo")
}


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Fails whatever reaches for the network in a process of the tests; sockets between processes stay possible."""
    if NETWORK is None:  # the interpreter ends, and takes away what its modules knew
        return
    if event in NETWORK and getattr(arguments[0], "family", None) != getattr(socket, "AF_UNIX", "none"):
        raise AssertionError(f"tests use no network: {event}{arguments[1:]}")


sys.addaudithook(_refuse_network)


@pytest.fixture(params=backends())
def backend(request):
    """The array module to test with; while the test runs, new arrays of minirnn are made there too."""
    with on_backend(request.param) as xp:
        yield xp


@pytest.fixture
def fresh_memory(monkeypatch):
    """Every array in memory of its own, handed out by the system, so that what is allocated can be counted."""
    monkeypatch.setattr(memory, "LARGE", float("inf"))


@pytest.fixture(params=["as it comes", "in pieces"])
def speed(request):
    """What is fast only when it is large: as small numbers take it, by one worker, and cut into pieces for two."""
    with use_workers(1) if request.param == "as it comes" else in_pieces(workers=2):
        yield request.param


@pytest.fixture
def restless_threads():
    """Threads take turns as often as they can: what they do to each other without a lock happens."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def same_seeds():
    """Every test has the same seeds for layers that are given none, whichever tests ran before it."""
    with use_seed(0):
        yield


@pytest.fixture(autouse=True)
def no_leaking_state():
    """Fail a test that does not leave backend, workers, NumPy's error handling and the module ``cupy`` as they were."""
    before = _global_state()
    yield
    after = _global_state()
    leaks = [f"{what}: {before[what]!r} became {after[what]!r}" for what in before if before[what] != after[what]]
    if leaks:
        use_backend(before["backend"])  # put all right first: the next test is not to blame
        use_workers(before["workers"])
        np.seterr(**before["error handling"])
        sys.modules.pop("cupy", None)
        if before["module cupy"] is not None:
            sys.modules["cupy"] = before["module cupy"]
        pytest.fail("test leaked global state: " + "; ".join(leaks))


def _global_state() -> dict[str, Any]:
    return {
        "backend": current_backend(),
        "workers": "auto" if is_automatic() else workers(),
        "error handling": np.geterr(),
        "module cupy": sys.modules.get("cupy"),
    }


def pytest_terminal_summary(terminalreporter):
    """Prints what the campaigns of trust have tried."""
    reports = (report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome))
    counts = [value for report in reports for name, value in report.user_properties if name == "campaign"]
    if counts:
        terminalreporter.section("campaigns, quick part")
    for line in sorted(counts):
        terminalreporter.write_line(line)
