"""``minirnn.gradcheck``: one question for rules, lifted ops, functions of tensors, and modules."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest

from minirnn import CharLM, GradcheckError, Tensor, Vocabulary, differentiable, gradcheck, hvp, nn, ops, rules
from minirnn.arrays import asarray, xp_of
from minirnn.rules.combinators import clip_through_time, truncate, truncate_randomly

random = np.random.default_rng(5)
X, Y = random.normal(size=(3, 4)), random.normal(size=(3, 4))
XS = random.normal(size=(4, 2, 3))  # (T, B, D)
LSTM_ARGUMENTS = tuple(random.normal(size=shape) for shape in ((3, 16, 2), (4, 2), (4, 2), (16, 4)))


def cube_but(dx_of):
    """``x**3`` as a rule whose pullback is ``dx_of(x, dy)``."""

    def cube(x):
        def cube_pullback(dy):
            return (dx_of(x, dy),)

        return x**3, cube_pullback

    return cube


def one_entry_off(x, dy):
    """Right but for a relative error of 1e-4 in one entry."""
    factor = np.full(x.shape, 3.0)
    factor.flat[-1] *= 1 + 1e-4
    return dy * xp_of(x).asarray(factor) * x**2


RIGHT = cube_but(lambda x, dy: 3 * x**2 * dy)
WRONG = {
    "factor": cube_but(lambda x, dy: x**2 * dy),
    "sign": cube_but(lambda x, dy: -3 * x**2 * dy),
    "zero": cube_but(lambda x, dy: 0 * dy),
    "cotangent ignored": cube_but(lambda x, dy: 3 * x**2),
    "one entry": cube_but(one_entry_off),
}
every_wrong = pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)


ON_PURPOSE = {
    "truncate": (
        lambda rule: truncate(rule, window=2),
        "truncate ends the gradient where it has flowed back far enough",
    ),
    "both": (
        lambda rule: truncate_randomly(clip_through_time(rule, max_norm=0.01), window=2, probability=0.5),
        "truncate_randomly cuts the gradient at random, or lets it grow, and "
        "clip_through_time shortens the gradient on its way back",
    ),
}


class Cell(nn.Module):
    """A recurrent cell by hand; what squashes it is a lifted op that may be wrong."""

    def __init__(self, squash):
        self.squash = differentiable(squash)
        self.inner = nn.Linear(3, 5, dtype="float64", seed=1)
        self.recurrent = nn.Linear(5, 5, dtype="float64", seed=2)

    def forward(self, x, h):
        return self.recurrent(h) + self.squash(self.inner(x))


# --- what is right passes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fn, inputs",
    [
        (RIGHT, (X,)),
        (rules.tanh, (X,)),
        (rules.matmul, (X, Y.T)),
        (rules.lstm, LSTM_ARGUMENTS),
        (ops.tanh, (X,)),
        (ops.lstm, LSTM_ARGUMENTS),
        (differentiable(RIGHT), (X,)),
        (lambda x: x * x, (X,)),
        (lambda x, y: (x * y).tanh().sum(axis=0), (X, Y)),
        (lambda x: (x.exp(), x.sum()), (X,)),
        (lambda x, y: x @ y.T + 2, (X, Y)),
        (lambda x, y: x / y, (2.0, 3)),
        (lambda x: x[[0, 2], 1:], (X.tolist(),)),
    ],
)
def test_what_is_right_passes(backend, fn, inputs):
    on_backend = tuple(asarray(x) if isinstance(x, np.ndarray) else x for x in inputs)
    assert gradcheck(fn, on_backend).max_error < 1e-7
    as_tensors = tuple(Tensor(x) for x in inputs)
    if fn not in (RIGHT, rules.tanh, rules.matmul, rules.lstm):  # a rule is a function of arrays
        assert gradcheck(fn, as_tensors).ok


def test_integers_and_masks_are_passed_through():
    report = gradcheck(lambda table, ids: ops.embedding(table, ids), (X, np.array([[0, 2], [2, 2]])))
    assert [a.method for a in report.arguments] == ["complex", "-"]


def test_methods_names_and_seed_reach_the_check():
    report = gradcheck(lambda a, b: a * b, (X, Y), method="central", names=["left", "right"], seed=3)
    assert [(a.name, a.method) for a in report.arguments] == [("left", "central"), ("right", "central")]
    assert report.seed == 3
    assert gradcheck(RIGHT, (X,), max_entries=4).arguments[0].entries == 4
    assert gradcheck(WRONG["one entry"], (X,), tolerance=1e-3).max_error > 1e-5


def test_numbers_are_made_without_recording():
    """Once with all gradients, to be compared; all the values by which they are judged without a tape."""
    seen = []

    def rule(x, y, *, wanted=(True, True)):
        seen.append(wanted)
        return x * y, lambda dz: (dz * y, dz * x)

    assert gradcheck(rule, (X, Y)).ok
    told = [wanted for wanted in seen if wanted != (True, True)]
    assert set(told) == {(False, False)} and len(told) > len(seen) - 5


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, nn.Linear, nn.LSTMCell])
def test_complex_numbers_are_let_through_by_layers_in_a_check_only(kind):
    layer, x = kind(3, 4, dtype="float64"), random.normal(size=(2, 3) if kind is nn.LSTMCell else (4, 2, 3))
    assert {a.method for a in gradcheck(lambda x: layer(x)[0], (x,)).arguments} == {"complex"}
    with pytest.raises(
        TypeError, match="must have the dtype of the weights, float64, got complex128; layers take real"
    ):
        layer(x + 0j)
    with pytest.raises(TypeError, match="h_0 must have the dtype of the weights, float64, got complex128"):
        nn.RNN(3, 4, dtype="float64")(XS, np.zeros((1, 2, 4), complex))


@pytest.mark.parametrize("layers", [1, 2])
def test_a_module_is_checked_parameter_by_parameter(backend, layers):
    lstm = nn.LSTM(3, 4, layers, dtype="float64")
    before = lstm.state_dict()
    report = gradcheck(lstm, (asarray(XS),))
    assert [a.name for a in report.arguments] == [*before, "x"]
    assert report.max_error < 1e-11
    assert all(p.numpy().tobytes() == before[n].tobytes() and p.grad is None for n, p in lstm.named_parameters())


def test_the_names_of_nested_parameters_are_their_full_names():
    report = gradcheck(Cell(rules.tanh), (X[:, :3], random.normal(size=(3, 5))))
    assert [a.name for a in report.arguments] == [
        "inner.weight", "inner.bias", "recurrent.weight", "recurrent.bias", "x", "h",
    ]  # fmt: skip


@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_is_checked_from_logits_to_embedding(backend, tied):
    lm = CharLM(Vocabulary("abcde"), 4, 4, num_layers=2, tie_weights=tied, seed=1, dtype="float64")
    report = gradcheck(lm, (np.array([[0, 1, 4], [3, 3, 2]]),), max_entries=20)
    assert report.max_error < 1e-10
    assert {a.name for a in report.arguments if a.entries} == {name for name, _ in lm.named_parameters()}


def test_dropout_is_checked_too_and_the_check_draws_no_mask_of_the_module():
    lm, ids = CharLM(5, 4, 4, num_layers=2, dropout=0.5, dtype="float64"), np.array([[0, 1, 4]])
    assert gradcheck(lm.eval(), (ids,), max_entries=20).ok
    assert gradcheck(lm.train(), (ids,), max_entries=20).ok
    assert [module.draws for _, module in lm.named_modules()] == [0, 0, 0, 0]


def test_a_state_given_as_a_pair_is_checked():
    class Wrong(nn.LSTM):
        def forward(self, x, state):
            h, c = state
            return super().forward(x, (twice_the_gradient(h), c))

    x, state = random.normal(size=(3, 2, 4)), tuple(random.normal(size=(2, 1, 2, 5)))
    report = gradcheck(nn.LSTM(4, 5, dtype="float64"), (x, state), max_entries=20)
    assert [a.name for a in report.arguments][-3:] == ["x", "state[0]", "state[1]"]
    assert {a.method for a in report.arguments} == {"complex"}
    with pytest.raises(GradcheckError, match=r"argument 'state\[0\]'"):
        gradcheck(Wrong(4, 5, dtype="float64"), (x, state), max_entries=20)


@differentiable
def twice_the_gradient(x):
    def twice_the_gradient_pullback(dy):
        return (2 * dy,)

    return x * 1.0, twice_the_gradient_pullback


def test_threads_may_check_one_module_while_others_use_it():
    lstm, x = nn.LSTM(3, 4, dtype="float64"), random.normal(size=(4, 2, 3))
    expected = lstm(x)[0].numpy()
    with ThreadPoolExecutor(4) as pool:
        checks = [pool.submit(gradcheck, lstm, (x,), max_entries=10) for _ in range(4)]
        uses = [pool.submit(lambda: lstm(x)[0].numpy()) for _ in range(40)]
        assert all(check.result().ok for check in checks)
        assert all(np.array_equal(use.result(), expected) for use in uses)


# --- what is wrong does not ------------------------------------------------------------------------------------------


@every_wrong
def test_a_wrong_rule_is_rejected_however_it_is_given(backend, wrong):
    x = asarray(X)
    for fn in (wrong, differentiable(wrong), lambda x: differentiable(wrong)(x * 2).sum(axis=0)):
        with pytest.raises(GradcheckError, match="failed"):
            gradcheck(fn, (x,))


@every_wrong
def test_a_wrong_op_inside_a_module_is_rejected_naming_what_it_spoils(backend, wrong):
    with pytest.raises(GradcheckError) as caught:
        gradcheck(Cell(wrong), (asarray(X[:, :3]), asarray(random.normal(size=(3, 5)))))
    verdicts = {a.name: a.ok for a in caught.value.report.arguments}
    assert not verdicts["inner.weight"] and not verdicts["x"]  # what lies before the wrong op
    assert verdicts["recurrent.weight"] and verdicts["recurrent.bias"] and verdicts["h"]  # what does not


@pytest.mark.parametrize("combine", ON_PURPOSE)
@pytest.mark.parametrize("inside", ["a layer", "a rule"])
def test_a_gradient_that_is_another_on_purpose_is_told_from_a_mistake(inside, combine):
    make, words = ON_PURPOSE[combine]
    if inside == "a layer":
        fn, inputs = nn.LSTM(3, 4, dtype="float64", through_time=make), (XS,)
    else:
        fn, inputs = make(rules.lstm), LSTM_ARGUMENTS
    with pytest.raises(GradcheckError) as caught:
        gradcheck(fn, inputs)
    assert str(caught.value).splitlines()[1] == f"maybe on purpose: {words}; check the rule without it"


def test_a_gradient_that_is_cut_off_is_rejected():
    with pytest.raises(GradcheckError, match="analytic 0"):
        gradcheck(lambda x: (x * 1).detach() * 2 + 0 * x, (X,))


def test_a_module_is_whole_again_after_a_failed_check():
    cell = Cell(WRONG["sign"])
    parameters = dict(cell.named_parameters())
    with pytest.raises(GradcheckError):
        gradcheck(cell, (X[:, :3], random.normal(size=(3, 5))))
    assert all(p is parameters[name] for name, p in cell.named_parameters())


# --- what cannot be asked --------------------------------------------------------------------------------------------


def test_a_float32_network_is_judged_by_the_limits_of_float32():
    lstm = nn.LSTM(3, 4)
    report = gradcheck(lstm, (XS.astype("float32"),))
    assert report.verdict == "correct" and 1e-12 < report.max_error < 1e-3
    assert "judged in float32, by its own limits: relative errors below 1e-04 are not seen" in str(report)


def explode(x):
    raise ArithmeticError("my own mistake")


def explode_on_tensors(x):
    if isinstance(x, Tensor):
        raise ArithmeticError("my own mistake with tensors")
    raise ArithmeticError("my own mistake with arrays")


def test_the_functions_own_error_is_shown():
    for fn in (explode, differentiable(explode)):
        with pytest.raises(ArithmeticError, match="my own mistake"):
            gradcheck(fn, (X,))
    with pytest.raises(ArithmeticError, match="with tensors") as caught:
        gradcheck(explode_on_tensors, (X,))
    (note,) = caught.value.__notes__
    assert note.startswith("that was with tensors; with arrays explode_on_tensors raised ArithmeticError: ")
    with pytest.raises(ArithmeticError, match="with tensors"):
        gradcheck(explode_on_tensors, (Tensor(X),))


def test_a_rule_without_a_pullback_is_told_what_one_returns():
    with pytest.raises(TypeError, match="applies a function of NumPy") as caught:
        gradcheck(lambda x: np.tanh(x), (X,))
    (note,) = caught.value.__notes__
    assert note.endswith("with arrays <lambda> returned ndarray, and a rule returns a tuple (output, pullback)")


def test_a_function_that_returns_no_tensor_is_told_so():
    with pytest.raises(TypeError, match="must return a tensor or a tuple of them, got float"):
        gradcheck(lambda x: 1.5, (Tensor(X),))
    with pytest.raises(TypeError, match="must return a tensor or a tuple of them, got str"):
        gradcheck(lambda x: "text", (X,))


@pytest.mark.parametrize(
    "inputs, options, message",
    [
        ((X,), {"method": "magic"}, "method must be one of .* got 'magic'"),
        ((X,), {"tolerance": -1.0}, r"tolerance must .* got -1\.0"),
        ((X,), {"names": ["a", "b"]}, "names must name each of the 1 inputs, got 2"),
        ((np.array([1, 2]),), {}, "nothing to check"),
        ((np.ones((2, 0)), np.ones(0, "float32")), {}, "nothing to check: every input that has a gradient is empty"),
        ((), {}, "nothing to check"),
        ((np.array([1.0, np.nan]),), {}, "not finite"),
    ],
)
def test_what_cannot_be_checked_is_explained(inputs, options, message):
    with pytest.raises(ValueError, match=message):
        gradcheck(lambda *xs: ops.add(xs[0], 1) if xs else ops.add(Tensor([1.0]), 1), inputs, **options)


@pytest.mark.parametrize("fn", [np.tanh, lambda x: np.exp(x).sum(), lambda x: np.ones(2) + np.sin(x)])
def test_a_function_of_numpy_applied_to_a_tensor_is_named(fn):
    with pytest.raises(TypeError, match=r"applies a function of NumPy to one.*x\.tanh\(\) or ops\.tanh\(x\)"):
        gradcheck(fn, (np.array([0.5, 1.0]),))


def test_an_array_is_no_tuple_of_inputs():
    for check in (gradcheck, lambda fn, inputs: hvp(fn, inputs, inputs)):
        with pytest.raises(TypeError, match="inputs must be a tuple of what fn takes, got ndarray"):
            check(lambda x: (x * x).sum(), np.ones((1, 3)))


def test_a_rule_whose_pullback_is_none_is_told_so():
    with pytest.raises(TypeError, match=r"half must return \(output, pullback\), got \(ndarray \(.*\), None\)"):

        def half(x):
            return x / 2, None

        gradcheck(half, (X,))


class Named(NamedTuple):
    first: object
    second: object


class Both(nn.Module):
    def __init__(self):
        self.pair = Named(nn.Linear(4, 2, dtype="float64"), nn.Linear(4, 2, dtype="float64"))

    def forward(self, given):
        return self.pair.first(given.first) + self.pair.second(given.second)


def test_parts_and_inputs_may_have_named_fields():
    report = gradcheck(Both(), (Named(X, Y),))
    names = [f"pair.{k}.{what}" for k in (0, 1) for what in ("weight", "bias")]
    assert [argument.name for argument in report.arguments] == [*names, "given[0]", "given[1]"]


def test_a_module_that_returns_no_tensor_is_told_so():
    class Doubling(nn.Module):
        def forward(self, x):
            return x.numpy() * 2.0

    with pytest.raises(TypeError, match=r"forward of Doubling must return a tensor made of .* got ndarray"):
        gradcheck(Doubling(), (X,))


def test_a_module_needs_no_parameters_that_are_trained():
    """That its outputs have a gradient is seen by its inputs, and by parameters that are kept as they are."""
    assert [argument.name for argument in gradcheck(nn.Dropout(0.5), (X,)).arguments] == ["x"]
    frozen = nn.Embedding(5, 3, dtype="float64")
    frozen.weight.requires_grad = False
    assert [argument.name for argument in gradcheck(frozen, (np.array([1, 4, 1]),)).arguments] == ["weight"]


class OfADict(nn.Module):
    """With a mistake in its second output, on the way back to the scale."""

    def __init__(self):
        self.linear = nn.Linear(4, 2, dtype="float64")

    def forward(self, batch):
        scores = self.linear(batch["x"])
        return {"scores": scores, "others": [scores * batch["scale"].detach()]}


def test_inputs_and_outputs_may_stand_in_dicts():
    report = gradcheck(OfADict(), ({"x": X, "scale": Tensor(Y[:, :2])},), raises=False)
    verdicts = {argument.name: argument.verdict for argument in report.arguments}
    right = dict.fromkeys(("linear.weight", "linear.bias", "batch['x']"), "correct")
    assert verdicts == right | {"batch['scale']": "wrong"}


class Scored(nn.Module):
    """A module with a loss and no ``forward``, its parameter used by a rule."""

    def __init__(self, rule):
        self.w, self.rule = nn.Parameter(X[0]), differentiable(rule)

    def loss(self, x, targets):
        return ((self.rule(self.w) * x).sum(axis=1) - targets).tanh().sum(), None


def test_a_loss_that_is_a_method_of_a_module_is_checked_by_all_its_parameters():
    report = gradcheck(Scored(RIGHT).loss, (X, Y[:, 0]))
    assert [argument.name for argument in report.arguments] == ["w", "x", "targets"]
    report = gradcheck(Scored(WRONG["factor"]).loss, (X, Y[:, 0]), raises=False)
    assert report.verdict == "wrong" and report.rule == "Scored.loss"
    assert [argument.verdict for argument in report.arguments] == ["wrong", "correct", "correct"]


def test_the_loss_of_a_language_model_is_checked_with_the_state_that_it_hands_on():
    lm = CharLM(Vocabulary("abc"), embedding_size=2, hidden_size=3, cell="lstm", dtype="float64", seed=1)
    ids = np.array([[0, 1], [2, 0], [1, 1]])
    report = gradcheck(lm.loss, (ids, ids[::-1]))
    assert [argument.name for argument in report.arguments] == [name for name, _ in lm.named_parameters()]
    assert len(hvp(lm.loss, (ids, ids[::-1]), lm.parameters())) == len(lm.parameters())


def test_the_class_of_a_module_is_no_module():
    with pytest.raises(
        TypeError, match=r"must be a rule, a function or a module, got the class GRU; GRU\(...\) is one"
    ):
        gradcheck(nn.GRU, (XS,))


def test_a_method_that_a_class_has_overridden_is_the_one_that_was_given():
    class Base(nn.Module):
        def loss(self, x):
            return x.sum()

    class Derived(Base):
        def loss(self, x):
            return (x * x).sum()

        def both(self):
            return super().loss, self.loss

    plain, curved = Derived().both()
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(hvp(plain, (x,), (x,))[0], [0, 0])
    np.testing.assert_allclose(hvp(curved, (x,), (x,))[0], 2 * x)
