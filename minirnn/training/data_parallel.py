"""Data-parallel training: several processes, one model, and a share of every batch for each.

The problem. A batch is more work than one machine does in the time one has.

The answer. The loss is a mean over what counts in a batch, so its gradient is the mean of the gradients of its shares,
each weighted by how much counts in it. Every process, called a rank, goes there and back with its share; then one sum
over all ranks tells each of them

    total = sum of count_r,    loss = sum of count_r loss_r / total,    g = sum of count_r g_r / total

and whatever else they must agree on travels with it in the same buffer: the states that are carried on, and whether
anybody wants to stop. All then clip by the same norm and take the same step, so parameters are sent once, at the start.
Rank 0 owns the files; validation is done by every rank, for what costs nothing more needs no sending either.

Sums of floating-point numbers depend on their order, and the order of such a sum on the number of ranks. A
``deterministic`` run cuts every batch into the same eight pieces, however many ranks there are, and adds them up in the
order of one binary tree: 1, 2, 4 and 8 ranks then end with the same bits.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from numbers import Real
from typing import Any

import numpy as np

from minirnn.arguments import booleans
from minirnn.arrays import asarray, to_numpy
from minirnn.memory import empty
from minirnn.nn.module import flatten
from minirnn.nn.recurrent import State
from minirnn.tape import Tensor
from minirnn.training.alone import Alone, Piece
from minirnn.training.callbacks import Callback
from minirnn.training.kinds import config_of
from minirnn.training.protocol import loss_of
from minirnn.training.ranks import Mpi, Ranks
from minirnn.workers import limited_to, use_workers

PIECES = 8  # of a batch of a deterministic run
COMPARED_EVERY = 500  # steps between looks at whether all ranks still have the same parameters


class DataParallel(Alone):
    """Shares out every batch of a training run among the processes that ``mpiexec`` has started.

    Each of them runs the same program; ``fit`` and ``Trainer`` take it as ``parallel``.

    Parameters
    ----------
    deterministic : bool
        The same bits with 1, 2, 4 and 8 processes, each with one thread.
    ranks : Ranks, optional
        The group; that of MPI without it.

    Raises
    ------
    BackendError
        If mpi4py or an MPI is missing.
    TypeError
        If ``deterministic`` is not boolean.
    ValueError
        If the run is to be deterministic with another number of processes.

    Notes
    -----
    An exception that nobody catches ends all processes, and so does one that dies, or keeps the others waiting for ten
    seconds more than three times what they took themselves. What rank 0 saved last is a whole checkpoint then.

    Of the callbacks only those with ``everywhere`` look on at other ranks than the first.

    Examples
    --------
    >>> from minirnn import CharLM, TextStream, fit
    >>> from minirnn.training.ranks import OneRank
    >>> stream = TextStream("to be or not to be " * 20, seq_len=10, batch_size=8)
    >>> parallel = DataParallel(deterministic=True, ranks=OneRank())  # DataParallel() under mpiexec
    >>> history = fit(CharLM(stream.vocabulary, 8, 16), stream, steps=2, parallel=parallel)
    """

    waits = True

    def __init__(self, deterministic: bool = False, ranks: Ranks | None = None):
        booleans(deterministic=deterministic)
        self.ranks = Mpi() if ranks is None else ranks
        self.rank, self.size = self.ranks.rank, self.ranks.size
        self.deterministic, self.pieces = deterministic, PIECES if deterministic else self.size
        if self.pieces % self.size:
            raise ValueError(f"a deterministic run needs 1, 2, 4 or 8 processes, got {self.size}")
        self.agreed = False  # to stop

    def own(self, callbacks: Iterable[Callback]) -> list[Callback]:
        return [callback for callback in callbacks if self.rank == 0 or callback.everywhere]

    @contextmanager
    def running(self, trainer: Any) -> Iterator[None]:
        """Limits the cores.

        Raises
        ------
        TypeError
            If the stream does not say how many rows a batch has.
        ValueError
            If the batches are too small to be shared out.
        """
        if not hasattr(trainer.training, "batch_size"):
            raise TypeError(f"{type(trainer.training).__name__} needs a batch_size: the rows that are shared out")
        least = self.pieces if trainer.training.carries_state else self.size
        if trainer.training.batch_size < least:
            raise ValueError(
                f"batch_size {trainer.training.batch_size} cannot be shared out among {self.size} "
                f"process{'es' * (self.size > 1)}: {least} or more are needed"
            )
        with (
            limited_to(1 if self.deterministic else self.ranks.cores),
            use_workers(1) if self.deterministic else nullcontext(),
        ):
            self.ranks.awaited(True)
            yield
        self.ranks.awaited(False)

    def begin(self, trainer: Any, end: float) -> None:
        """Sends model, optimizer and books of rank 0 to all others.

        Raises
        ------
        ValueError
            If a rank trains on something else, or with other settings of model, optimizer, clipping or schedules.
        """
        if self.rank == 0:
            more = {"stopping": trainer.stopping, "settings": _settings(trainer, end)}
            file, books = io.BytesIO(), json.dumps(trainer.books() | more).encode()
            arrays = {f"model/{name}": a for name, a in trainer.model.state_dict().items()} | trainer.arrays()
            np.savez(file, books=np.frombuffer(books, np.uint8), **arrays)
            self.ranks.share(file.getvalue())
        else:
            with np.load(io.BytesIO(self.ranks.share(b"")), allow_pickle=False) as file:
                arrays = dict(file)
            books = json.loads(arrays.pop("books").tobytes())
            own = {name.removeprefix("model/"): a for name, a in arrays.items() if name.startswith("model/")}
            try:
                trainer.model.load_state_dict(own)
                trainer.resume(arrays, books)
                mine, theirs = _settings(trainer, end), books["settings"]
                for name in mine | theirs:
                    if mine.get(name) != theirs.get(name):
                        raise ValueError(f"its {name} is {mine.get(name)}, that of rank 0 {theirs.get(name)}")
            except (KeyError, ValueError) as error:
                raise ValueError(f"rank {self.rank} does not train as rank 0 does: {error}") from error
            trainer.stopping = books["stopping"]  # somebody may have asked the first before it began
        self.agreed = bool(trainer.stopping)

    def ends(self, trainer: Any) -> bool:
        if self.size == 1:
            return super().ends(trainer)
        if trainer.step % trainer.training.batches_per_epoch == 0:  # where most runs end; within an epoch a step later
            wishes = self.ranks.gather(np.array([bool(trainer.stopping)]))
            self._heed(trainer, wishes.any())
        return self.agreed

    def _heed(self, trainer: Any, stop: Any) -> None:
        if stop:
            self.agreed = True
            trainer.stopping = trainer.stopping or "another process was asked to stop"

    def same(self, number: float) -> float:
        return float(self.ranks.gather(np.array([number]))[0, 0])

    def gradients(
        self, trainer: Any, inputs: np.ndarray, targets: np.ndarray, state: State | None
    ) -> tuple[float, State | None]:
        if self.pieces == 1:
            return super().gradients(trainer, inputs, targets, state)
        if trainer.step and trainer.step % COMPARED_EVERY == 0:
            self._compare(trainer)
        buffer = Buffer(trainer, len(targets))

        def there_and_back(k: int) -> np.ndarray:
            return buffer.filled(self._piece(k, trainer.step, inputs, targets, state))

        first, last = (r * self.pieces // self.size for r in (self.rank, self.rank + 1))
        mine = _tree_sum(there_and_back, first, last)
        if self.deterministic:
            rows = self.ranks.gather(mine)
            total = _tree_sum(rows.__getitem__, 0, self.size)
        else:
            total = self.ranks.sum(mine)
        loss, new_state, stop = buffer.emptied(total)
        self._heed(trainer, stop)
        return loss, new_state

    def cut(self, step: int, inputs: np.ndarray, targets: np.ndarray, state: State | None) -> Iterator[Piece]:
        return (self._piece(k, step, inputs, targets, state) for k in range(self.pieces))

    def _piece(self, k: int, step: int, inputs: np.ndarray, targets: np.ndarray, state: State | None) -> Piece:
        n, B = self.pieces, len(targets)
        place = slice(k * B // n, (k + 1) * B // n)
        own = tuple(part[place] for part in inputs) if isinstance(inputs, tuple) else inputs[place]
        return Piece(place, step * n + k, own, targets[place], _columns_of(state, place))

    def _compare(self, trainer: Any) -> None:
        import hashlib  # only here: a slow import

        sha = hashlib.sha256()
        for p in trainer.optimizer.parameters:
            sha.update(to_numpy(p.array).tobytes())
        digests = self.ranks.gather(np.frombuffer(sha.digest(), np.uint8))
        if (digests != digests[0]).any():
            raise RuntimeError(f"before step {trainer.step + 1} the ranks no longer have the same parameters")


class Buffer:
    """All that travels of a step: gradients, which of them there are, loss, count, the wish to stop, carried states.

    Gradients and loss are weighted by what counts in a piece of the batch. States have a place for every column of the
    batch, and a piece fills its own; so the sum of all pieces is their union.
    """

    def __init__(self, trainer: Any, columns: int):
        self.trainer, self.columns, self.parameters = trainer, columns, trainer.optimizer.parameters
        self.dtype = np.result_type(*(p.dtype for p in self.parameters))
        self.ends = np.cumsum([p.size for p in self.parameters])
        self.state: State | None = None  # of a piece: what that of the batch looks like

    def filled(self, piece: Piece) -> np.ndarray:
        """A piece of the batch, there and back."""
        trainer = self.trainer
        trainer.model.seek(piece.draws)
        trainer.optimizer.zero_grad()
        loss, count, new = 0.0, trainer.training.counted(piece.targets), None
        if len(piece.targets):
            mean, new = loss_of(trainer.model, piece.inputs, piece.targets, piece.state)
            mean.backward()
            loss = mean.item()
        self.state = new if trainer.training.carries_state else None
        head = np.array([loss * count, count, bool(trainer.stopping), *(p.grad is not None for p in self.parameters)])
        states = []
        for part in flatten(self.state):
            states.append(np.zeros((part.shape[0], self.columns, part.shape[2]), self.dtype))
            states[-1][:, piece.place] = part.numpy()
        end = int(self.ends[-1])
        buffer = empty((end + head.size + sum(part.size for part in states),), self.dtype)
        for p, section in zip(self.parameters, np.split(buffer[:end], self.ends[:-1]), strict=True):
            section[:] = 0 if p.grad is None else to_numpy(p.grad).reshape(-1)
        buffer[:end] *= self.dtype.type(count)
        buffer[end:] = np.concatenate([head, *(part.reshape(-1) for part in states)])
        return buffer

    def emptied(self, total: np.ndarray) -> tuple[float, State | None, bool]:
        """Loss and state of the batch, and whether to stop, from the sum of all pieces; the gradients are in place."""
        end = int(self.ends[-1])
        loss, count, stops, *there = total[end : end + 3 + len(self.parameters)].tolist()
        total[:end] /= self.dtype.type(count)
        for p, section, some in zip(self.parameters, np.split(total[:end], self.ends[:-1]), there, strict=True):
            p.grad = asarray(section.reshape(p.shape), p.dtype, p.backend) if some else None
        states, start = [], end + 3 + len(self.parameters)
        for part in flatten(self.state):
            shape = part.shape[0], self.columns, part.shape[2]
            whole = total[start : (start := start + math.prod(shape))].reshape(shape)
            states.append(Tensor(whole, dtype=part.dtype).to(part.backend))
        return (
            loss / count,
            tuple(states) if isinstance(self.state, tuple) else states[0] if states else None,
            stops > 0,
        )


def _settings(trainer: Any, end: float) -> dict[str, Any]:
    """What decides on the steps, in plain values; further ahead, the parameters will have been compared."""
    settings = config_of(trainer.model) | trainer.optimizer.settings()
    settings |= {"clip_norm": trainer.clip_norm, "clip_value": trainer.clip_value}
    frozen = [name for name, p in trainer.model.named_parameters() if not p.requires_grad]
    settings["list of frozen parameters"] = frozen
    with suppress(Exception):  # a schedule need not know steps that are never taken
        for step in range(trainer.step, int(min(end, trainer.step + COMPARED_EVERY))):
            settings[f"lr at step {step + 1}"] = trainer.lr_at(step)
            if trainer.teacher_forcing is not None:
                settings[f"teacher_forcing at step {step + 1}"] = trainer.teacher_forcing(step)
    return {name: _plain(value) for name, value in settings.items()}


def _plain(value: Any) -> Any:
    """As JSON brings it to the other ranks; what it cannot say is not compared."""
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    return value if isinstance(value, (bool, str)) else None


def _columns_of(state: State | None, place: slice) -> State | None:
    if isinstance(state, tuple):
        return tuple(part[:, place] for part in state)
    return None if state is None else state[:, place]


def _tree_sum(make: Callable[[int], np.ndarray], first: int, last: int) -> np.ndarray:
    """The sum of ``make(first)`` to ``make(last - 1)``, of halves of halves: any half may be summed apart."""
    if last - first == 1:
        return make(first)
    middle = (first + last) // 2
    left = _tree_sum(make, first, middle)
    left += _tree_sum(make, middle, last)
    return left
