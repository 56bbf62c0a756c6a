"""Text of strangers on a terminal: whatever stands in files, names and models is shown, and obeyed by nobody."""

import sys

import pytest
from test_cli_console import Terminal
from tiny_commands import SMALL, without_matplotlib

from minirnn.cli import main
from minirnn.text.showing import visible
from minirnn.training import CheckpointError, load
from minirnn.training.sealed import read_sealed, write_sealed

EVIL = "\x1b[2J\x1b]0;evil\x07\r\x9b31m\x08\u202e"  # clears, renames the window, goes back, colours, turns round
TEXT = f"{EVIL} the cat sat on the mat\n" * 40
PAIR = [*SMALL[:1], "--hidden=8", "--layers=1", "--embed=8", "--batch-size=4", "--val-split=0", "--log-every=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a hostile name, which holds hostile data and models of them."""
    folder = tmp_path_factory.mktemp("hostile") / EVIL
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT, newline="")
    side = EVIL.replace("\r", "")
    (folder / "pairs.tsv").write_text(f"{side} a b\t{side} c\n{side} b\tc\n" * 8, newline="")
    (folder / "three.tsv").write_text(f"{EVIL}\t{EVIL}\t{EVIL}\n", newline="")
    (folder / "bad.toml").write_text(f'"{visible(EVIL)}" = 1\n'.replace("\\x", "\\u00"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minirnn.cli.running.learning_curve", without_matplotlib)
        train = ["train", folder / "text.txt", "-o", folder / "run", *SMALL, "--steps=12"]
        pairs = ["train-seq2seq", folder / "pairs.tsv", "-o", folder / "pairs", *PAIR, "--units=chars", "--steps=9"]
        for words in (train, pairs):
            assert main([*map(str, words)]) == 0
    arrays, meta = read_sealed(folder / "run" / "best.npz")
    write_sealed(folder / "key.npz", arrays, {**meta, "model": {**meta["model"], EVIL: 1}})
    write_sealed(folder / "kind.npz", arrays, {**meta, "kind": EVIL})
    return folder


SHOWN = [  # exit code, and a command
    (0, "train text.txt -o new --steps=6 --log-every=2"),
    (0, "train -o run --resume --steps=14"),
    (2, "train text.txt -o run"),
    (3, "train missing.txt -o new"),
    (0, "train-seq2seq pairs.tsv -o new --steps=4 --units=words --log-every=2"),
    (3, "train-seq2seq three.tsv -o new"),
    (2, "train text.txt -o new --config bad.toml"),
    (0, "generate run --length=20 --temperature=2 --num=2"),
    (0, "generate run --length=20 --temperature=2 --stream --seed=3"),
    (0, "generate run --length=60 --greedy --memorised text.txt"),
    (0, "generate run --prompt EVIL --unknown=skip --length=3"),
    (3, "generate run --prompt ÄEVIL"),
    (0, "evaluate run text.txt"),
    (0, "evaluate pairs pairs.tsv"),
    (0, "inspect run"),
    (0, "inspect pairs"),
    (4, "inspect key.npz"),
    (4, "inspect kind.npz"),
    (0, "lens step run --text text.txt --seq-len=12"),
    (0, "lens flow run --text text.txt -o new.json"),
    (0, "translate pairs EVIL --n-best=3 --scores --max-length=9"),
    (0, "translate pairs ÄEVIL"),
]


@pytest.mark.parametrize(("code", "words"), SHOWN, ids=[words for _, words in SHOWN])
def test_a_terminal_obeys_nothing(place, tmp_path, monkeypatch, code, words):
    screen = Terminal()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, screen)
    monkeypatch.setitem(sys.modules, "tqdm", None)  # a bar goes back to the start of its line
    monkeypatch.setattr("minirnn.cli.running.learning_curve", without_matplotlib)
    here = tmp_path / EVIL
    here.mkdir()
    verb, *rest = words.split()
    files = {path.name: path for path in place.iterdir()}
    files |= {name: here / name for name in ("new", "new.json")}
    arguments = [str(files[word]) if word in files else word.replace("EVIL", EVIL) for word in rest]
    sizes = {"train": SMALL, "train-seq2seq": PAIR}.get(verb, []) if "--resume" not in rest else []
    assert main([verb, *sizes, *arguments]) == code
    shown = screen.getvalue()
    assert shown and visible(shown, keep="\n\t") == shown


@pytest.mark.parametrize("name", ["key", "kind"])
def test_nor_does_a_traceback_show_what_a_checkpoint_wants_obeyed(place, name):
    with pytest.raises(CheckpointError) as caught:
        load(place / f"{name}.npz")
    assert visible(str(caught.value)) == str(caught.value)
