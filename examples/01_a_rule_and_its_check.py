# %% [markdown]
# # A rule, and how to check it
#
# Everything in minirnn that has a derivative is a *rule*: a plain function of arrays that returns its value and its
# pullback. The pullback answers one question: if the loss changes by `dy` per unit of `y`, how much does it change per
# unit of `x`? It is the chain rule, read backward.

# %%
import numpy as np

import minirnn as mr


def tanh(x):
    y = np.tanh(x)

    def tanh_pullback(dy):
        return (dy * (1 - y * y),)

    return y, tanh_pullback


x = np.array([-1.0, 0.5, 2.0])
y, pullback = tanh(x)
(dx,) = pullback(np.ones(3))
print("y ", y)
print("dx", dx)

# %% [markdown]
# Is it right? A derivative is a limit of differences, so we can look: move each entry of `x` a little and watch the
# result. `gradcheck` does that well. For functions that are analytic it takes a step into the complex plane, where no
# two nearby numbers are subtracted, and so nothing is lost to rounding: the error below is about 1e-16, not 1e-10.

# %%
print(mr.gradcheck(tanh, (x,)))

# %% [markdown]
# A check is worth something only if it can fail. Here is the mistake everybody makes once: the derivative taken at `y`
# where it belongs at `x`.


# %%
def wrong_tanh(x):
    y = np.tanh(x)

    def tanh_pullback(dy):
        return (dy * (1 - np.tanh(y) ** 2),)

    return y, tanh_pullback


try:
    mr.gradcheck(wrong_tanh, (x,))
except mr.GradcheckError as error:
    print(error)
else:
    raise SystemExit("the check let a wrong gradient pass")

# %% [markdown]
# A rule becomes a function of tensors by `differentiable`; the tape then calls the pullback for us. That is all the
# tape does, for `tanh` as for a whole LSTM.

# %%
op = mr.differentiable(tanh)
t = mr.Tensor(x, requires_grad=True)
op(t).sum().backward()
print("by the tape", t.grad)
assert np.array_equal(t.grad, dx)
