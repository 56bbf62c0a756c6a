"""A program for mpiexec, ``rank_script.py FOLDER TROUBLE``: a small run, with trouble at rank 1, or two runs."""

import os
import signal
import sys
import time
from pathlib import Path

from tiny_runs import tiny_model, tiny_stream

from minirnn import Checkpoint, Trainer
from minirnn.training import Callback, DataParallel, ranks


class Trouble(Callback):
    everywhere = True

    def on_step(self, trainer):
        if trainer.step != 3 or trainer.parallel.rank != 1:
            return
        if sys.argv[2] == "raises":
            raise RuntimeError("rank 1 has had enough")
        if sys.argv[2] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "stalls":
            time.sleep(60)


if __name__ == "__main__":
    ranks.STALLED = 1.0
    stream = tiny_stream(batch_size=4)
    trainer = Trainer(tiny_model(stream), stream, parallel=DataParallel())
    if sys.argv[2] == "again":
        trainer.run(steps=2)
        trainer.run(steps=4, callbacks=[Checkpoint(Path(sys.argv[1]))])
        sys.exit()
    trainer.run(steps=1000, callbacks=[Checkpoint(Path(sys.argv[1]), every=1), Trouble()])
