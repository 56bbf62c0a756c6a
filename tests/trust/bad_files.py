"""Files that are missing, empty, damaged, of another kind, or of another run; nothing on the disk may change."""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from badness import Bad, Call

from minirnn import (
    SGD,
    Adam,
    CharLM,
    Checkpoint,
    CheckpointError,
    DataError,
    RunDirectoryError,
    TextStream,
    fit,
    load,
    read_pairs,
    read_text,
    save,
)
from minirnn.training.sealed import read_sealed, write_sealed

TEXT = "to be or not to be, that is the question " * 3

NO_TEXT = {  # files that hold no text, whoever reads them
    "empty": b"",
    "only a byte order mark": b"\xef\xbb\xbf",
    "a NUL": b"to be\0 or not",
    "UTF-16": b"\xff\xfet\0o\0",
    "UTF-16, big-endian": b"\xfe\xff\0t\0o",
    "Latin-1": "être\tou\n".encode("latin-1"),
    "a character cut short": "to be ê".encode()[:-1],
    "half a surrogate pair": b"to \xed\xa0\x80 be",
    "an overlong slash": b"to \xc0\xaf be",
    "a picture": b"\x89PNG\r\n\x1a\n\x01\x02",
}
NO_PAIRS = {
    "one column": b"a\tb\nc\n",
    "three columns": b"a\tb\tc\n",
    "no source": b"\tb\n",
    "no target": b"a\t\n",
    "blank target": b"a\t  \n",
    "an empty line": b"a\tb\n\nc\td\n",
    "an empty line at the end": b"a\tb\n\n",
    "a carriage return inside": b"a\rb\tc\n",
    "old line ends": b"a\tb\rc\td\r",
    "a sentence too long": b"a" * 10_001 + b"\tb\n",
    "commas": b"a,b\nc,d\n",
}


@cache
def room() -> Path:
    """A directory with every file there is, good and bad; removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="bad_files"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in (NO_TEXT | NO_PAIRS | {"text": TEXT.encode(), "pairs": b"a\tb\n"}).items():
        (folder / name).write_bytes(content)
    (folder / "a folder").mkdir()
    (folder / "a link to nothing").symlink_to(folder / "missing")
    (folder / "a link to itself").symlink_to(folder / "a link to itself")
    return folder


LONG_END = "x" * 300
UNREADABLE = {
    "missing": "does not exist",
    "a folder": "directory",
    "a link to nothing": "does not exist",
    "a link to itself": "cannot be read",
    "a name of a NUL\0": "cannot be read",
    "a name too long " + LONG_END: "cannot be read",
}


def calls() -> Iterator[Call]:
    unreadable = [
        Bad(why[:20].rstrip("\0"), why, DataError, shown=said, named=why.split("\0")[0].removesuffix(LONG_END).strip())
        for why, said in UNREADABLE.items()
    ]
    texts = [*unreadable, *(Bad(name, name, DataError, shown=name, named=name) for name in NO_TEXT)]
    yield Call("read_text", lambda folder, path: read_text(folder / path), {"path": "text"}, {"path": texts}, room)
    pairs = [
        *texts,
        *(Bad(name, name, DataError, shown=name, named="line" if name != "empty" else name) for name in NO_PAIRS),
    ]
    yield Call("read_pairs", lambda folder, path: read_pairs(folder / path), {"path": "pairs"}, {"path": pairs}, room)
    bad = [Bad(name, name, CheckpointError, shown=name, named=name) for name in checkpoints() if name != "good.npz"]
    yield Call("load", lambda folder, path: load(folder / path), {"path": "good.npz"}, {"path": bad}, models)
    kinds = [Bad("of another kind", "seq2seq", CheckpointError), Bad("unknown", "painter", CheckpointError)]
    yield Call(
        "load", lambda folder, kind: load(folder / "good.npz", kind), {"kind": "char_lm"}, {"kind": kinds}, models
    )
    yield from runs()


# --- checkpoints: files that are not, and files whose seal holds but whose content is nobody's


@cache
def checkpoints() -> dict[str, bytes]:
    """A good checkpoint, and what may become of it, by the name of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "good.npz"
        save(CharLM(TextStream(TEXT, 4, 2).vocabulary, 2, 3), path)
        good = path.read_bytes()
        arrays, meta = read_sealed(path)

        def sealed(arrays: dict[str, Any], meta: dict[str, Any]) -> bytes:
            write_sealed(path, arrays, meta)
            return path.read_bytes()

        files = {"good.npz": good, "empty.npz": b"", "text.npz": TEXT.encode(), "zip.npz": b"PK\5\6" + bytes(18)}
        files |= {f"cut at {share}.npz": good[: int(len(good) * share)] for share in (0.1, 0.5, 0.9)}
        files |= {"without its last byte.npz": good[:-1], "with a byte more.npz": good + b"\0"}
        for share in (0.01, 0.3, 0.6, 0.9, 0.999):
            place = int(len(good) * share)
            files[f"a bit flipped at {share}.npz"] = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        foreign = io.BytesIO()
        np.savez(foreign, **{name.replace("/", "_"): array for name, array in arrays.items()})
        files["of numpy.npz"] = foreign.getvalue()
        for key in ("kind", "model", "vocabulary", "versions", "training"):
            files[f"without {key}.npz"] = sealed(arrays, {name: value for name, value in meta.items() if name != key})
        for key, value in (
            ("kind", "painter"),
            ("kind", 3),
            ("model", []),
            ("model", None),
            ("vocabulary", "ab"),
            ("vocabulary", "a" * len(meta["vocabulary"])),
            ("vocabulary", 7),
            ("versions", {"minirnn": 1}),
            ("training", {}),
            ("training", 5),
        ):
            files[f"{key} {json.dumps(value)[:9]}.npz"] = sealed(arrays, {**meta, key: value})
        for key, value in (
            ("hidden_size", 4),
            ("hidden_size", "3"),
            ("hidden_size", -3),
            ("num_layers", 2),
            ("num_layers", 10**9),
            ("vocab_size", 1),
            ("cell", "clockwork"),
            ("cell", 1),
            ("dropout", 2.0),
            ("dropout", None),
            ("dtype", "float16"),
            ("dtype", "object"),
            ("tie_weights", "no"),
            ("tie_weights", True),
            ("seed", -1),
            ("unknown", 1),
        ):
            name = f"config {key} {json.dumps(value)}.npz".replace('"', "")
            files[name] = sealed(arrays, {**meta, "model": {**meta["model"], key: value}})
        weight = "model/head.weight"
        for why, array in (
            ("missing", None),
            ("turned round", arrays[weight].T),
            ("without axes", np.array(1, "float32")),
            ("of integers", arrays[weight].astype(int)[:1]),
            ("of booleans", arrays[weight] > 0),
        ):
            changed = (
                {**arrays, weight: array} if array is not None else {n: a for n, a in arrays.items() if n != weight}
            )
            files[f"a weight {why}.npz"] = sealed(changed, meta)
        files["a weight too many.npz"] = sealed({**arrays, "model/tail.weight": arrays[weight]}, meta)
        return files


