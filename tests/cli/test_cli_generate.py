"""``minirnn generate``: the text, where the prompt comes from, and what was copied."""

import json
import os
import shutil
import subprocess

import pytest
from tiny_commands import TEXT, python

from minirnn import generate
from minirnn.training import load


def test_the_text_is_that_of_the_library(cli, finished_run):
    result = cli("generate", finished_run, "--prompt", "the c", "--length", 40, "--temperature", 0.7, "--seed", 3)
    expected = generate(load(finished_run), "the c", length=40, temperature=0.7, seed=3)
    assert (result.code, result.out, result.err) == (0, expected + "\n", "")


@pytest.mark.parametrize("flags", [["--stream"], ["--top-k", 3], ["--top-p", 0.5], ["--greedy"], ["--backend", "auto"]])
def test_settings_arrive(cli, finished_run, flags):
    result = cli("generate", finished_run, "--length", 40, *flags)
    assert result.code == 0
    usual = cli("generate", finished_run, "--length", 40).out
    assert (result.out == usual) == (flags[0] in ("--stream", "--backend"))


def test_several_samples_have_seeds_of_their_own(cli, finished_run):
    records = [
        json.loads(line)
        for line in cli("generate", finished_run, "--num", 3, "--seed", 7, "--length", 30, "--json").out.splitlines()
    ]
    assert [r["seed"] for r in records] == [7, 8, 9] and len({r["text"] for r in records}) == 3
    alone = json.loads(cli("generate", finished_run, "--seed", 8, "--length", 30, "--json").out)
    assert records[1]["text"] == alone["text"]
    shown = cli("generate", finished_run, "--num", 3, "--seed", 7, "--length", 30).out
    assert "--- sample 2 of 3, seed 8 ---" in shown


def test_prompts_from_a_file_lose_their_last_line_end(cli, finished_run, tmp_path):
    (tmp_path / "prompt.txt").write_text("the\ncat\n")
    assert cli("generate", finished_run, "--prompt-file", tmp_path / "prompt.txt", "--length", 0).out == "the\ncat\n"


def test_the_prompt_from_stdin(finished_run):
    arguments, settings = python("-m", "minirnn", "generate", finished_run, "-", "--length", 0)
    done = subprocess.run(arguments, **settings, input="a dog\n", capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a dog\n", "")


def test_unknown_characters_of_the_prompt(cli, finished_run):
    assert cli("generate", finished_run, "--prompt", "dög", "--length", 3, "--unknown", "skip").code == 0
    assert cli("generate", finished_run, "--prompt", "dög", "--length", 3, "--unknown", "replace").code == 0


def test_redirected_text_is_raw(cli, finished_run):
    result = cli("generate", finished_run, "--prompt", "\x1b[31m", "--length", 0)
    assert result.out == "\x1b[31m\n"


def test_what_was_copied(cli, finished_run):
    result = cli("generate", finished_run, "--length", 60, "--memorised")
    assert len(result.out) == 61
    assert result.err.startswith("copied: at most ") and "stand nowhere in the training text" in result.err
    record = json.loads(cli("generate", finished_run, "--length", 60, "--memorised", "--json").out)
    assert record["longest_copied"] in TEXT and record["longest_copied"] in record["text"]
    assert 0 <= record["novel_4_grams"] <= record["novel_16_grams"] <= 1


def test_what_was_copied_needs_the_text(cli, finished_run, text, tmp_path):
    alone = tmp_path / "alone.npz"
    shutil.copy(finished_run / "best.npz", alone)
    result = cli("generate", alone, "--memorised")
    assert result.code == 2 and "--memorised FILE" in result.message
    assert cli("generate", alone, "--length", 9, "--memorised", text).code == 0
    result = cli("generate", alone, "--memorised", tmp_path / "missing")
    assert result.code == 3 and os.fspath(tmp_path / "missing") in result.message


def test_options_stand_anywhere(cli, finished_run, tmp_path):
    said = cli("generate", "--length", 5, "--greedy", finished_run, "--prompt", "the ").out
    assert said and cli("generate", finished_run, "--prompt", "the ", "--length=5", "--greedy").out == said
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    found = cli("evaluate", finished_run, text, "--unknown", "skip", "--json").out
    assert found and cli("evaluate", finished_run, "--json", "--unknown", "skip", text).out == found
    assert cli("evaluate", "--json", finished_run, "--unknown=skip", "--", text).out == found
