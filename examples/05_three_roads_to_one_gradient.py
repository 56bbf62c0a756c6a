# %% [markdown]
# # Three roads to one gradient, and a road to another
#
# Backpropagation through time asks backwards: what does the loss want of this state? Real-time recurrent learning asks
# forwards: what have the weights done to this state? And a numeric derivative only tries. All three must agree.
# Truncated BPTT does not agree with them, and yet it can be checked: it is the exact gradient of another function.

# %%
import numpy as np

from minirnn import rules
from minirnn.checking import check_rule
from minirnn.rules.combinators import checkpoint, truncate, truncate_randomly
from minirnn.rules.rtrl import influences

T, H, B = 12, 4, 3
rng = np.random.default_rng(0)
a_xs, h_0 = rng.standard_normal((T, 3 * H, B)), rng.standard_normal((H, B))
W_hh, b_hn = rng.standard_normal((3 * H, H)) / np.sqrt(H), rng.standard_normal(H)
dhs, dh_T = rng.standard_normal((T, H, B)), np.zeros((H, B))  # what the loss asks of every hidden state


def difference(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


(hs, h_T), pullback = rules.gru(a_xs, h_0, W_hh, b_hn)
_, dh_0, dW_hh, db_hn = pullback(dhs, dh_T)

# %% [markdown]
# The first two roads. RTRL learns while it goes: after step t the gradient of everything up to step t is there, and
# nothing of the past is kept but one array, the influence of the weights on the state of now. It pays with that array's
# size, a hidden state for every weight.

# %%
online = np.zeros_like(W_hh)
for dh_t, (_, by) in zip(dhs, influences(rules.gru, a_xs, h_0, W_hh, b_hn, of=["W_hh"]), strict=True):
    online += np.tensordot(by["W_hh"][0], dh_t, 2)
print(f"RTRL against BPTT, gradient of W_hh: {difference(online, dW_hh):.1e}")
assert difference(online, dW_hh) < 1e-12
print(f"numbers against BPTT:                {check_rule(rules.gru, (a_xs, h_0, W_hh, b_hn)).max_error:.1e}")

# %% [markdown]
# Truncation is a function from rules to rules: no loop is written again. The gradient leaves no window of three steps,
# so it is not that of the loss. It is that of the function in which the state entering each window is a constant; below
# that function is differentiated by numbers, one entry of W_hh at a time.

# %%
window = 3
_, truncated_pullback = truncate(rules.gru, window)(a_xs, h_0, W_hh, b_hn)
truncated = truncated_pullback(dhs, dh_T)[2]
entering = [h_0, *hs[window - 1 :: window]]  # computed once, and constants from now on


def loss_with_frozen_states(W):
    starts = range(0, T, window)
    runs = [rules.gru(a_xs[t : t + window], entering[t // window], W, b_hn)[0][0] for t in starts]
    return sum((dhs[t : t + window] * run).sum() for t, run in zip(starts, runs, strict=True))


numeric = np.zeros_like(W_hh)
for place in np.ndindex(*W_hh.shape):
    W = W_hh.astype(complex)
    W[place] += 1e-100j  # a complex step: no subtraction, no rounding
    numeric[place] = loss_with_frozen_states(W).imag / 1e-100
print(f"\ntruncated BPTT against numbers with frozen states: {difference(truncated, numeric):.1e}")
print(f"truncated BPTT against the whole gradient:         {difference(truncated, dW_hh):.1e}")
assert difference(truncated, numeric) < 1e-12 < difference(truncated, dW_hh)

# %% [markdown]
# Cut at random, and grown where it is not cut, the gradient is right on average; checkpointed, it is right always, from
# the states at window starts alone, for one more forward pass.

# %%
randomly = truncate_randomly(rules.gru, window, probability=0.5, seed=1)
cuts = [randomly(a_xs, h_0, W_hh, b_hn, step=step)[1](dhs, dh_T)[2] for step in range(2000)]
print(f"\nrandom truncation, mean of 2,000:  {difference(np.mean(cuts, axis=0), dW_hh):.1e}")
assert difference(np.mean(cuts, axis=0), dW_hh) < 0.5 * difference(truncated, dW_hh)

_, checkpoint_pullback = checkpoint(rules.gru, 4)(a_xs, h_0, W_hh, b_hn)
print(f"checkpoints every four steps:      {difference(checkpoint_pullback(dhs, dh_T)[2], dW_hh):.1e}")
assert difference(checkpoint_pullback(dhs, dh_T)[2], dW_hh) < 1e-12
