# %% [markdown]
# # Why gradients vanish and explode
#
# On its way back through time the gradient of a plain recurrent network meets the same matrix at every step: if `dh` is
# asked of the state after a step, `W_hh.T (slope * dh)` is asked of the state before it. A product of many such factors
# goes to zero or to infinity with their number. Which of the two? The textbooks answer with the spectral radius of
# `W_hh`, the size of its largest eigenvalue: below one the gradient vanishes, above one it explodes.
#
# **You will see** that the first half is true of what we look at, and the second is not. Asked at the last of 60 steps,
# a tanh network of radius 0.5 has a gradient of 7e-21 at the first, one of radius 0.9 has 3e-7. With radius 1.1 it
# still vanishes, to 0.002, because the slopes of tanh are below one and each step loses what the matrix gave. At 1.5 it
# grows.

# %%
import os

import numpy as np

from minirnn import lens
from minirnn.rules import rnn

RADII = (0.5, 0.9, 1.1, 1.5)
recordings = {radius: lens.specimen("rnn", radius=radius, hidden=32, seq_len=60) for radius in RADII}
flows = {radius: lens.flow(recording) for radius, recording in recordings.items()}
arrived = {}
print("radius   at step 59    40        20         0    in one step")
for radius, flow in flows.items():
    norms = flow.places["l0"].norms["h"]
    arrived[radius] = norms[0] / norms[59]
    row = "  ".join(f"{norms[t]:8.1e}" for t in (59, 40, 20, 0))
    print(f"{radius:6.1f}   {row}      times {arrived[radius] ** (1 / 59):.2f}")

# %% [markdown]
# `lens.specimen` makes such a cell, runs it there and back, and keeps all that passes; `lens.flow` reads the size of
# the gradient off at every step. It prints what it found:

# %%
print(flows[0.9])

# %% [markdown]
# Two lines go with it. One is a *bound* that holds for every input: no slope of tanh exceeds one, so one step cannot
# stretch a gradient by more than sigma, the largest singular value of `W_hh`, which is never below the radius. If sigma
# is below one, the gradient must vanish. The other is the *pace*: what the radius alone would do in the long run if all
# slopes were one. **You will see** every gradient below its bound, and here also below its pace, for the slopes are
# below one.

# %%
paces = {radius: flow.places["l0"].pace[0] for radius, flow in flows.items()}
bounds = {radius: flow.places["l0"].bound[0] for radius, flow in flows.items()}
sigmas = {radius: flow.places["l0"].sigma["a"] for radius, flow in flows.items()}
print("radius   sigma   gradient at step 0   pace       bound")
for radius in RADII:
    norm = flows[radius].places["l0"].norms["h"][0]
    print(f"{radius:6.1f}  {sigmas[radius]:6.2f}   {norm:18.1e}   {paces[radius]:.1e}   {bounds[radius]:.1e}")

# %% [markdown]
# So the slopes decide as much as the matrix. Take them away: without any input the state stays at zero, where the slope
# of tanh is one, and now the textbook is right. An orthogonal matrix only turns, for all its singular values are one,
# and keeps the gradient at its size for good; 0.9 and 1.1 times that matrix lose and gain exactly their factor at every
# step.

# %%
turning, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))
question = np.ones((32, 1)) / np.sqrt(32)  # of length one
straight = {}
for radius in (0.9, 1.0, 1.1):
    (hs, _), pullback = rnn(np.zeros((60, 32, 1)), np.zeros((32, 1)), radius * turning)
    _, dh_0, _ = pullback(np.zeros_like(hs), question)
    straight[radius] = np.linalg.norm(dh_0)
    print(f"radius {radius}: {straight[radius]:10.4g} after 60 steps, {radius}**60 is {radius**60:10.4g}")

# %% [markdown]
# What vanishes is the gradient of a long way. The gradient of the weights does not: it is the sum over all steps, and
# the last ones always give their part. So such a network learns, and only what lies far back it does not learn.
# `lens.lags` takes the sum apart. **You will see** that with radius 0.9 a fifth of it comes from the last step alone,
# and all but a hundredth from the last ten. (Shares may pass 100 %: parts further back can point the other way.)

# %%
shares = lens.lags(recordings[0.9]).places["l0"]["W_hh"].by_lag()[59:]  # by lag 0, 1, 2, ..., 59
for lag in (1, 5, 10, 20):
    print(f"the last {lag:2d} steps give {shares[:lag].sum():7.2%} of the gradient of W_hh")

# %% [markdown]
# `lens.plot(list(flows.values()))` draws it all; started with the name of a folder in `MINIRNN_PICTURES`, this lesson
# saves the picture there.

# %%
if pictures := os.environ.get("MINIRNN_PICTURES"):
    lens.plot(list(flows.values()), f"{pictures}/06_flows.png")

# %% [markdown]
# **To try.** Give the matrix that turns an input: `np.ones` in place of `np.zeros` for the first argument of `rnn`.
# Now even 1.1 times the matrix lets the gradient vanish. Which factor of a step has changed?
