# %% [markdown]
# # Numeric gradients, and the V-curve
#
# Whoever writes a backward pass by hand makes mistakes, and a wrong gradient often still trains, only worse. So it is
# compared with numbers that know nothing of it: move the input by a step h, and see how far the value goes. How large
# should h be?
#
# **You will see** that the error of such a difference draws a V over the step. On its right arm h is too long for the
# bend of the function, on its left arm so short that rounding is all that is left. In float64 differences to one side
# are best near h = 1e-8, with an error of 2e-8; differences to both sides near h = 1e-5, with 3e-11; and a step into
# the complex plane has no V at all: 1e-16, all digits there are.

# %%
import numpy as np

import minirnn as mr

x, slope = 1.0, 1 - np.tanh(1.0) ** 2
steps = 10.0 ** -np.arange(1, 16)
forward = np.abs((np.tanh(x + steps) - np.tanh(x)) / steps / slope - 1)
central = np.abs((np.tanh(x + steps) - np.tanh(x - steps)) / (2 * steps) / slope - 1)
complex_step = abs(np.tanh(x + 1e-100j).imag / 1e-100 / slope - 1)

print("relative error of the slope of tanh at 1\n    h    one side  both sides")
for h, one, both in zip(steps, forward, central, strict=True):
    print(f"{h:8.0e}  {one:.1e}  {both:.1e}   {'#' * int(16 + np.log10(both + 1e-16)):16s}")
print(f"complex step, h = 1e-100: {complex_step:.1e}")

# %% [markdown]
# On the right arm, the upper rows here, a step ten times shorter makes the one-sided error ten times smaller, and the
# two-sided one a hundred times: that is the order of the method. Rounding adds about eps / h. The sum of both is least
# at the square root of eps for one side, 1.5e-8, and at its cube root for two, 6e-6.
#
# The complex step needs no subtraction: of an analytic function, f(x + ih) has the imaginary part h f'(x), and h may
# be so short that nothing of the bend is left. `gradcheck` takes it wherever a function is analytic. With `sweep=True`
# it draws the V as well, the longest step on the right: a row is ten times less error than the row above, a column
# twice the step of the column before.


# %%
def tanh(x):
    y = np.tanh(x)

    def tanh_pullback(dy):
        return (dy * (1 - y * y),)

    return y, tanh_pullback


xs = np.array([-1.0, 0.5, 2.0])
right = mr.gradcheck(tanh, (xs,), sweep=True)
print(right)

# %% [markdown]
# A check is worth something only if it can fail. Here is the mistake everybody makes once: the slope taken at `y` where
# it belongs at `x`. **You will see** no V but a floor: both curves stop at the size of the mistake. And the Taylor
# remainder, what is left of the change when the gradient's part is taken off, falls like h instead of h².


# %%
def wrong_tanh(x):
    y = np.tanh(x)

    def tanh_pullback(dy):
        return (dy * (1 - np.tanh(y) ** 2),)

    return y, tanh_pullback


wrong = mr.gradcheck(wrong_tanh, (xs,), sweep=True, raises=False)  # without raises=False it is an error
print(wrong)

# %% [markdown]
# Not everything has a slope to compare with. At a kink the slopes to both sides differ; a function that draws new
# random numbers at every call has no value to begin with. **You will see** four verdicts, and neither of
# the last two blames the gradient.


# %%
def relu(x):
    return np.maximum(x, 0), lambda dy: (dy * (x > 0),)


mask = np.random.default_rng(0)


def dropout(x):
    kept = mask.random(x.shape) < 0.5
    return x * kept, lambda dy: (dy * kept,)


verdicts = {
    rule.__name__: mr.gradcheck(rule, (np.linspace(-2.0, 2.0, 21),), raises=False).verdict
    for rule in (tanh, wrong_tanh, relu, dropout)
}
print(verdicts)

# %% [markdown]
# **To try.** Make the steps short numbers, `steps = (10.0 ** -np.arange(1, 16)).astype("float32")`, whose eps is
# 1.2e-7: where are the best steps now, and how much error is left there? And `relu`: of 21 points from -2 to 2 one is
# the kink. With 20 points there is none: what does the check say then?
