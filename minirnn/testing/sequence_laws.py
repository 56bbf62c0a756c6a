"""The laws of recurrence, for any sequence rule, one's own included: what holds beyond the laws of every rule.

A gradient check cannot see a fault that forward and backward share: a state that leaks from one column into another, a
step that looks ahead, padding that counts. These laws can. Each takes ``(rule, inputs, static)``, the inputs in the
order ``(*sequences, *states, *weights)`` and in the required setting (several steps and columns, random states), and
raises an ``AssertionError`` that names the law. `check_sequence_laws` goes through all of them, `is_a_chain_of_steps`
needs the step besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minirnn.arrays import Array, BackendError, random_generator, to_numpy, xp_of
from minirnn.rules.combinators import checkpoint, in_runs, ragged, reverse, scan, shard, truncate
from minirnn.rules.combinators.form import form_of
from minirnn.testing.variants import cotangents_like
from minirnn.testing.verdicts import bits, refuse, refuse_different
from minirnn.workers import use_workers

Static = Mapping[str, Any]


def check_sequence_laws(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Raise unless ``rule`` keeps every law of recurrence at ``inputs``.

    Parameters
    ----------
    rule : sequence rule
        See ``minirnn.rules.combinators``.
    inputs : sequence of arrays
        At least three steps and two columns; random, distinct, not zero.
    static : mapping, optional
        Keyword arguments of the rule.
    seed : int
        Draws the cotangents, and where sequences are cut.

    Raises
    ------
    AssertionError
        Naming the law, and the output or argument for which it is broken.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import rules
    >>> from minirnn.testing.example_inputs import example_inputs
    >>> check_sequence_laws(rules.gru, *example_inputs("gru"))
    """
    for law in SEQUENCE_LAWS:
        law(rule, inputs, static, seed=seed)


