"""What knows a wrong rule from a right one: the numbers, and, where forward and backward err together, others.

An oracle takes a rule with its inputs and static arguments, and raises an ``AssertionError`` if the rule is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minirnn import rules
from minirnn.arrays import Array, to_numpy, xp_of
from minirnn.checking import check_rule
from minirnn.checking.contract import call_rule
from minirnn.testing.variants import cotangents_like

Static = Mapping[str, Any]


def gradient_check(rule: Callable, inputs: Sequence, static: Static) -> None:
    """The pullback against the numeric derivative of the rule itself."""
    check_rule(rule, inputs, static)


def frozen_gradient_check(rule: Callable, inputs: Sequence, static: Static) -> None:
    """The pullback against that of the function in which the state that enters each ``window`` is a constant."""
    check_rule(frozen(rule, inputs, static["window"]), inputs)


def frozen(rule: Callable, inputs: Sequence, window: int) -> Callable:
    """The function whose gradient truncated BPTT computes, with the pullback of the truncated rule.

    Forward it runs every window by itself, from the state that entered it at ``inputs``: however the arguments are
    moved, that one stays.
    """
    (states, _), _ = rule(*inputs)

    def frozen_rule(a_xs, h_0, W_hh):
        _, frozen_rule_pullback = rule(a_xs, h_0, W_hh, window=window)
        starts = range(0, len(a_xs), window)
        runs = [rule(a_xs[t : t + window], states[t - 1] if t else h_0, W_hh)[0] for t in starts]
        hs = xp_of(a_xs).concatenate([hs for hs, _ in runs])
        return (hs, runs[-1][1]), frozen_rule_pullback

    return frozen_rule


def known_cell(rule: Callable, inputs: Sequence, static: Static) -> None:
    """The outputs against those of ``rules.gru``, which agree with PyTorch's."""
    found, expected = call_rule(rule, inputs, static)[0], call_rule(rules.gru, inputs, static)[0]
    _refuse_different(found, expected, "differs from that of the known cell")


def without_padding(rule: Callable, inputs: Sequence, static: Static) -> None:
    """Final states and all gradients against those of every sequence run by itself, without its padding."""
    a_xs, h_0, W_hh = inputs
    outputs, pullback = call_rule(rule, inputs, static)
    dhs, dh_T = cotangents_like(outputs)
    da_xs, dh_0, dW_hh = pullback(dhs, dh_T)
    dW_alone = 0
    for b, end in enumerate(static["lengths"]):
        one = slice(b, b + 1)
        (hs, h_T), pullback = rule(a_xs[:end, :, one], h_0[:, one], W_hh)
        da_alone, dh_alone, dW = pullback(dhs[:end, :, one], dh_T[:, one])
        dW_alone = dW_alone + dW
        together = outputs[0][:end, :, one], outputs[1][:, one], da_xs[:end, :, one], dh_0[:, one]
        _refuse_different(together, (hs, h_T, da_alone, dh_alone), f"of sequence {b} differs from that without padding")
    _refuse_different([dW_hh], [dW_alone], "of all sequences differs from that without padding")


def _refuse_different(found: Sequence[Array], expected: Sequence[Array], what: str) -> None:
    for x, y in zip(found, expected, strict=True):
        error = float(np.abs(to_numpy(x) - to_numpy(y)).max())
        if not error < 1e-10:
            raise AssertionError(f"an array {x.shape} {what}: by {error:.2g}")
