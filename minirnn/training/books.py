"""Where a run stands: what is entered of steps and epochs, and what another run needs, besides the model, to go on."""

from __future__ import annotations

import math
from itertools import count, takewhile
from typing import Any

import numpy as np

from minirnn.nn.module import flatten
from minirnn.nn.recurrent import State
from minirnn.tape import Tensor
from minirnn.training.callbacks import Callback
from minirnn.training.optimizers import Optimizer
from minirnn.training.schedules import Plateau, Schedule

_COUNTED = ("step", "epoch", "best", "improved", "refused", "finished", "epoch_sum", "since_record")


class Books:
    """The counters of a run, and what is kept of them and of all that changes beside the model."""

    optimizer: Optimizer
    training: Any
    validation: Any
    schedule: Schedule | None

    def __init__(self, log_every: int) -> None:
        self.callbacks: list[Callback] = []
        self.log_every = log_every  # steps per record
        self.history: list[dict[str, Any]] = []
        self.step = 0
        self.epoch = 0  # how many are complete, validation and all
        self.state: State | None = None
        self.best: float | None = None  # lowest metric of an epoch
        self.improved = False  # whether the last epoch was the best so far
        self.refused = 0  # steps refused in a row
        self._loss = math.nan  # of the last step that is entered
        self.epoch_sum = [0.0, 0]  # loss and steps since the epoch began
        self.since_record = [0.0, 0.0, 0, 0]  # loss, norm, clipped steps, steps
        self.stopping: str | None = None
        self.finished: str | None = None  # why no resumed run will go on either

    def look(self) -> None:
        """Brings the counters up to the last step."""
        raise NotImplementedError

    def begin(self) -> None:
        """With the first step of a run a `Plateau` forgets what it may have observed of another."""
        if self.step == 0 and isinstance(self.schedule, Plateau):
            self.schedule.begin()

    @property
    def loss(self) -> float:
        """Of the last step."""
        self.look()
        return self._loss

    @property
    def epoch_has_ended(self) -> bool:
        """Whether the last step was the last of an epoch that is not entered yet."""
        epochs, rest = divmod(self.step, self.training.batches_per_epoch)
        return rest == 0 and self.epoch < epochs

    def enter_step(self, step: int, loss: float, norm: float, factor: float) -> None:
        """What became of a step; its factor is NaN where it was refused, and below 1 where it was clipped."""
        self._loss = loss
        if math.isnan(factor):
            self.refused += 1
        else:
            self.refused = 0
            self.epoch_sum = [self.epoch_sum[0] + loss, self.epoch_sum[1] + 1]
            losses, norms, clipped, steps = self.since_record
            self.since_record = [losses + loss, norms + norm, clipped + (factor < 1), steps + 1]
        if step % self.log_every:
            return
        self.history.extend(self.begun_record(step))
        self.since_record = [0.0, 0.0, 0, 0]

    def begun_record(self, step: int) -> list[dict[str, Any]]:
        """The record of the steps that were taken since the last one; none, if none were."""
        losses, norms, clipped, steps = self.since_record
        if not steps:
            return []
        record = {"step": step, "loss": losses / steps, "norm": norms / steps, "clipped": clipped / steps}
        return [record | {"lr": self.optimizer.lr}]

    def enter_epoch(self, val_loss: float | None) -> dict[str, Any]:
        """The epoch that the last step has ended; returns its record, and by which ``metric`` it is compared."""
        loss, steps = self.epoch_sum
        self.epoch_sum, self.epoch = [0.0, 0], int(self.step // self.training.batches_per_epoch)
        record = {"step": self.step, "epoch": self.epoch, "train_loss": loss / steps if steps else math.nan}
        if val_loss is not None:
            record["val_loss"] = val_loss if math.isfinite(val_loss) else math.nan
        self.history.append(record)
        metric = record.get("val_loss", record["train_loss"])
        metric = math.inf if math.isnan(metric) else metric
        self.improved = self.best is None or metric < self.best
        if self.improved and math.isfinite(metric):
            self.best = metric
        if isinstance(self.schedule, Plateau):
            self.schedule.observe(metric)
        return record | {"metric": metric}

    def arrays(self) -> dict[str, np.ndarray]:
        """Optimizer and carried state."""
        self.look()
        found = {f"optimizer/{name}": a for name, a in self.optimizer.state_dict().items()}
        if self.state is not None:
            found |= {f"state/{k}": part.numpy() for k, part in enumerate(flatten(self.state))}
        return found

    def books(self) -> dict[str, Any]:
        """Position and counters, as plain numbers."""
        self.look()
        books = {name: getattr(self, name) for name in _COUNTED}
        books["stream"] = self._trained_on()
        books["validation"] = self._validated_on()
        books["optimizer"] = type(self.optimizer).__name__
        books["callbacks"] = {name: callback.state_dict() for name, callback in self.remembering().items()}
        books["plateau"] = self.schedule.state_dict() if isinstance(self.schedule, Plateau) else None
        return books

    def remembering(self) -> dict[str, Callback]:
        """The callbacks that have a state, by class; where there are several of one, by class and number."""
        found = [c for c in self.callbacks if type(c).state_dict is not Callback.state_dict]
        kinds = [type(callback).__name__ for callback in found]
        numbers = (f" {kinds[: k + 1].count(kind)} of {kinds.count(kind)}" for k, kind in enumerate(kinds))
        names = [kind + number * (kinds.count(kind) > 1) for kind, number in zip(kinds, numbers, strict=True)]
        return dict(zip(names, found, strict=True))

    def _trained_on(self) -> dict[str, Any]:
        """What a resumed run must train on, whatever else the stream says that decides which batches there are."""
        sizes = [name for name in ("batch_size", "batches_per_epoch") if hasattr(self.training, name)]
        return {**self.training.identity, **{name: int(getattr(self.training, name)) for name in sizes}}

    def _validated_on(self) -> str | None:
        return None if self.validation is None else self.validation.identity.get("text")

    def resume(self, arrays: dict[str, np.ndarray], books: dict[str, Any]) -> None:
        """Goes back to where ``arrays()`` and ``books()`` were taken.

        Raises
        ------
        ValueError
            If they belong to a run on other data, or with another optimizer or other batches; nothing is changed.
        """
        ours = {"optimizer": type(self.optimizer).__name__, **self._trained_on()}
        theirs = {"optimizer": books["optimizer"], **books["stream"]}
        for name in ours | theirs:
            if ours.get(name) == theirs.get(name):
                continue
            if name == "text":
                raise ValueError("it was trained on another text, other pairs or arrays, or with another val_split")
            raise ValueError(f"it was made with {name} {theirs.get(name)!r}, this run has {ours.get(name)!r}")
        if books["epoch"] * self.training.batches_per_epoch > books["step"]:
            raise ValueError(f"it had {books['epoch']} epochs behind it, and only {books['step']} steps")
        if books.get("validation", self._validated_on()) != self._validated_on():  # its best would be no rival
            raise ValueError("it was validated on other data")
        callbacks, kept = self.remembering(), books["callbacks"]
        for kind in {type(callback).__name__ for callback in callbacks.values()}:
            former, own = ([name for name in names if name.split()[0] == kind] for names in (kept, callbacks))
            if former and former != own:
                raise ValueError(f"it was made with {len(former)} callbacks {kind}, this run has {len(own)}")
        of_optimizer = "optimizer/"
        self.optimizer.load_state_dict(
            {name.removeprefix(of_optimizer): a for name, a in arrays.items() if name.startswith(of_optimizer)}
        )
        backend = self.optimizer.parameters[0].backend
        state = takewhile(arrays.__contains__, (f"state/{k}" for k in count()))
        parts = [Tensor(arrays[name]).to(backend) for name in state]
        self.state = parts[0] if len(parts) == 1 else tuple(parts) or None
        for name in _COUNTED:
            setattr(self, name, books[name])
        self.stopping = self.finished
        for name, callback in callbacks.items():
            if name in kept:
                callback.load_state_dict(kept[name])
        if isinstance(self.schedule, Plateau) and books["plateau"]:
            self.schedule.load_state_dict(books["plateau"])
