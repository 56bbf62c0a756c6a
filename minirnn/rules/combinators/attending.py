"""From a step to a decoder that looks into a memory after every step, and whose next step is told what it found.

Where nothing is fed back, attention stands beside time: run the sequence rule, then look for all steps at once. With
feedback (Bahdanau et al. 2014; *input feeding*, Luong et al. 2015) what step t found is part of the input of step
t + 1, and attention is in the loop. A step, by the names of ``rules/attention.py``:

    a_t      = a_xs[t] + W_fed fed_prev          fed_prev is fed_{t-1}, before the first step fed_0       (1)
    h_t, ... = step(a_t, h_prev, ...)            any cell                                                 (2)
    q_t      = W_query h_t                       or h_t itself                                            (3)
    e_ts     = scale * q_t . k_s                 or v . tanh(q_t + k_s)                                   (4)
    w_ts     = exp(e_ts) / sum over r of exp(e_tr)                                                        (5)
    c_t      = sum over s of w_ts m_s                                                                     (6)
    fed_t    = tanh(W_out [c_t; h_t])            or c_t itself                                            (7)

Backward. fed_t is read by the loss and by (1) of the next step, so what is asked of it is a sum of two. h_t is read in
(7), in (3), by the loss, and by the next step within (2): a sum of four. Time runs backward, and every line undoes the
line whose number it bears:

    dfed = dfeds[t] + dfed_prev of step t + 1                                       the two readers of fed_t
    dr = dfed * (1 - fed_t**2),  [dc; dh] = W_out.T dr,  dW_out = sum over t of dr_t [c_t; h_t].T         (7)
    dw_ts = dweights_ts + m_s . dc_t,                    dm_s = sum over t of w_ts dc_t                   (6)
    de_ts = w_ts (dw_ts - sum over r of w_tr dw_tr)                                                       (5)
    dq_t, dk_s (and dv)  by line (1), or (1'), of ``rules/attention.py``                                  (4)
    dh += W_query.T dq_t + dhs[t] + dh_prev of step t + 1,  dW_query = sum over t of dq_t h_t.T           (3)
    da_t, dh_prev, ... = pullback of the step            one step of BPTT, and the cell's own weights     (2)
    dfed_prev = W_fed.T da_t,                            dW_fed = sum over t of da_t fed_{t-1}.T          (1)

What a sum over t gathers is taken out of the loop, one product for all steps: keys and values are read by every step
as weights are, only that each column has its own.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

from minirnn.arrays import joint_dtype, xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.at_once import at_once, back_at_once, kept_by
from minirnn.rules.attention import (
    additive_look,
    additive_look_back,
    as_columns,
    by_column,
    softmax_back,
    softmax_of_real,
)
from minirnn.rules.combinators.asking import Gradients, outline, selective
from minirnn.rules.combinators.form import form_of, named, positional
from minirnn.rules.linear import sum_of_products


def attentive(step):
    """The decoder that looks into a memory after every step, and feeds what it found to the next.

    Parameters
    ----------
    step : step rule
        ``(a, *inputs, *states, *weights)``. Its first input is what ``W_fed`` adds to, its first state what looks: h.

    Returns
    -------
    rule
        ``(a_xs (T, G, B), *sequences, fed_0 (K, B), *states_0, keys (S, A, B), values (S, F, B), mask (S, B) or None,
        W_fed (G, K), W_query (A, H) or None, v (A,) or None, W_out (K, F + H) or None, *weights of the step)``, with
        the static ``scale`` for scores that are dots. It returns ``(feds (T, K, B), hs (T, H, B), weights (T, S, B),
        fed_T, *ends)``.

        With ``v`` scores are additive, else dots. Without ``W_query`` h itself is the query, and A is H. Without
        ``W_out`` contexts are fed as they are, and K is F. The mask is True where a token is real. What is not has the
        weight 0, and any numbers may stand there; inf and nan may not, for 0 times those is nan.

    Examples
    --------
    >>> import numpy as np
    >>> from minirnn import rules
    >>> draw = np.random.default_rng(0).standard_normal
    >>> T, H, B, S, F = 3, 2, 4, 5, 6
    >>> a_xs, fed_0, h_0, keys, values = draw((T, H, B)), draw((H, B)), draw((H, B)), draw((S, H, B)), draw((S, F, B))
    >>> W_fed, W_out, W_hh = draw((H, H)), draw((H, F + H)), draw((H, H))
    >>> decoder = attentive(rules.rnn_step)
    >>> outputs, pullback = decoder(a_xs, fed_0, h_0, keys, values, None, W_fed, None, None, W_out, W_hh)
    >>> [y.shape for y in outputs]
    [(3, 2, 4), (3, 2, 4), (3, 5, 4), (2, 4), (2, 4)]
    """
    cell, step, form, names = kept_by(step), selective(step), form_of(step, "_prev"), positional(step)

    def attended(*arguments, scale=1.0, wanted, **static):
        wanted = [flag and x is not None for flag, x in zip(wanted, arguments, strict=True)]
        (a_xs, *xs), (fed_0,), states, memory, (W_fed, W_query, v, W_out), weights = _parts(form, arguments)
        of_xs, (of_fed_0,), of_states, of_memory, (of_fed, of_query, of_v, of_out), of_weights = _parts(form, wanted)
        check_shapes(a_xs, fed_0, states[0], *memory, W_fed, W_query, v, W_out)
        xp, kernels, saving = xp_of(*arguments), kernels_of(a_xs), any(wanted)
        (T, G, B), (K, _), (H, _), F = a_xs.shape, fed_0.shape, states[0].shape, memory[1].shape[1]
        dtype = joint_dtype(*(x for x in arguments if x is not memory[2]))

        looks = Looks(T, *memory, W_query, v, scale, dtype)
        feds = kernels.empty((T + 1, K, B), dtype)  # feds[t] enters step t, feds[t + 1] leaves it
        reads = kernels.empty((T, H if W_out is None else F + H, B), dtype)  # [c_t; h_t], or h_t alone
        contexts, hs = feds[1:] if W_out is None else reads[:, :F], reads[:, -H:]
        feed, out = kernels.product(W_fed, B), None if W_out is None else kernels.product(W_out, B)
        asked = outline((a_xs, *xs, *states, *weights), (False, *of_xs[1:], *of_states, *of_weights))
        of_step, pullbacks = (saving, *of_xs[1:], *(saving for _ in states), *of_weights), []
        feds[0] = fed_0
        # a device may take all steps in one launch: what is kept of them then is their pullbacks, too
        steps = at_once(cell, a_xs, states, weights, static, looks, reads, feds, W_fed, W_out, saving)
        states, pullbacks = (steps.ends(), steps) if steps else (states, pullbacks)
        for t in range(0 if steps else T):
            a = feed(feds[t], kernels.empty((G, B), dtype))
            a += a_xs[t]  # (1)
            states, pullback = step(a, *(x[t] for x in xs), *states, *weights, wanted=of_step, **static)  # (2)
            states = (states,) if form.states == 1 else states
            if saving:
                pullbacks.append(pullback)
            hs[t] = states[0]
            contexts[t] = looks(t, hs[t])  # (3, 4, 5, 6)
            if W_out is not None:
                xp.tanh(out(reads[t], feds[t + 1]), out=feds[t + 1])  # (7)

        ws = looks.ws.swapaxes(1, 2)
        saved = None
        if saving:
            kept_feds, kept_reads = feds if of_fed or W_out is not None else None, reads if of_query or of_out else None
            saved = looks.seen(of_memory[0]), steps, pullbacks, kept_feds, kept_reads, W_fed, W_out

        def attentive_pullback(dfeds, dhs, dws, dfed, *dstates):
            if saved is None:
                return (None,) * len(wanted)
            seen, steps, pullbacks, feds, reads, W_fed, W_out = saved
            dtype = joint_dtype(seen.ws, dfeds, dhs, dws, dfed, *dstates)
            das, drs = kernels.empty((T, G, B), dtype), kernels.empty((T, K, B), dtype)
            looks_back, gathered = LooksBack(seen, dtype), Gradients(form, asked, xp)
            feed_back, out_back = kernels.product(W_fed.T, B), W_out is not None and kernels.product(W_out.T, B)
            done = back_at_once(steps, looks_back, drs, dfeds, dhs, dws, dfed, dstates, feds, W_fed, W_out)
            if done:
                das, dfed, *gradients = done
                dstates = gathered.put(0, (None, *gradients))
            for t in reversed(range(0 if done else T)):  # the only place where time runs backward
                dc = dfed = dfed + dfeds[t]
                dh = (dstates[0] + dhs[t]).astype(dtype, copy=False)
                if W_out is not None:
                    xp.multiply(dfed, 1 - feds[t + 1] ** 2, out=drs[t])
                    dread = out_back(drs[t], kernels.empty((F + H, B), dtype))
                    dc = dread[:F]
                    dh += dread[F:]  # (7)
                dh += looks_back(t, dc, dws[t])  # (6, 5, 4, 3)
                das[t], *gradients = pullbacks[t](dh, *dstates[1:])
                dstates = gathered.put(t, (None, *gradients))  # (2)
                dfed = feed_back(das[t], kernels.empty((K, B), dtype))  # (1)
            (_, *dxs), dstates, dweights = form.split(gathered.entries(dstates))
            return (
                das if of_xs[0] else None,
                *dxs,
                dfed if of_fed_0 else None,
                *dstates,
                looks_back.dkeys() if of_memory[0] else None,
                looks_back.dvalues() if of_memory[1] else None,
                None,
                sum_of_products(das, feds[:-1]) if of_fed else None,  # (1)
                looks_back.dW_query(reads[:, -H:]) if of_query else None,
                looks_back.dv if of_v else None,
                sum_of_products(drs, reads) if of_out else None,  # (7)
                *dweights,
            )

        # the end is a copy: whoever carries it on would keep all steps in memory with a view
        return (feds[1:], hs, ws, feds[T].copy(), *states), attentive_pullback

    inputs = [f"{name}_xs" for name in names[: form.sequences]]
    states = [name.removesuffix("_prev") + "_0" for name in names[form.sequences : sum(form)]]
    ours = ["fed_0", *states, "keys", "values", "mask", "W_fed", "W_query", "v", "W_out"]
    return named("attentive", attended, [*inputs, *ours, *names[sum(form) :]], step, scale=1.0)


class Seen(NamedTuple):
    """What the way back reads of all looks: columns first."""

    keys: Any  # (B, S, A)
    values: Any  # (B, S, F)
    W_query: Any
    v: Any
    scale: float
    ws: Any  # (T, B, S)
    qs: Any  # (T, B, A), or None if nobody asks


class Looks:
    """The looks of all steps into the memory, one after the other: lines (3) to (6)."""

    def __init__(self, T, keys, values, mask, W_query, v, scale, dtype):
        kernels, (S, A, B) = kernels_of(keys), keys.shape
        self.keys, self.values, self.real = by_column(keys), by_column(values), None if mask is None else mask.T
        self.W_query, self.v, self.scale = W_query, v, float(scale)  # one of NumPy would widen single precision
        self.ws, self.qs = kernels.empty((T, B, S), dtype), kernels.empty((T, B, A), dtype)
        if W_query is not None:
            self.ask, self.asked = kernels.product(W_query, B), kernels.empty((A, B), dtype)
        if v is not None:
            self.z = kernels.empty((B, S, A), dtype)

    def __call__(self, t, h):
        """The context ``(F, B)`` that h_t finds."""
        q, w = self.qs[t], self.ws[t]
        q[...] = (h if self.W_query is None else self.ask(h, self.asked)).T  # (3)
        if self.v is None:
            scores = self.scale * (self.keys @ q[:, :, None])[:, :, 0]
        else:
            scores = additive_look(q, self.keys, self.v, self.z)  # (4)
        w[...] = softmax_of_real(scores, self.real)  # (5)
        return (w[:, None] @ self.values)[:, 0].T  # (6)

    def seen(self, of_keys):
        """What the way back will read; ``of_keys`` says whether the gradient of keys is asked for."""
        qs = self.qs if of_keys or self.v is not None else None
        return Seen(self.keys, self.values, self.W_query, self.v, self.scale, self.ws, qs)


class LooksBack:
    """The same looks from the last to the first, lines (6) to (3), and what all of them together ask for."""

    def __init__(self, seen, dtype):
        kernels, (T, B, S), (A, F) = kernels_of(seen.ws), seen.ws.shape, (seen.keys.shape[2], seen.values.shape[2])
        self.seen, self.dv = seen, None
        self.des, self.dqs, self.dcs = (kernels.empty((T, B, size), dtype) for size in (S, A, F))
        if seen.W_query is not None:
            H = seen.W_query.shape[1]
            self.ask_back, self.dh = kernels.product(seen.W_query.T, B), kernels.empty((H, B), dtype)
        if seen.v is not None:
            zeros = xp_of(seen.v).zeros
            self.u, self.us, self.dv = kernels.empty((B, S, A), dtype), zeros((B, S, A), dtype), zeros(A, dtype)

    def __call__(self, t, dc, dw):
        """What h_t is asked for by its context's cotangent ``dc (F, B)`` and its weights' ``dw (S, B)``: ``(H, B)``."""
        seen, de, dq = self.seen, self.des[t], self.dqs[t]
        self.dcs[t] = dc.T
        dw = (seen.values @ self.dcs[t][:, :, None])[:, :, 0] + dw.T  # (6)
        de[...] = softmax_back(seen.ws[t], dw)  # (5)
        if seen.v is None:
            dq[...] = seen.scale * (de[:, None] @ seen.keys)[:, 0]
        else:
            self.dv += additive_look_back(de, seen.qs[t], seen.keys, self.u)
            self.us += self.u
            dq[...] = self.u.sum(axis=1) * seen.v  # (4)
        return dq.T if seen.W_query is None else self.ask_back(dq.T, self.dh)  # (3)

    def dkeys(self):
        if self.seen.v is not None:
            return as_columns(self.us * self.seen.v)
        return as_columns(self.seen.scale * (self.des.transpose(1, 2, 0) @ self.seen.qs.swapaxes(0, 1)))  # (4)

    def dvalues(self):
        return as_columns(self.seen.ws.transpose(1, 2, 0) @ self.dcs.swapaxes(0, 1))  # (6)

    def dW_query(self, hs):
        return sum_of_products(self.dqs.swapaxes(1, 2), hs)  # (3)


def _parts(form, arguments):
    """Arguments, or a flag for each, as sequences, fed_0, states, memory, the four weights of attention, the step's."""
    rest = iter(arguments)
    return *(tuple(islice(rest, n)) for n in (form.sequences, 1, form.states, 3, 4)), tuple(rest)


