"""What is printed where: lines for people, JSON for programs, nothing that a terminal would obey."""

import io
import json
import math
import os
import sys
import warnings

import pytest

from minirnn.cli.console import Console, duration, for_stdout, to_json
from minirnn.text.showing import visible


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_control_characters_are_written_out():
    assert visible("a\x1b[31m\r\x07\x9b\u202e\nb") == "a\\x1b[31m\\r\\x07\\x9b\\u202e\\nb"
    assert visible("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"
    assert visible("Größe 大 é\u00a0ok") == "Größe 大 é\u00a0ok"


def test_generated_text_is_escaped_on_a_terminal_only(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert for_stdout("\x1b[2Ja\n") == "\\x1b[2Ja\n"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert for_stdout("\x1b[2Ja\n") == "\x1b[2Ja\n"


def test_errors_are_one_line_whatever_they_hold(capsys):
    Console().complain("two\nlines \x1b[31m")
    assert capsys.readouterr().err == "minirnn: two lines \\x1b[31m\n"


def test_results_and_remarks_go_different_ways(capsys):
    for json_wanted in (False, True):
        console = Console(json_wanted)
        console.say("for people")
        console.record(loss=math.inf, of=[1, (math.nan,)], name="ü")
        console.note("beside")
    out, err = capsys.readouterr()
    assert out == 'for people\n{"loss": null, "of": [1, [null]], "name": "ü"}\n'
    assert err == "beside\nbeside\n"


def test_json_is_strict():
    assert json.loads(to_json({"x": [1.5, None, True]}), parse_constant=pytest.fail) == {"x": [1.5, None, True]}


def test_warnings_are_plain_lines_and_those_for_programmers_are_hidden(capsys):
    with Console().plain_warnings():
        warnings.warn("the disk\nis full", RuntimeWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "minirnn: warning: the disk is full\n"


def test_no_bar_without_a_terminal(capsys):
    with Console().progress(10) as bar:
        assert bar is None


def test_a_bar_on_a_terminal_if_tqdm_is_there(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    console = Console()
    with console.progress(2) as bar:
        bar.update(2)
        console.note("between")
    assert console.bar is None
    assert "100%" in sys.stderr.getvalue() and "between\n" in sys.stderr.getvalue()


def test_lines_on_a_terminal_if_tqdm_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Console().progress(2) as bar:
        assert bar is None


def test_lines_on_a_terminal_of_no_columns(monkeypatch):
    pytest.importorskip("tqdm")
    stream = Terminal()
    stream.fileno = lambda: 2
    monkeypatch.setattr(sys, "stderr", stream)
    for columns in (0, 80):
        monkeypatch.setattr(os, "get_terminal_size", lambda fd, columns=columns: os.terminal_size((columns, 24)))
        with Console().progress(2) as bar:
            assert (bar is None) == (columns == 0)


def test_durations():
    shown = {0.04: "0.0 s", 59.9: "59.9 s", 61: "1 min 1 s", 3600: "1 h 0 min", 7384: "2 h 3 min"}
    assert {seconds: duration(seconds) for seconds in shown} == shown
