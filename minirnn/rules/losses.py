"""What training minimises: each rule maps predictions and targets to one number."""

from __future__ import annotations

from functools import reduce
from numbers import Real
from operator import iadd

from numpy.lib.array_utils import normalize_axis_index

from minirnn.arguments import booleans_in
from minirnn.arrays import joint_dtype, xp_of
from minirnn.kernels import kernels_of

OPERATIONS = 30  # that a softmax takes for each score, about; most of them are in its exponential
PIECE = 2**22  # scores held at a time, 16 MB in float32: enough for products at full speed


def mean_squared_error(x, y):
    """The mean of ``(x - y)**2`` over all elements."""
    if x.shape != y.shape or x.size == 0:
        raise ValueError(f"mean_squared_error needs x and y of one non-empty shape, got x {x.shape} and y {y.shape}")
    difference = x - y

    def mean_squared_error_pullback(dloss):
        dx = difference * (2 / difference.size) * dloss
        return dx, -dx

    return (difference * difference).sum() / difference.size, mean_squared_error_pullback


def cross_entropy(
    logits,  # classes along ``axis``, V of them
    targets,  # integers in [0, V), the shape of logits without ``axis``
    weights=None,  # (V,) how much each class counts
    mask=None,  # booleans, the shape of targets; True = counts
    *,
    axis=-1,
    wanted=(True, True, True, True),
):
    """Mean of ``-log softmax(logits)[target]`` over the positions that count; 0 if none does.

    A position where the mask is False counts for nothing, even if its logits are infinite or NaN.

    With p = softmax(logits), and for every position the weight w of its target (0 where the mask is False):

        loss     = sum(w * -log p[target]) / sum(w)
        dlogits  = w / sum(w) * (p - onehot(target)) * dloss
        dweights = (-log p[target] - loss) / sum(w) * dloss, summed up by target

    p - onehot(target), what was predicted less what was right, comes from -log p[target] = logsumexp(logits) -
    logits[target]: the derivative of the first term is p.
    """
    xp, axis = xp_of(logits, targets, weights, mask), normalize_axis_index(axis, logits.ndim)
    if logits.dtype.kind not in "fc":
        raise TypeError(f"logits must be floating-point numbers, got dtype {logits.dtype}")
    V = logits.shape[axis]
    expected = logits.shape[:axis] + logits.shape[axis + 1 :]
    for name, given, shape in (("targets", targets, expected), ("weights", weights, (V,)), ("mask", mask, expected)):
        if given is not None and given.shape != shape:
            raise ValueError(f"{name} must have shape {shape} for logits {logits.shape}, got {given.shape}")
    booleans_in(mask=mask)
    if targets.size == 0:
        raise ValueError(f"cross_entropy needs at least one target, got targets of shape {targets.shape}")
    kernels = kernels_of(logits)
    kernels.check_ids(targets, V, "targets")

    if mask is not None:
        logits = xp.where(xp.expand_dims(mask, axis), logits, 0)  # 0 * inf would be nan
    p = kernels.empty(logits.shape, logits.dtype)
    log_p = xp.empty(expected, logits.dtype)

    def softmax(part):
        """Fills a part of ``p`` and ``log_p``: no position depends on another, so workers share them out."""
        kernels.softmax(logits[part], targets if axis == 0 else targets[part], axis, p[part], log_p[part])

    if axis == 0:
        softmax(...)
    else:
        kernels.side_by_side(softmax, len(logits), OPERATIONS * logits.size)

    if weights is None and mask is None:
        counted = share = 1 / targets.size
        loss = log_p.sum() * -share
    else:
        counted = xp.ones(expected, log_p.dtype) if mask is None else mask.astype(log_p.dtype)
        w = counted if weights is None else counted * weights[targets]
        total = w.sum()
        total = xp.where(total == 0, 1, total)
        counted, share = counted / total, w / total
        loss = -(log_p * share).sum()

    for_logits = (p, targets, share) if wanted[0] else None
    for_weights = (targets, counted, log_p, loss) if weights is not None and wanted[2] else None

    def cross_entropy_pullback(dloss):
        dlogits = dweights = None
        if for_logits is not None:
            p, targets, share = for_logits
            dlogits = kernels.softmax_back(p, targets, axis, share * dloss)
        if for_weights is not None:
            targets, counted, log_p, loss = for_weights
            excess = counted * (-log_p - loss) * dloss
            dweights = kernels.add_rows(targets.reshape(-1), excess.reshape(-1, 1), V).reshape(V)
        return dlogits, None, dweights, None

    return loss, cross_entropy_pullback


