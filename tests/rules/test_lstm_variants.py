"""Peepholes, projection and probes of the LSTM, against a textbook that knows no slopes and against PyTorch."""

import numpy as np
import pytest
from test_lstm import arguments, assert_close, cotangents, of_every_variant

from minirnn import rules
from minirnn.arrays import to_numpy
from minirnn.checking import along, central, complex_step
from minirnn.rules.lstm import BACKWARD, FORWARD


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def textbook(a_xs, h, c, W_hh, W_hr, peepholes, **bumps):
    """hs, h_T and c_T, line by line; ``bumps`` are sequences added to c, h or a gate's pre-activation at every step."""
    p_i, p_f, p_o = np.zeros((3, 1, 1)) if peepholes is None else peepholes[:, :, None]
    hs = []
    for t, a_t in enumerate(a_xs):
        bump = {name: bumps[name][t] if name in bumps else 0 for name in BACKWARD}
        a_i, a_f, a_g, a_o = np.split(a_t + W_hh @ h, 4)
        i, f = sigmoid(a_i + p_i * c + bump["da_i"]), sigmoid(a_f + p_f * c + bump["da_f"])
        c = f * c + i * np.tanh(a_g + bump["da_g"]) + bump["dc"]
        m = sigmoid(a_o + p_o * c + bump["da_o"]) * np.tanh(c)
        h = (m if W_hr is None else W_hr @ m) + bump["dh"]
        hs.append(h)
    return np.stack(hs), h, c


def loss(outputs, given_back):
    """The number whose cotangents of the outputs are ``given_back``."""
    return sum((y * dy).sum() for y, dy in zip(outputs, given_back, strict=True))


def slopes(f, x):
    """The derivative of ``f`` at ``x`` by every entry of ``x``, by complex step."""
    units = np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([complex_step(along(f, x, unit)) for unit in units]).reshape(x.shape)


def setting(variant, T=4, B=2, H=3):
    inputs = arguments(T, B, H, variant)
    return inputs, cotangents(T, B, H, len(inputs[1]))


class Recorder:
    """A probe that copies what it is shown."""

    def __init__(self):
        self.calls, self.kept = [], {}

    def __call__(self, name, t, array):
        self.calls.append((name, t))
        self.kept[name, t] = to_numpy(array).copy()

    def over_time(self, name):
        return np.stack([self.kept[name, t] for t in range(1 + max(t for _, t in self.calls))])


@of_every_variant
def test_outputs_and_gradients_are_those_of_the_textbook(variant):
    inputs, given_back = setting(variant)
    outputs, pullback = rules.lstm(*inputs)
    assert_close(outputs, textbook(*inputs))
    for k, (x, dx) in enumerate(zip(inputs, pullback(*given_back), strict=True)):
        if x is None:
            assert dx is None
        else:
            expected = slopes(lambda x, k=k: loss(textbook(*inputs[:k], x, *inputs[k + 1 :]), given_back), x)
            np.testing.assert_allclose(dx, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("P", [1, 2, 0])
def test_a_projection_is_pytorchs(P, seed):
    torch = pytest.importorskip("torch")
    T, B, D, H = 5, 3, 2, 4
    torch.manual_seed(seed)
    theirs = torch.nn.LSTM(D, H, proj_size=P, dtype=torch.float64)
    W_ih, W_hh, b_ih, b_hh, *W_hr = (w.detach().numpy() for w in theirs.parameters())
    random = np.random.default_rng(seed)
    x, h_0, c_0 = (random.normal(size=size) for size in ((T, D, B), (P or H, B), (H, B)))

    a_xs, affine_pullback = rules.affine(x, W_ih, b_ih + b_hh)
    outputs, pullback = rules.lstm(a_xs, h_0, c_0, W_hh, *W_hr)
    given_back = [random.normal(size=y.shape) for y in outputs]
    da_xs, dh_0, dc_0, dW_hh, dW_hr, dpeepholes = pullback(*given_back)
    dx, dW_ih, db = affine_pullback(da_xs)
    assert dpeepholes is None and (dW_hr is None) == (P == 0)

    tensors = [torch.tensor(y.swapaxes(-1, -2).copy(), requires_grad=True) for y in (x, h_0[None], c_0[None])]
    out, (h_T, c_T) = theirs(tensors[0], tuple(tensors[1:]))
    expected = [out, h_T[0], c_T[0]]
    loss(expected, [torch.tensor(dy.swapaxes(-1, -2).copy()) for dy in given_back]).backward()
    columns = [(y, e.detach().numpy()) for y, e in zip(outputs, expected, strict=True)]
    columns += zip((dx, dh_0[None], dc_0[None]), (t.grad.numpy() for t in tensors), strict=True)
    weights = [dW_ih, dW_hh, db, db] + [dW_hr] * len(W_hr)
    pairs = [(y, e.swapaxes(-1, -2)) for y, e in columns]
    pairs += zip(weights, (w.grad.numpy() for w in theirs.parameters()), strict=True)
    for mine, other in pairs:
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-12)


def test_an_identity_projects_to_and_peepholes_of_zero_see_the_plain_lstm(backend):
    inputs, given_back = setting("plain")
    H = len(inputs[2])
    outputs, pullback = rules.lstm(*inputs)
    same, same_pullback = rules.lstm(*inputs[:4], backend.eye(H), backend.zeros((3, H)))
    assert_close(same, outputs)
    assert_close(same_pullback(*given_back)[:4], pullback(*given_back)[:4])


