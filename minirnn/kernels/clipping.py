"""How long a gradient is, and whether it is finite; ``cuda/clipping.cu`` is the same for a device."""

import math

import numpy as np

LEAST = 2.0**-126  # smaller squares have lost digits in float32, or all


def verdict(
    vectors,  # the gradient, in one piece or several
    loss,  # or None
    max_norm,  # or infinity
):
    """The norm, and by what the gradient is to be multiplied, so that it is no longer than ``max_norm``.

    Both are NaN where the gradient is not finite, and the factor also where the loss is not.
    """
    norm = math.hypot(*map(_length, vectors))
    factor = max_norm / norm if norm > max_norm else 1.0
    return norm, factor if math.isfinite(norm) and (loss is None or math.isfinite(loss)) else math.nan


def _length(vector):
    """NaN where not all is finite."""
    with np.errstate(over="ignore"):  # it is looked at below
        square = float(vector @ vector)
    if vector.size * LEAST <= square < math.inf:
        return math.sqrt(square)
    largest = float(abs(vector).max())  # perhaps only the squares were too large for the dtype, or too small
    if not 0 < largest < math.inf:
        return 0 * largest  # 0, or NaN
    return largest * math.sqrt(float(((vector / largest) ** 2).sum()))
