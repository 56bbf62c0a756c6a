# %% [markdown]
# # Truncated BPTT: the exact gradient of another function
#
# A stream has no end, so BPTT cannot wait for it. Truncated BPTT cuts the sequence into windows: states go on from one
# window to the next, gradients do not.
#
# What is lost? `W_hh` is used at every step s, and the loss looks at every step t, so its gradient is a sum over pairs:
# what loss t taught through step s, for all s up to t. BPTT adds up all of them, truncated BPTT only those pairs that
# lie in one window. The others are missing every time, so no average over many batches brings them back: the gradient
# is *biased* towards what lies near. It is often called inexact, and never checked, for what should it agree with?
#
# **You will see** that it can be checked to twelve digits: it is the exact gradient of the function in which the state
# that enters each window is a constant. How far that lies from the gradient of the loss depends on how far back the
# network remembers. Cut into windows of ten steps, the gradient of a network that forgets keeps its direction, with a
# cosine above 0.99, and that of one that remembers does not: below 0.2.

# %%
import os

import numpy as np

from minirnn import lens, rules
from minirnn.rules.combinators import truncate, truncate_randomly

T, H, B, window = 12, 4, 3, 3
rng = np.random.default_rng(0)
a_xs, h_0 = rng.standard_normal((T, 3 * H, B)), rng.standard_normal((H, B))
W_hh, b_hn = rng.standard_normal((3 * H, H)) / np.sqrt(H), rng.standard_normal(H)
dhs, dh_T = rng.standard_normal((T, H, B)), np.zeros((H, B))  # what the loss asks of every hidden state


def difference(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


(hs, _), pullback = rules.gru(a_xs, h_0, W_hh, b_hn)
whole = pullback(dhs, dh_T)[2]

# %% [markdown]
# Truncation is a function from rules to rules: no loop is written again. For the numbers we write the other function
# down: each window is run by itself from the state that entered it, which has been computed once, and stays.

# %%
_, truncated_pullback = truncate(rules.gru, window)(a_xs, h_0, W_hh, b_hn)
truncated = truncated_pullback(dhs, dh_T)[2]
entering = [h_0, *hs[window - 1 :: window]]  # constants from now on


def loss_with_frozen_states(W):
    starts = range(0, T, window)
    runs = [rules.gru(a_xs[t : t + window], entering[t // window], W, b_hn)[0][0] for t in starts]
    return sum((dhs[t : t + window] * run).sum() for t, run in zip(starts, runs, strict=True))


numeric = np.zeros_like(W_hh)
for place in np.ndindex(*W_hh.shape):
    W = W_hh.astype(complex)
    W[place] += 1e-100j  # a complex step: no subtraction, no rounding
    numeric[place] = loss_with_frozen_states(W).imag / 1e-100

to_frozen, to_whole = difference(truncated, numeric), difference(truncated, whole)
print(f"truncated BPTT against numbers with frozen states: {to_frozen:.1e}")
print(f"truncated BPTT against the whole gradient:         {to_whole:.1e}")

# %% [markdown]
# The bias can be taken away. Cut at random places, and enlarged where it is not cut, the gradient is right on average:
# a pair across one border is cut half of the time, and counts double otherwise. The price is variance. **You will see**
# the mean of 500 come ten times as near to the whole gradient as fixed windows do, and it would come nearer with more.

# %%
randomly = truncate_randomly(rules.gru, window, probability=0.5, seed=1)
cuts = [randomly(a_xs, h_0, W_hh, b_hn, step=step)[1](dhs, dh_T)[2] for step in range(500)]
to_mean = difference(np.mean(cuts, axis=0), whole)
print(f"random truncation, mean of 500:                    {to_mean:.1e}")

# %% [markdown]
# How much is lost? `lens.truncation` runs a recorded model in windows of several lengths, and lays each gradient beside
# the whole one. Two networks, 100 steps each, asked at the last: a plain one of radius 0.9, and an LSTM whose forget
# gates stand at 0.99.

# %%
forgets = lens.truncation(lens.specimen("rnn", radius=0.9), windows=[1, 2, 5, 10, 20, 50, 100])
remembers = lens.truncation(lens.specimen("lstm", radius=0.9, forget_bias=5.0), windows=[1, 2, 5, 10, 20, 50, 100])
print(forgets)
print(remembers)

# %% [markdown]
# So a window shorter than the memory teaches something else, and a longer one costs time and gains nothing.
# `lens.lags` says how far back a model of your own is being taught. Layers take the window as
# `through_time=lambda rule: truncate(rule, window=20)`; lesson 11 truncates as most programs do, by `detach`.

# %%
if pictures := os.environ.get("MINIRNN_PICTURES"):
    lens.plot(remembers, f"{pictures}/09_truncation.png")

# %% [markdown]
# **To try.** A window as long as the sequence, `window = 12`, leaves no difference to the whole gradient: see it. Then
# let `remembers` remember less: with `forget_bias` 1, 3 and 4, which window is the first to bring the cosine above
# 0.9? Compare it with the 1 / (1 - sigmoid(bias)) steps of lesson 8: 4, 21 and 56.
