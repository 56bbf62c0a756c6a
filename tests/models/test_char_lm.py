"""The character model: equal to the same model in PyTorch, its state carried and detached, its bad input explained."""

import numpy as np
import pytest

from minirnn import ops
from minirnn.arrays import asarray, to_numpy, use_backend
from minirnn.checking import check_rule
from minirnn.models import CharLM
from minirnn.models.char_lm import CELLS
from minirnn.nn import Embedding, Linear
from minirnn.tape import Tensor, no_grad
from minirnn.testing import counting, strict_cupy

V, E, H, L = 7, 5, 4, 2
WIDE, NARROW = (4, 5), (2, 3)  # (B, T): more tokens than characters, and fewer
every_cell = pytest.mark.parametrize("cell", CELLS)


def model(**options):
    return CharLM(
        **{"vocab_size": V, "embedding_size": E, "hidden_size": H, "num_layers": L, "dtype": "float64", **options}
    )


def text(shape, seed=0):
    return np.random.default_rng([seed, *shape]).integers(0, V, shape)


def state_for(B, seed=0, cell="lstm"):
    random = np.random.default_rng(seed)
    drawn = tuple(random.standard_normal((L, B, H)) for _ in CELLS[cell].STATES)
    return drawn if len(drawn) > 1 else drawn[0]


def parts(state):
    """The tensors of a state, be it one or two."""
    return state if isinstance(state, tuple) else (state,)


def mapped(function, state):
    """A state with ``function`` applied to each of its tensors."""
    return tuple(map(function, state)) if isinstance(state, tuple) else function(state)


def gradients(lm):
    return {name: to_numpy(p.grad) for name, p in lm.named_parameters()}


# Against PyTorch


def torch_twin(lm, tie_weights=False):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads and those of NumPy's BLAS would only wait for each other
    V, E = lm.embedding.weight.shape
    twin = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(V, E),
            "rnn": getattr(torch.nn, type(lm.rnn).__name__)(E, H, L, batch_first=True),
            "head": torch.nn.Linear(H, V),
        }
    ).double()
    if tie_weights:
        twin["head"].weight = twin["embedding"].weight
    twin.load_state_dict({name: torch.tensor(a) for name, a in lm.state_dict().items()})
    return torch, twin


@every_cell
@pytest.mark.parametrize("shape", [WIDE, NARROW])
@pytest.mark.parametrize("given_state", [True, False])
@pytest.mark.parametrize("tie_weights", [True, False])
def test_equals_torch(backend, cell, shape, given_state, tie_weights):
    lm = model(cell=cell, tie_weights=tie_weights, embedding_size=H if tie_weights else E)
    torch, twin = torch_twin(lm, tie_weights)
    inputs, targets = text(shape, 1), text(shape, 2)
    state = state_for(shape[0], cell=cell) if given_state else None

    hs, ends = twin["rnn"](
        twin["embedding"](torch.tensor(inputs)), mapped(torch.tensor, state) if given_state else None
    )
    scores = twin["head"](hs)
    expected = torch.nn.functional.cross_entropy(scores.reshape(-1, V), torch.tensor(targets).reshape(-1))
    expected.backward()

    logits, _ = lm(inputs, state)
    loss, mine_ends = lm.loss(inputs, targets, state)
    loss.backward()
    for mine, other in ((logits, scores), (loss, expected), *zip(parts(mine_ends), parts(ends), strict=True)):
        assert mine.shape == tuple(other.shape)
        assert np.abs(mine.numpy() - other.detach().numpy()).max() < 1e-10
    other = {name: p.grad.numpy() for name, p in twin.named_parameters()}  # a tied weight once, with both its uses
    assert set(other) == set(gradients(lm))
    for name, gradient in gradients(lm).items():
        assert np.abs(gradient - other[name]).max() < 1e-10 * np.abs(other[name]).max(), name


# Two ways through the embedding


@every_cell
def test_both_token_paths_agree(backend, cell):
    """Two rows of 5 are more tokens than the 7 characters, so the table is projected; each row alone is looked up."""
    lm, inputs, targets = model(cell=cell), text((2, 5), 1), text((2, 5), 2)
    both, state = lm.loss(inputs, targets)
    assert "looked_up" in both.to_dot()
    both.backward()
    expected = gradients(lm)
    lm.zero_grad()
    rows = [lm.loss(inputs[k : k + 1], targets[k : k + 1]) for k in range(2)]
    assert all('label="embedding"' in loss.to_dot() for loss, _ in rows)
    ((rows[0][0] + rows[1][0]) * 0.5).backward()
    assert abs(both.item() - (rows[0][0].item() + rows[1][0].item()) / 2) < 1e-13
    for k, (_, of_row) in enumerate(rows):
        for mine, other in zip(parts(of_row), parts(state), strict=True):
            assert np.allclose(mine.numpy(), other.numpy()[:, k : k + 1], rtol=1e-12)
    for name, gradient in gradients(lm).items():
        assert np.allclose(gradient, expected[name], rtol=1e-10, atol=1e-13), name


