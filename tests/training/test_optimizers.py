"""Optimizers against ten-line references in float64, against PyTorch, and in what they leave alone."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import bits

from minirnn import SGD, Adam, AdamW, RMSprop, Tensor, clip_grad_norm_, ops
from minirnn.arrays import asarray
from minirnn.nn import Linear
from minirnn.testing import on_backend
from minirnn.testing.strategies import generators, shapes
from minirnn.training import optimizers

STEPS = 20


def sgd_reference(w, gradients, lr, momentum, weight_decay):
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + g + weight_decay * w
        w = w - lr * m
    return w


def rmsprop_reference(w, gradients, lr, alpha, eps, weight_decay):
    v = np.zeros_like(w)
    for g in gradients:
        g = g + weight_decay * w
        v = alpha * v + (1 - alpha) * g**2
        w = w - lr * g / (np.sqrt(v) + eps)
    return w


def adam_reference(w, gradients, lr, betas, eps, weight_decay, decoupled=False):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        if decoupled:
            w = w - lr * weight_decay * w
        else:
            g = g + weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
    return w


def adamw_reference(w, gradients, **settings):
    return adam_reference(w, gradients, **settings, decoupled=True)


rates, decays = st.floats(1e-4, 0.5), st.just(0.0) | st.floats(1e-4, 0.5)
fractions, epsilons = st.floats(0.0, 0.999), st.floats(1e-10, 1e-2)
of_adam = {"lr": rates, "betas": st.tuples(fractions, fractions), "eps": epsilons, "weight_decay": decays}
CASES = {
    SGD: (sgd_reference, {"lr": rates, "momentum": st.just(0.0) | fractions, "weight_decay": decays}),
    RMSprop: (rmsprop_reference, {"lr": rates, "alpha": fractions, "eps": epsilons, "weight_decay": decays}),
    Adam: (adam_reference, of_adam),
    AdamW: (adamw_reference, of_adam),
}
ALL = [
    lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    lambda parameters: RMSprop(parameters, weight_decay=0.01),
    lambda parameters: Adam(parameters, weight_decay=0.01),
    lambda parameters: AdamW(parameters),
]
every_optimizer = pytest.mark.parametrize("make", ALL, ids=["SGD", "RMSprop", "Adam", "AdamW"])


def leaf(array, dtype=None):
    return Tensor(array, requires_grad=True, dtype=dtype)


def gradients_for(shape, count=STEPS, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(dtype)


def walk(optimizer, gradients):
    """One step per gradient, every parameter with its own multiple of it."""
    for g in gradients:
        for k, p in enumerate(optimizer.parameters, start=1):
            p.grad = asarray(k * g)
        optimizer.step()


@pytest.mark.parametrize("optimizer", CASES, ids=lambda c: c.__name__)
@given(data=st.data(), shape=shapes(), random=generators())
def test_twenty_steps_equal_the_reference(backend, optimizer, data, shape, random):
    reference, strategies = CASES[optimizer]
    chosen = data.draw(st.fixed_dictionaries(strategies))
    start, gradients = random.normal(size=shape), random.normal(size=(STEPS, *shape))
    w = leaf(start)
    walk(optimizer([w], **chosen), gradients)
    np.testing.assert_allclose(w.numpy(), reference(start, gradients, **chosen), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", CASES, ids=lambda c: c.__name__)
@settings(max_examples=15)
@given(data=st.data(), shape=shapes(), random=generators())
def test_twenty_steps_equal_pytorch(optimizer, data, shape, random):
    torch = pytest.importorskip("torch")
    chosen = data.draw(st.fixed_dictionaries(CASES[optimizer][1]))
    start, gradients = random.normal(size=shape), random.normal(size=(STEPS, *shape))
    ours, theirs = leaf(start), torch.tensor(start, requires_grad=True)
    walk(optimizer([ours], **chosen), gradients)
    oracle = getattr(torch.optim, optimizer.__name__)([theirs], **chosen)
    for g in gradients:
        theirs.grad = torch.tensor(g)
        oracle.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_the_defaults_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    for kind, (_, strategies) in CASES.items():
        lr = {"lr": 0.1} if kind is SGD else {}
        theirs = getattr(torch.optim, kind.__name__)([torch.zeros(1)], **lr).defaults
        ours = vars(kind([leaf([1.0])], **lr))
        assert {name: ours[name] for name in strategies} == {name: theirs[name] for name in strategies}


@every_optimizer
def test_pieces_equal_the_whole(make, monkeypatch):
    start, gradients = np.random.default_rng(1).normal(size=(5, 11)), gradients_for((5, 11))
    found = []
    for piece in (7, 55, 1000):  # with a rest, exactly one piece, less than one
        monkeypatch.setattr(optimizers, "PIECE", piece)
        w = leaf(start)
        walk(make([w]), gradients)
        found.append(w.numpy().tobytes())
    assert len(set(found)) == 1
    assert found[0] != start.tobytes()


@every_optimizer
def test_float32_stays_float32(backend, make):
    w = leaf(np.ones((2, 3), "float32"))
    optimizer = make([w])
    walk(optimizer, gradients_for((2, 3), dtype="float32"))
    assert w.dtype == np.float32
    assert {a.dtype for moments in optimizer.state for a in moments.values()} == {np.dtype("float32")}
    in_double = leaf(np.ones((2, 3)))
    walk(make([in_double]), gradients_for((2, 3), dtype="float32").astype("float64"))
    np.testing.assert_allclose(w.numpy(), in_double.numpy(), rtol=1e-4, atol=1e-5)


@every_optimizer
def test_a_parameter_without_gradient_is_untouched(backend, make):
    still, moving = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    optimizer = make([still, moving])
    moving.grad = asarray(np.ones(2))
    optimizer.step()
    assert still.numpy().tolist() == [1, 2] and moving.numpy().tolist() != [1, 2]
    assert not any(Tensor.around(m).numpy().any() for m in optimizer.state[0].values())


@every_optimizer
def test_a_frozen_parameter_waits_until_it_is_no_longer(backend, make):
    layer = Linear(3, 2, dtype="float64")
    layer.weight.requires_grad = False
    before, optimizer = layer.weight.numpy(), make(layer.parameters())

    def step():
        optimizer.zero_grad()
        ops.sum(layer(Tensor(np.ones((4, 3))))).backward()
        optimizer.step()

    bias = layer.bias.numpy()
    step()
    assert layer.weight.numpy().tobytes() == before.tobytes() and (layer.bias.numpy() != bias).all()
    layer.weight.requires_grad = True
    step()
    assert (layer.weight.numpy() != before).all()


@every_optimizer
def test_frozen_after_backward_a_parameter_stays_and_is_not_clipped(backend, make):
    layer = Linear(3, 2, dtype="float64")
    optimizer, before = make(layer.parameters()), layer.weight.numpy()
    loss = ops.sum(layer(Tensor(np.ones((4, 3)))))
    loss.backward(retain_graph=True)
    layer.weight.requires_grad = False
    loss.backward()  # nor does a graph recorded before bring it a gradient
    assert layer.weight.grad is None
    assert clip_grad_norm_(layer.parameters(), 1e9) == np.linalg.norm([8, 8])
    optimizer.step()
    assert layer.weight.numpy().tobytes() == before.tobytes()


def test_a_shared_parameter_is_changed_once():
    shared, single = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    twice, once = Adam([shared, shared], lr=0.1), Adam([single], lr=0.1)
    shared.grad = single.grad = asarray(np.array([1.0, -2.0]))
    twice.step()
    once.step()
    assert shared.numpy().tobytes() == single.numpy().tobytes() and bits(twice) == bits(once)


@every_optimizer
@pytest.mark.parametrize("move", [{"dtype": "float64"}, {"backend": "cupy"}], ids=["dtype", "backend"])
def test_moments_go_where_the_parameters_have_gone(make, move):
    def step(optimizer):
        for p in optimizer.parameters:
            p.grad = p.data + 1
        optimizer.step()

    with on_backend("strict_cupy"):
        layer = Linear(3, 2).to("numpy")
        optimizer = make(layer.parameters())
        step(optimizer)
        layer.to(**move)
        before, anew = layer.state_dict(), make(layer.parameters())
        anew.load_state_dict(optimizer.state_dict())  # which converts
        ends = []
        for each in (optimizer, anew):
            layer.load_state_dict(before)
            step(each)
            ends.append(bits(layer) | bits(each))
    assert ends[0] == ends[1]


@every_optimizer
def test_the_decay_can_be_changed_between_steps(make):
    """By the one name that it has for all."""
    ends = []
    for decay in (0.0, 0.5):
        w = leaf([1.0, -2.0])
        optimizer = make([w])
        optimizer.weight_decay = decay
        walk(optimizer, gradients_for(w.shape, count=3))
        ends.append(w.numpy())
    assert (ends[0] != ends[1]).all()


@every_optimizer
def test_copied_together_model_and_optimizer_go_on_by_themselves(make):
    def step(optimizer, k):
        for p in optimizer.parameters:
            p.grad = k + p.data
        optimizer.step()

    layer = Linear(3, 2, dtype="float64")
    optimizer = make(layer.parameters())
    step(optimizer, 1)
    twin, its_own = copy.deepcopy((layer, optimizer))
    assert all(p is q for p, q in zip(twin.parameters(), its_own.parameters, strict=True))
    before = bits(layer) | bits(optimizer)
    step(its_own, 2)
    assert bits(layer) | bits(optimizer) == before != bits(twin) | bits(its_own)
    step(optimizer, 2)
    assert bits(layer) | bits(optimizer) == bits(twin) | bits(its_own)


@every_optimizer
def test_a_step_reads_gradients_and_keeps_nothing_of_them(backend, make):
    w = leaf(np.ones((2, 3)))
    optimizer, gradients = make([w]), gradients_for((2, 3), count=3)
    for g in gradients:
        w.grad = asarray(g)
        optimizer.step()
        assert Tensor.around(w.grad).numpy().tobytes() == g.tobytes()
        w.grad[...] = np.nan  # moments must have memory of their own
    assert np.isfinite(w.numpy()).all()


@every_optimizer
def test_the_learning_rate_may_be_assigned_between_steps(make):
    w = leaf(np.ones(3))
    optimizer = make([w])
    optimizer.lr = 0.0
    walk(optimizer, gradients_for((3,), count=2))
    assert w.numpy().tolist() == [1, 1, 1]


@every_optimizer
def test_a_state_dict_continues_bit_for_bit(backend, make):
    gradients = gradients_for((2, 3))
    w, b = leaf(np.ones((2, 3))), leaf(np.zeros((2, 3)))
    optimizer = make([w, b])
    walk(optimizer, gradients[:7])
    saved, at = optimizer.state_dict(), (w.numpy(), b.numpy())
    walk(optimizer, gradients[7:])

    again = make([leaf(start) for start in at])
    again.load_state_dict(saved)  # a copy: the steps since did not change it
    walk(again, gradients[7:])
    assert [p.numpy().tobytes() for p in again.parameters] == [w.numpy().tobytes(), b.numpy().tobytes()]
    assert {n: a.tobytes() for n, a in again.state_dict().items()} == {
        n: a.tobytes() for n, a in optimizer.state_dict().items()
    }


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    optimizer = Adam([leaf(np.ones(3))])
    walk(optimizer, gradients_for((3,), count=2))
    before = {name: a.tobytes() for name, a in optimizer.state_dict().items()}
    of_sgd = SGD([leaf(np.ones(3))], lr=1.0, momentum=0.5).state_dict()
    with pytest.raises(KeyError, match=r"no '0\.v'; it belongs to another optimizer"):
        optimizer.load_state_dict(of_sgd)
    with pytest.raises(ValueError, match=r"'0\.m' must have shape \(3,\), got \(4,\)"):
        optimizer.load_state_dict(Adam([leaf(np.ones(4))]).state_dict())
    assert {name: a.tobytes() for name, a in optimizer.state_dict().items()} == before


@every_optimizer
def test_a_step_counts_as_a_write(backend, make):
    w = leaf([1.0, 2.0])
    loss = (w * w).sum()
    w.grad = asarray(np.ones(2))
    make([w]).step()
    with pytest.raises(RuntimeError, match="written into"):
        loss.backward()


def test_zero_grad_drops_gradients():
    w = leaf([1.0])
    w.grad = np.ones(1)
    SGD([w], lr=0.1).zero_grad()
    assert w.grad is None


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: SGD(p, lr=-0.1), "lr must be .* got -0.1"),
        (lambda p: SGD(p, lr=float("nan")), "lr must be .* got nan"),
        (lambda p: Adam(p, lr=float("inf")), "lr must be .* got inf"),
        (lambda p: Adam(p, lr="0.1"), "lr must be .* got '0.1'"),
        (lambda p: Adam(p, lr=True), "lr must be .* got True"),
        (lambda p: SGD(p, lr=0.1, momentum=1.0), "momentum must be .* got 1.0"),
        (lambda p: SGD(p, lr=0.1, momentum=-0.5), "momentum must be .* got -0.5"),
        (lambda p: RMSprop(p, alpha=1.5), "alpha must be .* got 1.5"),
        (lambda p: RMSprop(p, eps=-1e-8), "eps must be .* got -1e-08"),
        (lambda p: Adam(p, betas=(1.0, 0.9)), "beta1 must be .* got 1.0"),
        (lambda p: Adam(p, betas=(0.9, -0.1)), "beta2 must be .* got -0.1"),
        (lambda p: Adam(p, betas=0.9), "betas must be .* got 0.9"),
        (lambda p: AdamW(p, betas=(0.9,)), r"betas must be .* got \(0.9,\)"),
        (lambda p: AdamW(p, weight_decay=-1), "weight_decay must be .* got -1"),
        (lambda p: Adam(p, weight_decay=None), "weight_decay must be .* got None"),
        (lambda p: Adam([]), "at least one tensor"),
        (lambda p: Adam(p[0]), "must be a list of tensors, got one tensor"),
        (lambda p: SGD(np.zeros(3), lr=0.1), "must be tensors, got float64"),
        (lambda p: SGD([*p, Tensor([1.0])], lr=0.1), "require a gradient, got one that does not"),
        (lambda p: SGD([*p, 2 * p[0]], lr=0.1), "that nothing has computed, got one that multiply made"),
    ],
)
def test_bad_arguments_are_explained(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make([leaf([1.0, 2.0])])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("steps", number) for number in (-1, float("nan"), float("inf"))),
        *(("1.v", array) for array in (None, [0.0, 0], ["a", "b", "c"], [[0.0], [0, 0], []], np.ones(3, complex))),
    ],
    ids=["-1", "nan", "inf", "None", "two", "texts", "ragged", "complex"],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(name, wrong):
    optimizer = Adam([leaf(np.ones(3)), leaf(np.ones(3))])
    before = bits(optimizer)
    state = {name: array + 1 for name, array in optimizer.state_dict().items()} | {name: wrong}
    with pytest.raises((TypeError, ValueError), match=f"optimizer state '{name}' must "):
        optimizer.load_state_dict(state)
    assert bits(optimizer) == before


def test_an_optimizer_is_shown_with_its_settings():
    parameters = [Tensor(np.ones(shape), requires_grad=True) for shape in ((40, 30), 5)]
    shown = "2 parameters of 1,205 numbers, lr="
    assert repr(SGD(parameters, 0.1, 0.5)) == f"SGD({shown}0.1, momentum=0.5, weight_decay=0.0)"
    optimizer = AdamW(parameters)
    optimizer.lr = 0.5
    assert repr(optimizer).startswith(f"AdamW({shown}0.5, ") and repr(optimizer).endswith("weight_decay=0.01)")


@every_optimizer
@pytest.mark.parametrize("lr", [float("nan"), float("inf"), -0.1, "x", None])
def test_a_learning_rate_that_is_none_is_refused_where_it_is_set(make, lr):
    optimizer = make([leaf([1.0])])
    before = optimizer.lr
    with pytest.raises(ValueError, match="lr must be a number from 0 to below inf, got"):
        optimizer.lr = lr
    assert optimizer.lr == before


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        (SGD, "momentum", 1.0, "momentum must be .* got 1.0"),
        (RMSprop, "alpha", -0.5, "alpha must be .* got -0.5"),
        (RMSprop, "eps", float("nan"), "eps must be .* got nan"),
        (Adam, "betas", (2, 2), "beta1 must be .* got 2"),
        (AdamW, "betas", 0.9, "betas must be a pair of numbers, got 0.9"),
        (AdamW, "eps", "small", "eps must be .* got 'small'"),
        (Adam, "weight_decay", -1, "weight_decay must be .* got -1"),
    ],
)
def test_settings_out_of_range_are_refused_where_they_are_set(kind, name, value, message):
    optimizer = kind([leaf([1.0])], lr=0.1)
    before = getattr(optimizer, name)
    with pytest.raises(ValueError, match=message):
        setattr(optimizer, name, value)
    assert getattr(optimizer, name) == before


def test_momentum_cannot_begin_where_no_moment_is_kept():
    w = Tensor([1.0], requires_grad=True)
    plain, heavy = SGD([w], 0.1), SGD([w], 0.1, momentum=0.5)
    heavy.momentum = 0.9
    plain.momentum = 0.0
    with pytest.raises(ValueError, match=r"momentum must be above 0 from the start, got 0 then and 0\.9 now"):
        plain.momentum = 0.9
    assert (plain.momentum, heavy.momentum) == (0.0, 0.9)
