"""``minirnn generate``: text from a trained model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from minirnn.arrays import use_backend
from minirnn.cli.building import load_model, read_source
from minirnn.cli.console import Console, for_stdout
from minirnn.cli.idle import ANY, Idle
from minirnn.cli.settings import BACKENDS, UsageError, one_of, place, real, whole
from minirnn.cli.tables import CHARACTERS
from minirnn.decoding import generate, longest_training_substring, novel_ngram_share, stream_characters
from minirnn.models import CharLM
from minirnn.text import read_text
from minirnn.text.vocabulary import POLICIES

NGRAMS = (4, 8, 16)
IDLE = (
    Idle(
        {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "num": 1, "seed": ANY}, ("greedy", True),
        "it always takes the likeliest character",
    ),
    Idle({"stream": ANY}, ("json", True), "an object is written when its text is complete"),
)  # fmt: skip


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "generate",
        help="let a trained model write",
        description="Lets a trained model continue a prompt. The text goes to stdout, the rest to stderr.",
    )
    parser.add_argument(
        "checkpoint", type=place, metavar="RUN", help="directory of a run (its best.npz), or a .npz file"
    )
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("stdin", nargs="?", type=dash, metavar="-", help="read the prompt from stdin")
    prompt.add_argument("--prompt", metavar="TEXT", default="", help="what to continue")
    prompt.add_argument(
        "--prompt-file", type=place, metavar="FILE", help="read it from a file, but for its last line end"
    )
    parser.add_argument("--length", type=whole(0), default=500, metavar="N", help="characters to add (500)")
    parser.add_argument(
        "--temperature", type=real(0), default=0.8, metavar="X",
        help="below 1 plays safe, above dares more, 0 is greedy (0.8)",
    )  # fmt: skip
    parser.add_argument("--top-k", type=whole(0), default=0, metavar="K", help="only the K likeliest; 0: all (0)")
    parser.add_argument(
        "--top-p", type=real(0, above=True), default=1.0, metavar="P",
        help="only the likeliest that together have probability P (1)",
    )  # fmt: skip
    parser.add_argument("--greedy", action="store_true", help="always the likeliest; as --temperature 0")
    parser.add_argument(
        "--num", type=whole(1), default=1, metavar="N", help="samples, with seeds SEED, SEED + 1, ... (1)"
    )
    parser.add_argument("--seed", type=whole(0), default=1, metavar="N", help="same seed, same text (1)")
    parser.add_argument(
        "--unknown", type=one_of(*POLICIES), default="error", metavar="{error,skip,replace}",
        help="what to do with characters of the prompt that the model has never seen (error)",
    )  # fmt: skip
    parser.add_argument("--stream", action="store_true", help="print each character as soon as it is chosen")
    parser.add_argument(
        "--memorised", nargs="?", const=True, type=place, metavar="FILE",
        help="tell on stderr how much was copied from the training text (by default where config.toml says it is)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", type=one_of(*BACKENDS), default="numpy", metavar="{auto,numpy,cupy}",
        help="where to compute; one character at a time is too little for a GPU (numpy)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object per sample")
    parser.set_defaults(run=run, idle=IDLE)


def dash(text: str) -> str:
    """Reads the one word that may stand beside RUN."""
    if text != "-":
        raise argparse.ArgumentTypeError(f"a prompt is given as --prompt TEXT, or read from stdin for -, got {text!r}")
    return text


def run(options: argparse.Namespace, console: Console) -> int:
    prompt = read_prompt(options)
    corpus = None if options.memorised is None else read_corpus(options)
    settings = {
        "temperature": 0.0 if options.greedy else options.temperature,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "unknown": options.unknown,
    }
    with use_backend(options.backend):
        lm = load_model(options.checkpoint, CharLM.KIND)
        streaming = options.stream and not console.json
        texts = [] if streaming else together(lm, prompt, options, settings)
        for k in range(options.num):
            seed = options.seed + k
            if options.num > 1:
                console.say(f"{'' if k == 0 else chr(10)}--- sample {k + 1} of {options.num}, seed {seed} ---")
            if streaming:
                written = []
                sys.stdout.write(for_stdout(prompt))
                for character in stream_characters(lm, prompt, options.length, seed=seed, **settings):
                    written.append(character)
                    sys.stdout.write(for_stdout(character))
                    sys.stdout.flush()
                console.say()
                text = "".join(written)
            else:
                text = texts[k][len(prompt) :]
                console.say(prompt + text)
            copied = {} if corpus is None else memorised(text, corpus)
            console.record(prompt=prompt, text=text, seed=seed, **settings, **copied)
            if copied and not console.json:
                console.note(in_words(copied, len(text)))
    return 0


def together(lm: Any, prompt: str, options: argparse.Namespace, settings: dict[str, Any]) -> list[str]:
    """All samples, the one at index k with seed SEED + k."""
    if options.num == 1:
        return [generate(lm, prompt, options.length, seed=options.seed, **settings)]
    return generate(lm, [prompt] * options.num, options.length, seed=options.seed, **settings)


def read_prompt(options: argparse.Namespace) -> str:
    """The prompt, from wherever it was given."""
    source = options.stdin or options.prompt_file
    return read_source(source).removesuffix("\n") if source else options.prompt


def read_corpus(options: argparse.Namespace) -> str:
    """The text that the model was trained on."""
    if options.memorised is not True:  # a file was named
        return read_source(options.memorised)
    run_directory = Path(options.checkpoint)
    config = (run_directory if run_directory.is_dir() else run_directory.parent) / "config.toml"
    path = CHARACTERS.read_config(config).get("text", "-") if config.exists() else "-"
    if path == "-":
        raise UsageError("--memorised: the run does not know where its text is; name it: --memorised FILE")
    return read_text(path)


def memorised(text: str, corpus: str) -> dict[str, Any]:
    """How much of a generated text stands in the training text."""
    shares = {f"novel_{n}_grams": novel_ngram_share(text, corpus, n) for n in NGRAMS}
    return {"longest_copied": longest_training_substring(text, corpus), **shares}


def in_words(copied: dict[str, Any], length: int) -> str:
    longest = copied["longest_copied"]
    shown = longest if len(longest) <= 60 else f"{longest[:40]} ... {longest[-16:]}"
    shares = ", ".join(f"{copied[f'novel_{n}_grams']:.0%} of pieces of {n}" for n in NGRAMS)
    return (
        f"copied: at most {len(longest)} of {length} characters in a row: {shown!r}\n"
        f"new:    {shares} characters stand nowhere in the training text"
    )
