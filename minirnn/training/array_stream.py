"""Arrays as a stream of training batches: rows of inputs and of targets, drawn anew for every epoch."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from minirnn.arguments import a_batch, at_least_0, not_negative, positive
from minirnn.arrays import random_generator
from minirnn.nn.inputs import numbers
from minirnn.training.protocol import Stream


class ArrayStream(Stream):
    """Batches of rows, each row once an epoch and in another order every time.

    Nothing is remembered between calls but the order of one epoch: any batch can be asked for at any time, which is
    what resuming in the middle of an epoch needs.

    Parameters
    ----------
    inputs : array_like, (N, ...)
        A row for each example, such as ``(N, T, D)`` for sequences: what a layer takes with ``batch_first=True``.
    targets : array_like, (N, ...)
        What belongs to each row: a number, a class, a sequence.
    batch_size : int
        Rows per batch; the last batch of an epoch has what is left.
    seed : int
        Draws the order of every epoch, and the rows held out by ``split``.

    Attributes
    ----------
    inputs, targets : ndarray
        As given, and not copied: they must not change while a model is trained on them.

    Raises
    ------
    TypeError
        If they are not made of real numbers.
    ValueError
        If they have no rows, or not as many of each; if a setting is out of its range.

    Examples
    --------
    >>> from minirnn import Tensor, fit, ops
    >>> from minirnn.nn import GRU, Linear, Module
    >>> class Mean(Module):
    ...     def __init__(self):
    ...         self.gru, self.head = GRU(3, 16, batch_first=True, seed=0), Linear(16, 3, seed=1)
    ...     def loss(self, xs, targets, state=None):
    ...         hs, _ = self.gru(Tensor(xs))
    ...         return ops.mean((self.head(hs[:, -1]) - Tensor(targets)) ** 2), None
    >>> xs = np.random.default_rng(0).normal(size=(200, 12, 3)).astype("float32")  # (N, T, D)
    >>> stream = ArrayStream(xs, xs.mean(axis=1), batch_size=32)
    >>> stream.batches_per_epoch, stream.batch(epoch=0, k=0)[0].shape
    (7, (32, 12, 3))
    >>> history = fit(Mean(), stream, epochs=5, lr=0.02, val_split=0.1)
    >>> history[-1]["val_loss"] < history[0]["val_loss"]
    True
    """

    def __init__(self, inputs: Any, targets: Any, batch_size: int = 32, *, seed: int = 0):
        positive(batch_size=batch_size)
        not_negative(seed=seed)
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.inputs, self.targets = numbers(inputs, "inputs"), numbers(targets, "targets")
        shapes = self.inputs.shape, self.targets.shape
        if not all(shape[:1] == shapes[0][:1] != () for shape in shapes):
            raise ValueError(
                f"inputs and targets must have a row for each example, as many of both, got {shapes[0]} and {shapes[1]}"
            )
        if not (self.inputs.size and self.targets.size):
            raise ValueError(f"inputs and targets must not be empty, got shapes {shapes[0]} and {shapes[1]}")
        self.batches_per_epoch = -(-len(self.inputs) // self.batch_size)
        self._remembered: tuple[int, np.ndarray] | None = None

    def batch(self, epoch: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch ``k`` of an epoch: fresh arrays of ``batch_size`` rows, or of what is left.

        Raises
        ------
        ValueError
            If ``epoch`` is negative or there is no such batch.
        """
        a_batch(epoch, k, self.batches_per_epoch)
        if self._remembered is None or self._remembered[0] != epoch:
            order = random_generator(self.seed, "rows", step=epoch).permutation(len(self.inputs))
            self._remembered = epoch, order
        rows = self._remembered[1][k * self.batch_size : (k + 1) * self.batch_size]
        return self.inputs[rows], self.targets[rows]

    def split(self, val_split: float) -> tuple[ArrayStream, ArrayStream | None]:
        """Hold out rows drawn at random: a stream to train on and one to validate on, with no row in both.

        Rows that overlap, such as windows of one long series, are no test of each other: cut the series before you cut
        the windows, and give ``validation`` a stream of the later part.

        Raises
        ------
        ValueError
            If ``val_split`` is not in [0, 1), or no row is held out or left.
        """
        at_least_0(below=1, val_split=val_split)
        if val_split == 0:
            return self, None
        N = len(self.inputs)
        held_out = round(N * val_split)
        if not 0 < held_out < N:
            raise ValueError(
                f"val_split {val_split} holds out {held_out} of {N} rows; at least one must be held out and one left"
            )
        drawn = random_generator(self.seed, "split").permutation(N)
        parts = (np.sort(rows) for rows in (drawn[held_out:], drawn[:held_out]))
        training, validation = (
            ArrayStream(self.inputs[rows], self.targets[rows], self.batch_size, seed=self.seed) for rows in parts
        )
        return training, validation

    @property
    def identity(self) -> dict[str, Any]:
        """What decides which batches there are, in plain values: a resumed run must have the same."""
        return {"text": self.digest, "seed": self.seed}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of both arrays, in hexadecimal: whether a resumed run has the data it began with."""
        import hashlib  # only here: a slow import, for a rare question

        sha = hashlib.sha256()
        for array in (self.inputs, self.targets):
            sha.update(f"{array.dtype.str} {array.shape} ".encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()
