"""The softmax of the losses in array operations; ``cuda/losses.cu`` is the same for a device.

Classes lie along ``axis``; a position is a place in all other axes.
"""

from minirnn.arrays import xp_of


def softmax(
    logits,
    targets,  # integers in [0, V), one at each position
    axis,
    p,  # receives softmax(logits)
    log_p,  # receives the logarithm of it at the targets
):
    xp = xp_of(logits, targets)
    xp.subtract(logits, logits.max(axis=axis, keepdims=True), out=p)
    log_p[...] = p[_at(targets, axis, xp)]
    xp.exp(p, out=p)
    sums = p.sum(axis=axis, keepdims=True)
    p /= sums
    log_p -= xp.log(sums.reshape(log_p.shape))


def softmax_back(
    p,
    targets,
    axis,
    step,  # what a position counts, or one number for all
):
    """``step * (p - onehot(target))``"""
    xp = xp_of(p, targets, step)
    dlogits = p * (step if step.ndim == 0 else xp.expand_dims(step, axis))
    dlogits[_at(targets, axis, xp)] -= step
    return dlogits


def _at(targets, axis, xp):
    """The index that picks, at every position of ``targets``, the element that it names along ``axis``."""
    n = targets.ndim
    mesh = [xp.arange(size).reshape((size,) + (1,) * (n - 1 - k)) for k, size in enumerate(targets.shape)]
    return (*mesh[:axis], targets, *mesh[axis:])
