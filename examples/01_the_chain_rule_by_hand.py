# %% [markdown]
# # The chain rule by hand
#
# Training asks one question again and again: if this number were a little larger, how would the loss change? A network
# is a chain of small functions, and the chain rule answers from the end: it multiplies the slopes, the last one first.
# Why from the end? There is one loss, and there may be millions of weights: on one way back all of them are answered.
#
# **You will see** one gradient found three times, by hand, by rules and by the tape, the same to fourteen digits each
# time; and a weight that is used twice, whose gradient is the sum of two parts. That sum is the whole secret of
# backpropagation through time.

# %%
import numpy as np

import minirnn as mr

x, w, b, target = 2.0, 0.5, -0.3, 1.0

a = w * x + b  # (1)
y = np.tanh(a)  # (2)
e = y - target  # (3)
loss = e**2  # (4)
print(f"forward:   a {a:.4f}   y {y:.4f}   e {e:.4f}   loss {loss:.4f}")

# %% [markdown]
# Now backward. `dy` is short for "the change of the loss per unit of `y`", or in a word: what is *asked* of `y`. Each
# line undoes the line of its number: it multiplies what is asked of the result by the slope of that line.

# %%
de = 2 * e  # (4)
dy = de  # (3)
da = dy * (1 - y**2)  # (2) the slope of tanh, from its value
dw, dx, db = da * x, da * w, da  # (1)
by_hand = {"w": dw, "x": dx, "b": db}
print(f"backward:  de {de:.4f}   dy {dy:.4f}   da {da:.4f}   dw {dw:.4f}   dx {dx:.4f}   db {db:.4f}")

# %% [markdown]
# Do not believe it: move `w` by a thousandth, and look. The loss should change by `dw` thousandths, and so it does, up
# to three parts in a thousand, by which the curve bends on the way.

# %%
moved = (np.tanh((w + 0.001) * x + b) - target) ** 2
by_moving = (moved - loss) / 0.001
print(f"dw by hand {dw:.5f}, by moving w {by_moving:.5f}")

# %% [markdown]
# In minirnn each such line is a *rule*: a plain function of arrays that returns its value and its *pullback*, the
# function that leads from what is asked of the value to what is asked of the arguments. Here is one of our own; the
# others are in `minirnn/rules/`. A chain of rules is pulled back from the last rule to the first.


# %%
def tanh(x):
    y = np.tanh(x)

    def tanh_pullback(dy):
        return (dy * (1 - y * y),)

    return y, tanh_pullback


wx, multiply_pullback = mr.rules.multiply(np.array(w), np.array(x))
a, add_pullback = mr.rules.add(wx, np.array(b))
y, tanh_pullback = tanh(a)
loss, loss_pullback = mr.rules.mean_squared_error(y, np.array(target))

dy, _ = loss_pullback(np.array(1.0))  # per unit of itself the loss changes by one
(da,) = tanh_pullback(dy)
dwx, db = add_pullback(da)
dw, dx = multiply_pullback(dwx)
by_rules = {"w": dw, "x": dx, "b": db}
print("by rules: ", "   ".join(f"d{name} {value:.4f}" for name, value in by_rules.items()))

# %% [markdown]
# The tape keeps the order for us. `differentiable` makes a function of tensors from any rule; the tape remembers every
# call, and `backward` walks through them from the last to the first.

# %%
tensors = {name: mr.Tensor(value, requires_grad=True) for name, value in (("w", w), ("x", x), ("b", b))}
op = mr.differentiable(tanh)
mr.ops.mean_squared_error(op(tensors["w"] * tensors["x"] + tensors["b"]), target).backward()
by_tape = {name: tensor.grad.item() for name, tensor in tensors.items()}
print("by tape:  ", "   ".join(f"d{name} {value:.4f}" for name, value in by_tape.items()))

# %% [markdown]
# Last, the weight that is used twice: `tanh(w * tanh(w * x))`. Each use has a gradient, as if there were two weights,
# and the gradient of `w` is their sum. A recurrent network uses its weights at every step: that makes a long sum.

# %%
inner = np.tanh(w * x)
outer = np.tanh(w * inner)
da_outer = 1 - outer**2  # what is asked of outer is 1
second_use = da_outer * inner
first_use = da_outer * w * (1 - inner**2) * x  # on through w, the slope of the inner tanh, and x
w_twice = mr.Tensor(w, requires_grad=True)
(w_twice * (w_twice * x).tanh()).tanh().backward()
print(f"first use {first_use:.4f} + second use {second_use:.4f} = {first_use + second_use:.4f}")
print(f"by tape                              {w_twice.grad.item():.4f}")

# %% [markdown]
# **To try.** Let `b` be -3. The loss is 25 times as large, and yet `dw` about half of what it was: which line of the
# way back made it so small? Then use `w` a third time, outside, and write down the third part of its gradient. The
# tape knows the sum.
