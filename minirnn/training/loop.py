"""The training loop: loss, backward, clip, step, and what lies around them.

Without all that lies around, it is this, and a test keeps the two equal to the last bit:

    for inputs, targets in batches:
        loss, state = lm.loss(inputs, targets, state)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(lm.parameters(), 5.0)
        optimizer.step()
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from inspect import signature
from numbers import Real
from typing import Any

import numpy as np

from minirnn.arguments import booleans, positive, positive_number
from minirnn.arrays import Array, device_errors, home_of, to_numpy, xp_of
from minirnn.nn.recurrent import State
from minirnn.training.alone import Alone
from minirnn.training.books import Books
from minirnn.training.callbacks import Callback
from minirnn.training.clipping import (
    NonFiniteGradientError,
    clip_grad_norm_,
    clip_grad_value_,
    gradient_norm,
)
from minirnn.training.evaluating import adopt_vocabularies, check_vocabularies, evaluate
from minirnn.training.first_bad import first_not_finite
from minirnn.training.optimizers import Adam, Optimizer
from minirnn.training.protocol import Stream, batch_of, check_model, check_stream
from minirnn.training.recorded import Recorded
from minirnn.training.schedules import Schedule, check_functions
from minirnn.training.unseen import Unseen

CLIP_NORM = 5.0  # longest gradient, where nothing is said
MOST_REFUSED = 10  # steps refused in a row before the run is given up
MOST_UNSEEN = 10  # steps on a device before the host looks at what became of them


class DivergenceError(ArithmeticError):
    """Loss or gradients were not finite for many steps in a row. The parameters are those of the last good step."""


class Trainer(Books):
    """A training run: everything that changes from step to step, and the step.

    Parameters
    ----------
    model : Module
        A `CharLM`, a `Seq2Seq`, or any other with a ``loss(inputs, targets, state) -> (loss, state)``.
    stream : Stream
        A text, pairs or arrays cut into batches, `TextStream`, `PairStream` or `ArrayStream`; or one of your own: see
        `minirnn.training.Stream`, and the example there.
    optimizer : Optimizer, optional
        ``Adam(model.parameters(), lr)`` without it.
    lr : float, optional
        Learning rate of that Adam, 2e-3 without it.
    clip_norm, clip_value : float or None
        At most one of the two: ``clip_value`` takes the place of the default. ``clip_norm=None`` alone leaves gradients
        as they are.
    schedule : callable, optional
        Factor of the learning rate as a function of the step, from ``minirnn.training.schedules``.
    teacher_forcing : callable, optional
        ``model.teacher_forcing`` as a function of the step, from ``minirnn.training.schedules``. What either schedule
        says holds while a step is taken; between steps, and after the run, the optimizer's ``lr`` and the model's share
        are what you have set.
    val_split : float
        The share that is kept for validation after every epoch: the end of a text; pairs or rows drawn at random.
    validation : Stream, optional
        What to validate on in place of such a share.
    log_every : int
        Steps per record in ``history``.
    parallel : DataParallel, optional
        The processes that share every batch; without it this one does all.
    graph : bool
        On a device: lets a step be one launch, a CUDA graph that is recorded at one of the first steps. For models that
        look at nothing on the host on the way, and batches of few shapes: `CharLM` on a `TextStream`. Off by default:
        no device has measured yet where it pays, and large products are slower by the kernel that takes them then.

    Attributes
    ----------
    step : int
        Steps taken so far.
    epoch : int
        Epochs that are complete, validation and all.
    history : list of dict
        One record per ``log_every`` steps: ``step``, ``loss`` in nats per target, ``norm`` of the gradient before
        clipping, ``clipped``, the share of steps that were, ``lr``. All are of steps that were taken: where each was
        refused, there is no record. And one per epoch: ``step``, ``epoch``, ``train_loss`` and, with validation,
        ``val_loss``; NaN where there is none that is finite (in ``log.jsonl`` null).
    loss : float
        Of the last step, in nats per target.
    stopping : str or None
        Why the run is about to stop, once it is.

    Notes
    -----
    On a device a step in float32 waits for nothing: whether its numbers are finite is decided there, and one that is
    refused changes nothing. The host looks every ten steps, and whenever it is asked for something: a record, the loss,
    a checkpoint, the end of an epoch. What it warns of, or raises, then comes some steps later than on the CPU; until
    then Adam counts refused steps like others. To clip by value, and optimizers of one's own, wait at every step.
    """

    def __init__(
        self,
        model: Any,
        stream: Stream,
        *,
        optimizer: Optimizer | None = None,
        lr: float | None = None,
        clip_norm: float | None = CLIP_NORM,
        clip_value: float | None = None,
        schedule: Schedule | None = None,
        teacher_forcing: Schedule | None = None,
        val_split: float = 0.0,
        validation: Stream | None = None,
        log_every: int = 50,
        parallel: Alone | None = None,
        graph: bool = False,
    ):
        if clip_value is not None and clip_norm == CLIP_NORM:
            clip_norm = None
        if clip_norm is not None and clip_value is not None:
            raise ValueError(f"give clip_norm or clip_value, not both; got {clip_norm} and {clip_value}")
        limits = {"clip_norm": clip_norm, "clip_value": clip_value}
        positive_number(**{name: limit for name, limit in limits.items() if limit is not None})
        clip_norm, clip_value = (None if limit is None else float(limit) for limit in limits.values())
        positive(log_every=log_every)
        booleans(graph=graph)
        check_functions(schedule=schedule, teacher_forcing=teacher_forcing)
        if validation is not None and val_split:
            raise ValueError(f"give val_split or validation, not both; got val_split {val_split}")
        check_model(model)
        for name, given, kind, such_as in (
            ("optimizer", optimizer, Optimizer, "Adam(model.parameters())"),
            ("parallel", parallel, Alone, "DataParallel()"),
        ):
            if given is not None and not isinstance(given, kind):
                raise TypeError(f"{name} must be an object such as {such_as}, got {given!r}")
        if lr is not None and optimizer is not None:
            raise ValueError(f"give lr or optimizer, which has a learning rate of its own, not both; got lr {lr}")
        for name, one in {"stream": stream, "validation": stream if validation is None else validation}.items():
            check_stream(one, name)
            check_vocabularies(model, one)
        own = {id(p) for p in model.parameters()}
        if optimizer is not None and not any(id(p) in own for p in optimizer.parameters):
            raise ValueError("optimizer must have been made of the parameters of model, it has none of them")
        self.model = model
        self.stream: Any = stream
        self.training: Any
        self.validation: Any
        self.training, self.validation = (stream, validation) if validation is not None else stream.split(val_split)
        self.optimizer = Adam(model.parameters(), 2e-3 if lr is None else lr) if optimizer is None else optimizer
        self.clip_norm, self.clip_value, self.schedule = clip_norm, clip_value, schedule
        self.teacher_forcing = teacher_forcing
        if graph and (parallel is not None or teacher_forcing is not None):
            raise ValueError("graph=True records one way through the model: give neither parallel nor teacher_forcing")
        if teacher_forcing is not None and not hasattr(model, "teacher_forcing"):
            raise TypeError(f"teacher_forcing is for models that have such a share, {type(model).__name__} has none")
        self.parallel = Recorded(model, self.optimizer) if graph else Alone() if parallel is None else parallel
        super().__init__(log_every)
        self.unseen: list[Unseen] = []
        self.whole = False  # whether parameters, moments and books are those of one and the same step

    @property
    def looks_later(self) -> bool:
        """Whether what becomes of a step stays on the device until somebody asks."""
        on_a_device = all(home_of(p.array) != "numpy" and p.dtype == "float32" for p in self.optimizer.parameters)
        return on_a_device and self.clip_value is None and self.optimizer.refuses() and not self.parallel.waits

    def lr_at(self, step: int) -> float:
        """Learning rate of the step that is taken after so many others."""
        factor = self.schedule(step) if self.schedule else 1.0
        if not isinstance(factor, Real):
            raise TypeError(f"schedule must return a number, got {factor!r} at step {step}")
        return float(self.optimizer.lr) * float(factor)

    @contextmanager
    def _scheduled(self) -> Iterator[None]:
        """A block for the length of a step, in which rate and share of truth are what the schedules say."""
        lr = self.lr_at(self.step)
        if not 0 <= lr < math.inf:
            raise DivergenceError(f"the schedule made the learning rate {lr} at step {self.step}")
        with ExitStack() as after:
            after.callback(setattr, self.optimizer, "lr", self.optimizer.lr)
            self.optimizer.lr = lr
            if self.teacher_forcing is not None:
                after.callback(setattr, self.model, "teacher_forcing", self.model.teacher_forcing)
                self.model.teacher_forcing = self.teacher_forcing(self.step)
            yield

    def stop(self, reason: str, for_good: bool = False) -> None:
        """Asks the run to stop after the step under way; ``for_good`` holds when it is resumed, too."""
        self.stopping = reason
        if for_good:
            self.finished = reason

    def lost(self) -> str:
        """What is no longer finite: a step can be taken with finite gradients and still leave the numbers' range."""
        for k, (p, moments) in enumerate(zip(self.optimizer.parameters, self.optimizer.state, strict=True)):
            name = p.name or f"parameter {k}"
            arrays = {name: p.array} | {f"the optimizer's moment {m} of {name}": array for m, array in moments.items()}
            for what, array in arrays.items():
                if not bool(xp_of(array).isfinite(array).all()):
                    return what
        return ""

    def train_step(self) -> None:
        """One step: loss, backward, clip, update. A step whose numbers are not finite is refused, and counted.

        Raises
        ------
        CaptureError
            With ``graph=True``, at one of the first steps, if the model does what no recording can hold.
        DeviceMemoryError, BackendError
            If the device fails while the step is asked for: nothing has changed then, and it can be tried again. What
            fails later is raised by the look at the last steps.
        DivergenceError
            After many refused steps in a row.
        """
        with self._scheduled():
            epoch, k = divmod(self.step, self.training.batches_per_epoch)
            inputs, targets = batch_of(self.training, epoch, k)
            state = self.state if self.training.carries_state and k > 0 else None
            outcome, new_state = self._take(inputs, targets, state)
            self.step, self.state = self.step + 1, new_state  # now that nothing can fail any more
            self.unseen.append(Unseen(self.step, outcome, (inputs, targets, state)))
            self.whole = True
            is_here = home_of(outcome) == "numpy"
            if is_here or self.step % self.log_every == 0 or len(self.unseen) == MOST_UNSEEN:
                self.look()

    def _take(self, inputs: Any, targets: Any, state: State | None) -> tuple[Array, State | None]:
        """What becomes of a step (``Unseen.outcome``), and the state that is carried on from it."""
        self.model.train()
        given = getattr(inputs, "shape", type(inputs).__name__)  # a stream of somebody else's may give anything
        sizes = f"inputs {given}, {sum(p.size for p in self.optimizer.parameters):,} parameters"
        with device_errors(f"step {self.step + 1} ({sizes})"):
            if self.looks_later:
                self.whole = False
                return self.parallel.unseen_step(self, inputs, targets, state)
            self.look()  # at what may have been left on a device before
            loss, state = self.parallel.gradients(self, inputs, targets, state)
            norm, factor = self._clip() if math.isfinite(loss) else (math.nan, math.nan)
            self.whole = False
            if math.isfinite(factor):
                self.optimizer.step()
            else:
                self.optimizer.steps += 1  # as on a device: whoever looks takes it back
                state = None  # it may hold what made the loss infinite
            return np.array([loss, norm, factor]), state

    def _clip(self) -> tuple[float, float]:
        """The norm before clipping, and what its vector or largest entry was multiplied with; NaN if not finite."""
        parameters = self.optimizer.parameters
        try:
            if self.clip_norm is not None:
                norm = clip_grad_norm_(parameters, self.clip_norm)
                return norm, self.clip_norm / max(self.clip_norm, norm)
            if self.clip_value is not None:
                largest = max((float(abs(p.grad).max()) for p in parameters if p.grad is not None), default=0.0)
                return clip_grad_value_(parameters, self.clip_value), self.clip_value / max(self.clip_value, largest)
            return gradient_norm(parameters), 1.0
        except NonFiniteGradientError:
            return math.nan, math.nan

    def look(self) -> None:
        """Enters into the books what became of the steps since the last time. If they are on a device, it waits.

        Raises
        ------
        DivergenceError
            As ``train_step`` does.
        """
        if not self.unseen:
            return
        xp = xp_of(self.unseen[0].outcome)
        with device_errors("a look at the last steps"):
            outcomes = to_numpy(xp.stack([one.outcome for one in self.unseen])).tolist()
        whole, self.whole = self.whole, False
        unseen, self.unseen = self.unseen, []
        refused = [math.isnan(factor) for _, _, factor in outcomes]
        self.optimizer.steps -= sum(refused)
        told = []  # when all are in the books: to tell may raise
        for k, ((step, _, given), (loss, norm, factor)) in enumerate(zip(unseen, outcomes, strict=True)):
            self.enter_step(step, loss, norm, factor)
            if refused[k]:
                unchanged = all(refused[k:])  # since then, so that the step can be taken again
                told.append((step, loss, given if unchanged else None, self.refused))
        self.whole = whole
        for refusal in told:
            self._tell(*refusal)

    def _tell(self, step: int, loss: float, given: tuple[Any, Any, State | None] | None, in_a_row: int) -> None:
        """Tells of a refused step. What it was ``given`` is given to the model again, to see where it began."""
        what = "gradient is not finite" if math.isfinite(loss) else f"loss is {loss}"
        why = f"step {step}: the {what}; the step is refused (a smaller learning rate or clip norm may help)"
        if given is not None:
            with suppress(MemoryError), device_errors("a second look"):  # which is no reason to end a run
                pieces = self.parallel.cut(step - 1, *given)
                if first := first_not_finite(self.model, pieces, gradients=not self.looks_later):
                    why += f"; the first that is not finite: {first}"
        if in_a_row >= MOST_REFUSED:
            raise DivergenceError(f"{MOST_REFUSED} steps in a row were refused; the last: {why}")
        warnings.warn(why, RuntimeWarning, stacklevel=4)

    def finish_epoch(self) -> None:
        """Validates, enters the epoch that has just ended into the books, and tells the callbacks of it.

        An interrupt in the validation has done nothing yet: a run that goes on from there begins with it.
        """
        self.look()
        val_loss = None
        if self.validation is not None:
            val_loss = self.parallel.same(evaluate(self.model, self.validation))
        self.whole = False
        record = self.enter_epoch(val_loss)
        for callback in self.callbacks:
            callback.on_epoch(self, record)
        self.whole = True

    def run(
        self,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        max_minutes: float | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> list[dict[str, Any]]:
        """Takes steps until ``epochs`` or ``steps`` are complete, counted from the start of the run.

        Returns the history; where that is still empty, a record of the steps there were.
        """
        given = {"epochs": epochs, "steps": steps, "max_minutes": max_minutes}
        limits = {name: value for name, value in given.items() if value is not None}
        if not limits:
            raise ValueError("give epochs, steps or max_minutes")
        positive_number(**limits)
        positive(**{name: value for name, value in limits.items() if name != "max_minutes"})
        ends = [steps] if steps is not None else []
        ends += [epochs * self.training.batches_per_epoch] if epochs is not None else []
        end, deadline = min(ends, default=math.inf), time.monotonic() + 60 * (max_minutes or math.inf)
        self.callbacks = self.parallel.own(_checked(callbacks))
        self.stopping, self.finished, self.whole = None, None, False
        self.begin()
        try:
            with self.parallel.running(self):
                for callback in self.callbacks:
                    callback.on_start(self)
                self.parallel.begin(self, end)
                self.whole = True
                while (self.epoch_has_ended or self.step < end) and not self.parallel.ends(self):
                    if not self.epoch_has_ended:  # as it has where a run goes on that was interrupted in a validation
                        self.train_step()
                    if self.epoch_has_ended:
                        self.finish_epoch()
                    if time.monotonic() > deadline:
                        self.stop(f"the {max_minutes:g} minutes of max_minutes are over")
                    for callback in self.callbacks:
                        callback.on_step(self)
                self.look()
            for callback in self.callbacks:
                callback.on_end(self)
        except KeyboardInterrupt as interrupt:
            for callback in self.callbacks:
                callback.on_interrupt(self, interrupt)
            raise
        finally:
            for callback in self.callbacks:
                callback.on_leave(self)
        return self.history or self.begun_record(self.step)


def _checked(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks, each looked at before the first of them has touched anything."""
    found = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for callback in found:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must be a list of Callback objects, such as PrintProgress(), got {callback!r}")
    return found


def fit(
    model: Any,
    stream: Stream,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    max_minutes: float | None = None,
    callbacks: Iterable[Callback] = (),
    **settings: Any,
) -> list[dict[str, Any]]:
    """Trains ``model`` on ``stream``.

    Parameters
    ----------
    model : Module
        A `CharLM`, a `Seq2Seq`, or any other with a ``loss(inputs, targets, state) -> (loss, state)``. Changed in
        place. If it has no vocabulary yet, it takes that of the stream.
    stream : Stream
        A text, pairs or arrays cut into batches, `TextStream`, `PairStream` or `ArrayStream`; or a
        `minirnn.training.Stream` of your own.
    epochs, steps, max_minutes
        When to stop: whichever comes first; at least one must be given.
    callbacks : iterable of Callback
        For example ``EarlyStopping(patience=3)``, ``Checkpoint("runs/a")``.
    **settings
        ``optimizer, lr, clip_norm, clip_value, schedule, teacher_forcing, val_split, validation, log_every,
        parallel, graph`` of ``Trainer``.

    Returns
    -------
    list of dict
        The history: losses in nats per target. Records of ``log_every`` steps have a ``loss``; those of epochs have an
        ``epoch``, a ``train_loss`` and, with validation, a ``val_loss``: the example shows how to pick some. A run too
        short for any has one of all its steps. `Trainer` says what else is in them.

    Examples
    --------
    >>> from minirnn import CharLM, TextStream
    >>> stream = TextStream("to be or not to be " * 20, seq_len=10, batch_size=4)
    >>> history = fit(CharLM(stream.vocabulary, 8, 16), stream, steps=40, lr=0.02, log_every=20)
    >>> losses = [record["loss"] for record in history if "loss" in record]
    >>> losses[-1] < losses[0]
    True
    """
    known = list(signature(Trainer).parameters)[2:]
    if unknown := [name for name in settings if name not in known]:
        raise TypeError(f"fit has no setting {', '.join(unknown)}; there are {', '.join(known)}")
    trainer = Trainer(model, stream, **settings)
    adopt_vocabularies(model, stream)
    return trainer.run(epochs=epochs, steps=steps, max_minutes=max_minutes, callbacks=callbacks)
