"""Every mistake: its exit code, one line that explains it, and nothing written."""

import os
import socket
import sys

import pytest
from tiny_commands import SMALL, TEXT

from minirnn.cli import main
from minirnn.nn import Linear
from minirnn.training import load, save
from minirnn.training.sealed import read_sealed, write_sealed

LONG = ["--seq-len", "50", "--batch-size", "16"]


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "no command given"),
        (["frobnicate"], "there is no command 'frobnicate'; there are demo, train, generate, train-seq2seq"),
        (["trian", "TEXT"], "there is no command 'trian'; did you mean train? (see minirnn --help)"),
        (["gen", "RUN"], "there is no command 'gen'; did you mean generate?"),
        (["-V"], "unrecognized arguments: -V; did you mean --version?"),
        (["--json", "train"], "unrecognized arguments: --json; options stand behind the command (see minirnn --help)"),
        (["lens"], "no instrument given; there are flow, lags"),
        (["lens", "flwo"], "there is no instrument 'flwo'; did you mean flow? (see minirnn lens --help)"),
        (["train", "TEXT", "-o--resume"], "-o--resume has no space before --resume; if that is a name, give -o ./--re"),
        (["train", "--bogus"], "unrecognized arguments: --bogus (see minirnn train --help)"),
        (["train", "TEXT", "-o", "NEW", "--step", "3"], "unrecognized arguments: --step; did you mean --steps?"),
        (["generate", "RUN", "--promt", "x"], "unrecognized arguments: --promt; did you mean --prompt?"),
        (["generate", "RUN", "--temp", ".5"], "unrecognized arguments: --temp; did you mean --temperature?"),
        (["train", "TEXT", "-oNEW", "--out", "NEW2"], "give -o or --out, not both"),
        (["train", "TEXT", "-o=NEW", "--ou=NEW2"], "unrecognized arguments: --ou; did you mean --out?"),
        (["generate", "RUN", "--gree"], "unrecognized arguments: --gree; did you mean --greedy?"),
        (["generate", "RUN", "hello"], "a prompt is given as --prompt TEXT, or read from stdin for -, got 'hello'"),
        (["train", "TEXT", "--dry-run", "--resume"], "--resume has no effect without --out: it is about the run in a"),
        (
            ["train", "TEXT", "-o", "NEW", "--backend=cupy", "--workers=4"],
            "--workers has no effect with --backend cupy",
        ),
        (["train"], "name the text"),
        (["train", "TEXT"], "say where the run may keep its files"),
        (["train", "TEXT", "-o", "NEW", "--hidden", "-3"], "--hidden: must be an integer of at least 1, got '-3'"),
        (["train", "TEXT", "-o", "NEW", "--hidden", "many"], "--hidden: must be an integer of at least 1, got 'many'"),
        (["train", "TEXT", "-o", "NEW", "--lr", "nan"], "--lr: must be a number above 0, got 'nan'"),
        (["train", "TEXT", "-o", "NEW", "--lr", "0"], "--lr: must be a number above 0"),
        (["train", "TEXT", "-o", "NEW", "--dropout", "1"], "--dropout: must be a number of at least 0 and below 1"),
        (["train", "TEXT", "-o", "NEW", "--val-split", "-.1"], "--val-split"),
        (["train", "TEXT", "-o", "NEW", "--cell", "x"], "--cell: must be one of rnn, lstm, gru"),
        (["train", "TEXT", "-o", "NEW", "--dtype", "float16"], "--dtype: must be one of float32, float64"),
        (["train", "TEXT", "-o", "NEW", "--epochs", "0"], "--epochs: must be an integer of at least 1"),
        (["train", "TEXT", "-o", "NEW", "--tie-weights"], "--embed and --hidden to be equal, got 64 and 128"),
        (["train", "TEXT", "-o", "NEW", "--clip-norm", "1", "--clip-value", "1"], "or --clip-value, not both"),
        (["train", "TEXT", "-o", "NEW", "--resume", "--overwrite"], "not allowed with argument --resume"),
        (["train", "TEXT", "-o", "NEW", "--config", "missing.toml"], "missing.toml cannot be read"),
        (["train", "TEXT", "-o", "TEXT"], "is a file; a run needs a directory"),
        (["train", "TEXT", "-o", "TEXT/x"], "cannot be written to"),
        (["train", "TEXT", "-o", "RUN"], "holds another run"),
        (["demo", "--quick", "--out", "RUN"], "holds another run; give --overwrite"),
        (["generate", "RUN", "--temperature", "-1"], "--temperature: must be a number of at least 0"),
        (["generate", "RUN", "--temperature", "inf"], "--temperature"),
        (["generate", "RUN", "--top-p", "1.5"], "top_p must be"),
        (["generate", "RUN", "--top-k", "-1"], "--top-k: must be an integer of at least 0"),
        (["generate", "RUN", "--num", "0"], "--num: must be an integer of at least 1"),
        (["generate", "RUN", "--prompt", "a", "--prompt-file", "TEXT"], "not allowed with argument --prompt"),
        (["train", "TEXT", "-o", ""], "-o/--out: must name a file or a directory, got an empty name"),
        (["generate", ""], "RUN: must name a file or a directory, got an empty name"),
        (
            ["train", "TEXT", "-o", "NEW", "--config", ""],
            "--config: must name a file or a directory, got an empty name",
        ),
        (["generate", "RUN", "--memorised="], "--memorised: must name a file or a directory, got an empty name"),
        (["demo", "--quick", "--out", ""], "--out: must name a file or a directory, got an empty name"),
        (["train", "TEXT", "-o", "NEW", "--layers", "1000000"], "--layers: must be at most 1,000, got '1000000'"),
        (["train", "TEXT", "-o", "NEW", "--hidden", "9" * 30], "--hidden: must be at most 1,000,000, got"),
        (["train", "TEXT", "-o", "NEW", "--epochs", "9" * 999], "--epochs: must be at most 1,000,000,000,000, got"),
        (["train", "TEXT", "-o", "NEW", "--schedule-factor", "1e300"], "--schedule-factor: must be a number of at"),
        (
            ["generate", "RUN", "--greedy", "--temperature", "0.8"],
            "--temperature has no effect with --greedy: it always",
        ),
        (["generate", "RUN", "--seed", "1", "--greedy"], "--seed has no effect with --greedy"),
        (["generate", "RUN", "--greedy", "--top-k=0", "--num=3"], "--num has no effect with --greedy"),
        (["generate", "RUN", "--stream", "--json"], "--stream has no effect with --json: an object is written when"),
        (["train", "TEXT", "--overfit", "--resume", "-o", "RUN"], "--resume has no effect with --overfit: new weights"),
        (
            ["train", "TEXT", "-o", "NEW", "--schedule-factor", ".5"],
            "has no effect with --schedule constant: the learning",
        ),
        (
            ["train", "TEXT", "-o", "NEW", "--schedule=warmup", "--schedule-factor=2"],
            "with --schedule warmup: it rises",
        ),
        (
            ["train", "TEXT", "-o", "NEW", "--deterministic", "--workers=2"],
            "--workers has no effect with --deterministic",
        ),
        (["train", "TEXT", "-o", "NEW", "--deterministic", "--no-deterministic"], "or --no-deterministic, not both"),
        (["train", "TEXT", "-o", "NEW", "--out", "RUN"], "give -o or --out, not both"),
        (["demo", "--quick", "--minutes", "3"], "--minutes has no effect with --quick: it always takes 300 steps"),
        (["demo", "--overwrite"], "--overwrite has no effect without --out: a new directory holds no run"),
        (["gradcheck", "tanhh"], "no rule is called 'tanhh'; did you mean tanh?"),
        (["gradcheck", "--method", "magic"], "--method: must be one of auto"),
    ],
)
def test_usage(cli, text, finished_run, tmp_path, words, message):
    places = {"TEXT": text, "TEXT/x": text / "x", "RUN": finished_run, "NEW": tmp_path / "new"}
    before = {path: path.read_bytes() for path in finished_run.iterdir()}
    result = cli(*(places.get(word, word) for word in words))
    assert result.code == 2 and result.out == ""
    assert message in result.message
    assert sorted(os.listdir(tmp_path)) == ["text.txt"]
    assert {path: path.read_bytes() for path in finished_run.iterdir()} == before


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"ab\0cd", "is a binary file (NUL at byte 2, line 1)"),
        (b"abc\xff", "is not UTF-8 (byte 0xff at byte 3"),
        ("ab".encode("utf-16"), "is UTF-16"),
        (
            b"abc",
            "text has 3 characters; seq_len 50 and batch_size 16 need at least 801; try batch_size=1 and "
            "seq_len=2 (--batch-size 1 --seq-len 2)",
        ),
        (b"x" * 262, "seq_len 50 and batch_size 16 need at least 801; try batch_size=4 (--batch-size 4)"),
        (b"x" * 810, "val_split 0.05 holds out"),
    ],
)
def test_bad_text(cli, tmp_path, content, message):
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    before = os.listdir(tmp_path)
    result = cli("train", path, "-o", tmp_path / "new", *LONG)
    assert result.code == 3 and message in result.message
    assert os.listdir(tmp_path) == before


