"""What the campaigns train: a character model and a translator, each small enough to be trained a thousand times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from minirnn import CharLM, Seq2Seq, TextStream, Trainer
from minirnn.text import PairStream, TokenVocabulary
from minirnn.training import Plateau, linear

TEXT = "the cat sat on the mat; a dog ate the rat. " * 2
PAIRS = [
    ("a", "un"), ("the cat", "le chat"), ("the red cat sat", "le chat rouge est la"), ("a dog", "un chien"),
    ("the dog and the cat", "le chien et le chat"), ("red", "rouge"), ("a red dog", "un chien rouge"),
    ("cat and dog", "chat et chien"), ("the dog sat", "le chien est la"), ("sat", "est la"), ("the cat sat", "le chat"),
]  # fmt: skip


def characters() -> Trainer:
    """A run of a character model, four steps to the epoch."""
    stream = TextStream(TEXT, 5, 3)
    model = CharLM(stream.vocabulary, embedding_size=3, hidden_size=4, num_layers=2, dropout=0.2, seed=1)
    return Trainer(model, stream, lr=0.01, schedule=Plateau(1), val_split=0.25, log_every=2)


def pairs() -> Trainer:
    """A run of a translator, three steps to the epoch."""
    vocabularies = [TokenVocabulary.learn(side, "words") for side in zip(*PAIRS, strict=True)]
    stream = PairStream(PAIRS, *vocabularies, 4, seed=3)
    model = Seq2Seq(*vocabularies, embedding_size=3, hidden_size=4, num_layers=1, dropout=0.2, seed=1)
    return Trainer(model, stream, lr=0.01, teacher_forcing=linear(0.5, 9), log_every=2)


RUNS: dict[str, Callable[[], Trainer]] = {"characters": characters, "pairs": pairs}


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a directory, and what stands in it."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def temporaries(files: Iterable[str]) -> list[str]:
    """Those that a write leaves if it does not come to its end."""
    return [name for name in files if name.endswith(".tmp")]


def bits(trainer: Trainer) -> dict[str, bytes]:
    """Every bit of a run's parameters."""
    return {name: array.tobytes() for name, array in trainer.model.state_dict().items()}
