# %% [markdown]
# # Backpropagation through time by hand, on three steps
#
# A recurrent network takes the same step again and again, each time from the state in which the last one left it. Here
# is the smallest there is: one input, one unit, three steps, and a loss at every step. `h_prev` is the state that the
# step before has left, and at the first step a given one, `h_0`.
#
#     a_t = u x_t + w h_prev                     (1)
#     h_t = tanh(a_t)                            (2)
#     loss = sum of (h_t - target_t)² / 2        (3)
#
# Written out, the loop is a chain, and the chain rule holds for it as for any other. On the way back all arrows are
# turned round. (`hs[0]` is `h_0`, and step t leaves `hs[t + 1]`.)
#
#                   xs[0]         xs[1]         xs[2]
#                     | u           | u           | u
#                     v             v             v
#     hs[0] --w-->  hs[1] --w-->  hs[2] --w-->  hs[3]
#                     |             |             |
#                     v             v             v
#     loss =        part     +    part     +    part
#
# **You will see** every number of the way forward and of the way back. Two things are new, and both are sums: `h_t` has
# two readers, the loss and the next step, so what is asked of it has two parts; and `w` is used three times, so its
# gradient has three parts.

# %%
import numpy as np

import minirnn as mr
from minirnn import lens

u, w, h_0 = 1.0, 0.8, 0.5
xs = [0.5, -1.0, 0.3]
targets = [0.0, 0.5, -0.5]

hs = [h_0]
print("forward, from the first step to the last")
for t, x in enumerate(xs):
    a = u * x + w * hs[t]  # (1) hs[t] enters step t
    hs.append(np.tanh(a))  # (2) hs[t + 1] leaves it
    print(f"  step {t}:  a = {u} * {x:4.1f} + {w} * {hs[t]:7.4f} = {a:7.4f}     h = tanh(a) = {hs[t + 1]:7.4f}")


def loss_of(u, w, h):
    """The same without printing, for other weights too."""
    loss = 0.0
    for x, target in zip(xs, targets, strict=True):
        h = np.tanh(u * x + w * h)
        loss = loss + (h - target) ** 2 / 2  # (3)
    return loss


print(f"  loss {loss_of(u, w, h_0):.4f}")

# %% [markdown]
# Now time runs backward. Of the last state only its own loss asks something; of every other one also the step after it,
# through `w`. Each part of `dw` is what is asked of `a` at that step, times the state that `w` multiplied there.

# %%
dh_next, dw_parts, du_parts = 0.0, [], []
print("backward, from the last step to the first")
for t in (2, 1, 0):
    h, h_prev, x, target = hs[t + 1], hs[t], xs[t], targets[t]
    from_loss = h - target  # (3)
    dh = from_loss + dh_next  # h_t is read twice
    da = dh * (1 - h**2)  # (2)
    dw_parts.append(da * h_prev)  # (1)
    du_parts.append(da * x)  # (1)
    print(f"  step {t}:  dh = {from_loss:7.4f} by the loss + {dh_next:7.4f} by the next step = {dh:7.4f}")
    print(f"           da = {dh:7.4f} * (1 - ({h:.4f})²) = {da:7.4f}")
    print(f"           part of dw = {da:7.4f} * {h_prev:7.4f} = {dw_parts[-1]:7.4f}")
    dh_next = w * da  # (1)
    print(f"           to the state before: {w} * {da:7.4f} = {dh_next:7.4f}")
dw, du, dh_0 = sum(dw_parts), sum(du_parts), dh_next
print("dw =", " + ".join(f"{part:.4f}" for part in dw_parts), f"= {dw:.4f}")

# %% [markdown]
# That is all of it: the rest of this library is the same loop with matrices. To be believed, it must agree with numbers
# (here by a complex step, lesson 2), and with the library, where the loop is the pullback of the rule `rnn`. Its arrays
# have the axes time, units and columns, one for each sequence of the batch.

# %%
by_numbers = {
    "w": loss_of(u, w + 1e-100j, h_0).imag / 1e-100,
    "u": loss_of(u + 1e-100j, w, h_0).imag / 1e-100,
    "h_0": loss_of(u, w, h_0 + 1e-100j).imag / 1e-100,
}
a_xs = u * np.array(xs).reshape(3, 1, 1)
(states, _), pullback = mr.rules.rnn(a_xs, np.array([[h_0]]), np.array([[w]]))
da_xs, dh_0_by_rule, dw_by_rule = pullback(states - np.array(targets).reshape(3, 1, 1), np.zeros((1, 1)))
by_hand = {"w": dw, "u": du, "h_0": dh_0}
by_rule = {"w": dw_by_rule.item(), "u": (da_xs.ravel() @ xs).item(), "h_0": dh_0_by_rule.item()}
print("          by hand      by numbers   by the rule")
for name in by_hand:
    print(f"  d{name:4s} {by_hand[name]:12.9f} {by_numbers[name]:12.9f} {by_rule[name]:12.9f}")

# %% [markdown]
# For any recurrent layer, `lens.step` prints what we have printed here: each line of the derivation, and below it its
# numbers. You will find the numbers from above again. (`minirnn lens step -o steps.html` makes a page of the way back
# through an LSTM, with a slider to go back in time.)

# %%
layer = mr.nn.RNN(1, 1, bias=False, dtype="float64")
layer.load_state_dict({"weight_ih_l0": np.array([[u]]), "weight_hh_l0": np.array([[w]])})
inputs = np.array(xs).reshape(3, 1, 1), np.full((1, 1, 1), h_0)


def loss(out):
    return ((out.reshape(3) - np.array(targets)) ** 2).sum() / 2


steps = lens.step(lens.record(layer, *inputs, loss=loss, label="three steps"))
print(steps)

# %% [markdown]
# **To try.** Forget the next step: `dh = from_loss`. Which of the three parts of `dw` is still right? (What comes of
# it is BPTT truncated to one step, lesson 9.) Then put that back, and let `w` be 0. Nothing goes back through time
# now, `dh_0` is zero; but `dw` is not. Why?
