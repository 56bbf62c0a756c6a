"""Every cell once more, one recorded operation after the other: unrolled on the tape, nobody wrote its backward pass.

What these share with the rules of `minirnn.rules` is the equations, and of derivatives only those of sums, products,
tanh and sigmoid. So the gradients of both must agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minirnn import ops
from minirnn.tape import Tensor


def unrolled(rule: Callable, a_xs: Sequence | Tensor, *others: Tensor | None, **static: Any) -> tuple[Tensor, ...]:
    """The outputs of ``rules.rnn``, ``rules.lstm`` or ``rules.gru`` as tensors that know how they came about.

    Parameters
    ----------
    rule : {rules.rnn, rules.lstm, rules.gru}
    a_xs : sequence of tensors ``(G, B)``, or one tensor ``(T, G, B)``
        The pre-activations of every step.
    *others : tensors or None
        All other arguments of the rule.
    **static
        Its keyword arguments.
    """
    step, n_states = STEPS[rule.__name__]
    states, weights, hs = others[:n_states], others[n_states:], []
    for t in range(len(a_xs)):
        states = step(a_xs[t], *states, *weights, **static)
        hs.append(states[0])
    return ops.stack(*hs), *states


def rnn(a, h, W_hh, nonlinearity="tanh"):
    """A step of an RNN."""
    return (getattr(ops, nonlinearity)(a + W_hh @ h),)


def lstm(a, h, c, W_hh, W_hr=None, peepholes=None):
    """A step of an LSTM, with or without its variants."""
    a_i, a_f, a_g, a_o = ops.split(a + W_hh @ h, sections=4)
    if peepholes is not None:
        p_i, p_f, p_o = (peepholes[k].reshape(-1, 1) for k in range(3))
        a_i, a_f = a_i + p_i * c, a_f + p_f * c
    c = a_f.sigmoid() * c + a_i.sigmoid() * a_g.tanh()
    if peepholes is not None:
        a_o = a_o + p_o * c
    m = a_o.sigmoid() * c.tanh()
    return m if W_hr is None else W_hr @ m, c


def gru(a, h, W_hh, b_hn=None, reset_after=True):
    """A step of a GRU, in either form."""
    H = len(h)
    r, z = ops.split((a[: 2 * H] + W_hh[: 2 * H] @ h).sigmoid(), sections=2)
    if reset_after:
        s_n = W_hh[2 * H :] @ h
        n = (a[2 * H :] + r * (s_n if b_hn is None else s_n + b_hn.reshape(-1, 1))).tanh()
    else:
        n = (a[2 * H :] + W_hh[2 * H :] @ (r * h)).tanh()
    return ((1 - z) * n + z * h,)


STEPS: dict[str, tuple[Callable, int]] = {"rnn": (rnn, 1), "lstm": (lstm, 2), "gru": (gru, 1)}  # and how many states