@pytest.fixture
def stdin():
    """Puts an open file in the place of standard input."""
    former = os.dup(0)
    yield lambda file: os.dup2(file, 0)
    os.dup2(former, 0)
    os.close(former)


@pytest.mark.skipif(sys.platform == "win32", reason="terminals, sockets and devices are a matter of Unix")
def test_standard_input_may_be_a_terminal_or_a_socket(cli, finished_run, stdin):
    import pty

    usual = cli("generate", finished_run, "--prompt", "the", "--length=5").out
    keyboard, terminal = pty.openpty()
    ours, theirs = socket.socketpair()
    os.write(keyboard, b"the\n\x04")  # Ctrl-D
    ours.sendall(b"the\n")
    ours.close()
    for end in (terminal, theirs.detach()):
        stdin(end)
        os.close(end)
        assert cli("generate", finished_run, "-", "--length=5").out == usual
    os.close(keyboard)


@pytest.mark.parametrize(
    "device, message", [("/dev/null", "is empty; expected"), ("/dev/zero", "is a device that may")]
)
def test_standard_input_with_nothing_in_it_or_without_an_end(cli, text, finished_run, tmp_path, stdin, device, message):
    with open(device, "rb") as file:
        stdin(file.fileno())
    for words in (["train", "-", "-o", tmp_path / "new"], ["generate", finished_run, "--memorised", "--", "-"]):
        result = cli(*words)
        assert result.code == 3 and result.message.startswith(f"minirnn: standard input {message}")
    assert os.listdir(tmp_path) == ["text.txt"]


