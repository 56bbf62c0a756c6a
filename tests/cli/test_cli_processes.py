"""What only a process of its own can show: signals, closed pipes, a terminal, the entry point."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from tiny_commands import SMALL, TEXT, minirnn_process, python

from minirnn.cli.interrupts import FirstPolite, Interrupted, handling, stop_at_once

# A shell may start the tests with signals ignored, which minirnn would respect.
HEARD = "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL)"
START = f"import signal, sys; {HEARD}; import minirnn.cli as c; "


@pytest.mark.parametrize("signum, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(cli, text, tmp_path, signum, code):
    run = tmp_path / "run"
    words = ["train", text, "-o", run, *SMALL, "--steps", 10**6]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    arguments, settings = python("-c", START + "sys.exit(c.main())", *words, **pipes)
    with subprocess.Popen(arguments, **settings) as process:
        next(line for line in process.stderr if line.startswith("step 10/"))
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err and "interrupted: the step is finished" in err
    assert f"go on       minirnn train -o {run} --resume" in out
    steps = int(out.split()[1].replace(",", ""))
    assert 10 <= steps < 10**6
    result = cli("train", "-o", run, "--resume", "--steps", steps + 3)
    assert f"after step {steps:,}" in result.err and result.out.startswith(f"trained     {steps + 3:,} steps")


@pytest.mark.parametrize("words", [["-m", "minirnn"], ["minirnn"], ["-m", "other"]])
def test_ctrl_c_during_the_import_ends_a_command_quietly_and_no_other_program(tmp_path, words):
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    (tmp_path / "sitecustomize.py").write_text(heard)
    (tmp_path / "numpy.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    (tmp_path / "minirnn").write_text("from minirnn.cli import main; main()")  # as an installer writes it
    (tmp_path / "other.py").write_text("import minirnn")
    arguments, settings = python(*words, "--version", capture_output=True, cwd=tmp_path)
    settings["env"]["PYTHONPATH"] = os.pathsep.join([str(tmp_path), settings["env"]["PYTHONPATH"]])
    ended = subprocess.run(arguments, **settings)
    if words == ["-m", "other"]:
        assert ended.returncode == -signal.SIGINT and "KeyboardInterrupt" in ended.stderr
    else:
        assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_the_second_signal_stops_at_once():
    told = []
    handler = FirstPolite(lambda: told.append(1))
    with handling(handler):
        os.kill(os.getpid(), signal.SIGTERM)
        assert handler.signum == signal.SIGTERM and told == [1]
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)  # SIGINT may be ignored, as in a job in the background
    assert told == [1]


def test_two_signals_in_a_validation_lose_no_step(cli, text, tmp_path, monkeypatch):
    def train(name):
        return cli("train", text, "-o", tmp_path / name, *SMALL, "--epochs", 2, "--resume")

    with monkeypatch.context() as patch:

        def twice(*given):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr("minirnn.training.loop.evaluate", twice)
        result = train("parted")
    last = tmp_path / "parted" / "last.npz"
    assert result.code == 143
    told = f"minirnn: interrupted; {last} holds step 19 of the run; --resume (resume=True) goes on from there"
    assert result.err.splitlines()[-1] == told
    assert train("whole").code == train("parted").code == 0
    assert last.read_bytes() == (tmp_path / "whole" / "last.npz").read_bytes()


def test_handlers_are_put_back(cli, finished_run):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    cli("generate", finished_run, "--length", 1)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_ignored_signals_stay_ignored(monkeypatch):
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with handling(stop_at_once):
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, former)


def test_other_threads_can_call_main(finished_run, capsys):
    from minirnn.cli import main

    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["generate", str(finished_run), "--length", "1"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_commands_with_nothing_to_save_stop_at_once(cli, finished_run, monkeypatch):
    monkeypatch.setattr("minirnn.cli.inspect.load", lambda path: os.kill(os.getpid(), signal.SIGTERM))
    result = cli("inspect", finished_run)
    assert result.code == 143 and result.message == "minirnn: interrupted"


def test_closed_stdout_ends_quietly(finished_run):
    with minirnn_process("generate", finished_run, "--length", 10**8, "--stream") as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_head_of_the_records_ends_a_run_which_is_saved(cli, text, tmp_path):
    words = ["train", text, "-o", tmp_path / "run", *SMALL, "--steps", 10**6, "--json"]
    with minirnn_process(*words) as process:
        step = json.loads(process.stdout.readline())["step"]
        process.stdout.close()
        assert "Error" not in process.stderr.read()
        assert process.wait(60) == 0
    assert json.loads(cli("inspect", tmp_path / "run", "--json").out)["training"]["step"] >= step


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_records_to_a_full_disk_stop_the_run_and_save_it(cli, text, tmp_path):
    words = ["train", text, "-o", tmp_path / "run", *SMALL, "--steps", 1000, "--json"]
    with open("/dev/full", "w") as full:
        arguments, settings = python("-m", "minirnn", *words, stdout=full, stderr=subprocess.PIPE)
        done = subprocess.run(arguments, **settings)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "minirnn: output: No space left on device"
    step = json.loads(cli("inspect", tmp_path / "run", "--json").out)["training"]["step"]
    assert step == 5  # the step of the first record


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_mistake_and_notes_stay_off_stdout(finished_run, text, tmp_path, closed):
    out = tmp_path / "out"
    for k, words in enumerate((
        ["generate", finished_run, "--length", 5, "--stream"],
        ["train", text, "-o", tmp_path / "run", *SMALL, "--steps", 2],
        ["inspect", tmp_path / "missing"],
    )):  # fmt: skip
        python_words, settings = python("-m", "minirnn", *words)
        with open(out, "w") as stdout:
            command = ["sh", "-c", f'"$@" {closed}', "sh", *python_words]
            done = subprocess.run(command, **settings, stdout=stdout, stderr=subprocess.PIPE)
        assert done.returncode == (0, 0, 4)[k] and "Error" not in done.stderr, done.stderr
        assert "step 2/2" not in out.read_text() and "minirnn: " not in out.read_text()


def test_text_from_stdin(cli, tmp_path):
    run = tmp_path / "run"
    arguments, settings = python("-m", "minirnn", "train", "-", "-o", run, *SMALL, "--steps", 3)
    done = subprocess.run(arguments, **settings, input=TEXT, capture_output=True)
    assert done.returncode == 0, done.stderr
    result = cli("generate", run, "--memorised")
    assert result.code == 2 and "--memorised FILE" in result.message


def test_help_loads_neither_matplotlib_nor_tqdm():
    code = "import minirnn.cli as c, sys; c.main(['--help']); print({'matplotlib', 'tqdm', 'cupy'} & set(sys.modules))"
    arguments, settings = python("-c", code)
    assert subprocess.run(arguments, **settings, capture_output=True).stdout.endswith("set()\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a matter of Unix")
def test_on_a_terminal_there_is_a_bar_and_control_characters_are_escaped(finished_run, text, tmp_path):
    pytest.importorskip("tqdm")
    shown = on_terminal("train", text, "-o", tmp_path / "run", *SMALL, "--steps", 30)
    assert "100% |" in shown and "step 5/30" not in shown
    assert "\\x1b[31m" in on_terminal("generate", finished_run, "--prompt", "\x1b[31m", "--length", 0)


def on_terminal(*words):
    """What a command writes if all three streams are a terminal of 80 columns."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    arguments, settings = python("-m", "minirnn", *words, stdin=theirs, stdout=theirs, stderr=theirs)
    with subprocess.Popen(arguments, **settings) as process:
        os.close(theirs)
        written = b""
        while chunk := _read(ours):
            written += chunk
        assert process.wait(60) == 0, written
    os.close(ours)
    return written.decode()


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the last writer has gone
        return b""