@pytest.mark.parametrize(("vocab_size", "looked_up"), [(8, True), (9, False)])
def test_a_large_table_is_not_projected(vocab_size, looked_up):
    """Its gradient would be a product with one row for every character that there is."""
    lm, ids = model(vocab_size=vocab_size, embedding_size=4), text((2, 10))
    assert ("looked_up" in lm.loss(ids, ids)[0].to_dot()) == looked_up


def plain_loss(lm, inputs, targets, state=None):
    """The model put together from its layers, without its shortcut for tokens."""
    out, state = lm.rnn(lm.embedding(inputs.T), state)
    return ops.cross_entropy(lm.head(out), asarray(targets.T)), state


@every_cell
@pytest.mark.parametrize("shape", [WIDE, NARROW, (1, V), (1, V - 1), (1, 1)])
def test_the_model_is_its_layers(backend, cell, shape):
    lm, inputs, targets = model(cell=cell), text(shape, 1), text(shape, 2)
    results = []
    for loss_of in (lm.loss, lambda *given: plain_loss(lm, *given)):
        lm.zero_grad()
        loss, state = loss_of(inputs, targets, state_for(shape[0], cell=cell))
        loss.backward()
        ends = {f"end {k}": part.numpy() for k, part in enumerate(parts(state))}
        results.append({"loss": loss.numpy(), **ends, **gradients(lm)})
    for name, value in results[0].items():
        assert np.allclose(value, results[1][name], rtol=1e-11, atol=1e-14), name


# State


@every_cell
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_a_carried_state_equals_one_long_window(backend, cell, cut):
    lm, ids = model(cell=cell), text((3, 5))
    logits, ends = lm(ids)
    first, state = lm(ids[:, :cut])
    second, state = lm(ids[:, cut:], state)
    assert np.allclose(np.concatenate([first.numpy(), second.numpy()], axis=1), logits.numpy(), rtol=1e-12)
    for mine, other in zip(parts(state), parts(ends), strict=True):
        assert np.allclose(mine.numpy(), other.numpy(), rtol=1e-12)


@every_cell
def test_the_state_is_detached(backend, cell):
    lm, ids = model(cell=cell), text((3, 5))
    _, state = lm.loss(ids, ids)
    assert isinstance(state, Tensor) == (cell != "lstm")
    assert all(isinstance(part, Tensor) and part.node is None and not part.requires_grad for part in parts(state))
    loss, _ = lm.loss(ids, ids, state)
    loss.backward()
    carried = gradients(lm)
    lm.zero_grad()
    lm.loss(ids, ids, mapped(Tensor.numpy, state))[0].backward()  # the same numbers, from nowhere
    assert all(np.array_equal(g, carried[name]) for name, g in gradients(lm).items())


@every_cell
def test_no_state_is_zeros(backend, cell):
    lm, ids = model(cell=cell), text((3, 5))
    zeros = mapped(np.zeros_like, state_for(3, cell=cell))
    assert np.array_equal(lm(ids)[0].numpy(), lm(ids, zeros)[0].numpy())


# Options


def test_tied_weights_are_one_parameter(backend):
    lm = model(tie_weights=True, embedding_size=H)
    names = [name for name, _ in lm.named_parameters()]
    assert lm.head.weight is lm.embedding.weight and "head.weight" not in names
    assert {"head.weight", "embedding.weight"} <= set(lm.state_dict())
    with pytest.raises(ValueError, match="tie_weights needs embedding_size == hidden_size, got 5 and 4"):
        model(tie_weights=True)


def test_the_gradient_of_a_tied_weight_is_the_sum_of_both_uses(backend):
    ids = text(WIDE)
    tied, untied = (model(tie_weights=t, embedding_size=H) for t in (True, False))
    untied.load_state_dict(tied.state_dict())
    for lm in (tied, untied):
        lm.loss(ids, ids)[0].backward()
    both = gradients(untied)
    assert np.allclose(gradients(tied)["embedding.weight"], both["embedding.weight"] + both["head.weight"], rtol=1e-12)


def test_dropout_while_training_only_and_reproducible(backend):
    lm, ids = model(dropout=0.5), text(WIDE)
    plain = model()
    expected = plain(ids)[0].numpy()
    lm.seek(3)
    first, second = lm(ids)[0].numpy(), lm(ids)[0].numpy()
    assert not np.allclose(first, expected) and not np.array_equal(first, second)
    lm.seek(3)
    assert np.array_equal(lm(ids)[0].numpy(), first)
    assert np.array_equal(lm.eval()(ids)[0].numpy(), expected)


