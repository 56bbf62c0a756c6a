"""What training minimises: each rule maps predictions and targets to one number."""

from __future__ import annotations

from numpy.lib.array_utils import normalize_axis_index

from minirnn.arrays import xp_of
from minirnn.kernels import kernels_of

OPERATIONS = 30  # of a softmax with each number, about: one of them is an exponential


def mean_squared_error(x, y):
    """The mean of ``(x - y)**2`` over all elements."""
    if x.shape != y.shape or x.size == 0:
        raise ValueError(f"mean_squared_error needs two arrays of one non-empty shape, got {x.shape} and {y.shape}")
    difference = x - y

    def mean_squared_error_pullback(dloss):
        dx = difference * (2 / difference.size) * dloss
        return dx, -dx

    return (difference * difference).sum() / difference.size, mean_squared_error_pullback


def cross_entropy(
    logits,  # classes along ``axis``, V of them
    targets,  # integers in [0, V), the shape of logits without ``axis``
    weights=None,  # (V,) how much each class counts
    mask=None,  # the shape of targets; True = counts
    *,
    axis=-1,
    wanted=(True, True, True, True),
):
    """Mean of ``-log softmax(logits)[target]`` over what counts; 0 where nothing does.

    What the mask leaves out counts for nothing, even infinite or NaN logits.

    With p = softmax(logits), and for every position its weight w (that of its target, 0 under the mask):

        loss     = sum(w * -log p[target]) / sum(w)
        dlogits  = w / sum(w) * (p - onehot(target)) * dloss
        dweights = (-log p[target] - loss) / sum(w) * dloss, summed up by target
    """
    xp, axis = xp_of(logits, targets, weights, mask), normalize_axis_index(axis, logits.ndim)
    if logits.dtype.kind not in "fc":
        raise TypeError(f"logits must be floating-point numbers, got dtype {logits.dtype}")
    V = logits.shape[axis]
    expected = logits.shape[:axis] + logits.shape[axis + 1 :]
    for name, given, shape in (("targets", targets, expected), ("weights", weights, (V,)), ("mask", mask, expected)):
        if given is not None and given.shape != shape:
            raise ValueError(f"{name} must have shape {shape} for logits {logits.shape}, got {given.shape}")
    if targets.size == 0:
        raise ValueError(f"cross_entropy needs at least one target, got targets of shape {targets.shape}")
    kernels = kernels_of(logits)
    kernels.check_ids(targets, V, "targets")
    at_target = _at(targets, axis, xp)

    if mask is not None:
        logits = xp.where(xp.expand_dims(mask, axis), logits, 0)  # 0 * inf would be nan
    p = kernels.empty(logits.shape, logits.dtype)
    log_p = xp.empty(expected, logits.dtype)

    def softmax(part):
        """Fills a part of ``p`` and ``log_p``: positions know nothing of each other, so workers share them out."""
        q, at_targets = p[part], log_p[part]
        xp.subtract(logits[part], logits[part].max(axis=axis, keepdims=True), out=q)
        at_targets[...] = q[_at(targets if axis == 0 else targets[part], axis, xp)]
        xp.exp(q, out=q)
        sums = q.sum(axis=axis, keepdims=True)
        q /= sums
        at_targets -= xp.log(sums.reshape(at_targets.shape))

    if axis == 0:
        softmax(...)
    else:
        kernels.side_by_side(softmax, len(logits), OPERATIONS * logits.size)

    if weights is None and mask is None:
        counted = share = 1 / targets.size
        loss = -log_p.sum() * share
    else:
        counted = xp.ones(expected, log_p.dtype) if mask is None else mask.astype(log_p.dtype)
        w = counted if weights is None else counted * weights[targets]
        total = w.sum()
        total = xp.where(total == 0, 1, total)
        counted, share = counted / total, w / total
        loss = -(log_p * share).sum()

    for_logits = (p, share, at_target) if wanted[0] else None
    for_weights = (targets, counted, log_p, loss) if weights is not None and wanted[2] else None

    def cross_entropy_pullback(dloss):
        dlogits = dweights = None
        if for_logits is not None:
            p, share, at_target = for_logits
            step = share * dloss
            dlogits = p * (step if step.ndim == 0 else xp.expand_dims(step, axis))
            dlogits[at_target] -= step
        if for_weights is not None:
            targets, counted, log_p, loss = for_weights
            excess = counted * (-log_p - loss) * dloss
            dweights = kernels.add_rows(targets.reshape(-1), excess.reshape(-1, 1), V).reshape(V)
        return dlogits, None, dweights, None

    return loss, cross_entropy_pullback


def _at(targets, axis, xp):
    """The index that picks, at every position of ``targets``, the element that it names along ``axis``."""
    n = targets.ndim
    mesh = [xp.arange(size).reshape((size,) + (1,) * (n - 1 - k)) for k, size in enumerate(targets.shape)]
    return (*mesh[:axis], targets, *mesh[axis:])