@cache
def models() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bad_models"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in checkpoints().items():
        (folder / name).write_bytes(content)
    return folder


# --- runs that cannot be gone on with


@cache
def finished() -> Path:
    """A directory of runs: a good one of three steps, and others that something has happened to."""
    folder = Path(tempfile.mkdtemp(prefix="bad_runs"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run(folder, "good", resume=False)
    (folder / "a file").write_text(TEXT)
    last = (folder / "good" / "last.npz").read_bytes()
    for name, spoil in {
        "damaged": lambda path: (path / "last.npz").write_bytes(last[:-9] + b"\0" * 9),
        "cut short": lambda path: (path / "last.npz").write_bytes(last[:99]),
        "without a run": lambda path: save(CharLM(_stream().vocabulary, 2, 3), path / "last.npz"),
        "with a folder in it": lambda path: ((path / "last.npz").unlink(), (path / "last.npz").mkdir()),
        "only the one before": lambda path: (path / "last.npz").rename(path / "last.previous.npz"),
        "with a log of nonsense": lambda path: (path / "log.jsonl").write_bytes(
            b"{\n" * ((path / "log.jsonl").stat().st_size // 2)
        ),
    }.items():
        shutil.copytree(folder / "good", folder / name)
        spoil(folder / name)
    return folder


def _stream(text: str = TEXT, **settings: Any) -> TextStream:
    return TextStream(text, **{"seq_len": 4, "batch_size": 2, **settings})


def run(folder: Path, directory: str, resume: bool = True, **changed: Any) -> None:
    """A run of three steps, of which none is left to take when it is resumed."""
    stream = changed.get("stream") or _stream()
    lm = changed.get("model") or CharLM(stream.vocabulary, 2, 3)
    optimizer = changed.get("optimizer", Adam)(lm.parameters(), 0.1)
    checkpoint = Checkpoint(folder / directory, resume=resume)
    fit(lm, stream, steps=3, log_every=1, optimizer=optimizer, callbacks=[checkpoint])


def runs() -> Iterator[Call]:
    good = {"directory": "good"}
    bad = [
        Bad("damaged", "damaged", CheckpointError, shown="last.npz", named="damaged"),
        Bad("cut short", "cut short", CheckpointError, shown="last.npz", named="cut short"),
        Bad("a model alone", "without a run", CheckpointError, shown="last.npz", named="without a run"),
        Bad("a file", "a file", RunDirectoryError, shown="directory", named="a file"),
        Bad("a folder in it", "with a folder in it", RunDirectoryError, shown="last.npz", named="with a folder in it"),
        Bad(
            "no last.npz",
            "only the one before",
            RunDirectoryError,
            shown="last.previous.npz",
            named="only the one before",
        ),
        Bad(
            "nonsense in the log",
            "with a log of nonsense",
            CheckpointError,
            shown="line 1",
            named="with a log of nonsense",
        ),
    ]
    yield Call("Checkpoint(resume=True)", run, good, {"directory": bad}, finished)
    taken = [Bad("of another run", "good", RunDirectoryError, shown="another run", named="good")]
    yield Call("Checkpoint", partial(run, resume=False), {"directory": "new"}, {"directory": taken}, finished)
    others = {
        "stream": [
            Bad("another text", _stream(TEXT[::-1]), CheckpointError, shown="text", named="run"),
            Bad("other batches", _stream(batch_size=3), CheckpointError, shown="batch_size"),
            Bad("other windows", _stream(seq_len=5), CheckpointError, shown="seq_len"),
            Bad("another seed", _stream(seed=1), CheckpointError, shown="seed"),
            Bad("no lanes", _stream(lanes=False), CheckpointError, shown="lanes"),
        ],
        "optimizer": [Bad("another one", partial(SGD), CheckpointError, shown="SGD")],
        "model": [
            Bad("another size", CharLM(_stream().vocabulary, 2, 4), CheckpointError, shown="hidden_size"),
            Bad("another cell", CharLM(_stream().vocabulary, 2, 3, cell="gru"), CheckpointError, shown="cell"),
        ],
    }
    others = {name: [case._replace(named="run") for case in cases] for name, cases in others.items()}
    yield Call("Checkpoint(resume=True)", partial(run, directory="good"), {}, others, finished)
