"""The columns of a batch shared out among threads."""

from __future__ import annotations

from threading import Lock

from minirnn.arrays import joint_dtype
from minirnn.kernels import kernels_of
from minirnn.rules.combinators.asking import add_to, selective
from minirnn.rules.combinators.form import checked_lengths, form_of, memory_of, named, positional
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
    rule, form, names = selective(rule), form_of(rule, memory=True), positional(rule)
    n = sum(form) + len(memory_of(names, form))  # arguments that hold a column for every sequence

    def sharded(*arguments, wanted, **static):
        (xs, states, _), shared, weights = form.split(arguments), arguments[:n], arguments[n:]
        static, lengths = checked_lengths(static, xs, states)
        B, multiplications = states[0].shape[-1], sum(W.size for W in weights if W is not None and W.ndim == 2)
        shares = kernels_of(states[0]).shares(B, multiplications)
        if len(shares) == 1 or static.get("probe") is not None:
            return rule(*arguments, wanted=wanted, **static)
        outputs = Joined(B)

        def forward(columns):
            there = dict(static) if lengths is None else {**static, "lengths": lengths[columns]}
            own = (None if x is None else x[..., columns] for x in shared)
            parts, pullback = rule(*own, *weights, wanted=wanted, **there)
            outputs.put(columns, parts)
            return pullback

        pullbacks = spread(forward, shares)

        def sharded_pullback(*cotangents):
            joined = Joined(B)

            def backward(share):
                columns, pullback = share
                gradients = pullback(*(d[..., columns] for d in cotangents))
                joined.put(columns, gradients[:n])
                return list(gradients[n:])

            totals, *others = spread(backward, list(zip(shares, pullbacks, strict=True)))
            for dweights in others:
                for k, part in enumerate(dweights[: len(totals)]):  # some end in None for what was not given
                    add_to(totals, k, part)
            return *joined.whole(), *totals

        return outputs.whole(), sharded_pullback

    return named("shard", sharded, names, rule)


class Joined:
    """Arrays of ``B`` columns that several threads write into, each its own share; ``None`` where they have nothing."""

    def __init__(self, B):
        self.B, self.arrays, self.lock, self.wider = B, [], Lock(), []

    def put(self, columns, parts):
        with self.lock:
            if not self.arrays:
                self.arrays = [None if p is None else self._room_for(p) for p in parts]
        for k, (array, part) in enumerate(zip(self.arrays, parts, strict=True)):
            if part is None:
                continue
            if part.dtype != array.dtype:  # complex in some columns: made room for when all have written
                self.wider.append((k, columns, part))
            else:
                array[..., columns] = part

    def _room_for(self, part):
        return kernels_of(part).empty((*part.shape[:-1], self.B), part.dtype)

    def whole(self):
        for k, columns, part in self.wider:
            self.arrays[k] = self.arrays[k].astype(joint_dtype(self.arrays[k], part), copy=False)
            self.arrays[k][..., columns] = part
        return tuple(self.arrays)