def test_standard_input_that_is_closed(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in cli("train-seq2seq", "-", "-o", tmp_path / "new").message


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a directory in which nobody may create anything")
def test_places_where_nothing_can_be_written(cli, text):
    for words in (["train", text, "-o", "/proc/x"], ["demo", "--out", "/proc/x"]):
        assert "/proc/x cannot be written to: /proc does not let itself be changed (No" in cli(*words).message
    result = cli("gradcheck", "tanh", "--markdown", "/proc/x.md")
    assert result.code == 1 and result.message.startswith("minirnn: /proc/x.md: cannot be written (No such file")


def test_flags_before_two_dashes_take_nothing_behind_them(cli, finished_run):
    assert "unrecognized arguments: --bogus" in cli("inspect", "--bogus", "--", finished_run).message


def test_a_directory_is_no_text(cli, tmp_path):
    assert "is a directory" in cli("train", tmp_path, "-o", tmp_path / "new").message


def test_unseen_characters(cli, finished_run, tmp_path):
    result = cli("generate", finished_run, "--prompt", "a cät", "--length", 5)
    assert result.code == 3 and "'ä' at position 3" in result.message
    (tmp_path / "other.txt").write_text("Ö" * 50)
    result = cli("evaluate", finished_run, tmp_path / "other.txt")
    assert result.code == 3 and "'Ö' at position 0" in result.message
    result = cli("evaluate", finished_run, tmp_path / "other.txt", "--unknown", "skip")
    assert result.code == 3 and "two characters" in result.message


def damaged(content, how):
    if how == "cut":
        return content[:-100]
    if how == "flipped":
        return content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]
    return {"foreign": b"PK" * 500, "empty": b""}[how]


@pytest.mark.parametrize("how", ["cut", "flipped", "foreign", "empty"])
@pytest.mark.parametrize("verb", ["generate", "inspect", "resume"])
def test_bad_checkpoints(cli, finished_run, text, tmp_path, how, verb):
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.npz").write_bytes(damaged((finished_run / "last.npz").read_bytes(), how))
    if verb == "resume":
        result = cli("train", text, "-o", run, "--resume", *SMALL)
        assert result.err.splitlines()[-1].startswith("minirnn: ")
    else:
        result = cli(verb, run)
        assert str(run / "last.npz") in result.message
    assert result.code == 4
    assert os.listdir(run) == ["last.npz"]


def test_a_run_that_may_not_be_looked_into(cli, tmp_path):
    run = tmp_path / "run"
    run.mkdir(mode=0)
    if os.access(run, os.X_OK):
        pytest.skip("root may look into everything")
    result = cli("generate", run)
    assert result.code == 4 and "last.npz: cannot be read (Permission denied); check its name" in result.message


def test_no_checkpoint_at_all(cli, tmp_path):
    result = cli("generate", tmp_path)
    assert result.code == 4 and "last.npz: cannot be read (No such file or directory)" in result.message


@pytest.mark.parametrize("flags", [["--hidden", "9"], ["--cell", "lstm", "--layers", "2"], ["--optimizer", "sgd"]])
def test_resuming_with_other_settings(cli, finished_run, flags):
    before = {path: path.read_bytes() for path in finished_run.iterdir()}
    result = cli("train", "-o", finished_run, "--resume", *flags)
    assert result.code == 4 and "last.npz" in result.err.splitlines()[-1]
    assert {path: path.read_bytes() for path in finished_run.iterdir()} == before


