"""Stop anywhere, go on, look around meanwhile: a run has the bits of one that never stopped, at every step.

A state machine trains in pieces, drops the trainer, dies at a step or in the middle of a save, evaluates, samples and
translates. Each time a file is compared with that of the same run in one piece.
"""

import hashlib
import shutil
import tempfile
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from unittest import mock

import hypothesis
from counting import Tried
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tiny import OPTIONS, STEPS, look_around, lookers_of, trainer_of, working_as

from minirnn import Checkpoint, save
from minirnn.training import Callback
from minirnn.training.sealed import read_sealed

KINDS = {
    kind: st.fixed_dictionaries({name: st.sampled_from(values) for name, values in options.items()})
    for kind, options in OPTIONS.items()
}
RUNS = st.sampled_from(list(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), KINDS[kind]))


def campaign(long, seed):
    class Machine(Stopped):
        done = []  # noqa: RUF012  # of this campaign alone

    chosen = settings(
        max_examples=2_000 if long else 8,
        stateful_step_count=8,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Machine), settings=chosen)
    except Exception as error:
        yield Tried("\n".join(getattr(error, "__notes__", [])), repr(error))
    yield from map(Tried, Machine.done)


class Remember(Callback):
    """What the files of a run hold after every step, and would hold if it ended there."""

    def __init__(self, folder):
        self.folder, self.last, self.best = folder, {}, {}

    def on_step(self, trainer):
        best = self.folder / "best.npz"
        if trainer.epoch == 0:
            save(trainer.model, best := self.folder / "model.npz")
        self.last[trainer.step] = digest(self.folder / "last.npz")
        self.best[trainer.step] = digest(best)


class Killed(BaseException):
    """What no part of a run may survive."""


class Killer(Callback):
    """Ends a run after a step: at once, or at the first rename of the save that follows."""

    def __init__(self, at, while_saving, patches):
        self.at, self.while_saving, self.patches = at, while_saving, patches

    def on_step(self, trainer):
        if trainer.step == self.at and self.while_saving:
            self.patches.enter_context(mock.patch("os.replace", side_effect=Killed))
        elif trainer.step == self.at:
            raise Killed


class Onlooker(Callback):
    """Asks the model for all that it can do, after every step and before it is saved."""

    def on_step(self, trainer):
        look_around(trainer)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def never_stopped(kind, items):
    """What a run in one piece leaves, step by step, and its log and history."""
    options = dict(items)
    with tempfile.TemporaryDirectory() as folder, working_as(options):
        trainer, remember = trainer_of(kind, options), Remember(Path(folder))
        trainer.run(steps=STEPS, callbacks=[*lookers_of(options), Checkpoint(folder, every=1), remember])
        return remember, (Path(folder) / "log.jsonl").read_bytes(), trainer.history


class Stopped(RuleBasedStateMachine):
    """A run in pieces."""

    done: list[str]

    @initialize(run=RUNS, every=st.sampled_from([None, 1, 2, 5]), looking=st.booleans())
    def begin(self, run, every, looking):
        self.kind, self.options = run
        self.every, self.looking, self.folder = every, [Onlooker()] if looking else [], Path(tempfile.mkdtemp())
        self.furthest, self.way = 0, []
        self.remembered, self.log, self.history = never_stopped(self.kind, tuple(self.options.items()))
        self.forget()

    @rule(steps=st.integers(1, 6))
    def train(self, steps):
        self.go_on(min(STEPS, self.trainer.step + steps))
        self.way.append(f"trained to {self.trainer.step}")
        step = self.check_last()
        assert step == self.trainer.step
        # A run that died may have left the best of an epoch that it has to go through once more.
        possible = {self.remembered.best.get(k) for k in range(step, self.furthest + 1)}
        assert digest(self.folder / "best.npz") in possible, "best.npz"
        assert self.trainer.history == self.history[: len(self.trainer.history)]

    @rule()
    def forget(self):
        """Drops everything but the directory."""
        self.trainer = trainer_of(self.kind, self.options)

    @rule(steps=st.integers(1, 6), first=st.booleans(), while_saving=st.booleans())
    def crash(self, steps, first, while_saving):
        """Dies after a step, before or after the checkpoint has heard of it, or while it is saved."""
        at = self.trainer.step + steps
        with suppress(Killed), ExitStack() as patches:
            self.go_on(STEPS, **{"before" if first else "after": [Killer(at, while_saving, patches)]})
        self.way.append(f"died at {self.trainer.step}{' while saving' * while_saving}")
        self.check_last()
        self.forget()

    @rule()
    def look_around(self):
        with working_as(self.options):
            look_around(self.trainer)
        self.way.append("looked around")

    def go_on(self, steps, before=(), after=()):
        checkpoint = Checkpoint(self.folder, every=self.every, resume=True)
        callbacks = [*before, *lookers_of(self.options), *self.looking, checkpoint, *after]
        try:
            with working_as(self.options):
                self.trainer.run(steps=steps, callbacks=callbacks)
        finally:
            self.furthest = max(self.furthest, self.trainer.step)

    def check_last(self):
        """The step that ``last.npz`` is of: any, but with the right bits."""
        last = self.folder / "last.npz"
        step = read_sealed(last)[1]["training"]["step"]
        assert step == 0 or digest(last) == self.remembered.last[step], f"last.npz of step {step}"
        return step

    def teardown(self):
        if not hasattr(self, "folder"):
            return
        try:
            self.go_on(STEPS)
            end = max(self.remembered.last)  # early stopping may have come first
            assert self.trainer.step == self.check_last() == end
            assert digest(self.folder / "best.npz") == self.remembered.best[end], "best.npz"
            assert (self.folder / "log.jsonl").read_bytes() == self.log
            assert self.trainer.history == self.history
            assert not list(self.folder.glob(".*"))
            self.done.append(f"{self.kind} {self.options}: {', '.join(self.way)}")
        finally:
            shutil.rmtree(self.folder)