def check_shapes(a_xs, fed_0, h_0, keys, values, mask, W_fed, W_query, v, W_out):
    """Refuses arrays that do not fit together, and names each of them: h_0 says what H and B are."""
    ranks = (("a_xs (T, G, B)", a_xs), ("fed_0 (K, B)", fed_0), ("h_0 (H, B)", h_0), ("keys (S, A, B)", keys))
    for name, x in (*ranks, ("values (S, F, B)", values)):
        if x.ndim != 1 + name.count(","):
            raise ValueError(f"a decoder that attends needs {name}, got shape {x.shape}")
    (T, G, _), (K, _), (H, B), (S, A, _), F = a_xs.shape, fed_0.shape, h_0.shape, keys.shape, values.shape[1]
    S, a, k = max(1, S), "A", "K"
    if W_query is None:
        A, a = H, "H"
    if W_out is None:
        K, k = F, "F"
    needed = (
        ("a_xs (T, G, B)", a_xs, (T, G, B)),
        (f"fed_0 ({k}, B)", fed_0, (K, B)),
        (f"keys (S, {a}, B)", keys, (S, A, B)),
        ("values (S, F, B)", values, (S, F, B)),
        ("mask (S, B)", mask, (S, B)),
        (f"W_fed (G, {k})", W_fed, (G, K)),
        ("W_query (A, H)", W_query, (A, H)),
        (f"v ({a},)", v, (A,)),
        ("W_out (K, F + H)", W_out, (K, F + H)),
    )
    wrong = [f"{name} = {shape}, got {x.shape}" for name, x, shape in needed if x is not None and x.shape != shape]
    if wrong:
        raise ValueError(f"a decoder that attends with h (H, B) = {h_0.shape} needs {'; '.join(wrong)}")
