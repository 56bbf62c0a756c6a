"""Windows: a sequence rule run some steps at a time, and what becomes of the gradient at the borders between."""

from __future__ import annotations

from functools import partial, reduce
from inspect import signature

from minirnn.arguments import at_least_0, positive, positive_number
from minirnn.arrays import random_generator, xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.combinators.asking import Gradients, outline, selective
from minirnn.rules.combinators.form import checked_lengths, form_of, named, part_of, positional, refuse_inside

COLUMNS = 800  # of a run: its pre-activations, and what is made of them, stay in the cache until they are used again
CUTS = {  # what changes the gradient at borders, and how
    "truncate": "ends the gradient where it has flowed back far enough",
    "truncate_randomly": "cuts the gradient at random, or lets it grow",
    "clip_through_time": "shortens the gradient on its way back",
}


def truncate(rule, window, back=None):
    """Truncated BPTT: after every ``window`` steps, the gradient of their losses flows back over ``back`` steps.

    In the terms of Williams & Peng (1990) ``window`` is k1 and ``back`` is k2. With both equal the sequence falls into
    windows that no gradient leaves; with ``back = 2 * window`` each window's losses reach one window further:

        window      |  1  |  2  |  3  |  4  |
        its losses         <----|----x          of window 3, back over windows 3 and 2
                                 <----|----x    of window 4, back over windows 4 and 3

    What comes out is not the gradient of the loss. What a loss would teach through steps further back is left out, and
    always the same part, so it is biased: no mean over many sequences brings that back. But it is the gradient of
    another function: the sum over all windows of their losses, each computed from a state that entered ``back`` steps
    before the window's end and counts as a constant. So it can be checked against numbers like any other.

    It bounds how far gradients flow, and not what is kept: for constant memory call the rule window by window, and
    carry the states from call to call, as training on a stream of text does.

    Parameters
    ----------
    rule : sequence rule
    window : int
        Steps. A sequence that is no longer than that is not cut.
    back : int, optional
        A multiple of ``window``, and ``window`` without it. The way back takes ``back / window`` times as long.

    Raises
    ------
    ValueError
        If ``window`` or ``back`` is not such a number; when called, if there is a probe and ``back`` exceeds
        ``window``: no step has one gradient then, but one for each stretch that it is part of.
    """
    positive(window=window, back=window if back is None else back)
    if back is not None and back % window:
        raise ValueError(f"back must be a multiple of window, {window}, got {back}")
    generations = (back or window) // window

    def pull(windows, gathered, dys, dends):
        xp, flows = xp_of(dys), []  # what the losses of each of the next generations - 1 windows ask of the states here
        for now, running, pullback in windows:
            nothing = xp.zeros_like(dys[now])
            asked = [(dys[now], *dends), *((nothing, *flow) for flow in flows)]
            # one by one and not their sum: each flow ends after so many generations of windows, at a place of its own
            found = [pullback(*cotangents) for cotangents in asked]
            dstates = gathered.put(now, reduce(_sum, found))
            if now.start:
                youngest, *older = (gathered.form.split(gradients)[1] for gradients in found)
                dends = [xp.where(running, 0, d) for d in youngest]  # of columns that ended before this window
                flows = [[xp.where(running, d, 0) for d in youngest], *older][: generations - 1]
        return dstates

    return _in_windows(rule, window, "truncate", pull, probed=generations == 1)


def truncate_randomly(rule, window, probability, seed=0):
    """Truncated BPTT without its bias: at every border the gradient is cut with a probability, else grown to make up.

    Cut with probability p, and multiplied by 1 / (1 - p) where it passes, the gradient has that of the whole sequence
    for its expectation, at the price of variance (ARTBP, Tallec & Ollivier 2017).

    Parameters
    ----------
    rule : sequence rule
    window : int
        Steps between places where it may be cut.
    probability : float
        From 0 to below 1.
    seed : int
        Draws the cuts; together with the static keyword ``step`` of the rule that comes out, to be counted up from call
        to call: the same step cuts at the same places.

    Raises
    ------
    ValueError
        If ``window`` or ``probability`` cannot be used.
    """
    at_least_0(below=1, probability=probability)
    positive(window=window)
    grown = float(1 / (1 - probability))

    def pull(windows, gathered, dys, dends, step):
        drawn = random_generator(seed, "truncation", step)

        def cut_or_grow(dstates):
            factor = 0.0 if drawn.random() < probability else grown
            return [d * factor for d in dstates]

        return _carried(windows, gathered, dys, dends, cut_or_grow)

    return _in_windows(rule, window, "truncate_randomly", pull, step=0)


def clip_through_time(rule, max_norm, every=1):
    """BPTT that clips what it carries: a column's cotangent of all states, wherever it passes ``every`` steps.

    Unlike clipping after the backward pass it keeps the gradient of an early step from being drowned by what grew on
    the way to it. What comes out points elsewhere than the gradient does, and is no function's gradient.

    Parameters
    ----------
    rule : sequence rule
    max_norm : float
        The largest Euclidean norm of a column's cotangent, the states taken together; a longer one is shortened to it.
    every : int
        Steps.

    Raises
    ------
    ValueError
        If ``max_norm`` is not a positive number, or ``every`` no positive integer.
    """
    positive_number(max_norm=max_norm)
    positive(every=every)
    longest = float(max_norm)

    def shorten(dstates):
        xp = xp_of(*dstates)
        rows = xp.concatenate([d.reshape(-1, d.shape[-1]) for d in dstates])
        scale = xp.maximum(abs(rows).max(axis=0), longest)  # divided by it, no square overflows
        norms = scale * ((rows / scale) ** 2).sum(axis=0) ** 0.5
        shrink = longest / xp.maximum(norms, longest)
        return [d * shrink for d in dstates]

    return _in_windows(rule, every, "clip_through_time", partial(_carried, border=shorten))


