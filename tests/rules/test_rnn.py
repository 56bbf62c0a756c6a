"""The plain RNN as step and as sequence: closed forms, PyTorch, what it keeps, and the laws of every recurrence."""

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
    notes,
)

from minirnn import rules
from minirnn.arrays import asarray, to_numpy
from minirnn.checking import check_rule
from minirnn.kernels import kernels_of
from minirnn.testing import arrays_in, saved_bytes
from minirnn.testing import strategies as some

both = pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])


def arguments(T=4, B=2, H=3, seed=0):
    return draw((T, H, B), (H, B), (H, H), seed=seed)


@both
def test_the_equations(backend, nonlinearity):
    a_xs, h, W_hh = map(to_numpy, arguments())
    f = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}[nonlinearity]
    expected = []
    for a_x in a_xs:
        h = f(a_x + W_hh @ h)
        expected.append(h)
    outputs, _ = rules.rnn(*arguments(), nonlinearity=nonlinearity)
    assert_close(outputs, (np.stack(expected), h))


@both
@given(data=st.data())
def test_second_derivatives_by_complex_step_through_the_pullback(nonlinearity, data):
    assert_second_derivatives(
        rules.rnn, data.draw(some.rnn_arguments(nonlinearity=nonlinearity)), nonlinearity=nonlinearity
    )


@both
def test_a_probe_sees_what_the_derivation_names(backend, nonlinearity):
    assert_probe_tells_the_derivation(
        rules.rnn, rules.rnn_step, arguments(), ("h",), ("dh", "da"), nonlinearity=nonlinearity
    )


@pytest.mark.parametrize("T", [1, 2, 3, 10])
def test_a_scalar_linear_recurrence_has_closed_forms(backend, T):
    """Relu of numbers above zero changes nothing: h_T = w**T h_0."""
    w, h_0 = 1.25, 0.5
    inputs = [asarray(np.full(shape, number)) for shape, number in (((T, 1, 1), 0.0), ((1, 1), h_0), ((1, 1), w))]
    (hs, h_T), pullback = rules.rnn(*inputs, nonlinearity="relu")
    da_xs, dh_0, dW_hh = pullback(asarray(np.zeros((T, 1, 1))), asarray(np.ones((1, 1))))
    after = np.arange(T - 1, -1, -1.0).reshape(T, 1, 1)  # steps that follow
    assert_close((h_T, dh_0, dW_hh), ([[w**T * h_0]], [[w**T]], [[T * w ** (T - 1) * h_0]]), 1e-14)
    assert_close((hs, da_xs), (h_0 * w ** (T - after), w**after), 1e-14)


def test_what_comes_back_vanishes_and_explodes_with_the_powers_of_the_weight():
    T, (rotation, _) = 50, np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    for radius in (0.9, 1.1):
        seen, probe = notes()
        # tanh at 0 has the slope 1: the Jacobian of a step is W_hh
        _, pullback = rules.rnn(np.zeros((T, 4, 1)), np.zeros((4, 1)), radius * rotation, probe=probe)
        pullback(np.zeros((T, 4, 1)), np.full((4, 1), 0.5))
        norms = [np.linalg.norm(seen["dh", t]) for t in range(T)]
        np.testing.assert_allclose(norms, radius ** np.arange(T - 1, -1, -1.0), rtol=1e-12)


def test_relu_has_the_derivative_zero_at_its_kink_on_both_ways():
    inputs = np.zeros((3, 2, 1)), np.zeros((2, 1)), np.eye(2)
    _, pullback = rules.rnn(*inputs, nonlinearity="relu")
    assert not any(g.any() for g in pullback(np.ones((3, 2, 1)), np.ones((2, 1))))
    (hs, _), _ = rules.rnn(inputs[0] + 1e-30j, *inputs[1:], nonlinearity="relu")
    assert not hs.any()


@pytest.mark.parametrize(("a", "expected"), [(-np.inf, 0.0), (np.nan, np.nan)])
def test_relu_of_minus_infinity_is_zero_and_nan_stays_to_be_seen(a, expected):
    h, pullback = rules.rnn_step(np.full((1, 2), a), np.ones((1, 2)), np.eye(1), nonlinearity="relu")
    assert_equal(h, np.full((1, 2), expected))
    assert_equal(pullback(np.ones((1, 2)))[0], np.full((1, 2), expected))


def test_a_sequence_of_no_steps_hands_its_state_on(backend):
    inputs = arguments(T=0)
    (hs, h_T), pullback = rules.rnn(*inputs)
    assert hs.shape == (0, 3, 2)
    assert_equal([h_T], inputs[1:2])
    dhs, dh = cotangents((hs, h_T))
    da_xs, dh_0, dW_hh = pullback(dhs, dh)
    assert da_xs.shape == (0, 3, 2)
    assert_equal((dh_0, dW_hh), (dh, np.zeros((3, 3))))


@both
@pytest.mark.parametrize("sizes", [{"H": 0}, {"B": 0}])
def test_a_size_of_zero_is_no_special_case(backend, nonlinearity, sizes):
    inputs = arguments(**sizes)
    outputs, pullback = rules.rnn(*inputs, nonlinearity=nonlinearity)
    assert [y.shape for y in outputs] == [inputs[0].shape, inputs[1].shape]
    assert [g.shape for g in pullback(*cotangents(outputs))] == [x.shape for x in inputs]


