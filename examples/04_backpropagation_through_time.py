# %% [markdown]
# # Backpropagation through time, watched
#
# An LSTM over a sequence is one rule. Its value is every hidden state; its pullback is a loop that runs backward over
# the steps. Read `minirnn/rules/lstm.py` beside this: the numbers here come from those lines.
#
# **You will see** how little of what is asked at the last of thirty steps arrives at the first: less than a
# ten-millionth. And the explicit loop agrees to twelve digits with the tape, where every operation of every step is
# recorded by itself, and with numbers.

# %%
import numpy as np

import minirnn as mr
from minirnn import rules

T, H, B = 30, 8, 4
rng = np.random.default_rng(0)
a_xs = rng.standard_normal((T, 4 * H, B))  # W_ih x_t + b for every step: not recurrent, so computed beforehand
h_0, c_0 = rng.standard_normal((2, H, B))
W_hh = rng.standard_normal((4 * H, H)) / np.sqrt(H)

(hs, h_T, c_T), pullback = rules.lstm(a_xs, h_0, c_0, W_hh)
print("forward: hs", hs.shape, "h_T", h_T.shape, "c_T", c_T.shape)

# %% [markdown]
# Let the loss ask something of the last hidden state only, `dh_T`, and see how much of it reaches each earlier step.
# `da_xs[t]` is the gradient at the pre-activations of step t: what the loss at the end tells the gates at time t.

# %%
dh_T = rng.standard_normal((H, B))
da_xs, dh_0, dc_0, dW_hh, *_ = pullback(np.zeros_like(hs), dh_T, np.zeros_like(c_T))
sizes = np.linalg.norm(da_xs, axis=(1, 2))
for t in (29, 25, 20, 10, 0):
    print(f"step {t:2d}  gradient at the gates {sizes[t]:9.2e}  {'#' * max(1, int(40 + 4 * np.log10(sizes[t])))}")

# %% [markdown]
# The same LSTM, with every operation recorded by itself, must give the same gradients. It is slower, for it makes
# thirteen nodes per step where the rule makes one for the whole sequence, but it shares no backward loop with the rule.

# %%
inputs = [mr.Tensor(array, requires_grad=True) for array in (a_xs, h_0, c_0, W_hh)]
a, h, c, W = inputs
for t in range(T):
    i, f, g, o = mr.ops.split(a[t] + W @ h, sections=4, axis=0)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
h.backward(dh_T)
errors = {}
for name, tensor, explicit in zip(("a_xs", "h_0", "c_0", "W_hh"), inputs, (da_xs, dh_0, dc_0, dW_hh), strict=True):
    errors[name] = np.abs(tensor.grad - explicit).max() / np.abs(explicit).max()
    print(f"d{name:5s} unrolled on the tape against explicit BPTT: relative error {errors[name]:.1e}")

# %% [markdown]
# Neither is to be believed before it agrees with numbers.

# %%
report = mr.gradcheck(rules.lstm, (a_xs[:5], h_0, c_0, W_hh))
print(report)

# %% [markdown]
# **To try.** Open the forget gates: once `a_xs` is drawn, add 3 to the rows of f, `a_xs[:, H : 2 * H] += 3`. Then the
# first step receives more than a quarter of what the last one does. Lesson 8 says why.
