"""Same machine, same seed, same bits: fresh processes with random hash seeds train, and leave the same files."""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from counting import Tried
from tiny import PAIRS, TEXT

import minirnn

SIZES = {"hidden": 8, "layers": 2, "embed": 8, "dropout": 0.3, "val-split": 0.25, "log-every": 3, "sample-every": 4}
WORDS = ["--backend=numpy", "--workers=2", *(f"--{name}={value}" for name, value in SIZES.items())]
RUNS = {  # byte pairs and words are counted, and counting meets the order of hashes
    "characters": ["train", "text.txt", "--seq-len=5", "--batch-size=3", "--steps=12"],
    "words": ["train-seq2seq", "pairs.tsv", "--units=words", "--batch-size=4", "--teacher-forcing=0.5", "--steps=7"],
    "byte pairs": ["train-seq2seq", "pairs.tsv", "--units=bpe", "--vocab-size=270", "--batch-size=4", "--steps=5"],
}
PROGRAM = """
import json, sys
sys.modules["matplotlib"] = None  # its import takes longer than all else
from minirnn.cli import main
from minirnn.testing import in_pieces
with in_pieces(workers=2):  # two threads have a share in everything
    for name, words in json.loads(sys.argv[1]).items():
        assert main([*words, "-o", name]) == 0
"""


def campaign(long, seed):
    draw, first = random.Random(seed), {}
    for k in range(25 if long else 3):
        hash_seed = draw.randrange(2**32)
        with tempfile.TemporaryDirectory() as folder:
            files = {name: digests(Path(folder, name)) for name in train(folder, hash_seed)}
        for name, found in files.items():
            expected = first.setdefault(name, found)
            other = sorted(file for file in expected.keys() | found.keys() if expected.get(file) != found.get(file))
            yield Tried(f"{name}, process {k}, hash seed {hash_seed}", f"other bits in {other}" if other else "")


def train(folder, hash_seed):
    """All runs, in a process of their own, in ``folder``; gives their names."""
    Path(folder, "text.txt").write_text(TEXT)
    Path(folder, "pairs.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS))
    runs = {name: [*words, *WORDS] for name, words in RUNS.items()}
    path = os.pathsep.join([str(Path(minirnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": str(hash_seed)}
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(runs)]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return runs


def digests(run):
    """Of every file of a run; its configuration names the folder it was started in."""
    files = [file for file in run.iterdir() if file.name != "config.toml"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
