"""Command lines that ask for what cannot be: the exit code, one line that says why, and no file written."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import bad_files
from badness import Bad, Call, Refused

from minirnn.cli import main

TEXT = "the cat sat on the mat; a dog ate the rat.\n" * 20
SMALL = ["--backend=numpy", "--hidden=4", "--embed=2", "--seq-len=10", "--batch-size=4", "--val-split=0.1"]


class Usage(Refused):
    """Exit code 2."""


class BadData(Refused):
    """Exit code 3."""


class BadCheckpoint(Refused):
    """Exit code 4."""


KINDS: dict[int, type[Refused]] = {2: Usage, 3: BadData, 4: BadCheckpoint}


def command(folder: Path, *words: str, **changed: str | None) -> None:
    """Runs ``minirnn WORDS`` in this process; what is changed stands where ``<name>`` does, or follows as a flag.

    ``@`` at the beginning of a word is the directory.
    """
    line = []
    for word in words:
        line.append(changed.pop(word[1:-1]) if word.startswith("<") else word)
    flags = {name: value for name, value in changed.items() if value is not None}
    for name, value in flags.items():
        line += (
            [f"--{name.replace('_', '-')}", value]
            if not value.startswith("-")
            else [f"--{name}={value}".replace("_", "-")]
        )
    line = [re.sub("^@", f"{folder}/", word) for word in line]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line)
    if code:
        said = err.getvalue()
        if said.count("\n") != 1 or not said.startswith("minirnn: ") or out.getvalue() or "mistake in minirnn" in said:
            raise RuntimeError(f"exit code {code} and not one line: {said!r}, {out.getvalue()!r}")
        raise KINDS.get(code, RuntimeError)(said.strip())


@cache
def folder() -> Path:
    """A directory with a text, pairs, a model and configs; what a command line would write, it would write here."""
    place = bad_files.models()
    (place / "text.txt").write_text(TEXT)
    (place / "pairs.tsv").write_text("".join(f"w{k} b\tb w{k}\n" for k in range(40)))
    (place / "one column.tsv").write_text("a b\n")
    (place / "binary.txt").write_bytes(b"a\0b")
    (place / "short.txt").write_text("abc")
    (place / "unseen.txt").write_text("Ω" * 300)
    for name, content in CONFIGS.items():
        (place / f"{name}.toml").write_text(content)
    return place


CONFIGS = {
    "no toml": "hidden = = 3",
    "twice": "hidden = 3\nhidden = 4",
    "unknown key": "hiden = 3",
    "a table": "[hidden]\nsize = 3",
    "text for a number": 'hidden = "many"',
    "a flag for a number": "hidden = true",
    "below": "layers = 0",
    "no number": "lr = nan",
    "a number for a text": "cell = 3",
    "a list": "batch_size = [3]",
    "a number for a flag": "tie_weights = 1",
    "unknown cell": 'cell = "clockwork"',
}


def calls() -> Iterator[Call]:
    train = partial(_named, "train", "<text>", "-o", "@new", *SMALL, "--dry-run")
    flags: dict[str, dict[str, str]] = {
        "hidden": {"zero": "0", "negative": "-3", "text": "many", "half": "1.5", "huge": "9" * 30},
        "layers": {"zero": "0"},
        "seq_len": {"negative": "-1"},
        "batch_size": {"zero": "0"},
        "epochs": {"zero": "0"},
        "steps": {"half": "0.5"},
        "max_minutes": {"zero": "0", "infinite": "inf"},
        "lr": {"zero": "0", "NaN": "nan", "text": "fast"},
        "dropout": {"one": "1", "negative": "-0.1"},
        "clip_norm": {"negative": "-1"},
        "clip_value": {"NaN": "nan"},
        "val_split": {"one": "1"},
        "patience": {"negative": "-1"},
        "seed": {"negative": "-1"},
        "cell": {"unknown": "clockwork"},
        "dtype": {"half": "float16"},
        "optimizer": {"unknown": "magic"},
        "schedule": {"unknown": "magic"},
        "backend": {"unknown": "abacus"},
        "workers": {"zero": "0", "text": "many"},
        "save_every": {"zero": "0"},
        "keep": {"negative": "-1"},
        "log_every": {"zero": "0"},
    }
    bad = {
        name: [Bad(why, value, Usage, shown=value[:12]) for why, value in values.items()]
        for name, values in flags.items()
    }
    bad["hiden"] = [Bad("no such flag", "3", Usage, shown="unrecognized")]
    good: dict[str, Any] = {"text": "@text.txt"}
    texts = {"missing": "@missing.txt", "binary": "@binary.txt", "too short": "@short.txt", "a directory": "@"}
    bad["text"] = [
        Bad(why, value, BadData, shown=value[1:] if why != "too short" else "3 characters", named="text")
        for why, value in texts.items()
    ]
    bad["config"] = [Bad(why, f"@{why}.toml", Usage, shown=why, named="config") for why in (*CONFIGS, "missing")]
    yield Call("minirnn train", train, good, typed(bad), folder)
    generate = partial(_named, "generate", "<run>", "--length=3")
    bad = {
        "temperature": [Bad("negative", "-1", Usage), Bad("infinite", "inf", Usage)],
        "top_k": [Bad("negative", "-1", Usage)],
        "top_p": [Bad("zero", "0", Usage), Bad("above one", "1.5", Usage, shown="1.5", named="top_p")],
        "length": [Bad("negative", "-1", Usage)],
        "num": [Bad("zero", "0", Usage)],
        "unknown": [Bad("unknown", "guess", Usage)],
        "prompt": [Bad("unseen", "Ω", BadData, named="text")],
        "prompt_file": [Bad("missing", "@missing.txt", BadData, shown="missing.txt", named="missing")],
        "run": [
            Bad("missing", "@missing.npz", BadCheckpoint, shown="missing.npz", named="missing"),
            Bad("damaged", "@a bit flipped at 0.6.npz", BadCheckpoint, shown="damaged", named="npz"),
            Bad("a text", "@text.txt", BadCheckpoint, shown="not a minirnn checkpoint", named="text"),
        ],
    }
    yield Call("minirnn generate", generate, {"run": "@good.npz"}, typed(bad), folder)
    pairs = partial(
        _named, "train-seq2seq", "<pairs>", "-o", "@new", *SMALL[:3], "--batch-size=2", "--units=words", "--dry-run"
    )
    bad = {
        "attention": [Bad("unknown", "rapt", Usage)],
        "feed": [Bad("unknown", "cake", Usage)],
        "units": [Bad("unknown", "bits", Usage)],
        "vocab_size": [Bad("too small", "4", Usage)],
        "teacher_forcing": [
            Bad("above one", "1.5", Usage),
            Bad("text", "often", Usage),
            Bad("three", "1:0.5:0", Usage),
        ],
        "label_smoothing": [Bad("one", "1", Usage)],
        "generated": [Bad("besides a file", "dates", Usage, shown="TSV"), Bad("unknown", "tales", Usage)],
        "valid": [Bad("missing", "@missing.tsv", BadData, shown="missing.tsv", named="missing")],
        "pairs": [Bad("one column", "@one column.tsv", BadData, shown="line 1", named="column")],
    }
    yield Call("minirnn train-seq2seq", pairs, {"pairs": "@pairs.tsv"}, typed(bad), folder)
    split = partial(
        _named, "train-seq2seq", "--generated=dates", "-o", "@new", *SMALL[:3], "--units=chars", "--dry-run"
    )
    bad = {"val_split": [Bad("besides --generated, which brings its own", "0.2", Usage, shown="--generated")]}
    yield Call("minirnn train-seq2seq --generated", split, {}, typed(bad), folder)
    evaluate = partial(_named, "evaluate", "<run>", "<data>")
    bad = {
        "data": [
            Bad("missing", "@missing.txt", BadData, shown="missing.txt", named="missing"),
            Bad("unseen", "@unseen.txt", BadData, shown="'Ω'", named="text"),
        ],
        "generated": [Bad("besides data", "dates", Usage, shown="DATA")],
    }
    yield Call("minirnn evaluate", evaluate, {"run": "@good.npz", "data": "@seen.txt"}, typed(bad), _with_seen)
    check = partial(_named, "gradcheck", "<rule>", "--seed=1")
    bad = {
        "rule": [Bad("unknown", "tanhh", Usage, named="rule")],
        "method": [Bad("unknown", "magic", Usage)],
        "html": [Bad("another ending", "@x.png", Usage, shown="x.png")],
    }
    yield Call("minirnn gradcheck", check, {"rule": "tanh"}, typed(bad), folder)
    bad = {
        "verb": [
            Bad("unknown", "frobnicate", Usage, named="no command"),
            Bad("none", None, Usage, shown="", named="command"),
        ]
    }
    yield Call("minirnn", lambda verb: command(folder(), *([] if verb is None else [verb])), {"verb": "--version"}, bad)


def typed(bad: dict[str, list[Bad]]) -> dict[str, list[Bad]]:
    """The cases of each flag, which the message must name as it is typed."""
    return {
        name: [case if case.named else case._replace(named=f"--{name.replace('_', '-')}") for case in cases]
        for name, cases in bad.items()
    }


def _named(*words: Any, **changed: Any) -> None:
    """`command`, of which the folder comes behind the words that are fixed."""
    *fixed, place = words
    command(place, *fixed, **changed)


def _with_seen() -> Path:
    (folder() / "seen.txt").write_text(bad_files.TEXT)
    return folder()