@pytest.mark.parametrize("run", [1, 2, 3, 6, 7, 100])
def test_the_length_of_the_runs_of_slopes_changes_no_bit(backend, monkeypatch, run):
    T, B, H = 7, 2, 3
    outputs, pullback = rules.rnn(*arguments(T, B, H))
    in_one_run = pullback(*cotangents(outputs))
    monkeypatch.setattr(kernels_of(asarray(0.0)), "RUN", run * H * B)
    assert_equal(pullback(*cotangents(outputs)), in_one_run)


@both
def test_several_runs_of_slopes_agree_with_numbers(backend, monkeypatch, nonlinearity):
    monkeypatch.setattr(kernels_of(asarray(0.0)), "RUN", 2 * 3 * 2)
    check_rule(rules.rnn, arguments(T=5), {"nonlinearity": nonlinearity}, max_entries=20)


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_kept_per_step_is_its_output(backend, nonlinearity, dtype):
    def saved(T, H=5, B=3):
        (hs, _), pullback = rules.rnn(*(x.astype(dtype) for x in arguments(T, B, H)), nonlinearity=nonlinearity)
        assert any(x is hs.base for x in arrays_in(pullback))
        return saved_bytes(pullback)

    assert saved(9) - saved(8) == 5 * 3 * np.dtype(dtype).itemsize


def test_inference_saves_nothing(backend):
    outputs, pullback = rules.rnn(*arguments(), wanted=(False,) * 3)
    assert arrays_in(pullback) == []
    assert pullback(*cotangents(outputs)) == (None,) * 3


@pytest.mark.parametrize("saving", [True, False])
def test_forward_allocates_what_it_returns(fresh_memory, saving):
    T, B, H = 40, 16, 32
    inputs = arguments(T, B, H)
    step = H * B * 8  # bytes of one state
    tracemalloc.start()
    try:
        rules.rnn(*inputs, wanted=(saving,) * 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (T + 2) * step <= peak < (T + 2) * step + 4096  # h_0 is kept with the outputs, and the end is a copy


@both
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("T", "B", "D", "H"), [(4, 3, 5, 2), (1, 1, 1, 1), (70, 2, 3, 33)])
def test_equals_torch(backend, nonlinearity, bias, T, B, D, H):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads and those of NumPy's BLAS would only wait for each other
    torch.manual_seed(T)
    theirs = torch.nn.RNN(D, H, nonlinearity=nonlinearity, bias=bias, dtype=torch.float64)
    shapes = (T, B, D), (1, B, H), (T, B, H), (1, B, H)
    xs, h_0, dhs, dh_T = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    expected_hs, expected_h_T = theirs(xs.requires_grad_(), h_0.requires_grad_())
    ((expected_hs * dhs).sum() + (expected_h_T * dh_T).sum()).backward()

    def ours(t):
        return asarray(t.detach().numpy().swapaxes(-1, -2) if t.ndim == 3 else t.detach().numpy())

    W_ih, W_hh = ours(theirs.weight_ih_l0), ours(theirs.weight_hh_l0)
    b = ours(theirs.bias_ih_l0 + theirs.bias_hh_l0) if bias else None
    a_xs, project_back = rules.affine(ours(xs), W_ih, b)
    (hs, h_T), pullback = rules.rnn(a_xs, ours(h_0)[0], W_hh, nonlinearity=nonlinearity)
    assert_close((hs, h_T), (ours(expected_hs), ours(expected_h_T)[0]), 1e-10)
    da_xs, dh_0, dW_hh = pullback(ours(dhs), ours(dh_T)[0])
    dxs, dW_ih, db = project_back(da_xs)
    found = {"weight_ih_l0": dW_ih, "weight_hh_l0": dW_hh} | ({"bias_ih_l0": db, "bias_hh_l0": db} if bias else {})
    assert_close((dxs, dh_0), (ours(xs.grad), ours(h_0.grad)[0]), 1e-10)
    for name, parameter in theirs.named_parameters():
        assert_close([found.pop(name)], [ours(parameter.grad)], 1e-10)
    assert not found


@pytest.mark.parametrize(
    "wrong",
    [
        {"a_xs": (4, 2, 2)},
        {"a_xs": (4, 3, 1)},
        {"a_xs": (3, 2)},
        {"a_xs": (1, 4, 3, 2)},
        {"a_xs": ()},
        {"h_0": (3,)},
        {"h_0": (3, 1)},
        {"h_0": (1, 3, 2)},
        {"W_hh": (3, 2)},
        {"W_hh": (3,)},
        {"W_hh": (9, 3)},
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused(wrong):
    shapes = {"a_xs": (4, 3, 2), "h_0": (3, 2), "W_hh": (3, 3)} | wrong
    with pytest.raises(ValueError, match=r"an RNN needs a \(.*H, B\), h \(H, B\) and W_hh \(H, H\); got a "):
        rules.rnn(*(np.zeros(shape) for shape in shapes.values()))


def test_a_step_refuses_a_sequence():
    with pytest.raises(ValueError, match=r"an RNN needs a \(H, B\), .*; got a \(4, 3, 2\)"):
        rules.rnn_step(*arguments())


@pytest.mark.parametrize("nonlinearity", ["sigmoid", "Tanh", "", None])
def test_other_nonlinearities_are_refused(nonlinearity):
    a_xs, *rest = arguments()
    for rule, a in ((rules.rnn, a_xs), (rules.rnn_step, a_xs[0])):
        with pytest.raises(ValueError, match=f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}"):
            rule(a, *rest, nonlinearity=nonlinearity)
