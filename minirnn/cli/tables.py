"""The settings of ``minirnn train`` and ``minirnn train-seq2seq``: a row for each, most of them of both."""

from __future__ import annotations

import argparse
from typing import Any

from minirnn.cli.idle import ANY, Idle
from minirnn.cli.layer_options import layer_options
from minirnn.cli.settings import BACKENDS, Setting, Table, choice, one_of, real, some_text, switch, whole, worker_count
from minirnn.models.char_lm import CELLS
from minirnn.models.seq2seq import ATTENTION, CONTEXTS
from minirnn.nn.attentive import FEEDS
from minirnn.text.grammars import MAKERS
from minirnn.text.tokens import UNITS

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
SCHEDULES = ("constant", "step", "exponential", "cosine", "plateau", "warmup")
LENGTH = ("epochs", "steps")
CLIPPING = ("clip_norm", "clip_value")


def forcing(value: Any) -> str:
    """Reads how much truth the decoder is told while it is trained: ``A``, ``A:B`` or ``sigmoid:K``."""
    parts = value.split(":") if isinstance(value, str) else [value]
    try:
        if parts[0] == "sigmoid" and len(parts) == 2:
            real(0, above=True)(parts[1])
            return str(value)
        shares = [real(0, below=1 + 1e-12)(part) for part in parts]
    except argparse.ArgumentTypeError:
        shares = []
    if not 1 <= len(shares) <= 2:
        raise argparse.ArgumentTypeError(
            f"must be a share from 0 to 1, two of them (1:0.5), or sigmoid:K, got {value!r}"
        )
    return str(value)


def _model(layers: int, hidden: int, embed: int, of: str) -> tuple[Setting, ...]:
    return (
        choice("cell", tuple(CELLS), "lstm", "the recurrence"),
        Setting("hidden", whole(1, 1_000_000), hidden, "size of the hidden state"),
        Setting("layers", whole(1, 1_000), layers, "recurrent layers on top of each other"),
        Setting("embed", whole(1, 1_000_000), embed, f"size of the vector of a {of}"),
        Setting("dropout", real(0, below=1), 0.0, "share of numbers dropped between layers while training", "P"),
        Setting("layer_options", layer_options, None, "more of the recurrent layers, see below", "NAME=VALUE,..."),
        choice("dtype", ("float32", "float64"), "float32", "precision"),
    )


def _training(lr: float) -> tuple[Setting, ...]:
    minutes = "minutes of this call, after which it saves and ends; --resume goes on without them"
    return (
        Setting("epochs", whole(1), 10, "passes over the data"),
        Setting("steps", whole(1), None, "steps instead of epochs; with both, whichever is over first"),
        Setting("max_minutes", real(0, above=True), None, minutes, "M", is_kept=False),
        Setting("patience", whole(0), 5, "epochs without a better loss after which to stop; 0: never"),
        choice("optimizer", OPTIMIZERS, "adam", "how a gradient becomes a step"),
        Setting("lr", real(0, above=True), lr, "learning rate", "X"),
        choice("schedule", SCHEDULES, "constant", "how the learning rate changes, see below"),
        Setting("schedule_steps", whole(1), None, "the N of the schedule"),
        Setting("schedule_factor", real(0, below=1_000), None, "the F of the schedule", "F"),
        Setting("clip_norm", real(0), 5.0, "longest gradient; 0: no clipping", "X"),
        Setting("clip_value", real(0, above=True), None, "largest entry of a gradient, instead of --clip-norm", "X"),
        Setting("seed", whole(0, 2**63 - 1), 1, "of weights, dropout, batches and samples"),
        choice("backend", BACKENDS, "auto", "where to compute; auto takes a GPU if there is one"),
        Setting("workers", worker_count, "auto", "threads that share a batch; auto: all cores, if it is large enough"),
        Setting("deterministic", switch, False, "one thread, and the same bits on 1, 2, 4 and 8 processes"),
    )


BOOKKEEPING = (
    Setting("save_every", whole(1), None, "steps between saves, besides one per epoch"),
    Setting("keep", whole(0), 0, "latest saves to keep under names of their own"),
    Setting("sample_every", whole(1), None, "steps between samples, instead of one per epoch"),
    Setting("log_every", whole(1), 50, "steps per line of the log"),
)
HELD_OUT = Setting("val_split", real(0, below=1), 0.05, "share held out for validation; 0: none", "P")
TIE_WEIGHTS = "use the embedding for the scores, too (needs --embed = --hidden)"

