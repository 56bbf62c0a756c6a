"""The table of verdicts: right rules, wrong ones, kinks, noise and chance, each told from the others."""

from zlib import crc32

import numpy as np
import pytest

from minirnn import CharLM, gradcheck, nn, ops, rules
from minirnn.checking import check_rule
from minirnn.testing import bug_zoo
from minirnn.testing.bug_zoo import ZOO
from minirnn.testing.bug_zoo.oracles import frozen, frozen_gradient_check, gradient_check
from minirnn.testing.example_inputs import example_inputs

random = np.random.default_rng(7)
X = random.standard_normal((4, 5))
XS = random.standard_normal((6, 2, 3))  # (T, B, D)


def tanh_with(level, factor=1.0):
    """tanh with noise of some size in its values, the same whenever it is called, and a factor on its gradient."""

    def noisy_tanh(x):
        noise = np.random.default_rng(crc32(np.ascontiguousarray(x.real).tobytes())).standard_normal(x.shape)
        return np.tanh(x) + level * noise, lambda dy: (factor * dy * (1 - np.tanh(x) ** 2),)

    return noisy_tanh


def tanh_through_float32(x):
    low = x.astype(np.complex64 if x.dtype.kind == "c" else np.float32)
    return np.tanh(low).astype(x.dtype), lambda dy: (dy * (1 - np.tanh(x) ** 2),)


def tanh_rounded(x):
    return np.round(np.tanh(x), 7), lambda dy: (dy * (1 - np.tanh(x) ** 2),)


def dropout_without_seed(x):
    mask = np.random.default_rng().random(x.shape) < 0.5
    return x * mask, lambda dy: (dy * mask,)


def wrong_at_the_kink(x):
    return np.maximum(x, 0), lambda dy: (2 * dy * (x >= 0),)


def wrong_beside_the_kink(x):
    return np.maximum(x, 0), lambda dy: (dy * np.where(x > 2, 1.01, x > 0),)


def clipped(x):
    """Saturated and kinked at once."""
    return np.clip(x, -1, 1), lambda dy: (dy * (np.abs(x) < 1),)


AT_A_KINK = np.array([1.0, 0.0, -2.0, 3.0])
MANY = random.standard_normal((100, 100))
MANY_AT_A_KINK = MANY * (random.random(MANY.shape) > 1e-3)
LONG = random.standard_normal((60, 4, 3))
LAYER = nn.GRU(3, 4)  # its weights are no arguments, and stay in float32
float32 = "float32"
TABLE = {
    "analytic": ("correct", lambda x: (x * x).tanh().sum(), (X,)),
    "kinks elsewhere": ("correct", ops.abs, (MANY,)),
    "the mean over many kinks": ("correct", lambda x: ops.abs(x).mean(), (np.concatenate([MANY] * 4),)),
    "a module": ("correct", nn.GRU(3, 4, dtype="float64"), (XS,)),
    "a module with seeded dropout": ("correct", nn.LSTM(3, 4, 2, dropout=0.5, dtype="float64"), (XS,)),
    "LSTM in float32": ("correct", nn.LSTM(3, 4), (XS.astype(float32),)),
    "stacked GRU in float32": ("correct", nn.GRU(3, 4, 2, bidirectional=True), (XS.astype(float32),)),
    "relu RNN in float32": ("correct", nn.RNN(3, 4, nonlinearity="relu"), (XS.astype(float32),)),
    "long relu RNN in float32": ("correct", nn.RNN(3, 7, nonlinearity="relu"), (LONG.astype(float32),)),
    "a layer in float32 inside": ("correct", lambda x: LAYER(x)[0], (XS.astype(float32),)),
    "language model in float32": ("correct", CharLM(9, 5, 6, 2), (np.array([[0, 2, 8, 1], [5, 5, 0, 3]]),)),
    "noise as of rounding": ("correct", tanh_with(1e-14), (X,)),
    "near the edge of the domain": ("correct", ops.sqrt, (np.array([1e-5, 1.0]),), {"method": "central"}),
    "a factor of two": ("wrong", tanh_with(0.0, 2.0), (X,)),
    "a factor of two, and noise": ("wrong", tanh_with(1e-7, 2.0), (X,)),
    "one per mille in float32": ("wrong", tanh_with(np.float32(0), np.float32(1.001)), (X.astype(float32),)),
    "cut off": ("wrong", lambda x: (x * 1).detach() * x, (X,)),
    "relu at 0": ("kink", ops.relu, (AT_A_KINK,)),
    "a few of many at 0": ("kink", ops.relu, (MANY_AT_A_KINK,)),
    "clipped at the bound": ("kink", clipped, (np.array([0.5, 1.0, 3.0]),)),
    "wrong at the kink": ("wrong", wrong_at_the_kink, (AT_A_KINK,)),
    "wrong beside a kink": ("wrong", wrong_beside_the_kink, (AT_A_KINK,)),
    "wrong beside many kinks": ("wrong", wrong_beside_the_kink, (MANY_AT_A_KINK,)),
    "noise 1e-7": ("too noisy", tanh_with(1e-7), (X,)),
    "noise 1e-7 in many": ("too noisy", tanh_with(1e-7), (MANY[:10],)),
    "noise 1e-3": ("too noisy", tanh_with(1e-3), (X,)),
    "float32 inside": ("too noisy", tanh_through_float32, (X,)),
    "rounded": ("too noisy", tanh_rounded, (X,)),
    "noise 1e-7, at ease": ("correct", tanh_with(1e-7), (X,), {"tolerance": 1e-3}),
    "dropout without a seed": ("nondeterministic", dropout_without_seed, (X,)),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_table_of_verdicts(case):
    verdict, fn, inputs, *options = TABLE[case]
    for seed in range(2):
        report = gradcheck(fn, inputs, raises=False, seed=seed, **(options[0] if options else {}))
        assert report.verdict == verdict, report


@pytest.mark.parametrize("name", rules.__all__)
def test_every_rule_is_correct(name):
    inputs, static = example_inputs(name, seed=2)
    report = check_rule(getattr(rules, name), inputs, static)
    assert report.verdict == "correct"
    slopes = [a.taylor_slope for a in report.arguments if a.taylor_slope is not None]
    assert all(slope > 1.9 for slope in slopes), report  # what remains of a right gradient is curvature


@pytest.mark.parametrize("name", ZOO)
def test_every_bug_that_numbers_can_see_is_wrong_and_the_first_guess_names_its_place(name):
    """Where forward and backward err together the gradient is right, of another function: other oracles see that."""
    bug = ZOO[name]
    rule, (inputs, static) = bug.rule, bug.inputs()
    if bug.dies_by is frozen_gradient_check:
        rule, static = frozen(rule, inputs, static["window"]), {}
    report = check_rule(rule, inputs, static, raises=False)
    if bug.dies_by not in (gradient_check, frozen_gradient_check):
        assert report.verdict == "correct"
        return
    assert report.verdict == "wrong"
    assert all(a.ok or a.taylor_slope == pytest.approx(1, abs=0.05) for a in report.arguments)
    if report.arguments:
        assert report.guesses[0].place == bug.where.place(bug_zoo.T)
        assert report.guesses[0].text in report.describe_failure()
    else:
        assert "wrote into cotangent" in report.reason
