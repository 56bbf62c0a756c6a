"""Memory stays flat: training with the garbage collector off, in a process of its own.

Two thousand steps may take 5 MB more, fewer steps as much less: 2.5 KB a step, which is less than one step's tensors.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from counting import Tried
from tiny import OPTIONS

import minirnn

STEPS = {"characters": 2_000, "pairs": 500}  # a step of a translator is many more
LONG, MOST = 2_000, 5e6 / 2_000  # bytes a step
PROGRAM = """
import gc, json, os, sys
from tiny import trainer_of, working_as

gc.disable()
kind, options, steps = json.loads(sys.argv[1])
trainer = trainer_of(kind, options)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

with working_as(options):
    trainer.run(steps=200)  # until caches and pools are full
    before = resident()
    trainer.run(steps=200 + steps)
print(resident() - before)
"""


def campaign(long, seed):
    del seed  # nothing is drawn
    for kind, options in OPTIONS.items():
        first = {name: values[0] for name, values in options.items()} | {"validated": False}
        others = [first | {name: value} for name, values in options.items() for value in values if value != first[name]]
        steps = LONG if long else STEPS[kind]
        for one in [first, *(others if long else ())]:
            grown = growth(kind, one, steps)
            failure = f"it grew by {grown / 1e6:.2f} MB" if grown > MOST * steps else ""
            yield Tried(f"{kind}, {steps:,} steps, {one}: {grown / 1e6:+.2f} MB", failure)


def growth(kind, options, steps):
    """Bytes of resident memory more after ``steps`` steps."""
    paths = [str(Path(minirnn.__file__).parents[1]), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    arguments = [sys.executable, "-c", PROGRAM, json.dumps([kind, options, steps])]
    done = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True)
    return int(done.stdout)