def checkpoint(rule, every):
    """The same gradients from less memory: keep the states between windows, and run each window again on the way back.

    What BPTT keeps grows with T. This keeps T / every states and one window at a time, least with ``every`` near the
    square root of T, for one more forward pass (Gruslys et al. 2016). Wrap ``projected(rule)`` rather than the rule
    alone, lest the pre-activations of all steps be kept as its argument. Random masks return as they were, because they
    come from a counter: a rule with the static keyword ``first`` is told at which step its window begins.

    Parameters
    ----------
    rule : sequence rule
    every : int
        Steps in a window.

    Raises
    ------
    ValueError
        If ``every`` is no positive integer.
    """
    positive(every=every)
    return _in_windows(rule, every, "checkpoint", partial(_carried, border=lambda dstates: dstates), again=True)


def in_runs(rule):
    """The same numbers, run by run: what is made of some steps is used while it is still in the cache.

    Wrapped around ``projected(rule)`` the pre-activations of a run are in memory, and not those of all steps, and their
    gradients neither. A run has about 800 columns, few enough for the cache and enough for products at full speed. Of
    long sequences a step takes half the time in windows like these (``benchmarks/RESULTS.md``). What it costs: where
    there are several runs, outputs are kept twice, by the runs and put together.

    Parameters
    ----------
    rule : sequence rule
    """

    def steps(B):
        return max(1, COLUMNS // max(1, B))

    return _in_windows(rule, steps, "in_runs", partial(_carried, border=lambda dstates: dstates))


def _carried(windows, gathered, dys, dends, border):
    """BPTT from window to window: what is asked of the states passes ``border`` on its way from one to the other."""
    for now, running, pullback in windows:
        later, dends = dends, gathered.put(now, pullback(dys[now], *dends))
        if now.start:
            dends = [xp_of(d).zeros_like(d) if new is None else new for new, d in zip(dends, later, strict=True)]
            dends = [xp_of(d).where(running, new, d) for new, d in zip(border(dends), dends, strict=True)]
    return dends


def _sum(gradients, others):
    return [g if g is None else g + other for g, other in zip(gradients, others, strict=True)]


def _in_windows(rule, window, name, pull, again=False, probed=True, **settings):
    """The rule that runs ``rule`` one window after the other, carrying the states, and leaves the way back to ``pull``.

    ``pull(windows, gathered, dys, dends, **settings)`` gets the windows from the last to the first: their steps, which
    columns have any (of ragged sequences not all do, and no border lies where nothing was done), and their pullback. It
    puts gradients into ``gathered``, and returns those of the first states. With ``again`` a window is run again for
    its pullback, else the forward pass saved it. ``probed`` says whether every pullback runs once.
    """
    inner = CUTS if name in ("checkpoint", "clip_through_time", "in_runs") else CUTS.keys() - {"clip_through_time"}
    borders = dict.fromkeys(inner, "borders would be counted anew in every window")  # truncation may be clipped
    refuse_inside(name, rule, reverse="a reversed rule begins at the last step and cannot be cut there", **borders)
    rule, form = selective(rule), form_of(rule)
    takes_first = "first" in signature(rule).parameters

    def windowed(*arguments, wanted, **static):
        chosen = {key: static.pop(key, default) for key, default in settings.items()}
        xs, states, weights = form.split(arguments)
        (static, _), (T, *_, B) = checked_lengths(static, xs, states), xs[0].shape
        steps = window(B) if callable(window) else window
        if steps >= T:  # nothing to cut
            return rule(*arguments, wanted=wanted, **static)
        if static.get("probe") is not None and not probed:
            raise ValueError(f"{name} takes no probe with back > window: a step has one gradient for each stretch then")
        ys, windows = None, []
        for start in range(0, T, steps):
            now = slice(start, min(start + steps, T))
            there = part_of(static, now, takes_first)
            run = partial(rule, *(x[now] for x in xs), *states, *weights, **there)
            asked = form.with_states(wanted) if start else wanted
            (ys_now, *states), pullback = run(wanted=(False,) * len(wanted) if again else asked)
            if any(wanted):
                pull_now = partial(_pull_again, partial(run, wanted=asked)) if again else pullback
                windows.append((now, _running(there, states[0]), pull_now))
            if ys is None:
                ys = kernels_of(ys_now).empty((T, *ys_now.shape[1:]), ys_now.dtype)
            ys[now] = ys_now
        xp, shapes = xp_of(ys), outline(arguments, wanted)

        def windowed_pullback(dys, *dends):
            gathered = Gradients(form, shapes, xp)
            dstates = pull(reversed(windows), gathered, dys, dends, **chosen) if windows else (None,) * form.states
            return gathered.entries(dstates)

        return (ys, *states), windowed_pullback

    return named(name, windowed, positional(rule), rule, **settings)


def _pull_again(run, *cotangents):
    _, pullback = run()
    return pullback(*cotangents)


def _running(static, state):
    """Whether the columns have steps in a window called with these static arguments: ``(B,)``, ``(1,)`` if all have."""
    lengths = static.get("lengths")
    return xp_of(state).asarray([True] if lengths is None else [n > 0 for n in lengths])
