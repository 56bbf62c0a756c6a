"""What the training commands differ in: what they read, which model they build of it, how they show what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Any

import numpy as np

from minirnn.checking import GradcheckReport
from minirnn.cli.building import build_trainer, last_step, model_in_words, read_pairs_of, read_source
from minirnn.cli.console import table
from minirnn.cli.gradcheck import check_char_lm, check_seq2seq
from minirnn.cli.layer_options import RANDOM, as_text, check_layer_options, options_in
from minirnn.cli.settings import Table, UsageError
from minirnn.cli.tables import CHARACTERS, PAIRS
from minirnn.decoding import generate, translate
from minirnn.models import CharLM, Seq2Seq
from minirnn.models.char_lm import CELLS, DECIDED
from minirnn.nn.attentive import of_a_step
from minirnn.nn.weights import options_of
from minirnn.text import PairStream, TextStream, TokenVocabulary, entropy_of_characters, generated
from minirnn.text.tokens import PAD
from minirnn.training import Trainer, inverse_sigmoid, linear
from minirnn.training.loop import DivergenceError
from minirnn.training.schedules import Schedule

SHOWN = 5  # translations of a sample


class Task:
    """A kind of training: a table of settings, and what is done with them."""

    table: Table
    kind: str  # of its checkpoints

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuses settings that name no data, or do not go together, before anything is read.

        Raises
        ------
        UsageError
        """
        check_layer_options(settings, self.layer_options(settings["cell"]))

    def layer_options(self, cell: str) -> list[str]:
        """Options of recurrent layers that the model hands on to them, and that have no flag of their own."""
        raise NotImplementedError

    def known(self, model: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that a checkpoint knows of its run."""
        stream = training.get("stream", {})
        known = {name: model[key] for name, key in MODEL_NAMES.items() if key in model}
        known |= {name: stream[name] for name in self.table.settings if name in stream and name not in known}
        known |= {"optimizer": training["optimizer"].lower()} if training else {}
        of_layers = {name: model[name] for cell in CELLS for name in self.layer_options(cell) if name in model}
        known |= {"layer_options": as_text(of_layers)}
        return {name: value for name, value in known.items() if name in self.table.settings and value is not None}

    def read(self, settings: Mapping[str, Any]) -> Any:
        """The data that the settings name.

        Raises
        ------
        DataError, UsageError
        """
        raise NotImplementedError

    def trainer(self, settings: Mapping[str, Any], data: Any) -> Trainer:
        """Model, stream and trainer for the data, on the current backend."""
        raise NotImplementedError

    def gradients(self, settings: Mapping[str, Any]) -> GradcheckReport:
        """The verdict on the gradient of a small model of this kind."""
        raise NotImplementedError

    def one_batch(self, settings: Mapping[str, Any], data: Any) -> tuple[dict[str, Any], Any]:
        """Settings and data of a run that sees one batch only, and nothing random."""
        raise NotImplementedError

    def rows(self, trainer: Trainer) -> list[tuple[str, str]]:
        """What there is to train on and to validate with, for people."""
        raise NotImplementedError

    def sample(self, trainer: Trainer, seed: int) -> str:
        """Something that the model writes now."""
        raise NotImplementedError

    def blind(self, trainer: Trainer) -> int:
        """Among how many someone would guess who knows nothing."""
        raise NotImplementedError

    def entropy(self, trainer: Trainer) -> float:
        """What someone pays, in bits, who knows of each target only how frequent it is."""
        raise NotImplementedError

    def next_words(self, out: str, data: Any) -> tuple[str, ...]:
        """The command to try after training."""
        raise NotImplementedError

    def description(self, trainer: Trainer, settings: Mapping[str, Any]) -> str:
        """What is about to be trained on what, for how long."""
        training = trainer.training
        end = last_step(settings, training.batches_per_epoch)
        size = f"{training.batch_size} pairs"
        if hasattr(training, "seq_len"):
            size = f"{training.batch_size} x {training.seq_len} characters"
        parameters = sum(p.size for p in trainer.model.parameters())
        data, held_out = self.rows(trainer)
        rows = [
            data,
            ("model", f"{parameters:,} parameters: {model_in_words(settings)}"),
            ("training", f"{end:,} steps of {size}; an epoch is {training.batches_per_epoch:,}"),
            held_out,
        ]
        return table(rows)


class Characters(Task):
    """``minirnn train``: a character model of a text."""

    table, kind = CHARACTERS, CharLM.KIND

    def check(self, settings: Mapping[str, Any]) -> None:
        if settings["text"] is None:
            raise UsageError("name the text to train on: minirnn train TEXT -o DIR")
        super().check(settings)

    def layer_options(self, cell: str) -> list[str]:
        own = (*DECIDED, *signature(CharLM).parameters)
        return [name for name in options_of(CELLS[cell]) if name not in own]

    def known(self, model: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
        windows = {"random_windows": not training["stream"]["lanes"]} if training else {}
        return super().known(model, training) | windows

    def read(self, settings: Mapping[str, Any]) -> str:
        return read_source(settings["text"])

    def trainer(self, settings: Mapping[str, Any], data: str) -> Trainer:
        stream = TextStream(
            data,
            settings["seq_len"],
            settings["batch_size"],
            lanes=not settings["random_windows"],
            seed=settings["seed"],
        )
        model = CharLM(
            stream.vocabulary,
            embedding_size=settings["embed"],
            hidden_size=settings["hidden"],
            num_layers=settings["layers"],
            cell=settings["cell"],
            dropout=settings["dropout"],
            tie_weights=bool(settings["tie_weights"]),
            seed=settings["seed"],
            dtype=settings["dtype"],
            **options_in(settings["layer_options"]),
        )
        return build_trainer(settings, model, stream)

    def gradients(self, settings: Mapping[str, Any]) -> GradcheckReport:
        return check_char_lm(settings["cell"], of_layers=options_in(settings["layer_options"]))

    def one_batch(self, settings: Mapping[str, Any], data: str) -> tuple[dict[str, Any], str]:
        certain = {name: x for name, x in options_in(settings["layer_options"]).items() if name not in RANDOM}
        settled = {"val_split": 0.0, "dropout": 0.0, "layer_options": as_text(certain)}
        return settled, data[: settings["batch_size"] * settings["seq_len"] + 1]

    def rows(self, trainer: Trainer) -> list[tuple[str, str]]:
        stream, validation = trainer.stream, trainer.validation
        held_out = "none" if validation is None else f"{len(validation.ids):,} characters, the last of the text"
        return [
            ("text", f"{len(stream.ids):,} characters, {len(stream.vocabulary)} different ones"),
            ("validation", held_out),
        ]

    def sample(self, trainer: Trainer, seed: int) -> str:
        return written(trainer, length=300, temperature=0.8, seed=seed).strip()

    def blind(self, trainer: Trainer) -> int:
        return trainer.model.vocab_size

    def entropy(self, trainer: Trainer) -> float:
        return entropy_of_characters(trainer.training.ids)

    def next_words(self, out: str, data: str) -> tuple[str, ...]:
        return "generate", out, "--prompt", prompt_from(data)


class Pairs(Task):
    """``minirnn train-seq2seq``: a translator from a file of pairs."""

    table, kind = PAIRS, Seq2Seq.KIND

    def check(self, settings: Mapping[str, Any]) -> None:
        if settings["pairs"] is None and settings["generated"] is None:
            raise UsageError("name the pairs to train on: minirnn train-seq2seq TSV -o DIR, or --generated NAME")
        rivals = {
            "TSV or --generated": ("pairs", "generated"),
            "--valid or --val-split": ("valid", "val_split"),
            "--val-split or --generated, which has pairs of its own to validate on": ("generated", "val_split"),
        }
        for words, (one, other) in rivals.items():
            if settings[one] is not None and settings[other] is not None:
                raise UsageError(f"give {words}, not both")
        if settings["units"] == "bpe" and settings["vocab_size"] < 260:
            raise UsageError(f"--vocab-size must be at least 260 for byte pairs, got {settings['vocab_size']}")
        if settings["attention"] == "none" and settings["feed"] != "nothing":
            raise UsageError(f"--feed must be nothing without attention, got {settings['feed']}")
        if settings["attention"] != "none" and settings["context"] != "last":
            raise UsageError(f"--context must be last with attention, got {settings['context']}")
        super().check(settings)

    def layer_options(self, cell: str) -> list[str]:
        return [name for name in of_a_step(CELLS[cell]) if name not in signature(Seq2Seq).parameters]

    def read(self, settings: Mapping[str, Any]) -> tuple[list, list | None]:
        valid = None if settings["valid"] is None else read_pairs_of(settings["valid"])
        if settings["generated"] is not None:
            pairs = generated(settings["generated"])
            return list(pairs.train), list(pairs.valid) if valid is None else valid
        return read_pairs_of(settings["pairs"]), valid

    def trainer(self, settings: Mapping[str, Any], data: tuple[list, list | None]) -> Trainer:
        pairs, valid = data
        units, size = settings["units"], settings["vocab_size"]
        sources, targets = (TokenVocabulary.learn([pair[side] for pair in pairs], units, size) for side in (0, 1))
        B, seed = settings["batch_size"], settings["seed"]
        stream = PairStream(pairs, sources, targets, B, seed=seed, max_length=settings["max_length"])
        validation = None if valid is None else PairStream(valid, sources, targets, B, seed=seed)
        model = Seq2Seq(
            sources,
            targets,
            embedding_size=settings["embed"],
            hidden_size=settings["hidden"],
            num_layers=settings["layers"],
            **{name: settings[name] for name in MODEL_SETTINGS},
            **options_in(settings["layer_options"]),
        )
        if validation is not None:
            settings = {**settings, "val_split": None}
        trainer = build_trainer(settings, model, stream, validation=validation)
        trainer.teacher_forcing = _forcing(settings, trainer.training.batches_per_epoch)
        return trainer

    def gradients(self, settings: Mapping[str, Any]) -> GradcheckReport:
        of_layers = options_in(settings["layer_options"])
        return check_seq2seq(settings["cell"], settings["attention"], settings["feed"], of_layers)

    def one_batch(self, settings: Mapping[str, Any], data: tuple[list, list | None]) -> tuple[dict[str, Any], Any]:
        certain = {"val_split": 0.0, "dropout": 0.0, "label_smoothing": 0.0, "teacher_forcing": "1.0"}
        return certain, (data[0][: settings["batch_size"]], None)

    def rows(self, trainer: Trainer) -> list[tuple[str, str]]:
        stream, validation = trainer.stream, trainer.validation
        held_out = "none" if validation is None else f"{len(validation.pairs):,} pairs"
        sizes = f"{len(stream.source_vocabulary):,} and {len(stream.target_vocabulary):,}"
        units, left_out = stream.target_vocabulary.units, stream.left_out
        count = f"{len(trainer.training.pairs):,}" + (f", and {left_out:,} left out as too long" if left_out else "")
        return [
            ("pairs", f"{count}; tokens ({units}) of each side: {sizes}"),
            ("validation", held_out),
        ]

    def sample(self, trainer: Trainer, seed: int) -> str:
        shown = (trainer.validation or trainer.training).pairs[:SHOWN]
        with or_diverged(trainer):
            made = translate(trainer.model, [source for source, _ in shown], beam=1)
        lines = ((source, made_of.text, target) for (source, target), made_of in zip(shown, made, strict=True))
        return "\n".join(f"< {source}\n> {text}\n= {target}" for source, text, target in lines)

    def blind(self, trainer: Trainer) -> int:
        return trainer.model.target_size

    def entropy(self, trainer: Trainer) -> float:
        batches = (trainer.training.batch(0, k)[1] for k in range(trainer.training.batches_per_epoch))
        return entropy_of_characters(np.concatenate([targets[targets != PAD] for targets in batches]))

    def next_words(self, out: str, data: tuple[list, list | None]) -> tuple[str, ...]:
        return "translate", out, data[0][0][0]


MODEL_NAMES = {"hidden": "hidden_size", "layers": "num_layers", "embed": "embedding_size"}  # in a model's config
MODEL_NAMES |= {
    name: name
    for name in ("cell", "dropout", "tie_weights", "tie_embeddings", "dtype", "seed", "attention", "feed", "context",
                 "bidirectional", "label_smoothing")
}  # fmt: skip
MODEL_SETTINGS = (
    "cell", "bidirectional", "attention", "feed", "context", "dropout", "label_smoothing", "tie_embeddings", "seed",
    "dtype",
)  # fmt: skip


def written(trainer: Trainer, prompt: str = "", **settings: Any) -> str:
    """What a character model writes."""
    with or_diverged(trainer):
        return generate(trainer.model, prompt, **settings)


@contextmanager
def or_diverged(trainer: Trainer) -> Iterator[None]:
    """What a model cannot write, because it has no finite numbers left, has diverged: all else we ask is sound."""
    try:
        yield
    except ValueError as error:
        raise DivergenceError(f"step {trainer.step}: {error}") from error


def prompt_from(text: str) -> str:
    """The first word of a text: a prompt whose characters the model knows."""
    return next((word[:20] for word in text[:10_000].split() if word.isprintable()), "")


def _forcing(settings: Mapping[str, Any], epoch: int) -> Schedule | None:
    """The schedule of teacher forcing, None for nothing but the truth."""
    kind, _, number = settings["teacher_forcing"].partition(":")
    if kind == "sigmoid":
        return inverse_sigmoid(float(number))
    if not number:
        return None if float(kind) == 1 else linear(float(kind), 1, float(kind))
    return linear(float(number), last_step(settings, epoch), float(kind))
