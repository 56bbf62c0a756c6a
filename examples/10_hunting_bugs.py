# %% [markdown]
# # Hunting bugs in the zoo
#
# `minirnn.testing.bug_zoo` holds nineteen rules that are wrong in the classic ways: a forgotten slope, `h_t` where
# `h_prev` belongs, `=` where `+=` was meant. Each of them has been somebody's honest work, and most of them train.
#
# **You will see** three things. The gradient check convicts sixteen of the nineteen, and of fifteen it names the very
# place: argument, gates and time steps. Three are not for it to judge, and you will see why. And the same check, done
# the way it is often done, lets six of the twelve wrong LSTMs pass.

# %%
import numpy as np

from minirnn import rules
from minirnn.checking import check_rule
from minirnn.testing.bug_zoo import BUGS, ZOO, T

# %% [markdown]
# One hunt at length. In this LSTM the gradient of the cell goes back without the factor of the forget gate. Then nearly
# all numbers are wrong, in all four arguments. Where did it begin? Time runs backward, so it began at the latest step
# that is wrong: step 3 of 0 to 4. There only the gate `o` is right, so what the other three share is wrong: dc.

# %%
bug = ZOO["forget gate missing"]
inputs, static = bug.inputs()
report = check_rule(bug.rule, inputs, static, raises=False)
print(report)
print(report.guesses[0].text)

# %% [markdown]
# Now all of them, and beside each bug the right rule on the same inputs: a check that convicts both has shown nothing.
# `where` is the place that the keeper of the zoo has written down for each bug.

# %%
hunted, placed = [], []
for name, bug in ZOO.items():
    inputs, static = bug.inputs()
    wrong, right = (check_rule(rule, inputs, static, raises=False) for rule in (bug.rule, bug.right))
    if (wrong.verdict, right.verdict) != ("wrong", "correct"):
        continue
    hunted.append(name)
    if wrong.guesses and wrong.guesses[0].place == bug.where.place(T):
        placed.append(name)
    print(f"{name}:\n  {wrong.guesses[0].text if wrong.guesses else wrong.reason}")

others = [name for name in ZOO if name not in hunted]
print(f"\n{len(hunted)} of {len(ZOO)} convicted, {len(placed)} with the right place; not: {others}")

# %% [markdown]
# The one without a place writes into the array that it was given: its own numbers are right, but whoever uses that
# array later gets wrong ones. The check watches for that, too.
#
# Two of the other three pass: their forward pass is another than it should be, and the backward pass fits it. The check
# takes its numbers from the forward pass, so it cannot know. The third is a truncated BPTT, and there the check
# convicts also the right one: its gradient is not that of the loss. For each the zoo names an oracle that tells,
# `dies_by`: a known cell, the same sequences without padding, and numbers with the state frozen that enters each
# window.

# %%
told = {}
for name in others:
    bug = ZOO[name]
    inputs, static = bug.inputs()
    bug.dies_by(bug.right, inputs, static)
    try:
        bug.dies_by(bug.rule, inputs, static)
    except AssertionError as error:
        told[name] = str(error).splitlines()[0]
        print(f"{name}: {told[name]}")

# %% [markdown]
# Last, the check as it is often done: one step, states of zero, and for a loss the sum of the last state, so that every
# cotangent is one. Only the weights and what comes before them are looked at. Random states, several steps and random
# cotangents would have cost nothing.

# %%
rng = np.random.default_rng(0)
H, B = 4, 3
easy = rng.standard_normal((1, 4 * H, B)), np.zeros((H, B)), np.zeros((H, B)), rng.standard_normal((4 * H, H))


def easy_gradients(lstm):
    (hs, h_T, c_T), pullback = lstm(*easy)
    da_xs, _, _, dW_hh, *_ = pullback(np.zeros_like(hs), np.ones_like(h_T), np.zeros_like(c_T))
    return np.concatenate([da_xs.ravel(), dW_hh.ravel()])


right = easy_gradients(rules.lstm)
passing = [name for name, rule in BUGS.items() if np.allclose(easy_gradients(rule), right)]
print(f"{len(passing)} of {len(BUGS)} wrong LSTMs pass the easy check: {passing}")

# %% [markdown]
# **To try.** Mend the easy check: three steps in place of one, `(3, 4 * H, B)`. How many pass now? The one that is
# left has right numbers; look up what it does in `minirnn/testing/bug_zoo`.
