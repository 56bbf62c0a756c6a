"""What the tests of the benchmarks share: the folder on the path, and players without processes of their own."""

import importlib
import json
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a file of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    return importlib.import_module


@pytest.fixture
def at_once(benchmark, monkeypatch):
    """Lets players play in this process, which is quicker; what they get and give passes through JSON all the same.

    The roof beside them is made up: to measure it takes a second each time.
    """

    def play(player):
        report = player.function(**json.loads(json.dumps(player.given)))
        return json.loads(json.dumps(report))

    Player = benchmark("harness").Player
    monkeypatch.setattr(Player, "play", play)
    monkeypatch.setattr(benchmark("roof"), "PLAYER", Player(lambda: {"gflops": 100.0}))


@pytest.fixture
def torch(monkeypatch):
    """PyTorch, if it is installed, with one thread whatever a player asks for; put back as it was."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", torch.backends.mkldnn.enabled)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "set_num_threads", lambda threads: None)
        yield torch
    torch.set_num_threads(threads)