def test_resuming_with_another_text(cli, finished_run, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("dog", "god"))
    assert cli("train", other, "-o", finished_run, "--resume").code == 4


@pytest.mark.parametrize("verb", ["generate", "inspect", "resume", "overwrite"])
def test_a_directory_called_last_npz_is_one_clear_error_and_deletes_nothing(cli, text, tmp_path, verb):
    run = tmp_path / "run"
    (run / "last.npz").mkdir(parents=True)
    (run / "log.jsonl").write_text("kept")
    if verb in ("resume", "overwrite"):
        result = cli("train", text, "-o", run, f"--{verb}", *SMALL)
        assert result.code == 2
    else:
        result = cli(verb, run)
        assert result.code == 4 and cli(verb, run / "last.npz").err == result.err
    assert f"{run / 'last.npz'}" in result.message and "not an ordinary file" in result.message
    assert (run / "log.jsonl").read_text() == "kept"


@pytest.mark.parametrize("verb", ["generate", "inspect", "resume"])
def test_a_sealed_checkpoint_of_nonsense(cli, finished_run, text, tmp_path, verb):
    run = tmp_path / "run"
    run.mkdir()
    arrays, meta = read_sealed(finished_run / "last.npz")
    meta["training"]["step"] = "many"
    write_sealed(run / "last.npz", arrays, meta)
    words = ["train", text, "-o", run, "--resume", *SMALL] if verb == "resume" else [verb, run]
    result = cli(*words)
    assert result.code == 4 and "training.step is 'many'" in result.err.splitlines()[-1]


def test_an_unusable_backend(cli, text, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    result = cli("train", text, "-o", tmp_path / "new", "--backend", "cupy")
    assert result.code == 5 and "CuPy is not installed" in result.message
    monkeypatch.undo()


def test_too_much_memory(cli, text, tmp_path):
    result = cli("train", text, "-o", tmp_path / "new", *SMALL, "--hidden", 10**6)
    assert result.code == 2 and "not enough memory" in result.message


def test_a_mistake_of_our_own_is_one_line_too(cli, monkeypatch, finished_run):
    monkeypatch.setattr("minirnn.cli.inspect.load", lambda path: {}["missing"])
    result = cli("inspect", finished_run)
    assert result.code == 1 and "a mistake in minirnn itself: KeyError: 'missing'" in result.message
    monkeypatch.setenv("MINIRNN_TRACEBACK", "1")
    assert "Traceback" in cli("inspect", finished_run).err


def test_help_and_version_go_to_stdout(capsys):
    for words in (["--help"], ["train", "--help"], ["--version"]):
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert "minirnn" in out and err == ""
        assert max(map(len, out.splitlines())) <= 100


def test_what_holds_anyway_may_be_said(cli, text, finished_run, tmp_path):
    said = cli("generate", finished_run, "--length=9", "--greedy", "--temperature=0", "--num=1").out
    assert said == cli("generate", finished_run, "--length=9", "--temperature=0", "--seed=3").out
    run = [
        "train",
        text,
        "-o",
        tmp_path / "run",
        *SMALL,
        "--steps=1",
        "--batch-size=8",
        "--deterministic",
        "--workers=1",
    ]
    assert cli(*run).code == 0


def test_a_setting_of_a_config_may_become_idle(cli, text, tmp_path):
    """What is refused is what a person gives now, not what a file holds that was right before."""
    (tmp_path / "a.toml").write_text("schedule = 'step'\nschedule_factor = 0.9\nschedule_steps = 3\n")
    run = ["train", text, "-o", tmp_path / "run", *SMALL, "--steps=1", "--config", tmp_path / "a.toml"]
    assert cli(*run, "--schedule=constant").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "RUN"],
        ["evaluate", "RUN", "TEXT"],
        ["translate", "RUN", "hello"],
        ["lens", "flow", "RUN", "--text", "TEXT"],
    ],
)
def test_no_command_builds_a_module_of_ones_own(cli, text, tmp_path, words):
    path = tmp_path / "own.npz"
    save(Linear(2, 3), path)
    result = cli(*({"TEXT": text, "RUN": path}.get(word, word) for word in words))
    assert result.code == 4 and "holds the parameters of a Linear, which no command can build" in result.message
    assert f"minirnn.load('{path}', into=Linear(...))" in result.message


def test_nothing_was_spoiled(finished_run):
    assert load(finished_run).vocab_size == len(set(TEXT))
