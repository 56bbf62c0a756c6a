"""The GRU with two mistakes: one in its backward pass, and one on which forward and backward agree."""

from __future__ import annotations

from collections.abc import Callable

from minirnn.arrays import xp_of
from minirnn.testing.bug_zoo.common import ALL, Where, named, parts, refuse_unknown, sigmoid

FAULTS = {
    "(1 - z) lost": "dn = dh where dn = dh * (1 - z) was needed: the candidate is asked as if nothing else made h_t.",
    "reset gate on the wrong side": "W_hn (r * h_prev) for r * (W_hn h_prev), there and back: the right gradient of "
    "the wrong cell. No gradient check can see it; whoever knows the outputs of the right cell does.",
}
PLACES = {
    "(1 - z) lost": Where("a_xs", "rn", ALL),
    "reset gate on the wrong side": Where("hs", steps=ALL),
}


def gru_with(fault: str = "") -> Callable:
    """A GRU rule ``(a_xs (T, 3H, B), h_0 (H, B), W_hh (3H, H)) -> (hs, h_T)`` with one mistake, or none.

    The right one resets after the product, as PyTorch does. Parameters and errors are those of `lstm_with`.
    """
    refuse_unknown(fault, FAULTS)
    wrong_side = fault == "reset gate on the wrong side"

    def rule(a_xs, h_0, W_hh):
        xp, T, (W_hr, W_hz, W_hn) = xp_of(a_xs, h_0, W_hh), len(a_xs), parts(W_hh, 3)
        hs, gates = [h_0], []
        for t in range(T):
            (a_r, a_z, a_n), h_prev = parts(a_xs[t], 3), hs[t]
            r, z = sigmoid(a_r + W_hr @ h_prev), sigmoid(a_z + W_hz @ h_prev)
            n = xp.tanh(a_n + (W_hn @ (r * h_prev) if wrong_side else r * (W_hn @ h_prev)))
            hs.append((1 - z) * n + z * h_prev)
            gates.append((r, z, n))

        def rule_pullback(dhs, dh_T):
            dh, da_xs, dW_hh = dh_T, xp.zeros_like(a_xs), xp.zeros_like(W_hh)
            for t in reversed(range(T)):
                (r, z, n), h_prev, dh = gates[t], hs[t], dh + dhs[t]

                # h_t = (1 - z) * n + z * h_prev
                dn = dh if fault == "(1 - z) lost" else dh * (1 - z)
                dz, dh = dh * (h_prev - n), dh * z

                # n = tanh(a_n + r * (W_hn h_prev))
                da_n = dn * (1 - n * n)
                if wrong_side:
                    dk, dW_hn = W_hn.T @ da_n, da_n @ (r * h_prev).T
                    dr, dh = dk * h_prev, dh + dk * r
                else:
                    dr, ds_n = da_n * (W_hn @ h_prev), da_n * r
                    dh, dW_hn = dh + W_hn.T @ ds_n, ds_n @ h_prev.T

                # r, z = sigmoid(a + W h_prev)
                da_r, da_z = dr * r * (1 - r), dz * z * (1 - z)
                dh = dh + W_hr.T @ da_r + W_hz.T @ da_z
                dW_hh += xp.concatenate([da_r @ h_prev.T, da_z @ h_prev.T, dW_hn])
                da_xs[t] = xp.concatenate([da_r, da_z, da_n])
            return da_xs, dh, dW_hh

        return (xp.stack(hs[1:]), hs[T]), rule_pullback

    return named(rule, fault, FAULTS, "The right GRU, step by step.")