def causal(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """What the loss asks of step k it asks of no later step: exact zeros there."""
    outputs, pullback = _call(rule, inputs, static)
    form, T = form_of(rule), len(outputs[0])
    zeros = [xp_of(y).zeros(y.shape, y.dtype) for y in outputs]
    for k in {0, T // 2, T - 1}:
        dys = zeros[0].copy()
        dys[k] = cotangents_like([zeros[0][k]], seed)[0]
        dxs = form.split(pullback(dys, *zeros[1:]))[0][0]
        after = bool(to_numpy(dxs[k + 1 :] != 0).any())
        refuse(after, "causal", rule, f"the output of step {k} asks something of a later step")


def can_be_split(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Two sequences, the states carried from one to the other, are the one they were cut from; there and back."""
    form, (outputs, pullback) = form_of(rule), _call(rule, inputs, static)
    xs, states, weights = form.split(inputs)
    dys, *dends = cotangents_like(outputs, seed)
    k = 1 + seed % max(1, len(dys) - 1)
    (ys_1, *middle), pullback_1 = _call(rule, (*(x[:k] for x in xs), *states, *weights), static)
    (ys_2, *ends), pullback_2 = _call(rule, (*(x[k:] for x in xs), *middle, *weights), static)
    xp = xp_of(ys_1)
    found = [xp.concatenate([ys_1, ys_2]), *ends]
    refuse_different("can_be_split", rule, found, outputs, f"changes when it is cut at step {k}", of="output")
    dxs_2, dmiddle, dweights_2 = form.split(pullback_2(dys[k:], *dends))
    dxs_1, dstates, dweights_1 = form.split(pullback_1(dys[:k], *dmiddle))
    sequences = [None if a is None else xp.concatenate([a, b]) for a, b in zip(dxs_1, dxs_2, strict=True)]
    sums = [None if a is None else a + b for a, b in zip(dweights_1, dweights_2, strict=True)]
    gradients = [*sequences, *dstates, *sums]
    refuse_different("can_be_split", rule, gradients, pullback(dys, *dends), f"changes when it is cut at step {k}")


def columns_are_independent(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """To reverse the order of the batch is to reverse that of outputs and gradients; those of the weights stay."""
    form, (outputs, pullback) = form_of(rule), _call(rule, inputs, static)
    columns, weights = inputs[: sum(form)], inputs[sum(form) :]
    given = cotangents_like(outputs, seed)

    def permuted(arrays: Sequence) -> list:
        return [None if x is None else x[..., ::-1] for x in arrays]

    ys, permuted_pullback = _call(rule, (*permuted(columns), *weights), static)
    what = "does not follow the order of the batch"
    refuse_different("columns_are_independent", rule, ys, permuted(outputs), what, of="output")
    gradients = pullback(*given)
    expected = [*permuted(gradients[: sum(form)]), *gradients[sum(form) :]]
    found = permuted_pullback(*permuted(given))
    refuse_different("columns_are_independent", rule, found, expected, what)


def padding_is_nothing(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """A batch of different lengths gives what each sequence gives by itself, both ways, with NaN in its padding."""
    form = form_of(rule)
    xs, states, weights = form.split(inputs)
    T, B = len(xs[0]), xs[0].shape[-1]
    lengths = [int(n) for n in random_generator(seed, "lengths").integers(1, T + 1, B)]
    padded = [_with_padding(x, lengths) for x in xs]
    for turned in (lambda rule: rule, reverse):
        combined = turned(ragged(rule))
        outputs, pullback = combined(*padded, *states, *weights, lengths=lengths, **(static or {}))
        given = cotangents_like(outputs, seed)
        gradients = pullback(*given)
        sums: list = [None] * len(weights)
        for b, n in enumerate(lengths):
            column = slice(b, b + 1)
            alone = (*(x[:n, ..., column] for x in xs), *(h[..., column] for h in states), *weights)
            ys, own_pullback = turned(rule)(*alone, **(static or {}))
            parts = [outputs[0][:n, ..., column], *(y[..., column] for y in outputs[1:])]
            what = f"of column {b}, {n} steps long, is another in company"
            refuse_different("padding_is_nothing", combined, parts, ys, what, of="output")
            own = own_pullback(given[0][:n, ..., column], *(d[..., column] for d in given[1:]))
            dxs, dstates, dweights = form.split(own)
            found = [*(_cut(d, n, column) for d in gradients[: form.sequences])]
            found += [d[..., column] for d in gradients[form.sequences : sum(form)]]
            refuse_different("padding_is_nothing", combined, found, [*dxs, *dstates], what)
            sums = [new if old is None else old + new for old, new in zip(sums, dweights, strict=False)]
        found = [*gradients[: sum(form)], *gradients[sum(form) :][: len(sums)]]
        expected = [*gradients[: sum(form)], *sums]
        refuse_different("padding_is_nothing", combined, found, expected, "is not the sum over the columns")


def windows_change_nothing(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Run in windows of any length, and truncated after all steps or more, it is the rule itself."""
    outputs, pullback = _call(rule, inputs, static)
    given = cotangents_like(outputs, seed)
    gradients, T = pullback(*given), len(outputs[0])
    for combined in (checkpoint(rule, 1), checkpoint(rule, 2), truncate(rule, T), truncate(rule, 1, T), in_runs(rule)):
        ys, windowed_pullback = combined(*inputs, **(static or {}))
        refuse_different("windows_change_nothing", combined, ys, outputs, "is another in windows", of="output")
        found = windowed_pullback(*given)
        expected = gradients[: len(found)]
        refuse_different("windows_change_nothing", combined, found[: len(expected)], expected, "is another in windows")


def workers_change_nothing(rule: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0) -> None:
    """Its columns shared out among some workers, or one for each column, it is the rule; the same bits every time.

    Where there can be no workers, for want of threadpoolctl, nothing is asked.
    """
    outputs, pullback = _call(rule, inputs, static)
    given = cotangents_like(outputs, seed)
    gradients, combined, what = pullback(*given), shard(rule), "is another when workers share the columns"
    for number in (2, 1 + outputs[0].shape[-1]):
        try:
            chosen = use_workers(number)
        except BackendError:
            return
        with chosen:
            ys, shared_pullback = _call(combined, inputs, static)
            refuse_different("workers_change_nothing", combined, ys, outputs, what, of="output")
            found = shared_pullback(*given)
            refuse_different("workers_change_nothing", combined, found, gradients[: len(found)], what)
            again, again_pullback = _call(combined, inputs, static)
            other_bits = bits([*ys, *found]) != bits([*again, *again_pullback(*given)])
            refuse(other_bits, "workers_change_nothing", combined, "the same workers give other bits")


def is_a_chain_of_steps(
    rule: Callable, step: Callable, inputs: Sequence, static: Static | None = None, *, seed: int = 0
) -> None:
    """Outputs and gradients of the sequence are those of its steps, taken one after the other."""
    outputs, pullback = _call(rule, inputs, static)
    given = cotangents_like(outputs, seed)
    ys, chain_pullback = scan(step)(*inputs, **(static or {}))
    what = "is not that of a chain of its steps"
    refuse_different("is_a_chain_of_steps", rule, outputs, ys, what, of="output")
    gradients = pullback(*given)[: len(inputs)]
    refuse_different("is_a_chain_of_steps", rule, gradients, chain_pullback(*given), what)


SEQUENCE_LAWS = (
    causal,
    can_be_split,
    columns_are_independent,
    padding_is_nothing,
    windows_change_nothing,
    workers_change_nothing,
)


def _call(rule: Callable, inputs: Sequence, static: Static | None) -> tuple[tuple, Callable]:
    return rule(*inputs, **(static or {}))


def _cut(dx: Array | None, n: int, column: slice) -> Array | None:
    return None if dx is None else dx[:n, ..., column]


def _with_padding(x: Array, lengths: Sequence[int]) -> Array:
    """The sequence with NaN, or the largest number there is, past every column's end."""
    x = x.copy()
    filling = float("nan") if x.dtype.kind == "f" else xp_of(x).iinfo(x.dtype).max if x.dtype.kind in "iu" else True
    for b, n in enumerate(lengths):
        x[n:, ..., b] = filling
    return x
