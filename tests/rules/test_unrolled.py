"""A cell written with one recorded operation after the other, and unrolled on the tape, gives the same gradients.

Two ways that share no derivative but those of sums, products, tanh and sigmoid must agree to rounding.
"""

import numpy as np
from hypothesis import given

from minirnn import ops
from minirnn.arrays import asarray, to_numpy
from minirnn.tape import Tensor
from minirnn.testing import on_backend
from minirnn.testing import strategies as some


def rnn(a, h, W_hh, nonlinearity):
    return (getattr(ops, nonlinearity)(a + W_hh @ h),)


def lstm(a, h, c, W_hh, W_hr, peepholes):
    a_i, a_f, a_g, a_o = ops.split(a + W_hh @ h, sections=4)
    if peepholes is not None:
        p_i, p_f, p_o = (peepholes[k].reshape(-1, 1) for k in range(3))
        a_i, a_f = a_i + p_i * c, a_f + p_f * c
    c = a_f.sigmoid() * c + a_i.sigmoid() * a_g.tanh()
    if peepholes is not None:
        a_o = a_o + p_o * c
    m = a_o.sigmoid() * c.tanh()
    return m if W_hr is None else W_hr @ m, c


def gru(a, h, W_hh, b_hn, reset_after):
    H = len(h)
    r, z = ops.split((a[: 2 * H] + W_hh[: 2 * H] @ h).sigmoid(), sections=2)
    if reset_after:
        s_n = W_hh[2 * H :] @ h
        n = (a[2 * H :] + r * (s_n if b_hn is None else s_n + b_hn.reshape(-1, 1))).tanh()
    else:
        n = (a[2 * H :] + W_hh[2 * H :] @ (r * h)).tanh()
    return ((1 - z) * n + z * h,)


UNROLLED = {"rnn": (rnn, 1, 3), "lstm": (lstm, 2, 6), "gru": (gru, 1, 4)}  # its states, and arguments of the rule


@given(cell=some.cells(T=(3, 5), H=(1, 4)), backend=some.backend_names(), random=some.generators())
def test_explicit_is_unrolled(cell, backend, random):
    with on_backend(backend):
        step, n_states, n_arguments = UNROLLED[cell.rule.__name__]
        given_arrays = [*cell.inputs, *[None] * (n_arguments - len(cell.inputs))]
        inputs = [None if x is None else Tensor(asarray(x), requires_grad=True) for x in given_arrays]
        a_xs, *states = inputs[: 1 + n_states]
        hs = []
        for t in range(len(a_xs)):
            states = step(a_xs[t], *states, *inputs[1 + n_states :], **cell.static)
            hs.append(states[0])
        outputs, pullback = cell.rule(*(None if x is None else asarray(x) for x in given_arrays), **cell.static)
        unrolled = [ops.stack(*hs), *states]
        cotangents = [asarray(random.normal(size=y.shape)) for y in outputs]
        sum(((y * d).sum() for y, d in zip(unrolled, cotangents, strict=True)), start=Tensor(0.0)).backward()
        for found, expected in zip(outputs, unrolled, strict=True):
            np.testing.assert_allclose(to_numpy(found), expected.numpy(), rtol=1e-12, atol=1e-13)
        for found, leaf in zip(pullback(*cotangents), inputs, strict=True):
            if leaf is not None:
                np.testing.assert_allclose(to_numpy(found), to_numpy(leaf.grad), rtol=1e-12, atol=1e-12)
