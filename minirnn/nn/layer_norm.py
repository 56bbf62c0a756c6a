"""The steps of the cells with layer norm (Ba et al. 2016, supplement), written with tensors, made rules by the tape.

LN(v; gain, bias) standardises v over the units of one column, then scales and shifts every unit. The projection of the
input and that of the state are normalised apart, each with its own gain and shift; the biases of the plain cell are the
shifts. With a_t = W_ih x_t, which has none yet:

    s_t        = LN(a_t; gain_ih, bias_ih) + LN(W_hh h_prev; gain_hh, bias_hh)

    RNN         h_t = tanh(s_t), or relu(s_t)

    LSTM        i, f, g, o = the four blocks of s_t, all 4H units normalised together
                c_t = sigmoid(f) * c_prev + sigmoid(i) * tanh(g)
                h_t = sigmoid(o) * tanh(LN(c_t; gain_c, bias_c)),  then W_hr h_t if there is a projection

    GRU         r, z = the first two blocks of s_t, these 2H units normalised together, and n apart:
                n = tanh(LN(a_n) + sigmoid(r) * LN(W_hn h_prev))
                h_t = (1 - sigmoid(z)) * n + sigmoid(z) * h_prev

c_prev enters the LSTM's sum as it is: the highway through time is not normalised, only what is read off it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from minirnn import ops
from minirnn.tape import Tensor, rule_of


def normalised(a: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    return ops.layer_norm(a, gain, bias, axis=0)


@cache
def layer_norm_rnn_step(nonlinearity: str) -> Callable:
    """The step of an RNN with layer norm, as a rule; ``nonlinearity`` is ``"tanh"`` or ``"relu"``."""
    activation = {"tanh": ops.tanh, "relu": ops.relu}[nonlinearity]

    def layer_norm_rnn_step(a, h_prev, W_hh, gain_ih, bias_ih, gain_hh, bias_hh):
        return activation(normalised(a, gain_ih, bias_ih) + normalised(W_hh @ h_prev, gain_hh, bias_hh))

    return rule_of(layer_norm_rnn_step)


@rule_of
def layer_norm_lstm_step(
    a,  # (4H, B) W_ih x_t, without a bias
    h_prev,  # (P, B)
    c_prev,  # (H, B)
    W_hh,  # (4H, P)
    gain_ih,  # (4H,), as are the next three
    bias_ih,
    gain_hh,
    bias_hh,
    gain_c,  # (H,)
    bias_c,  # (H,)
    W_hr=None,  # (P, H)
):
    i, f, g, o = ops.split(normalised(a, gain_ih, bias_ih) + normalised(W_hh @ h_prev, gain_hh, bias_hh), sections=4)
    c = f.sigmoid() * c_prev + i.sigmoid() * g.tanh()
    h = o.sigmoid() * normalised(c, gain_c, bias_c).tanh()
    return (h if W_hr is None else W_hr @ h), c


@rule_of
def layer_norm_gru_step(
    a,  # (3H, B) W_ih x_t, without a bias
    h_prev,  # (H, B)
    W_hh,  # (3H, H)
    gain_ih,  # (3H,), as are the next three
    bias_ih,
    gain_hh,
    bias_hh,
):
    gates, candidate = slice(None, 2 * len(h_prev)), slice(2 * len(h_prev), None)

    def parts(projected, gain, bias):
        return (normalised(projected[rows], gain[rows], bias[rows]) for rows in (gates, candidate))

    (x_gates, x_n), (h_gates, h_n) = parts(a, gain_ih, bias_ih), parts(W_hh @ h_prev, gain_hh, bias_hh)
    r, z = ops.split((x_gates + h_gates).sigmoid(), sections=2)
    n = (x_n + r * h_n).tanh()
    return (1 - z) * n + z * h_prev
