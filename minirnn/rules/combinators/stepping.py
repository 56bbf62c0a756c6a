"""From a step to a sequence, from one step to another, and from an input to its pre-activations."""

from __future__ import annotations

from minirnn.arrays import xp_of
from minirnn.rules.combinators.asking import Gradients, outline, selective
from minirnn.rules.combinators.form import Form, form_of, named, positional, refuse_inside
from minirnn.rules.linear import affine, embedding_columns
from minirnn.rules.recurrence import show


def scan(step):
    """The sequence rule that takes one step after the other; its pullback is BPTT in its plainest form.

    It serves any cell that somebody can write down as a step. The sequence rules of this library are the same thing
    made fast: they save all steps in one array, and make one product of all the steps' products for the weights.

    Parameters
    ----------
    step : step rule
        ``(*inputs, *states, *weights) -> new states``, the names of the states ending in ``_prev``. A rule with one
        state returns it as an array, one with several as a tuple.

    Returns
    -------
    sequence rule
        ``(*sequences, *states, *weights) -> (ys, *ends)``, ``ys`` the first state after every step. A probe is shown
        the states of every step, and on the way back what the loss and later steps ask of them, ``"dh"`` of ``h``, and
        what the step then asks of its inputs, ``"da"`` of ``a``.

    Raises
    ------
    TypeError
        When called: if the step does not return as many new states as it takes, and a pullback; or the pullback not one
        gradient for each argument.
    ValueError
        When called: if a new state has another shape than the one before it, a gradient another than its argument, or
        sequences have not as many steps as each other. Whatever a step raises says in a note which one it was.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import rules
    >>> a_xs, h_0, W_hh = np.ones((3, 2, 4)), np.zeros((2, 4)), np.eye(2)
    >>> (hs, h_T), scan_pullback = scan(rules.rnn_step)(a_xs, h_0, W_hh)
    >>> bool(np.allclose(hs, rules.rnn(a_xs, h_0, W_hh)[0][0]))
    True
    """
    step, form, names = selective(step), form_of(step, "_prev"), positional(step)
    inputs, shown = names[: form.sequences], [name.removesuffix("_prev") for name in names[form.sequences : sum(form)]]
    shown_back = [f"d{name}" for name in (*shown, *inputs)]
    parameters = [*(f"{name}_xs" for name in inputs), *(f"{name}_0" for name in shown), *names[sum(form) :]]

    def scanned(*arguments, wanted, probe=None, **static):
        xs, states, weights = form.split(arguments)
        shapes = ", ".join(f"{name} {x.shape}" for name, x in zip(parameters, xs, strict=False))
        if len(steps := {x.shape[:1] for x in xs}) > 1 or () in steps:
            raise ValueError(f"sequences must have their steps on the first axis, as many as each other; got {shapes}")
        inside = form.with_states(wanted)
        ys, pullbacks = [], []
        for x in zip(*xs, strict=True):
            try:
                states, pullback = step(*x, *states, *weights, wanted=inside, **static)
            except Exception as error:
                error.add_note(f"at step {len(ys)} of {shapes}: the first axis of a sequence is time")
                raise
            states = (states,) if form.states == 1 else states
            if probe is not None:
                show(probe, len(ys), shown, states)
            ys.append(states[0])
            if any(wanted):
                pullbacks.append(pullback)
        xp, h, forms = xp_of(*arguments), states[0], outline(arguments, wanted)

        def scan_pullback(dys, dh, *dstates):
            gathered = Gradients(form, forms, xp)
            for t in reversed(range(len(pullbacks))):  # the only place where time runs backward
                asked = dh + dys[t], *dstates
                gradients = pullbacks[t](*asked)
                if probe is not None:
                    show(probe, t, shown_back, (*asked, *gradients[: form.sequences]))
                dh, *dstates = gathered.put(t, gradients)
            return gathered.entries((dh, *dstates))

        hs = xp.stack(ys) if ys else xp.empty((0, *h.shape), h.dtype)
        return (hs, *states), scan_pullback

    return named("scan", scanned, parameters, step, probe=None)


