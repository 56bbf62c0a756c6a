"""The nonlinearity of the plain recurrent network in array operations, written into arrays that the caller gives."""

from minirnn.arrays import xp_of


def rnn_activate(
    h,  # (H, B) holds the pre-activations a_t, and h_t afterwards
    nonlinearity,  # "tanh" or "relu"
):
    """``h_t = tanh(a_t)`` or ``relu(a_t)``, in place: equation (2) of ``rules/rnn.py``."""
    xp = xp_of(h)
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
