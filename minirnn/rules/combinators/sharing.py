"""The columns of a batch shared out among threads."""

from __future__ import annotations

from threading import Lock

from minirnn.kernels import kernels_of
from minirnn.rules.combinators.form import checked_lengths, form_of, named, positional, selective
from minirnn.rules.recurrence import joint_dtype
from minirnn.workers import spread


def shard(rule):
    """The same numbers, the columns of the batch shared out among the workers (`minirnn.use_workers`).

    Columns never meet on their way through time, so each thread runs through all steps with its share, there and back,
    and only then the gradients of weights are added up, in the order of the shares: the same number of workers gives
    the same bits. Outputs are kept twice, by the shares and put together. Each product is computed by one thread, from
    which the matrix of a step need not be rearranged (``kernels.numpy.product``): two threads of 16 columns take 107
    milliseconds for what a BLAS of two threads does in 157, step by step (two layers, H = 256, T = 100).

    Parameters
    ----------
    rule : sequence rule
        Not one that is shown to a probe: a call with ``probe`` is not shared out.
    """
    rule, form = selective(rule), form_of(rule)

    def sharded(*arguments, wanted, **static):
        xs, states, weights = form.split(arguments)
        static, lengths = checked_lengths(static, xs, states)
        B, multiplications = states[0].shape[-1], sum(W.size for W in weights if W is not None and W.ndim == 2)
        shares = kernels_of(states[0]).shares(B, multiplications)
        if len(shares) == 1 or static.get("probe") is not None:
            return rule(*arguments, wanted=wanted, **static)
        ys, ends = Joined(B), [Joined(B) for _ in states]

        def forward(columns):
            there = dict(static) if lengths is None else {**static, "lengths": lengths[columns]}
            own = (x[..., columns] for x in (*xs, *states))
            (ys_part, *ends_part), pullback = rule(*own, *weights, wanted=wanted, **there)
            for whole, part in zip((ys, *ends), (ys_part, *ends_part), strict=True):
                whole.put(columns, part)
            return pullback

        pullbacks = spread(forward, shares)

        def sharded_pullback(*cotangents):
            joined = [Joined(B) for _ in range(sum(form))]

            def backward(share):
                columns, pullback = share
                gradients = pullback(*(d[..., columns] for d in cotangents))
                for whole, part in zip(joined, gradients, strict=False):  # those of weights follow
                    whole.put(columns, part)
                return form.split(gradients)[2]

            dweights = spread(backward, list(zip(shares, pullbacks, strict=True)))
            totals = map(_total, zip(*dweights, strict=False))  # some may end in None for what was not given
            return *(part.whole() for part in joined), *totals

        return (ys.whole(), *(end.whole() for end in ends)), sharded_pullback

    return named("shard", sharded, positional(rule), rule)


class Joined:
    """An array of ``B`` columns that several threads write into, each its own share; ``None`` if they have nothing."""

    def __init__(self, B):
        self.B, self.array, self.lock, self.wider = B, None, Lock(), []

    def put(self, columns, part):
        if part is None:
            return
        with self.lock:
            if self.array is None:
                self.array = kernels_of(part).empty((*part.shape[:-1], self.B), part.dtype)
            if part.dtype != self.array.dtype:  # complex in some columns: made room for when all have written
                self.wider.append((columns, part))
                return
        self.array[..., columns] = part

    def whole(self):
        for columns, part in self.wider:
            self.array = self.array.astype(joint_dtype(self.array, part), copy=False)
            self.array[..., columns] = part
        return self.array


def _total(parts):
    """The sum of the parts in their order, ``None`` if there are none."""
    first, *others = parts
    if first is not None:
        for part in others:
            first = first + part
    return first
