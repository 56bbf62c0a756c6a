"""Every recurrent layer equals torch.nn's in float64: outputs, final states and all gradients, to 1e-10."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import CELLS, assert_equal, layer_of, numbers, parts, played, state_for

from minirnn.nn import LSTM
from minirnn.tape import Tensor

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its threads and those of NumPy's BLAS would only wait for each other

THEIRS = ["rnn", "rnn relu", "lstm", "lstm projection", "gru"]  # the cells that PyTorch has
FLAGS = ("bidirectional", "bias", "batch_first", "ragged", "given_state")


def twin(layer, cell):
    """PyTorch's layer with the same weights."""
    cls, own = CELLS[cell]
    options = {name: getattr(layer, name) for name in ("num_layers", "bias", "batch_first", "bidirectional")}
    other = getattr(torch.nn, cls.__name__)(layer.input_size, layer.hidden_size, dtype=torch.float64, **options, **own)
    other.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    return other


def played_by_torch(other, names, x, state, lengths):
    """What `played` gives, from PyTorch."""
    x = torch.tensor(x, requires_grad=True)
    given = () if state is None else tuple(torch.tensor(part, requires_grad=True) for part in parts(state))
    read, first = x, other.batch_first
    if lengths is not None:
        read = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
    out, ends = other(read, None if state is None else given if len(given) > 1 else given[0])
    if lengths is not None:
        T = x.shape[1 if first else 0]
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=first, total_length=T)
    ends = dict(zip(names, parts(ends), strict=True))
    loss = (out * torch.tensor(numbers(*out.shape, seed=1))).sum()
    for k, end in enumerate(ends.values()):
        loss = loss + (end * torch.tensor(numbers(*end.shape, seed=2 + k))).sum()
    loss.backward()
    found = {"out": out.detach(), "d x": x.grad} | {f"{name}_n": end.detach() for name, end in ends.items()}
    found |= {f"d {name}_0": part.grad for name, part in zip(names, given, strict=False)}
    found |= {f"d {name}": p.grad for name, p in other.named_parameters()}
    return {name: value.numpy() for name, value in found.items()}


def compare(cell, layers, flags, sizes, seed):
    chosen = dict(zip(FLAGS, flags, strict=True))
    ragged, given_state = chosen.pop("ragged"), chosen.pop("given_state")
    T, B, D, H = sizes
    layer = layer_of(cell, D, H, layers, seed=seed, **chosen)
    x = numbers(*((B, T, D) if layer.batch_first else (T, B, D)), seed=seed)
    state = state_for(layer, B, seed) if given_state else None
    lengths = np.random.default_rng(seed).integers(1, T + 1, B).tolist() if ragged else None
    mine = played(layer, x, state, lengths)
    assert_equal(mine, played_by_torch(twin(layer, cell), layer.STATES, x, state, lengths), 1e-10)


EVERY = itertools.product(enumerate(THEIRS), enumerate(itertools.product([False, True], repeat=len(FLAGS))))


@pytest.mark.parametrize(
    ("cell", "layers", "flags"), [(cell, 1 + (n + k) % 3, flags) for (n, cell), (k, flags) in EVERY]
)
def test_equals_torch(cell, layers, flags):
    """All flags of each cell, the number of layers changing from one to the next; below, any of them together."""
    compare(cell, layers, flags, (5, 4, 2, 3), seed=layers)


@settings(max_examples=25)
@given(
    st.sampled_from(THEIRS),
    st.integers(1, 3),
    st.tuples(*[st.booleans()] * len(FLAGS)),
    st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 6), st.integers(3, 6)),
    st.integers(0, 2**16),
)
def test_equals_torch_at_any_size(backend, cell, layers, flags, sizes, seed):
    compare(cell, layers, flags, sizes, seed)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_equals_torch_where_steps_are_taken_in_several_runs(cell):
    """Large enough that what is computed for all steps at once is not held at once, and no multiple of a run."""
    compare(cell, 2, (True, True, True, True, True), (70, 9, 7, 65), seed=0)


def test_saturated_gates_stay_exact():
    """Weights so large that gates are 0 or 1 to rounding; the gradients are tiny, not NaN."""
    theirs, ours = torch.nn.LSTM(3, 4, dtype=torch.float64), LSTM(3, 4, dtype="float64")
    with torch.no_grad():
        for p in theirs.parameters():
            p *= 2000
    ours.load_state_dict(theirs.state_dict())  # as it is
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours(a)[0].sum().backward()
    theirs(b)[0].sum().backward()
    assert np.isfinite(a.grad).all() and np.allclose(a.grad, b.grad.numpy(), atol=1e-12)
