"""All steps of a decoder with attention in one launch, where a device can: what is kept of them, and the way back.

The loops of ``combinators/attending.py`` call a step rule and its pullback. A kernel cannot call a rule: it contains
the equations of one cell. So the cells for which there are kernels stand here, with the arrays that these take. Where
the way back cannot be one launch, it takes the steps one at a time, with what the kernel has kept of each.
"""

from __future__ import annotations

from functools import partial

from minirnn.arrays import xp_of
from minirnn.kernels import kernels_of
from minirnn.rules.gru import gru_step, gru_step_back, weights_after
from minirnn.rules.linear import sum_of_columns, sum_of_products
from minirnn.rules.lstm import lstm_step, lstm_step_back
from minirnn.rules.rnn import rnn_step, rnn_step_back


class LstmSteps:
    """What an LSTM keeps, all gates and cell states; item t is the pullback of step t."""

    step, name = lstm_step, "lstm"

    def __init__(self, T, states, weights, hs, saving):
        kernels, (self.h_0, c_0), (self.W_hh, *_), self.hs = kernels_of(hs), states, weights, hs
        H, B = c_0.shape
        self.gates = kernels.empty((T, 4 * H, B), hs.dtype) if saving else None
        self.cs = kernels.empty((T + 1 if saving else 1, H, B), hs.dtype)
        self.cs[0] = c_0

    @staticmethod
    def takes(weights, static):
        return not static and all(more is None for more in weights[1:])

    def there(self):
        return {"cs": self.cs, "gates": self.gates}

    def ends(self):
        return self.hs[-1].copy(), self.cs[-1].copy()

    def __getitem__(self, t):
        h_prev = self.hs[t - 1] if t else self.h_0
        return partial(lstm_step_back, self.gates[t], h_prev, self.cs[t], self.cs[t + 1], self.W_hh, None, None)

    def back(self, launch, dh, dc):
        """What ``launch(da, dh, **own)`` makes of all steps: das, and what is asked of states and weights."""
        da = kernels_of(dh).empty(self.gates.shape, dh.dtype)
        if not launch(da, dh, gates=self.gates, states=self.cs, dc=dc):
            return None
        return da, dh, dc, sum_of_products(da, states_of(self.h_0, self.hs)[:-1]), None, None


class GruSteps:
    """What a GRU with ``reset_after`` keeps, all gates and states; item t is the pullback of step t."""

    step, name = gru_step, "gru"

    def __init__(self, T, states, weights, hs, saving):
        (self.h_0,), (self.W_hh, self.b_hn), self.hs = states, (*weights, None)[:2], hs
        H, B = self.h_0.shape
        self.gates = kernels_of(hs).empty((T, 4 * H, B), hs.dtype) if saving else None

    @staticmethod
    def takes(weights, static):
        return static in ({}, {"reset_after": True})

    def there(self):
        return {"b_hn": self.b_hn, "gates": self.gates}

    def ends(self):
        return (self.hs[-1].copy(),)

    def __getitem__(self, t):
        h_prev, has_bias = self.hs[t - 1] if t else self.h_0, self.b_hn is not None
        return partial(gru_step_back, self.gates[t], h_prev, self.W_hh, has_bias, True)

    def back(self, launch, dh):
        states, dgates = states_of(self.h_0, self.hs), kernels_of(dh).empty(self.gates.shape, dh.dtype)
        if not launch(dgates, dh, gates=self.gates, states=states):
            return None
        H, db_hn = len(dh), None
        if self.b_hn is not None:
            db_hn = sum_of_columns(dgates[:, :H])
        return dgates[:, H:], dh, weights_after(self.gates, states[:-1], dgates), db_hn


