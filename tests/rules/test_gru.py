"""The GRU in both forms, as step and as sequence: the equations, PyTorch, what it keeps, the laws of recurrences."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_state import (
    assert_close,
    assert_equal,
    assert_probe_tells_the_derivation,
    assert_second_derivatives,
    cotangents,
    draw,
)

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.checking import check_rule
from minirnn.kernels import kernels_of
from minirnn.testing import arrays_in, saved_bytes
from minirnn.testing import strategies as some

FORMS = [(True, True), (True, False), (False, False)]  # reset_after, b_hn given
every_form = pytest.mark.parametrize(("reset_after", "bias"), FORMS)


def arguments(T=4, B=2, H=3, bias=True, seed=0):
    shapes = [(T, 3 * H, B), (H, B), (3 * H, H), (H,)]
    return draw(*(shapes if bias else shapes[:3]), seed=seed)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def blocks(x):
    """The rows r z n."""
    return np.split(x, 3)


def textbook(a_xs, h, W_hh, b_hn=None, reset_after=True):
    """The outputs, and the gates of every step, as the equations say."""
    hs, gates, (W_hr, W_hz, W_hn) = [], [], blocks(W_hh)
    b = 0 if b_hn is None else b_hn.reshape(-1, 1)
    for a_r, a_z, a_n in map(blocks, a_xs):
        r, z = sigmoid(a_r + W_hr @ h), sigmoid(a_z + W_hz @ h)
        n = np.tanh(a_n + r * (W_hn @ h + b) if reset_after else a_n + W_hn @ (r * h))
        h = (1 - z) * n + z * h
        hs.append(h)
        gates.append((r, z, n))
    return np.stack(hs), gates


@every_form
def test_the_equations(backend, reset_after, bias):
    inputs = arguments(bias=bias)
    outputs, _ = rules.gru(*inputs, reset_after=reset_after)
    hs, _ = textbook(*map(to_numpy, inputs), reset_after=reset_after)
    assert_close(outputs, (hs, hs[-1]))


@every_form
@given(data=st.data())
def test_second_derivatives_by_complex_step_through_the_pullback(reset_after, bias, data):
    assert_second_derivatives(rules.gru, data.draw(some.gru_arguments(bias=bias)), reset_after=reset_after)


@every_form
def test_a_probe_sees_what_the_derivation_names(backend, reset_after, bias):
    inputs = arguments(bias=bias)
    names = ("r", "z", "n", "h"), ("dh", "da_r", "da_z", "da_n")
    seen = assert_probe_tells_the_derivation(rules.gru, rules.gru_step, inputs, *names, reset_after=reset_after)
    _, gates = textbook(*map(to_numpy, inputs), reset_after=reset_after)
    for t, expected in enumerate(gates):
        assert_close([seen[name, t] for name in ("r", "z", "n")], expected)


@every_form
def test_the_article_writes_z_for_one_minus_z(reset_after, bias):
    """``h = (1 - z) h_prev + z n`` is the same function, with everything that makes up z negated."""
    inputs = arguments(T=1, bias=bias)
    _, h_prev, *_ = inputs
    hs, ((_, z, n),) = textbook(*inputs, reset_after=reset_after)
    signs = np.repeat([1.0, -1.0, 1.0], 3).reshape(-1, 1)
    a_xs, _, W_hh, *b_hn = inputs
    negated = signs * a_xs, h_prev, signs * W_hh, *b_hn
    _, ((_, z_of_article, _),) = textbook(*negated, reset_after=reset_after)
    assert_close([z_of_article], [1 - z])
    assert_close([(1 - z_of_article) * h_prev + z_of_article * n], hs)


def test_the_forms_differ_unless_the_reset_gate_is_open(backend):
    a_xs, h_0, W_hh = arguments(bias=False)
    after, before = (rules.gru(a_xs, h_0, W_hh, reset_after=form)[0] for form in (True, False))
    assert np.abs(to_numpy(after[1] - before[1])).max() > 0.01
    a_xs[:, :3] = 1e4  # r = 1
    after, before = (rules.gru(a_xs, h_0, W_hh, reset_after=form) for form in (True, False))
    assert_close(after[0], before[0])
    given_back = cotangents(after[0])
    assert_close(after[1](*given_back)[:3], before[1](*given_back)[:3])


@every_form
def test_an_update_gate_of_one_is_a_highway(backend, reset_after, bias):
    """z = 1 keeps the state, and hands the cotangent back as it is: nothing vanishes over 100 steps."""
    T, B, H = 100, 2, 3
    inputs = arguments(T, B, H, bias=bias)
    inputs[0][:, H : 2 * H] = 1e4
    (hs, h_T), pullback = rules.gru(*inputs, reset_after=reset_after)
    assert_close(hs, [inputs[1]] * T)
    dhs, dh = cotangents((hs, h_T))
    da_xs, dh_0, *dweights = pullback(dhs, dh)
    assert_close([dh_0], [to_numpy(dhs).sum(axis=0) + to_numpy(dh)])
    assert not any(to_numpy(g).any() for g in (da_xs, *dweights) if g is not None)


@every_form
def test_an_update_gate_of_zero_makes_it_a_plain_rnn(backend, reset_after, bias):
    """With z = 0 and r = 1: h_t = tanh(a_n + W_hn h_prev + b_hn)."""
    H = 3
    a_xs, h_0, W_hh, *b_hn = arguments(H=H, bias=bias)
    a_xs[:, :H], a_xs[:, H : 2 * H] = 1e4, -1e4
    outputs, pullback = rules.gru(a_xs, h_0, W_hh, *b_hn, reset_after=reset_after)
    a_n = a_xs[:, 2 * H :] + (b_hn[0].reshape(-1, 1) if bias else 0)
    expected, rnn_pullback = rules.rnn(a_n, h_0, W_hh[2 * H :])
    assert_close(outputs, expected)
    given_back = cotangents(outputs)
    da_xs, dh_0, dW_hh, db_hn = pullback(*given_back)
    da_n, *rest = rnn_pullback(*given_back)
    assert_close((da_xs[:, 2 * H :], dh_0, dW_hh[2 * H :]), (da_n, *rest))
    assert not to_numpy(da_xs[:, : 2 * H]).any()
    if bias:
        assert_close([db_hn], [to_numpy(da_n).sum(axis=(0, 2))])


@every_form
def test_a_sequence_of_no_steps_hands_its_state_on(backend, reset_after, bias):
    inputs = arguments(T=0, bias=bias)
    (hs, h_T), pullback = rules.gru(*inputs, reset_after=reset_after)
    assert hs.shape == (0, 3, 2)
    assert_equal([h_T], inputs[1:2])
    dhs, dh = cotangents((hs, h_T))
    da_xs, dh_0, *dweights = pullback(dhs, dh)
    assert da_xs.shape == (0, 9, 2)
    assert_equal((dh_0, *dweights[: 1 + bias]), (dh, *(np.zeros(w.shape) for w in inputs[2:])))


@every_form
@pytest.mark.parametrize("sizes", [{"H": 0}, {"B": 0}])
def test_a_size_of_zero_is_no_special_case(backend, reset_after, bias, sizes):
    inputs = arguments(**sizes, bias=bias)
    outputs, pullback = rules.gru(*inputs, reset_after=reset_after)
    assert [y.shape for y in outputs] == [(4, *inputs[1].shape), inputs[1].shape]
    gradients = pullback(*cotangents(outputs))
    assert [g.shape for g in gradients[: len(inputs)]] == [x.shape for x in inputs]


@every_form
@pytest.mark.parametrize("run", [1, 3, 6, 7, 100])
def test_the_length_of_the_runs_of_slopes_changes_no_bit(backend, monkeypatch, reset_after, bias, run):
    T, B, H = 7, 2, 3
    inputs = arguments(T, B, H, bias=bias)
    outputs, pullback = rules.gru(*inputs, reset_after=reset_after)
    in_one_run = pullback(*cotangents(outputs))[: len(inputs)]
    numbers = (4 if reset_after else 3) * H * B
    monkeypatch.setattr(kernels_of(asarray(0.0)), "RUN", run * numbers)
    assert_equal(pullback(*cotangents(outputs))[: len(inputs)], in_one_run)


@every_form
def test_several_runs_of_slopes_agree_with_numbers(backend, monkeypatch, reset_after, bias):
    monkeypatch.setattr(kernels_of(asarray(0.0)), "RUN", 2 * 4 * 3 * 2)
    check_rule(rules.gru, arguments(T=5, bias=bias), {"reset_after": reset_after}, max_entries=20)


@every_form
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_kept_per_step(backend, reset_after, bias, dtype):
    """The output, r, z, n, and with ``reset_after`` what the reset gate is multiplied with."""

    def saved(T, H=5, B=3):
        inputs = [x.astype(dtype) for x in arguments(T, B, H, bias)]
        _, pullback = rules.gru(*inputs, reset_after=reset_after)
        return saved_bytes(pullback)

    assert saved(9) - saved(8) == (5 if reset_after else 4) * 5 * 3 * np.dtype(dtype).itemsize


@every_form
def test_inference_saves_nothing(backend, reset_after, bias):
    inputs = arguments(bias=bias)
    outputs, pullback = rules.gru(*inputs, reset_after=reset_after, wanted=(False,) * 4)
    assert arrays_in(pullback) == []
    assert pullback(*cotangents(outputs)) == (None,) * 4


def test_to_want_a_bias_that_is_not_there_is_to_want_nothing():
    _, pullback = rules.gru(*arguments(bias=False), wanted=(False, False, False, True))
    assert arrays_in(pullback) == []


@every_form
@pytest.mark.parametrize("saving", [True, False])
def test_forward_allocates_what_it_returns_and_saves(fresh_memory, reset_after, bias, saving):
    T, B, H = 40, 16, 32
    inputs = arguments(T, B, H, bias)
    step = H * B * 8  # bytes of one state
    tracemalloc.start()
    try:
        rules.gru(*inputs, reset_after=reset_after, wanted=(saving,) * 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    hs, gates = (T + 1) * step, (T if saving else 1) * (4 if reset_after else 3) * step
    assert hs + gates + step <= peak < hs + gates + (2 + bias) * step + 4096  # the end is a copy; b_hn is made columns


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("T", "B", "D", "H"), [(4, 3, 5, 2), (1, 1, 1, 1), (70, 2, 3, 33)])
def test_equals_torch(backend, bias, T, B, D, H):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads and those of NumPy's BLAS would only wait for each other
    torch.manual_seed(T)
    theirs = torch.nn.GRU(D, H, bias=bias, dtype=torch.float64)
    shapes = (T, B, D), (1, B, H), (T, B, H), (1, B, H)
    xs, h_0, dhs, dh_T = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    expected_hs, expected_h_T = theirs(xs.requires_grad_(), h_0.requires_grad_())
    ((expected_hs * dhs).sum() + (expected_h_T * dh_T).sum()).backward()

    def ours(t):
        return asarray(t.detach().numpy().swapaxes(-1, -2) if t.ndim == 3 else t.detach().numpy())

    # b_hh is added to b_ih but for its last block, which the reset gate multiplies
    W_ih, W_hh, b_ih, b_hn = ours(theirs.weight_ih_l0), ours(theirs.weight_hh_l0), None, None
    if bias:
        outside = torch.arange(3 * H) < 2 * H
        b_ih, b_hn = ours(theirs.bias_ih_l0 + theirs.bias_hh_l0 * outside), ours(theirs.bias_hh_l0[2 * H :])
    a_xs, project_back = rules.affine(ours(xs), W_ih, b_ih)
    (hs, h_T), pullback = rules.gru(a_xs, ours(h_0)[0], W_hh, b_hn)
    assert_close((hs, h_T), (ours(expected_hs), ours(expected_h_T)[0]), 1e-10)
    da_xs, dh_0, dW_hh, db_hn = pullback(ours(dhs), ours(dh_T)[0])
    dxs, dW_ih, db = project_back(da_xs)
    found = {"weight_ih_l0": dW_ih, "weight_hh_l0": dW_hh}
    if bias:
        found |= {"bias_ih_l0": db, "bias_hh_l0": np.concatenate([to_numpy(db)[: 2 * H], to_numpy(db_hn)])}
    assert_close((dxs, dh_0), (ours(xs.grad), ours(h_0.grad)[0]), 1e-10)
    for name, parameter in theirs.named_parameters():
        assert_close([found.pop(name)], [ours(parameter.grad)], 1e-10)
    assert not found


@pytest.mark.parametrize(
    "wrong",
    [
        {"a_xs": (4, 8, 2)},
        {"a_xs": (4, 9, 1)},
        {"a_xs": (9, 2)},
        {"a_xs": (1, 4, 9, 2)},
        {"a_xs": ()},
        {"h_0": (3,)},
        {"h_0": (3, 1)},
        {"h_0": (1, 3, 2)},
        {"W_hh": (3, 9)},
        {"W_hh": (9, 2)},
        {"b_hn": (9,)},
        {"b_hn": (3, 1)},
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused(wrong):
    shapes = {"a_xs": (4, 9, 2), "h_0": (3, 2), "W_hh": (9, 3), "b_hn": (3,)} | wrong
    needs = r"a GRU needs a \(.*3H, B\), h \(H, B\), W_hh \(3H, H\) and, if any, b_hn \(H,\); got a .*, b_hn "
    with pytest.raises(ValueError, match=needs):
        rules.gru(*(np.zeros(shape) for shape in shapes.values()))


def test_a_step_refuses_a_sequence():
    with pytest.raises(ValueError, match=r"a GRU needs a \(3H, B\), .*; got a \(4, 9, 2\)"):
        rules.gru_step(*arguments())


def test_the_paper_has_no_bias_inside_the_reset_gate():
    a_xs, *rest = arguments()
    for rule, a in ((rules.gru, a_xs), (rules.gru_step, a_xs[0])):
        with pytest.raises(ValueError, match=r"b_hn must be None with reset_after=False.*; got b_hn \(3,\)"):
            rule(a, *rest, reset_after=False)