def test_dropout_before_the_scores(backend):
    """With one layer the only mask lies between the outputs and the scores; it drops whole units, rescaled."""
    lm = model(num_layers=1, dropout=0.5)
    with no_grad():
        lm.head.weight[...] = 0.0
        lm.head.bias[...] = 0.0
        for k in range(H):
            lm.head.weight[k, k] = 1.0  # score k shows output k
    ids = text((4, 50))
    shown = lm(ids)[0].numpy()[..., :H]
    expected = lm.eval()(ids)[0].numpy()[..., :H]
    kept = shown != 0
    assert abs(kept.mean() - 0.5) < 0.08
    assert np.allclose(shown[kept], 2 * expected[kept], rtol=1e-12)


@every_cell
def test_sizes_and_parts(cell):
    lm = CharLM(V, E, H, 3, cell, dtype="float32")
    assert isinstance(lm.embedding, Embedding) and isinstance(lm.rnn, CELLS[cell]) and isinstance(lm.head, Linear)
    assert lm.config["cell"] == cell
    assert (lm.vocab_size, lm.rnn.num_layers, lm.rnn.hidden_size) == (V, 3, H)
    assert lm(text(NARROW))[0].shape == (*NARROW, V)


# The gradient of the whole model


@every_cell
@pytest.mark.parametrize("shape", [WIDE, NARROW])
@pytest.mark.parametrize("tie_weights", [True, False])
def test_gradcheck_of_the_whole_model(backend, cell, shape, tie_weights):
    lm = model(cell=cell, tie_weights=tie_weights, embedding_size=H if tie_weights else E)
    rule, arrays, names = lm.as_rule(text(shape))
    report = check_rule(rule, arrays, names=names, max_entries=4)
    assert report.ok and {a.method for a in report.arguments} == {"complex"}
    assert [a.name for a in report.arguments] == [name for name, _ in lm.named_parameters()]


def test_gradcheck_sees_a_wrong_model():
    class Leaky(CharLM):
        def _scores(self, ids, state):
            scores, state = super()._scores(ids, state)
            return scores + self.rnn.bias_hh_l0.detach().sum(), state

    rule, arrays, names = Leaky(V, E, H, dtype="float64").as_rule(text(NARROW))
    with pytest.raises(AssertionError, match="bias_hh_l0"):
        check_rule(rule, arrays, names=names, max_entries=12)


# dtype and backend


@every_cell
@pytest.mark.parametrize("shape", [WIDE, NARROW])
def test_every_float32_stays_float32(backend, cell, shape):
    lm = model(cell=cell, dtype="float32", dropout=0.5)
    given = mapped(lambda part: part.astype("float32"), state_for(shape[0], cell=cell))
    with counting() as counts:
        loss, state = lm.loss(text(shape), text(shape), given)
        loss.backward()
    assert {t.dtype.name for t in (loss, *parts(state), *lm.parameters())} == {"float32"}
    assert {p.grad.dtype.name for p in lm.parameters()} == {"float32"}
    assert counts.float64_results == 0


@every_cell
def test_a_training_step_does_not_wait_for_the_device(cell):
    with strict_cupy(), use_backend("cupy"):
        lm = model(cell=cell, dtype="float32", dropout=0.5)
        for shape in (WIDE, NARROW):
            with counting() as counts:
                loss, _ = lm.loss(text(shape), text(shape))
                loss.backward()
            assert counts.syncs == 0


def test_initial_weights_have_the_same_bits_on_both_backends():
    def weights(**options):
        return {name: (a.dtype, a.tobytes()) for name, a in model(**options).state_dict().items()}

    for options in ({}, {"dtype": "float32", "seed": 3}, {"tie_weights": True, "embedding_size": H}):
        host = weights(**options)
        with strict_cupy(), use_backend("cupy"):
            assert weights(**options) == host
        assert (
            weights(**options)
            == host
            != weights(**options, **{"seed": 4} if "seed" not in options else {"num_layers": 1})
        )


@every_cell
def test_results_agree_on_both_backends(cell):
    def run():
        lm = model(cell=cell, dropout=0.5)
        loss, state = lm.loss(text(WIDE), text(WIDE, 1))
        loss.backward()
        return [loss.numpy(), *(part.numpy() for part in parts(state)), *gradients(lm).values()]

    host = run()
    with strict_cupy(), use_backend("cupy"):
        device = run()
    assert all(np.allclose(a, b, rtol=1e-11, atol=1e-14) for a, b in zip(host, device, strict=True))
