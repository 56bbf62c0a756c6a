# %% [markdown]
# # A cell of your own
#
# The cells of this library are one equation among many. Take the *minimal gated unit* (Zhou et al. 2016), a GRU with a
# single gate f for two tasks: what of the old state the candidate n gets to see, and how much of n the new state takes.
#
#     f   = sigmoid(a_f + U_f h_prev)                      (1)
#     n   = tanh(a_n + U_n (f * h_prev))                   (2)
#     h_t = (1 - f) * h_prev + f * n                       (3)
#
# a_f and a_n are what the input gives, W x_t + b, in one array a of two blocks of rows.
#
# **You will see** the whole way from these three lines to a network that has learned something: one step there and
# back, by hand; a check that names the step where a mistake begins; BPTT made of the step by `scan`; a layer; training.

# %%
import numpy as np

import minirnn as mr
from minirnn.rules.combinators import Record, observe, projected, scan

T, H, B = 6, 4, 3
rng = np.random.default_rng(0)
a_xs, h_0, U = rng.standard_normal((T, 2 * H, B)), rng.standard_normal((H, B)), rng.standard_normal((2 * H, H)) / 2

# %% [markdown]
# Backward, every line undoes the one of its number. h_prev has three readers, (3), (2) by way of f * h_prev, and (1);
# f has two, (3) and (2). What is asked of a value is the sum of what all its readers ask.


# %%
def mgu_step(a, h_prev, U):
    H = len(h_prev)
    f = 1 / (1 + np.exp(-(a[:H] + U[:H] @ h_prev)))  # (1)
    seen = f * h_prev  # (2)
    n = np.tanh(a[H:] + U[H:] @ seen)  # (2)
    h = (1 - f) * h_prev + f * n  # (3)

    def mgu_step_pullback(dh):
        dn, df, dh_prev = dh * f, dh * (n - h_prev), dh * (1 - f)  # (3)
        da_n = dn * (1 - n * n)  # (2)
        dseen = U[H:].T @ da_n  # (2)
        df, dh_prev = df + dseen * h_prev, dh_prev + dseen * f  # (2)
        da_f = df * f * (1 - f)  # (1)
        dh_prev = dh_prev + U[:H].T @ da_f  # (1)
        return np.concatenate([da_f, da_n]), dh_prev, np.concatenate([da_f @ h_prev.T, da_n @ seen.T])

    return h, mgu_step_pullback


print(mr.gradcheck(mgu_step, (a_xs[0], h_0, U)))

# %% [markdown]
# If the step is right, BPTT is only a loop, and `scan` has it. The names of the parameters tell it what is what: an
# argument named `..._prev` is a state, those before it are new at every step, those after it are weights.

# %%
mgu = scan(mgu_step)
print(mr.gradcheck(mgu, (a_xs, h_0, U)))

# %% [markdown]
# Suppose we had forgotten that (1) reads h_prev, too. Nothing crashes, and the network even learns. **You will see**
# that the check tells where to look: everything is right at the last step, which receives nothing from a later one, and
# wrong at all steps before it.


# %%
def forgetful_step(a, h_prev, U):
    h, pullback = mgu_step(a, h_prev, U)

    def forgetful_step_pullback(dh):
        da, dh_prev, dU = pullback(dh)
        return da, dh_prev - U[: len(h)].T @ da[: len(h)], dU

    return h, forgetful_step_pullback


report = mr.gradcheck(scan(forgetful_step), (a_xs, h_0, U), raises=False)
print(f"verdict: {report.verdict}")
print(f"guess:   {report.guesses[0].text}")

# %% [markdown]
# A probe watches the loop: what the loss and all later steps ask of h_t, from the first step to the last.

# %%
record = Record()
(hs, h_T), pullback = observe(mgu, record)(a_xs, h_0, U)
pullback(np.zeros_like(hs), np.ones_like(h_T))  # a loss that reads the last state only
asked = np.sqrt((record["dh"] ** 2).sum(axis=(1, 2)))
print("norm of dh, step by step:", " ".join(f"{norm:.2f}" for norm in asked))

# %% [markdown]
# A layer gives the weights names. `projected` adds W x_t + b to the rule, and `differentiable` lifts it to tensors: the
# tape records the whole sequence as one node.

# %%
mgu_of_inputs = mr.differentiable(projected(mgu))


class MGU(mr.nn.Module):
    def __init__(self, input_size, hidden_size, seed):
        random, bound = np.random.default_rng(seed), hidden_size**-0.5
        self.W_ih = mr.nn.Parameter(random.uniform(-bound, bound, (2 * hidden_size, input_size)))
        self.b = mr.nn.Parameter(np.zeros(2 * hidden_size))
        self.U = mr.nn.Parameter(random.uniform(-bound, bound, (2 * hidden_size, hidden_size)))
        self.readout = mr.nn.Linear(hidden_size, 1, dtype="float64", seed=seed)

    def forward(self, xs):  # (T, D, B)
        h_0 = np.zeros((self.U.shape[1], xs.shape[2]))
        _, h_T = mgu_of_inputs(xs, h_0, self.W_ih, self.b, self.U)
        return self.readout(h_T.T)


model = MGU(input_size=2, hidden_size=24, seed=1)
print(mr.gradcheck(model, (rng.standard_normal((5, 2, 3)),)))

# %% [markdown]
# The task: of twenty numbers between 0 and 1, two are marked; say their sum (Hochreiter & Schmidhuber 1997). To ignore
# the input and always say 1 has a mean squared error of 1/6. **You will see** the cell remember both numbers over the
# whole sequence, with less than a twentieth of that error.


# %%
def problems(random, length=20, many=64):
    numbers, marks = random.random((length, many)), np.zeros((length, many))
    first, second = random.integers(0, length // 2, many), random.integers(length // 2, length, many)
    marks[first, range(many)] = marks[second, range(many)] = 1
    return np.stack([numbers, marks], axis=1), (numbers * marks).sum(axis=0)[:, None]


optimizer, losses = mr.Adam(model.parameters(), lr=1e-2), []
for step in range(600):
    xs, sums = problems(rng)
    loss = mr.ops.mean_squared_error(model(xs), sums)
    optimizer.zero_grad()
    loss.backward()
    mr.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.item())
    if step % 100 == 99:
        print(f"step {step + 1}: mean squared error {np.mean(losses[-20:]):.4f}, of 1/6 = 0.1667")

# %% [markdown]
# **To try.** f near 0 keeps the state for long. Take 2 from the rows of f, `a_xs[:, :H] -= 2`, and half of what is
# asked of the last state arrives at the first, where it was a ninth. Then make the candidate see h_prev ungated,
# `n = tanh(a_n + U_n h_prev)`: which two lines of the pullback change? `gradcheck` knows whether you are right.
