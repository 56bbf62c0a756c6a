"""What looks on while a model is trained, and may ask the run to stop."""

from __future__ import annotations

import math
from typing import Any

from minirnn.arguments import as_called, positive


class Callback:
    """Something that looks on while a ``Trainer`` runs; a subclass overrides what it wants to hear of.

    One that has a state which a resumed run needs also overrides ``state_dict`` and ``load_state_dict``. A resumed run
    must have as many of such a class as the saved one, in the same order, unless one of the two has none.
    """

    __repr__ = as_called
    everywhere = False  # whether it looks on at every rank of a data-parallel run, not at the first alone

    def on_start(self, trainer: Any) -> None:
        """Before the first step."""

    def on_epoch(self, trainer: Any, record: dict[str, Any]) -> None:
        """After an epoch and its validation."""

    def on_step(self, trainer: Any) -> None:
        """After every step, and after ``on_epoch`` where an epoch ends: everything is in place to be saved."""

    def on_end(self, trainer: Any) -> None:
        """After the last step, however the run was asked to stop."""

    def on_interrupt(self, trainer: Any, interrupt: KeyboardInterrupt) -> None:
        """After Ctrl-C, before ``on_leave``. Where ``trainer.whole``, everything is in place to be saved; else a step
        was changing it."""

    def on_leave(self, trainer: Any) -> None:
        """Last of all, also where the run has failed, or could not begin: what was taken for it is given back."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class PrintProgress(Callback):
    """Prints a line per record of the history: every ``log_every`` steps, and after every epoch."""

    def on_start(self, trainer: Any) -> None:
        self.printed = len(trainer.history)

    def on_step(self, trainer: Any) -> None:
        for record in trainer.history[self.printed :]:
            losses = {"training": record.get("loss", record.get("train_loss")), "validation": record.get("val_loss")}
            place = f"epoch {record['epoch']}" if "epoch" in record else f"step {record['step']}"
            scale, unit = (math.log(2), f" bits per {trainer.training.unit}") if trainer.training.unit else (1, "")
            words = (f"{name} {loss / scale:.3f}" for name, loss in losses.items() if loss is not None)
            print(f"{place}: {', '.join(words)}{unit}", flush=True)
        self.printed = len(trainer.history)


class EarlyStopping(Callback):
    """Stops the run when the loss (in validation, if there is one) has not improved for ``patience`` epochs.

    The model ends with its last weights, which are not its best. A `Checkpoint` beside it keeps those:

    >>> import tempfile
    >>> from minirnn import CharLM, Checkpoint, EarlyStopping, TextStream, fit, load
    >>> stream = TextStream("to be or not to be " * 20, seq_len=10, batch_size=4)
    >>> with tempfile.TemporaryDirectory() as run:
    ...     callbacks = [EarlyStopping(patience=1), Checkpoint(run)]
    ...     history = fit(CharLM(stream.vocabulary, 8, 16), stream, epochs=20, lr=0.5, callbacks=callbacks)
    ...     best = load(run)
    >>> losses = [record["train_loss"] for record in history if "epoch" in record]
    >>> len(losses) < 20, losses[-1] > min(losses)
    (True, True)
    """

    everywhere = True  # all see the same losses, and count alike

    def __init__(self, patience: int = 5):
        positive(patience=patience)
        self.patience, self.best, self.waited = patience, math.inf, 0

    def on_start(self, trainer: Any) -> None:
        if trainer.step == 0:
            self.best, self.waited = math.inf, 0  # of a run before this one

    def on_epoch(self, trainer: Any, record: dict[str, Any]) -> None:
        if record["metric"] < self.best:
            self.best, self.waited = record["metric"], 0
        else:
            self.waited += 1
        if self.waited >= self.patience:
            trainer.stop(f"no improvement for {self.patience} epochs", for_good=True)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best if math.isfinite(self.best) else None, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited = math.inf if state["best"] is None else state["best"], state["waited"]
