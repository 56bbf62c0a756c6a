"""Files cut short, with bits flipped, with parts lost or mixed with an older file: each is refused by one exception."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from counting import Tried
from trial_runs import RUNS

from minirnn import Checkpoint, load
from minirnn.training import CheckpointError
from minirnn.training.sealed import read_sealed, write_sealed

SECTOR = 512  # bytes that a disk writes, or loses, together


class Damage(NamedTuple):
    """Other bytes from some place on, and another size of the file."""

    what: str
    at: int
    new: bytes
    size: int


def flips(blob: bytes, places: Iterable[int]) -> Iterator[Damage]:
    """Single bits, by their number from the start."""
    for place in places:
        at, bit = divmod(int(place), 8)
        yield Damage(f"bit {bit} of byte {at} flipped", at, bytes([blob[at] ^ 1 << bit]), len(blob))


def cuts(blob: bytes, sizes: Iterable[int]) -> Iterator[Damage]:
    """What is left of a copy that broke off."""
    for size in sizes:
        yield Damage(f"cut to {size} bytes", 0, b"", size)


def losses(blob: bytes, older: bytes, places: Iterable[int]) -> Iterator[Damage]:
    """Bytes that went missing or came in between, sectors that were never written or stand in the wrong place."""
    size = len(blob)
    for at in places:
        yield Damage(f"byte {at} lost", at, blob[at + 1 :], size - 1)
        yield Damage(f"a byte more at {at}", at, b"\0" + blob[at:], size + 1)
    for at in range(0, size, SECTOR):
        sector = blob[at : at + SECTOR]
        others = {
            "of zeros": bytes(len(sector)),
            "of the file before": older[at : at + SECTOR],
            "of the next place": blob[at + SECTOR : at + 2 * SECTOR],
        }
        for kind, other in others.items():
            if len(other) == len(sector) and other != sector:
                yield Damage(f"a sector {kind} at {at}", at, other, size)
    for tail in (b"\0", b"\n", blob[-79:], blob):
        yield Damage(f"{len(tail)} bytes appended", size, tail, size + len(tail))


def refused(path: Path, read: Callable[[Path], Any], damages: Iterable[Damage]) -> Iterator[Tried]:
    """Reads the file with each damage done to it, and last the file as it was."""
    blob = path.read_bytes()
    with open(path, "r+b", buffering=0) as file:
        for what, at, new, size in damages:
            os.pwrite(file.fileno(), new, at)
            file.truncate(size)
            yield Tried(f"{path.name}, {what}", _unless_refused(path, read))
            end = at + len(new) if size == len(blob) else len(blob)
            os.pwrite(file.fileno(), blob[min(at, size) : end], min(at, size))
            file.truncate(len(blob))
    assert path.read_bytes() == blob  # each damage was undone, so each stood alone
    read(path)


def _unless_refused(path: Path, read: Callable[[Path], Any]) -> str:
    try:
        read(path)
    except CheckpointError as error:
        return "" if str(path) in str(error) and error.hint else f"it is not explained: {error}"
    except Exception as error:
        return f"it raised {error!r}"
    return "it was read"


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """Every flip and cut of a small file; some of those of the checkpoints of two runs, and many of a large file.

    The long part has every flip and every cut of the checkpoints, and 100,000 flips of the large file.
    """
    draw = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.npz")
        write_sealed(path, {"w": np.array([1, 2], np.int8)}, {"kind": "x"})
        blob = path.read_bytes()
        yield from refused(path, read_sealed, chain(flips(blob, range(8 * len(blob))), cuts(blob, range(len(blob)))))
        for kind, make in RUNS.items():
            run = Path(folder, kind)
            make().run(steps=4, callbacks=[Checkpoint(run)])
            blob, older = ((run / name).read_bytes() for name in ("last.npz", "last.previous.npz"))
            size, step = len(blob), 1 if long else 199
            damages = chain(
                flips(blob, range(seed % step, 8 * size, step)),
                cuts(blob, range(seed % step, size, step)),
                losses(blob, older, range(seed % step, size, step)),
            )
            yield from refused(run / "last.npz", load, damages)
        path = Path(folder, "large.npz")
        write_sealed(path, {"w": draw.standard_normal(40_000), "v": draw.standard_normal((40, 500))}, {"kind": "x"})
        blob = path.read_bytes()
        yield from refused(path, read_sealed, flips(blob, draw.integers(8 * len(blob), size=100_000 if long else 100)))
