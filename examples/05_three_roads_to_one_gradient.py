# %% [markdown]
# # Three roads to one gradient
#
# Backpropagation through time asks backward: what does the loss ask of this state? Real-time recurrent learning asks
# forward: what have the weights done to this state? And a numeric derivative moves a number and looks.
#
# **You will see** all three agree to twelve digits, and what two of them have to keep in memory on their way: BPTT more
# with every step, RTRL the same at every step, but a whole state for each weight.

# %%
import numpy as np

from minirnn import rules
from minirnn.checking import check_rule
from minirnn.rules.combinators import checkpoint
from minirnn.rules.rtrl import influences
from minirnn.testing import saved_bytes

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
# The second road. RTRL learns as it goes: after step t the gradient of everything up to step t is there, and nothing of
# the past is kept but one array, the influence of the weights on the present state. The price is the size of that
# array, a hidden state for every weight.

# %%
online = np.zeros_like(W_hh)
for dh_t, (_, by) in zip(dhs, influences(rules.gru, a_xs, h_0, W_hh, b_hn, of=["W_hh"]), strict=True):
    (influence,) = by["W_hh"]  # d h_t / d W_hh: a state (H, B) for each weight, (3H, H, H, B)
    online += np.tensordot(influence, dh_t, 2)
rtrl_error = difference(online, dW_hh)
numeric_error = check_rule(rules.gru, (a_xs, h_0, W_hh, b_hn)).max_error
print(f"RTRL against BPTT, gradient of W_hh: {rtrl_error:.1e}")
print(f"numbers against BPTT:                {numeric_error:.1e}")
print(f"RTRL keeps {influence.size} numbers: a state, H = {H}, for each of {W_hh.size} weights and {B} columns")

# %% [markdown]
# BPTT needs the states of all steps again on its way back, so it keeps twenty times as much of 240 steps as of twelve.
# If there is no room for that, keep one state in sixteen, and run each stretch of sixteen steps again when it is needed
# (*checkpointing*). **You will see** the same gradient for one more forward pass, and less than a tenth of the memory.


# %%
def kept(rule, T):
    """Bytes that the pullback keeps of T steps, beside the inputs, which are there anyway."""
    a_xs = rng.standard_normal((T, 3 * H, B))
    return saved_bytes(rule(a_xs, h_0, W_hh, b_hn)[1]) - a_xs.nbytes


_, checkpoint_pullback = checkpoint(rules.gru, 4)(a_xs, h_0, W_hh, b_hn)
checkpoint_error = difference(checkpoint_pullback(dhs, dh_T)[2], dW_hh)
memory = {"12 steps": kept(rules.gru, 12), "240 steps": kept(rules.gru, 240)}
memory["240 steps, checkpoints"] = kept(checkpoint(rules.gru, 16), 240)
print(f"checkpoints against BPTT: {checkpoint_error:.1e}")
for what, size in memory.items():
    print(f"BPTT keeps of {what:23s}{size:7,d} bytes")

# %% [markdown]
# **To try.** Let `H` be 8. What BPTT keeps of 240 steps doubles; by how much do the numbers of RTRL grow, and why?
