"""The arithmetic of the plain recurrent network in array operations, written into arrays that the caller gives.

``cuda/rnn.cu`` is the same for a device, under the same names.
"""

from minirnn.arrays import xp_of


def rnn_activate(
    a,  # (H, B) the input's part of the pre-activations
    h,  # (H, B) holds W_hh h_prev, and h_t afterwards
    nonlinearity,  # "tanh" or "relu"
):
    """``h_t = tanh(a_t)`` or ``relu(a_t)``, in place: the sum of (1), and (2) of ``rules/rnn.py``."""
    xp = xp_of(h)
    h += a  # (1)
    if nonlinearity == "tanh":
        xp.tanh(h, out=h)
    elif h.dtype.kind == "c":
        h *= h.real > 0  # complex numbers have no order: their real parts decide, as they do in the slope
    else:
        xp.maximum(h, 0, out=h)


def rnn_slopes(
    h,  # (..., H, B): the outputs of one step, or of a run of them
    slopes,  # (..., H, B) receives d(h_t)/d(a_t)
    nonlinearity,  # "tanh" or "relu"
):
    """The slope of (2), ``1 - h_t**2`` or ``h_t > 0``: the output alone tells it, the pre-activation is not needed."""
    xp = xp_of(h)
    if nonlinearity == "tanh":
        xp.multiply(h, h, out=slopes)
        xp.subtract(1, slopes, out=slopes)
    else:
        slopes[...] = xp.sign(h.real)  # h_t is never below zero; and where it is NaN, so is the slope


def rnn_back(
    dh_t,  # (H, B) what is asked of h_t by all but the next step
    dh,  # (H, B) what the next step asks of it; becomes the sum
    da,  # (H, B) holds the slopes, and the cotangent of the pre-activations afterwards
):
    """One step back through equation (2), given its slopes."""
    dh += dh_t  # h_t is read twice
    da *= dh  # (2)
