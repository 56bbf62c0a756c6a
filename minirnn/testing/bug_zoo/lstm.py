"""The LSTM with the classic mistakes in its backward pass: beside each wrong line stands the right one."""

from __future__ import annotations

from collections.abc import Callable

from minirnn.arrays import xp_of
from minirnn.testing.bug_zoo.common import ALL, BUT_LAST, FIRST, Where, named, parts, refuse_unknown, sigmoid

FAULTS = {
    "zero gate gradient": "The buffer of the gates' gradients is made but never filled: all but dc_0 is zero.",
    "first step skipped": "The loop ends one step early, at the first that has a step before it: da[0] stays zero.",
    "h_t for h_prev": "dW_hh pairs da_t with the output of its own step instead of the step before: only dW_hh is off.",
    "seeded from the parameters": "dW_hh starts from a copy of W_hh where zeros were meant: off by W_hh.",
    "dc not carried": "Every step starts with dc = 0, so what lies several steps back along c gets too little.",
    "dc overwritten": "dc = where dc += was needed: what came back along c from later steps is lost.",
    "forget gate missing": "dc goes back undamped, as through the LSTM of 1997, which could not forget.",
    "tanh' of the wrong variable": "1 - c**2 for 1 - tanh(c)**2: harmless for small c, large and negative for large c.",
    "sigmoid' forgotten": "The gates' gradients stop at their outputs, without s (1 - s): too large at least fourfold.",
    "overwritten over time": "dW_hh = where dW_hh += was needed: it holds the first step's part, processed last.",
    "W_hh reshaped, not transposed": "W_hh.reshape(H, 4H) has the shape that W_hh.T has, and other entries in it.",
    "writes into its cotangent": "dh is dh_T itself, not a copy: right the first time, not for who uses dh_T later.",
}
PLACES = {
    "zero gate gradient": Where("a_xs", "ifgo", ALL),
    "first step skipped": Where("a_xs", "ifgo", FIRST),
    "h_t for h_prev": Where("W_hh", "ifgo"),
    "seeded from the parameters": Where("W_hh", "ifgo"),
    "dc not carried": Where("a_xs", "ifg", BUT_LAST),
    "dc overwritten": Where("a_xs", "ifg", ALL),
    "forget gate missing": Where("a_xs", "ifg", BUT_LAST),
    "tanh' of the wrong variable": Where("a_xs", "ifg", ALL),
    "sigmoid' forgotten": Where("a_xs", "ifo", ALL),
    "overwritten over time": Where("W_hh", "ifgo"),
    "W_hh reshaped, not transposed": Where("a_xs", "ifgo", BUT_LAST),
    "writes into its cotangent": Where("a_xs", "ifgo", ALL),
}


def lstm_with(fault: str = "") -> Callable:
    """An LSTM rule ``(a_xs (T, 4H, B), h_0 (H, B), c_0 (H, B), W_hh (4H, H)) -> (hs, h_T, c_T)`` with one mistake.

    Parameters
    ----------
    fault : str
        A key of `FAULTS`; empty for the right rule.

    Raises
    ------
    ValueError
        If there is no such fault.
    """
    refuse_unknown(fault, FAULTS)

    def rule(a_xs, h_0, c_0, W_hh):
        xp, T, H = xp_of(a_xs, h_0, c_0, W_hh), len(a_xs), len(h_0)
        hs, cs, gates = [h_0], [c_0], []  # step t goes from hs[t] to hs[t + 1]
        for t in range(T):
            i, f, g, o = parts(a_xs[t] + W_hh @ hs[t], 4)
            i, f, g, o = sigmoid(i), sigmoid(f), xp.tanh(g), sigmoid(o)
            cs.append(f * cs[t] + i * g)
            hs.append(o * xp.tanh(cs[t + 1]))
            gates.append((i, f, g, o))

        def rule_pullback(dhs, dh_T, dc_T):
            dh = dh_T if fault == "writes into its cotangent" else dh_T.copy()
            dc = dc_T.copy()
            da_xs = xp.zeros_like(a_xs)
            dW_hh = W_hh.copy() if fault == "seeded from the parameters" else xp.zeros_like(W_hh)
            for t in reversed(range(1 if fault == "first step skipped" else 0, T)):
                i, f, g, o = gates[t]
                dh += dhs[t]

                # h_t = o * tanh(c_t)
                tanh_c = xp.tanh(cs[t + 1])
                do = dh * tanh_c
                slope = 1 - (cs[t + 1] if fault == "tanh' of the wrong variable" else tanh_c) ** 2
                dc = dh * o * slope if fault == "dc overwritten" else dc + dh * o * slope

                # c_t = f * c_prev + i * g
                di, df, dg = dc * g, dc * cs[t], dc * i
                if fault == "dc not carried":
                    dc = xp.zeros_like(dc)
                elif fault != "forget gate missing":
                    dc = dc * f

                # i, f, o = sigmoid(a + W_hh h_prev),  g = tanh(a + W_hh h_prev)
                if fault != "sigmoid' forgotten":
                    di, df, do = di * i * (1 - i), df * f * (1 - f), do * o * (1 - o)
                dg = dg * (1 - g * g)
                da = xp.concatenate([di, df, dg, do])
                if fault == "zero gate gradient":
                    da = xp.zeros_like(da)
                da_xs[t] = da
                dh[...] = (W_hh.reshape(H, 4 * H) if fault == "W_hh reshaped, not transposed" else W_hh.T) @ da
                part = da @ (hs[t + 1] if fault == "h_t for h_prev" else hs[t]).T
                dW_hh = part if fault == "overwritten over time" else dW_hh + part
            return da_xs, dh, dc, dW_hh

        return (xp.stack(hs[1:]), hs[T], cs[T]), rule_pullback

    return named(rule, fault, FAULTS, "The right LSTM, step by step.")