def zoneout(step):
    """The step whose units keep some of what they were (Krueger et al. 2017).

    Dropout sets a unit to zero, and the gradient that belongs to it is lost; here it keeps its old value, and the
    gradient passes through unchanged. Every state s has a mask of its own,

        s_t = keep * s_prev + (1 - keep) * step(...)

    and what the step computes from other states, it computes from those before zoneout.

    Parameters
    ----------
    step : step rule

    Returns
    -------
    step rule
        ``(*inputs, *keeps, *states, *weights)``, one ``keep`` in the shape of each state: 1 keeps, 0 lets change, and
        what lies between mixes.
    """
    step, inner, names = selective(step), form_of(step, "_prev"), positional(step)
    outer = Form(inner.sequences + inner.states, inner.states)

    def zoned(*arguments, wanted, **static):
        inputs, prevs, weights = outer.split(arguments)
        inputs, keeps = inputs[: inner.sequences], inputs[inner.sequences :]
        of_inputs, of_states, of_weights = outer.split(wanted)
        of_inputs, of_keeps = of_inputs[: inner.sequences], of_inputs[inner.sequences :]
        news, step_pullback = step(*inputs, *prevs, *weights, wanted=(*of_inputs, *of_states, *of_weights), **static)
        news = (news,) if inner.states == 1 else news
        states = tuple(keep * prev + (1 - keep) * new for keep, prev, new in zip(keeps, prevs, news, strict=True))
        kept = keeps if any(wanted) else None
        changes = [prev - new if flag else None for prev, new, flag in zip(prevs, news, of_keeps, strict=True)]

        def zoneout_pullback(*dstates):
            if kept is None:
                return (None,) * len(wanted)
            asked = ((1 - keep) * d for keep, d in zip(kept, dstates, strict=True))
            dinputs, dprevs, dweights = inner.split(step_pullback(*asked))
            dkeeps = (None if change is None else d * change for d, change in zip(dstates, changes, strict=True))
            both = (None if a is None else a + keep * d for a, keep, d in zip(dprevs, kept, dstates, strict=True))
            return *dinputs, *dkeeps, *both, *dweights

        return states[0] if inner.states == 1 else states, zoneout_pullback

    keeps = [f"keep_{name.removesuffix('_prev')}" for name in names[inner.sequences : sum(inner)]]
    parameters = [*names[: inner.sequences], *keeps, *names[inner.sequences :]]
    return named("zoneout", zoned, parameters, step)


def projected(rule):
    """The rule with its input projection: of ``xs`` it sees ``W_ih @ xs + b``.

    Parameters
    ----------
    rule : sequence rule

    Returns
    -------
    sequence rule
        ``(xs (T, D, B), ..., *states, W_ih (G, D), b (G,) or None, *weights)``.

    Raises
    ------
    TypeError
        If the rule is ragged already: a projection outside of it would read padding.
    """
    refuse_inside("projected", rule, ragged="padding would be projected, and NaN in it reach the gradient of W_ih")

    return _fed("projected", rule, affine, "xs", ["W_ih", "b"])


def looked_up(rule):
    """The rule for tokens: of ``ids`` it sees the columns of a table that they name.

    Instead of projecting the embedding of every token, project that of every word once, and look the results up:
    ``table = W_ih @ embedding.T + b``. The same function, and T * B products fewer.

    Parameters
    ----------
    rule : sequence rule

    Returns
    -------
    sequence rule
        ``(ids (T, B), ..., *states, table (G, V), *weights)``.

    Raises
    ------
    TypeError
        If the rule is ragged already: ids in the padding would be looked up.
    """
    refuse_inside("looked_up", rule, ragged="padding would be looked up, whatever stands in it")

    columns = selective(embedding_columns)

    def look_up(ids, table, *, wanted):
        a_xs, pullback = columns(table, ids, wanted=(wanted[1], False))
        return a_xs, lambda da_xs: reversed(pullback(da_xs))

    return _fed("looked_up", rule, look_up, "ids", ["table"])


def _fed(name, rule, feed, sequence, weights):
    """The rule on the pre-activations that the rule ``feed(sequence, *weights)`` makes."""
    rule, form, names = selective(rule), form_of(rule), positional(rule)
    first, n = sum(form), len(weights)

    def fed(*arguments, wanted, **static):
        (x, *others), given, rest = arguments[:first], arguments[first : first + n], arguments[first + n :]
        in_feed = (wanted[0], *wanted[first : first + n])
        a_xs, feed_pullback = feed(x, *given, wanted=in_feed)
        in_rule = (any(in_feed), *wanted[1:first], *wanted[first + n :])
        outputs, rule_pullback = rule(a_xs, *others, *rest, wanted=in_rule, **static)

        def fed_pullback(*cotangents):
            da_xs, *gradients = rule_pullback(*cotangents)
            dx, *dweights = feed_pullback(da_xs) if any(in_feed) else (None,) * (1 + n)
            return dx, *gradients[: first - 1], *dweights, *gradients[first - 1 :]

        fed_pullback.__name__ = f"{name}_pullback"
        return outputs, fed_pullback

    return named(name, fed, [sequence, *names[1:first], *weights, *names[first:]], rule)
