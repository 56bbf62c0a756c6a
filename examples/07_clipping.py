# %% [markdown]
# # Clipping, and what it does to a gradient
#
# A network whose gradients can explode has cliffs in its loss. At the edge of a cliff the gradient is huge, so a single
# step there is huge, too, and throws away what all steps before have learned. Clipping makes that step short: by *norm*
# it scales the whole gradient down to a given length, by *value* it cuts every entry by itself (Pascanu et al. 2013).
#
# **You will see** a network that falls off such a cliff with its very first step when nothing is clipped, from a loss
# of 0.23 to one above ten thousand. Clipped by norm its loss stays below one, with the same weights, data and learning
# rate. And the ledger says what clipping did: by norm it changes no direction, by value it turns half of the gradients
# by more than thirty degrees.

# %%
import os

import numpy as np

import minirnn as mr
from minirnn import lens

T, H, B = 50, 32, 16

# %% [markdown]
# The adding task: among 50 random numbers two are marked, and the last state must tell their sum. The network has relu
# for its nonlinearity and begins with the identity for `W_hh` (Le et al. 2015): it remembers everything, and if an
# update makes the matrix a little larger, its 50th power is a lot larger. `lens.clipping` takes gradients as they come;
# so a training loop may be a generator that yields its parameters right before they are clipped.


# %%
def training(losses, clip, steps=200):
    """Trains, and yields the parameters of each step between its backward pass and clipping."""
    rng = np.random.default_rng(0)
    rnn = mr.nn.RNN(2, H, nonlinearity="relu", bias=False, dtype="float64", seed=1)
    rnn.load_state_dict({**rnn.state_dict(), "weight_hh_l0": np.eye(H)})
    readout = mr.nn.Linear(H, 1, dtype="float64", seed=2)
    parameters = [*rnn.parameters(), *readout.parameters()]
    optimizer = mr.SGD(parameters, lr=0.005)
    for _ in range(steps):
        xs = np.zeros((T, B, 2))
        xs[:, :, 0] = rng.random((T, B))
        for marked in (rng.integers(0, T // 2, B), rng.integers(T // 2, T, B)):
            xs[marked, np.arange(B), 1] = 1
        out, _ = rnn(xs)
        loss = mr.ops.mean_squared_error(readout(out[-1])[:, 0], (xs[:, :, 0] * xs[:, :, 1]).sum(axis=0))
        losses.append(loss.item())
        if losses[-1] > 1000:
            return  # over the cliff: what was learned is lost
        optimizer.zero_grad()
        loss.backward()
        yield parameters
        clip(parameters)
        optimizer.step()


ways = {
    "no clipping": lambda parameters: None,
    "by norm": lambda parameters: mr.clip_grad_norm_(parameters, 1.0),
    "by value": lambda parameters: mr.clip_grad_value_(parameters, 0.1),
}
losses = {name: [] for name in ways}
ledgers = {
    name: lens.clipping(training(losses[name], clip), max_norm=1.0, clip_value=0.1) for name, clip in ways.items()
}
print("clipping      steps   first loss   largest   last   largest gradient")
for name, found in losses.items():
    row = f"{len(found):5d} {found[0]:12.2f} {max(found):9.2g} {found[-1]:6.2g}"
    print(f"{name:12s}  {row} {ledgers[name].before.max():18.2g}")

# %% [markdown]
# To answer always 1, the mean of the sum, costs a loss of 1/6, and in 200 steps no run gets far below that: clipping
# keeps the training alive, but does not make the memory longer. Here is the ledger of the run that was clipped by norm,
# and beside it what clipping by value would have done to the same gradients:

# %%
ledger = ledgers["by norm"]
print(ledger)

# %% [markdown]
# Only one entry in six is beyond 0.1, but these are the large ones, and they are what gave the gradient its
# direction. That is why clipping by norm is the usual way; `fit` does it, unless told otherwise by `clip_norm`. Neither
# helps against vanishing gradients: what has gone to zero no scaling brings back.

# %%
if pictures := os.environ.get("MINIRNN_PICTURES"):
    lens.plot(ledger, f"{pictures}/07_clipping.png")

# %% [markdown]
# **To try.** Divide the learning rate by ten: what does the network without clipping do now? Then put it back, and clip
# by norm to 10 in place of 1: how far does it fall, and where is it after 200 steps?