class RnnSteps:
    """What a tanh RNN keeps, all states; item t is the pullback of step t."""

    step, name = rnn_step, "rnn"

    def __init__(self, T, states, weights, hs, saving):
        (self.h_0,), (self.W_hh,), self.hs = states, weights, hs

    @staticmethod
    def takes(weights, static):
        return static in ({}, {"nonlinearity": "tanh"})

    def there(self):
        return {}

    def ends(self):
        return (self.hs[-1].copy(),)

    def __getitem__(self, t):
        return partial(rnn_step_back, self.hs[t], self.hs[t - 1] if t else self.h_0, self.W_hh, "tanh")

    def back(self, launch, dh):
        states, da = states_of(self.h_0, self.hs), kernels_of(dh).empty(self.hs.shape, dh.dtype)
        if not launch(da, dh, states=states):
            return None
        return da, dh, sum_of_products(da, states[:-1])


def states_of(h_0, hs):
    """The state before the first step and those after each step, ``(T + 1, H, B)``."""
    return xp_of(hs).concatenate([h_0[None], hs])


def kept_by(step):
    """The class for the cell with this step rule, if there are kernels with its equations, else None."""
    return next((cell for cell in (LstmSteps, GruSteps, RnnSteps) if cell.step is step), None)


def at_once(cell, a_xs, states, weights, static, looks, reads, feds, W_fed, W_out, saving):
    """Takes all steps of a decoder in one launch, fills ``looks, reads, feds``, and returns what the cell kept of them.

    None if that was not asked for, or if no kernel does it.
    """
    if cell is None or not cell.takes(weights, static):
        return None
    kernels, (B, S, F), H, K = kernels_of(a_xs), looks.values.shape, len(states[0]), len(feds[0])
    T, _, A = looks.qs.shape
    matrices, arrays = (looks.W_query, W_out), (feds[0], states[0], looks.keys, looks.values, W_fed, weights[0], a_xs)
    if not kernels.asked_for_whole(reads, feds, looks.v, *matrices, *arrays, *states, *weights):
        return None
    steps = cell(T, states, weights, reads[:, -H:], saving)
    done = kernels.attending_in_one_launch(
        cell.name,
        (reads, feds[1:], looks.qs),
        *matrices,
        *(looks.v, looks.ws, looks.real),
        *arrays,
        scale=looks.scale if looks.v is None else 1.0,
        sizes=(T, H, K, F, A, S, B),
        **steps.there(),
    )
    return steps if done else None


def back_at_once(steps, looks_back, drs, dfeds, dhs, dws, dfed, dstates, feds, W_fed, W_out):
    """The way back over all steps in one launch: das, dfed_0, and what is asked of states and weights.

    It fills in ``looks_back`` and ``drs``. None if no kernel does it.
    """
    if steps is None:
        return None
    seen, dtype, (T, H, B), (K, _) = looks_back.seen, drs.dtype, dhs.shape, dfed.shape
    xp, kernels, (_, S, A), F = xp_of(drs), kernels_of(drs), seen.keys.shape, seen.values.shape[2]
    dfed, dh, *more = (x.astype(dtype, order="C") for x in (dfed, *dstates))  # of our own, to write to
    of_out = (drs, feds[1:]) if W_out is not None else (None, None)
    of_sums = (looks_back.us, xp.zeros((B, A), dtype)) if seen.v is not None else (None, None)
    dqs = kernels.empty((T, A, B), dtype)

    def launch(da, dh, **own):
        matrices, memory = (seen.W_query, W_out), (seen.qs, seen.ws, seen.keys, seen.values)
        of_loss = dfeds, dhs, dws
        given = seen.v, looks_back.des, *of_sums, *of_loss, of_out[1], *memory, W_fed, steps.W_hh, dfed, dh
        return kernels.asked_for_whole(da, *given, *own.values()) and kernels.attending_in_one_launch(
            steps.name,
            (da, of_out[0], looks_back.dcs, dqs),
            *matrices,
            *given,
            scale=seen.scale,
            sizes=(T, H, K, F, A, S, B),
            back=True,
            **own,
        )

    found = steps.back(launch, dh, *more)
    if found is None:
        return None
    looks_back.dqs = dqs.swapaxes(1, 2)
    if seen.v is not None:
        looks_back.dv = of_sums[1].sum(axis=0)
    return found[0], dfed, *found[1:]
