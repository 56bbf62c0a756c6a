"""Opening a file runs nothing: whatever it holds, nothing is imported, called, started, connected to or written."""

import ast
import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest
from tiny import OPTIONS, trainer_of

from minirnn import Checkpoint, save
from minirnn.training.sealed import read_sealed, write_sealed

CANARY = "minirnn_canary"
WATCHING = """
import os, sys
from pathlib import Path
import minirnn as mr
from minirnn.cli.tables import CHARACTERS, PAIRS
from tiny import OPTIONS, trainer_of

READERS = {
    "load": mr.load,
    "resume": lambda path: mr.Checkpoint(path, resume=True).read_into(trainer),
    "read_text": mr.read_text,
    "read_pairs": mr.read_pairs,
    "characters": CHARACTERS.read_config,
    "pairs": PAIRS.read_config,
}
folder, cage = map(Path, sys.argv[1:])
trainer = trainer_of("characters", {name: values[0] for name, values in OPTIONS["characters"].items()})
sys.path.insert(0, str(cage))  # where the canary sits
# Not "compile": NumPy parses the header of an array as a literal, and what is compiled only runs by "exec".
RUNS = ("import", "exec", "pickle.", "marshal.", "code.", "ctypes.", "socket.", "subprocess.", "os.")
READS = ("os.listdir", "os.scandir")
watched, seen, outcomes = False, [], set()


def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if watched and (writes or (event.startswith(RUNS) and event not in READS)):
        seen.append((event, str(arguments)))


def read_all():
    for path in sorted(folder.iterdir()):
        for name, read in READERS.items():
            try:
                read(path)
                outcomes.add((name, "read"))
            except ValueError as error:
                str(error), repr(error)
                outcomes.add((name, "refused"))


sys.addaudithook(watch)
read_all()  # the standard library loads its own codecs the first time
modules, watched = set(sys.modules), True
read_all()
watched = False
print(sorted(outcomes), seen, sorted(set(sys.modules) - modules))
"""


def code_like():
    """Strings and bytes that a careless reader would run."""
    yield f"__import__('{CANARY}')"
    yield f"{CANARY}:sing"
    yield f"!!python/object/apply:{CANARY}.sing []\n"
    yield f"$(python -c 'import {CANARY}')\t`touch pwned`\n"
    yield f'cell = "{CANARY}.Cell"\n'
    yield f"[import]\n{CANARY} = 1\n"


class Trap:
    def __reduce__(self):
        return __import__, (CANARY,)


def hide(folder):
    """Files of every kind that minirnn reads, sound ones and others."""
    for kind, choices in OPTIONS.items():
        trainer = trainer_of(kind, {name: values[0] for name, values in choices.items()})
        trainer.run(steps=2, callbacks=[Checkpoint(folder / f"run of {kind}")])
        save(trainer.model, sound := folder / f"{kind}.npz")
        arrays, meta = read_sealed(sound)
        texts = list(code_like())
        for where, text in zip(("kind", "model", "vocabulary", "training"), texts, strict=False):
            write_sealed(folder / f"{kind} {where}.npz", arrays, {**meta, where: text})
        for name, text in zip(("cell", "dtype", "seed", texts[0]), texts, strict=False):
            changed = {**meta, "model": {**meta["model"], name: text}}
            write_sealed(folder / f"{kind} {name[:6]}.npz", arrays, changed)
    for k, text in enumerate(code_like()):
        (folder / f"{k}.txt").write_text(text)
        (folder / f"{k}.tsv").write_text(f"{text.strip()}\t{text.strip()}\n")
    (folder / "sound.tsv").write_text("one\ttwo\n")
    (folder / "sound.toml").write_text("hidden = 3\n")
    (folder / "trap.pickle").write_bytes(pickle.dumps(Trap()))
    np.save(folder / "trap.npy", np.array([Trap()]), allow_pickle=True)
    np.savez(folder / "trap.npz", trap=np.array([Trap()]))


def test_nothing_in_a_file_is_imported_called_or_obeyed(tmp_path):
    """The canary would sing: unpickling a trap in the open does import it."""
    folder, cage = tmp_path / "files", tmp_path / "cage"
    folder.mkdir()
    cage.mkdir()
    (cage / f"{CANARY}.py").write_text("print('the canary sings')")
    hide(folder)

    def output(program, *arguments):
        words = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{program}", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    careless = "import numpy; sys.path.insert(0, sys.argv[2]); numpy.load(sys.argv[1], allow_pickle=True)['trap']"
    assert output(careless, folder / "trap.npz", cage) == "the canary sings\n"
    said = output(WATCHING, folder, cage)
    outcomes, rest = said[: said.index("]") + 1], said[said.index("]") + 1 :]
    readers = ("load", "resume", "read_text", "read_pairs", "characters", "pairs")
    assert {*ast.literal_eval(outcomes)} == {(name, how) for name in readers for how in ("read", "refused")}
    assert rest == " [] []\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cage", "files"]


def test_the_tests_use_no_network():
    with pytest.raises(AssertionError, match="tests use no network"):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    with pytest.raises(AssertionError, match="tests use no network"), socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
    with pytest.raises(AssertionError, match="tests use no network"):
        socket.getaddrinfo("localhost", 80)
    for end in socket.socketpair():  # between processes of one machine
        end.close()
