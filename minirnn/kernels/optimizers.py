"""The steps of the optimizers in array operations, in place: ``cuda/optimizers.cu`` is the same for a device.

``w`` are weights, ``g`` their gradient, the others the moments; all are vectors of one length. The formulas stand in
``training/optimizers.py``.
"""

from minirnn.arrays import xp_of


def sgd(w, g, m, lr, momentum):
    """``m`` is None where there is no momentum."""
    if m is not None:
        m *= momentum
        m += g
        g = m
    w -= lr * g


def rmsprop(w, g, v, lr, alpha, eps):
    v *= alpha
    v += (1 - alpha) * g * g
    w -= lr * g / (xp_of(v).sqrt(v) + eps)


def adam(w, g, m, v, lr, beta1, beta2, growth, eps):
    """``lr`` is corrected for the start of ``m``, and ``growth``, a factor of the root of ``v``, for that of ``v``."""
    xp = xp_of(w)
    step = (1 - beta1) * g
    m *= beta1
    m += step
    xp.multiply(g, g, out=step)
    step *= 1 - beta2
    v *= beta2
    v += step
    xp.sqrt(v, out=step)
    step *= growth
    step += eps
    xp.divide(m, step, out=step)
    step *= lr
    w -= step