CHARACTERS = Table(
    "train",
    Setting("text", some_text, None, "a text file, or - for stdin", "TEXT", is_file=True),
    {
        "data": (
            Setting("seq_len", whole(1), 50, "characters per window: how far back in time gradients flow"),
            Setting("batch_size", whole(1), 16, "windows per step"),
            Setting(
                "random_windows", switch, False, "windows from anywhere, each with a fresh state, not a carried one"
            ),
            HELD_OUT,
        ),
        "model": (*_model(2, 128, 64, "character"), Setting("tie_weights", switch, False, TIE_WEIGHTS)),
        "training": _training(2e-3),
        "bookkeeping": BOOKKEEPING,
    },
    (LENGTH, CLIPPING),
)

GENERATED_HELP = f"pairs that are always there, in place of TSV: {', '.join(MAKERS)}"
PAIRS = Table(
    "train-seq2seq",
    Setting(
        "pairs", some_text, None, "a TSV file, source and target on each line; or - for stdin", "TSV", is_file=True
    ),
    {
        "data": (
            Setting("generated", one_of(*MAKERS), None, GENERATED_HELP, "NAME"),
            Setting("valid", some_text, None, "pairs to validate on, a TSV file", "TSV", is_file=True),
            HELD_OUT,
            choice("units", UNITS, "bpe", "what a token is: byte pairs, words between white space, or characters"),
            Setting("vocab_size", whole(5), 8000, "most tokens of each side; byte pairs need 260"),
            Setting("max_length", whole(1), None, "leave out pairs with a side of more tokens"),
            Setting("batch_size", whole(1), 64, "pairs per step"),
        ),
        "model": (
            *_model(1, 256, 256, "token"),
            choice("attention", ATTENTION, "scaled_dot", "how the decoder looks at the source"),
            choice("feed", FEEDS, "nothing", "what a step of the decoder is told of the look before it"),
            choice("context", CONTEXTS, "last", "without attention: what is made of the encoder's outputs"),
            Setting("bidirectional", switch, True, "the encoder reads both ways"),
            Setting("tie_embeddings", switch, False, TIE_WEIGHTS),
        ),
        "training": (
            *_training(1e-3),
            Setting("label_smoothing", real(0, below=1), 0.0, "share of certainty spread over all tokens", "P"),
            Setting("teacher_forcing", forcing, "1.0", "share of true tokens the decoder reads, see below", "A[:B]"),
        ),
        "bookkeeping": BOOKKEEPING,
    },
    (LENGTH, CLIPPING, ("pairs", "generated"), ("valid", "val_split"), ("generated", "val_split")),
)

# Of training, whatever is trained. A rehearsal may leave out more: it takes the command of the run as it is.
IDLE = (
    Idle(
        {"schedule_steps": ANY, "schedule_factor": ANY}, ("schedule", "constant"), "the learning rate does not change"
    ),
    Idle({"schedule_factor": ANY}, ("schedule", "warmup"), "it rises to --lr; give --schedule-steps to say how soon"),
    Idle({"workers": 1}, ("deterministic", True), "one thread computes, so that the bits are the same everywhere"),
    Idle({"workers": "auto"}, ("backend", "cupy"), "threads share a batch on the CPU alone"),
    Idle({"resume": ANY, "overwrite": ANY}, ("out", None), "it is about the run in a directory: -o DIR"),
    Idle(
        {"resume": ANY}, ("overfit", True), "new weights learn the batch; --config DIR/config.toml takes the settings"
    ),
)
SCHEDULES_HELP = """schedules of the learning rate:
  constant     stays as it is
  step         times F (0.5) after every N steps (one epoch)
  exponential  times F (0.5) in the course of every N steps (one epoch)
  cosine       along half a cosine to the share F (0) at step N (the last one)
  plateau      times F (0.5) when N (3) validations bring no better loss
  warmup       rises to its value over N (100) steps"""
STEP_OPTIONS_HELP = """options of the recurrent layers, such as --layer-options layer_norm=true,init=orthogonal:
  layer_norm=true      normalise what goes into the gates
  init=orthogonal      orthogonal recurrent weights at first, and biases of zero
  bias=false           no biases
  peepholes=true       LSTM: the gates see the cell state
  forget_bias=X        LSTM: where the biases of the forget gate begin
  reset_after=false    GRU: the reset gate acts before the projection
  nonlinearity=relu    RNN: in place of tanh"""
OPTIONS_HELP = f"""{STEP_OPTIONS_HELP}
  proj_size=N          LSTM: size of the outputs, smaller than --hidden
  zoneout=P            share of units that keep their state, while training
  weight_drop=P        share of recurrent weights dropped, while training
  locked_dropout=true  --dropout drops the same units at every step
  residual=true        add what a layer reads to what it puts out
  learned_state=true   learn the state that a text begins with"""
FORCING_HELP = """teacher forcing (scheduled sampling):
  A            that share of the tokens read is true, the others are the model's own
  A:B          from A in a straight line to B at the last step
  sigmoid:K    K / (K + exp(step / K))"""
