"""The LSTM equals torch.nn.LSTM in float64: outputs, final states and all gradients, to 1e-10."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirnn.arrays import asarray, to_numpy
from minirnn.nn import LSTM
from minirnn.tape import Tensor

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its threads and those of NumPy's BLAS would only wait for each other

OPTIONS = [
    (layers, batch_first, bias, given_state)
    for layers in (1, 2, 3)
    for batch_first in (False, True)
    for bias in (True, False)
    for given_state in (True, False)
]


def compare(layers, batch_first, bias, given_state, sizes, seed):
    T, B, D, H = sizes
    options = {"num_layers": layers, "batch_first": batch_first, "bias": bias}
    torch.manual_seed(seed)
    theirs = torch.nn.LSTM(D, H, dtype=torch.float64, **options)
    ours = LSTM(D, H, dtype="float64", **options)
    ours.load_state_dict(theirs.state_dict())  # as it is

    random = np.random.default_rng(seed)
    inputs = {"x": random.standard_normal((B, T, D) if batch_first else (T, B, D))}
    if given_state:
        inputs |= {"h_0": random.standard_normal((layers, B, H)), "c_0": random.standard_normal((layers, B, H))}
    a = {name: Tensor(value, requires_grad=True) for name, value in inputs.items()}
    b = {name: torch.tensor(value, requires_grad=True) for name, value in inputs.items()}
    out, (h_n, c_n) = ours(a["x"], (a["h_0"], a["c_0"]) if given_state else None)
    expected, (h_t, c_t) = theirs(b["x"], (b["h_0"], b["c_0"]) if given_state else None)

    outputs = {"out": (out, expected), "h_n": (h_n, h_t), "c_n": (c_n, c_t)}
    cotangents = {name: random.standard_normal(t.shape) for name, (t, _) in outputs.items()}
    for name, (mine, other) in outputs.items():
        close(mine.numpy(), other.detach().numpy(), name)
    sum((t * asarray(cotangents[name])).sum() for name, (t, _) in outputs.items()).backward()
    sum((t * torch.tensor(cotangents[name])).sum() for name, (_, t) in outputs.items()).backward()

    gradients = {name: (a[name].grad, b[name].grad) for name in inputs}
    gradients |= {name: (p.grad, getattr(theirs, name).grad) for name, p in ours.named_parameters()}
    assert len(gradients) == len(inputs) + layers * (4 if bias else 2)
    for name, (mine, other) in gradients.items():
        close(to_numpy(mine), other.numpy(), f"gradient of {name}")


def close(mine, other, what):
    assert mine.shape == other.shape, what
    error, largest = np.abs(mine - other).max(), np.abs(other).max()
    assert error <= 1e-10 * largest, f"{what}: error {error} of {largest}"


@pytest.mark.parametrize(("layers", "batch_first", "bias", "given_state"), OPTIONS)
def test_equals_torch(backend, layers, batch_first, bias, given_state):
    compare(layers, batch_first, bias, given_state, (4, 3, 5, 2), seed=layers)


@settings(max_examples=15)
@given(
    st.sampled_from(OPTIONS),
    st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    st.integers(0, 2**16),
)
def test_equals_torch_at_any_size(backend, options, sizes, seed):
    compare(*options, sizes, seed)


def test_equals_torch_where_the_slopes_come_in_several_runs():
    """Large enough that the slopes of all steps are not held at once, and not a multiple of a run."""
    compare(2, True, True, True, (70, 9, 7, 65), seed=0)


def test_saturated_gates_stay_exact():
    """Weights so large that gates are 0 or 1 to rounding; the gradients are tiny, not NaN."""
    theirs, ours = torch.nn.LSTM(3, 4, dtype=torch.float64), LSTM(3, 4, dtype="float64")
    with torch.no_grad():
        for p in theirs.parameters():
            p *= 2000
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours(a)[0].sum().backward()
    theirs(b)[0].sum().backward()
    assert np.isfinite(a.grad).all() and np.allclose(a.grad, b.grad.numpy(), atol=1e-12)
