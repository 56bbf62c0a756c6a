"""What the tests of the command line share: one way to call a command, a small text, a small run."""

import pytest
from tiny_commands import SMALL, TEXT, Result, without_matplotlib

from minirnn.cli import main


@pytest.fixture
def cli(capsys, monkeypatch):
    """Calls ``minirnn`` in this process; without matplotlib, whose import alone takes a second."""
    monkeypatch.setattr("minirnn.cli.running.learning_curve", without_matplotlib)

    def call(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The directory of a run of 30 steps; its text lies beside it. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "text.txt").write_text(TEXT)
    command = ["train", str(folder / "text.txt"), "-o", str(folder / "run"), *SMALL, "--steps", "30", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minirnn.cli.running.learning_curve", without_matplotlib)
        assert main(command) == 0
    return folder / "run"
