# %% [markdown]
# # What LSTM and GRU change
#
# A plain network sends its gradient through a matrix at every step. LSTM and GRU have a second way beside it, through a
# gate. In an LSTM, `c_t = f * c_prev + i * g`, so what is asked of the cell goes back multiplied by `f`; in a GRU,
# `h_t = (1 - z) * n + z * h_prev`, and it goes back multiplied by `z`. There is no matrix in this way, and no slope: an
# open gate, near one, lets the gradient pass.
#
# **You will see** that it is no more than that. With random weights, gates stand half open, and gradients of LSTM and
# GRU vanish even faster than those of a plain network of the same radius. With a bias that opens the forget gate of the
# LSTM, the gradient never falls below a hundredth of what was asked in a hundred steps, where a plain network is left
# with 3e-12 of it. And the bias alone decides what is learned: with it, LSTM and GRU tell after 50 steps what they have
# seen at the first, and without it they guess, like the plain network.

# %%
import os

import numpy as np

import minirnn as mr
from minirnn import lens, nn

# %% [markdown]
# What the gates cost is easy to count. For each gate there is one more block of weights: an LSTM has four times those
# of an RNN of the same size, a GRU three times, a quarter less than the LSTM.

# %%
sizes = {cell.__name__: sum(p.array.size for p in cell(8, 32).parameters()) for cell in (nn.RNN, nn.LSTM, nn.GRU)}
print(sizes)

# %% [markdown]
# Now the way back: 100 steps, radius 0.9 in every block, asked at the end. `forget_bias` is the bias of the LSTM's `f`;
# a bias of 5 makes it sigmoid(5) = 0.993 before anything is learned.

# %%
specimens = {
    "RNN": lens.specimen("rnn", radius=0.9),
    "GRU": lens.specimen("gru", radius=0.9),
    **{
        f"LSTM, forget bias {bias}": lens.specimen("lstm", radius=0.9, forget_bias=float(bias)) for bias in (0, 1, 3, 5)
    },
}
flows = {name: lens.flow(recording) for name, recording in specimens.items()}
arrived, kept = {}, {}
print("cell                   gradient at step 0   in one step   forget gate, update gate: mean")
for name, recording in specimens.items():
    norms = flows[name].places["l0"].norms["h"]
    gates = lens.gates(recording).places["l0"]
    arrived[name] = norms[0]  # what was asked at step 99 has length one
    kept[name] = next((gates[gate].mean.mean() for gate in ("f", "z") if gate in gates), None)
    row = f"{norms[0]:18.1e}   times {norms[0] ** (1 / 99):.3f}"
    print(f"{name:21s}{row}", "" if kept[name] is None else f"   {kept[name]:.2f}")

# %% [markdown]
# The factor of one step grows with the mean of the gate, and comes near it where the gate is open. (`z` keeps the old
# state, as in Cho et al. 2014 and in PyTorch; many texts write `1 - z` for it.)
#
# Does a network learn what the gradient tells it? A sequence begins with one of two signs, then come 50 steps of noise,
# and the last state must say which sign it was. Chance is one half.

# %%
LAG, H, B, STEPS = 50, 16, 32, 150


def opened(gru, bias):
    """The GRU with this bias at its update gate, in the second of its three blocks of rows."""
    weights = gru.state_dict()
    weights["bias_ih_l0"][H : 2 * H] = bias
    gru.load_state_dict(weights)
    return gru


def learn(layer):
    """Trains the layer to recall; the share of right answers over the last twenty batches, none of them seen before."""
    rng = np.random.default_rng(0)
    readout = nn.Linear(H, 2, seed=2)
    parameters = [*layer.parameters(), *readout.parameters()]
    optimizer, right = mr.Adam(parameters, lr=1e-2), []
    for _ in range(STEPS):
        signs = rng.integers(0, 2, B)
        xs = rng.standard_normal((LAG + 1, B, 4))
        xs[:, :, :2] = 0
        xs[0, np.arange(B), signs] = 1
        out, _ = layer(xs.astype("float32"))
        scores = readout(out[-1])
        right.append(np.mean(scores.numpy().argmax(axis=1) == signs))
        optimizer.zero_grad()
        mr.ops.cross_entropy(scores, signs).backward()
        mr.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return float(np.mean(right[-20:]))


recalled = {
    "RNN": learn(nn.RNN(4, H, seed=1)),
    "GRU": learn(nn.GRU(4, H, seed=1)),
    "GRU, update bias 5": learn(opened(nn.GRU(4, H, seed=1), 5.0)),
    "LSTM": learn(nn.LSTM(4, H, seed=1)),
    "LSTM, forget bias 5": learn(nn.LSTM(4, H, seed=1, forget_bias=5.0)),
}
print(f"the sign of {LAG} steps ago, after {STEPS} batches:")
for name, share in recalled.items():
    print(f"  {name:20s} {share:7.1%} right")

# %% [markdown]
# The lesson: a gate is a place where a network *can* keep things. Whether a gradient gets there to teach it depends on
# where the gate stands at the beginning: with a bias of 5 it keeps things for about 1 / (1 - sigmoid(5)), 150 steps.
# Know your lag, and open the gate that far. This is necessary, but not always enough: the gradient arrives, but what it
# asks for may have drowned in all the noise that has come in since.

# %%
if pictures := os.environ.get("MINIRNN_PICTURES"):
    shown = [flows[name] for name in ("RNN", "GRU", "LSTM, forget bias 5")]
    lens.plot(shown, f"{pictures}/08_flows.png", title="On the way back through 100 steps (LSTM: forget bias 5)")

# %% [markdown]
# **To try.** How far must the gate be open for a lag of 50? Let `learn` tell for an LSTM with `forget_bias` 1, 2, 3 and
# 4. Then make the lag 100, and the bias 5: is that learned in 150 batches? If not, is it the gradient or the noise?
# Make the noise less, `0.3 * rng.standard_normal(...)`.