@of_every_variant
def test_complex_numbers_pass_through_forward_and_pullback(variant):
    """The derivative of the gradients along a line, by complex step against differences."""
    inputs, given_back = setting(variant)
    lines = arguments(variant=variant, seed=2)
    for k, line in enumerate(lines):
        if line is None:
            continue

        def gradients(x, k=k):
            found = rules.lstm(*inputs[:k], x, *inputs[k + 1 :])[1](*given_back)
            return np.concatenate([dx.ravel() for dx in found if dx is not None])

        exact = complex_step(along(gradients, inputs[k], line))
        assert np.abs(exact).max() > 0.01
        np.testing.assert_allclose(exact, central(along(gradients, inputs[k], line)), rtol=1e-7, atol=1e-8)


@of_every_variant
def test_a_step_is_as_complex_as_its_sequence(variant):
    inputs, given_back = setting(variant, T=1)
    dhs, dh, dc = (1 + 2j) * given_back[0], 1j * given_back[1], (3 - 1j) * given_back[2]
    for k in (k for k, x in enumerate(inputs) if x is not None):
        a_xs, *rest = (x * (1 + 1e-3j) if k == j else x for j, x in enumerate(inputs))
        (hs, _, c_T), pullback = rules.lstm(a_xs, *rest)
        (h, c), step_pullback = rules.lstm_step(a_xs[0], *rest)
        assert_close((h, c), (hs[0], c_T))
        assert h.dtype == c.dtype == np.complex128
        da_xs, *others = pullback(dhs, dh, dc)
        assert_close(step_pullback(dhs[0] + dh, dc), (da_xs[0], *others))


@of_every_variant
def test_complex_cotangents_of_real_outputs_come_back_complex(backend, variant):
    inputs, u = setting(variant)
    v = cotangents(P=len(inputs[1]), seed=3)
    for pullback, used in ((rules.lstm(*inputs)[1], slice(None)), (step_of(inputs)[1], slice(1, None))):
        mixed = pullback(*(x + 1j * y for x, y in zip(u[used], v[used], strict=True)))
        pairs = zip(pullback(*u[used]), pullback(*v[used]), strict=True)
        assert_close(mixed, [None if x is None else x + 1j * y for x, y in pairs])


def step_of(inputs):
    return rules.lstm_step(inputs[0][0], *inputs[1:])


@of_every_variant
@pytest.mark.parametrize("saving", [True, False])
def test_recording_changes_no_bit(backend, variant, saving):
    inputs, given_back = setting(variant)
    wanted, probe = (saving,) * 6, Recorder()
    plain, pullback = rules.lstm(*inputs, wanted=wanted)
    watched, watched_pullback = rules.lstm(*inputs, probe=probe, wanted=wanted)
    for x, y in zip((*plain, *pullback(*given_back)), (*watched, *watched_pullback(*given_back)), strict=True):
        assert (x is None) == (y is None)
        assert x is None or to_numpy(x).tobytes() == to_numpy(y).tobytes()
    assert probe.calls[: 4 * 6] == [(name, t) for t in range(4) for name in FORWARD]
    assert probe.calls[4 * 6 :] == [(name, t) for t in reversed(range(4)) for name in BACKWARD if saving]


@of_every_variant
@pytest.mark.parametrize("saving", [True, False])
def test_recorded_gates_and_states_are_those_of_the_equations(variant, saving):
    (a_xs, h_0, c_0, W_hh, W_hr, peepholes), _ = setting(variant)
    probe = Recorder()
    (hs, _, c_T), _ = rules.lstm(a_xs, h_0, c_0, W_hh, W_hr, peepholes, probe=probe, wanted=(saving,) * 6)
    i, f, g, o, c, h = map(probe.over_time, FORWARD)
    np.testing.assert_array_equal(h, hs)
    np.testing.assert_array_equal(c[-1], c_T)
    h_prev, c_prev = np.concatenate([h_0[None], h[:-1]]), np.concatenate([c_0[None], c[:-1]])
    p_i, p_f, p_o = np.zeros((3, 1, 1)) if peepholes is None else peepholes[:, :, None]
    a_i, a_f, a_g, a_o = np.split(a_xs + W_hh @ h_prev, 4, axis=1)
    expected = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), np.tanh(a_g), sigmoid(a_o + p_o * c)
    assert_close((i, f, g, o, c), (*expected, f * c_prev + i * g))
    m = o * np.tanh(c)
    assert_close([h], [m if W_hr is None else W_hr @ m])


@of_every_variant
@pytest.mark.parametrize("name", BACKWARD)
def test_recorded_cotangents_are_derivatives_by_what_they_are_named_after(variant, name):
    """A number added to h_t, c_t or a pre-activation at step t changes the loss as fast as the probe was told."""
    inputs, given_back = setting(variant)
    probe = Recorder()
    rules.lstm(*inputs, probe=probe)[1](*given_back)
    found = probe.over_time(name)
    expected = slopes(lambda bump: loss(textbook(*inputs, **{name: bump}), given_back), np.zeros_like(found))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_what_is_shown_of_the_gates_is_the_gradient_of_the_input():
    inputs, given_back = setting("projection and peepholes")
    probe = Recorder()
    da_xs, *_ = rules.lstm(*inputs, probe=probe)[1](*given_back)
    np.testing.assert_array_equal(np.concatenate([probe.over_time(name) for name in BACKWARD[2:]], axis=1), da_xs)