def affine_cross_entropy(
    xs,  # (..., D, B)
    W,  # (V, D)
    b,  # (V,) or None
    targets,  # (..., B) integers in [0, V)
    mask=None,  # (..., B) booleans; True = counts
    *,
    smoothing=0.0,
    wanted=(True,) * 5,
):
    """``cross_entropy(affine(xs, W, b), targets)`` for many classes, without ever holding all scores.

    A batch of translations has thousands of scores for every word, one for each word of the vocabulary. Here they are
    computed a piece at a time, and while a piece is there, its part of the loss and of every gradient is added up. This
    rule can compute gradients on the way forward because the loss is one number: its cotangent is a mere factor, with
    which the pullback multiplies what is ready.

    With e = ``smoothing`` (Szegedy et al. 2016) the target is a distribution, q = (1 - e) onehot(target) + e / V:

        scores  = W x + b                                                           (1)
        loss    = mean of -sum(q * log softmax(scores)) over what counts            (2)
        dscores = (softmax(scores) - q) / how many count                            (2)
        dx      = W.T dscores,   dW = sum of dscores x.T,   db = sum of dscores     (1)

    Parameters
    ----------
    smoothing : float
        From 0 to below 1.

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If shapes do not fit each other, nothing is there to predict, or ``smoothing`` is out of range.
    IndexError
        If a target lies outside ``[0, V)``.
    """
    _check_affine_cross_entropy(xs, W, b, targets, mask, smoothing)
    smoothing = float(smoothing)  # one of NumPy would widen single precision
    xp, kernels, (V, D), N = xp_of(xs, W, b, targets, mask), kernels_of(xs), W.shape, targets.size
    kernels.check_ids(targets, V, "targets")
    dtype, wanted = joint_dtype(xs, W, b), (*wanted[:2], b is not None and wanted[2])
    rows = xs.swapaxes(-1, -2)
    if mask is not None:
        rows = xp.where(mask[..., None], rows, 0)  # 0 * inf would be nan
    x, y, shape = xp.ascontiguousarray(rows.reshape(N, D)), targets.reshape(N), rows.shape
    counts = xp.ones(N, x.real.dtype) if mask is None else mask.reshape(N).astype(x.real.dtype)
    total = counts.sum()
    counts = counts / xp.where(total == 0, 1, total)
    dx = kernels.empty((N, D), dtype) if wanted[0] else None

    def of_piece(now):
        """The loss of some positions, and their parts of ``dW`` and ``db``; their rows of ``dx`` are filled in."""
        scores = xp.matmul(x[now], W.T, out=kernels.empty((now.stop - now.start, V), dtype))  # (1)
        loss, n = 0, kernels.run(V)  # in the cache from the first line to the last
        for start in range(0, len(scores), n):
            some = scores[start : start + n]
            at = slice(now.start + start, now.start + start + len(some))
            loss = loss + _softmax_loss(some, b, y[at], counts[at], smoothing, any(wanted))  # (2)
        if wanted[0]:
            xp.matmul(scores, W, out=dx[now])  # (1)
        dW = xp.matmul(scores.T, x[now], out=kernels.empty((V, D), dtype)) if wanted[1] else None  # (1)
        return loss, dW, scores.sum(axis=0) if wanted[2] else None  # (1)

    def of_some(part):
        n = max(1, PIECE // V)
        pieces = [slice(start, min(start + n, part.stop)) for start in range(part.start, part.stop, n)]
        return _sums(map(of_piece, pieces))

    loss, dW, db = _sums(kernels.side_by_side(of_some, N, N * V * (OPERATIONS + D)))
    gradients = dx, dW, db

    def affine_cross_entropy_pullback(dloss):
        dx, dW, db = (None if gradient is None else gradient * dloss for gradient in gradients)
        return None if dx is None else dx.reshape(shape).swapaxes(-1, -2), dW, db, None, None

    return loss, affine_cross_entropy_pullback


def _softmax_loss(scores, b, targets, counts, smoothing, back):
    """The loss of scores ``(n, V)``, each row weighted by its count; with ``back`` dscores overwrite the scores."""
    xp, V = xp_of(scores), scores.shape[1]
    at_target = xp.arange(len(scores)), targets
    if b is not None:
        scores += b
    scores -= scores.max(axis=1, keepdims=True)
    hit, mean = scores[at_target], scores.mean(axis=1) if smoothing else 0
    xp.exp(scores, out=scores)
    sums = scores.sum(axis=1)
    losses = xp.log(sums) - (1 - smoothing) * hit - smoothing * mean
    if back:
        scores *= (counts / sums)[:, None]
        scores[at_target] -= (1 - smoothing) * counts
        if smoothing:
            scores -= (smoothing / V * counts)[:, None]
    return (losses * counts).sum()


def _sums(rows):
    """The sum of each column of some rows, which are added as they come and not kept; None where there is nothing."""
    return reduce(_added, rows)


def _added(total, row):
    return [None if new is None else iadd(so_far, new) for so_far, new in zip(total, row, strict=True)]


def _check_affine_cross_entropy(xs, W, b, targets, mask, smoothing):
    """Refuses what does not fit together, by name and shape."""
    if xs.ndim < 2 or W.ndim != 2 or xs.shape[-2] != W.shape[1] or (b is not None and b.shape != W.shape[:1]):
        bias = "" if b is None else f", b {b.shape}"
        raise ValueError(
            f"affine_cross_entropy needs xs (..., D, B), W (V, D) and b (V,); got xs {xs.shape}, W {W.shape}{bias}"
        )
    expected = (*xs.shape[:-2], xs.shape[-1])
    for name, given in (("targets", targets), ("mask", mask)):
        if given is not None and given.shape != expected:
            raise ValueError(f"{name} must have shape {expected} for xs {xs.shape}, got {given.shape}")
    booleans_in(mask=mask)
    if targets.size == 0:
        raise ValueError(f"affine_cross_entropy needs at least one target, got targets of shape {targets.shape}")
    if not isinstance(smoothing, Real) or not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be a number from 0 to below 1, got {smoothing!r}")
