"""The strategies keep what their names promise."""

import subprocess
import sys

import numpy as np
from hypothesis import find, given
from hypothesis import strategies as st

from minirnn.testing import strategies as some

shapes = some.shapes()


def test_sizes_of_zero_and_one_and_scalars_occur():
    assert find(shapes, lambda shape: shape == ()) == ()
    assert 0 in find(shapes, lambda shape: 0 in shape)
    assert 1 in find(shapes, lambda shape: 1 in shape)


@given(some.broadcastable_shapes(3))
def test_shapes_broadcast(found):
    assert len(found) == 3
    np.broadcast_shapes(*found)


@given(shapes.flatmap(lambda shape: some.arrays_away_from(shape, (-1.0, 0.0, 1.0))))
def test_numbers_keep_away_from_kinks(x):
    for kink in (-1, 0, 1):
        assert (np.abs(x - kink) >= 0.1 - 1e-12).all()


@given(shapes.flatmap(some.distinct_arrays))
def test_distinct_numbers_keep_apart(x):
    assert (np.diff(np.sort(x, axis=None)) >= 0.1 - 1e-12).all()


@given(shape=shapes, data=st.data())
def test_ids_are_in_range_and_not_too_often_the_same(shape, data):
    x = data.draw(some.ids(shape, 30, most=2))
    assert x.shape == shape
    assert np.bincount(x.reshape(-1), minlength=30).max() <= 2
    assert ((x >= 0) & (x < 30)).all()


@given(some.lstm_arguments())
def test_lstm_arguments_are_in_the_required_setting(arguments):
    a_xs, h_0, c_0, W_hh = arguments
    (T, rows, B), H = a_xs.shape, len(h_0)
    assert T >= 3
    assert B >= 2
    assert (rows, h_0.shape, c_0.shape, W_hh.shape) == (4 * H, (H, B), (H, B), (4 * H, H))
    assert (h_0 != c_0).all()
    assert all(x.all() and x.dtype == np.float64 for x in arguments)


@given(st.one_of(some.rnn_arguments(), some.rnn_arguments(nonlinearity="relu"), some.gru_arguments()))
def test_rnn_and_gru_arguments_are_in_the_required_setting(arguments):
    a_xs, h_0, W_hh, *b_hn = arguments
    (T, rows, B), H = a_xs.shape, len(h_0)
    assert T >= 3
    assert B >= 2
    assert (rows, h_0.shape, W_hh.shape) == (len(W_hh), (H, B), (3 * H if b_hn else H, H))
    assert [b.shape for b in b_hn] in ([], [(H,)])
    assert all(x.all() and x.dtype == np.float64 for x in arguments)


@given(some.rnn_arguments(nonlinearity="relu"))
def test_rnn_arguments_for_relu_keep_away_from_its_kink(arguments):
    a_xs, h, W_hh = arguments
    for a_x in a_xs:
        a = a_x + W_hh @ h
        assert (np.abs(a) >= 0.1 - 1e-12).all()
        h = np.maximum(a, 0)


def test_the_package_does_not_need_hypothesis():
    code = "import sys, minirnn.testing; sys.exit('hypothesis' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
