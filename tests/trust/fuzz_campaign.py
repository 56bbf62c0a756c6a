"""Bytes that nobody wrote, and structures that nobody meant, for all that reads them: the only errors are its own.

Hypothesis draws and shrinks them; the long part draws ten thousand for each reader.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from counting import Tried
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from minirnn import CharLM, CheckpointError, DataError, TokenVocabulary, Vocabulary, load, read_pairs, read_text, save
from minirnn.cli.settings import UsageError
from minirnn.cli.tables import CHARACTERS, PAIRS
from minirnn.training.sealed import read_sealed, write_sealed

LONG, QUICK = 10_000, 40
KEYS = sorted(CHARACTERS.settings.keys() | PAIRS.settings.keys())


class Reader(NamedTuple):
    """What reads, the errors it may raise, and what it is given."""

    read: Callable[[Any], Any]
    refuses: type[Exception] | tuple[type[Exception], ...]
    strategy: st.SearchStrategy[Any]


def plain() -> st.SearchStrategy[Any]:
    """Whatever JSON can say."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))


def lines(*separators: str) -> st.SearchStrategy[bytes]:
    """Bytes, and what looks like a text with columns."""
    text = st.text(st.characters() | st.sampled_from([*separators, "\n", "\r", "\0", "\ufeff"]), max_size=60)
    return st.binary(max_size=60) | text.map(lambda t: t.encode("utf-8", "surrogatepass"))


def toml() -> st.SearchStrategy[bytes]:
    """Bytes, and lines of a key that there is and a value of any kind."""
    values = st.sampled_from(
        ["1", "-1", "0", "nan", "inf", "1e400", "true", '"a"', "[]", "{}", "1979-05-27", "'" + "9" * 40 + "'"]
    )
    rows = st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=4, unique_by=lambda row: row[0])
    return st.binary(max_size=40) | rows.map(lambda rows: "\n".join(" = ".join(row) for row in rows).encode())


def vocabularies() -> st.SearchStrategy[Any]:
    """Whatever JSON can say, and what looks like a vocabulary."""
    entries = st.lists(st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=3) | st.none(), max_size=5)
    near = st.fixed_dictionaries(
        {"units": st.sampled_from(["words", "chars", "bpe"])}, optional={"tokens": entries, "merges": entries}
    )
    return plain() | near


def readers(folder: Path) -> dict[str, Reader]:
    """All that reads what others wrote, by name."""
    path = folder / "file"
    save(CharLM(Vocabulary("abc"), 2, 3), path)
    good = path.read_bytes()
    arrays, meta = read_sealed(path)

    def from_file(read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
        def run(content: bytes) -> Any:
            path.write_bytes(content)
            return read(path)

        return run

    def sealed(changed: dict[str, Any]) -> Any:
        try:
            write_sealed(path, arrays, {**meta, **changed})
        except ValueError:  # NaN and the like, which no file can hold
            return None
        return load(path)

    spliced = st.tuples(st.integers(0, len(good)), st.integers(0, 40), st.binary(max_size=20)).map(
        lambda cut: good[: cut[0]] + cut[2] + good[cut[0] + cut[1] :]
    )
    values = st.dictionaries(st.sampled_from(sorted(meta)), plain(), min_size=1, max_size=2)
    config = st.dictionaries(st.sampled_from(sorted(meta["model"])), plain(), min_size=1, max_size=2)
    return {
        "load, bytes": Reader(
            from_file(load), CheckpointError, st.binary(max_size=60) | spliced.filter(lambda b: b != good)
        ),
        "load, under a good seal": Reader(
            sealed, CheckpointError, values | config.map(lambda c: {"model": {**meta["model"], **c}})
        ),
        "read_text": Reader(from_file(read_text), DataError, lines(" ")),
        "read_pairs": Reader(from_file(read_pairs), DataError, lines("\t")),
        "a config of train": Reader(from_file(CHARACTERS.read_config), UsageError, toml()),
        "a config of train-seq2seq": Reader(from_file(PAIRS.read_config), UsageError, toml()),
        "TokenVocabulary.from_plain": Reader(TokenVocabulary.from_plain, DataError, vocabularies()),
        "CharLM.vocabulary_from_plain": Reader(
            CharLM(3, 2, 3).vocabulary_from_plain, (DataError, TypeError, ValueError), plain()
        ),
    }


def campaign(long: bool, seed: int) -> Iterator[Tried]:
    """Every reader, with as many examples as there is time for; each is one case, named by what was drawn."""
    with tempfile.TemporaryDirectory() as folder:
        for name, reader in readers(Path(folder)).items():
            yield from examples(name, reader, LONG if long else QUICK, seed)


def examples(name: str, reader: Reader, count: int, start: int) -> Iterator[Tried]:
    """What became of each example; those that fail are shrunk, and the smallest comes last."""
    tried: list[Tried] = []

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(reader.strategy)
    def read(drawn: Any) -> None:
        try:
            reader.read(drawn)
        except reader.refuses:
            pass
        except Exception as error:
            tried.append(Tried(f"{name}: {drawn!r:.200}", f"{type(error).__name__}: {error}"))
            raise
        tried.append(Tried(f"{name}: {drawn!r:.200}"))

    try:
        read()
    except Exception as error:  # it is among the cases already
        assert any(case.failure for case in tried), error
    yield from tried
