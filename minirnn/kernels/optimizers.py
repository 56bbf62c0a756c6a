"""The steps of the optimizers in array operations, in place: ``cuda/optimizers.cu`` is the same for a device.

``w`` are weights, ``g`` their gradient, the others the moments; all are vectors of one length. The formulas stand in
``training/optimizers.py``. ``rates`` are the numbers that change from step to step. Where there is an ``allowed``, one
number, and it is not finite, nothing changes.
"""

from minirnn.arrays import xp_of


def sgd(w, g, m, rates, momentum, allowed=None):
    """``rates`` is the learning rate alone; ``m`` is None where there is no momentum."""
    if _is_refused(allowed):
        return
    if m is not None:
        m *= momentum
        m += g
        g = m
    (lr,) = rates
    w -= lr * g


def rmsprop(w, g, v, rates, alpha, eps, allowed=None):
    """``rates`` is the learning rate alone."""
    if _is_refused(allowed):
        return
    (lr,) = rates
    v *= alpha
    v += (1 - alpha) * g * g
    w -= lr * g / (xp_of(v).sqrt(v) + eps)


def adam(w, g, m, v, rates, beta1, beta2, eps, allowed=None):
    """``rates`` are three. ``lr`` is corrected for the start of ``m``, ``growth``, a factor of the root of ``v``, for
    that of ``v``, and ``kept`` is what is left of the weight before the step.
    """
    if _is_refused(allowed):
        return
    (lr, growth, kept), xp = rates, xp_of(w)
    if kept != 1:
        w *= kept
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


def _is_refused(allowed):
    return allowed is not None and not bool(xp_of(allowed).isfinite(allowed).all())
