"""Truncation: beside the layer's own truncated gradients, and in closed form."""

from functools import partial

import numpy as np
import pytest
from recorded import Scalar, T, asking, char_lm, close, dead, layer_of, numbers, own_gradients, recorded, text

from minirnn import lens
from minirnn.rules.combinators import truncate


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_is_what_a_truncating_layer_computes(cell):
    layer = layer_of(cell, layers=2, bidirectional=True)
    seen = lens.truncation(recorded(layer), [1, 2, 4, 6])
    whole = own_gradients(layer, asking(layer(numbers(T, 3, 3))[0]))
    for k, window in enumerate([1, 2, 4, 6]):
        cutting = layer.running_through_time(partial(truncate, window=window))
        cut = own_gradients(cutting, asking(cutting(numbers(T, 3, 3))[0]))
        pairs = {name: (cut[name].ravel(), whole[name].ravel()) for name in whole}
        pairs["all together"] = tuple(np.concatenate(parts) for parts in zip(*pairs.values(), strict=True))
        for name, (x, y) in pairs.items():
            lengths = np.linalg.norm(x), np.linalg.norm(y)
            close(seen.cosine[name][k], x @ y / np.prod(lengths))
            close(seen.ratio[name][k], lengths[0] / lengths[1])
    assert set(seen.cosine) == {"all together", *whole}


def test_of_a_scalar_linear_network_it_is_a_sum_of_parts():
    scalar = Scalar(0.9, 20)
    parts, (t, s) = scalar.parts(), np.indices((20, 20))
    seen = lens.truncation(scalar.recording, [1, 3, 7, 20, 50])
    cut = [parts[t // n == s // n].sum() for n in (1, 3, 7, 20, 50)]  # what stays within its window
    close(seen.ratio["weight_hh_l0"], np.abs(cut) / abs(parts.sum()))
    close(seen.cosine["weight_hh_l0"], np.sign(cut) * np.sign(parts.sum()))


def test_windows_end_with_the_whole_sequence_which_cuts_nothing():
    lm = char_lm()
    seen = lens.truncation(lens.record(lm.loss, *text()))
    assert seen.windows.tolist() == [1, 2, 6]
    assert {f"rnn.{name}" for name, _ in lm.rnn.named_parameters()} | {"all together"} == set(seen.cosine)
    for values in (*seen.cosine.values(), *seen.ratio.values()):
        assert values[-1] == pytest.approx(1, abs=1e-12)
    assert lens.truncation(lens.specimen(hidden=2, seq_len=100)).windows.tolist() == [1, 2, 5, 10, 20, 50, 100]
    assert lens.truncation(lens.specimen(hidden=2, seq_len=1)).windows.tolist() == [1]


def test_a_gradient_of_zero_has_no_direction():
    seen = lens.truncation(dead(), [2])
    assert np.isnan(seen.cosine["all together"]).all() and "windows of    2: cosine    none" in str(seen)


@pytest.mark.parametrize("window", [0, -1, 2.5])
def test_impossible_windows_are_refused(window):
    with pytest.raises(ValueError, match=rf"windows\[0\] must be a positive integer, got {window}"):
        lens.truncation(recorded(layer_of("gru")), [window])
