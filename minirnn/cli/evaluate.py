"""``minirnn evaluate``: how well a model predicts a text, or translates pairs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.arrays import to_numpy, use_backend
from minirnn.cli.building import load_reader, read_pairs_of, read_source
from minirnn.cli.console import Console, bits, table
from minirnn.cli.settings import BACKENDS, UsageError, one_of, place
from minirnn.cli.translate import add_search_options, check_attends, search_settings
from minirnn.decoding import translate
from minirnn.models import Seq2Seq
from minirnn.tape import no_grad
from minirnn.text import PAD, UNK, DataError, PairStream, TextStream, entropy_of_characters, generated
from minirnn.text.grammars import MAKERS
from minirnn.text.vocabulary import POLICIES
from minirnn.training import evaluate

LANES, WINDOW = 16, 100  # a longer text is read in 16 places at once
PAIRS = 16  # in a batch: the scores of all tokens of all of them are held at once
RUN = 4  # words in a row that BLEU counts
TOO_SHORT = "not measured: it counts four words in a row, and no target has four"
NO_SACREBLEU = "not measured: that takes sacrebleu; pip install '.[bleu]' in the sources of minirnn"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure how well a model predicts a text, or translates",
        description="The mean loss of a model on data: per character of a text, or per token of pairs; in nats, in "
        "bits, and as perplexity. Pairs are translated, too: how many exactly right, and BLEU.",
    )
    parser.add_argument(
        "checkpoint", type=place, metavar="RUN", help="directory of a run (its best.npz), or a .npz file"
    )
    parser.add_argument(
        "data", nargs="?", metavar="DATA",
        help="a text file; for a model that translates a TSV file, source and target on each line; or - for stdin",
    )  # fmt: skip
    parser.add_argument(
        "--generated", type=one_of(*MAKERS), metavar="NAME",
        help=f"the test part of pairs that are always there, in place of DATA: {', '.join(MAKERS)}",
    )  # fmt: skip
    parser.add_argument(
        "--unknown", type=one_of(*POLICIES), default="error", metavar="{error,skip,replace}",
        help="what to do with characters of a text that the model has never seen (error)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", type=one_of(*BACKENDS), default="auto", metavar="{auto,numpy,cupy}", help="where to compute (auto)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_search_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, console: Console) -> int:
    if options.data is options.generated is None:
        raise UsageError("name the data: minirnn evaluate RUN DATA, or --generated NAME")
    if options.data is not None and options.generated is not None:
        raise UsageError("give DATA or --generated, not both")
    with use_backend(options.backend):
        model = load_reader(options.checkpoint)
        found, rows = of_pairs(model, options, console) if isinstance(model, Seq2Seq) else of_text(model, options)
    console.record(**found)
    console.say(table(rows))
    return 0


def of_text(lm: Any, options: argparse.Namespace) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """How well a character model predicts a text: each character from those before it."""
    if options.generated is not None:
        raise UsageError(f"--generated makes pairs, but {options.checkpoint} is a model of characters: give a text")
    for name in search_settings(options):
        if name in options.given:
            raise UsageError(f"{options.given[name]} belongs to models that translate; this one is of characters")
    ids = lm.vocabulary.encode(read_source(options.data), options.unknown)
    if len(ids) < 2:
        raise DataError("the text needs two characters at least, one to be predicted from the other")
    nats, count = mean_loss(lm, lm.vocabulary.decode(ids)), len(ids) - 1
    entropy = entropy_of_characters(ids)
    found = {"characters": count, **in_all_units(nats), "entropy_of_characters": entropy}
    more = f"; the entropy of single characters is {entropy:.4f}"
    return found, [("characters", f"{count:,}"), *loss_rows(nats, "character", more)]


def mean_loss(lm: Any, text: str) -> float:
    """Nats per character of a text of known ones, whatever its length.

    Lanes leave over what does not fill them. That end is read after them, by itself.
    """
    targets, total = len(text) - 1, 0.0
    in_lanes = targets - targets % (LANES * WINDOW)
    if in_lanes:
        lanes = TextStream(text[: in_lanes + 1], WINDOW, LANES, vocabulary=lm.vocabulary)
        total += evaluate(lm, lanes) * in_lanes
    if in_lanes < targets:
        end = TextStream(text[in_lanes:], targets - in_lanes, 1, vocabulary=lm.vocabulary)
        total += evaluate(lm, end) * (targets - in_lanes)
    return total / targets


def of_pairs(model: Any, options: argparse.Namespace, console: Console) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """How well a model predicts each token of the targets, and what it writes in their place."""
    if options.unknown != "error":
        raise UsageError("--unknown belongs to models of characters; this one has a token for what it does not know")
    check_attends(model, {"--coverage-penalty": options.coverage_penalty})
    pairs = read_pairs_of(options.data) if options.generated is None else generated(options.generated).test
    stream = PairStream(pairs, model.source_vocabulary, model.target_vocabulary, PAIRS)
    nats, accuracy = evaluate(model, stream), token_accuracy(model, stream)
    unknown = sum(int((targets == UNK).sum()) for _, _, targets in stream.in_order())
    console.note(f"translating {len(pairs):,} sources, beam {options.beam}")
    made = [each.text for each in translate(model, [source for source, _ in pairs], **search_settings(options))]
    wanted = [target for _, target in pairs]
    exact = float(np.mean([same(model, *both) for both in zip(made, wanted, strict=True)]))
    long_enough = any(len(target.split()) >= RUN for target in wanted)
    score = bleu(made, wanted) if long_enough else None
    found = {
        "pairs": len(pairs), "tokens": stream.targets_per_epoch, "unknown_tokens": unknown, **in_all_units(nats),
        "token_accuracy": accuracy, "exact_match": exact, "bleu": score and score["bleu"],
        "bleu_signature": score and score["signature"], **search_settings(options),
    }  # fmt: skip
    no_score = NO_SACREBLEU if long_enough else TOO_SHORT
    ends = f"{stream.targets_per_epoch:,} of targets, their ends among them"
    return found, [
        ("pairs", f"{len(pairs):,}"),
        ("tokens", ends + (f"; {unknown:,} unknown to the model" if unknown else "")),
        *loss_rows(nats, "token"),
        ("accuracy", f"{accuracy:.2%} of tokens, each after the right ones"),
        ("exact", f"{exact:.2%} of translations"),
        ("BLEU", no_score if score is None else f"{score['bleu']:.2f} ({score['signature']})"),
    ]


def token_accuracy(model: Any, stream: PairStream) -> float:
    """The share of targets that the model holds for the likeliest, told all before them."""
    right = 0
    with model.evaluating(), no_grad():
        for _, sources, targets in stream.in_order():
            likeliest = to_numpy(model(sources, targets).array.argmax(axis=-1))
            right += int(((likeliest == targets) & (targets != PAD)).sum())
    return right / stream.targets_per_epoch


def same(model: Any, made: str, wanted: str) -> bool:
    """Whether a translation is right; of words, white space between them does not matter."""
    return made.split() == wanted.split() if model.target_vocabulary.units == "words" else made == wanted


def bleu(made: Sequence[str], wanted: Sequence[str]) -> dict[str, Any] | None:
    """BLEU of the tokens as they stand, and how it was measured; None without sacrebleu."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        return None
    metric = BLEU(tokenize="none", force=True)  # force: that the data are in tokens is meant
    score = metric.corpus_score(list(made), [list(wanted)]).score
    return {"bleu": float(score), "signature": str(metric.get_signature())}


def in_all_units(nats: float) -> dict[str, float]:
    return {"nats": nats, "bits": bits(nats), "perplexity": math.exp(nats) if nats < 700 else math.inf}


def loss_rows(nats: float, unit: str, more: str = "") -> list[tuple[str, str]]:
    """A loss for people."""
    return [
        ("nats", f"{nats:.4f} per {unit}"),
        ("bits", f"{bits(nats):.4f} per {unit}{more}"),
        ("perplexity", f"{in_all_units(nats)['perplexity']:.3f}"),
    ]
